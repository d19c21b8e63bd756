//! Verification: an endpoint proves that its server wants webhooks, before the first delivery to it.
//!
//! An operator may enter any URL. Therefore Signpost asks a new origin first. It sends the handshake of CloudEvents'
//! "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2, section 4. If the server does not support that, Signpost sends a
//! webhook with a challenge that the server must echo.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::delivery::attempt::{AttemptError, AttemptResult, judge_status};
use crate::delivery::request::USER_AGENT;
use crate::endpoint::auth::origin;
use crate::endpoint::target::Target;
use crate::endpoint::{DisabledBecause, Endpoint, EndpointId, VERIFICATION_TYPE, Verification};
use crate::event::{Event, OWN_SOURCE};

/// The header that names the sender, in the handshake and in every webhook to a verified endpoint.
pub const REQUEST_ORIGIN: &str = "webhook-request-origin";
/// The header that grants the request of [`REQUEST_ORIGIN`].
pub const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";

/// The maximum number of bytes of an echo. A challenge has 43, and JSON and whitespace around it need some more.
const MAX_ECHO_BYTES: usize = 1_024;

/// The facts that decide whether an endpoint must prove that it wants webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The setting of the whole stack.
    pub stack: Verification,
    /// The endpoint's settings.
    pub endpoint: &'a Endpoint,
    /// The origin that is verified, if there is one.
    pub verified_origin: Option<&'a str>,
}

impl Proof<'_> {
    /// Returns whether the stack or the endpoint requires proof. An endpoint can strengthen the stack's setting, but
    /// not weaken it. A queue or a bus proves nothing by an answer: its owner's consent is the trust policy of the role.
    fn is_asked_for(self) -> bool {
        self.endpoint.destination.is_none()
            && [self.stack, self.endpoint.verification].contains(&Verification::Challenge)
    }

    /// Returns whether proof is required and missing.
    #[must_use]
    pub fn is_missing(self) -> bool {
        self.is_asked_for() && !has_proved(self.verified_origin, &self.endpoint.url)
    }
}

/// Returns whether the verified origin is that of `url`.
#[must_use]
pub fn has_proved(verified_origin: Option<&str>, url: &str) -> bool {
    verified_origin.is_some_and(|verified| verified == origin(url))
}

/// Decides the state of an endpoint after a change of its settings from `before` to those of `after`.
///
/// A disabled endpoint stays disabled: enabling it requires the proof. An endpoint that received webhooks before proof
/// was required continues, until it moves to another origin or its own settings require proof.
#[must_use]
pub fn after_change(disabled: Option<DisabledBecause>, before: &Endpoint, after: Proof<'_>) -> Option<DisabledBecause> {
    let moved = origin(&before.url) != origin(&after.endpoint.url);
    let was_asked = Proof { endpoint: before, ..after }.is_asked_for();
    match disabled {
        None => (after.is_missing() && (moved || !was_asked)).then_some(DisabledBecause::Unverified),
        Some(DisabledBecause::Unverified) => after.is_missing().then_some(DisabledBecause::Unverified),
        Some(DisabledBecause::Failing | DisabledBecause::Gone | DisabledBecause::Operator) => disabled,
    }
}

/// Decides the state of an endpoint after an operator enabled it. Only verification can prevent that.
#[must_use]
pub fn after_enabling(disabled: Option<DisabledBecause>, proof: Proof<'_>) -> Option<DisabledBecause> {
    disabled.and_then(|_| proof.is_missing().then_some(DisabledBecause::Unverified))
}

/// Decides the state of an endpoint after an operator disabled it. Verification can no longer enable it.
#[must_use]
pub fn after_disabling(disabled: Option<DisabledBecause>) -> DisabledBecause {
    match disabled {
        None | Some(DisabledBecause::Operator | DisabledBecause::Unverified) => DisabledBecause::Operator,
        Some(because @ (DisabledBecause::Failing | DisabledBecause::Gone)) => because,
    }
}

