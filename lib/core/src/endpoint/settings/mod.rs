//! Endpoint settings: reads what an operator sends and reports every fault, applies patches, and shows settings again.

mod auth;
mod destination;
mod patch;
mod requests;
mod retry;

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use crate::endpoint::destination::RolePatterns;
use crate::endpoint::filter::Filter;
use crate::endpoint::target::{Target, TargetRules};
use crate::endpoint::{Endpoint, Limit, SignatureFormat, TimeoutSeconds, TypeFilter};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::headers;
use crate::input::json;
use crate::input::object::{Found, Object};
use crate::secret::Secret;

use auth::{ReadAuth, read_auth};
use destination::read_destination;
pub use patch::{patched, shown};
pub use requests::{DEFAULT_OVERLAP, FilterTest, Replay, Rotation, filter_test, replay, rotation, since, test_type};
use retry::read_retry;

/// The context in which settings are validated.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rules for URLs that Signpost may call.
    pub targets: &'a TargetRules,
    /// The roles that the stack may assume.
    pub roles: &'a RolePatterns,
    /// The current time, in seconds since the Unix epoch. Certificates must be valid at this time.
    pub now: u64,
    /// The stored endpoint, if the request changes one. Its secret stays if the request has no secret.
    pub stored: Option<Stored<'a>>,
}

/// A stored endpoint that a patch changes.
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
    /// The settings that are not secret.
    pub endpoint: Endpoint,
    /// The secret of [`Endpoint::auth`], in the form in which `manage` encrypts it. None if there is no secret, or if
    /// the stored secret stays.
    pub auth_secret: Option<Secret>,
    /// The authorities that may issue the receiver's certificate, in PEM. None means the public authorities.
    pub trusted: Option<String>,
}

/// The maximum number of characters of a URL.
pub const MAX_URL_CHARACTERS: usize = 2_048;
/// The maximum number of characters of other texts, such as names and descriptions.
const MAX_TEXT_CHARACTERS: usize = 1_000;
/// The maximum number of characters of a type, a status, a stage, or a field's name.
const MAX_NAME_CHARACTERS: usize = 256;
/// The maximum number of characters of a secret.
const MAX_SECRET_CHARACTERS: usize = 4_096;
/// The maximum number of items of a list.
const MAX_ITEMS: usize = 100;
/// The maximum number of bytes of all settings that are not secret. For each event, Signpost reads these settings of
/// every endpoint of the tenant.
const MAX_SETTINGS_BYTES: usize = 32 * 1024;

/// Reads and validates settings.
///
/// # Errors
/// All faults, with pointers into the settings. No fault quotes a secret.
pub fn read(text: &str, context: Context<'_>) -> Result<Submission, Vec<Fault>> {
    let value = json::parse(text, "settings of an endpoint in JSON")?;
    let mut faults = Faults::default();
    let read = read_value(value, context, &mut faults);
    let Some(submission) = read else { return Err(faults.none().err().unwrap_or_default()) };
    faults.extend(submission.endpoint.check().err().unwrap_or_default());
    let bytes = json!(submission.endpoint).to_string().len();
    if bytes > MAX_SETTINGS_BYTES {
        faults.push(
            Fault::whole(format!("{bytes} bytes"), format!("at most {MAX_SETTINGS_BYTES} bytes in total"))
                .code(FaultCode::TooLarge),
        );
    }
    faults.none().map(|()| submission)
}

