//! The answers: which key, in which form, how long it may be cached, and whether the asker has it already.

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use signpost_core::algorithm::Algorithm;
use signpost_core::keys::{KeyMoments, Standing, standing};
use signpost_core::problem::Problem;
use signpost_core::public_key::JwkSet;
use signpost_io::http_api::{empty, lists_weakly, respond, with_header};
use signpost_io::keys::StoredKey;

const JWK: &str = "application/jwk+json";
const JWK_SET: &str = "application/jwk-set+json";
const PEM: &str = "application/x-pem-file";

/// The longest a key may be cached, in seconds. Its moments can move only by a forced rotation, which never shortens
/// them, so this is no matter of safety; a day is what TransactionLink tells its integrators.
const KEY_MAX_AGE_SECONDS: u64 = 86_400;

/// Answers with one key: PEM, or a JWK for those who prefer that.
///
/// It may be cached until the moment it is no longer served, but a day at most.
pub(crate) fn one_key(
    keys: &[StoredKey],
    kid: &str,
    now: u64,
    headers: &HeaderMap,
) -> Result<ApiGatewayV2httpResponse, Problem> {
    let known = keys.iter().zip(standings(keys, now)).find(|(key, _)| key.public.kid() == kid);
    let (key, verify_until) = match known {
        None | Some((_, Standing::Forgotten)) => {
            return Err(Problem::not_found(
                "there is no key by that `kid`, or not any more; take the `kid` from the signature's header",
            ));
        }
        // A current or next key will be served at least until its planned end.
        Some((key, Standing::Current | Standing::Next)) => (key, key.moments.verify_until),
        Some((key, Standing::Retiring { verify_until })) => (key, verify_until),
    };
    let max_age = verify_until.saturating_sub(now).min(KEY_MAX_AGE_SECONDS);
    let response = if prefers_jwk(headers) {
        cacheable(JWK, serde_json::to_string(&key.public.jwk()).unwrap_or_default(), max_age, headers)
    } else {
        cacheable(PEM, key.public.pem().to_owned(), max_age, headers)
    };
    Ok(with_header(response, VARY, "accept"))
}

/// Answers with the set of next, current and retiring keys.
pub(crate) fn key_set(
    keys: &[StoredKey],
    now: u64,
    max_age_seconds: u64,
    headers: &HeaderMap,
) -> ApiGatewayV2httpResponse {
    let served = keys.iter().zip(standings(keys, now)).filter(|(_, standing)| *standing != Standing::Forgotten);
    let set = JwkSet { keys: served.map(|(key, _)| key.public.jwk()).collect() };
    cacheable(JWK_SET, serde_json::to_string(&set).unwrap_or_default(), max_age_seconds, headers) // Strings serialize.
}

/// The standing of each of `keys`: among those of its algorithm, for each algorithm has a line of its own.
fn standings(keys: &[StoredKey], now: u64) -> Vec<Standing> {
    let mut standings = vec![Standing::Forgotten; keys.len()];
    for algorithm in Algorithm::ALL {
        let line = keys.iter().enumerate().filter(|(_, key)| key.public.algorithm() == algorithm);
        let (indices, moments): (Vec<_>, Vec<KeyMoments>) = line.map(|(index, key)| (index, key.moments)).unzip();
        for (index, one) in indices.into_iter().zip(standing(&moments, now)) {
            standings[index] = one;
        }
    }
    standings
}

/// An answer with `ETag` and `Cache-Control` (RFC 9110, section 8.8.3; RFC 9111, section 5.2.2.1), or 304 without a
/// body for those who have it.
fn cacheable(
    media_type: &'static str,
    body: String,
    max_age_seconds: u64,
    headers: &HeaderMap,
) -> ApiGatewayV2httpResponse {
    let tag = format!("\"{}\"", BASE64URL.encode(digest(&SHA256, body.as_bytes())));
    let response = if lists_weakly(headers, IF_NONE_MATCH, &tag) { empty(304) } else { respond(200, media_type, body) };
    let response = with_header(response, CACHE_CONTROL, &format!("public, max-age={max_age_seconds}"));
    with_header(response, ETAG, &tag)
}

/// Whether `Accept` weighs a JWK higher than PEM (RFC 9110, section 12.5.1). Whoever names neither gets PEM.
fn prefers_jwk(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    weight(&accept, JWK) > weight(&accept, PEM)
}

/// The weight of `media_type` in thousandths: of the most specific range that fits it, 0 if none does.
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
    fn pem_is_the_default_and_a_jwk_is_for_those_who_ask() {
        let cases = [
            ("", false, "nothing asked for"),
            ("*/*", false, "anything"),
            ("application/json, text/plain, */*", false, "what HTTP libraries send on their own"),
            ("application/jwk+json", true, "asked for"),
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
    fn an_asker_who_has_it_gets_no_body() {
        let first = cacheable(PEM, "key".into(), 60, &HeaderMap::new());
        let tag = first.headers[ETAG].to_str().unwrap();
        let again = cacheable(PEM, "key".into(), 60, &headers(IF_NONE_MATCH, tag));
        assert_eq!((first.status_code, again.status_code), (200, 304));
        assert!(first.body.is_some() && again.body.is_none());
        assert_eq!(again.headers[CACHE_CONTROL], "public, max-age=60");
        assert_eq!(again.headers[ETAG], first.headers[ETAG]);
    }
}
