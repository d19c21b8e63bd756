//! Payment payloads (PIS) of the account-information session service.

use super::shape::{BANK, Shape, USER};
use super::{Family, StatusOf, Statuses, mandatory, no_rules, optional};

const STATUSES: &[&str] = &["Created", "InProgress", "Completed", "Rejected", "NotSupported", "Cancelled", "Expired"];

/// The status of a payment has changed.
pub(super) static PAYMENT: Family = Family {
    kind: "payment",
    fields: &[
        optional("bank", BANK),
        optional("paymentExternalId", Shape::Text),
        mandatory("paymentId", Shape::Id),
        mandatory("paymentStatus", Shape::OneOf(STATUSES)),
        optional("user", USER),
    ],
    subject: "paymentId",
    distinct_by: &["paymentId", "paymentStatus"],
    statuses: Statuses::Closed(STATUSES),
    stages: &[],
    status: StatusOf::Field("paymentStatus"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_closed, assert_refused, faults};

    const LEAST: &str = r#"{"paymentId":"1154cb8b","paymentStatus":"Completed"}"#;

    #[test]
    fn the_two_mandatory_fields_are_enough() {
        assert_eq!(faults("payment", LEAST), []);
    }

    #[test]
    fn statuses_are_the_seven_documented_ones() {
        let page = ["Created", "InProgress", "Completed", "Rejected", "NotSupported", "Cancelled", "Expired"];
        assert_closed("payment", LEAST, "paymentStatus", &page);
    }

    #[test]
    fn each_field_has_its_type() {
        let cases = [
            ("bank", r#"{"id":[]}"#),
            ("bank", "75"),
            ("paymentExternalId", "1"),
            ("paymentId", r#""""#),
            ("user", r#"{"externalId":1}"#),
            ("user", r#"{"secondaryIdentifiers":[1]}"#),
        ];
        for (field, value) in cases {
            assert_refused("payment", LEAST, field, value);
        }
    }
}
