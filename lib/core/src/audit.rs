//! The audit log: who changed what, and when.
//!
//! Signpost writes an entry before it makes a change, and completes it with the outcome before it answers. An entry is
//! two items with the same id, because nobody may change an item that is written. An entry without an outcome belongs to a
//! change that a crash or a fault may have cut short.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::delivery::list::{expected_of, read};
use crate::endpoint::EndpointId;
use crate::fingerprint::hexadecimal;
use crate::input::fault::Faults;
use crate::input::moment::unix_ms;

/// The caller who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An IAM principal.
    Iam {
        /// Its ARN, or `unknown` if API Gateway did not name it.
        principal: String,
    },
    /// An integrator with a link to the integrators' page.
    Link {
        /// The link's id.
        id: String,
    },
}

impl Actor {
    /// Returns the actor in the form of answers and tables.
    #[must_use]
    pub fn shown(&self) -> Value {
        match self {
            Self::Iam { principal } => json!({"kind": "iam", "principal": principal}),
            Self::Link { id } => json!({"kind": "link", "id": id}),
        }
    }

    /// Parses the form of [`Self::shown`].
    #[must_use]
    pub fn parse(shown: &Value) -> Option<Self> {
        let text = |name: &str| shown[name].as_str().map(str::to_owned);
        match shown["kind"].as_str()? {
            "iam" => Some(Self::Iam { principal: text("principal")? }),
            "link" => Some(Self::Link { id: text("id")? }),
            _ => None,
        }
    }
}

/// The id of an entry: the moment of the request, and random digits. A later entry has a greater id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(String);

/// How many digits the moment of an id has, in milliseconds since the Unix epoch. They last until the year 2286.
const MOMENT_DIGITS: usize = 13;

impl EntryId {
    /// Makes an id from the moment of the request, in milliseconds since the Unix epoch, and a random UUID.
    #[must_use]
    pub fn new(unix_ms: u64, random: Uuid) -> Self {
        Self(format!("{:013}-{}", unix_ms.min(9_999_999_999_999), random.simple()))
    }

    /// Parses an id in the form that [`Self::new`] makes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (moment, random) = text.split_once('-')?;
        let is_moment = moment.len() == MOMENT_DIGITS && moment.bytes().all(|byte| byte.is_ascii_digit());
        let is_random = random.len() == 32 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_moment && is_random).then(|| Self(text.to_owned()))
    }

    /// Returns the moment of the request, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0[..MOMENT_DIGITS].parse().unwrap_or_default()
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outcome of a request that may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// A fault of Signpost or of AWS cut the request short. A part of the change may be made.
    Failed,
    /// The request was refused, and nothing was changed.
    Refused,
    /// No outcome is on record. The change may be made, in part or wholly.
    Unknown,
}

impl Outcome {
    /// Returns the outcome of a request that was answered with this HTTP status, if it was answered.
    #[must_use]
    pub fn of_status(status: Option<u16>) -> Self {
        match status {
            None => Self::Unknown,
            Some(..400) => Self::Done,
            Some(400..500) => Self::Refused,
            Some(500..) => Self::Failed,
        }
    }

    /// Returns the word for answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which contains the moment of the request.
    pub id: EntryId,
    /// Who made the request.
    pub actor: Actor,
    /// The route of the request, such as `DELETE /v1/tenants/{tenant}/endpoints/{endpoint}`.
    pub action: String,
    /// The endpoint in question, if there is one.
    pub endpoint: Option<EndpointId>,
    /// The id of the event in question, if there is one.
    pub event: Option<String>,
    /// The id that API Gateway gave the request.
    pub request_id: String,
    /// The HTTP status of the answer. None if it is not on record.
    pub status: Option<u16>,
    /// The change that the request made.
    pub change: Change,
}

/// The change that a request made, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The members that changed, as they were before. Null if there was nothing before.
    pub before: Value,
    /// The members that changed, as they are now. Null if there is nothing any more.
    pub after: Value,
    /// The names of secrets that changed.
    pub secrets: BTreeSet<&'static str>,
}

/// The names of secrets in [`Change::secrets`].
pub const SECRETS: [&str; 2] = ["auth", "signing"];

impl Change {
    /// Compares two states of the same thing, each a JSON object or null. Keeps the members that differ.
    #[must_use]
    pub fn between(before: Value, after: Value) -> Self {
        let (before, after) = match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                let differs = |name: &String| before.get(name) != after.get(name);
                let kept = |all: &Map<String, Value>| {
                    let kept = all.iter().filter(|(name, _)| differs(name));
                    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
                };
                (kept(&before), kept(&after))
            }
            other => other,
        };
        Self { before: abbreviated(before), after: abbreviated(after), secrets: BTreeSet::new() }
    }
}

/// How many bytes a text of an entry may have. With at most 32 KiB of other settings, an entry fits into an item of
/// 400 KB.
const LONGEST_TEXT: usize = 2 * 1024;

