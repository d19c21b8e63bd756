//! Endpoint settings as operators write them: read with every fault listed, patched, and shown again.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::auth::{Auth, AuthHeader, ClientCredentials, api_key, basic};
use crate::endpoint::{Endpoint, EndpointId, SignatureFormat, TimeoutSeconds, TypeFilter};
use crate::fault::{Fault, Faults};
use crate::key_store::{Store, StoreFormat};
use crate::object::{Found, Object};
use crate::retry::{RetryPolicy, Written};
use crate::secret::Secret;
use crate::target::{Target, TargetRules};

/// What settings are read against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Which URLs may be called.
    pub targets: &'a TargetRules,
    /// The moment, in seconds since the Unix epoch: certificates must be valid then.
    pub now: u64,
    /// The endpoint as it was, if it was: its secret stays if no other is given.
    pub stored: Option<Stored<'a>>,
}

/// An endpoint that a patch is made to.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its settings.
    pub endpoint: &'a Endpoint,
    /// The authorities that it trusts, in PEM.
    pub trusted: Option<&'a str>,
}

/// Settings that were read without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The settings that are no secret.
    pub endpoint: Endpoint,
    /// The secret of [`Endpoint::auth`] in the form that it is sealed in; none where there is none, or where the one that
    /// is stored stays.
    pub auth_secret: Option<Secret>,
    /// The authorities that the receiver's certificate must come from, in PEM; none for the public ones.
    pub trusted: Option<String>,
}

/// The most characters of a URL.
pub const MAX_URL_CHARACTERS: usize = 2_048;
/// The most characters of other texts, such as names and descriptions.
const MAX_TEXT_CHARACTERS: usize = 1_000;
/// The most characters of a type, a status, a stage, or a field's name.
const MAX_NAME_CHARACTERS: usize = 256;
/// The most characters of a secret.
const MAX_SECRET_CHARACTERS: usize = 4_096;
/// The most items of a list.
const MAX_ITEMS: usize = 100;
/// The most bytes of all settings that are no secret: each event reads those of all endpoints of its tenant.
const MAX_SETTINGS_BYTES: usize = 32 * 1024;
/// The most bytes of a client's key and certificates, and of trusted authorities, once they are PEM.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// Reads settings.
///
/// # Errors
/// Every fault, with pointers into the settings. No secret is quoted.
pub fn read(text: &str, context: Context<'_>) -> Result<Submission, Vec<Fault>> {
    let value: &RawValue = serde_json::from_str(text)
        .map_err(|error| vec![Fault::whole(error.to_string(), "settings of an endpoint in JSON")])?;
    let mut faults = Faults::default();
    let read = read_value(value, context, &mut faults);
    let Some(submission) = read else { return Err(faults.none().err().unwrap_or_default()) };
    faults.extend(submission.endpoint.check().err().unwrap_or_default());
    let bytes = json!(submission.endpoint).to_string().len();
    if bytes > MAX_SETTINGS_BYTES {
        faults.push(Fault::whole(format!("{bytes} bytes"), format!("{MAX_SETTINGS_BYTES} bytes at the most, in all")));
    }
    faults.none().map(|()| submission)
}

/// Gives the settings as they are shown: without secrets, a client certificate by its facts, trusted authorities in PEM.
#[must_use]
pub fn shown(endpoint: &Endpoint, trusted: Option<&str>) -> Value {
    let mut shown = json!(endpoint);
    if let Some(pem) = trusted {
        shown["auth"]["trustStore"] = json!({"format": "pem", "content": pem});
    }
    shown
}

/// Applies a JSON Merge Patch (RFC 7396) to the settings and gives the whole of what comes out, to be [`read`].
///
/// Another `auth.kind` replaces all of `auth`, and a retry policy of another kind all of `retry`: what belongs to the
/// former kind means nothing under the new one.
///
/// # Errors
/// The patch is no JSON object.
pub fn patched(endpoint: &Endpoint, trusted: Option<&str>, patch: &str) -> Result<String, Vec<Fault>> {
    const EXPECTED: &str = "a JSON Merge Patch (RFC 7396) of the settings";
    let patch: Value = serde_json::from_str(patch).map_err(|error| vec![Fault::whole(error.to_string(), EXPECTED)])?;
    if !patch.is_object() {
        return Err(vec![Fault::whole("no JSON object", EXPECTED)]);
    }
    let mut settings = shown(endpoint, trusted);
    if let Some(auth) = settings["auth"].as_object_mut() {
        auth.remove("certificate"); // It is shown, and not set.
        if patch["auth"].get("kind").is_some_and(|kind| Some(kind) != auth.get("kind")) {
            auth.clear();
        }
    }
    if let Some(retry) = settings["retry"].as_object_mut() {
        let new = &patch["retry"];
        let gets_schedule = new["schedule"].is_array();
        let loses_schedule = retry.contains_key("schedule") && new.as_object().is_some_and(|new| !new.is_empty());
        let changes_backoff = new.get("backoff").is_some_and(|backoff| Some(backoff) != retry.get("backoff"));
        if gets_schedule || loses_schedule || changes_backoff {
            retry.clear();
        }
    }
    json_patch::merge(&mut settings, &patch);
    Ok(settings.to_string())
}