/// Returns the word that operators see for the state of an endpoint.
#[must_use]
pub fn state(disabled: Option<DisabledBecause>) -> &'static str {
    match disabled {
        None => "enabled",
        Some(DisabledBecause::Unverified) => "unverified",
        Some(DisabledBecause::Failing | DisabledBecause::Gone | DisabledBecause::Operator) => "disabled",
    }
}

/// The `data` of a verification event.
///
/// `version` is the version of the endpoint when the challenge was made. A challenge is valid only for that version.
/// Otherwise an operator who reads it could write it into a URL or a header, and make a foreign server reflect it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// The endpoint that Signpost asks.
    pub endpoint: String,
    /// The text that the answer must repeat.
    pub challenge: String,
    /// The version of the endpoint's settings.
    pub version: u64,
}

impl Question {
    /// Makes a question from random bytes.
    #[must_use]
    pub fn new(endpoint: &EndpointId, version: u64, random: [u8; 32]) -> Self {
        Self { endpoint: endpoint.to_string(), challenge: URL_SAFE_NO_PAD.encode(random), version }
    }

    /// Returns the `data` of its event.
    #[must_use]
    pub fn data(&self) -> serde_json::Value {
        serde_json::json!({"endpoint": self.endpoint, "challenge": self.challenge, "version": self.version})
    }

    /// Reads the question of an event, if it is a verification event. Producers cannot submit such events.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let is_one = event.kind == VERIFICATION_TYPE && event.key.source == OWN_SOURCE;
        is_one.then(|| serde_json::from_str(event.data()).ok()).flatten()
    }
}

/// The request of the handshake (section 4.1): an `OPTIONS` without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The target: the endpoint's URL.
    pub target: Target,
    /// The names and values of the headers, without authentication.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

impl Preflight {
    /// Builds the request that asks, on behalf of `sender`, whether `endpoint` wants webhooks.
    #[must_use]
    pub fn new(endpoint: &Endpoint, target: Target, sender: &str) -> Self {
        let ours = [("user-agent", USER_AGENT), (REQUEST_ORIGIN, sender)];
        let ours = ours.map(|(name, value)| (Cow::Borrowed(name), value.to_owned()));
        let own = endpoint.headers.iter().map(|(name, value)| (Cow::Owned(name.clone()), value.clone()));
        Self { target, headers: ours.into_iter().chain(own).collect() }
    }
}

/// The parts of an answer that decide.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The wait that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The value of [`ALLOWED_ORIGIN`]. None if the header is absent or occurs several times.
    pub allowed_origin: Option<&'a str>,
    /// The beginning of the body. If the body is longer than an echo can be, so is this.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// Judges the answer to a [`Preflight`] (section 4.2). It must be 2xx and allow the sender or all senders.
    ///
    /// # Errors
    /// [`AttemptError::Unproven`].
    pub fn judge_permission(self, sender: &str) -> AttemptResult {
        let is_allowed = |origin: &str| origin.trim() == "*" || origin.trim().eq_ignore_ascii_case(sender);
        self.judge_proof(self.allowed_origin.is_some_and(is_allowed))
    }

    /// Judges the answer to a webhook with a challenge. It must be 2xx, and its body must be the challenge, or a JSON
    /// object with only the member `challenge`. An answer with more around the challenge proves nothing, because some
    /// servers reflect whole requests.
    ///
    /// # Errors
    /// [`AttemptError::Unproven`], and [`AttemptError::Rejected`] for 410, by which the receiver opts out.
    pub fn judge_echo(self, challenge: &str) -> AttemptResult {
        if self.status == 410 {
            return judge_status(self.status, None);
        }
        self.judge_proof(is_echo(self.body, challenge))
    }

    fn judge_proof(self, is_proof: bool) -> AttemptResult {
        match judge_status(self.status, self.retry_after) {
            Ok(status) if is_proof => Ok(status),
            judged => {
                let retry_after = judged.err().and_then(|error| error.asks_to_wait());
                Err(AttemptError::Unproven { status: self.status, retry_after })
            }
        }
    }
}

