//! Token requests of Token.io: the authorizations that users give at their banks. A producer registers one, the bank
//! calls back once, and Signpost makes an event of the callback for the integrator.

mod callback;
mod registration;
mod state;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::event::family::{self, Payload};
use crate::event::{CALLBACKS_SOURCE, Event, TenantId};
use crate::input::fault::Fault;
use crate::input::json;
use crate::input::query;
use crate::random_secret::SecretHash;

pub use callback::{Body, Callback, CallbackError, MAX_CALLBACK_BYTES, MAX_PARAMETERS};
pub use registration::{DEFAULT_LIFETIME, Registration};
pub use state::CallbackToken;

/// The CloudEvents `type` of bank callbacks, and their payload family.
const KIND: &str = "token-request";
/// How long a repeated callback gets the same answer. Browsers repeat a callback within minutes, by themselves or
/// because the user goes back. After this time, a URL in the browser's history no longer works.
const REPEATABLE: Duration = Duration::from_mins(10);

/// A token request's id. Token.io's are like `rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// The form of such an id, for messages. Its characters need no escapes in paths.
    pub const EXPECTED: &str = "1 to 128 of A-Z, a-z, 0-9, `_`, `-`, `:`";

    /// Parses an id that fits [`Self::EXPECTED`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':');
        ((1..=128).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last registration of a token request, and the bank callback to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The tenant that registered it.
    pub tenant: TenantId,
    /// The id, unique within the tenant.
    pub id: RequestId,
    /// The URL to which Signpost redirects the browser that brings the callback, if there is one.
    pub redirect_url: Option<String>,
    /// The time of the registration, in seconds since the Unix epoch.
    pub registered_at: u64,
    /// The time until which the bank may call back, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// The hash by which the callback URL's state is recognised.
    pub state: SecretHash,
    /// The bank callback.
    pub called: Option<BankResponse>,
}

/// The content of a bank callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankResponse {
    /// The time of the callback, in seconds since the Unix epoch.
    pub at: u64,
    /// The payload of its event: Token.io's JSON, and the other fields of the callback.
    pub payload: String,
    /// The request that acknowledged the callback to the bank. Only then is the state used up.
    pub acknowledged_by: Option<String>,
}

impl BankResponse {
    /// Returns Token.io's fields of the payload, as a JSON object.
    #[must_use]
    pub fn own_fields(&self) -> String {
        callback::split(&self.payload).0
    }

    /// Returns the other fields of the payload, as a JSON object.
    #[must_use]
    pub fn other_fields(&self) -> String {
        callback::split(&self.payload).1
    }
}

/// The outcome of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was authorized, and is complete.
    Completed,
    /// The bank asks for more credentials.
    Credentials,
    /// It has failed, and is complete.
    Error,
    /// The bank did not call back in time.
    Expired,
    /// The bank has not called back yet.
    Pending,
}

impl Outcome {
    /// Returns the name, as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Credentials => "credentials",
            Self::Error => "error",
            Self::Expired => "expired",
            Self::Pending => "pending",
        }
    }

    /// Returns whether no other step can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Error => true,
            Self::Credentials | Self::Expired | Self::Pending => false,
        }
    }
}

/// The reason why a callback with this state is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The time for the callback has ended.
    #[error("This link has expired.")]
    Expired,
    /// The state does not exist: it was invented or changed.
    #[error("This link is not known.")]
    Unknown,
    /// A callback has already used the state.
    #[error("This link was used before.")]
    Used,
    /// The token request was registered again and has another state now.
    #[error("This link was replaced by another.")]
    Void,
}

