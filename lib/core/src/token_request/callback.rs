//! What a bank says when it calls back: parameters of the query, fields of a form, or members of a JSON object, as the page
//! has them. Anybody may send anything here, so it is bounded before it is read, and no refusal repeats any of it.

use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{KIND, RequestId};
use crate::event::family::{self, Payload};
use crate::input::fault::Faults;
use crate::input::json::{Members, text_of};
use crate::input::query;

/// The most bytes of a query, and of a body.
pub const MAX_CALLBACK_BYTES: usize = 8 * 1024;
/// The most parameters, fields and members.
pub const MAX_PARAMETERS: usize = 32;
/// The most bytes of what is said, as a query: API Gateway answers with 10,240 bytes of headers at the most, and 2,048 of
/// them may be the registered URL.
const MAX_SAID_BYTES: usize = 7 * 1024;

/// The fields that are taken, in the page's order. Banks add others, which are nobody's business.
const FIELDS: [&str; 6] = ["request-id", "request_id", "trace-id", "error", "message", "credential-fields"];

/// The body of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A form, `application/x-www-form-urlencoded`.
    Form(&'a str),
    /// A JSON object.
    Json(&'a str),
    /// There is none, as in a `GET`.
    None,
}

/// What a bank has said: the known fields, each once, as JSON spells its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    fields: [Option<String>; FIELDS.len()],
}

/// Why a callback is refused. `Display` is for whoever sent it, and quotes nothing that came with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Fields are not what the page says: each one's name and what was expected.
    #[error("The callback has faults. {0}")]
    Faulty(String),
    /// The body is not what its media type says.
    #[error("The body cannot be read; expected a form or a JSON object in UTF-8.")]
    Malformed,
    /// It names another token request than the one that its link is for.
    #[error("The link belongs to another token request than `{0}` says.")]
    OtherRequest(&'static str),
    /// A field is there more than once, and readers would disagree about which of them counts.
    #[error("`{0}` is there more than once.")]
    Repeated(&'static str),
    /// There is too much of it.
    #[error(
        "The callback is too large; expected {MAX_CALLBACK_BYTES} bytes and {MAX_PARAMETERS} parameters at the most."
    )]
    TooLarge,
    /// The body is in another media type.
    #[error("The body is in an unknown format; expected application/x-www-form-urlencoded or application/json.")]
    UnsupportedMediaType,
}

impl CallbackError {
    /// The HTTP status that tells it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Faulty(_) | Self::Malformed | Self::OtherRequest(_) | Self::Repeated(_) => 400,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
        }
    }
}

impl<'a> Body<'a> {
    /// Takes a body by its media type. An empty one needs none.
    ///
    /// # Errors
    /// It is in another.
    pub fn of(media_type: &str, text: &'a str) -> Result<Self, CallbackError> {
        match media_type {
            _ if text.is_empty() => Ok(Self::None),
            "application/x-www-form-urlencoded" => Ok(Self::Form(text)),
            "application/json" => Ok(Self::Json(text)),
            _ => Err(CallbackError::UnsupportedMediaType),
        }
    }
}

impl Callback {
    /// Reads what is said in the query and in the body, together: a field of the one must not be hidden by the other.
    ///
    /// # Errors
    /// It is too large, cannot be read, or has a known field twice.
    pub fn parse(query: &str, body: Body<'_>) -> Result<Self, CallbackError> {
        let (form, object) = match body {
            Body::Form(text) => (text, ""),
            Body::Json(text) => ("", text),
            Body::None => ("", ""),
        };
        if [query, form, object].into_iter().any(|part| part.len() > MAX_CALLBACK_BYTES) {
            return Err(CallbackError::TooLarge);
        }
        let parameters = [query, form].into_iter().flat_map(|part| form_urlencoded::parse(part.as_bytes()));
        let mut said: Vec<_> = parameters.map(|(name, value)| (name.clone(), spelled(&name, &value))).collect();
        if !object.is_empty() {
            let Members(members) = serde_json::from_str(object).map_err(|_| CallbackError::Malformed)?;
            let present = members.into_iter().filter(|(_, value)| value.get() != "null");
            said.extend(present.map(|(name, value)| (name, spelled_anew(value))));
        }
        if said.len() > MAX_PARAMETERS {
            return Err(CallbackError::TooLarge);
        }
        let mut fields = [const { None }; FIELDS.len()];
        for (name, value) in said {
            let Some(index) = FIELDS.iter().position(|known| *known == name) else { continue };
            if fields[index].replace(value).is_some() {
                return Err(CallbackError::Repeated(FIELDS[index]));
            }
        }
        Ok(Self { fields })
    }

