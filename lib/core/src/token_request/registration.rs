//! Registrations: the body of the request for a callback URL.

use std::time::Duration;

use url::Url;

use super::RequestId;
use crate::endpoint::settings::MAX_URL_CHARACTERS;
use crate::endpoint::target::TargetRules;
use crate::input::fault::{Fault, Faults};
use crate::input::json;
use crate::input::object::{Found, Object};

/// How long the bank may take to call back, unless the producer sets another time.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);

/// A producer's registration of a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The token request's id. Signpost makes one if there is none.
    pub id: Option<RequestId>,
    /// The URL to which Signpost redirects the browser that brings the callback.
    pub redirect_url: Option<String>,
    /// How long the bank may take to call back.
    pub lifetime: Duration,
}

impl Registration {
    /// Parses `{"requestId":…,"redirectUrl":…,"expiresInSeconds":…}`. All members are optional. `http` is allowed if
    /// `rules` allow it. Addresses and ports are not checked, because the user's browser opens the URL, and not
    /// Signpost.
    ///
    /// # Errors
    /// All faults.
    pub fn parse(text: &str, rules: &TargetRules) -> Result<Self, Vec<Fault>> {
        let value = json::parse(text, "a token request in JSON")?;
        let mut faults = Faults::default();
        let mut read = Self { id: None, redirect_url: None, lifetime: DEFAULT_LIFETIME };
        if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
            if let Some(found) = object.nullable_member("requestId") {
                read.id = read_id(&found, &mut faults);
            }
            if let Some(found) = object.nullable_member("redirectUrl") {
                read.redirect_url = read_redirect_url(&found, rules, &mut faults);
            }
            if let Some(found) = object.nullable_member("expiresInSeconds") {
                let seconds = found.within(60..=86_400, &mut faults).unwrap_or_default();
                read.lifetime = Duration::from_secs(seconds.into());
            }
            object.close(&mut faults);
        }
        faults.none().map(|()| read)
    }
}

fn read_id(found: &Found<'_>, faults: &mut Faults) -> Option<RequestId> {
    let text: String = found.read(RequestId::EXPECTED, faults)?;
    let id = RequestId::parse(&text);
    if id.is_none() {
        faults.push(Fault::at(&found.pointer, found.value, RequestId::EXPECTED));
    }
    id
}

fn read_redirect_url(found: &Found<'_>, rules: &TargetRules, faults: &mut Faults) -> Option<String> {
    let text = found.text(MAX_URL_CHARACTERS, faults)?;
    let judged = Url::parse(&text).map_err(|_| "a URL such as https://tpp.example/done".to_owned()).and_then(|url| {
        match url.scheme() {
            "https" => {}
            "http" if rules.dangerously_allow_http => {}
            scheme => return Err(format!("a URL of scheme `https`, not `{scheme}`")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL without a user name and a password".into());
        }
        // The length counts as in a header, where escapes make the URL longer.
        let url = String::from(url);
        let most = format!("a URL of at most {MAX_URL_CHARACTERS} characters, including escapes");
        if url.len() > MAX_URL_CHARACTERS { Err(most) } else { Ok(url) }
    });
    judged.map_err(|expected| faults.push(Fault::at(&found.pointer, found.value, expected))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Registration, Vec<Fault>> {
        Registration::parse(text, &TargetRules::INTERNET)
    }

    #[test]
    fn everything_may_be_left_out() {
        let bare = Registration { id: None, redirect_url: None, lifetime: DEFAULT_LIFETIME };
        for text in ["{}", r#"{"requestId":null,"redirectUrl":null,"expiresInSeconds":null}"#] {
            assert_eq!(parse(text).as_ref(), Ok(&bare));
        }
        let full = r#"{"requestId":"rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq","redirectUrl":"https://tpp.callback.url","expiresInSeconds":60}"#;
        let full = parse(full).unwrap();
        assert_eq!(full.id, RequestId::parse("rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq"));
        assert_eq!(full.redirect_url.as_deref(), Some("https://tpp.callback.url/"));
        assert_eq!(full.lifetime, Duration::from_mins(1));
    }

    #[test]
    fn every_fault_is_listed() {
        let text = r#"{"requestId":"rq/1","redirectUrl":"http://tpp.example","expiresInSeconds":59,"state":"mine"}"#;
        let told: Vec<_> = parse(text).unwrap_err().into_iter().map(|fault| (fault.pointer, fault.expected)).collect();
        let expected = [
            ("/requestId", "1 to 128 of A-Z, a-z, 0-9, `_`, `-`, `:`"),
            ("/redirectUrl", "a URL of scheme `https`, not `http`"),
            ("/expiresInSeconds", "a whole number, 60 to 86400"),
            ("/state", "no such member; there are requestId, redirectUrl, expiresInSeconds"),
        ];
        assert_eq!(told, expected.map(|(pointer, expected)| (pointer.to_owned(), expected.to_owned())));
        for text in ["", "[]", "7", r#"{"requestId":7}"#, r#"{"redirectUrl":[]}"#] {
            assert_eq!(parse(text).unwrap_err().len(), 1, "{text}");
        }
    }

    #[test]
    fn a_browser_is_sent_to_https_only() {
        let long = format!("https://tpp.example/{}", "é".repeat(1_000));
        let cases = [
            ("https://tpp.example:8443/done?a=b#c", true, "any port, query and fragment"),
            ("https://192.168.1.10/done", true, "it is the browser's network"),
            ("https://user@tpp.example/", false, "a user"),
            ("https://:pw@tpp.example/", false, "a password"),
            ("javascript:alert(1)", false, "a script"),
            ("data:text/html,x", false, "a document"),
            ("//tpp.example/", false, "no scheme"),
            ("tpp://done", false, "an app's own scheme"),
            ("https://", false, "no host"),
            (&long, false, "too long after it is escaped"),
        ];
        for (url, is_taken, why) in cases {
            let text = serde_json::json!({ "redirectUrl": url }).to_string();
            assert_eq!(parse(&text).is_ok(), is_taken, "{why}");
        }
        let local = TargetRules { dangerously_allow_http: true, ..TargetRules::default() };
        assert!(Registration::parse(r#"{"redirectUrl":"http://127.0.0.1:9000/done"}"#, &local).is_ok());
        let split = parse(r#"{"redirectUrl":"https://tpp.example/a\r\nSet-Cookie:x"}"#).unwrap();
        assert_eq!(split.redirect_url.as_deref(), Some("https://tpp.example/aSet-Cookie:x"), "one line");
    }
}
