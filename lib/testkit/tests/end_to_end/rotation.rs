//! Key rotation while events flow.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use signpost_core::event::TenantId;
use signpost_core::signing::kid::of_signing_key;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, keys_path};
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::independently_with;
use tokio::time::Instant;

/// How long a verifier can fetch a key of the test stack after its last signature. A key is published for a minute
/// after its end, and a function still signs with a cached key for 15 seconds after that end.
const GRACE: Duration = Duration::from_secs(60 - 20);

/// A tenant with an endpoint that asks for JWS and Standard Webhooks, and the keys that its webhooks had.
struct Watched {
    tenant: TenantId,
    receiver: Receiver,
    secret: String,
    kids: Vec<String>,
    verified: usize,
}

impl Watched {
    async fn new(stack: &LocalStack, algorithm: &str) -> Self {
        let (receiver, tenant) = (Receiver::start(|_| 200).await, tenant());
        let formats = ["jws", "standard-webhooks", "http-message-signatures"];
        let settings = json!({"url": receiver.url, "signatures": formats, "jwsAlgorithm": algorithm});
        let secret = stack.register_with(&tenant, &settings).await.signing_secret;
        Self { tenant, receiver, secret, kids: Vec::new(), verified: 0 }
    }

    /// Returns whether one of the keys with these ids has signed for the tenant.
    fn has_seen(&self, keys: &[String]) -> bool {
        keys.iter().any(|id| self.kids.contains(&of_signing_key(id, &self.tenant)))
    }

    /// Verifies the next webhook with eight libraries and programs.
    async fn verify_next(&mut self, stack: &LocalStack) {
        let requests = self.receiver.wait_for(self.verified + 1).await;
        let keys_url = stack.keys_url(&self.tenant);
        for report in independently_with(&keys_url, &requests[self.verified..], &self.secret).await {
            assert_eq!(report.error, None, "{report:?}");
            if !self.kids.contains(&report.kid) {
                self.kids.push(report.kid);
            }
        }
        self.verified = requests.len();
    }
}

/// Sends an event per second to each of three tenants, from before the first scheduled rotation until the end of the
/// first key's grace.
#[tokio::test]
async fn nothing_fails_verification_while_keys_take_turns_and_an_old_key_goes_after_its_grace() {
    let stack = LocalStack::from_env().await;
    let mut tenants = Vec::new();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        tenants.push(Watched::new(&stack, algorithm).await);
    }
    let deadline = Instant::now() + Duration::from_mins(8); // The grace ends three to four minutes after the deploy.
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    // Forced keys, and when the last ones were made. A slow machine misses a key that signs for less than a minute.
    let (mut forced, mut forced_at) = (Vec::new(), None::<Instant>);
    let mut first_signed_at = Instant::now(); // The last signature of the first key.

    loop {
        assert!(
            Instant::now() < deadline,
            "{:?}: the first can still be fetched, or none of {forced:?} has signed",
            tenants[0].kids
        );
        pace.tick().await;
        let sent_at = Instant::now();
        let events = tenants.iter().map(|one| event(&one.tenant, &event_id(), &json!({"text": "a b"})).to_string());
        stack.send_events(events.collect::<Vec<_>>()).await;
        for one in &mut tenants {
            one.verify_next(&stack).await;
        }

        let Some(first) = tenants[0].kids.first() else { continue };
        let status = stack.get(&format!("{}/keys/{first}", keys_path(&tenants[0].tenant)), &[]).await.status;
        match tenants[0].kids.len() {
            1 => {
                assert_eq!(status, 200, "the current key");
                first_signed_at = sent_at;
            }
            _ if first_signed_at.elapsed() < GRACE => assert_eq!(status, 200, "retired, but in its grace"),
            _ if status == 404 && tenants.iter().all(|one| one.kids.len() > 2 && one.has_seen(&forced)) => break,
            _ => {}
        }
        let is_missed = forced_at.is_none_or(|at| at.elapsed() > Duration::from_mins(1));
        if tenants[0].kids.len() >= 2 && is_missed && !tenants.iter().all(|one| one.has_seen(&forced)) {
            forced.extend(stack.rotate_now().await);
            forced_at = Some(Instant::now());
        }
    }

    let mut all = BTreeSet::new();
    for Watched { kids, .. } in &tenants {
        assert!(kids.len() >= 3, "{kids:?}");
        assert!(kids.iter().all(|kid| all.insert(kid.clone())), "no two tenants share a kid");
    }
    let Watched { tenant, kids, .. } = &tenants[0];
    let published = stack.get(&format!("{}/.well-known/jwks.json", keys_path(tenant)), &[]).await.json();
    let published: BTreeSet<_> =
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    assert!(!published.contains(&kids[0]), "keys after their grace leave the set too");
    assert!(published.contains(kids.last().unwrap()));
}