/// How long a signing secret goes on signing after another has followed it, unless the operator says.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// Reads how long the overlap of a secret's rotation is: `{"overlapSeconds":…}`, 0 to a week. The body may be absent.
///
/// # Errors
/// Every fault.
pub fn overlap(text: Option<&str>) -> Result<Duration, Vec<Fault>> {
    let Some(text) = text else { return Ok(DEFAULT_OVERLAP) };
    let value: &RawValue = serde_json::from_str(text)
        .map_err(|error| vec![Fault::whole(error.to_string(), "{\"overlapSeconds\":…}, or no body")])?;
    let mut faults = Faults::default();
    let mut overlap = Some(DEFAULT_OVERLAP);
    if let Some(mut object) = Object::open(&Found { pointer: String::new(), value }, &mut faults) {
        if let Some(found) = object.member("overlapSeconds") {
            overlap = found.within(0..=604_800, &mut faults).map(|seconds| Duration::from_secs(seconds.into()));
        }
        object.close(&mut faults);
    }
    faults.none()?;
    Ok(overlap.unwrap_or(DEFAULT_OVERLAP))
}

/// Reads which endpoint a replay is for: `{"endpoint":"ep_…"}`; all that want the event if the body is absent or empty.
///
/// # Errors
/// Every fault.
pub fn replay(text: Option<&str>) -> Result<Option<EndpointId>, Vec<Fault>> {
    let Some(text) = text else { return Ok(None) };
    let value: &RawValue = serde_json::from_str(text)
        .map_err(|error| vec![Fault::whole(error.to_string(), "{\"endpoint\":\"ep_…\"}, or no body")])?;
    let (mut faults, mut endpoint) = (Faults::default(), None);
    if let Some(mut object) = Object::open(&Found { pointer: String::new(), value }, &mut faults) {
        if let Some(found) = object.member("endpoint") {
            let text: Option<String> = found.read(ENDPOINT_ID, &mut faults);
            endpoint = text.as_deref().and_then(EndpointId::parse);
            if text.is_some() && endpoint.is_none() {
                faults.push(Fault::at(&found.pointer, found.value, ENDPOINT_ID));
            }
        }
        object.close(&mut faults);
    }
    faults.none().map(|()| endpoint)
}

const ENDPOINT_ID: &str = "an endpoint's id, `ep_` and 32 hexadecimal digits";

fn read_value(value: &RawValue, context: Context<'_>, faults: &mut Faults) -> Option<Submission> {
    let mut object = Object::open(&Found { pointer: String::new(), value }, faults)?;
    let url = read_target(&mut object, "url", context.targets, faults);
    let mut endpoint = Endpoint::new(url.clone().unwrap_or_default());
    if let Some(found) = object.member("description") {
        endpoint.description = found.text_or_empty(MAX_TEXT_CHARACTERS, faults).unwrap_or_default();
    }
    if let Some(found) = object.member("types") {
        endpoint.types = found.items(MAX_ITEMS, faults).iter().filter_map(|item| read_filter(item, faults)).collect();
    }
    if let Some(found) = object.member("fields") {
        endpoint.fields = read_fields(&found, faults);
    }
    if let Some(found) = object.member("method") {
        endpoint.method = found.read("one of GET, POST, PUT", faults).unwrap_or_default();
    }
    let auth = object.member("auth");
    let auth = auth.map_or_else(ReadAuth::default, |found| read_auth(&found, url.as_deref(), context, faults));
    if let Some(found) = object.member("signatures") {
        let expected = "one of jws, standard-webhooks, http-message-signatures";
        let formats = found.items(MAX_ITEMS, faults);
        let formats: Vec<Option<SignatureFormat>> =
            formats.iter().map(|format| format.read(expected, faults)).collect();
        if formats.iter().all(Option::is_some) {
            endpoint.signatures = formats.into_iter().flatten().collect(); // Else none may be left, a fault by itself.
        }
    }
    if let Some(found) = object.member("jwsAlgorithm") {
        endpoint.jws_algorithm = found.read("one of RS256, ES256, EdDSA", faults).unwrap_or_default();
    }
    if let Some(found) = object.member("retry") {
        endpoint.retry = read_retry(&found, faults).unwrap_or_default();
    }
    if let Some(found) = object.member("timeoutSeconds") {
        let seconds = found.within(TimeoutSeconds::RANGE, faults).and_then(|seconds| u8::try_from(seconds).ok());
        endpoint.timeout_seconds = seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or_default();
    }
    if let Some(found) = object.nullable_member("maxConcurrency") {
        faults.push(Fault::at(&found.pointer, found.value, "null: there is no limit to set"));
    }
    if let Some(found) = object.member("headers") {
        endpoint.headers = read_headers(&found, faults);
    }
    if let Some(header) = &auth.header
        && endpoint.headers.keys().any(|name| name.eq_ignore_ascii_case(&header.name))
    {
        faults.push(Fault::hidden("/auth/secret", "a header that is not among `headers` as well"));
    }
    for name in ["id", "tenant", "disabledBecause", "createdAt", "updatedAt", "signingSecrets", "signingSecret"] {
        object.refuse(name, "nothing: it is shown, and not set", faults);
    }
    object.refuse("enabled", "nothing: POST …/enable or …/disable", faults);
    object.close(faults);
    endpoint.auth = auth.auth;
    Some(Submission { endpoint, auth_secret: auth.secret, trusted: auth.trusted })
}

