//! Session payloads of the account-information session service.

use super::shape::{ACCOUNTS, BANK, Shape};
use super::{Family, StatusOf, Statuses, mandatory, no_rules, optional};

const STAGES: &[&str] = &["Authentication", "Accounts", "Transactions", "TransactionDetails"];
const STATUSES: &[&str] = &["Initiated", "InProgress", "Finished", "Failed", "AuthorizationFailed"];

/// The results of a stage so far: the list of accounts, or counters such as `2/3`. The vendor's document does not say
/// where the counters are.
const DETAILS: Shape = Shape::Either(&[
    Shape::Object(&[optional("accounts", ACCOUNTS), optional("transactions", TRANSACTIONS)]),
    Shape::Counter,
]);

const TRANSACTIONS: Shape = Shape::Either(&[Shape::List(&Shape::Any), Shape::Counter]);

/// A session has changed its stage or status, has found accounts, or has the first page of an account's transactions.
pub(super) static SESSION: Family = Family {
    kind: "session",
    fields: &[
        mandatory("sessionId", Shape::Id),
        mandatory("stage", Shape::OneOf(STAGES)),
        mandatory("status", Shape::OneOf(STATUSES)),
        optional("bank", BANK),
        optional("bankId", Shape::TextOrInteger),
        optional("details", DETAILS),
        optional("isSca", Shape::Flag),
        optional("sessionExternalId", Shape::Text),
        optional("userId", Shape::Text),
        optional("accountId", Shape::Text),
        optional("earliestAccountDate", Shape::DateTime),
        optional("earliestEffectiveDate", Shape::DateTime),
        optional("latestAccountingDate", Shape::DateTime),
        optional("latestEffectiveDate", Shape::DateTime),
        optional("transactionsCount", Shape::Count),
        optional("transactionStatus", Shape::Text),
    ],
    subject: "sessionId",
    distinct_by: &["sessionId", "stage", "status", "details", "accountId", "transactionStatus"],
    statuses: Statuses::Closed(STATUSES),
    stages: STAGES,
    status: StatusOf::Field("status"),
    rules: no_rules,
};

#[cfg(test)]
mod tests {
    use crate::event::family::tests::{assert_closed, assert_refused, faults};

    const LEAST: &str = r#"{"sessionId":"s","stage":"Transactions","status":"InProgress","details":null}"#;

    #[test]
    fn the_three_mandatory_fields_are_enough() {
        assert_eq!(faults("session", LEAST), []);
    }

    #[test]
    fn stages_and_statuses_are_the_documented_ones() {
        let page = ["Initiated", "InProgress", "Finished", "Failed", "AuthorizationFailed"];
        assert_closed("session", LEAST, "status", &page);
        for stage in ["Authentication", "Accounts", "Transactions", "TransactionDetails"] {
            assert_eq!(faults("session", &LEAST.replace("Transactions", stage)), [], "{stage}");
        }
    }

    #[test]
    fn details_hold_accounts_or_counters() {
        for details in [
            r#"{"accounts":[{"accountNumber":"BE2345","accountRelation":[],"manualAccountRelation":"Owner"}]}"#,
            r#"{"accounts":"2/3"}"#,
            r#"{"accounts":"3/3","transactions":"2/3"}"#,
            r#""2/3""#,
            "{}",
        ] {
            assert_eq!(faults("session", &LEAST.replace("null", details)), [], "{details}");
        }
    }

    #[test]
    fn each_field_has_its_type() {
        let cases = [
            ("sessionId", r#""""#),
            ("stage", r#""transactions""#),
            ("stage", "1"),
            ("bank", "[]"),
            ("bankId", "[]"),
            ("details", "[]"),
            ("details", r#"{"accounts":"3/2"}"#),
            ("details", r#"{"accounts":[1]}"#),
            ("details", r#"{"transactions":7}"#),
            ("isSca", "1"),
            ("sessionExternalId", "1"),
            ("userId", "1"),
            ("accountId", "1"),
            ("earliestAccountDate", r#""2019""#),
            ("earliestEffectiveDate", "1"),
            ("latestAccountingDate", r#""""#),
            ("latestEffectiveDate", "{}"),
            ("transactionsCount", "-1"),
            ("transactionStatus", "1"),
        ];
        for (field, value) in cases {
            assert_refused("session", LEAST, field, value);
        }
    }
}
