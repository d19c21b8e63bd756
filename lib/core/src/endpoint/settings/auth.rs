//! Reads the member `auth` of an endpoint's settings.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;

use super::{Context, MAX_SECRET_CHARACTERS, MAX_TEXT_CHARACTERS, read_target};
use crate::endpoint::auth::{ApiKeyHeader, Auth, ClientCredentials, api_key, basic};
use crate::endpoint::key_store::{Store, StoreError, StoreFormat};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::headers::{self, is_name, is_ours, is_value};
use crate::input::object::{Found, Object};
use crate::secret::Secret;

/// The maximum number of bytes of a client's key and certificates, and of trusted authorities, in PEM.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// The result of reading `auth`.
#[derive(Default)]
pub(super) struct ReadAuth {
    pub(super) auth: Auth,
    pub(super) secret: Option<Secret>,
    pub(super) trusted: Option<String>,
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

pub(super) fn read_auth(found: &Found<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    const KINDS: &str = "one of none, basic, apiKey, mtls, oauth2";
    let Some(mut object) = Object::open(found, faults) else { return ReadAuth::default() };
    let Some(kind) = object.member("kind") else {
        faults.push(Fault::nothing_at(&object.pointer_to("kind"), KINDS));
        return ReadAuth::default();
    };
    let Some(kind) = kind.one_of::<Kind>(KINDS, faults) else { return ReadAuth::default() };
    let read = match kind {
        Kind::None => ReadAuth::default(),
        Kind::ApiKey => read_api_key(&mut object, url, context, faults),
        Kind::Basic => read_basic(&mut object, url, context, faults),
        Kind::Mtls => read_mtls(&mut object, context, faults),
        Kind::Oauth2 => read_oauth2(&mut object, url, context, faults),
    };
    object.close(faults);
    read
}

/// Reads the secret of `auth`. If the request has no secret, the stored one stays, but only if its binding
/// ([`Auth::binding`]) does not change. Otherwise an operator could point the endpoint at another server and so learn
/// the secret.
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
    let needed = match auth {
        Auth::Basic => "the secret: `user:pass`",
        Auth::ApiKey(ApiKeyHeader { header: Some(_), .. }) => "the secret: the value of `header`",
        Auth::ApiKey(_) => "the secret: `header:value`, or `value` for Authorization",
        Auth::OAuth2(_) => "the client's secret",
        Auth::Mtls { .. } | Auth::None => "no secret",
    };
    let expected = match stored {
        None => needed,
        Some(_) if object.removes("secret") => needed,
        // If the URL is invalid, its fault is in the list already.
        Some(stored) if url.is_none_or(|url| stored.auth.binding(&stored.url) == auth.binding(url)) => return None,
        Some(_) => "the secret again, because Signpost would send it to another server than before",
    };
    faults.push(Fault::nothing_at(&object.pointer_to("secret"), expected));
    None
}

fn read_basic(object: &mut Object<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    let secret = read_secret(object, &Auth::Basic, url, context, faults);
    if let Some(Err(expected)) = secret.as_ref().map(basic) {
        faults.push(Fault::hidden(object.pointer_to("secret"), expected));
    }
    ReadAuth { auth: Auth::Basic, secret, trusted: None }
}

/// Reads an API key. `secret` is the value of the header that `header` names. Without `header`, `secret` is
/// `header:value`, or only `value` for `Authorization`.
fn read_api_key(object: &mut Object<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    let header = object.member("header").map(|found| read_header_name(&found, faults));
    let is_named = header.is_some();
    let mut written = ApiKeyHeader { header: header.flatten(), secret_header: None };
    let secret = read_secret(object, &Auth::ApiKey(written.clone()), url, context, faults);
    let secret = match (secret, &written.header) {
        (Some(value), Some(header)) => {
            if !is_value(value.reveal()) {
                let expected = "the value of a header: visible ASCII characters, with spaces only between them";
                faults.push(Fault::hidden(object.pointer_to("secret"), expected));
            }
            Some(Secret::new(format!("{header}:{}", value.reveal())))
        }
        (Some(secret), None) if !is_named => {
            match api_key(&secret) {
                Ok(header) => written.secret_header = Some(header.name),
                Err(expected) => faults.push(Fault::hidden(object.pointer_to("secret"), expected)),
            }
            Some(secret)
        }
        (None, None) if is_named => None, // The header's name already has a fault.
        (None, _) => {
            if let Some(Auth::ApiKey(stored)) = context.stored.map(|stored| &stored.endpoint.auth) {
                keep_header(&mut written, stored, object, faults);
            }
            None
        }
        (Some(secret), None) => Some(secret), // As above.
    };
    ReadAuth { auth: Auth::ApiKey(written), secret, trusted: None }
}

