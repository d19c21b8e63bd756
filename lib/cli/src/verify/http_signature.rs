//! `signature` and `signature-input`: HTTP message signatures (RFC 9421), with `content-digest` (RFC 9530).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::http_signature::TAG;
use url::Url;

use super::keys::PublishedKey;
use super::request::SavedRequest;
use super::{Diagnosis, Step, Trust, Verified, check_age, check_length, explain_mismatch, key_of};

/// The components without which a signature proves too little.
const REQUIRED: [&str; 4] = ["@method", "@target-uri", "content-digest", "webhook-id"];
/// The components that Signpost covers if the endpoint's `cloudEvents` is `headers`.
const COVERED_IF_SENT: [&str; 2] = ["ce-type", "ce-source"];

pub fn verify(request: &SavedRequest, trust: &Trust) -> Result<Verified, Diagnosis> {
    let input = needed(request, "signature-input")?;
    let signature = needed(request, "signature")?;
    let malformed = |found: String| Diagnosis::new(Step::Malformed, found, "pass the headers on unchanged");
    let members = members(input);
    let Some(signed) =
        members.iter().filter_map(|(label, text)| Signed::parse(label, text)).find(|one| one.tag() == Some(TAG))
    else {
        let found = format!("no signature has the tag `{TAG}`; `signature-input` is `{input}`");
        let next = "use the signature whose `tag` is `signpost`; others in the request are not Signpost's";
        return Err(Diagnosis::new(Step::Tag, found, next));
    };
    let sent = COVERED_IF_SENT.iter().filter(|name| request.header(name).is_some());
    if let Some(missing) = REQUIRED.iter().chain(sent).find(|name| !signed.components.contains(name)) {
        let found = format!("the signature does not cover `{missing}`; it covers {}", signed.components.join(", "));
        let next = "refuse the request: Signpost covers it wherever it sends it";
        return Err(Diagnosis::new(Step::ComponentMissing, found, next));
    }
    let text = self::members(signature).into_iter().find(|(label, _)| *label == signed.label).map(|(_, text)| text);
    let text = text.ok_or_else(|| {
        malformed(format!("`signature` has no member `{}`, which `signature-input` has", signed.label))
    })?;
    let bytes =
        text.strip_prefix(':').and_then(|text| text.strip_suffix(':')).and_then(|text| BASE64.decode(text).ok());
    let Some(bytes) = bytes else {
        let found = "the signature is not base64 between two colons";
        return Err(Diagnosis::new(Step::SignatureMalformed, found, "pass the header on unchanged"));
    };
    let algorithm = signed.algorithm().ok_or_else(|| {
        let found = format!(
            "`alg` is `{}`; expected rsa-v1_5-sha256, ecdsa-p256-sha256 or ed25519",
            signed.parameter("alg").unwrap_or_default()
        );
        Diagnosis::new(Step::Algorithm, found, "refuse the request: Signpost never signs like that")
    })?;
    check_components(&signed, request)?;
    let urls = urls(request, trust);
    let Some(first) = urls.first() else {
        let found = "the URL is not known, and the signature covers it";
        return Err(Diagnosis::new(Step::Url, found, "add --url with the `url` of the endpoint's settings"));
    };
    let base = |url: &str| signed.base(request, url).into_bytes();
    let fits = |key: &PublishedKey| key.verifies(&base(first), &bytes);
    let key = key_of(signed.parameter("keyid").unwrap_or_default(), algorithm, trust, &fits)?;
    check_length(&bytes, key)?;
    if !fits(key) {
        if let Some(other) = urls.iter().find(|url| key.verifies(&base(url), &bytes)) {
            let found = format!("the signature is for `{other}`, and the URL here is `{first}`");
            let next = "build the URL from the endpoint's settings, not from what arrives behind a proxy; or add --url";
            return Err(Diagnosis::new(Step::Url, found, next));
        }
        let found =
            format!("the signature does not fit; it covers {}, for the URL `{first}`", signed.components.join(", "));
        let next =
            "compare each with what Signpost sent (`signpost event show`), and the URL with the endpoint's settings";
        return Err(Diagnosis::new(Step::Signature, found, next));
    }
    check_digest(request)?;
    let created = signed.parameter("created").and_then(|text| text.parse().ok()).ok_or_else(|| {
        Diagnosis::new(
            Step::Timestamp,
            "`created` is missing or not a number",
            "refuse the request: Signpost always sends it",
        )
    })?;
    check_age(created, "created", trust)?;
    Ok(Verified { by: algorithm.http_signature_name().to_owned(), kid: Some(key.kid.clone()) })
}

fn needed<'a>(request: &'a SavedRequest, name: &str) -> Result<&'a str, Diagnosis> {
    request.header(name).ok_or_else(|| {
        let found = format!("`{name}` is missing; `signature` and `signature-input` go together");
        Diagnosis::new(
            Step::HeaderMissing,
            found,
            "save the request with all of its headers; look for a proxy that removes them",
        )
    })
}

