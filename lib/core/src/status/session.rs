//! Sessions of the account-information session service, for clients that poll: the current stage, the status of each
//! stage, and all details. They are derived from the session's events, in any order of arrival.

use std::borrow::Cow;
use std::cmp::Reverse;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::family::{self, Payload};
use crate::input::json::text_of;
use crate::status::state::StateKey;

/// The CloudEvents `type` of session events.
pub const KIND: &str = "session";

/// Returns the stages that a session may have, in the order of the vendor's document.
#[must_use]
pub fn stages() -> &'static [&'static str] {
    family::of_kind(KIND).map_or(&[], |family| family.stages)
}

/// All information about a session: the answer to `/api/session/status/details`.
#[derive(Clone, Debug, Serialize)]
pub struct Session<'a> {
    #[serde(rename = "sessionId")]
    id: &'a str,
    stage: Cow<'a, str>,
    status: Cow<'a, str>,
    time: String,
    #[serde(flatten)]
    about: About<'a>,
    stages: Vec<Stage<'a>>,
    /// The accounts, if an event has listed them.
    accounts: Option<&'a RawValue>,
    /// The first page of each account's transactions, for each status.
    transactions: Vec<Page<'a>>,
}

/// The status of a stage: the answer to `/api/session/status` and `/api/session/{stage}/status`, which has the fields
/// of the event.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus<'a> {
    session_id: &'a str,
    #[serde(flatten)]
    stage: Stage<'a>,
    details: Option<&'a RawValue>,
    #[serde(flatten)]
    about: About<'a>,
}

/// The fields of every event of a session, with their newest values.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    bank: Option<&'a RawValue>,
    bank_id: Option<&'a RawValue>,
    is_sca: Option<&'a RawValue>,
    session_external_id: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
}

#[derive(Clone, Debug, Serialize)]
struct Stage<'a> {
    #[serde(rename = "stage")]
    name: Cow<'a, str>,
    status: Cow<'a, str>,
    time: String,
    #[serde(skip_serializing_if = "Counters::are_none")]
    counters: Counters<'a>,
    #[serde(skip)]
    details: Option<&'a RawValue>,
}

/// The number of accounts and transactions of a total, such as `2/3`.
#[derive(Clone, Debug, Default, Serialize)]
struct Counters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<Cow<'a, str>>,
}

impl Counters<'_> {
    fn are_none(&self) -> bool {
        self.accounts.is_none() && self.transactions.is_none()
    }
}

/// The summary of a first page of transactions, in the fields of its event.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    account_id: Option<&'a RawValue>,
    transaction_status: Option<&'a RawValue>,
    transactions_count: Option<&'a RawValue>,
    earliest_account_date: Option<&'a RawValue>,
    earliest_effective_date: Option<&'a RawValue>,
    latest_accounting_date: Option<&'a RawValue>,
    latest_effective_date: Option<&'a RawValue>,
    time: String,
}

impl<'a> Session<'a> {
    /// Derives a session from its events, each with its payload and the position of its state. Returns none without
    /// events.
    ///
    /// The newest event has the session's current stage, and the newest event of each stage has that stage's status. If
    /// an event omits a field, as the first page of transactions omits the bank, the newest older event with the field
    /// counts.
    #[must_use]
    pub fn of(session_id: &'a str, callbacks: impl IntoIterator<Item = (&'a StateKey, &'a str)>) -> Option<Self> {
        let mut callbacks: Vec<_> = callbacks.into_iter().collect();
        callbacks.sort_unstable_by_key(|(place, _)| Reverse(*place));
        let (mut about, mut accounts) = (About::default(), None);
        let (mut told, mut pages) = (Vec::<Stage<'a>>::new(), Vec::<Page<'a>>::new());
        for (place, data) in callbacks {
            let payload = Payload::new(data);
            let (Some(name), Some(status)) = (payload.text("stage"), payload.text("status")) else { continue };
            about = about.or(&payload);
            let index = told.iter().position(|stage| stage.name == name).unwrap_or(told.len());
            if index == told.len() {
                let time = place.moment.rfc3339();
                told.push(Stage { name, status, time, counters: Counters::default(), details: None });
            }
            if let Some(details) = payload.raw("details") {
                let inside = Payload::new(details.get());
                accounts = accounts.or_else(|| accounts_in(&inside));
                told[index].hear(details, &inside);
            }
            pages.extend(Page::of(&payload, place).filter(|page| pages.iter().all(|newer| !newer.is_of(page))));
        }
        let Stage { name: stage, status, time, .. } = told.first()?.clone();
        told.sort_by_key(|stage| stages().iter().position(|name| *name == stage.name));
        Some(Self { id: session_id, stage, status, time, about, stages: told, accounts, transactions: pages })
    }

