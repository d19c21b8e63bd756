//! A request as it arrived.

use std::collections::BTreeMap;

use crate::encoding::number;
use crate::error::VerificationError;

pub(crate) const UNCHANGED: &str = "pass the header on unchanged";
pub(crate) const REFUSE: &str = "refuse the request: Signpost never signs like that";
pub(crate) const ALL_HEADERS: &str = "pass all headers to `verify`; look for a proxy that removes them";
pub(crate) const BEFORE_PARSER: &str = "verify the bytes as they arrived, before any JSON parser (in axum: take `Bytes` and not `Json`, and no layer that \
     reads the body)";
const RAW: &str = "verify before another program reads the body; read the raw bytes once, and keep them (in axum: no layer \
                   that reads the body)";

pub(crate) struct Request<'a> {
    pub(crate) headers: Headers,
    pub(crate) body: &'a [u8],
    pub(crate) method: String,
    pub(crate) payload: &'a [u8],
    own_url: Option<&'a str>,
    called: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        headers: Headers,
        body: &'a [u8],
        method: &str,
        own_url: Option<&'a str>,
        called: Option<&'a str>,
    ) -> Result<Self, VerificationError> {
        let method = method.to_ascii_uppercase();
        let payload = if method == "GET" { query_of_get(own_url, called)?.as_bytes() } else { body };
        Ok(Self { headers, body, method, payload, own_url, called })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub(crate) fn needed(&self, name: &str) -> Result<&str, VerificationError> {
        self.header(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            VerificationError::new(
                "header-missing",
                format!("`{name}` is missing; the signature needs it"),
                ALL_HEADERS,
            )
        })
    }

    /// Lists URLs that the sender may have called: first the one that counts, then those that explain a mistake.
    pub(crate) fn urls(&self) -> Vec<String> {
        let own = self.own_url.map(|own| {
            if self.method == "GET" {
                format!("{}?{}", before_query(own), query(self.called.unwrap_or_default()))
            } else {
                own.to_owned()
            }
        });
        let called = self.called.filter(|url| url.starts_with("https://") || url.starts_with("http://"));
        let mut urls: Vec<String> = own.into_iter().chain(called.map(str::to_owned)).collect();
        let swapped: Vec<_> = urls.iter().filter_map(|url| with_other_scheme(url)).collect();
        urls.extend(swapped);
        urls
    }

    /// Explains a signature that does not fit the payload.
    pub(crate) fn mismatch(&self, covers: &str) -> VerificationError {
        if self.method != "GET" {
            if self.body.is_empty() {
                return VerificationError::new(
                    "body-missing",
                    "the body is empty; expected the bytes that arrived",
                    RAW,
                );
            }
            let length = self.header("content-length").and_then(|text| number(text, 9));
            let is_short = length.is_some_and(|length| (self.body.len() as u64) < length);
            // Nothing that was cut is still valid JSON: a short body that is valid was encoded again.
            let is_json = serde_json::from_slice::<serde_json::Value>(self.body).is_ok();
            if is_json && (is_short || self.body.iter().any(u8::is_ascii_whitespace)) {
                let found = "the body has whitespace, or not the length that arrived: it was parsed and encoded again";
                return VerificationError::new("body-reencoded", found, BEFORE_PARSER);
            }
            if let Some(length) = length.filter(|_| is_short) {
                let found = format!("`content-length` is {length}, and the body has {} bytes", self.body.len());
                return VerificationError::new(
                    "body-cut",
                    found,
                    "read the body to its end; look for a limit on bodies",
                );
            }
        }
        let found = format!("the signature does not fit; it covers {covers}, and at least one of these changed");
        VerificationError::new("signature", found, format!("compare each with what arrived; {BEFORE_PARSER}"))
    }
}

/// Returns the query without that of the endpoint's own URL, which Signpost does not sign.
fn query_of_get<'a>(own_url: Option<&str>, called: Option<&'a str>) -> Result<&'a str, VerificationError> {
    let called = called.ok_or_else(|| {
        let found = "the method is GET, and `verify` got no `url`; expected the URL with its query as it arrived";
        VerificationError::new("url", found, "pass the URL that was called to `verify`")
    })?;
    let (own, all) = (query(own_url.unwrap_or_default()), query(called));
    Ok(match all.strip_prefix(own) {
        Some(rest) if own.is_empty() => rest,
        Some("") => "",
        Some(rest) => rest.strip_prefix('&').unwrap_or(all),
        None => all,
    })
}

fn before_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

fn query(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

fn with_other_scheme(url: &str) -> Option<String> {
    match url.strip_prefix("https://") {
        Some(rest) => Some(format!("http://{rest}")),
        None => url.strip_prefix("http://").map(|rest| format!("https://{rest}")),
    }
}

/// Headers by their names in lower case. Several lines of a field are one (RFC 9110, section 5.3).
pub(crate) struct Headers(BTreeMap<String, String>);

impl Headers {
    pub(crate) fn new<N: AsRef<str>, V: AsRef<[u8]>>(headers: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut all = BTreeMap::new();
        for (name, value) in headers {
            let value: String = value.as_ref().iter().map(|byte| char::from(*byte)).collect(); // ISO 8859-1
            all.entry(name.as_ref().to_ascii_lowercase())
                .and_modify(|all: &mut String| *all = format!("{all}, {}", value.trim()))
                .or_insert_with(|| value.trim().to_owned());
        }
        Self(all)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
