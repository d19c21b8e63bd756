//! The vault and the cache of endpoints, with a KMS and a DynamoDB in this process that count calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kms;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use signpost_core::endpoint::auth::Auth;
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::secret::Secret;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::endpoint_cache::{EndpointCache, REMEMBERED_FOR};
use signpost_engine::ports::Ports;
use signpost_engine::ports::clock::Clock;
use signpost_engine::ports::endpoints::{Endpoints, SealedKeys, StoredEndpoint, Written};
use signpost_io::aws::AwsError;
use signpost_io::http::webhook_sender::ClientAuth;
use signpost_io::ports::Aws;
use signpost_io::vault::{OpenError, Purpose, SealContext};
use uuid::Uuid;

use crate::kms::FakeAws;

fn tenant(number: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{number}")).unwrap()
}

fn endpoint(number: usize) -> EndpointId {
    EndpointId::new(Uuid::from_u128(number as u128))
}

fn signing<'a>(tenant: &'a TenantId, endpoint: &'a EndpointId) -> SealContext<'a> {
    SealContext { tenant, endpoint, purpose: Purpose::Signing }
}

/// Endpoints in memory, and a clock that a test sets.
struct Shelf;

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn unix(&self) -> Duration {
        Duration::from_secs(1_800_000_000 + self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        self.unix()
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

#[derive(Default)]
struct InMemory(HashMap<EndpointId, StoredEndpoint>);

impl Endpoints for InMemory {
    type Error = AwsError;

    async fn get(&self, _: &TenantId, id: &EndpointId) -> Result<Option<StoredEndpoint>, AwsError> {
        Ok(self.0.get(id).cloned())
    }

    async fn exists(&self, _: &TenantId, id: &EndpointId) -> Result<bool, AwsError> {
        Ok(self.0.contains_key(id))
    }

    async fn erased_until(&self, _: &TenantId) -> Result<u64, AwsError> {
        Ok(0)
    }

    async fn disable(&self, _: &TenantId, _: &EndpointId, _: DisabledBecause) -> Result<Written, AwsError> {
        Ok(Written::Overtaken)
    }

    async fn verify(&self, _: &TenantId, _: &EndpointId, _: &str) -> Result<Written, AwsError> {
        Ok(Written::Overtaken)
    }
}

impl Ports for Shelf {
    type Error = AwsError;
    type Clock = Hand;
    type Random = <Aws as Ports>::Random;
    type Queue = <Aws as Ports>::Queue;
    type Breakers = <Aws as Ports>::Breakers;
    type Deliveries = <Aws as Ports>::Deliveries;
    type DeliveryLists = <Aws as Ports>::DeliveryLists;
    type Endpoints = InMemory;
    type Events = <Aws as Ports>::Events;
    type Limits = <Aws as Ports>::Limits;
    type Parking = <Aws as Ports>::Parking;
    type Replays = <Aws as Ports>::Replays;
    type States = <Aws as Ports>::States;
    type Subscriptions = <Aws as Ports>::Subscriptions;
    type TenantErasures = <Aws as Ports>::TenantErasures;
    type TokenRequests = <Aws as Ports>::TokenRequests;
    type Secrets = <Aws as Ports>::Secrets;
    type Signers = <Aws as Ports>::Signers;
    type Webhooks = <Aws as Ports>::Webhooks;
}

const TENANTS: usize = 10;

/// Makes endpoints with a signing secret and a password each, in ten tenants.
async fn endpoints(aws: &FakeAws, count: usize) -> InMemory {
    let (vault, mut made) = (aws.sealer(), InMemory::default());
    let keys = EndpointKeys::new([7; 32], [7; 32]).unwrap();
    for number in 0..count {
        let (tenant, id) = (tenant(number % TENANTS), endpoint(number));
        let mut settings = Endpoint::new(format!("https://hooks-{number}.example/in"));
        settings.auth = Auth::Basic;
        settings.signatures = vec![SignatureFormat::StandardWebhooks];
        let binding = settings.auth.binding(&settings.url);
        let password = Secret::new(format!("user:{number}"));
        let place = SealContext { purpose: Purpose::Auth(&binding), ..signing(&tenant, &id) };
        let auth_secret = Some(vault.seal(place, &password).await.unwrap());
        let sealed = vault.seal(signing(&tenant, &id), &keys.written()).await.unwrap();
        let signing_secrets = vec![SecretVersion::new(SealedKeys { sealed, public_key: keys.public_key() }, 0)];
        let stored = StoredEndpoint { auth_secret, signing_secrets, ..StoredEndpoint::new(settings, 0) };
        made.0.insert(id, stored);
    }
    made
}

/// Uses each endpoint once, and checks that its own secrets are open.
async fn use_all(cache: &EndpointCache<Shelf>, count: usize) {
    for number in 0..count {
        let found = cache.get(&tenant(number % TENANTS), &endpoint(number)).await.unwrap().unwrap();
        let ClientAuth::Header(header) = found.access() else { panic!("{:?}", found.access()) };
        let expected = signpost_core::endpoint::auth::basic(&Secret::new(format!("user:{number}"))).unwrap();
        assert_eq!(header.value.reveal(), expected.value.reveal());
        assert_eq!(found.endpoint_keys(1_800_000_000).len(), 1);
    }
}

/// Returns the memory of this process in MiB (`VmRSS`), or 0 if the system does not tell.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1_024
}

#[tokio::test]
async fn five_thousand_endpoints_in_rotation_need_one_call_to_kms_per_tenant() {
    const ENDPOINTS: usize = 5_000;
    const MORE: usize = 5_200; // More than the cache of endpoints remembers.
    let (aws, clock) = (FakeAws::default(), Hand::default());
    let table = endpoints(&aws, MORE).await;
    assert_eq!(aws.count("GenerateDataKeyPairWithoutPlaintext"), TENANTS, "one pair for each tenant");
    let (before, memory_before) = (aws.kms_calls(), memory_mib());

    let cache = EndpointCache::<Shelf>::new(clock.clone(), table, aws.vault());
    use_all(&cache, ENDPOINTS).await;
    assert_eq!(aws.kms_calls() - before, TENANTS, "the first round opens one private key for each tenant");
    assert_eq!(aws.count("Decrypt"), TENANTS);
    let grown = memory_mib().saturating_sub(memory_before);
    assert!(grown < 40, "5,000 endpoints with their secrets need {grown} MiB; functions have 256 MiB");

    let calls = aws.calls();
    clock.0.fetch_add(REMEMBERED_FOR.as_secs() + 1, Ordering::Relaxed); // Every endpoint is read again.
    use_all(&cache, ENDPOINTS).await;
    assert_eq!(aws.calls(), calls, "no further call");
    for _ in 0..2 {
        use_all(&cache, MORE).await; // Each endpoint has lost its place when its turn comes.
    }
    assert_eq!(aws.calls(), calls, "an endpoint that is forgotten needs no call to KMS either");
}

#[tokio::test]
async fn sealers_at_the_same_time_agree_on_one_pair() {
    let aws = FakeAws::default();
    let (tenant, ids): (_, Vec<_>) = (tenant(1), (0..8).map(endpoint).collect());
    let secret = Secret::new("whsec_".into());
    let sealed = join_all(ids.iter().map(async |id| aws.sealer().seal(signing(&tenant, id), &secret).await.unwrap()));
    let sealed = sealed.await;
    assert!(aws.count("GenerateDataKeyPairWithoutPlaintext") > 1, "several made a pair");
    let vault = aws.vault();
    for (id, sealed) in ids.iter().zip(&sealed) {
        assert_eq!(vault.open(signing(&tenant, id), sealed).await.unwrap(), secret);
    }
    assert_eq!(aws.count("Decrypt"), 1);
}

#[tokio::test]
async fn nothing_is_sealed_with_a_planted_public_key() {
    let aws = FakeAws::default();
    let (acme, globex, id) = (tenant(1), tenant(2), endpoint(1));
    let secret = Secret::new("user:pass".into());
    for tenant in [&acme, &globex] {
        aws.sealer().seal(signing(tenant, &id), &secret).await.unwrap();
    }
    let own = aws.item(&acme);
    let of_another = aws.item(&globex);
    let mut with_another_key = own.clone();
    with_another_key["publicKey"] = of_another["publicKey"].clone();
    for (planted, what) in [(of_another, "another tenant's pair"), (with_another_key, "another public key")] {
        aws.plant(&acme, &planted);
        let sealed = aws.sealer().seal(signing(&acme, &id), &secret).await;
        assert!(matches!(sealed, Err(AwsError::CorruptItem { .. })), "{what}: {sealed:?}");
    }
    aws.plant(&acme, &own);
    assert!(aws.sealer().seal(signing(&acme, &id), &secret).await.is_ok());
}

#[tokio::test]
async fn the_pair_of_another_tenant_opens_nothing() {
    let aws = FakeAws::default();
    let (acme, globex, id) = (tenant(1), tenant(2), endpoint(1));
    let secret = Secret::new("user:pass".into());
    let sealed = aws.sealer().seal(signing(&acme, &id), &secret).await.unwrap();
    aws.plant(&globex, &aws.item(&acme));
    let opened = aws.vault().open(signing(&globex, &id), &sealed).await;
    assert!(matches!(opened, Err(OpenError::Aws(_))), "KMS refuses another tenant's key: {opened:?}");
}

#[tokio::test]
async fn a_pair_that_is_made_again_opens_new_secrets_but_not_old_ones() {
    let aws = FakeAws::default();
    let (tenant, id, vault) = (tenant(1), endpoint(1), aws.vault());
    let place = signing(&tenant, &id);
    let [old, other] = [(); 2].map(|()| aws.sealer());
    let old = old.seal(place, &Secret::new("old".into())).await.unwrap();
    let kept = other.seal(place, &Secret::new("kept".into())).await.unwrap();
    assert_eq!(vault.open(place, &kept).await.unwrap().reveal(), "kept");

    aws.remove(&tenant);
    let new = aws.sealer().seal(place, &Secret::new("new".into())).await.unwrap();
    assert_eq!(vault.open(place, &new).await.unwrap().reveal(), "new", "a warm environment finds the new pair");
    let opened = vault.open(place, &old).await;
    assert!(matches!(opened, Err(OpenError::PairGone)), "{opened:?}");
    assert_eq!(vault.open(place, &kept).await.unwrap().reveal(), "kept", "it was opened before");
}

#[tokio::test]
async fn a_failure_of_kms_is_shared_by_the_deliveries_of_a_batch() {
    let aws = FakeAws::default();
    let (tenant, ids): (_, Vec<_>) = (tenant(1), (0..10).map(endpoint).collect());
    let secret = Secret::new("user:pass".into());
    let mut sealed = Vec::new();
    for id in &ids {
        sealed.push(aws.sealer().seal(signing(&tenant, id), &secret).await.unwrap());
    }
    let vault = aws.vault();
    aws.fail("Decrypt", true);
    let opened = ids.iter().zip(&sealed).map(|(id, sealed)| vault.open(signing(&tenant, id), sealed));
    for opened in join_all(opened).await {
        assert!(matches!(opened, Err(OpenError::Aws(_))), "{opened:?}");
    }
    assert_eq!(aws.count("Decrypt"), 1, "the others got the same answer");

    aws.fail("Decrypt", false);
    tokio::time::timeout(Duration::from_secs(10), async {
        while vault.open(signing(&tenant, &ids[0]), &sealed[0]).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the failure is forgotten after a second");
}