    /// Returns the current stage of the session.
    #[must_use]
    pub fn current(&self) -> Option<StageStatus<'a>> {
        self.stage(&self.stage)
    }

    /// Returns a stage, if an event reported it.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<StageStatus<'a>> {
        let stage = self.stages.iter().find(|stage| stage.name == name)?.clone();
        Some(StageStatus { session_id: self.id, details: stage.details, stage, about: self.about })
    }
}

impl<'a> About<'a> {
    /// Adds the values of an older event for fields that are not known.
    fn or(self, older: &Payload<'a>) -> Self {
        Self {
            bank: self.bank.or_else(|| older.raw("bank")),
            bank_id: self.bank_id.or_else(|| older.raw("bankId")),
            is_sca: self.is_sca.or_else(|| older.raw("isSca")),
            session_external_id: self.session_external_id.or_else(|| older.raw("sessionExternalId")),
            user_id: self.user_id.or_else(|| older.raw("userId")),
        }
    }
}

impl<'a> Stage<'a> {
    /// Adds details of an older event that are not known. `both` has their fields, if they are an object.
    fn hear(&mut self, details: &'a RawValue, both: &Payload<'a>) {
        self.details = self.details.or(Some(details));
        let one = text_of(details); // A single counter counts the stage's own items.
        let (accounts, transactions) = if self.name == "Accounts" { (one, None) } else { (None, one) };
        let Counters { accounts: known_accounts, transactions: known_transactions } = &mut self.counters;
        *known_accounts = known_accounts.take().or(accounts).or_else(|| both.text("accounts"));
        *known_transactions = known_transactions.take().or(transactions).or_else(|| both.text("transactions"));
    }
}

impl<'a> Page<'a> {
    fn of(payload: &Payload<'a>, place: &StateKey) -> Option<Self> {
        let field = |name| payload.raw(name);
        let page = Self {
            account_id: field("accountId"),
            transaction_status: field("transactionStatus"),
            transactions_count: field("transactionsCount"),
            earliest_account_date: field("earliestAccountDate"),
            earliest_effective_date: field("earliestEffectiveDate"),
            latest_accounting_date: field("latestAccountingDate"),
            latest_effective_date: field("latestEffectiveDate"),
            time: place.moment.rfc3339(),
        };
        (page.transaction_status.is_some() || page.transactions_count.is_some()).then_some(page)
    }

    /// Returns whether both are about the same account's transactions of the same status.
    fn is_of(&self, other: &Self) -> bool {
        let of = |page: &Self| [page.account_id, page.transaction_status].map(|field| field.and_then(text_of));
        of(self) == of(other)
    }
}