/// Reads a URL that may be called.
fn read_target(
    object: &mut Object<'_>,
    name: &'static str,
    targets: &TargetRules,
    faults: &mut Faults,
) -> Option<String> {
    let Some(found) = object.member(name) else {
        faults.push(Fault::nothing_at(&object.pointer_to(name), "a URL such as https://hooks.example/path"));
        return None;
    };
    let url = found.text(MAX_URL_CHARACTERS, faults)?;
    let target = targets.parse(&url).map_err(|error| format!("a URL that may be called: {error}"));
    // Verifiers of HTTP Message Signatures read the target URI by the letter of RFC 3986; the WHATWG parser is milder.
    let is_uri = |target: &Target| fluent_uri::Uri::parse(target.url().as_str()).is_ok();
    let strict = target.and_then(|target| if is_uri(&target) { Ok(()) } else { Err(PERCENT_ENCODED.to_owned()) });
    if let Err(expected) = strict {
        faults.push(Fault::of_text(found.pointer, &url, expected));
        return None;
    }
    targets.parse(&url).ok().map(|target| target.url().to_string()) // As it will be called, and signed.
}

const PERCENT_ENCODED: &str = "a URL with characters such as `|` and `[` percent-encoded (RFC 3986)";

fn read_filter(found: &Found<'_>, faults: &mut Faults) -> Option<TypeFilter> {
    let mut object = Object::open(found, faults)?;
    let kind = object.member("type");
    if kind.is_none() {
        faults.push(Fault::nothing_at(&object.pointer_to("type"), "an event type"));
    }
    let kind = kind.and_then(|kind| kind.text(MAX_NAME_CHARACTERS, faults));
    let statuses = object.member("statuses").map(|found| read_names(&found, faults));
    let stages = object.member("stages").map(|found| read_names(&found, faults));
    object.close(faults);
    Some(TypeFilter { kind: kind?, statuses: statuses.unwrap_or_default(), stages: stages.unwrap_or_default() })
}

fn read_fields(found: &Found<'_>, faults: &mut Faults) -> BTreeMap<String, Vec<String>> {
    let Some(object) = Object::open(found, faults) else { return BTreeMap::new() };
    let members = object.into_members(MAX_ITEMS, faults);
    for (kind, names) in &members {
        if kind.is_empty() || kind.chars().count() > MAX_NAME_CHARACTERS {
            let expected = format!("an event type of 1 to {MAX_NAME_CHARACTERS} characters");
            faults.push(Fault::of_text(names.pointer.clone(), kind, expected));
        }
    }
    members.into_iter().map(|(kind, names)| (kind, read_names(&names, faults))).collect()
}

fn read_names(found: &Found<'_>, faults: &mut Faults) -> Vec<String> {
    let items = found.items(MAX_ITEMS, faults);
    items.iter().filter_map(|item| item.text(MAX_NAME_CHARACTERS, faults)).collect()
}

fn read_headers(found: &Found<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let Some(object) = Object::open(found, faults) else { return BTreeMap::new() };
    let members = object.into_members(MAX_ITEMS, faults).into_iter();
    members.filter_map(|(name, value)| Some((name, value.text_or_empty(MAX_SECRET_CHARACTERS, faults)?))).collect()
}

fn read_retry(found: &Found<'_>, faults: &mut Faults) -> Option<RetryPolicy> {
    let mut object = Object::open(found, faults)?;
    let mut number = |name, range: RangeInclusive<u32>| object.member(name).map(|found| found.within(range, faults));
    let max_retries = number("maxRetries", RetryPolicy::RETRIES);
    let interval_seconds = number("intervalSeconds", RetryPolicy::INTERVAL_SECONDS);
    let max_interval_seconds = number("maxIntervalSeconds", RetryPolicy::INTERVAL_SECONDS);
    let backoff = object.member("backoff").map(|found| found.read("one of fixed, exponential", faults));
    let schedule = object.member("schedule").map(|found| {
        let waits = found.items(*RetryPolicy::RETRIES.end() as usize, faults);
        let read: Vec<_> = waits.iter().map(|wait| wait.within(RetryPolicy::INTERVAL_SECONDS, faults)).collect();
        read.into_iter().collect::<Option<Vec<_>>>() // Every fault first.
    });
    object.close(faults);
    let written = Written {
        max_retries: flatten(max_retries)?,
        interval_seconds: flatten(interval_seconds)?,
        max_interval_seconds: flatten(max_interval_seconds)?,
        backoff: flatten(backoff)?,
        schedule: flatten(schedule)?,
    };
    let policy = RetryPolicy::try_from(written);
    if let Err(error) = &policy {
        faults.push(Fault::at(&found.pointer, found.value, format!("a policy of one kind that ends: {error}")));
    }
    policy.ok()
}