/// Replaces long texts, such as certificates, by their SHA-256.
fn abbreviated(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            let hash = digest(&SHA256, text.as_bytes());
            Value::String(format!("sha256:{} ({} bytes)", hexadecimal(hash), text.len()))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(abbreviated).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, abbreviated(value))).collect())
        }
        other => other,
    }
}

/// Returns whether a route may change something, so that its requests have an entry. `route` is a method and a path. The
/// test of a filter is a `POST` only for its body.
#[must_use]
pub fn is_change(route: &str) -> bool {
    let method = route.split(' ').next().unwrap_or_default();
    !matches!(method, "GET" | "HEAD" | "OPTIONS") && !route.ends_with("/filters/test")
}

/// The filter and the page of a request for entries. The newest entry comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Lists only entries from this moment on, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// Lists only entries of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Lists only entries before this one.
    pub before: Option<EntryId>,
}

impl AuditQuery {
    /// Parses the parameters of a request.
    ///
    /// # Errors
    /// All faults. The pointer is the parameter's name after a `?`.
    pub fn parse(
        since: Option<&str>,
        endpoint: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Self, Vec<crate::input::fault::Fault>> {
        let mut faults = Faults::default();
        let since = read("?since", since, unix_ms, expected_of(since), &mut faults);
        let endpoint = read("?endpoint", endpoint, EndpointId::parse, "the id of an endpoint", &mut faults);
        let before = read("?cursor", cursor, EntryId::parse, "the `cursor` of the page before", &mut faults);
        faults.none().map(|()| Self { since_unix_ms: since.unwrap_or_default(), endpoint, before })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_read_back_and_are_in_the_order_of_their_moments() {
        let ids = [7, 1_769_853_600_000, u64::MAX].map(|at| EntryId::new(at, Uuid::from_u128(3)));
        assert_eq!(ids[1].as_str(), "1769853600000-00000000000000000000000000000003");
        assert!(ids.is_sorted());
        for id in &ids {
            assert_eq!(EntryId::parse(id.as_str()).as_ref(), Some(id));
        }
        assert_eq!(ids.map(|id| id.unix_ms()), [7, 1_769_853_600_000, 9_999_999_999_999]);
        for bad in ["", "-", "1769853600000-0", "176985360000-00000000000000000000000000000003", "1769853600000"] {
            assert_eq!(EntryId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn actors_read_back() {
        let arn = "arn:aws:sts::000000000000:assumed-role/operator/ann".to_owned();
        for actor in [Actor::Iam { principal: arn }, Actor::Link { id: "pl_1".into() }] {
            assert_eq!(Actor::parse(&actor.shown()), Some(actor));
        }
        assert_eq!(Actor::parse(&json!({"kind": "ghost"})), None);
    }

    #[test]
    fn every_route_but_those_that_read_has_an_entry() {
        let cases = [
            ("GET /v1/tenants/{tenant}/endpoints", false),
            ("HEAD /callbacks/{state}", false),
            ("POST /v1/tenants/{tenant}/endpoints", true),
            ("PUT /v1/tenants/{tenant}/notices", true),
            ("PATCH /v1/tenants/{tenant}/endpoints/{endpoint}", true),
            ("DELETE /v1/tenants/{tenant}/endpoints/{endpoint}", true),
            ("POST /v1/tenants/{tenant}/filters/test", false),
            ("BREW /a-method-of-the-future", true),
            ("", true),
        ];
        for (route, expected) in cases {
            assert_eq!(is_change(route), expected, "{route}");
        }
    }

    #[test]
    fn the_status_of_the_answer_is_the_outcome() {
        let cases = [
            (None, "unknown"),
            (Some(201), "done"),
            (Some(204), "done"),
            (Some(412), "refused"),
            (Some(503), "failed"),
        ];
        for (status, expected) in cases {
            assert_eq!(Outcome::of_status(status).as_str(), expected, "{status:?}");
        }
    }

    #[test]
    fn only_members_that_changed_are_kept() {
        let change =
            Change::between(json!({"url": "a", "types": [], "old": 1}), json!({"url": "b", "types": [], "new": 2}));
        assert_eq!((change.before, change.after), (json!({"url": "a", "old": 1}), json!({"url": "b", "new": 2})));
        let made = Change::between(Value::Null, json!({"url": "a"}));
        assert_eq!((made.before, made.after), (Value::Null, json!({"url": "a"})));
    }

    #[test]
    fn every_bad_parameter_is_reported() {
        let faults = AuditQuery::parse(Some("yesterday"), Some("ep_1"), Some("1")).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(pointers, ["?since", "?endpoint", "?cursor"]);
        assert_eq!(AuditQuery::parse(None, None, None), Ok(AuditQuery::default()));
    }

    proptest! {
        #[test]
        fn an_entry_stays_small_however_long_its_texts_are(length in 0_usize..200_000) {
            let long = "x".repeat(length);
            let change = Change::between(json!({"auth": {"trustStore": [long]}}), Value::Null);
            prop_assert!(change.before.to_string().len() < LONGEST_TEXT + 100);
            prop_assert_eq!(change.before.to_string().contains("sha256:"), length > LONGEST_TEXT);
        }
    }
}
