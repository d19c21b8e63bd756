//! API Gateway HTTP APIs, payload format 2.0: reads requests and builds responses.

use std::collections::BTreeSet;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use signpost_core::input::fault::{Fault, FaultCode, Faults, QUOTED_CHARACTERS};
use signpost_core::input::problem::{self, Problem};
use signpost_core::input::query;

/// Returns the body of a request as text.
///
/// API Gateway encodes bodies that it takes for binary in base64. This makes no difference to the sender.
///
/// # Errors
/// 415 for a body with a content coding; 400 for bytes that are not UTF-8, which JSON must be (RFC 8259, section 8.1).
pub fn body_text(request: &ApiGatewayV2httpRequest) -> Result<String, Problem> {
    if let Some(coding) = content_coding(&request.headers) {
        return Err(Problem::unsupported_content_coding(&coding));
    }
    let body = request.body.as_deref().unwrap_or_default();
    if !request.is_base64_encoded {
        return Ok(body.to_owned());
    }
    let not_utf8 =
        |found: String| Problem::bad_request(vec![Fault::whole(found, "JSON in UTF-8").code(FaultCode::NotUtf8)]);
    let bytes = STANDARD.decode(body).map_err(|_| not_utf8("a damaged body".into()))?;
    String::from_utf8(bytes).map_err(|error| {
        let first = error.utf8_error().valid_up_to() + 1;
        not_utf8(format!("bytes that are not UTF-8, from byte {first} on"))
    })
}

/// Returns the content coding of a body, unless that is `identity`.
fn content_coding(headers: &HeaderMap) -> Option<String> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let codings: Vec<_> = codings.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let all = codings.join(", ");
    let is_identity = |coding: &str| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity");
    (!all.split(',').all(is_identity)).then(|| all.chars().take(QUOTED_CHARACTERS).collect())
}

/// How many bytes the body of a response may have. Lambda allows 6 MB, in which the body is a JSON string.
pub const MAX_ANSWER_BYTES: usize = 5_000_000;

/// Returns how many bytes a text has inside of a JSON string, which is how Lambda hands over a body. Quotes,
/// backslashes and control characters have more than one.
#[must_use]
pub fn bytes_in_answer(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..=31 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(extra).sum::<usize>()
}

/// Returns the media type of a request's body, in lower case and without parameters; empty if the request has none.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns the charset of a request's body, if the request has one.
#[must_use]
pub fn charset(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(charset.trim().trim_matches('"'))
}

/// Returns a parameter of the query.
///
/// Commas are part of the value. API Gateway joins repeated parameters with commas, and the runtime splits the value at
/// them, so this joins it again.
#[must_use]
pub fn parameter(request: &ApiGatewayV2httpRequest, name: &str) -> Option<String> {
    request.query_string_parameters.all(name).map(|parts| parts.join(","))
}

/// Refuses parameters of the query that are not in `known`, because a parameter without effect must not look effective.
/// Also refuses a query that is not UTF-8, because API Gateway replaces its characters.
///
/// # Errors
/// 400 with a fault for each. The faults do not quote values.
pub fn check_parameters(request: &ApiGatewayV2httpRequest, known: &[&str]) -> Result<(), Problem> {
    let there_are = if known.is_empty() { "none".into() } else { known.join(", ") };
    let names: BTreeSet<_> = request.query_string_parameters.iter().map(|(name, _)| name).collect();
    let mut faults = Faults::default();
    for name in names.into_iter().filter(|name| !known.contains(name)) {
        let pointer = format!("?{}", name.chars().take(QUOTED_CHARACTERS).collect::<String>());
        let expected = format!("no such parameter; known: {there_are}");
        faults.push(Fault::hidden(pointer, expected).code(FaultCode::UnknownParameter));
    }
    if !query::is_utf8(request.raw_query_string.as_deref().unwrap_or_default()) {
        faults.push(Fault::hidden("?", "percent-encoded UTF-8").code(FaultCode::NotUtf8));
    }
    faults.none().map_err(Problem::bad_request)
}

/// Returns whether the header `name` lists the entity tag `tag`, or `*`, by weak comparison, as for `If-None-Match`
/// (RFC 9110, sections 8.8.3.2 and 13.1.2).
#[must_use]
pub fn lists_weakly(headers: &HeaderMap, name: HeaderName, tag: &str) -> bool {
    listed(headers, name).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Does the same by strong comparison, as for `If-Match` (section 13.1.1).
#[must_use]
pub fn lists_strongly(headers: &HeaderMap, name: HeaderName, tag: &str) -> bool {
    listed(headers, name).any(|one| one == "*" || one == tag)
}

/// Returns whether a header lists a strong entity tag that begins with `prefix`, including its opening quote.
#[must_use]
pub fn lists_with_prefix(headers: &HeaderMap, name: HeaderName, prefix: &str) -> bool {
    listed(headers, name).any(|one| one.starts_with(prefix))
}

fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Builds a response with a body.
#[must_use]
pub fn respond(status: u16, media_type: &'static str, body: impl Into<String>) -> ApiGatewayV2httpResponse {
    let mut response = empty(status);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.body = Some(body.into().into());
    response
}

/// Builds a response without a body.
#[must_use]
pub fn empty(status: u16) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.into();
    response
}

