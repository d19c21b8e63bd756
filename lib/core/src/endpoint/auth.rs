//! Receiver authentication: how Signpost authenticates to an endpoint.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::endpoint::key_store::CertificateFacts;
use crate::input::headers::{is_name, is_ours, is_value};
use crate::secret::Secret;

/// How Signpost authenticates to a receiver. Its secret is stored separately, encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Auth {
    /// A header that the receiver chooses. Its secret is `header:value`, or only `value` for `Authorization` (IDPay).
    ApiKey(ApiKeyHeader),
    /// HTTP Basic (RFC 7617). Its secret is `user:pass` (PowerAuth Cloud, IDPay).
    Basic,
    /// A client certificate (PowerAuth Cloud). Its secret is the private key with the certificate's chain, in PEM.
    Mtls {
        /// The properties of the certificate.
        certificate: CertificateFacts,
    },
    /// No authentication: the receiver verifies the signatures only.
    #[default]
    None,
    /// An access token by OAuth 2.0 client credentials (RFC 6749, section 4.4). Its secret is the client's secret.
    #[serde(rename = "oauth2")]
    OAuth2(ClientCredentials),
}

/// The header of an API key. At most one of the two members names it. Both are absent in settings from before these
/// members existed. The request uses only the encrypted secret, so that a manipulated table cannot redirect it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyHeader {
    /// The name that the operator set in `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name that the operator set in the secret (`header:value`). It is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_header: Option<String>,
}

/// The request for an access token (RFC 6749, section 4.4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCredentials {
    /// The token endpoint. The same rules apply as for any other target.
    pub token_url: String,
    /// The id of the client.
    pub client_id: String,
    /// The scope tokens, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The API that the token is for. Auth0 and other servers require it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The URI of the resource that the token is for (RFC 8707, section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Additional parameters of the request. None of them is secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// How the client sends its secret.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
}

/// How an OAuth client sends its secret, in the words of RFC 7591, section 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// HTTP Basic (RFC 6749, section 2.3.1).
    #[default]
    ClientSecretBasic,
    /// In the body of the request.
    ClientSecretPost,
}

/// A header that authenticates a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthHeader {
    /// The name, in lower case.
    pub name: String,
    /// The value.
    pub value: Secret,
}

impl AuthHeader {
    /// Lists the parts of the value that a receiver may print separately. The whole value is first.
    ///
    /// The other parts are the credentials after the scheme (RFC 9110, section 11.4), and the values of its parameters
    /// (`Token token="…"`). If the credentials are base64 of `user:password`, as in HTTP Basic, the decoded pair and
    /// the password are parts too.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![self.value.clone()];
        let Some((_, credentials)) = self.value.reveal().split_once(' ') else { return secrets };
        let credentials = credentials.trim_start_matches(' ');
        secrets.push(Secret::new(credentials.to_owned()));
        for (_, value) in credentials.split(',').filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim_matches([' ', '"']);
            if !value.trim_matches('=').is_empty() {
                secrets.push(Secret::new(value.to_owned())); // Without a name, the `=` is the padding of base64.
            }
        }
        let decoded = BASE64_ANY_PADDING.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(pair) = decoded.map(Secret::new)
            && let Some((_, password)) = pair.reveal().split_once(':')
        {
            secrets.extend([pair.clone(), Secret::new(password.to_owned())]);
        }
        secrets
    }
}

