//! Transaction notifications of IDPay.

use super::shape::Shape;
use super::{Family, StatusOf, Statuses, mandatory, no_rules};

/// The status of a transaction has changed.
///
/// IDPay's document lists `approved`, `processing`, `inconclusive`, `shared`, `skipped`, `unknown-share`,
/// `absent-holder` and `expired`, and says that the list may change. Therefore any text is a status.
pub(super) static TRANSACTION: Family = Family {
    kind: "transaction",
    fields: &[mandatory("id", Shape::Id), mandatory("status", Shape::Id)],
    subject: "id",
    distinct_by: &["id", "status"],
    statuses: Statuses::Open,
    stages: &[],
    status: StatusOf::Field("status"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_refused, faults};

    const LEAST: &str = r#"{"id":"8263a268-5388-492a-bca2-28e1ff4a69f0","status":"approved"}"#;

    #[test]
    fn any_status_passes_listed_or_not() {
        let page = [
            "approved",
            "processing",
            "inconclusive",
            "shared",
            "skipped",
            "unknown-share",
            "absent-holder",
            "expired",
        ];
        for status in page.into_iter().chain(["captured", "a future status"]) {
            assert_eq!(faults("transaction", &LEAST.replace("approved", status)), [], "{status}");
        }
    }

    #[test]
    fn each_field_has_its_type() {
        for (field, value) in [("id", "7"), ("id", r#""""#), ("status", "7"), ("status", r#""""#)] {
            assert_refused("transaction", LEAST, field, value);
        }
    }
}
