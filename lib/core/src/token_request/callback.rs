//! Bank callbacks: parameters of the query, fields of a form, or members of a JSON object, as Token.io documents them.
//! Anyone may send anything here. Therefore the size is limited before anything is read, and no refusal quotes the
//! input.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{KIND, RequestId};
use crate::event::family::{self, Payload};
use crate::input::fault::Faults;
use crate::input::json::{self, Members, text_of};
use crate::input::query;

/// The maximum number of bytes of a query, and of a body.
pub const MAX_CALLBACK_BYTES: usize = 8 * 1024;
/// The maximum number of parameters, fields and members.
pub const MAX_PARAMETERS: usize = 32;
/// The maximum number of bytes of the fields as a query. API Gateway answers with at most 10,240 bytes of headers, and
/// the registered URL may need 2,048 of them. Endpoints with `GET` get the same fields in their URL.
const MAX_SAID_BYTES: usize = 7 * 1024;

/// Token.io's fields, in the order of its documentation. Other fields follow them in the payload.
const FIELDS: [&str; 6] = ["request-id", "request_id", "trace-id", "error", "message", "credential-fields"];

/// The body of a bank callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A form, `application/x-www-form-urlencoded`.
    Form(&'a str),
    /// A JSON object.
    Json(&'a str),
    /// No body, as in a `GET`.
    None,
}

/// The content of a bank callback: Token.io's fields, each once with its JSON value, and the other fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    fields: [Option<String>; FIELDS.len()],
    /// JSON values by name. Therefore the same fields in any order make the same payload.
    others: BTreeMap<String, Vec<String>>,
}

/// The reason why a bank callback is refused. `Display` is for its sender, and quotes nothing of the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Fields do not conform to Token.io's documentation. The text has the name of each, and what was expected.
    #[error("The callback has faults. {0}")]
    Faulty(String),
    /// The body does not conform to its media type.
    #[error("The body cannot be read; expected a form or a JSON object in UTF-8.")]
    Malformed,
    /// Escaped bytes are not UTF-8. Another charset would be a guess, and replacement characters would lose data.
    #[error("The callback has escapes that are not UTF-8; send its text in UTF-8.")]
    NotUtf8,
    /// The callback names another token request than its link.
    #[error("The link belongs to another token request than `{0}` says.")]
    OtherRequest(&'static str),
    /// Some readers ignore the case of a name, or change it as PHP does. They would take one field for another.
    #[error("A field has a name that readers may take for `{0}`; spell it `{0}`, or use another name.")]
    OtherSpelling(&'static str),
    /// A field occurs several times, and readers would disagree about which one counts.
    #[error("`{0}` occurs more than once.")]
    Repeated(&'static str),
    /// The callback has too many bytes or parameters.
    #[error("The callback is too large; expected at most {MAX_CALLBACK_BYTES} bytes and {MAX_PARAMETERS} parameters.")]
    TooLarge,
    /// The body has another charset.
    #[error("The body is in an unknown charset; expected UTF-8.")]
    UnsupportedCharset,
    /// The body has another media type.
    #[error("The body is in an unknown format; expected application/x-www-form-urlencoded or application/json.")]
    UnsupportedMediaType,
}

impl CallbackError {
    /// Returns the HTTP status of the refusal.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Faulty(_)
            | Self::Malformed
            | Self::NotUtf8
            | Self::OtherRequest(_)
            | Self::OtherSpelling(_)
            | Self::Repeated(_) => 400,
            Self::TooLarge => 413,
            Self::UnsupportedCharset | Self::UnsupportedMediaType => 415,
        }
    }
}

impl<'a> Body<'a> {
    /// Returns the body for its media type. An empty one needs no media type.
    ///
    /// # Errors
    /// The media type is another one.
    pub fn of(media_type: &str, text: &'a str) -> Result<Self, CallbackError> {
        match media_type {
            _ if text.is_empty() => Ok(Self::None),
            "application/x-www-form-urlencoded" => Ok(Self::Form(text)),
            "application/json" => Ok(Self::Json(text)),
            _ => Err(CallbackError::UnsupportedMediaType),
        }
    }

