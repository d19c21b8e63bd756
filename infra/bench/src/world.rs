//! The environment of the functions: AWS, a receiver, endpoints and signing keys, made with the product's own adapters.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use signpost_core::delivery::breaker::{Breaker, Outcomes};
use signpost_core::delivery::pace::QUICK_AFTER;
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{Endpoint, EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::KeyMoments;
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::ports::endpoints::{SealedKeys, StoredEndpoint};
use signpost_engine::ports::limits::Breakers as _;
use signpost_io::mac::MacKey;
use signpost_io::runtime::clock::unix_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_io::tables::signing_keys::{KeyTable, StoredKey, WrappedPair, WrappingKey};
use signpost_io::vault::{Purpose, SealContext, Sealer};
use uuid::Uuid;

use crate::aws::{Aws, DEAD_LETTERS, DELIVERIES, EVENTS as EVENTS_QUEUE, REJECTED, queue_url};
use crate::dynamodb::{AUDIT, ENDPOINT_KEYS, ENDPOINTS, EVENTS, KEYS, PARKING, PORTAL, TOKEN_REQUESTS};
use crate::kms::KEY_ID;
use crate::process::Function;
use crate::receiver::{Receiver, Verifier};

/// The signatures to measure. Each has one endpoint, in a tenant of the same name.
pub(crate) const SIGNATURES: [Signature; 5] = [
    Signature { name: "hmac-ed25519", formats: &[SignatureFormat::StandardWebhooks], algorithm: Algorithm::EdDSA },
    Signature { name: "ed25519", formats: &[SignatureFormat::Jws], algorithm: Algorithm::EdDSA },
    Signature { name: "es256", formats: &[SignatureFormat::Jws], algorithm: Algorithm::ES256 },
    Signature { name: "rs256", formats: &[SignatureFormat::Jws], algorithm: Algorithm::RS256 },
    Signature {
        name: "rs256-hmac-ed25519",
        formats: &[SignatureFormat::Jws, SignatureFormat::StandardWebhooks],
        algorithm: Algorithm::RS256,
    },
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    /// The name of the signature and of its tenant. Standard Webhooks always has both `v1` (HMAC) and `v1a` (Ed25519).
    pub(crate) name: &'static str,
    pub(crate) formats: &'static [SignatureFormat],
    pub(crate) algorithm: Algorithm,
}

pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) receiver: Receiver,
}

impl World {
    pub(crate) async fn make() -> Self {
        let (aws, receiver) = (Aws::start().await, Receiver::start().await);
        let sdk = sdk(&aws.url);
        let dynamodb = aws_sdk_dynamodb::Client::new(&sdk);
        let kms = aws_sdk_kms::Client::new(&sdk);

        let wrapping = WrappingKey::new(kms.clone(), KEY_ID.into());
        let table = KeyTable::new(dynamodb.clone(), KEYS.into(), MacKey::new(kms.clone(), KEY_ID.into()));
        let mut keys = Vec::new();
        for algorithm in Algorithm::ALL {
            let id = Uuid::new_v4().to_string();
            let WrappedPair { public_spki, wrapped_private } =
                wrapping.generate_pair(algorithm, &id).await.expect("a pair");
            let public = PublicKey::from_spki(&id, &public_spki).expect("a public key");
            keys.push(public.clone());
            let (generation, moments) = (1, moments());
            let key = StoredKey { generation, moments, public, public_spki, wrapped_private, expires_at: None };
            table.add(&key).await.expect("a table that accepts the key");
        }

        let own = EndpointKeys::new([7; 32], [7; 32]).expect("keys");
        let breakers = Breakers::new(dynamodb.clone(), PARKING.into());
        let sealing = SealingKeys::new(dynamodb.clone(), ENDPOINT_KEYS.into());
        let vault = Sealer::new(sealing, wrapping, MacKey::new(kms, KEY_ID.into()));
        let endpoints = Endpoints::new(dynamodb, ENDPOINTS.into());
        for signature in SIGNATURES {
            let tenant = TenantId::parse(signature.name).expect("letters, digits and hyphens");
            let id = EndpointId::new(Uuid::new_v4());
            let place = SealContext { tenant: &tenant, endpoint: &id, purpose: Purpose::Signing };
            let sealed = vault.seal(place, &own.written()).await.expect("a seal");
            let settings = Endpoint {
                signatures: signature.formats.to_vec(),
                jws_algorithm: signature.algorithm,
                ..Endpoint::new(receiver.url())
            };
            let now = unix_now().as_secs();
            let signing_secrets = vec![SecretVersion::new(SealedKeys { sealed, public_key: own.public_key() }, now)];
            let stored = StoredEndpoint { signing_secrets, ..StoredEndpoint::new(settings, now) };
            endpoints.put(&tenant, &id, &stored, None).await.expect("a table that accepts the endpoint");
            breakers.replace(&id, None, &quick(), 1).await.expect("a table that accepts the breaker");
        }
        let written = own.secret().written();
        let secret = BASE64.decode(written.reveal().trim_start_matches("whsec_")).expect("base64");
        receiver.verify_with(Verifier { keys, own: own.public_key(), secret });
        Self { aws, receiver }
    }