/// Checks an API key whose secret stays. The secret is encrypted together with its header and cannot be used in another
/// one.
fn keep_header(written: &mut ApiKeyHeader, stored: &ApiKeyHeader, object: &Object<'_>, faults: &mut Faults) {
    let known = stored.header.as_deref().or(stored.secret_header.as_deref());
    let stays = match &written.header {
        Some(header) => known.is_some_and(|known| known.eq_ignore_ascii_case(header)),
        None => stored.header.is_none(),
    };
    if !stays {
        let expected = "the secret again, because Signpost would send it in another header than before";
        faults.push(Fault::nothing_at(&object.pointer_to("secret"), expected));
    } else if written.header.is_none() {
        written.secret_header.clone_from(&stored.secret_header);
    }
}

fn read_header_name(found: &Found<'_>, faults: &mut Faults) -> Option<String> {
    let name = found.text(headers::MAX_NAME_BYTES, faults)?;
    let lower = name.to_ascii_lowercase();
    let expected = if !is_name(&name) {
        "a header's name, such as X-Api-Key"
    } else if lower != "authorization" && is_ours(&lower) {
        "a header that Signpost does not set itself"
    } else {
        return Some(name);
    };
    let code = if is_name(&name) { FaultCode::Reserved } else { FaultCode::Malformed };
    faults.push(Fault::at(&found.pointer, found.value, expected).code(code));
    None
}

fn read_oauth2(object: &mut Object<'_>, url: Option<&str>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    let token_url = read_target(object, "tokenUrl", context.targets, faults);
    // If the token URL is invalid, nobody can decide whether it is another server.
    let url = url.filter(|_| token_url.is_some());
    let token_url = token_url.unwrap_or_default();
    let client_id = object.member("clientId");
    if client_id.is_none() {
        faults.push(Fault::nothing_at(&object.pointer_to("clientId"), "the client's id"));
    }
    let client_id = client_id.and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults)).unwrap_or_default();
    let scope = object.member("scope").and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults));
    let audience = object.member("audience").and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults));
    let resource = object.member("resource").and_then(|found| found.text(MAX_TEXT_CHARACTERS, faults));
    let parameters = object.member("parameters").map(|found| read_parameters(&found, faults)).unwrap_or_default();
    let client_authentication = object
        .member("clientAuthentication")
        .and_then(|found| found.one_of("one of client_secret_basic, client_secret_post", faults))
        .unwrap_or_default();
    let texts = [
        ("clientId", Some(&client_id)),
        ("scope", scope.as_ref()),
        ("audience", audience.as_ref()),
        ("resource", resource.as_ref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value.filter(|value| !is_visible(value)) {
            faults.push(Fault::of_text(object.pointer_to(name), value, VISIBLE));
        }
    }
    let client =
        ClientCredentials { token_url, client_id, scope, audience, resource, parameters, client_authentication };
    let auth = Auth::OAuth2(client);
    let secret = read_secret(object, &auth, url, context, faults);
    if secret.as_ref().is_some_and(|secret| !is_visible(secret.reveal())) {
        faults.push(Fault::hidden(object.pointer_to("secret"), VISIBLE));
    }
    ReadAuth { auth, secret, ..ReadAuth::default() }
}

/// The maximum number of token request parameters without a setting of their own.
const MAX_PARAMETERS: usize = 10;
/// The maximum number of characters in the name of such a parameter.
const MAX_PARAMETER_NAME: usize = 100;

const VISIBLE: &str = "visible ASCII characters and spaces (RFC 6749, appendix A)";

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Reads additional parameters of a token request.
fn read_parameters(found: &Found<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let Some(object) = Object::open(found, faults) else { return BTreeMap::new() };
    let mut read = BTreeMap::new();
    for (name, found) in object.into_members(MAX_PARAMETERS, faults) {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if !(1..=MAX_PARAMETER_NAME).contains(&name.len()) || !name.bytes().all(is_letter) {
            let expected = format!("a name of 1 to {MAX_PARAMETER_NAME} letters, digits, `.`, `_`, `~`, `-`");
            faults.push(Fault::hidden(&*found.pointer, expected));
        } else if ClientCredentials::OWN_PARAMETERS.contains(&&*name) {
            let expected = "a parameter that is not secret and has no setting of its own";
            faults.push(Fault::hidden(&*found.pointer, expected).code(FaultCode::Reserved));
        } else if !found.is_removed()
            && let Some(value) = found.secret(MAX_TEXT_CHARACTERS, faults)
        {
            if is_visible(&value) {
                read.insert(name, value);
            } else {
                faults.push(Fault::hidden(&*found.pointer, VISIBLE));
            }
        }
    }
    read
}