    /// Checks the charset of a body, if it names one. US-ASCII is a part of UTF-8.
    ///
    /// # Errors
    /// The charset is another one: there, escapes such as `%E9` mean other characters.
    pub fn check_charset(named: Option<&str>) -> Result<(), CallbackError> {
        let is_read = |charset: &str| {
            ["utf-8", "utf8", "us-ascii", "ascii"].into_iter().any(|one| one.eq_ignore_ascii_case(charset))
        };
        if named.is_none_or(is_read) { Ok(()) } else { Err(CallbackError::UnsupportedCharset) }
    }
}

impl Callback {
    /// Parses the query and the body together, because a field in one must not hide a field in the other.
    ///
    /// # Errors
    /// The callback is too large, cannot be read, has one of Token.io's fields twice, or a field that readers may take
    /// for one.
    pub fn parse(query: &str, body: Body<'_>) -> Result<Self, CallbackError> {
        let (form, object) = match body {
            Body::Form(text) => (text, ""),
            Body::Json(text) => ("", text),
            Body::None => ("", ""),
        };
        if [query, form, object].into_iter().any(|part| part.len() > MAX_CALLBACK_BYTES) {
            return Err(CallbackError::TooLarge);
        }
        let mut said = [parameters(query)?, parameters(form)?].concat();
        if !object.is_empty() {
            let Members(members) = serde_json::from_str(object).map_err(|_| CallbackError::Malformed)?;
            let present = members.into_iter().filter(|(_, value)| value.get() != "null");
            said.extend(present.map(|(name, value)| {
                let value = spelled_anew(&name, value);
                (name.into_owned(), value)
            }));
        }
        if said.len() > MAX_PARAMETERS {
            return Err(CallbackError::TooLarge);
        }
        Self::of_fields(said)
    }

    fn of_fields(said: Vec<(String, String)>) -> Result<Self, CallbackError> {
        let mut read = Self { fields: [const { None }; FIELDS.len()], others: BTreeMap::new() };
        for (name, value) in said {
            if let Some(index) = FIELDS.iter().position(|known| *known == name) {
                if read.fields[index].replace(value).is_some() {
                    return Err(CallbackError::Repeated(FIELDS[index]));
                }
            } else if let Some(known) = reads_as(&name) {
                return Err(CallbackError::OtherSpelling(known));
            } else {
                read.others.entry(name).or_default().push(value);
            }
        }
        Ok(read)
    }

    /// Returns the payload of the callback's event: Token.io's JSON, in the documented order, and then the other fields
    /// by name. If another field occurs several times, it becomes a list. A callback may omit the id, because its link
    /// is for one token request only. The payload always has it, in both spellings.
    ///
    /// # Errors
    /// The callback is for another token request, breaks Token.io's rules, or is too large for a URL.
    pub fn payload(&self, id: &RequestId) -> Result<String, CallbackError> {
        let own = Value::from(id.as_str()).to_string();
        let mut members = Vec::with_capacity(FIELDS.len() + self.others.len());
        for (name, value) in FIELDS.into_iter().zip(&self.fields) {
            let is_id = matches!(name, "request-id" | "request_id");
            match value {
                Some(value) if is_id && *value != own => return Err(CallbackError::OtherRequest(name)),
                None if is_id => members.push(member(name, &own)),
                Some(value) => members.push(member(name, value)),
                None => {}
            }
        }
        members.extend(self.others.iter().map(|(name, values)| match &**values {
            [value] => member(name, value),
            values => member(name, &format!("[{}]", values.join(","))),
        }));
        let payload = object(&members);
        check(&Payload::new(&payload))?;
        // Receivers must be able to parse the values. They cannot if these are nested too deeply or have halves of
        // surrogate pairs.
        serde_json::from_str::<Value>(&payload).map_err(|_| CallbackError::Malformed)?;
        if query::encode(&payload).len() > MAX_SAID_BYTES {
            return Err(CallbackError::TooLarge);
        }
        Ok(payload)
    }
}