/// Base64 as users write it into the value of a header. Some omit its padding.
const BASE64_ANY_PADDING: GeneralPurpose =
    GeneralPurpose::new(&STANDARD_ALPHABET, PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

impl Auth {
    /// Returns the context that the encryption binds a secret to, in addition to its endpoint: its kind, and the
    /// servers that receive it or the token that it is exchanged for. `url` is the endpoint's URL. If an attacker
    /// changes these in the table, Signpost cannot decrypt the secret. Therefore it does not send it to another server
    /// or in another way.
    #[must_use]
    pub fn binding(&self, url: &str) -> String {
        match self {
            Self::ApiKey(_) => format!("apiKey {}", origin(url)),
            Self::Basic => format!("basic {}", origin(url)),
            Self::Mtls { .. } => "mtls".into(), // Signpost never sends a private key.
            Self::None => "none".into(),
            Self::OAuth2(client) => format!("oauth2 {} {}", origin(url), origin(&client.token_url)),
        }
    }

    /// Returns the header of an API key, if this is one and its header is known.
    #[must_use]
    pub fn api_key_header(&self) -> Option<&str> {
        match self {
            Self::ApiKey(ApiKeyHeader { header, secret_header }) => header.as_deref().or(secret_header.as_deref()),
            Self::Basic | Self::Mtls { .. } | Self::None | Self::OAuth2(_) => None,
        }
    }

    /// Returns whether `other` has the same kind, so that both can use the same secret.
    #[must_use]
    pub fn is_kind_of(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Returns the scheme, host and port of a URL. Returns an empty text for an invalid URL.
#[must_use]
pub fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Builds the header of HTTP Basic (RFC 7617, section 2) from `user:pass` in UTF-8.
///
/// # Errors
/// The expected form, if there is no colon or no user, or if there is a control character.
pub fn basic(secret: &Secret) -> Result<AuthHeader, &'static str> {
    let text = secret.reveal();
    match text.split_once(':') {
        Some((user, _)) if !user.is_empty() && !text.contains(char::is_control) => Ok(basic_of(text)),
        _ => Err("`user:pass`, without control characters"),
    }
}

fn basic_of(user_pass: &str) -> AuthHeader {
    AuthHeader { name: "authorization".into(), value: Secret::new(format!("Basic {}", BASE64.encode(user_pass))) }
}

/// Builds the header of an API key from `header:value`, or from `value` alone for `Authorization`.
///
/// The text before the first colon is the header's name if it is a valid one. `Bearer a:b` is a value, because a name
/// has no space.
///
/// # Errors
/// The expected form, if the value is empty or not allowed in a header, or if Signpost sets this header itself.
pub fn api_key(secret: &Secret) -> Result<AuthHeader, &'static str> {
    let (name, value) = match secret.reveal().split_once(':') {
        Some((name, value)) if is_name(name) => (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])),
        _ => ("authorization".into(), secret.reveal()),
    };
    if name != "authorization" && is_ours(&name) {
        return Err("a header that Signpost does not set itself");
    }
    if value.is_empty() || !is_value(value) {
        return Err("`header:value`, or `value` for Authorization, in visible ASCII characters");
    }
    Ok(AuthHeader { name, value: Secret::new(value.to_owned()) })
}

/// Builds the header of an access token (RFC 6750, section 2.1).
///
/// # Errors
/// The expected form, if the token is invalid.
pub fn bearer(token: &Secret) -> Result<AuthHeader, &'static str> {
    let text = token.reveal();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("an access token in visible ASCII characters");
    }
    Ok(AuthHeader { name: "authorization".into(), value: Secret::new(format!("Bearer {text}")) })
}

impl ClientCredentials {
    /// Parameters of a token request that have a setting of their own, or are the client's secret.
    pub const OWN_PARAMETERS: [&str; 8] = [
        "audience",
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "grant_type",
        "resource",
        "scope",
    ];