fn read_mtls(object: &mut Object<'_>, context: Context<'_>, faults: &mut Faults) -> ReadAuth {
    let stored = context.stored.and_then(|stored| stored.trusted);
    let trusted = object.nullable_member("trustStore").and_then(|found| {
        // An unchanged trust store is not validated again. Otherwise an authority that expired later would block every
        // other change.
        let kept = stored.filter(|pem| found.is(&json!({"format": "pem", "content": pem})));
        let pem = match kept {
            Some(pem) => pem.to_owned(),
            None => with_store(&found, faults, |store| store.trusted(context.now).map(|trusted| trusted.pem))?,
        };
        check_size(&found, &pem, faults);
        Some(pem)
    });
    let known = context.stored.map(|stored| &stored.endpoint.auth);
    let is_shown = known.is_some_and(|auth| object.holds("certificate", &json!(auth)["certificate"]));
    if !is_shown {
        object.refuse("certificate", "nothing, because it is read-only", faults);
    }
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
    ReadAuth { auth: Auth::Mtls { certificate }, secret, trusted }
}

/// Reads a key store or a trust store, and passes it to `read`.
fn with_store<T>(
    found: &Found<'_>,
    faults: &mut Faults,
    read: impl FnOnce(Store<'_>) -> Result<T, StoreError>,
) -> Option<T> {
    let mut object = Object::open(found, faults)?;
    let (format, content) = (object.member("format"), object.member("content"));
    for (name, member) in [("format", &format), ("content", &content)] {
        if member.is_none() {
            let expected = if name == "format" { FORMATS } else { "the store: PEM as text, other formats in base64" };
            faults.push(Fault::nothing_at(&object.pointer_to(name), expected));
        }
    }
    let password = object.member("password");
    let password = password.map(|found| found.secret_or_empty(MAX_SECRET_CHARACTERS, faults).map(Secret::new));
    let format: Option<StoreFormat> = format.and_then(|found| found.one_of(FORMATS, faults));
    let text = content.as_ref().and_then(|found| found.secret(usize::MAX, faults)).map(Secret::new);
    let at = object.pointer_to("content");
    object.close(faults);
    let (format, text) = (format?, text?);
    let password = match password {
        Some(None) => return None, // This already is a fault.
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
            faults.push(Fault::hidden(&*found.pointer, error.to_string()).code(FaultCode::UnusableKeyStore));
            None
        }
    }
}

const FORMATS: &str = "one of pem, pkcs12, jks";

