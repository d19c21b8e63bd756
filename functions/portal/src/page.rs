//! The page itself: one HTML file, and the headers that keep everything else out of it.

use std::sync::OnceLock;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName};
use signpost_io::runtime::api_gateway::{empty, lists_weakly, respond, with_header};

use crate::gzip::{gzip, is_taken};

const HTML: &str = include_str!("page.html");
const MEDIA_TYPE: &str = "text/html; charset=utf-8";

/// The headers of the page that never change.
const HEADERS: [(HeaderName, &str); 7] = [
    (CACHE_CONTROL, "no-cache"), // A browser keeps it, and asks each time if it is still the same.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "clipboard-write=(self)"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"), // A year.
    (VARY, "accept-encoding"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The page with the headers that depend on its content and on the stack's settings.
#[derive(Debug)]
pub(crate) struct Page {
    policy: String,
    /// The hash of page and policy.
    version: String,
    /// The compressed page in base64, which is how API Gateway takes bytes.
    compressed: OnceLock<String>,
}

impl Page {
    /// Computes the headers of the page. Only pages of `ancestors` may show it in a frame.
    pub(crate) fn new(ancestors: &[String]) -> Self {
        let policy = policy(HTML, ancestors);
        let hash = digest(&SHA256, format!("{policy}\n{HTML}").as_bytes()); // A new header reaches a browser that has the page.
        Self { policy, version: URL_SAFE_NO_PAD.encode(hash), compressed: OnceLock::new() }
    }

    /// Answers with the page, or with 304 if the browser has it already.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
        let is_compressed = is_taken(headers);
        // Each content coding has a tag of its own (RFC 9110, section 8.8.3.3).
        let tag = format!("\"{}{}\"", self.version, if is_compressed { "-gzip" } else { "" });
        let response = match lists_weakly(headers, IF_NONE_MATCH, &tag) {
            true => empty(304),
            false if is_compressed => self.compressed(),
            false => respond(200, MEDIA_TYPE, HTML),
        };
        let response = HEADERS.into_iter().fold(response, |response, (name, value)| with_header(response, name, value));
        with_header(with_header(response, CONTENT_SECURITY_POLICY, &self.policy), ETAG, &tag)
    }

    fn compressed(&self) -> ApiGatewayV2httpResponse {
        let body = self.compressed.get_or_init(|| STANDARD.encode(gzip(HTML.as_bytes())));
        let mut response = with_header(respond(200, MEDIA_TYPE, &**body), CONTENT_ENCODING, "gzip");
        response.is_base64_encoded = true;
        response
    }
}

/// Returns the content security policy (CSP Level 3): the page's own script and style by their hashes, requests to its own
/// origin, and nothing else. No text can become HTML or a script, because no policy of trusted types is allowed.
fn policy(html: &str, ancestors: &[String]) -> String {
    let (scripts, styles) = (hashes(html, "script"), hashes(html, "style"));
    let ancestors = if ancestors.is_empty() { "'none'".to_owned() } else { ancestors.join(" ") };
    format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
}

/// Returns the hash of each `<name>` element of the page, in the form of a policy; `'none'` if there is none.
fn hashes(html: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let contents = html.split(&*open).skip(1).filter_map(|rest| rest.split_once(&*close));
    let hash =
        |(content, _): (&str, &str)| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, content.as_bytes())));
    let hashes: Vec<_> = contents.map(hash).collect();
    if hashes.is_empty() { "'none'".into() } else { hashes.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_every_script_and_style_by_its_hash() {
        let html = "<style>a</style><p><script>b</script><script>c\n</script>";
        let policy = policy(html, &["https://a.example".into(), "https://b.example".into()]);
        // Python: base64.b64encode(hashlib.sha256(b"b").digest())
        let expected = "default-src 'none'; \
            script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0=' 'sha256-o6XnFfDMV0pzw/m+u2vCTzL/1bZ7OHJEwskJ2neaFHg='; \
            style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='; connect-src 'self'; img-src data:; \
            base-uri 'none'; form-action 'none'; frame-ancestors https://a.example https://b.example; \
            require-trusted-types-for 'script'; trusted-types 'none'";
        assert_eq!(policy, expected);
        assert!(super::policy("", &[]).contains("script-src 'none'; style-src 'none'"));
        assert!(super::policy("", &[]).contains("frame-ancestors 'none'"));
    }
}