    /// Starts a function with the settings that the template gives it.
    pub(crate) async fn start(&self, function: &'static str) -> Function {
        Function::start(function, &settings(&self.aws.url)).await
    }
}

/// Builds the settings of all functions; each reads its own.
fn settings(aws_url: &str) -> [(&'static str, String); 36] {
    [
        ("AUDIT_RETENTION_DAYS", "365".to_owned()),
        ("AUDIT_TABLE", AUDIT.to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_ENDPOINT_URL", aws_url.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_SESSION_TOKEN", "token".repeat(100)), // Lambda sets one, and the SDK signs and sends it.
        ("DANGEROUSLY_ALLOW_HTTP", "true".to_owned()),
        ("DANGEROUSLY_ALLOW_PRIVATE_TARGETS", "true".to_owned()),
        ("DEAD_LETTER_QUEUE_URL", queue_url(DEAD_LETTERS)),
        ("DELIVERIES_QUEUE_URL", queue_url(DELIVERIES)),
        ("ENDPOINTS_TABLE", ENDPOINTS.to_owned()),
        ("ENDPOINT_KEYS_TABLE", ENDPOINT_KEYS.to_owned()),
        ("ENDPOINT_VERIFICATION", "none".to_owned()),
        ("EVENTS_QUEUE_URL", queue_url(EVENTS_QUEUE)),
        ("EVENTS_TABLE", EVENTS.to_owned()),
        ("KEYS_TABLE", KEYS.to_owned()),
        ("KEYS_URL", String::new()),
        ("KEY_GRACE_MINUTES", "1440".to_owned()),
        ("KEY_LEAD_MINUTES", "60".to_owned()),
        ("KEY_SIGNING_MINUTES", "1440".to_owned()),
        ("MAC_KEY", KEY_ID.to_owned()),
        ("MORE_TARGET_PORTS", String::new()),
        ("OWN_EVENTS_QUEUE_ARN", "arn:aws:sqs:us-east-1:000000000000:OwnEventsQueue".to_owned()),
        ("OWN_EVENTS_QUEUE_URL", queue_url(EVENTS_QUEUE)),
        ("PARKING_TABLE", PARKING.to_owned()),
        ("PORTAL_TABLE", PORTAL.to_owned()),
        ("PORTAL_URL", String::new()),
        ("PUBLIC_URL", String::new()),
        ("REJECTED_QUEUE_URL", queue_url(REJECTED)),
        ("RETENTION_DAYS", "30".to_owned()),
        ("SLOW_DELIVERIES_QUEUE_ARN", "arn:aws:sqs:us-east-1:000000000000:SlowDeliveriesQueue".to_owned()),
        ("SLOW_DELIVERIES_QUEUE_URL", queue_url("SlowDeliveriesQueue")),
        ("SLOW_INVOCATIONS_PER_TENANT", "40".to_owned()),
        ("TOKEN_REQUESTS_TABLE", TOKEN_REQUESTS.to_owned()),
        ("WRAPPING_KEY", KEY_ID.to_owned()),
    ]
}

/// Makes the breaker of an endpoint that has proved that it is quick, so that its deliveries are sent from `DeliveriesQueue`.
fn quick() -> Breaker {
    let mut outcomes = Outcomes::default();
    (0..QUICK_AFTER).for_each(|_| outcomes.add_duration(Duration::ZERO));
    Breaker::default().after(&outcomes, 0, 0.5)
}

/// Builds the settings of the SDK with which the benchmark calls the stand-in.
pub(crate) fn sdk(url: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "benchmark");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}