fn read_value(value: &RawValue, context: Context<'_>, faults: &mut Faults) -> Option<Submission> {
    // If a patch removes a member, that member must exist. Therefore the reader sees removed members too.
    let whole = if context.stored.is_some() { Found::whole_patched(value) } else { Found::whole(value) };
    let mut object = Object::open(&whole, faults)?;
    let destination = object.nullable_member("destination");
    let url = if destination.is_none() {
        read_target(&mut object, "url", context.targets, faults)
    } else {
        if let Some(found) = object.member("url") {
            let expected = "no `url` beside `destination`; leave one of them out, or set it to null in a change";
            faults.push(Fault::at(&found.pointer, found.value, expected).code(FaultCode::Conflict));
        }
        None
    };
    let mut endpoint = Endpoint::new(url.clone().unwrap_or_default());
    if let Some(destination) = destination.and_then(|found| read_destination(&found, context.roles, faults)) {
        endpoint.url = destination.resource.url();
        endpoint.destination = Some(Box::new(destination));
    }
    if let Some(found) = object.member("description") {
        endpoint.description = found.text_or_empty(MAX_TEXT_CHARACTERS, faults).unwrap_or_default();
    }
    if let Some(found) = object.member("types") {
        endpoint.types = found.items(MAX_ITEMS, faults).iter().filter_map(|item| read_filter(item, faults)).collect();
    }
    if let Some(found) = object.nullable_member("filter") {
        endpoint.filter = Filter::read(&found, faults);
    }
    if let Some(found) = object.member("fields") {
        endpoint.fields = read_fields(&found, faults);
    }
    if let Some(found) = object.member("cloudEvents") {
        endpoint.cloud_events = found.one_of("one of headers, structured, none", faults).unwrap_or_default();
    }
    if let Some(found) = object.member("sequence") {
        endpoint.sequence = found.read("true or false", faults).unwrap_or_default();
    }
    if let Some(found) = object.member("method") {
        endpoint.method = found.one_of("one of GET, POST, PUT", faults).unwrap_or_default();
    }
    let auth = object.member("auth");
    let auth = auth.map_or_else(ReadAuth::default, |found| read_auth(&found, url.as_deref(), context, faults));
    if let Some(found) = object.member("signatures") {
        let expected = "one of jws, standard-webhooks, http-message-signatures";
        let formats = found.items(MAX_ITEMS, faults);
        let formats: Vec<Option<SignatureFormat>> =
            formats.iter().map(|format| format.one_of(expected, faults)).collect();
        if formats.iter().all(Option::is_some) {
            // Otherwise the list may be empty, which is a second fault.
            endpoint.signatures = formats.into_iter().flatten().collect();
        }
    }
    if let Some(found) = object.member("jwsAlgorithm") {
        endpoint.jws_algorithm = found.one_of("one of RS256, ES256, EdDSA", faults).unwrap_or_default();
    }
    if let Some(found) = object.member("retry") {
        endpoint.retry = read_retry(&found, faults).unwrap_or_default();
    }
    if let Some(found) = object.member("timeoutSeconds") {
        let seconds = found.within(TimeoutSeconds::RANGE, faults).and_then(|seconds| u8::try_from(seconds).ok());
        endpoint.timeout_seconds = seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or_default();
    }
    endpoint.max_concurrency = read_limit(&mut object, "maxConcurrency", faults);
    endpoint.max_per_second = read_limit(&mut object, "maxPerSecond", faults);
    if let Some(found) = object.member("headers") {
        endpoint.headers = read_headers(&found, faults);
    }
    if let Some(found) = object.member("verification") {
        endpoint.verification = found.one_of("one of none, challenge", faults).unwrap_or_default();
    }
    if let Some(header) = auth.auth.api_key_header()
        && endpoint.headers.keys().any(|name| name.eq_ignore_ascii_case(header))
    {
        let pointer = if auth.secret.is_some() { "/auth/secret" } else { "/headers" };
        faults.push(Fault::hidden(pointer, "different header names in `auth` and `headers`").code(FaultCode::Conflict));
    }
    for name in [
        "id",
        "purpose",
        "tenant",
        "state",
        "disabledBecause",
        "createdAt",
        "updatedAt",
        "signingSecrets",
        "signingSecret",
        "signingPublicKey",
        "jwksUrl",
    ] {
        object.refuse(name, "nothing, because it is read-only", faults);
    }
    object.refuse("enabled", "nothing; use POST …/enable or POST …/disable", faults);
    object.close(faults);
    endpoint.auth = auth.auth;
    Some(Submission { endpoint, auth_secret: auth.secret, trusted: auth.trusted })
}

/// Reads a limit. `null` means no limit.
fn read_limit(object: &mut Object<'_>, name: &'static str, faults: &mut Faults) -> Option<Limit> {
    let limit = object.nullable_member(name)?.within(Limit::RANGE, faults)?;
    u16::try_from(limit).ok()?.try_into().ok()
}

/// Reads a URL that Signpost may call.
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
    let target = targets.parse(&url).map_err(|error| {
        let code = if error.is_malformed() { FaultCode::Malformed } else { FaultCode::ForbiddenTarget };
        (code, format!("a URL that may be called: {error}"))
    });
    // Verifiers of HTTP Message Signatures read the target URI strictly by RFC 3986. The WHATWG parser accepts more.
    let is_uri = |target: &Target| fluent_uri::Uri::parse(target.url().as_str()).is_ok();
    let strict =
        target.and_then(
            |target| if is_uri(&target) { Ok(()) } else { Err((FaultCode::Malformed, PERCENT_ENCODED.to_owned())) },
        );
    if let Err((code, expected)) = strict {
        faults.push(Fault::of_text(found.pointer, &url, expected).code(code));
        return None;
    }
    let normal = targets.parse(&url).ok()?.url().to_string(); // The form that Signpost calls and signs.
    if normal.len() > MAX_URL_CHARACTERS {
        let expected = format!("a URL of at most {MAX_URL_CHARACTERS} characters in its percent-encoded form");
        faults.push(
            Fault::whole(format!("{} characters", normal.len()), expected)
                .code(FaultCode::OutOfRange)
                .under(found.pointer),
        );
        return None;
    }
    Some(normal)
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
            faults.push(Fault::of_text(names.pointer.clone(), kind, expected).code(FaultCode::OutOfRange));
        }
    }
    let kept = members.into_iter().filter(|(_, names)| !names.is_removed());
    kept.map(|(kind, names)| (kind, read_names(&names, faults))).collect()
}

fn read_names(found: &Found<'_>, faults: &mut Faults) -> Vec<String> {
    let items = found.items(MAX_ITEMS, faults);
    items.iter().filter_map(|item| item.text(MAX_NAME_CHARACTERS, faults)).collect()
}