/// What is absent is fine; what is there and could not be read is a fault already.
#[expect(clippy::option_option, reason = "absent, unreadable, or a value")]
fn flatten<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// What `auth` came to.
#[derive(Default)]
struct ReadAuth {
    auth: Auth,
    secret: Option<Secret>,
    trusted: Option<String>,
    header: Option<AuthHeader>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    ApiKey,
    Basic,
    Mtls,
    None,
    Oauth2,
}

fn read_auth(found: &Found<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    const KINDS: &str = "one of none, basic, apiKey, mtls, oauth2";
    let Some(mut object) = Object::open(found, faults) else { return ReadAuth::default() };
    let Some(kind) = object.member("kind") else {
        faults.push(Fault::nothing_at(&object.pointer_to("kind"), KINDS));
        return ReadAuth::default();
    };
    let Some(kind) = kind.read::<Kind>(KINDS, faults) else { return ReadAuth::default() };
    let read = match kind {
        Kind::None => ReadAuth::default(),
        Kind::ApiKey => read_header(&mut object, Auth::ApiKey, api_key, url, context, faults),
        Kind::Basic => read_header(&mut object, Auth::Basic, basic, url, context, faults),
        Kind::Mtls => read_mtls(&mut object, context, faults),
        Kind::Oauth2 => read_oauth2(&mut object, url, context, faults),
    };
    object.close(faults);
    read
}

/// Reads the text that is secret about `auth`. If there is none, the one that is stored stays, provided that what it is
/// bound to stays ([`Auth::binding`]): whoever may point an endpoint elsewhere must not learn its secret by that.
fn read_secret(
    object: &mut Object<'_>,
    auth: &Auth,
    url: Option<&str>,
    context: Context<'_>,
    faults: &mut Faults,
) -> Option<Secret> {
    if let Some(found) = object.member("secret") {
        return found.secret(MAX_SECRET_CHARACTERS, faults).map(Secret::new);
    }
    let stored = context.stored.map(|stored| stored.endpoint).filter(|stored| stored.auth.is_kind_of(auth));
    let expected = match stored {
        None => match auth {
            Auth::Basic => "the secret: `user:pass`",
            Auth::ApiKey => "the secret: `header:value`, or `value` for Authorization",
            Auth::OAuth2(_) => "the client's secret",
            Auth::Mtls { .. } | Auth::None => "no secret",
        },
        // A URL with faults has been told of already.
        Some(stored) if url.is_none_or(|url| stored.auth.binding(&stored.url) == auth.binding(url)) => return None,
        Some(_) => "the secret again, for it would be sent to another server than before",
    };
    faults.push(Fault::nothing_at(&object.pointer_to("secret"), expected));
    None
}

fn read_header(
    object: &mut Object<'_>,
    auth: Auth,
    header_of: fn(&Secret) -> Result<AuthHeader, &'static str>,
    url: Option<&str>,
    context: Context<'_>,
    faults: &mut Faults,
) -> ReadAuth {
    let secret = read_secret(object, &auth, url, context, faults);
    let header = secret.as_ref().map(header_of);
    if let Some(Err(expected)) = &header {
        faults.push(Fault::hidden(object.pointer_to("secret"), *expected));
    }
    ReadAuth { auth, secret, trusted: None, header: header.and_then(Result::ok) }
}

fn read_oauth2(object: &mut Object<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    const VISIBLE: &str = "visible ASCII characters and spaces (RFC 6749, appendix A)";
    let token_url = read_target(object, "tokenUrl", context.targets, faults).unwrap_or_default();
    let client_id = object.member("clientId");
    if client_id.is_none() {
        faults.push(Fault::nothing_at(&object.pointer_to("clientId"), "the client's id"));
    }
    let client_id = client_id.and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults)).unwrap_or_default();
    let scope = object.member("scope").and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults));
    let client_authentication = object
        .member("clientAuthentication")
        .and_then(|found| found.read("one of client_secret_basic, client_secret_post", faults))
        .unwrap_or_default();
    let is_visible = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    for (name, value) in [("clientId", Some(&client_id)), ("scope", scope.as_ref())] {
        if let Some(value) = value.filter(|value| !is_visible(value)) {
            faults.push(Fault::of_text(object.pointer_to(name), value, VISIBLE));
        }
    }
    let auth = Auth::OAuth2(ClientCredentials { token_url, client_id, scope, client_authentication });
    let secret = read_secret(object, &auth, url, context, faults);
    if secret.as_ref().is_some_and(|secret| !is_visible(secret.reveal())) {
        faults.push(Fault::hidden(object.pointer_to("secret"), VISIBLE));
    }
    ReadAuth { auth, secret, ..ReadAuth::default() }
}

