//! Webhooks that the rules of `lib/core` signed, as a receiver saved them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use signpost_cli::verify::request::SavedRequest;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::http_signature::{self, Covered};
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::signer::{Signer, TenantSigner};
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_core::signing::{jws, standard_webhooks};

pub const BODY: &str =
    r#"{"type":"OPERATION","operationId":"payment-1","status":"APPROVED","payer":"John\u0020Smith","amount":10.50}"#;
pub const URL: &str = "https://hooks.acme.example/in";
pub const SIGNED_AT: u64 = 1_795_183_441;
pub const WEBHOOK_ID: &str = "payment-1-approved:5e20e4179b97";
pub const ENDPOINT: &str = "ep_0123456789abcdef0123456789abcdef";
pub const OTHER_ENDPOINT: &str = "ep_fedcba9876543210fedcba9876543210";

/// Key pairs that `openssl genpkey` made, from the tests of `lib/core`.
fn pair(algorithm: Algorithm) -> (Vec<u8>, Vec<u8>) {
    let (private, public) = match algorithm {
        Algorithm::EdDSA => (
            include_str!("../../../core/tests/data/ed25519.pem"),
            include_str!("../../../core/tests/data/ed25519.public.pem"),
        ),
        Algorithm::ES256 => (
            include_str!("../../../core/tests/data/p256.pem"),
            include_str!("../../../core/tests/data/p256.public.pem"),
        ),
        Algorithm::RS256 => (
            include_str!("../../../core/tests/data/rsa-2048.pem"),
            include_str!("../../../core/tests/data/rsa-2048.public.pem"),
        ),
    };
    let der =
        |pem: &str| STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    (der(private), der(public))
}

fn signer(algorithm: Algorithm, tenant: &str) -> (TenantSigner, PublicKey) {
    let (private, public) = pair(algorithm);
    let id = match algorithm {
        Algorithm::EdDSA => "070725bf-7dac-4712-b61a-420ba3701261",
        Algorithm::ES256 => "070725bf-7dac-4712-b61a-420ba3701262",
        Algorithm::RS256 => "070725bf-7dac-4712-b61a-420ba3701263",
    };
    let public = PublicKey::from_spki(id, &public).unwrap();
    let signer = Arc::new(Signer::from_pkcs8(&public, &private).unwrap());
    (TenantSigner::new(signer, &TenantId::parse(tenant).unwrap()), public)
}

/// The keys of an endpoint's Standard Webhooks.
pub fn endpoint_keys(number: u8) -> Arc<EndpointKeys> {
    Arc::new(EndpointKeys::new([number; 32], [number; 32]).unwrap())
}

/// The key set of tenant `acme`, as Signpost publishes it, with the `v1a` keys of two endpoints.
pub fn key_set() -> Value {
    let mut keys: Vec<Value> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| {
            let (signer, public) = signer(algorithm, "acme");
            json!(public.jwk(signer.kid().to_owned()))
        })
        .collect();
    for (endpoint, number) in [(ENDPOINT, 1), (OTHER_ENDPOINT, 2)] {
        let id = EndpointId::parse(endpoint).unwrap();
        let public = PublicKey::from_ed25519(endpoint, endpoint_keys(number).public_key().bytes()).unwrap();
        let kid = format!("00000000-0000-4000-8000-00000000000{number}");
        keys.push(json!(public.jwk(kid).of_endpoint(&id)));
    }
    json!({"keys": keys})
}

/// A webhook in one format.
pub struct Webhook {
    pub request: SavedRequest,
}

impl Webhook {
    fn plain() -> Self {
        let headers = [
            ("host", "hooks.acme.example"),
            ("content-type", "application/json"),
            ("webhook-id", WEBHOOK_ID),
            ("webhook-timestamp", &SIGNED_AT.to_string()),
            ("signpost-attempt", "1"),
            ("ce-id", "payment-1-approved"),
            ("ce-type", "operation"),
            ("ce-source", "/core"),
        ];
        Self {
            request: SavedRequest {
                method: Some("POST".to_owned()),
                target: Some("/in".to_owned()),
                headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
                body: BODY.as_bytes().to_vec(),
            },
        }
    }

    /// Signed as JWS, for a tenant.
    pub fn jws(algorithm: Algorithm, tenant: &str) -> Self {
        let signature = jws::sign_detached(&signer(algorithm, tenant).0, BODY.as_bytes()).unwrap();
        Self::plain().with("jws-signature", &signature)
    }

    /// Signed as Standard Webhooks, with the keys of an endpoint.
    pub fn standard(number: u8) -> Self {
        Self::standard_at(number, SIGNED_AT)
    }

    /// The same, at a moment.
    pub fn standard_at(number: u8, at: u64) -> Self {
        let signature = standard_webhooks::sign(&[endpoint_keys(number)], WEBHOOK_ID, at, BODY.as_bytes()).unwrap();
        Self::plain().with("webhook-timestamp", &at.to_string()).with("webhook-signature", &signature)
    }

    /// Signed as an HTTP message, for a tenant.
    pub fn http(algorithm: Algorithm, tenant: &str) -> Self {
        Self::http_at(algorithm, tenant, URL, SIGNED_AT)
    }

    /// The same, for a URL and at a moment.
    pub fn http_at(algorithm: Algorithm, tenant: &str, target_uri: &str, at: u64) -> Self {
        let covered = Covered {
            method: "POST",
            target_uri,
            body: BODY.as_bytes(),
            webhook_id: WEBHOOK_ID,
            ce_type_and_source: Some(("operation", "/core")),
        };
        let headers = http_signature::sign(covered, &signer(algorithm, tenant).0, at).unwrap();
        Self::plain()
            .with("content-digest", &headers.content_digest)
            .with("signature-input", &headers.signature_input)
            .with("signature", &headers.signature)
    }

    /// Sets a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.request.headers.retain(|(one, _)| one != name);
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.request.headers.retain(|(one, _)| one != name);
        self
    }

    /// Changes the text of a header.
    pub fn altered(self, name: &str, change: impl Fn(&str) -> String) -> Self {
        let value = change(self.request.header(name).unwrap());
        self.with(name, &value)
    }

    /// Replaces the body.
    pub fn with_body(mut self, body: &str) -> Self {
        self.request.body = body.as_bytes().to_vec();
        self
    }

    /// Replaces the target of the request line.
    pub fn to(mut self, target: &str) -> Self {
        self.request.target = Some(target.to_owned());
        self
    }

    /// Writes the request as an HTTP message.
    pub fn message(&self) -> Vec<u8> {
        let request = &self.request;
        let mut text =
            format!("{} {} HTTP/1.1\r\n", request.method.as_deref().unwrap(), request.target.as_deref().unwrap());
        for (name, value) in &request.headers {
            text.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        [text.as_bytes(), b"\r\n", &request.body].concat()
    }
}

/// Writes the header of a JWS again, with a change.
pub fn with_jws_header(jws: &str, change: impl Fn(&mut Value)) -> String {
    let (header, rest) = jws.split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    change(&mut header);
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}