fn read_headers(found: &Found<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let Some(object) = Object::open(found, faults) else { return BTreeMap::new() };
    let (removed, kept): (Vec<_>, Vec<_>) =
        object.into_members(MAX_ITEMS, faults).into_iter().partition(|(_, value)| value.is_removed());
    for (name, value) in removed {
        if !headers::is_name(&name) || headers::is_ours(&name.to_ascii_lowercase()) {
            faults.push(Fault::of_text(value.pointer, &name, "a valid header name that Signpost does not set itself"));
        }
    }
    let kept = kept.into_iter();
    kept.filter_map(|(name, value)| Some((name, value.text_or_empty(MAX_SECRET_CHARACTERS, faults)?))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::endpoint::Method;
    use crate::signing::algorithm::Algorithm;

    pub(super) const CONTEXT: Context<'_> =
        Context { targets: &TargetRules::INTERNET, roles: &RolePatterns::NONE, now: 0, stored: None };

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
            "filter":{"data":{"status":[{"prefix":"APP"}],"failureCount":[{"numeric":["<",3]}]}},
            "fields":{"operation":["operationId","status"]},"cloudEvents":"structured","sequence":true,"method":"PUT","auth":{"kind":"none"},
            "signatures":["standard-webhooks","jws"],"jwsAlgorithm":"ES256",
            "retry":{"maxRetries":3,"intervalSeconds":7,"backoff":"fixed"},"timeoutSeconds":9,"maxConcurrency":500,
            "maxPerSecond":1,"headers":{"X-Team":"a"},"verification":"challenge"}"#;
        let endpoint = read(settings, CONTEXT).unwrap().endpoint;
        assert_eq!((endpoint.method, endpoint.jws_algorithm), (Method::Put, Algorithm::ES256));
        let expected: Value = serde_json::from_str(settings).unwrap();
        assert_eq!(shown(&endpoint, None), expected);
        assert_eq!(serde_json::from_value::<Endpoint>(expected).unwrap(), endpoint, "and as the table stores it");
    }

    #[test]
    fn all_faults_are_listed_at_once() {
        let settings = r#"{"url":"http://a.example","description":7,"types":[{"type":"operation","statuses":["DONE",3]},{}],
            "filter":{"data":{"a":[{"prefix":7}],"b":1}},"fields":{"operation":"status"},"cloudEvents":"binary","method":"DELETE","auth":{"kind":"basic","secret":"nocolon","user":"u"},
            "signatures":["jwt"],"jwsAlgorithm":"HS256","retry":{"maxRetries":101,"intervalSeconds":"5","backoff":"wild"},
            "timeoutSeconds":31,"maxConcurrency":501,"maxPerSecond":"5","headers":{"Host":"evil"},"verification":"dns","url2":1,"description":"twice"}"#;
        let expected = [
            "/url",
            "/description",
            "/types/0/statuses/1",
            "/types/1/type",
            "/filter/data/a/0/prefix",
            "/filter/data/b",
            "/fields/operation",
            "/cloudEvents",
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
            "/maxPerSecond",
            "/verification",
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
    fn read_only_members_are_refused_as_such() {
        let shown = r#"{"url":"https://a.example","id":"ep_1","enabled":false,"types":["operation"],"colour":1}"#;
        let told: Vec<_> =
            read(shown, CONTEXT).unwrap_err().into_iter().map(|fault| (fault.pointer, fault.expected)).collect();
        assert_eq!(told[0], ("/types/0".into(), "a JSON object".into()));
        assert_eq!(told[1], ("/id".into(), "nothing, because it is read-only".into()));
        assert_eq!(told[2], ("/enabled".into(), "nothing; use POST …/enable or POST …/disable".into()));
        assert!(told[3].1.starts_with("no such member; there are destination, url, description"), "{}", told[3].1);
        assert!(!told[3].1.contains("createdAt"));
    }

    #[test]
    fn a_url_is_kept_as_it_will_be_called() {
        let spelled = r#"{"url":"HTTPS://A.example:443/in/../hook?q=ä#part"}"#;
        assert_eq!(read(spelled, CONTEXT).unwrap().endpoint.url, "https://a.example/hook?q=%C3%A4");
    }

    #[test]
    fn a_text_that_is_not_settings_is_one_fault() {
        for text in ["", "[]", "null", "7", "{", r#"{"url":"https://a.example"} x"#] {
            assert_eq!(pointers(text), [""], "{text}");
        }
        assert_eq!(pointers("{}"), ["/url"]);
    }

    #[test]
    fn a_filter_that_could_never_match_is_refused() {
        let with = |types: &str| {
            format!(r#"{{"url":"https://a.example","types":[{types}],"filter":{{"data":{{"status":["DONE"]}}}}}}"#)
        };
        assert_eq!(pointers(&with(r#"{"type":"operation"}"#)), ["/filter/data/status"]);
        assert!(read(&with(r#"{"type":"operation"},{"type":"invoice"}"#), CONTEXT).is_ok());
        let none = r#"{"url":"https://a.example","filter":null}"#;
        assert_eq!(read(none, CONTEXT).unwrap().endpoint.filter, None);
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
}