fn read_mtls(object: &mut Object<'_>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    let stored = context.stored.and_then(|stored| stored.trusted);
    let trusted = object.nullable_member("trustStore").and_then(|found| {
        // What stays as it is is not judged again: authorities that have expired since must not stop other changes.
        let kept = stored.filter(|pem| found.is(&json!({"format": "pem", "content": pem})));
        let pem = match kept {
            Some(pem) => pem.to_owned(),
            None => with_store(&found, faults, |store| store.trusted(context.now).map(|trusted| trusted.pem))?,
        };
        check_size(&found, &pem, faults);
        Some(pem)
    });
    let (secret, certificate) = match (object.member("keyStore"), context.stored.map(|stored| &stored.endpoint.auth)) {
        (Some(found), _) => {
            let Some(identity) = with_store(&found, faults, |store| store.identity(context.now)) else {
                return ReadAuth::default();
            };
            let secret = Secret::new(identity.pem);
            check_size(&found, secret.reveal(), faults);
            (Some(secret), identity.certificate)
        }
        (None, Some(Auth::Mtls { certificate })) => (None, certificate.clone()),
        (None, _) => {
            let expected = "the private key with its certificate: {\"format\",\"content\",\"password\"}";
            faults.push(Fault::nothing_at(&object.pointer_to("keyStore"), expected));
            return ReadAuth::default();
        }
    };
    ReadAuth { auth: Auth::Mtls { certificate }, secret, trusted, header: None }
}

