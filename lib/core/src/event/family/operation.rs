//! Operation callbacks of PowerAuth Cloud.

use super::shape::Shape;
use super::{Family, StatusOf, Statuses, mandatory, no_rules, optional};

const STATUSES: &[&str] = &["PENDING", "CANCELED", "EXPIRED", "APPROVED", "REJECTED", "FAILED"];

/// The status of an operation has changed.
pub(super) static OPERATION: Family = Family {
    kind: "operation",
    fields: &[
        mandatory("type", Shape::Constant("OPERATION")),
        mandatory("operationId", Shape::Id),
        optional("userId", Shape::Text),
        optional("applicationId", Shape::TextOrInteger), // PowerAuth's table says Int, its example shows a text.
        optional("operationType", Shape::Text),
        optional("operation_type", Shape::Text), // PowerAuth's table spells it so, its example does not.
        optional("data", Shape::Text),
        optional("signatureType", Shape::Text),
        optional("status", Shape::OneOf(STATUSES)),
        optional("parameters", Shape::TextMap),
        optional("failureCount", Shape::Count),
        optional("maxFailureCount", Shape::Count),
        optional("externalId", Shape::Text),
        optional("timestampCreated", Shape::DateTime),
        optional("timestampFinalized", Shape::DateTime),
        optional("timestampExpires", Shape::DateTime),
    ],
    subject: "operationId",
    distinct_by: &["operationId", "status", "failureCount"],
    statuses: Statuses::Closed(STATUSES),
    stages: &[],
    status: StatusOf::Field("status"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_closed, assert_refused, faults};

    const LEAST: &str = r#"{"type":"OPERATION","operationId":"7a0c"}"#;

    #[test]
    fn the_two_mandatory_fields_are_enough() {
        assert_eq!(faults("operation", LEAST), []);
    }

    #[test]
    fn statuses_are_the_six_documented_ones() {
        let page = ["PENDING", "CANCELED", "EXPIRED", "APPROVED", "REJECTED", "FAILED"];
        assert_closed("operation", LEAST, "status", &page);
    }

    #[test]
    fn each_field_has_its_type() {
        let cases = [
            ("type", r#""ACTIVATION""#),
            ("operationId", "7"),
            ("operationId", r#""""#),
            ("userId", "7"),
            ("applicationId", "1.5"),
            ("operationType", "[]"),
            ("operation_type", "[]"),
            ("data", "{}"),
            ("signatureType", "1"),
            ("parameters", r#"{"key1":1}"#),
            ("failureCount", "-1"),
            ("maxFailureCount", r#""5""#),
            ("externalId", "false"),
            ("timestampCreated", r#""today""#),
            ("timestampFinalized", "0"),
            ("timestampExpires", r#""2022-05-13""#),
        ];
        for (field, value) in cases {
            assert_refused("operation", LEAST, field, value);
        }
    }
}