    /// Builds the form that requests a token. Also returns the header with the secret, if the secret is not in the
    /// form.
    #[must_use]
    pub fn token_request(&self, secret: &Secret) -> (Secret, Option<AuthHeader>) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        for (name, value) in &self.parameters {
            form.append_pair(name, value);
        }
        match self.client_authentication {
            ClientAuthentication::ClientSecretBasic => {
                // RFC 6749, section 2.3.1: both parts are form-encoded before they are joined.
                let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let header = basic_of(&format!("{}:{}", encode(&self.client_id), encode(secret.reveal())));
                (Secret::new(form.finish()), Some(header))
            }
            ClientAuthentication::ClientSecretPost => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.reveal());
                (Secret::new(form.finish()), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(made: Result<AuthHeader, &'static str>) -> Option<(String, String)> {
        made.ok().map(|header| (header.name, header.value.reveal().to_owned()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the expected value")]
    fn pair(name: &str, value: &str) -> Option<(String, String)> {
        Some((name.into(), value.into()))
    }

    #[test]
    fn basic_is_that_of_rfc_7617() {
        let cases = [
            ("Aladdin:open sesame", pair("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "section 2"),
            ("test:123\u{a3}", pair("authorization", "Basic dGVzdDoxMjPCow=="), "section 2.1, UTF-8"),
            ("user:", pair("authorization", "Basic dXNlcjo="), "an empty password"),
            ("user:a:b", pair("authorization", "Basic dXNlcjphOmI="), "the password may have colons"),
            ("user", None, "no password"),
            (":pass", None, "no user"),
            ("user:a\r\nx: y", None, "control characters"),
        ];
        for (secret, expected, why) in cases {
            assert_eq!(header(basic(&Secret::new(secret.into()))), expected, "{why}");
        }
    }

    #[test]
    fn an_api_key_is_a_header_and_its_value_or_the_value_of_authorization() {
        let cases = [
            ("X-Api-Key:abc", pair("x-api-key", "abc"), "header and value"),
            ("X-Api-Key: abc:d", pair("x-api-key", "abc:d"), "a space after the colon, and a colon in the value"),
            ("abc", pair("authorization", "abc"), "a value alone"),
            ("Bearer a:b", pair("authorization", "Bearer a:b"), "no header name before the colon"),
            ("Authorization:abc", pair("authorization", "abc"), "written in full"),
            ("x-api-key:", None, "no value"),
            ("", None, "nothing"),
            ("x-api-key:a\r\nhost: evil", None, "a header smuggled in"),
            ("x-api-key:ä", None, "not ASCII"),
            ("webhook-id:forged", None, "a header that Signpost sets"),
            ("Content-Length:0", None, "a header that frames the request"),
        ];
        for (secret, expected, why) in cases {
            assert_eq!(header(api_key(&Secret::new(secret.into()))), expected, "{why}");
        }
    }

    #[test]
    fn the_parts_of_a_header_that_a_receiver_may_print_are_secrets() {
        let told = |header: AuthHeader| header.secrets().iter().map(|one| one.reveal().to_owned()).collect::<Vec<_>>();
        let basic = told(basic(&Secret::new("user:hunter2".into())).unwrap());
        assert_eq!(basic, ["Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy", "user:hunter2", "hunter2"]);
        assert_eq!(told(bearer(&Secret::new("t".into())).unwrap()), ["Bearer t", "t"]);
        let cases: [(_, &[&str], _); 6] = [
            ("x-key:abc", &["abc"], "a key by itself"),
            ("basic YTpi", &["basic YTpi", "YTpi", "a:b", "b"], "a scheme in lower case (RFC 9110, section 11.1)"),
            ("Basic YTpiYw", &["Basic YTpiYw", "YTpiYw", "a:bc", "bc"], "no padding"),
            ("ApiKey YTpi", &["ApiKey YTpi", "YTpi", "a:b", "b"], "Elasticsearch: `id:key` under a scheme of its own"),
            ("Token token=\"ab\", v=1", &["Token token=\"ab\", v=1", "token=\"ab\", v=1", "ab", "1"], "Rails"),
            ("Bearer a.b==", &["Bearer a.b==", "a.b=="], "padding is not a parameter"),
        ];
        for (secret, expected, why) in cases {
            assert_eq!(told(api_key(&Secret::new(secret.into())).unwrap()), expected, "{why}");
        }
    }

    #[test]
    fn a_token_request_is_that_of_rfc_6749() {
        let mut client = ClientCredentials {
            token_url: "https://login.example/token".into(),
            client_id: "s6BhdRkqt3".into(),
            scope: None,
            audience: None,
            resource: None,
            parameters: BTreeMap::new(),
            client_authentication: ClientAuthentication::ClientSecretBasic,
        };
        let (form, header) = client.token_request(&Secret::new("7Fjfp0ZBr1KtDRbnfVdmIw".into()));
        assert_eq!(form.reveal(), "grant_type=client_credentials");
        // Section 2.3.1's example is section 4.4.2's client with another secret.
        assert_eq!(header.unwrap().value.reveal(), "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3");

        client.client_authentication = ClientAuthentication::ClientSecretPost;
        client.scope = Some("hooks:write x".into());
        let (form, header) = client.token_request(&Secret::new("a b&c".into()));
        let expected = "grant_type=client_credentials&scope=hooks%3Awrite+x&client_id=s6BhdRkqt3&client_secret=a+b%26c";
        assert_eq!((form.reveal(), header), (expected, None));

        client.scope = None;
        client.audience = Some("https://api.example/".into());
        client.resource = Some("urn:hooks".into());
        client.parameters = BTreeMap::from([("organization".into(), "org 1".into())]);
        let (form, _) = client.token_request(&Secret::new("s".into()));
        let expected = "grant_type=client_credentials&audience=https%3A%2F%2Fapi.example%2F&resource=urn%3Ahooks&\
                        organization=org+1&client_id=s6BhdRkqt3&client_secret=s";
        assert_eq!(form.reveal(), expected);
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        assert_eq!(
            header(bearer(&Secret::new("2YotnFZFEjr1zCsicMWpAA".into()))),
            pair("authorization", "Bearer 2YotnFZFEjr1zCsicMWpAA")
        );
        for bad in ["", "a b", "a\r\nx: y"] {
            assert!(bearer(&Secret::new(bad.into())).is_err(), "{bad:?}");
        }
    }
}