/// Reads a key store or a trust store with `read`.
fn with_store<T>(
    found: &Found<'_>,
    faults: &mut Faults,
    read: impl FnOnce(Store<'_>) -> Result<T, crate::key_store::StoreError>,
) -> Option<T> {
    let mut object = Object::open(found, faults)?;
    let (format, content) = (object.member("format"), object.member("content"));
    for (name, member) in [("format", &format), ("content", &content)] {
        if member.is_none() {
            let expected = if name == "format" { FORMATS } else { "the store: PEM as it is, others in base64" };
            faults.push(Fault::nothing_at(&object.pointer_to(name), expected));
        }
    }
    let password = object.member("password");
    let password = password.map(|found| found.secret_or_empty(MAX_SECRET_CHARACTERS, faults).map(Secret::new));
    let format: Option<StoreFormat> = format.and_then(|found| found.read(FORMATS, faults));
    let text = content.as_ref().and_then(|found| found.secret(usize::MAX, faults)).map(Secret::new);
    let at = object.pointer_to("content");
    object.close(faults);
    let (format, text) = (format?, text?);
    let password = match password {
        Some(None) => return None, // A fault already.
        Some(password) => password,
        None => None,
    };
    let decoded = match format {
        StoreFormat::Pem => text.reveal().as_bytes().to_vec(),
        StoreFormat::Jks | StoreFormat::Pkcs12 => {
            let digits: String = text.reveal().split_ascii_whitespace().collect();
            let Ok(decoded) = BASE64.decode(digits) else {
                faults.push(Fault::hidden(at, "the store in base64"));
                return None;
            };
            decoded
        }
    };
    let store = Store { format, content: &decoded, password: password.as_ref().map(Secret::reveal) };
    match read(store) {
        Ok(read) => Some(read),
        Err(error) => {
            faults.push(Fault::hidden(&*found.pointer, error.to_string()));
            None
        }
    }
}

const FORMATS: &str = "one of pem, pkcs12, jks";

fn check_size(found: &Found<'_>, pem: &str, faults: &mut Faults) {
    if pem.len() > MAX_PEM_BYTES {
        let expected = format!("{MAX_PEM_BYTES} bytes in PEM at the most");
        faults.push(Fault::whole(format!("{} bytes", pem.len()), expected).under(&*found.pointer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Algorithm;
    use crate::endpoint::Method;

    const CONTEXT: Context<'_> = Context { targets: &TargetRules::INTERNET, now: 0, stored: None };

    fn pointers(settings: &str) -> Vec<String> {
        let faults = read(settings, CONTEXT).expect_err(settings);
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_url_is_enough() {
        let submission = read(r#"{"url":"https://a.example/hook"}"#, CONTEXT).unwrap();
        assert_eq!(submission.endpoint, Endpoint::new("https://a.example/hook"));
        assert_eq!((submission.auth_secret, submission.trusted), (None, None));
    }

    #[test]
    fn every_setting_is_read_and_shown_again() {
        let settings = r#"{"url":"https://a.example/hook","description":"d",
            "types":[{"type":"operation","statuses":["APPROVED"]},{"type":"session","stages":["Accounts"]}],
            "fields":{"operation":["operationId","status"]},"method":"PUT","auth":{"kind":"none"},
            "signatures":["standard-webhooks","jws"],"jwsAlgorithm":"ES256",
            "retry":{"maxRetries":3,"intervalSeconds":7,"backoff":"fixed"},"timeoutSeconds":9,"maxConcurrency":null,
            "headers":{"X-Team":"a"}}"#;
        let endpoint = read(settings, CONTEXT).unwrap().endpoint;
        assert_eq!((endpoint.method, endpoint.jws_algorithm), (Method::Put, Algorithm::ES256));
        let expected: Value = serde_json::from_str(settings).unwrap();
        assert_eq!(shown(&endpoint, None), expected);
        assert_eq!(serde_json::from_value::<Endpoint>(expected).unwrap(), endpoint, "and as the table keeps it");
    }

    #[test]
    fn all_faults_are_listed_at_once() {
        let settings = r#"{"url":"http://a.example","description":7,"types":[{"type":"operation","statuses":["DONE",3]},{}],
            "fields":{"operation":"status"},"method":"DELETE","auth":{"kind":"basic","secret":"nocolon","user":"u"},
            "signatures":["jwt"],"jwsAlgorithm":"HS256","retry":{"maxRetries":101,"intervalSeconds":"5","backoff":"wild"},
            "timeoutSeconds":31,"maxConcurrency":5,"headers":{"Host":"evil"},"url2":1,"description":"twice"}"#;
        let expected = [
            "/url",
            "/description",
            "/types/0/statuses/1",
            "/types/1/type",
            "/fields/operation",
            "/method",
            "/auth/secret",
            "/auth/user",
            "/signatures/0",
            "/jwsAlgorithm",
            "/retry/maxRetries",
            "/retry/intervalSeconds",
            "/retry/backoff",
            "/timeoutSeconds",
            "/maxConcurrency",
            "/url2",
            "/description",
            "/types/0/statuses/0",
            "/headers/Host",
        ];
        assert_eq!(pointers(settings), expected);
    }

    #[test]
    fn a_url_is_one_by_the_letter_of_rfc_3986() {
        for (url, fits) in
            [("a|b", false), ("?q=[1]", false), ("%zz", false), ("a%7Cb?q=%5B1%5D", true), ("ä", true), ("{x}", true)]
        {
            let settings = format!(r#"{{"url":"https://a.example/{url}"}}"#);
            assert_eq!(read(&settings, CONTEXT).is_ok(), fits, "{url}");
        }
    }

    #[test]
    fn what_is_shown_and_not_set_is_told_so() {
        let shown = r#"{"url":"https://a.example","id":"ep_1","enabled":false,"types":["operation"],"colour":1}"#;
        let told: Vec<_> =
            read(shown, CONTEXT).unwrap_err().into_iter().map(|fault| (fault.pointer, fault.expected)).collect();
        assert_eq!(told[0], ("/types/0".into(), "a JSON object".into()));
        assert_eq!(told[1], ("/id".into(), "nothing: it is shown, and not set".into()));
        assert_eq!(told[2], ("/enabled".into(), "nothing: POST …/enable or …/disable".into()));
        assert!(told[3].1.starts_with("no such member; there are url, description"), "{}", told[3].1);
        assert!(!told[3].1.contains("createdAt"));
    }

    #[test]
    fn a_url_is_kept_as_it_will_be_called() {
        let spelled = r#"{"url":"HTTPS://A.example:443/in/../hook?q=ä#part"}"#;
        assert_eq!(read(spelled, CONTEXT).unwrap().endpoint.url, "https://a.example/hook?q=%C3%A4");
    }

    #[test]
    fn what_is_no_settings_at_all_is_one_fault() {
        for text in ["", "[]", "null", "7", "{", r#"{"url":"https://a.example"} x"#] {
            assert_eq!(pointers(text), [""], "{text}");
        }
        assert_eq!(pointers("{}"), ["/url"]);
    }

    #[test]
    fn no_fault_quotes_a_secret() {
        let cases = [
            r#"{"kind":"basic","secret":"hunter2"}"#,
            r#"{"kind":"basic","password":"hunter2"}"#,
            r#"{"kind":"basic","secret":["hunter2"]}"#,
            r#"{"kind":"apiKey","secret":"x-key:hunter2\n"}"#,
            r#"{"kind":"mtls","keyStore":{"format":"pem","content":"hunter2","password":"hunter2"}}"#,
            r#"{"kind":"mtls","keyStore":"hunter2"}"#,
            r#"{"kind":"oauth2","tokenUrl":"https://a.example","clientId":"c","secret":"hunter2\u0000"}"#,
            r#""hunter2""#,
        ];
        for auth in cases {
            let faults = read(&format!(r#"{{"url":"https://a.example","auth":{auth}}}"#), CONTEXT).expect_err(auth);
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
        }
    }

    #[test]
    fn authentication_of_each_kind_is_read() {
        let cases = [
            (r#"{"kind":"basic","secret":"user:pass"}"#, vec![], Some("user:pass")),
            (r#"{"kind":"apiKey","secret":"x-key:v"}"#, vec![], Some("x-key:v")),
            (r#"{"kind":"apiKey","secret":"v"}"#, vec![], Some("v")),
            (r#"{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","secret":"s"}"#, vec![], Some("s")),
            (r#"{"kind":"none"}"#, vec![], None),
            ("null", vec!["/auth"], None),
            (r#"{"kind":"none","secret":"s"}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"digest"}"#, vec!["/auth/kind"], None),
            ("{}", vec!["/auth/kind"], None),
            (r#"{"kind":"basic"}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"apiKey","secret":"X-Team:v"}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"mtls"}"#, vec!["/auth/keyStore"], None),
            (
                r#"{"kind":"mtls","keyStore":{"format":"jks","content":"no base64!"}}"#,
                vec!["/auth/keyStore/content"],
                None,
            ),
            (r#"{"kind":"mtls","keyStore":{}}"#, vec!["/auth/keyStore/format", "/auth/keyStore/content"], None),
            (r#"{"kind":"oauth2"}"#, vec!["/auth/tokenUrl", "/auth/clientId", "/auth/secret"], None),
            (
                r#"{"kind":"oauth2","tokenUrl":"https://10.0.0.1","clientId":"c","secret":"s","clientAuthentication":"none"}"#,
                vec!["/auth/tokenUrl", "/auth/clientAuthentication"],
                None,
            ),
        ];
        for (auth, expected, secret) in cases {
            let text = format!(r#"{{"url":"https://a.example","headers":{{"x-team":"a"}},"auth":{auth}}}"#);
            match read(&text, CONTEXT) {
                Ok(read) => {
                    assert_eq!(expected, [""; 0], "{auth}");
                    assert_eq!(read.auth_secret.as_ref().map(Secret::reveal), secret, "{auth}");
                }
                Err(faults) => {
                    assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{auth}");
                }
            }
        }
    }

    #[test]
    fn a_patch_is_merged_as_rfc_7396_says_and_a_new_kind_of_authentication_starts_afresh() {
        let endpoint = |settings: &str| serde_json::from_str::<Endpoint>(settings).unwrap();
        let oauth2 = r#"{"url":"https://a.example","description":"d","auth":{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","scope":"s"},"headers":{"a":"1","b":"2"}}"#;
        let cases = [
            (r#"{"description":null,"headers":{"a":null,"c":"3"}}"#, "/headers", json!({"b": "2", "c": "3"})),
            (r#"{"auth":{"scope":null}}"#, "/auth/scope", Value::Null),
            (r#"{"auth":{"clientId":"d"}}"#, "/auth/scope", json!("s")),
            (r#"{"auth":{"kind":"basic","secret":"u:p"}}"#, "/auth", json!({"kind": "basic", "secret": "u:p"})),
            (r#"{"auth":null}"#, "/auth", Value::Null),
            (
                r#"{"retry":{"maxRetries":3}}"#,
                "/retry",
                json!({"maxRetries": 3, "intervalSeconds": 5, "backoff": "fixed"}),
            ),
            (r#"{"retry":{"schedule":[7]}}"#, "/retry", json!({"schedule": [7]})),
            (r#"{"retry":{"backoff":"exponential"}}"#, "/retry", json!({"backoff": "exponential"})),
            ("{}", "/url", json!("https://a.example")),
        ];
        for (patch, pointer, expected) in cases {
            let merged: Value = serde_json::from_str(&patched(&endpoint(oauth2), None, patch).unwrap()).unwrap();
            assert_eq!(merged.pointer(pointer).cloned().unwrap_or_default(), expected, "{patch}");
        }
        for bad in ["[]", "null", "{", "\"url\""] {
            assert!(patched(&endpoint(oauth2), None, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_that_would_outgrow_the_table_are_refused() {
        let names: Vec<_> = (0..100).map(|number| format!("{number}{}", "x".repeat(200))).collect();
        let wide = json!({"url": "https://a.example", "fields": {"a": names, "b": names}});
        assert_eq!(pointers(&wide.to_string()), [""], "all together");
        let long = json!({"url": "https://a.example", "fields": {"x".repeat(257): []}});
        assert!(pointers(&long.to_string())[0].starts_with("/fields/xxx"), "an event type");
        let many: BTreeMap<_, _> = (0..50_000).map(|number| (number.to_string(), "")).collect();
        assert_eq!(pointers(&json!({"url": "https://a.example", "headers": many}).to_string())[0], "/headers");
    }

    #[test]
    fn an_authority_that_has_expired_since_does_not_stop_other_changes() {
        let expired = include_str!("../tests/data/key_stores/authorities-expired.pem");
        let mut endpoint = Endpoint::new("https://a.example");
        let (subject, not_after) = ("CN=a".into(), "2100-01-01T00:00:00Z".into());
        endpoint.auth = Auth::Mtls { certificate: crate::key_store::CertificateFacts { subject, not_after } };
        let stored = Stored { endpoint: &endpoint, trusted: Some(expired) };
        let context = Context { now: 1_800_000_000, stored: Some(stored), ..CONTEXT };
        let patched = |patch: &str| read(&patched(&endpoint, Some(expired), patch).unwrap(), context);
        assert_eq!(patched(r#"{"description":"d"}"#).unwrap().trusted.as_deref(), Some(expired));
        let again = json!({"auth": {"trustStore": {"content": format!("{expired}\n")}}});
        assert_eq!(patched(&again.to_string()).unwrap_err()[0].pointer, "/auth/trustStore", "given anew, it is judged");
    }

    #[test]
    fn retry_policies_of_each_kind_are_read() {
        let cases = [
            (r#"{"maxRetries":8,"backoff":"exponential","maxIntervalSeconds":3600}"#, vec![]),
            (r#"{"schedule":[5,300,43200]}"#, vec![]),
            (r#"{"schedule":[5,0,"x"]}"#, vec!["/retry/schedule/1", "/retry/schedule/2"]),
            (r#"{"schedule":[5],"maxRetries":3}"#, vec!["/retry"]),
            (r#"{"maxRetries":15,"intervalSeconds":43200}"#, vec!["/retry"]),
        ];
        for (retry, expected) in cases {
            let faults = read(&format!(r#"{{"url":"https://a.example","retry":{retry}}}"#), CONTEXT).err();
            let pointers: Vec<_> = faults.iter().flatten().map(|fault| &*fault.pointer).collect();
            assert_eq!(pointers, expected, "{retry}");
        }
    }

    #[test]
    fn a_replay_is_for_all_or_for_one() {
        let id = "ep_00000000000000000000000000000007";
        let named = format!(r#"{{"endpoint":"{id}"}}"#);
        assert_eq!((replay(None), replay(Some("{}"))), (Ok(None), Ok(None)));
        assert_eq!(replay(Some(&named)), Ok(EndpointId::parse(id)));
        for bad in ["", "7", r#"{"endpoint":"x"}"#, r#"{"endpoint":7}"#, r#"{"endpoints":[]}"#] {
            assert!(replay(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_overlap_is_a_day_unless_said() {
        let cases = [
            (None, Some(86_400)),
            (Some("{}"), Some(86_400)),
            (Some(r#"{"overlapSeconds":null}"#), None),
            (Some(r#"{"overlapSeconds":60.0}"#), Some(60)),
            (Some(r#"{"overlapSeconds":60.5}"#), None),
            (Some(r#"{"overlapSeconds":1e400}"#), None),
            (Some(r#"{"overlapSeconds":0}"#), Some(0)),
            (Some(r#"{"overlapSeconds":604800}"#), Some(604_800)),
            (Some(r#"{"overlapSeconds":604801}"#), None),
            (Some(r#"{"overlapSeconds":-1}"#), None),
            (Some(r#"{"overlap":5}"#), None),
            (Some("7"), None),
            (Some("{"), None),
        ];
        for (text, seconds) in cases {
            assert_eq!(overlap(text).ok(), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_secret_that_is_stored_stays_as_long_as_it_goes_where_it_went() {
        let stored = |auth: &str| -> Endpoint {
            serde_json::from_str(&format!(r#"{{"url":"https://a.example/in","auth":{auth}}}"#)).unwrap()
        };
        let basic = stored(r#"{"kind":"basic"}"#);
        let oauth2 = stored(r#"{"kind":"oauth2","tokenUrl":"https://t.example/token","clientId":"c"}"#);
        let cases = [
            (&basic, r#"{"url":"https://a.example/other"}"#, vec![], "the same server"),
            (&basic, r#"{"url":"https://b.example/in"}"#, vec!["/auth/secret"], "another server"),
            (&basic, r#"{"url":"https://a.example:8443/in"}"#, vec!["/auth/secret"], "another port"),
            (&basic, r#"{"url":"https://b.example/in","auth":{"secret":"u:p"}}"#, vec![], "given again"),
            (&basic, r#"{"auth":{"kind":"apiKey"}}"#, vec!["/auth/secret"], "of another kind"),
            (&oauth2, r#"{"auth":{"tokenUrl":"https://t.example/v2"}}"#, vec![], "the same token server"),
            (&oauth2, r#"{"auth":{"tokenUrl":"https://evil.example/"}}"#, vec!["/auth/secret"], "another token server"),
            (&oauth2, r#"{"url":"https://evil.example/"}"#, vec!["/auth/secret"], "its token would go elsewhere"),
        ];
        let targets = TargetRules { more_ports: [8_443].into(), ..TargetRules::default() };
        for (stored, patch, expected, why) in cases {
            let before = Stored { endpoint: stored, trusted: None };
            let context = Context { targets: &targets, now: 0, stored: Some(before) };
            let faults = read(&patched(stored, None, patch).unwrap(), context).err().unwrap_or_default();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{patch}: {why}");
        }
    }
}
