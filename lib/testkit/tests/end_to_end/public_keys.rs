//! The public keys as verifiers fetch them.

use signpost_core::algorithm::Algorithm;
use signpost_testkit::local_stack::{Answer, LocalStack, setting};

/// The newest key, so that it stays while the test runs.
async fn newest(stack: &LocalStack) -> signpost_io::keys::StoredKey {
    stack.keys(Algorithm::RS256).await.into_iter().max_by_key(|key| key.moments.sign_from).unwrap()
}

fn max_age(answer: &Answer) -> u64 {
    answer.header("cache-control").strip_prefix("public, max-age=").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_is_fetched_by_its_kid_as_pem_or_as_jwk() {
    let stack = LocalStack::from_env().await;
    let key = newest(&stack).await;
    let path = format!("/keys/{}", key.public.kid());

    let pem = stack.get(&path, &[]).await;
    assert_eq!((pem.status, pem.header("content-type")), (200, "application/x-pem-file"));
    assert_eq!(pem.text, key.public.pem());
    let jwk = stack.get(&path, &[("accept", "application/jwk+json")]).await;
    assert_eq!((jwk.status, jwk.header("content-type")), (200, "application/jwk+json"));
    assert_eq!(jwk.json()["kid"], key.public.kid());
    assert_ne!(pem.header("etag"), jwk.header("etag"), "each form has a tag of its own");
    for answer in [&pem, &jwk] {
        assert_eq!(answer.header("vary"), "accept");
        let lifetime = key.moments.verify_until - key.moments.published_at;
        assert!(max_age(answer) <= lifetime, "never past the last moment");
    }

    let again = stack.get(&path, &[("if-none-match", pem.header("etag"))]).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), pem.header("etag"));
}

#[tokio::test]
async fn the_key_set_has_the_current_key_and_is_cached_for_half_a_lead() {
    let stack = LocalStack::from_env().await;
    let key = newest(&stack).await;

    let set = stack.get("/.well-known/jwks.json", &[]).await;

    assert_eq!((set.status, set.header("content-type")), (200, "application/jwk-set+json"));
    assert_eq!(max_age(&set), 30, "the stack's lead is a minute");
    let parsed = set.json();
    let keys = parsed["keys"].as_array().unwrap();
    assert!(keys.iter().any(|one| one["kid"] == key.public.kid()), "{parsed}");
    assert!(keys.iter().all(|one| one["d"].is_null()), "no private part");
}

#[tokio::test]
async fn an_unknown_kid_is_a_404_problem_that_is_not_cached() {
    let stack = LocalStack::from_env().await;

    let answer = stack.get("/keys/070725bf-7dac-4712-b61a-420ba3701263", &[]).await;

    assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["title"], "Not Found");
}

#[tokio::test]
async fn a_private_key_opens_under_its_own_kid_only() {
    let stack = LocalStack::from_env().await;
    let key = newest(&stack).await;
    let wrapping = signpost_io::keys::WrappingKey::new(aws_sdk_kms::Client::new(&stack.aws), setting("WRAPPING_KEY"));

    let opened = wrapping.unwrap_private(key.public.kid(), &key.wrapped_private).await;
    let stolen = wrapping.unwrap_private("070725bf-7dac-4712-b61a-420ba3701263", &key.wrapped_private).await;

    assert!(opened.is_ok());
    assert!(stolen.is_err(), "the encryption context is part of the wrapping");
}