impl TokenRequest {
    /// Returns the outcome at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn outcome(&self, now: u64) -> Outcome {
        match &self.called {
            None if now < self.expires_at => Outcome::Pending,
            None => Outcome::Expired,
            Some(called) => match family::status_of(KIND, &Payload::new(&called.payload)).as_deref() {
                Some("error") => Outcome::Error,
                Some("credentials") => Outcome::Credentials,
                _ => Outcome::Completed,
            },
        }
    }

    /// Returns the id of the callback's event. Each registration of the request has another id. All repetitions of a
    /// callback have the same: 132 bits of the state's hash.
    #[must_use]
    pub fn event_id(&self) -> String {
        format!("callback-{}", &self.state.as_str()[..22])
    }

    /// Returns the event of the callback.
    ///
    /// # Errors
    /// The payload is not that of a token request: [`Callback::payload`] did not write it.
    pub fn event(&self, called: &BankResponse) -> Result<Event, Vec<Fault>> {
        let data = json::parse(&called.payload, "JSON")?;
        let envelope = Envelope {
            specversion: "1.0",
            id: self.event_id(),
            source: CALLBACKS_SOURCE,
            kind: KIND,
            tenant: self.tenant.as_str(),
            subject: self.id.as_str(),
            time: moment(called.at),
            data,
        };
        Event::parse_own(&serde_json::to_string(&envelope).unwrap_or_default()) // Strings and JSON always serialize.
    }

    /// Returns the URL of the redirect: the registered URL with its own query, followed by Token.io's fields. It omits
    /// the other fields, because the browser's user chooses their names. These could be taken for parameters of the
    /// registered URL.
    #[must_use]
    pub fn location(&self, called: &BankResponse) -> Option<String> {
        let mut url = Url::parse(self.redirect_url.as_deref()?).ok()?;
        let more = query::encode(&called.own_fields());
        let query =
            url.query().filter(|query| !query.is_empty()).map_or_else(|| more.clone(), |own| format!("{own}&{more}"));
        url.set_query(Some(&query));
        Some(url.into())
    }

    /// Returns the earlier callback with this state's hash, if `payload` is the same and the time for the same answer
    /// has not ended.
    #[must_use]
    pub fn repeated(&self, state: &SecretHash, payload: &str, now: u64) -> Option<&BankResponse> {
        let called = self.called.as_ref().filter(|called| called.payload == payload && self.state == *state)?;
        (now < called.at + REPEATABLE.as_secs()).then_some(called)
    }

    /// Returns why this request now refuses a callback with this state's hash.
    #[must_use]
    pub fn refusal(&self, state: &SecretHash, now: u64) -> StateError {
        match &self.called {
            _ if self.state != *state => StateError::Void,
            None if now >= self.expires_at => StateError::Expired,
            None | Some(_) => StateError::Used,
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    tenant: &'a str,
    subject: &'a str,
    time: Option<String>,
    data: &'a RawValue,
}

/// Returns a time in RFC 3339, from seconds since the Unix epoch.
fn moment(unix_seconds: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_seconds).ok()?).ok()?;
    at.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq";

    fn request(redirect_url: Option<&str>, payload: Option<String>) -> TokenRequest {
        TokenRequest {
            tenant: TenantId::parse("acme").unwrap(),
            id: RequestId::parse(ID).unwrap(),
            redirect_url: redirect_url.map(str::to_owned),
            registered_at: 1_000,
            expires_at: 2_000,
            state: CallbackToken::new([7; 32]).hash(),
            called: payload.map(|payload| BankResponse { at: 1_769_853_600, payload, acknowledged_by: None }),
        }
    }

    fn payload(query: &str) -> String {
        let callback = Callback::parse(query, Body::None).unwrap();
        callback.payload(&RequestId::parse(ID).unwrap()).unwrap()
    }

    #[test]
    fn the_outcome_follows_from_the_callback_and_the_time() {
        let credentials =
            "credential-fields=eyJmaWVsZHMiOlt7ImRlc2NyaXB0aW9uIjoiT25lLXRpbWUgcGFzc2NvZGUiLCJpZCI6Im90cCJ9XX0";
        let cases = [
            (None, 1_999, Outcome::Pending, false),
            (None, 2_000, Outcome::Expired, false),
            (Some(""), 9_999, Outcome::Completed, true),
            (Some(credentials), 1_500, Outcome::Credentials, false),
            (Some("error=14&message=Bank+is+unavailable&trace-id=t"), 1_500, Outcome::Error, true),
        ];
        for (query, now, expected, is_final) in cases {
            let outcome = request(None, query.map(payload)).outcome(now);
            assert_eq!((outcome, outcome.is_final()), (expected, is_final), "{query:?}");
        }
    }

    #[test]
    fn the_event_has_the_documented_payload_and_an_id_of_its_registration() {
        let request = request(None, Some(payload("error=14&message=Bank+is+unavailable&trace-id=idm45Ag1X8D8Kvdw")));
        let event = request.event(request.called.as_ref().unwrap()).unwrap();
        let page = format!(
            r#"{{"request-id":"{ID}","request_id":"{ID}","trace-id":"idm45Ag1X8D8Kvdw","error":14,"message":"Bank is unavailable"}}"#
        );
        assert_eq!(event.data(), page);
        assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("token-request", Some(ID)));
        assert_eq!((event.key.source.as_str(), event.key.tenant.as_str()), ("/callbacks", "acme"));
        assert!(event.json().contains(r#""time":"2026-01-31T10:00:00Z""#), "{}", event.json());
        let again = TokenRequest { state: CallbackToken::new([8; 32]).hash(), ..request.clone() };
        assert_ne!(request.event_id(), again.event_id(), "registered again, for the next step");
    }

    #[test]
    fn the_browser_goes_to_the_registered_url_and_nowhere_else() {
        let said = format!("request-id={ID}&request_id={ID}");
        let cases = [
            ("https://tpp.callback.url/", format!("https://tpp.callback.url/?{said}")),
            ("https://tpp.example/done?", format!("https://tpp.example/done?{said}")),
            ("https://tpp.example/done?order=7&a=%20", format!("https://tpp.example/done?order=7&a=%20&{said}")),
            ("https://tpp.example/app#/done", format!("https://tpp.example/app?{said}#/done")),
        ];
        for (url, expected) in cases {
            let request = request(Some(url), Some(payload("next=https%3A%2F%2Fevil.example&message2=x")));
            assert_eq!(request.location(request.called.as_ref().unwrap()), Some(expected));
        }
        let request = request(None, Some(payload("")));
        assert_eq!(request.location(request.called.as_ref().unwrap()), None);
    }

    #[test]
    fn the_same_callback_gets_the_same_answer_for_ten_minutes() {
        let (own, other) = (CallbackToken::new([7; 32]).hash(), CallbackToken::new([8; 32]).hash());
        let request = request(None, Some(payload("code=c&scope=s")));
        let at = request.called.as_ref().unwrap().at;
        let cases = [
            (&own, "code=c&scope=s", at, true, "a second request of the browser"),
            (&own, "scope=s&code=%63", at + 599, true, "the same in another spelling"),
            (&own, "code=c&scope=s", at + 600, false, "too late"),
            (&own, "code=d&scope=s", at, false, "something else"),
            (&own, "code=c", at, false, "less"),
            (&other, "code=c&scope=s", at, false, "by another state"),
        ];
        for (state, query, now, expected, why) in cases {
            let repeated = request.repeated(state, &payload(query), now);
            assert_eq!(repeated, expected.then_some(request.called.as_ref().unwrap()), "{why}");
        }
        let uncalled = TokenRequest { called: None, ..request };
        assert_eq!(uncalled.repeated(&own, &payload(""), 0), None, "no callback yet");
    }

    #[test]
    fn a_refused_state_has_a_reason() {
        let (own, other) = (CallbackToken::new([7; 32]).hash(), CallbackToken::new([8; 32]).hash());
        assert_eq!(request(None, None).refusal(&own, 2_000), StateError::Expired);
        assert_eq!(request(None, None).refusal(&other, 1_000), StateError::Void);
        assert_eq!(request(None, Some(payload(""))).refusal(&own, 1_000), StateError::Used);
        assert_eq!(request(None, Some(payload(""))).refusal(&own, 9_000), StateError::Used);
    }
}