fn check_size(found: &Found<'_>, pem: &str, faults: &mut Faults) {
    if pem.len() > MAX_PEM_BYTES {
        let expected = format!("at most {MAX_PEM_BYTES} bytes in PEM");
        faults.push(
            Fault::whole(format!("{} bytes", pem.len()), expected).code(FaultCode::TooLarge).under(&*found.pointer),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::endpoint::settings::tests::CONTEXT;
    use crate::endpoint::settings::{Stored, patched, read};
    use crate::endpoint::target::TargetRules;

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
            (r#"{"kind":"apiKey","header":"X-Key","secret":"a:b"}"#, vec![], Some("X-Key:a:b")),
            (r#"{"kind":"apiKey","header":"Authorization","secret":"v"}"#, vec![], Some("Authorization:v")),
            (r#"{"kind":"apiKey","header":"Host","secret":"v"}"#, vec!["/auth/header"], None),
            (r#"{"kind":"apiKey","header":"a b","secret":"v"}"#, vec!["/auth/header"], None),
            (r#"{"kind":"apiKey","header":"X-Key","secret":"v "}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"apiKey","header":"X-Key"}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"apiKey","header":"x-TEAM","secret":"v"}"#, vec!["/auth/secret"], None),
            (r#"{"kind":"basic","header":"X-Key","secret":"u:p"}"#, vec!["/auth/header"], None),
            (r#"{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","secret":"s"}"#, vec![], Some("s")),
            (
                r#"{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","secret":"s","audience":"a","resource":"urn:r","parameters":{"organization":"o"}}"#,
                vec![],
                Some("s"),
            ),
            (
                r#"{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","secret":"s","audience":"ä","parameters":{"scope":"x","a b":"y","c":7,"d":"é"}}"#,
                vec![
                    "/auth/parameters/scope",
                    "/auth/parameters/a b",
                    "/auth/parameters/c",
                    "/auth/parameters/d",
                    "/auth/audience",
                ],
                None,
            ),
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
    fn an_authority_that_has_expired_since_does_not_stop_other_changes() {
        let expired = include_str!("../../../tests/data/key_stores/authorities-expired.pem");
        let mut endpoint = Endpoint::new("https://a.example");
        let (subject, not_after) = ("CN=a".into(), "2100-01-01T00:00:00Z".into());
        endpoint.auth = Auth::Mtls { certificate: crate::endpoint::key_store::CertificateFacts { subject, not_after } };
        let stored = Stored { endpoint: &endpoint, trusted: Some(expired) };
        let context = Context { now: 1_800_000_000, stored: Some(stored), ..CONTEXT };
        let patched = |patch: &str| read(&patched(&endpoint, Some(expired), patch).unwrap(), context);
        assert_eq!(patched(r#"{"description":"d"}"#).unwrap().trusted.as_deref(), Some(expired));
        let again = json!({"auth": {"trustStore": {"content": format!("{expired}\n")}}});
        assert_eq!(patched(&again.to_string()).unwrap_err()[0].pointer, "/auth/trustStore", "a new one is validated");
    }

    #[test]
    fn a_secret_that_is_stored_stays_as_long_as_it_goes_where_it_went() {
        let stored = |auth: &str| -> Endpoint {
            serde_json::from_str(&format!(r#"{{"url":"https://a.example/in","auth":{auth}}}"#)).unwrap()
        };
        let basic = stored(r#"{"kind":"basic"}"#);
        let api_key = stored(r#"{"kind":"apiKey","header":"x-api-key"}"#);
        let oauth2 = stored(r#"{"kind":"oauth2","tokenUrl":"https://t.example/token","clientId":"c"}"#);
        let cases = [
            (&basic, r#"{"url":"https://a.example/other"}"#, vec![], "the same server"),
            (&basic, r#"{"url":"https://b.example/in"}"#, vec!["/auth/secret"], "another server"),
            (&basic, r#"{"url":"https://a.example:8443/in"}"#, vec!["/auth/secret"], "another port"),
            (&basic, r#"{"url":"https://b.example/in","auth":{"secret":"u:p"}}"#, vec![], "given again"),
            (&basic, r#"{"auth":{"kind":"apiKey"}}"#, vec!["/auth/secret"], "another kind of authentication"),
            (&oauth2, r#"{"auth":{"tokenUrl":"https://t.example/v2"}}"#, vec![], "the same token server"),
            (&oauth2, r#"{"auth":{"tokenUrl":"https://evil.example/"}}"#, vec!["/auth/secret"], "another token server"),
            (&oauth2, r#"{"url":"https://evil.example/"}"#, vec!["/auth/secret"], "its token would go elsewhere"),
            (&oauth2, r#"{"auth":{"tokenUrl":"http//t"}}"#, vec!["/auth/tokenUrl"], "only one fault per invalid URL"),
            (&oauth2, r#"{"auth":{"tokenUrl":null}}"#, vec!["/auth/tokenUrl"], "so has a removed URL"),
            (&oauth2, r#"{"url":"http//t"}"#, vec!["/url"], "and an invalid receiver URL"),
            (
                &oauth2,
                r#"{"auth":{"tokenUrl":"http//t","secret":null}}"#,
                vec!["/auth/tokenUrl", "/auth/secret"],
                "two",
            ),
            (&api_key, r#"{"auth":{"header":"x y"}}"#, vec!["/auth/header"], "and an invalid header name"),
            (&api_key, r#"{"auth":{"header":"x-other"}}"#, vec!["/auth/secret"], "another header"),
        ];
        let targets = TargetRules { more_ports: [8_443].into(), ..TargetRules::default() };
        for (stored, patch, expected, why) in cases {
            let before = Stored { endpoint: stored, trusted: None };
            let context = Context { targets: &targets, stored: Some(before), ..CONTEXT };
            let faults = read(&patched(stored, None, patch).unwrap(), context).err().unwrap_or_default();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{patch}: {why}");
        }
    }
}