/// The components that are headers must be there.
fn check_components(signed: &Signed<'_>, request: &SavedRequest) -> Result<(), Diagnosis> {
    let headers = signed.components.iter().filter(|name| !name.starts_with('@'));
    for name in headers {
        if request.header(name).is_none() {
            let found = format!("`{name}` is missing; the signature covers it");
            let next = "save the request with all of its headers; look for a proxy that removes them";
            return Err(Diagnosis::new(Step::HeaderMissing, found, next));
        }
    }
    Ok(())
}

/// The body must have the digest, which the signature covers.
fn check_digest(request: &SavedRequest) -> Result<(), Diagnosis> {
    let text = request.header("content-digest").unwrap_or_default();
    let fits = |body: &[u8]| text == format!("sha-256=:{}:", BASE64.encode(digest(&SHA256, body)));
    if fits(&request.body) {
        return Ok(());
    }
    let mut diagnosis = explain_mismatch(request, &request.body, "the digest of the body", &fits);
    if diagnosis.step == Step::Signature {
        diagnosis.step = Step::Digest;
        diagnosis.found = format!(
            "the body does not have the signed digest; `content-digest` is `{text}`, and the body has {} bytes",
            request.body.len()
        );
    }
    Err(diagnosis)
}

/// A member of `signature-input`.
struct Signed<'a> {
    label: &'a str,
    /// The whole member: the last line of the signature base.
    text: &'a str,
    components: Vec<&'a str>,
    parameters: &'a str,
}

impl<'a> Signed<'a> {
    fn parse(label: &'a str, text: &'a str) -> Option<Self> {
        let (list, parameters) = text.strip_prefix('(')?.split_once(')')?;
        let components = list.split_whitespace().map(|item| item.trim_matches('"')).collect();
        Some(Self { label, text, components, parameters })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(one, _)| one.trim() == name).map(|(_, value)| value.trim_matches('"'))
    }

    fn tag(&self) -> Option<&'a str> {
        self.parameter("tag")
    }

    fn algorithm(&self) -> Option<Algorithm> {
        let name = self.parameter("alg")?;
        Algorithm::ALL.into_iter().find(|one| one.http_signature_name() == name)
    }

    /// Returns the signature base (RFC 9421, section 2.5).
    fn base(&self, request: &SavedRequest, url: &str) -> String {
        let mut lines: Vec<_> = self
            .components
            .iter()
            .map(|name| {
                let value = match *name {
                    "@method" => request.method.as_deref().unwrap_or("POST"),
                    "@target-uri" => url,
                    name => request.header(name).unwrap_or_default(),
                };
                format!("\"{name}\": {value}")
            })
            .collect();
        lines.push(format!("\"@signature-params\": {}", self.text));
        lines.join("\n")
    }
}

/// Splits a dictionary (RFC 9651, section 3.2) at the commas outside of quotes and parentheses.
fn members(text: &str) -> Vec<(&str, &str)> {
    let (mut all, mut start, mut is_in_string, mut depth) = (Vec::new(), 0, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'(' if !is_in_string => depth += 1,
            b')' if !is_in_string => depth -= 1,
            b',' if !is_in_string && depth == 0 => {
                all.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all.into_iter().filter_map(|member| member.trim().split_once('=')).collect()
}

/// Returns whether a `host` header names this machine, where receivers have no certificate.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

/// Lists the URLs that the sender may have called: first the one that the receiver takes, then those behind proxies.
fn urls(request: &SavedRequest, trust: &Trust) -> Vec<String> {
    let target = request.target.as_deref().unwrap_or_default();
    let path = Url::parse(target).map_or_else(|_| target.to_owned(), |url| url[url::Position::BeforePath..].to_owned());
    let mut all = Vec::new();
    if let Some(url) = &trust.url {
        let is_get = request.method.as_deref() == Some("GET");
        let query = path.split_once('?').map(|(_, query)| query).filter(|_| is_get);
        let mut own = url.clone();
        if query.is_some() {
            own.set_query(query);
        }
        all.push(own.to_string());
    }
    if target.starts_with("http://") || target.starts_with("https://") {
        all.push(target.to_owned());
    }
    let hosts = ["host", "x-forwarded-host", ":authority"].into_iter().filter_map(|name| request.header(name));
    if path.starts_with('/') {
        for host in hosts {
            let schemes = if is_loopback(host) { ["http", "https"] } else { ["https", "http"] };
            all.extend(schemes.map(|scheme| format!("{scheme}://{host}{path}")));
        }
        if let Some(url) = &trust.url {
            let scheme = if url.scheme() == "https" { "http" } else { "https" };
            all.push(format!("{}{path}", &url[..url::Position::BeforePath]));
            all.push(format!("{scheme}{}{path}", &url[url::Position::AfterScheme..url::Position::BeforePath]));
        }
    }
    all.dedup();
    all
}
