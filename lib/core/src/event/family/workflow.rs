//! Workflow notifications of TransactionLink.

use super::shape::Shape;
use super::{Family, StatusOf, Statuses, mandatory, no_rules, optional};

const STATUSES: &[&str] = &["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED", "PAUSED"];

/// A workflow has finished, or its status has changed. Other fields, such as the failed step, are accepted.
pub(super) static WORKFLOW: Family = Family {
    kind: "workflow",
    fields: &[
        mandatory("partyId", Shape::Id),
        mandatory("workflowId", Shape::Id),
        mandatory("workflowStatus", Shape::OneOf(STATUSES)),
        mandatory("workflowName", Shape::Text),
        mandatory("workspaceId", Shape::Id),
        optional("externalId", Shape::Text),
    ],
    subject: "workflowId",
    distinct_by: &["workflowId", "workflowStatus"],
    statuses: Statuses::Closed(STATUSES),
    stages: &[],
    status: StatusOf::Field("workflowStatus"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_closed, assert_refused, faults};

    const LEAST: &str =
        r#"{"partyId":"p","workflowId":"w","workflowStatus":"FAILED","workflowName":"Onboarding","workspaceId":"s"}"#;

    #[test]
    fn the_five_mandatory_fields_are_enough_and_more_pass() {
        assert_eq!(faults("workflow", LEAST), []);
        assert_eq!(faults("workflow", &LEAST.replacen('{', r#"{"failedStep":{"name":"scan","code":7},"#, 1)), []);
    }

    #[test]
    fn statuses_are_the_five_documented_ones() {
        let page = ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED", "PAUSED"];
        assert_closed("workflow", LEAST, "workflowStatus", &page);
    }

    #[test]
    fn each_field_has_its_type() {
        let cases = [
            ("partyId", "7"),
            ("workflowId", r#""""#),
            ("workflowName", "[]"),
            ("workspaceId", "{}"),
            ("externalId", "1"),
        ];
        for (field, value) in cases {
            assert_refused("workflow", LEAST, field, value);
        }
    }
}
