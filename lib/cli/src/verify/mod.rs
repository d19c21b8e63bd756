//! The verification of webhooks, step by step: which step failed, what was found, and what to do.

mod http_signature;
mod jws;
pub mod keys;
pub mod reencoding;
pub mod request;
mod standard_webhooks;

use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::standard_webhooks::SigningSecret;
use url::Url;

use keys::PublishedKey;
use request::SavedRequest;

/// Keys and settings that a receiver trusts, from its own configuration.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The tenant's published keys.
    pub keys: Vec<PublishedKey>,
    /// The endpoint's secrets, for `v1`.
    pub secrets: Vec<SigningSecret>,
    /// The endpoint's id, for `v1a`.
    pub endpoint: Option<String>,
    /// The URL in the endpoint's settings.
    pub url: Option<Url>,
    /// The endpoint's `jwsAlgorithm`.
    pub algorithm: Option<Algorithm>,
    /// The time with which the moment of signing is compared, in seconds since the Unix epoch; none for any age.
    pub now: Option<u64>,
    /// The largest difference between the two.
    pub tolerance: Duration,
}

/// A signature format (`signatures` of an endpoint).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `jws`.
    Jws,
    /// `standard-webhooks`.
    StandardWebhooks,
    /// `http-message-signatures`.
    HttpMessageSignatures,
}

impl Format {
    /// Returns the name in an endpoint's settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::StandardWebhooks => "standard-webhooks",
            Self::HttpMessageSignatures => "http-message-signatures",
        }
    }
}

/// The step at which a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The algorithm is not one of Signpost's, or not the key's.
    Algorithm,
    /// The body has fewer bytes than were announced.
    BodyCut,
    /// The body is empty, and was not when it was signed.
    BodyMissing,
    /// A program parsed the body and wrote it again.
    BodyReencoded,
    /// The signature covers too little.
    ComponentMissing,
    /// The body does not have the digest that the request names.
    Digest,
    /// The moment of signing is ahead of the clock.
    FromTheFuture,
    /// A header that the format needs is missing.
    HeaderMissing,
    /// The `kid` is not a UUID.
    KidMalformed,
    /// No published key has the `kid`.
    KidUnknown,
    /// The header of the signature cannot be read.
    Malformed,
    /// No request of Signpost: no signature at all.
    NoSignature,
    /// The payload is inside the JWS.
    NotDetached,
    /// The secret is missing or not the endpoint's.
    Secret,
    /// Bytes or headers changed, and no known change explains it.
    Signature,
    /// The text of the signature has another length or alphabet.
    SignatureMalformed,
    /// The signature has another purpose.
    Tag,
    /// The moment of signing is missing or not a number.
    Timestamp,
    /// The moment of signing is too long ago.
    TooOld,
    /// The request was sent to another URL.
    Url,
    /// The signature is of another endpoint.
    WrongEndpoint,
    /// The signature was made for another tenant.
    WrongTenant,
}

impl Step {
    /// Returns the name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::BodyCut => "body-cut",
            Self::BodyMissing => "body-missing",
            Self::BodyReencoded => "body-reencoded",
            Self::ComponentMissing => "component-missing",
            Self::Digest => "digest",
            Self::FromTheFuture => "from-the-future",
            Self::HeaderMissing => "header-missing",
            Self::KidMalformed => "kid-malformed",
            Self::KidUnknown => "kid-unknown",
            Self::Malformed => "malformed",
            Self::NoSignature => "no-signature",
            Self::NotDetached => "not-detached",
            Self::Secret => "secret",
            Self::Signature => "signature",
            Self::SignatureMalformed => "signature-malformed",
            Self::Tag => "tag",
            Self::Timestamp => "timestamp",
            Self::TooOld => "too-old",
            Self::Url => "url",
            Self::WrongEndpoint => "wrong-endpoint",
            Self::WrongTenant => "wrong-tenant",
        }
    }

    /// Returns whether a key that is not in the key set may be the reason.
    #[must_use]
    pub fn may_lack_a_key(self) -> bool {
        matches!(self, Self::KidUnknown | Self::WrongTenant | Self::Signature | Self::WrongEndpoint)
    }
}

/// The reason why a signature does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The step that failed.
    pub step: Step,
    /// The fact: found, and expected.
    pub found: String,
    /// The advice: something to do.
    pub next: String,
}

impl Diagnosis {
    pub(crate) fn new(step: Step, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { step, found: found.into(), next: next.into() }
    }
}

