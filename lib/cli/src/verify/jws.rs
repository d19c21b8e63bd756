//! `jws-signature`: a detached JSON Web Signature (RFC 7515, appendix F).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::Value;
use signpost_core::signing::algorithm::Algorithm;

use super::keys::PublishedKey;
use super::request::SavedRequest;
use super::{Diagnosis, Step, Trust, Verified, check_length, explain_mismatch, key_of};

pub fn verify(header: &str, request: &SavedRequest, payload: &[u8], trust: &Trust) -> Result<Verified, Diagnosis> {
    let malformed = |found: String| Diagnosis::new(Step::Malformed, found, "pass the header on unchanged");
    let [protected, middle, signature] = header.split('.').collect::<Vec<_>>()[..] else {
        let found =
            format!("`jws-signature` has {} parts; expected `<header>..<signature>`", header.split('.').count());
        return Err(malformed(found));
    };
    if !middle.is_empty() {
        let found = "the payload is inside `jws-signature`; expected nothing between the two dots";
        let next = "take the header as it arrived; put the payload there only for your library";
        return Err(Diagnosis::new(Step::NotDetached, found, next));
    }
    let decoded = BASE64URL.decode(protected).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(decoded) = decoded else {
        return Err(malformed("the first part of `jws-signature` is not base64url of JSON".to_owned()));
    };
    let alg = decoded["alg"].as_str().unwrap_or_default();
    let Some(algorithm) = Algorithm::ALL.into_iter().find(|one| one.as_str() == alg) else {
        let found = format!("`alg` is `{alg}`; expected RS256, ES256 or EdDSA");
        return Err(Diagnosis::new(Step::Algorithm, found, "refuse the request: Signpost never signs like that"));
    };
    let Ok(signature) = BASE64URL.decode(signature) else {
        let found = "the signature is not base64url without padding";
        return Err(Diagnosis::new(Step::SignatureMalformed, found, "pass the header on unchanged"));
    };
    let input = |payload: &[u8]| format!("{protected}.{}", BASE64URL.encode(payload)).into_bytes();
    let fits = |key: &PublishedKey| key.verifies(&input(payload), &signature);
    let kid = decoded["kid"].as_str().unwrap_or_default();
    let key = key_of(kid, algorithm, trust, &fits)?;
    check_length(&signature, key)?;
    if fits(key) {
        return Ok(Verified { by: algorithm.as_str().to_owned(), kid: Some(kid.to_owned()) });
    }
    let covers = "the header of the signature and the payload";
    Err(explain_mismatch(request, payload, covers, &|other| key.verifies(&input(other), &signature)))
}