fn is_echo(body: &[u8], challenge: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Echo<'a> {
        #[serde(borrow)]
        challenge: Cow<'a, str>,
    }

    let body = body.trim_ascii();
    if challenge.is_empty() || body.len() > MAX_ECHO_BYTES {
        return false;
    }
    let is_object = body.first() == Some(&b'{'); // Serde would also read a list with one text.
    let echo = || serde_json::from_slice::<Echo<'_>>(body).is_ok_and(|echo| echo.challenge == challenge);
    body == challenge.as_bytes() || (is_object && echo())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::endpoint::target::TargetRules;

    const CHALLENGE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn endpoint(url: &str, verification: Verification) -> Endpoint {
        Endpoint { verification, ..Endpoint::new(url) }
    }

    fn answer<'a>(status: u16, allowed_origin: Option<&'a str>, body: &'a [u8]) -> Answer<'a> {
        Answer { status, retry_after: None, allowed_origin, body }
    }

    #[test]
    fn an_endpoint_can_ask_for_more_proof_than_its_stack_and_not_for_less() {
        use Verification::{Challenge, None as Nothing};
        let cases = [
            (Nothing, Nothing, None, false, "nobody asks"),
            (Challenge, Nothing, None, true, "the stack requires proof"),
            (Nothing, Challenge, None, true, "the endpoint requires proof"),
            (Challenge, Challenge, None, true, "both ask"),
            (Challenge, Nothing, Some("https://a.example"), false, "it is verified"),
            (Challenge, Nothing, Some("http://a.example"), true, "under another scheme"),
            (Challenge, Nothing, Some("https://a.example:8443"), true, "on another port"),
            (Challenge, Nothing, Some("https://b.example"), true, "another host"),
            (Challenge, Nothing, Some(""), true, "nothing"),
        ];
        for (stack, own, verified_origin, expected, why) in cases {
            let endpoint = endpoint("https://a.example/in?q=1", own);
            assert_eq!(Proof { stack, endpoint: &endpoint, verified_origin }.is_missing(), expected, "{why}");
        }
    }

    #[test]
    fn a_change_makes_an_endpoint_unverified_that_moves_or_begins_to_ask() {
        use DisabledBecause::{Failing, Gone, Operator, Unverified};
        use Verification::{Challenge, None as Nothing};
        const A: &str = "https://a.example/in";
        let cases = [
            (
                None,
                (A, Challenge),
                ("https://b.example/in", Challenge),
                Some("https://a.example"),
                Some(Unverified),
                "it moves",
            ),
            (
                None,
                (A, Challenge),
                ("https://a.example/out", Challenge),
                Some("https://a.example"),
                None,
                "another path",
            ),
            (None, (A, Nothing), (A, Challenge), None, Some(Unverified), "it begins to require proof"),
            (None, (A, Nothing), (A, Challenge), Some("https://a.example"), None, "it was verified before"),
            (None, (A, Challenge), (A, Challenge), None, None, "it received webhooks before the stack required proof"),
            (None, (A, Nothing), ("https://b.example/in", Nothing), None, None, "nobody asks"),
            (
                Some(Unverified),
                (A, Challenge),
                ("https://a.example/out", Challenge),
                None,
                Some(Unverified),
                "still open",
            ),
            (
                Some(Unverified),
                ("https://b.example", Challenge),
                (A, Challenge),
                Some("https://a.example"),
                None,
                "back where it was",
            ),
            (Some(Unverified), (A, Challenge), (A, Nothing), None, None, "no setting requires proof any more"),
            (
                Some(Operator),
                (A, Challenge),
                ("https://b.example", Challenge),
                None,
                Some(Operator),
                "enabling requires proof",
            ),
            (Some(Gone), (A, Challenge), ("https://b.example", Challenge), None, Some(Gone), "enabling requires proof"),
            (Some(Failing), (A, Challenge), ("https://b.example", Nothing), None, Some(Failing), "as it was"),
        ];
        for (disabled, before, after, verified_origin, expected, why) in cases {
            let (before, after) = (endpoint(before.0, before.1), endpoint(after.0, after.1));
            let proof = Proof { stack: Nothing, endpoint: &after, verified_origin };
            assert_eq!(after_change(disabled, &before, proof), expected, "{why}");
        }
    }

    #[test]
    fn disabling_and_enabling_is_no_way_around_the_proof() {
        use DisabledBecause::{Failing, Gone, Operator, Unverified};
        let endpoint = endpoint("https://a.example/in", Verification::Challenge);
        let proof = |verified_origin| Proof { stack: Verification::None, endpoint: &endpoint, verified_origin };
        for because in [Failing, Gone, Operator, Unverified] {
            assert_eq!(after_enabling(Some(because), proof(None)), Some(Unverified), "{because:?}");
            assert_eq!(after_enabling(Some(because), proof(Some("https://a.example"))), None, "{because:?}");
        }
        assert_eq!(after_enabling(None, proof(None)), None, "an enabled endpoint stays enabled");
        let cases = [
            (None, Operator),
            (Some(Unverified), Operator),
            (Some(Operator), Operator),
            (Some(Gone), Gone),
            (Some(Failing), Failing),
        ];
        for (disabled, expected) in cases {
            assert_eq!(after_disabling(disabled), expected, "{disabled:?}");
        }
    }

    #[test]
    fn the_state_of_an_endpoint_is_one_word() {
        let cases = [
            (None, "enabled"),
            (Some(DisabledBecause::Unverified), "unverified"),
            (Some(DisabledBecause::Gone), "disabled"),
            (Some(DisabledBecause::Failing), "disabled"),
            (Some(DisabledBecause::Operator), "disabled"),
        ];
        for (disabled, expected) in cases {
            assert_eq!(state(disabled), expected);
        }
    }

    #[test]
    fn permission_is_a_2xx_that_allows_the_sender_or_all() {
        let cases = [
            (200, Some("hooks.example"), true, "the sender"),
            (204, Some("*"), true, "all senders"),
            (200, Some(" HOOKS.example "), true, "names of hosts are case-insensitive (RFC 4343)"),
            (200, None, false, "a server that answers every OPTIONS (section 4.2: no status is consent)"),
            (200, Some(""), false, "nothing"),
            (200, Some("other.example"), false, "another sender"),
            (200, Some("hooks.example, other.example"), false, "a list: the value is one name or the asterisk"),
            (200, Some("*.example"), false, "a pattern"),
            (301, Some("*"), false, "redirects are never followed"),
            (405, Some("*"), false, "a refusal"),
        ];
        for (status, allowed, expected, why) in cases {
            assert_eq!(answer(status, allowed, b"").judge_permission("hooks.example").is_ok(), expected, "{why}");
        }
    }

    #[test]
    fn an_echo_is_the_challenge_or_an_object_of_nothing_else() {
        let object = |members: &str| format!("{{{members}}}");
        let whole = format!(r#"{{"endpoint":"ep_1","challenge":"{CHALLENGE}","version":1}}"#);
        let cases = [
            (200, CHALLENGE.to_owned(), true, "the challenge"),
            (201, format!("\r\n {CHALLENGE}\n"), true, "with whitespace around it"),
            (200, object(&format!(r#""challenge":"{CHALLENGE}""#)), true, "in JSON"),
            (200, object(&format!(" \"challenge\" : \"{CHALLENGE}\"\n")), true, "with whitespace"),
            (200, whole.clone(), false, "the request's body, reflected"),
            (200, format!(r#"{{"data":{whole}}}"#), false, "inside something else"),
            (200, object(&format!(r#""challenge":"{CHALLENGE}","challenge":"{CHALLENGE}""#)), false, "twice"),
            (200, object(r#""challenge":"AAAA""#), false, "another challenge"),
            (200, format!(r#"["{CHALLENGE}"]"#), false, "a list"),
            (200, format!(r#""{CHALLENGE}""#), false, "a JSON text"),
            (200, format!("challenge={CHALLENGE}"), false, "a form"),
            (200, CHALLENGE.to_lowercase(), false, "in another case"),
            (200, format!("{CHALLENGE} ok"), false, "and more"),
            (200, "ok".to_owned(), false, "an acknowledgement"),
            (200, String::new(), false, "nothing"),
            (500, CHALLENGE.to_owned(), false, "a failure"),
            (302, CHALLENGE.to_owned(), false, "a redirect"),
        ];
        for (status, body, expected, why) in cases {
            assert_eq!(answer(status, None, body.as_bytes()).judge_echo(CHALLENGE).is_ok(), expected, "{why}");
        }
        assert!(answer(200, None, b"").judge_echo("").is_err(), "without a challenge there is no proof");
    }

    #[test]
    fn a_refusal_keeps_its_status_and_its_wait_and_410_opts_out() {
        let minute = Some(Duration::from_mins(1));
        let asked =
            |status| Answer { retry_after: minute, ..answer(status, None, b"") }.judge_echo(CHALLENGE).unwrap_err();
        let cases = [(429, minute), (503, minute), (500, None), (200, None)];
        for (status, wait) in cases {
            let error = asked(status);
            assert_eq!((error.status(), error.asks_to_wait(), error.is_retryable()), (Some(status), wait, true));
            assert!(matches!(error, AttemptError::Unproven { .. }), "{error:?}");
        }
        assert!(matches!(asked(410), AttemptError::Rejected { status: 410, .. }));
    }

    proptest! {
        /// A server that does not know challenges can only answer one with more text around it.
        #[test]
        fn no_answer_with_more_in_it_is_an_echo(before in ".{0,40}", after in ".{0,40}") {
            prop_assume!(!before.trim_ascii().is_empty() || !after.trim_ascii().is_empty());
            let body = format!("{before}{CHALLENGE}{after}");
            let is_object = serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|value| value.is_object());
            prop_assume!(!is_object);
            prop_assert!(!is_echo(body.as_bytes(), CHALLENGE));
        }
    }

    #[test]
    fn a_question_reads_back_from_its_event_and_from_no_other() {
        let id = EndpointId::new(Uuid::from_u128(7));
        let question = Question::new(&id, 3, [0; 32]);
        assert_eq!(question.challenge, CHALLENGE);
        let event = |kind: &str, source: &str| {
            let data = question.data();
            let text = format!(
                r#"{{"specversion":"1.0","id":"1","source":"{source}","type":"{kind}","tenant":"acme","data":{data}}}"#
            );
            Event::parse_own(&text).unwrap()
        };
        assert_eq!(Question::of(&event(VERIFICATION_TYPE, OWN_SOURCE)), Some(question.clone()));
        assert_eq!(Question::of(&event(VERIFICATION_TYPE, "/core")), None, "a producer's");
        assert_eq!(Question::of(&event("signpost.test", OWN_SOURCE)), None, "another type");
    }

    #[test]
    fn the_handshake_names_the_sender_and_carries_the_endpoints_own_headers() {
        let mut endpoint = Endpoint::new("https://a.example/in");
        endpoint.headers.insert("X-Team".into(), "payments".into());
        let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
        let asked = Preflight::new(&endpoint, target.clone(), "hooks.example");
        let headers: Vec<_> = asked.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [("user-agent", USER_AGENT), (REQUEST_ORIGIN, "hooks.example"), ("X-Team", "payments")];
        assert_eq!((asked.target, &*headers), (target, &expected[..]));
    }
}
