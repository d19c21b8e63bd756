//! Registration callbacks of PowerAuth Cloud, which calls a registration an activation.

use super::shape::Shape;
use super::{Family, StatusOf, Statuses, mandatory, no_rules, optional};

const STATUSES: &[&str] = &["CREATED", "PENDING_COMMIT", "ACTIVE", "BLOCKED", "REMOVED"];

/// The status of a registration has changed.
pub(super) static ACTIVATION: Family = Family {
    kind: "activation",
    fields: &[
        mandatory("type", Shape::Constant("ACTIVATION")),
        mandatory("activationId", Shape::Id),
        optional("userId", Shape::Text),
        optional("applicationId", Shape::TextOrInteger), // PowerAuth's table says Int, its example shows a text.
        optional("activationStatus", Shape::OneOf(STATUSES)),
        optional("blockedReason", Shape::Text),
        optional("activationName", Shape::Text),
        optional("platform", Shape::Text),
        optional("deviceInfo", Shape::Text),
        optional("activationFlags", Shape::List(&Shape::Text)),
    ],
    subject: "activationId",
    distinct_by: &["activationId", "activationStatus", "blockedReason", "activationFlags"],
    statuses: Statuses::Closed(STATUSES),
    stages: &[],
    status: StatusOf::Field("activationStatus"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_closed, assert_refused, faults};

    const LEAST: &str = r#"{"type":"ACTIVATION","activationId":"7a0c"}"#;

    #[test]
    fn the_two_mandatory_fields_are_enough() {
        assert_eq!(faults("activation", LEAST), []);
    }

    #[test]
    fn statuses_are_the_five_documented_ones() {
        let page = ["CREATED", "PENDING_COMMIT", "ACTIVE", "BLOCKED", "REMOVED"];
        assert_closed("activation", LEAST, "activationStatus", &page);
    }

    #[test]
    fn each_field_has_its_type() {
        let cases = [
            ("type", r#""OPERATION""#),
            ("activationId", "7"),
            ("userId", "7"),
            ("applicationId", "true"),
            ("blockedReason", "[]"),
            ("activationName", "1"),
            ("platform", "{}"),
            ("deviceInfo", "0"),
            ("activationFlags", "[1]"),
        ];
        for (field, value) in cases {
            assert_refused("activation", LEAST, field, value);
        }
    }
}