/// Splits a payload into an object of Token.io's fields and one of the others.
pub(super) fn split(payload: &str) -> (String, String) {
    let Members(members) = serde_json::from_str(payload).unwrap_or(Members(Vec::new()));
    let (own, others): (Vec<_>, Vec<_>) = members.iter().partition(|(name, _)| FIELDS.contains(&&**name));
    let spelled = |members: Vec<&(Cow<'_, str>, &RawValue)>| {
        object(&members.into_iter().map(|(name, value)| member(name, value.get())).collect::<Vec<_>>())
    };
    (spelled(own), spelled(others))
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{value}", Value::from(name))
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

/// Reads the parameters of a query or a form (WHATWG URL, section 5.1). It refuses bytes that are not UTF-8, which the
/// standard replaces by U+FFFD.
fn parameters(text: &str) -> Result<Vec<(String, String)>, CallbackError> {
    let decoded = |part: &str| {
        let spaced = part.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
        decoded.map_err(|_| CallbackError::NotUtf8)
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let read = pairs.map(|(name, value)| {
        let name = decoded(name)?;
        let value = spelled(&name, &decoded(value)?);
        Ok((name, value))
    });
    read.collect()
}

/// Returns the field of Token.io that some readers take a name for. Some ignore case, as Go's `encoding/json` does. PHP
/// ignores spaces before a name and `[…]` after it, and reads a space and a dot as `_`.
fn reads_as(name: &str) -> Option<&'static str> {
    let name = name.split('[').next().unwrap_or_default().trim().to_uppercase().replace([' ', '.'], "_");
    FIELDS.into_iter().find(|known| known.to_uppercase() == name)
}

/// Returns the value of a parameter in JSON. All are texts, except Token.io's number.
fn spelled(name: &str, value: &str) -> String {
    let is_number = name == "error" && (1..=2).contains(&value.len()) && !value.starts_with('0');
    if is_number && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    Value::from(value).to_string()
}

/// Normalizes a value of a JSON object, so that equal values have equal spellings. A text loses unnecessary escapes.
/// Token.io's number, which JSON Schema allows as `14.0`, loses its fraction. Other numbers keep their spelling.
fn spelled_anew(name: &str, value: &RawValue) -> String {
    if let Some(text) = text_of(value) {
        return Value::from(text).to_string();
    }
    if !FIELDS.contains(&name) {
        return json::minify(value.get());
    }
    let number = value.get().parse().ok().filter(|number: &f64| number.fract() == 0.0 && (1.0..100.0).contains(number));
    number.map_or_else(|| value.get().to_owned(), |number| number.to_string())
}

/// Checks the rules of the family, and one more: an error must not look like a success.
fn check(payload: &Payload<'_>) -> Result<(), CallbackError> {
    let mut faults = Faults::default();
    if let Some(family) = family::of_kind(KIND) {
        family.check(payload, &mut faults);
    }
    let told =
        |pointer: &str, expected: &str| format!("`{}`: expected {expected}.", pointer.trim_start_matches("/data/"));
    let mut texts: Vec<_> = faults.listed().iter().map(|fault| told(&fault.pointer, &fault.expected)).collect();
    if payload.field("message").is_some() && payload.field("error").is_none() {
        texts.push(told("error", "a whole number, 1 to 16, because there is a `message`"));
    }
    if texts.is_empty() { Ok(()) } else { Err(CallbackError::Faulty(texts.join(" "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "rq:1:5zKtXEAq";

    fn said(query: &str, body: Body<'_>) -> Result<String, CallbackError> {
        Callback::parse(query, body)?.payload(&RequestId::parse(ID).unwrap())
    }

    #[test]
    fn the_same_is_the_same_in_every_form() {
        let page = r#"{"request-id":"rq:1:5zKtXEAq","request_id":"rq:1:5zKtXEAq","trace-id":"t","error":14,"message":"Bank is unavailable"}"#;
        let query = "request-id=rq:1:5zKtXEAq&request_id=rq:1:5zKtXEAq&trace-id=t&error=14&message=Bank+is+unavailable";
        let escaped = "message=Bank%20is%20unavailable&request%2Did=rq%3A1%3A5zKtXEAq&error=14&trace-id=t&&";
        let json =
            r#"{"message":"Bank\u0020is unavailable","error":14,"trace-id":"t","credential-fields":null,"code":null}"#;
        let cases = [
            (query, Body::None, "as in Token.io's URL"),
            (escaped, Body::None, "escaped, in another order"),
            ("", Body::Form(query), "as a form"),
            ("", Body::Json(page), "as in Token.io's JSON"),
            ("", Body::Json(json), "in another spelling, without the ids"),
            ("", Body::Json(&page.replace("14", "1.4e1")), "a whole number in an unusual spelling"),
            ("request-id=rq:1:5zKtXEAq", Body::Json(json), "one half in the query"),
        ];
        for (query, body, why) in cases {
            assert_eq!(said(query, body).as_deref(), Ok(page), "{why}");
        }
    }

    #[test]
    fn undocumented_callbacks_are_refused_without_a_quote() {
        use CallbackError::{Malformed, OtherRequest, OtherSpelling, Repeated, TooLarge};
        let faulty = |text: &str| Err(CallbackError::Faulty(text.into()));
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        let long = format!("message={}", "x".repeat(MAX_CALLBACK_BYTES));
        // It fits as JSON, but not into the URL of the redirect.
        let wide = format!(r#"{{"error":14,"trace-id":"t","message":"{}"}}"#, "é".repeat(2_000));
        let wide_code = format!("code={}", "é".repeat(2_000));
        let deep = format!(r#"{{"code":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        let cases = [
            ("request-id=rq:2:5zKtXEAq", Body::None, Err(OtherRequest("request-id"))),
            ("request_id=", Body::None, Err(OtherRequest("request_id"))),
            ("", Body::Json(r#"{"request-id":7}"#), Err(OtherRequest("request-id"))),
            ("error=14&error=2", Body::None, Err(Repeated("error"))),
            ("trace-id=a", Body::Form("trace-id=a"), Err(Repeated("trace-id"))),
            ("", Body::Json(r#"{"message":"a","message":"b"}"#), Err(Repeated("message"))),
            (&many, Body::None, Err(TooLarge)),
            (&long, Body::None, Err(TooLarge)),
            ("", Body::Form(&long), Err(TooLarge)),
            ("", Body::Json(&wide), Err(TooLarge)),
            (&wide_code, Body::None, Err(TooLarge)),
            ("", Body::Json(&deep), Err(Malformed)),
            ("", Body::Json(r#"{"code":"\ud800"}"#), Err(Malformed)),
            ("error[]=14", Body::None, Err(OtherSpelling("error"))),
            ("+Error=14", Body::None, Err(OtherSpelling("error"))),
            ("request.id=rq:2:5zKtXEAq", Body::None, Err(OtherSpelling("request_id"))),
            ("", Body::Json(r#"{"Request-ID":"rq:2:5zKtXEAq"}"#), Err(OtherSpelling("request-id"))),
            // Go's `encoding/json` reads U+017F as an `s`.
            ("me%C5%BFsage=m", Body::None, Err(OtherSpelling("message"))),
            ("", Body::Json("[]"), Err(Malformed)),
            ("", Body::Json("{"), Err(Malformed)),
            (
                "message=denied",
                Body::None,
                faulty("`error`: expected a whole number, 1 to 16, because there is a `message`."),
            ),
            (
                "error=access_denied&message=m&trace-id=t",
                Body::None,
                faulty("`error`: expected a whole number, 1 to 16."),
            ),
            ("error=014&message=m&trace-id=t", Body::None, faulty("`error`: expected a whole number, 1 to 16.")),
            ("error=17&message=m&trace-id=t", Body::None, faulty("`error`: expected a whole number, 1 to 16.")),
            (
                "error=14",
                Body::None,
                faulty(
                    "`message`: expected a text, because there is an `error`. `trace-id`: expected a text, because there is an `error`.",
                ),
            ),
            (
                "",
                Body::Json(r#"{"error":"14","message":"m","trace-id":"t"}"#),
                faulty("`error`: expected a whole number, 1 to 16."),
            ),
        ];
        for (query, body, expected) in cases {
            assert_eq!(said(query, body), expected, "{query} {body:?}");
        }
        let told = said("credential-fields=%3Cimg+onerror%3E", Body::None).unwrap_err().to_string();
        assert!(told.contains("credential-fields") && !told.contains("img"), "{told}");
    }

    #[test]
    fn other_fields_follow_token_ios_in_the_payload() {
        let own = r#""request-id":"rq:1:5zKtXEAq","request_id":"rq:1:5zKtXEAq""#;
        let json = r#"{"amount": 1.0, "more": {"b" : [1.50, null]}, "code":"\u0063"}"#;
        let cases = [
            ("state=s%201&code=a.b", Body::None, r#","code":"a.b","state":"s 1""#, "OAuth 2.0's, by name"),
            ("code=a.b&state=s+1", Body::None, r#","code":"a.b","state":"s 1""#, "the same in another order"),
            ("scope=a&scope=b", Body::None, r#","scope":["a","b"]"#, "twice: both values stay"),
            ("code=c", Body::Form("code=d"), r#","code":["c","d"]"#, "in both"),
            ("", Body::Json(json), r#","amount":1.0,"code":"c","more":{"b":[1.50,null]}"#, "JSON, as it is spelled"),
            ("%3Cimg%3E=%22&=y&a", Body::None, r#","":"y","<img>":"\"","a":"""#, "any name"),
            ("trace_id=t", Body::None, r#","trace_id":"t""#, "like `request_id` beside `request-id`"),
            ("error2=14&error_description=x", Body::None, r#","error2":"14","error_description":"x""#, "no error"),
        ];
        for (query, body, others, why) in cases {
            let payload = said(query, body).unwrap();
            assert_eq!(payload, format!("{{{own}{others}}}"), "{why}");
            let others = format!("{{{}}}", others.trim_start_matches(','));
            assert_eq!(split(&payload), (format!("{{{own}}}"), others), "{why}");
        }
    }

    #[test]
    fn no_character_is_replaced_silently() {
        use CallbackError::{NotUtf8, UnsupportedCharset};
        let message = |text: &str| {
            let ids = format!(r#""request-id":"{ID}","request_id":"{ID}""#);
            Ok(format!(r#"{{{ids},"trace-id":"t","error":14,"message":"{text}"}}"#))
        };
        let cases = [
            ("%C3%A9+%c3%bc", message("é ü"), "UTF-8"),
            ("é", message("é"), "the same, not escaped"),
            ("%EF%BF%BD", message("\u{fffd}"), "sent so"),
            ("100%25%zz%", message("100%%zz%"), "no escapes"),
            ("%E9", Err(NotUtf8), "ISO-8859-1"),
            ("%81%40", Err(NotUtf8), "Shift_JIS"),
            ("%ED%A0%80", Err(NotUtf8), "half of a surrogate pair"),
        ];
        for (text, expected, why) in cases {
            let all = format!("error=14&trace-id=t&message={text}");
            assert_eq!(said(&all, Body::None), expected, "{why}, in the query");
            assert_eq!(said("", Body::Form(&all)), expected, "{why}, in the form");
        }
        assert_eq!(said("caf%E9=x", Body::None), Err(NotUtf8), "not in a name either");
        for charset in [None, Some("UTF-8"), Some("utf8"), Some("US-ASCII")] {
            assert_eq!(Body::check_charset(charset), Ok(()), "{charset:?}");
        }
        for charset in ["iso-8859-1", "windows-1252", "Shift_JIS", "utf-16", ""] {
            assert_eq!(Body::check_charset(Some(charset)), Err(UnsupportedCharset), "{charset}");
        }
        assert_eq!((NotUtf8.status(), UnsupportedCharset.status()), (400, 415));
    }

    #[test]
    fn a_body_is_read_by_its_media_type() {
        assert_eq!(Body::of("application/json", "{}"), Ok(Body::Json("{}")));
        assert_eq!(Body::of("application/x-www-form-urlencoded", "a=b"), Ok(Body::Form("a=b")));
        assert_eq!(Body::of("text/plain", ""), Ok(Body::None), "an empty body");
        assert_eq!(Body::of("", "a=b"), Err(CallbackError::UnsupportedMediaType));
        assert_eq!(Body::of("text/html", "a=b").unwrap_err().status(), 415);
    }
}