/// Builds the times of a key that was published two hours ago and signs for a day.
fn moments() -> KeyMoments {
    let now = unix_now().as_secs();
    let ago = |duration: Duration| now - duration.as_secs();
    let (published_at, sign_from) = (ago(Duration::from_hours(2)), ago(Duration::from_hours(1)));
    KeyMoments { published_at, sign_from, sign_until: now + 86_400, verify_until: now + 2 * 86_400 }
}

/// Builds a payload of about `bytes` bytes, as banks send them: a few fields, then a list of entries with text.
pub(crate) fn payload(bytes: usize) -> Value {
    let mut data = json!({
        "type": "OPERATION", "operationId": Uuid::new_v4().to_string(), "status": "APPROVED", "userId": "user-4711",
        "templateName": "authorize payment", "amount": 1250.5, "currency": "EUR",
        "note": "Invoice 2026/0815, due on receipt", "entries": [],
    });
    let mut number = 0;
    while data.to_string().len() < bytes {
        number += 1;
        let entry = json!({"id": number, "title": "Transfer to John Smith", "amount": 10.25, "iban": "CZ6508000000192000145399"});
        data["entries"].as_array_mut().expect("a list").push(entry);
    }
    data
}

/// Builds an event of a tenant, in the CloudEvents JSON format.
pub(crate) fn event(tenant: &str, bytes: usize) -> Value {
    json!({
        "specversion": "1.0", "id": format!("bench-{}", Uuid::new_v4()), "source": "/core", "type": "operation",
        "tenant": tenant, "time": "2026-01-31T10:00:00Z", "data": payload(bytes),
    })
}

/// Builds the input that API Gateway makes from a producer's request.
pub(crate) fn request(body: &Value) -> Value {
    let media_type = if body.is_array() { "cloudevents-batch" } else { "cloudevents" };
    json!({
        "version": "2.0", "routeKey": "POST /v1/events", "rawPath": "/v1/events", "rawQueryString": "",
        "headers": {
            "content-type": format!("application/{media_type}+json"), "host": "example.execute-api.us-east-1.amazonaws.com",
            "user-agent": "producer/1.0", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https",
            "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/us-east-1/execute-api/aws4_request",
            "x-amz-date": "20260131T100000Z",
        },
        "requestContext": {
            "accountId": "000000000000", "apiId": "example", "domainName": "example.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "example",
            "http": {
                "method": "POST", "path": "/v1/events", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                "userAgent": "producer/1.0",
            },
            "requestId": Uuid::new_v4().to_string(), "routeKey": "POST /v1/events", "stage": "$default",
            "time": "31/Jan/2026:10:00:00 +0000", "timeEpoch": 1_769_853_600_000_u64,
        },
        "isBase64Encoded": false,
        "body": body.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_starts_with_the_settings_of_the_benchmark() {
        let settings = settings("http://127.0.0.1:1");
        let get = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let faults = [
            deliver::Config::from_lookup(get).err(),
            fanout::Config::from_lookup(get).err(),
            ingest::Config::from_lookup(get).err(),
            manage::Config::from_lookup(get).err(),
            portal::Config::from_lookup(get).err(),
            public_keys::Config::from_lookup(get).err(),
            relay::Config::from_lookup(get).err(),
            rotate_keys::Config::from_lookup(get).err(),
            sweep::Config::from_lookup(get).err(),
        ];
        assert!(faults.iter().all(Option::is_none), "{faults:?}");
    }
}
