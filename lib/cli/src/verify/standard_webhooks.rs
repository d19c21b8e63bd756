//! `webhook-signature`: Standard Webhooks 1.0.0, `v1` and `v1a`.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use signpost_core::signing::standard_webhooks::SigningSecret;

use super::keys::PublishedKey;
use super::request::SavedRequest;
use super::{Diagnosis, Step, Trust, Verified, check_age, explain_mismatch};

pub fn verify(header: &str, request: &SavedRequest, payload: &[u8], trust: &Trust) -> Result<Verified, Diagnosis> {
    let needed = |name: &str| {
        request.header(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let found = format!("`{name}` is missing; the signature covers it");
            Diagnosis::new(
                Step::HeaderMissing,
                found,
                "save the request with all of its headers; look for a proxy that removes them",
            )
        })
    };
    let (id, timestamp) = (needed("webhook-id")?, needed("webhook-timestamp")?);
    let Ok(signed_at) = timestamp.parse::<u64>() else {
        let found = format!("`webhook-timestamp` is `{timestamp}`; expected seconds since the Unix epoch");
        return Err(Diagnosis::new(Step::Timestamp, found, "pass the header on unchanged"));
    };
    let entries = entries(header)?;
    let content = |payload: &[u8]| [format!("{id}.{timestamp}.").as_bytes(), payload].concat();
    let fits = |payload: &[u8]| (v1(&entries, trust, &content(payload)), v1a(&entries, trust, &content(payload)));
    let by = match fits(payload) {
        (true, Some(_)) => "v1 and v1a",
        (true, None) => "v1",
        (false, Some(_)) if trust.secrets.is_empty() => "v1a",
        (false, Some(_)) => {
            let found =
                "`v1a` is valid, and no `v1` fits the secret: the secret is of another endpoint, or was replaced";
            return Err(Diagnosis::new(
                Step::Secret,
                found,
                "enter the endpoint's present `signingSecret` (`whsec_…`)",
            ));
        }
        (false, None) => return Err(explain(request, payload, trust, &entries, &content)),
    };
    check_age(signed_at, "webhook-timestamp", trust)?;
    Ok(Verified { by: by.to_owned(), kid: fits(payload).1.map(|key| key.kid.clone()) })
}

/// A version and the bytes of a signature.
type Entry<'a> = (&'a str, Vec<u8>);

fn entries(header: &str) -> Result<Vec<Entry<'_>>, Diagnosis> {
    let mut entries = Vec::new();
    for entry in header.split(' ').filter(|entry| !entry.is_empty()) {
        let signature = entry.split_once(',').and_then(|(version, text)| Some((version, BASE64.decode(text).ok()?)));
        let Some(signature) = signature else {
            let shown: String = entry.chars().take(30).collect();
            let found =
                format!("an entry of `webhook-signature` is `{shown}`; expected `v1,<base64>` or `v1a,<base64>`");
            return Err(Diagnosis::new(Step::SignatureMalformed, found, "pass the header on unchanged"));
        };
        entries.push(signature);
    }
    Ok(entries)
}

fn v1(entries: &[Entry<'_>], trust: &Trust, content: &[u8]) -> bool {
    trust.secrets.iter().any(|secret| {
        let key = key_of(secret);
        entries.iter().any(|(version, signature)| *version == "v1" && hmac::verify(&key, content, signature).is_ok())
    })
}

fn key_of(secret: &SigningSecret) -> hmac::Key {
    let text = secret.written();
    let bytes = BASE64.decode(text.reveal().trim_start_matches("whsec_")).unwrap_or_default();
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
}

fn v1a<'a>(entries: &[Entry<'_>], trust: &'a Trust, content: &[u8]) -> Option<&'a PublishedKey> {
    keys_of_endpoint(trust).find(|key| is_signed_by(key, entries, content))
}

fn is_signed_by(key: &PublishedKey, entries: &[Entry<'_>], content: &[u8]) -> bool {
    entries.iter().any(|(version, signature)| *version == "v1a" && key.verifies(content, signature))
}

/// The endpoint's keys, or those of all endpoints if it is not named.
fn keys_of_endpoint(trust: &Trust) -> impl Iterator<Item = &PublishedKey> {
    trust.keys.iter().filter(|key| match &trust.endpoint {
        Some(endpoint) => key.endpoint.as_ref() == Some(endpoint),
        None => key.endpoint.is_some(),
    })
}

fn explain(
    request: &SavedRequest,
    payload: &[u8],
    trust: &Trust,
    entries: &[Entry<'_>],
    content: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Diagnosis {
    let other = trust.keys.iter().filter(|key| key.endpoint.is_some());
    if let Some(key) = other.clone().find(|key| is_signed_by(key, entries, &content(payload))) {
        let found = format!("the signature is of endpoint `{}`", key.endpoint.as_deref().unwrap_or_default());
        return Diagnosis::new(
            Step::WrongEndpoint,
            found,
            "refuse the request; check the endpoint's id in your settings",
        );
    }
    if trust.secrets.is_empty() && other.count() == 0 {
        let found = "there is neither a secret for `v1` nor a key for `v1a`";
        return Diagnosis::new(
            Step::Secret,
            found,
            "add --secret-file with the endpoint's `signingSecret`, or --keys with its `jwksUrl`",
        );
    }
    let fits = |other: &[u8]| v1(entries, trust, &content(other)) || v1a(entries, trust, &content(other)).is_some();
    explain_mismatch(
        request,
        payload,
        "`webhook-id`, `webhook-timestamp` and the payload, under the endpoint's own keys",
        &fits,
    )
}