    /// Gives the payload of the event that the callback becomes, the page's JSON, in the page's order. The id may be left
    /// out of a callback, for its link is for one token request only; in the payload it stands, twice.
    ///
    /// # Errors
    /// The callback is for another token request, or is not one of those that the page shows.
    pub fn payload(&self, id: &RequestId) -> Result<String, CallbackError> {
        let own = Value::from(id.as_str()).to_string();
        let mut members = Vec::with_capacity(FIELDS.len());
        for (name, value) in FIELDS.into_iter().zip(&self.fields) {
            let is_id = matches!(name, "request-id" | "request_id");
            match value {
                Some(value) if is_id && *value != own => return Err(CallbackError::OtherRequest(name)),
                None if is_id => members.push(format!("\"{name}\":{own}")),
                Some(value) => members.push(format!("\"{name}\":{value}")),
                None => {}
            }
        }
        let payload = format!("{{{}}}", members.join(","));
        check(&Payload::new(&payload))?;
        if query::encode(&payload).len() > MAX_SAID_BYTES {
            return Err(CallbackError::TooLarge);
        }
        Ok(payload)
    }
}

/// The value of a parameter in JSON. All are texts, but for the page's number.
fn spelled(name: &str, value: &str) -> String {
    let is_number = name == "error" && (1..=2).contains(&value.len()) && !value.starts_with('0');
    if is_number && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    Value::from(value).to_string()
}

/// A value of a JSON object, so that the same is the same however it is spelled: a text without needless escapes, and a whole
/// number, which to JSON Schema `14.0` is too, without a fraction.
fn spelled_anew(value: &RawValue) -> String {
    if let Some(text) = text_of(value) {
        return Value::from(text).to_string();
    }
    let number = value.get().parse().ok().filter(|number: &f64| number.fract() == 0.0 && (1.0..100.0).contains(number));
    number.map_or_else(|| value.get().to_owned(), |number| number.to_string())
}

/// Judges by the rules of the family, and one more: what tells of an error must not pass for a success.
fn check(payload: &Payload<'_>) -> Result<(), CallbackError> {
    let mut faults = Faults::default();
    if let Some(family) = family::of_kind(KIND) {
        family.check(payload, &mut faults);
    }
    let told =
        |pointer: &str, expected: &str| format!("`{}`: expected {expected}.", pointer.trim_start_matches("/data/"));
    let mut texts: Vec<_> = faults.listed().iter().map(|fault| told(&fault.pointer, &fault.expected)).collect();
    if payload.field("message").is_some() && payload.field("error").is_none() {
        texts.push(told("error", "a whole number, 1 to 16, for there is a `message`"));
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
        let escaped = "message=Bank%20is%20unavailable&request%2Did=rq%3A1%3A5zKtXEAq&error=14&trace-id=t&utm_source=x";
        let json = r#"{"message":"Bank\u0020is unavailable","error":14,"trace-id":"t","credential-fields":null,"more":{"a":[1]}}"#;
        let cases = [
            (query, Body::None, "as the page's URL"),
            (escaped, Body::None, "escaped, in another order, with what nobody asked for"),
            ("", Body::Form(query), "as a form"),
            ("", Body::Json(page), "as the page's JSON"),
            ("", Body::Json(json), "spelled otherwise, without the ids"),
            ("", Body::Json(&page.replace("14", "1.4e1")), "a whole number, if a strange one"),
            ("request-id=rq:1:5zKtXEAq", Body::Json(json), "one half in the query"),
        ];
        for (query, body, why) in cases {
            assert_eq!(said(query, body).as_deref(), Ok(page), "{why}");
        }
    }

    #[test]
    fn what_the_page_does_not_show_is_refused_without_a_quote() {
        use CallbackError::{Malformed, OtherRequest, Repeated, TooLarge};
        let faulty = |text: &str| Err(CallbackError::Faulty(text.into()));
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        let long = format!("message={}", "x".repeat(MAX_CALLBACK_BYTES));
        // Fits as JSON, and not into the URL that the browser is sent to.
        let wide = format!(r#"{{"error":14,"trace-id":"t","message":"{}"}}"#, "é".repeat(2_000));
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
            ("", Body::Json("[]"), Err(Malformed)),
            ("", Body::Json("{"), Err(Malformed)),
            (
                "message=denied",
                Body::None,
                faulty("`error`: expected a whole number, 1 to 16, for there is a `message`."),
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
                    "`message`: expected a text, for there is an `error`. `trace-id`: expected a text, for there is an `error`.",
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
    fn a_body_is_read_by_its_media_type() {
        assert_eq!(Body::of("application/json", "{}"), Ok(Body::Json("{}")));
        assert_eq!(Body::of("application/x-www-form-urlencoded", "a=b"), Ok(Body::Form("a=b")));
        assert_eq!(Body::of("text/plain", ""), Ok(Body::None), "there is nothing to read");
        assert_eq!(Body::of("", "a=b"), Err(CallbackError::UnsupportedMediaType));
        assert_eq!(Body::of("text/html", "a=b").unwrap_err().status(), 415);
    }
}