/// A signature that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The algorithm or the version: `RS256`, `v1 and v1a`.
    pub by: String,
    /// The key, if it has an id.
    pub kid: Option<String>,
}

/// The result for one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The format.
    pub format: Format,
    /// The signature, or the reason why it does not verify.
    pub result: Result<Verified, Diagnosis>,
}

/// The results for all formats of a request, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each format that the request has.
    pub checks: Vec<Check>,
}

impl Report {
    /// Returns whether all signatures are valid.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.checks.iter().all(|check| check.result.is_ok())
    }

    /// Returns the first diagnosis.
    #[must_use]
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.checks.iter().find_map(|check| check.result.as_ref().err())
    }

    /// Returns whether a key that is not in the key set may be the reason.
    #[must_use]
    pub fn may_lack_a_key(&self) -> bool {
        self.diagnosis().is_some_and(|diagnosis| diagnosis.step.may_lack_a_key())
    }

    /// Returns the first `kid` of a valid signature.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.checks.iter().find_map(|check| check.result.as_ref().ok()?.kid.as_deref())
    }

    /// Returns the report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let check = |check: &Check| match &check.result {
            Ok(Verified { by, kid }) => json!({"format": check.format.as_str(), "valid": true, "by": by, "kid": kid}),
            Err(Diagnosis { step, found, next }) => {
                json!({"format": check.format.as_str(), "valid": false, "step": step.as_str(), "found": found, "next": next})
            }
        };
        json!({"valid": self.is_valid(), "checks": self.checks.iter().map(check).collect::<Vec<_>>()})
    }
}

/// Verifies each signature that the request has.
#[must_use]
pub fn verify(request: &SavedRequest, trust: &Trust) -> Report {
    let mut checks = Vec::new();
    let mut add = |format, result| checks.push(Check { format, result });
    let payload = payload(request, trust);
    if let Some(header) = request.header("jws-signature") {
        add(Format::Jws, jws::verify(header, request, &payload, trust));
    }
    if let Some(header) = request.header("webhook-signature") {
        add(Format::StandardWebhooks, standard_webhooks::verify(header, request, &payload, trust));
    }
    if request.header("signature").is_some() || request.header("signature-input").is_some() {
        add(Format::HttpMessageSignatures, http_signature::verify(request, trust));
    }
    if checks.is_empty() {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        let found = format!(
            "there is no `jws-signature`, `webhook-signature` or `signature`; the headers are {}",
            names.join(", ")
        );
        let next = "save the request with all of its headers; look for a proxy that removes headers, and for the endpoint's `signatures`";
        checks.push(Check { format: Format::Jws, result: Err(Diagnosis::new(Step::NoSignature, found, next)) });
    }
    Report { checks }
}

/// Returns the signed payload: the body, or for a `GET` the query without that of the endpoint's own URL.
fn payload(request: &SavedRequest, trust: &Trust) -> Vec<u8> {
    if request.method.as_deref() != Some("GET") {
        return request.body.clone();
    }
    let query = request.target.as_deref().and_then(|target| target.split_once('?')).map_or("", |(_, query)| query);
    let own = trust.url.as_ref().and_then(Url::query).unwrap_or_default();
    let rest = match query.strip_prefix(own) {
        Some(rest) if !own.is_empty() => rest.strip_prefix('&').unwrap_or(rest),
        _ => query,
    };
    rest.as_bytes().to_vec()
}

/// Explains a signature that does not fit the payload. `fits` says whether it fits another payload.
fn explain_mismatch(request: &SavedRequest, payload: &[u8], covers: &str, fits: &dyn Fn(&[u8]) -> bool) -> Diagnosis {
    let short_of = request.content_length().filter(|length| request.body.len() < *length);
    // Nothing that was cut is still valid JSON: a short body that is valid was encoded again.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok();
    if let Some(length) = short_of.filter(|_| !is_json) {
        let found = format!("`content-length` is {length}, and the body has {} bytes", request.body.len());
        let next = "read the body to its end; look for a limit on the length of bodies";
        return if request.body.is_empty() {
            Diagnosis::new(
                Step::BodyMissing,
                found,
                "verify before another program reads the body; read the raw bytes once, and keep them",
            )
        } else {
            Diagnosis::new(Step::BodyCut, found, next)
        };
    }
    if payload.is_empty() && request.method.as_deref() != Some("GET") {
        let next = "verify before another program reads the body; read the raw bytes once, and keep them";
        return Diagnosis::new(Step::BodyMissing, "the body is empty; expected the bytes that arrived", next);
    }
    if let Some(change) = reencoding::find_change(payload, fits) {
        let found = format!(
            "the body was parsed and encoded again: {} at {}: it has `{}`, and Signpost signed `{}`",
            change.what, change.place, change.has, change.signed
        );
        return Diagnosis::new(Step::BodyReencoded, found, "verify the bytes as they arrived, before any JSON parser");
    }
    if let Some(place) = reencoding::suspicious_place(payload) {
        let found = format!("the body has whitespace at {place}, which Signpost never sends: it was encoded again");
        return Diagnosis::new(Step::BodyReencoded, found, "verify the bytes as they arrived, before any JSON parser");
    }
    if let Some(length) = short_of {
        let found = format!(
            "`content-length` is {length}, and the body is whole JSON of {} bytes: it was encoded again",
            request.body.len()
        );
        return Diagnosis::new(Step::BodyReencoded, found, "verify the bytes as they arrived, before any JSON parser");
    }
    let found = format!("the signature does not fit; it covers {covers}, and at least one of these changed");
    Diagnosis::new(
        Step::Signature,
        found,
        "compare each with what arrived; the event's record has `bodySha256` and the headers that Signpost sent",
    )
}