/// Builds a response with a problem document, which must not be cached.
#[must_use]
pub fn refuse(problem: &Problem) -> ApiGatewayV2httpResponse {
    let body = serde_json::to_string(problem).unwrap_or_default(); // Strings and numbers always serialize.
    let response = with_header(respond(problem.status, problem::MEDIA_TYPE, body), CACHE_CONTROL, "no-store");
    let response = match problem.accept_encoding {
        Some(codings) => with_header(response, ACCEPT_ENCODING, codings),
        None => response,
    };
    match problem.retry_after {
        Some(seconds) => with_header(response, RETRY_AFTER, &seconds.to_string()),
        None => response,
    }
}

/// Answers 503 with `Retry-After: 1`: a call to AWS failed, and the sender may repeat the request. `detail` says so.
#[must_use]
pub fn unavailable(detail: &str) -> ApiGatewayV2httpResponse {
    with_header(refuse(&Problem::unavailable(detail)), RETRY_AFTER, "1")
}

/// Adds a header. Its value must be visible ASCII.
#[must_use]
pub fn with_header(mut response: ApiGatewayV2httpResponse, name: HeaderName, value: &str) -> ApiGatewayV2httpResponse {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers.insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::header::IF_MATCH;

    use super::*;

    #[test]
    fn commas_in_a_parameter_are_its_own() {
        let file = include_str!("../../../../events/manage-session.json").replace("session-9", "a,b,");
        let request: ApiGatewayV2httpRequest = serde_json::from_str(&file).unwrap();
        assert_eq!(parameter(&request, "sessionId").as_deref(), Some("a,b,"));
        assert_eq!(parameter(&request, "tenant").as_deref(), Some("acme"));
        assert_eq!(parameter(&request, "cursor"), None);
    }

    #[test]
    fn a_text_is_counted_as_lambda_receives_it() {
        let all: String = (0..=127_u8).map(char::from).chain("ěšč".chars()).collect();
        for text in ["", "{}", r#"{"a":"b\"c"}"#, &all] {
            assert_eq!(bytes_in_answer(text) + 2, serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[test]
    fn a_query_that_is_not_utf8_is_refused() {
        let file = include_str!("../../../../events/manage-session.json");
        let mut request: ApiGatewayV2httpRequest = serde_json::from_str(file).unwrap();
        let known = ["tenant", "sessionId"];
        for (query, is_taken) in [("sessionId=caf%C3%A9&tenant=acme", true), ("sessionId=caf%E9&tenant=acme", false)] {
            request.raw_query_string = Some(query.into());
            let codes = check_parameters(&request, &known).map_err(|problem| problem.errors[0].code);
            assert_eq!(codes, if is_taken { Ok(()) } else { Err(FaultCode::NotUtf8) }, "{query}");
        }
    }

    #[test]
    fn a_charset_is_found_among_the_parameters() {
        let cases = [
            ("text/plain", None),
            ("text/plain; charset", None),
            ("text/plain;charset=UTF-8", Some("UTF-8")),
            ("text/plain; boundary=x ; Charset = \"iso-8859-1\" ", Some("iso-8859-1")),
            ("text/plain; charset=", Some("")),
        ];
        for (value, expected) in cases {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(charset(&headers), expected, "{value}");
        }
        assert_eq!(charset(&HeaderMap::new()), None);
    }

    #[test]
    fn entity_tags_are_compared_as_each_header_asks() {
        let cases = [
            ("\"a\"", true, true, "the tag"),
            ("W/\"a\"", true, false, "weakened by a proxy"),
            ("\"b\", \"a\"", true, true, "in a list"),
            ("*", true, true, "any"),
            ("\"b\"", false, false, "another"),
            ("a", false, false, "unquoted"),
        ];
        for (value, weakly, strongly, why) in cases {
            let headers = HeaderMap::from_iter([(IF_MATCH, value.parse().unwrap())]);
            assert_eq!(lists_weakly(&headers, IF_MATCH, "\"a\""), weakly, "{why}");
            assert_eq!(lists_strongly(&headers, IF_MATCH, "\"a\""), strongly, "{why}");
        }
        assert!(!lists_weakly(&HeaderMap::new(), IF_MATCH, "\"a\""));
    }

    #[test]
    fn a_tag_that_says_more_than_a_version_is_found_by_its_version() {
        for (value, expected) in [
            ("\"3-x\"", true),
            ("\"1\", \"3-x\"", true),
            ("\"3\"", false),
            ("\"31-x\"", false),
            ("W/\"3-x\"", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_MATCH, value.parse().unwrap())]);
            assert_eq!(lists_with_prefix(&headers, IF_MATCH, "\"3-"), expected, "{value}");
        }
    }
}
