//! The answers: the right key in the right format, with a lifetime for caches, or 304.

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::input::problem::Problem;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::{KeyMoments, KeyPhase, standing};
use signpost_core::signing::kid;
use signpost_core::signing::public_key::{Jwk, JwkSet, PublicKey};
use signpost_io::runtime::api_gateway::{empty, lists_weakly, respond, with_header};
use signpost_io::tables::endpoint_keys::EndpointKey;
use signpost_io::tables::signing_keys::StoredKey;

const JSON: &str = "application/json";
const JWK: &str = "application/jwk+json";
const JWK_SET: &str = "application/jwk-set+json";
const PEM: &str = "application/x-pem-file";

/// How long a key may be cached, in seconds. This is no matter of safety: only a forced rotation moves a key's times,
/// and never makes them earlier. TransactionLink tells its integrators a day.
const KEY_MAX_AGE_SECONDS: u64 = 86_400;

/// How long a cache may serve a stale answer while it cannot reach Signpost, in seconds (RFC 5861, section 4).
const STALE_IF_ERROR_SECONDS: u64 = 3_600;

/// How long the list of addresses may be cached, in seconds. Its readers add new addresses days before they are used.
const ADDRESSES_MAX_AGE_SECONDS: u64 = 3_600;

/// Answers with the document of the addresses that webhooks come from.
pub(crate) fn egress_addresses(document: &str, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    cacheable(JSON, document.to_owned(), ADDRESSES_MAX_AGE_SECONDS, headers)
}

/// Returns the problem for a key that the tenant does not sign with.
pub(crate) fn no_such_key() -> Problem {
    Problem::not_found(
        "the tenant has no key with that `kid`, or not any more; take the `kid` from the signature's header, and the \
         tenant from your own settings",
    )
}

/// Answers with the tenant's signing key `kid`: PEM, or a JWK if the caller prefers that.
///
/// It may be cached until it is no longer served, at most for a day.
pub(crate) fn signing_key(
    keys: &[StoredKey],
    tenant: &TenantId,
    kid: &str,
    now: u64,
    headers: &HeaderMap,
) -> Option<ApiGatewayV2httpResponse> {
    let is_meant = |key: &StoredKey| kid == kid::of_signing_key(key.public.id(), tenant);
    let (key, standing) = keys.iter().zip(standings(keys, now)).find(|(key, _)| is_meant(key))?;
    let verify_until = match standing {
        KeyPhase::Forgotten => return None,
        // A current or next key is served at least until its planned end.
        KeyPhase::Current | KeyPhase::Next => key.moments.verify_until,
        KeyPhase::Retiring { verify_until } => verify_until,
    };
    let max_age = verify_until.saturating_sub(now).min(KEY_MAX_AGE_SECONDS);
    Some(one_key(&key.public, &key.public.jwk(kid.to_owned()), max_age, headers))
}

/// Answers with the key `kid` of one of the tenant's endpoints.
pub(crate) fn endpoint_key(
    keys: &[EndpointKey],
    tenant: &TenantId,
    kid: &str,
    max_age_seconds: u64,
    headers: &HeaderMap,
) -> Option<ApiGatewayV2httpResponse> {
    let (endpoint, key) =
        with_kids(keys, tenant).find_map(|(of, endpoint, key)| (of == kid).then_some((endpoint, key)))?;
    Some(one_key(&key, &key.jwk(kid.to_owned()).of_endpoint(endpoint), max_age_seconds, headers))
}

fn one_key(key: &PublicKey, jwk: &Jwk<'_>, max_age_seconds: u64, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    let response = if prefers_jwk(headers) {
        cacheable(JWK, serde_json::to_string(jwk).unwrap_or_default(), max_age_seconds, headers)
    } else {
        cacheable(PEM, key.pem().to_owned(), max_age_seconds, headers)
    };
    with_header(response, VARY, "accept")
}

/// Answers with the tenant's set: next, current and retiring signing keys, and the keys of its endpoints.
pub(crate) fn key_set(
    signing_keys: &[StoredKey],
    endpoint_keys: &[EndpointKey],
    tenant: &TenantId,
    now: u64,
    max_age_seconds: u64,
    headers: &HeaderMap,
) -> ApiGatewayV2httpResponse {
    let standings = standings(signing_keys, now);
    let served = signing_keys.iter().zip(standings).filter(|(_, standing)| *standing != KeyPhase::Forgotten);
    let signing = served.map(|(key, _)| key.public.jwk(kid::of_signing_key(key.public.id(), tenant)));
    let of_endpoints: Vec<_> = with_kids(endpoint_keys, tenant).collect();
    let of_endpoints = of_endpoints.iter().map(|(kid, endpoint, key)| key.jwk(kid.clone()).of_endpoint(endpoint));
    let set = JwkSet { keys: signing.chain(of_endpoints).collect() };
    cacheable(JWK_SET, serde_json::to_string(&set).unwrap_or_default(), max_age_seconds, headers) // Strings serialize.
}