/// Returns the list of accounts in an event's details.
fn accounts_in<'a>(details: &Payload<'a>) -> Option<&'a RawValue> {
    details.raw("accounts").filter(|accounts| accounts.get().starts_with('['))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::SizeRange;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Event;
    use crate::status::state::Moment;

    /// 2026-01-31T10:00:00Z.
    const TEN: u64 = 1_769_853_600_000;

    /// A payload with its event's `time` and its arrival after ten o'clock, in milliseconds.
    type Callback = (Option<&'static str>, u64, Value);

    fn places(callbacks: &[Callback]) -> Vec<(StateKey, String)> {
        let place = |(index, (time, arrived, data)): (usize, &Callback)| {
            let event = json!({
                "specversion": "1.0", "id": format!("e-{index}"), "source": "/core", "type": KIND, "tenant": "acme",
                "time": time, "data": data,
            });
            let event = Event::parse(&event.to_string()).unwrap();
            (StateKey::of(&event, Moment::of(&event, TEN + arrived)), event.data().to_owned())
        };
        callbacks.iter().enumerate().map(place).collect()
    }

    fn derive(callbacks: &[(StateKey, String)]) -> Option<Session<'_>> {
        Session::of("s", callbacks.iter().map(|(place, data)| (place, &**data)))
    }

    fn callback(stage: &str, status: &str, details: &Value) -> Value {
        json!({"sessionId": "s", "stage": stage, "status": status, "details": details})
    }

    /// Returns the current stage of a session, its status, and the statuses of all stages.
    fn statuses(session: &Session<'_>) -> (String, String, Vec<(String, String)>) {
        let stages = session.stages.iter().map(|stage| (stage.name.to_string(), stage.status.to_string()));
        (session.stage.to_string(), session.status.to_string(), stages.collect())
    }

    #[test]
    fn the_newest_callback_decides_however_late_an_older_one_comes() {
        let (ten, eleven) = (Some("2026-01-31T10:00:00Z"), Some("2026-01-31T11:00:00Z"));
        let at = |time, arrived, stage, status| (time, arrived, callback(stage, status, &Value::Null));
        let cases = [
            (
                vec![at(ten, 0, "Authentication", "Finished"), at(eleven, 1, "Accounts", "Initiated")],
                ("Accounts", "Initiated", vec![("Authentication", "Finished"), ("Accounts", "Initiated")]),
                "in order",
            ),
            (
                vec![at(eleven, 0, "Accounts", "Initiated"), at(ten, 1, "Authentication", "Finished")],
                ("Accounts", "Initiated", vec![("Authentication", "Finished"), ("Accounts", "Initiated")]),
                "the older one is late",
            ),
            (
                vec![at(eleven, 0, "Accounts", "Finished"), at(ten, 1, "Accounts", "InProgress")],
                ("Accounts", "Finished", vec![("Accounts", "Finished")]),
                "late within a stage",
            ),
            (
                vec![at(ten, 0, "Accounts", "InProgress"), at(ten, 1, "Accounts", "Finished")],
                ("Accounts", "Finished", vec![("Accounts", "Finished")]),
                "equal times: by arrival",
            ),
            (
                vec![at(None, 1, "Accounts", "Failed"), at(None, 0, "Accounts", "InProgress")],
                ("Accounts", "Failed", vec![("Accounts", "Failed")]),
                "without times: by arrival",
            ),
            (
                vec![at(ten, 0, "TransactionDetails", "Initiated"), at(eleven, 1, "Accounts", "AuthorizationFailed")],
                (
                    "Accounts",
                    "AuthorizationFailed",
                    vec![("Accounts", "AuthorizationFailed"), ("TransactionDetails", "Initiated")],
                ),
                "a stage that starts again is the current one; stages keep the documented order",
            ),
        ];
        for (callbacks, (stage, status, stages), why) in cases {
            let places = places(&callbacks);
            let expected: Vec<_> = stages.into_iter().map(|(stage, status)| (stage.into(), status.into())).collect();
            assert_eq!(statuses(&derive(&places).unwrap()), (stage.into(), status.into(), expected), "{why}");
        }
        assert!(derive(&[]).is_none());
    }

    #[test]
    fn each_stage_has_its_newest_counters() {
        let at = |arrived, stage, details| (None, arrived, callback(stage, "InProgress", &details));
        let cases = [
            (
                vec![at(0, "Accounts", json!("2/3"))],
                "Accounts",
                json!({"accounts": "2/3"}),
                "a single counter, of the stage's own items",
            ),
            (
                vec![at(0, "Transactions", json!("40/120"))],
                "Transactions",
                json!({"transactions": "40/120"}),
                "the same",
            ),
            (
                vec![at(0, "Transactions", json!({"accounts": "3/3", "transactions": "40/120"}))],
                "Transactions",
                json!({"accounts": "3/3", "transactions": "40/120"}),
                "both",
            ),
            (
                vec![at(1, "Accounts", json!({"accounts": "3/3"})), at(0, "Accounts", json!({"accounts": "2/3"}))],
                "Accounts",
                json!({"accounts": "3/3"}),
                "a late counter does not reduce the count",
            ),
            (
                vec![at(0, "Accounts", json!("2/3")), at(1, "Accounts", Value::Null)],
                "Accounts",
                json!({"accounts": "2/3"}),
                "an event without a counter keeps it",
            ),
            (
                vec![
                    at(0, "Accounts", json!("3/3")),
                    at(1, "Accounts", json!({"accounts": [{"accountNumber": "BE2345"}]})),
                ],
                "Accounts",
                json!({"accounts": "3/3"}),
                "a list is not a counter",
            ),
            (
                vec![at(0, "Accounts", json!("2/3")), at(1, "Transactions", Value::Null)],
                "Transactions",
                Value::Null,
                "another stage's",
            ),
        ];
        for (callbacks, stage, counters, why) in cases {
            let places = places(&callbacks);
            let session = derive(&places).unwrap();
            let told = serde_json::to_value(session.stage(stage).unwrap()).unwrap();
            assert_eq!(told["counters"], counters, "{why}");
        }
    }

    /// The examples of the vendor's document, one after the other.
    fn examples() -> Vec<Callback> {
        let bank = json!({"id": "75", "secondaryIdentifiers": [{"type": "1", "value": "BPKOPLPW"}]});
        let with_details = |details: Value| {
            json!({
                "bank": bank, "bankId": "75", "details": details, "isSca": "true", "sessionExternalId": "x",
                "sessionId": "s", "stage": "Transactions", "status": "InProgress", "userId": "u",
            })
        };
        let account = json!({
            "accountNumber": "BE2345", "accountType": "CurrentAccount", "accountRelation": [], "manualAccountRelation": "Owner",
        });
        let page = |status: &str, count: u32| {
            json!({
                "accountId": "a-1", "bankId": "75", "earliestAccountDate": "2019-02-26T00:00:00.000Z",
                "earliestEffectiveDate": "2019-02-26T00:00:00.000Z", "isSca": "true",
                "latestAccountingDate": "2019-03-20T00:00:00.000Z", "latestEffectiveDate": "2019-03-20T00:00:00.000Z",
                "sessionExternalId": "x", "sessionId": "s", "stage": "Transactions", "status": "InProgress",
                "transactionsCount": count, "transactionStatus": status, "userId": "u",
            })
        };
        let accounts = with_details(json!({"accounts": [account]}));
        vec![
            (None, 0, with_details(Value::Null)),
            (None, 1, accounts),
            (None, 2, page("Booked", 50)),
            (None, 3, page("Booked", 100)),
            (None, 4, page("Pending", 3)),
        ]
    }

    #[test]
    fn the_documented_examples_add_up_to_a_session() {
        let places = places(&examples());
        let session = derive(&places).unwrap();
        let bank = json!({"id": "75", "secondaryIdentifiers": [{"type": "1", "value": "BPKOPLPW"}]});
        let accounts = json!([{
            "accountNumber": "BE2345", "accountType": "CurrentAccount", "accountRelation": [], "manualAccountRelation": "Owner",
        }]);
        assert_eq!(
            serde_json::to_value(session.current().unwrap()).unwrap(),
            json!({
                "sessionId": "s", "stage": "Transactions", "status": "InProgress", "time": "2026-01-31T10:00:00.004Z",
                "details": {"accounts": accounts}, "bank": bank, "bankId": "75", "isSca": "true",
                "sessionExternalId": "x", "userId": "u",
            })
        );
        let page = |status: &str, count: u32, time: &str| {
            json!({
                "accountId": "a-1", "transactionStatus": status, "transactionsCount": count,
                "earliestAccountDate": "2019-02-26T00:00:00.000Z", "earliestEffectiveDate": "2019-02-26T00:00:00.000Z",
                "latestAccountingDate": "2019-03-20T00:00:00.000Z", "latestEffectiveDate": "2019-03-20T00:00:00.000Z",
                "time": time,
            })
        };
        assert_eq!(
            serde_json::to_value(&session).unwrap(),
            json!({
                "sessionId": "s", "stage": "Transactions", "status": "InProgress", "time": "2026-01-31T10:00:00.004Z",
                "bank": bank, "bankId": "75", "isSca": "true", "sessionExternalId": "x", "userId": "u",
                "stages": [{"stage": "Transactions", "status": "InProgress", "time": "2026-01-31T10:00:00.004Z"}],
                "accounts": accounts,
                "transactions": [
                    page("Pending", 3, "2026-01-31T10:00:00.004Z"),
                    page("Booked", 100, "2026-01-31T10:00:00.003Z"),
                ],
            })
        );
        assert!(session.stage("Accounts").is_none(), "no event reported it");
    }

    #[test]
    fn numbers_keep_their_spelling() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/","type":"session","tenant":"acme",
            "data":{"sessionId":"s","stage":"Accounts","status":"Finished","bankId":7500,"details":{"accounts":[{"balance":10.50}]}}}"#;
        let event = Event::parse(event).unwrap();
        let place = StateKey::of(&event, Moment::of(&event, TEN));
        let session = Session::of("s", [(&place, event.data())]).unwrap();
        assert!(serde_json::to_string(&session).unwrap().contains(r#""accounts":[{"balance":10.50}]"#));
        assert!(
            serde_json::to_string(&session.current())
                .unwrap()
                .contains(r#""details":{"accounts":[{"balance":10.50}]}"#)
        );
    }

    fn any_callback() -> impl Strategy<Value = Callback> {
        let times = prop::sample::select(vec![None, Some("2026-01-31T10:00:00Z"), Some("2026-01-31T11:00:00Z")]);
        let stage = prop::sample::select(stages().to_vec());
        let status = prop::sample::select(vec!["Initiated", "InProgress", "Finished", "Failed", "AuthorizationFailed"]);
        let details =
            prop::sample::select(vec![Value::Null, json!("2/3"), json!({"accounts": "3/3"}), json!({"accounts": []})]);
        let page = prop::option::of((0..2_u8, 0..2_u8, 0..9_u8));
        (times, 0..3_u64, stage, status, details, page).prop_map(|(time, arrived, stage, status, details, page)| {
            let mut data = callback(stage, status, &details);
            if let Some((account, kind, count)) = page {
                data["accountId"] = format!("a-{account}").into();
                data["transactionStatus"] = format!("k-{kind}").into();
                data["transactionsCount"] = count.into();
            }
            (time, arrived, data)
        })
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_session(
            callbacks in prop::collection::vec(any_callback(), SizeRange::new(1..=12)),
            turn in any::<prop::sample::Index>(),
        ) {
            let in_order = places(&callbacks);
            let mut otherwise = in_order.clone();
            otherwise.rotate_left(turn.index(in_order.len()));
            otherwise.swap(0, in_order.len() / 2);
            otherwise.push(otherwise[0].clone()); // Delivered again.
            let [one, other] = [&in_order, &otherwise].map(|places| serde_json::to_string(&derive(places)).unwrap());
            prop_assert_eq!(one, other);
        }
    }
}