/// Compares the moment of signing with the clock.
fn check_age(signed_at: u64, name: &str, trust: &Trust) -> Result<(), Diagnosis> {
    let Some(now) = trust.now else { return Ok(()) };
    let tolerance = trust.tolerance.as_secs();
    if signed_at.saturating_add(tolerance) < now {
        let found = format!(
            "the signature is valid, and `{name}` is {} s ago; expected at most {tolerance} s",
            now - signed_at
        );
        let next = "if the request is a saved one, add --any-age; else compare your clock, and look for a queue in front of the receiver";
        return Err(Diagnosis::new(Step::TooOld, found, next));
    }
    if signed_at > now.saturating_add(tolerance) {
        let found = format!("`{name}` is {} s ahead of the clock; expected at most {tolerance} s", signed_at - now);
        return Err(Diagnosis::new(Step::FromTheFuture, found, "set the clock of the receiver by NTP"));
    }
    Ok(())
}

/// Finds the key that a signature names, and checks that the two go together.
fn key_of<'a>(
    kid: &str,
    algorithm: Algorithm,
    trust: &'a Trust,
    fits: &dyn Fn(&PublishedKey) -> bool,
) -> Result<&'a PublishedKey, Diagnosis> {
    if uuid::Uuid::try_parse(kid).is_err() {
        let shown: String = kid.chars().take(60).collect();
        let found = format!("the `kid` is `{shown}`; expected a UUID");
        return Err(Diagnosis::new(
            Step::KidMalformed,
            found,
            "refuse the request, and put nothing but a UUID into a URL",
        ));
    }
    let tenants = || trust.keys.iter().filter(|key| key.endpoint.is_none());
    let Some(key) = tenants().find(|key| key.kid == kid) else {
        if tenants().any(|key| key.algorithm == algorithm && fits(key)) {
            let found = format!("the signature is Signpost's, and `{kid}` is the `kid` of another tenant");
            let next = "refuse the request; check that the key set is that of the endpoint's tenant (`jwksUrl`)";
            return Err(Diagnosis::new(Step::WrongTenant, found, next));
        }
        let known: Vec<_> = tenants().map(|key| key.kid.as_str()).collect();
        let found = format!(
            "no key has the `kid` `{kid}`; the key set has {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        let next = "fetch the key set again; if the `kid` is still unknown, the key has retired, or the request is for another tenant: refuse it";
        return Err(Diagnosis::new(Step::KidUnknown, found, next));
    };
    let expected = trust.algorithm.unwrap_or(key.algorithm);
    if algorithm != key.algorithm || algorithm != expected {
        let found =
            format!("the signature names {algorithm}, and the key is for {}; expected {expected}", key.algorithm);
        return Err(Diagnosis::new(
            Step::Algorithm,
            found,
            "refuse the request, and accept the endpoint's `jwsAlgorithm` only",
        ));
    }
    Ok(key)
}

fn check_length(signature: &[u8], key: &PublishedKey) -> Result<(), Diagnosis> {
    if signature.len() == key.signature_bytes() {
        return Ok(());
    }
    let found = format!(
        "the signature has {} bytes; expected {}, as {} has",
        signature.len(),
        key.signature_bytes(),
        key.algorithm
    );
    Err(Diagnosis::new(
        Step::SignatureMalformed,
        found,
        "look for a program that cuts long headers; pass the header on unchanged",
    ))
}