/// Returns endpoints' keys with their kids.
fn with_kids<'a>(
    keys: &'a [EndpointKey],
    tenant: &'a TenantId,
) -> impl Iterator<Item = (String, &'a EndpointId, PublicKey)> {
    keys.iter().filter_map(|EndpointKey { endpoint, public_key, .. }| {
        let kid = kid::of_endpoint_key(tenant, endpoint, public_key);
        let key = PublicKey::from_ed25519(&kid, public_key.bytes()).ok()?;
        Some((kid, endpoint, key))
    })
}

/// Returns the phase of each of `keys` within its algorithm, because each algorithm rotates separately.
fn standings(keys: &[StoredKey], now: u64) -> Vec<KeyPhase> {
    let mut standings = vec![KeyPhase::Forgotten; keys.len()];
    for algorithm in Algorithm::ALL {
        let line = keys.iter().enumerate().filter(|(_, key)| key.public.algorithm() == algorithm);
        let (indices, moments): (Vec<_>, Vec<KeyMoments>) = line.map(|(index, key)| (index, key.moments)).unzip();
        for (index, one) in indices.into_iter().zip(standing(&moments, now)) {
            standings[index] = one;
        }
    }
    standings
}

/// Builds an answer with `ETag` and `Cache-Control` (RFC 9110, section 8.8.3; RFC 9111, section 5.2.2.1), or a 304
/// without a body if the caller has it already.
fn cacheable(
    media_type: &'static str,
    body: String,
    max_age_seconds: u64,
    headers: &HeaderMap,
) -> ApiGatewayV2httpResponse {
    let tag = format!("\"{}\"", BASE64URL.encode(digest(&SHA256, body.as_bytes())));
    let response = if lists_weakly(headers, IF_NONE_MATCH, &tag) { empty(304) } else { respond(200, media_type, body) };
    let response = with_header(
        response,
        CACHE_CONTROL,
        &format!("public, max-age={max_age_seconds}, stale-if-error={STALE_IF_ERROR_SECONDS}"),
    );
    with_header(response, ETAG, &tag)
}

/// Returns whether `Accept` prefers a JWK to PEM (RFC 9110, section 12.5.1). The default is PEM.
fn prefers_jwk(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    weight(&accept, JWK) > weight(&accept, PEM)
}

/// Returns the weight of `media_type` in thousandths: that of the most specific matching range, 0 if there is none.
fn weight(accept: &str, media_type: &str) -> u32 {
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specificity = match name.as_str() {
            "*/*" => 1,
            name if name.strip_suffix("/*") == Some(kind) => 2,
            name if name == media_type => 3,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0_f32));
        if specificity > best.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1000")]
            let thousandths = (quality.clamp(0.0, 1.0) * 1_000.0) as u32;
            best = (specificity, thousandths);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn pem_is_the_default_and_a_jwk_is_for_callers_that_ask() {
        let cases = [
            ("", false, "no preference"),
            ("*/*", false, "anything"),
            ("application/json, text/plain, */*", false, "the default of HTTP libraries"),
            ("application/jwk+json", true, "preferred"),
            ("Application/JWK+JSON;q=0.1", true, "case and weight do not matter alone"),
            ("application/x-pem-file, application/jwk+json", false, "both alike"),
            ("application/x-pem-file;q=0.5, application/jwk+json;q=0.9", true, "weighed"),
            ("application/jwk+json, */*;q=0.1", true, "the exact name counts"),
            ("application/jwk+json;q=0, */*", false, "refused"),
            ("application/*;q=0.2", false, "both alike"),
        ];
        for (accept, jwk, why) in cases {
            assert_eq!(prefers_jwk(&headers(ACCEPT, accept)), jwk, "`{accept}`: {why}");
        }
    }

    #[test]
    fn a_caller_with_the_current_tag_gets_no_body() {
        let first = cacheable(PEM, "key".into(), 60, &HeaderMap::new());
        let tag = first.headers[ETAG].to_str().unwrap();
        let again = cacheable(PEM, "key".into(), 60, &headers(IF_NONE_MATCH, tag));
        assert_eq!((first.status_code, again.status_code), (200, 304));
        assert!(first.body.is_some() && again.body.is_none());
        assert_eq!(again.headers[CACHE_CONTROL], "public, max-age=60, stale-if-error=3600");
        assert_eq!(again.headers[ETAG], first.headers[ETAG]);
    }
}
