//! An integrator's server on loopback that answers at once, or never. It verifies some of the signatures with
//! aws-lc-rs alone.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::kid::of_signing_key;
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::standard_webhooks::WebhookPublicKey;
use tokio::net::TcpListener;

use crate::world::SIGNATURES;

/// A receiver. It runs as long as the benchmark.
pub(crate) struct Receiver {
    origin: String,
    inside: Arc<Inside>,
}

struct Inside {
    /// The status of all answers, or 0 if there are none.
    status: AtomicU16,
    bytes: AtomicU64,
    count: AtomicU64,
    verifier: OnceLock<Verifier>,
    verified: AtomicU64,
}

/// The keys and secrets that verify signatures.
pub(crate) struct Verifier {
    pub(crate) keys: Vec<PublicKey>,
    /// The key that verifies `v1a`.
    pub(crate) own: WebhookPublicKey,
    pub(crate) secret: Vec<u8>,
}

const SIGNED: &str = "/hook";

/// One of so many requests is verified, starting with the first.
const SAMPLE: u64 = 50;

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let inside = Inside {
            status: 204.into(),
            bytes: AtomicU64::default(),
            count: AtomicU64::default(),
            verifier: OnceLock::new(),
            verified: AtomicU64::default(),
        };
        let inside = Arc::new(inside);
        tokio::spawn(serve(listener, Arc::clone(&inside)));
        Self { origin: url, inside }
    }

    /// Returns the URL for signed requests.
    pub(crate) fn url(&self) -> String {
        format!("{}{SIGNED}", self.origin)
    }

    /// Returns the URL for plain requests.
    pub(crate) fn plain_url(&self) -> String {
        format!("{}/plain", self.origin)
    }

    /// Verifies a sample of the signatures from now on.
    pub(crate) fn verify_with(&self, verifier: Verifier) {
        let _ = self.inside.verifier.set(verifier); // Set once, after the start.
    }

    /// Returns the number of requests, their bytes, and the number of verified requests.
    pub(crate) fn so_far(&self) -> (u64, u64, u64) {
        let Inside { bytes, count, verified, .. } = &*self.inside;
        (count.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed), verified.load(Ordering::Relaxed))
    }

    /// Sets the status of all answers. With `None`, the receiver holds requests for ever.
    pub(crate) fn answer(&self, status: Option<u16>) {
        self.inside.status.store(status.unwrap_or_default(), Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, inside: Arc<Inside>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let inside = Arc::clone(&inside);
        let service = service_fn(move |request| respond(request, Arc::clone(&inside)));
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn respond(request: Request<Incoming>, inside: Arc<Inside>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    inside.bytes.fetch_add((headers + body.len()) as u64, Ordering::Relaxed);
    let number = inside.count.fetch_add(1, Ordering::Relaxed);
    if number.is_multiple_of(SAMPLE)
        && parts.uri.path() == SIGNED
        && let Some(verifier) = inside.verifier.get()
    {
        if let Err(what) = verifier.verify(&parts.headers, &body) {
            crate::fail(&format!("a request has {what}"));
        }
        inside.verified.fetch_add(1, Ordering::Relaxed);
    }
    let Ok(status) = StatusCode::from_u16(inside.status.load(Ordering::Relaxed)) else {
        return std::future::pending().await;
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

impl Verifier {
    /// Verifies each signature of a request, which has at least one.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if body.iter().any(u8::is_ascii_whitespace) {
            return Err("white space in its body".into());
        }
        let mut signatures = 0;
        if let Some(jws) = text("jws-signature") {
            let (header, signature) = jws.split_once("..").ok_or("no detached JWS")?;
            let decoded = URL_SAFE_NO_PAD.decode(header).map_err(|_| "a JWS header that is not base64")?;
            let decoded: Value = serde_json::from_slice(&decoded).map_err(|_| "a JWS header that is not JSON")?;
            let tenants = SIGNATURES.map(|one| TenantId::parse(one.name).expect("letters, digits and hyphens"));
            let is_meant = |key: &&PublicKey| tenants.iter().any(|t| of_signing_key(key.id(), t) == decoded["kid"]);
            let key = self.keys.iter().find(is_meant).ok_or("an unknown kid")?;
            if decoded["alg"] != key.algorithm().as_str() {
                return Err("another alg than its key's".into());
            }
            let content = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body));
            let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "a signature that is not base64")?;
            verify(key, content.as_bytes(), &signature)?;
            signatures += 1;
        }
        if let Some(entries) = text("webhook-signature") {
            let (id, timestamp) =
                (text("webhook-id").unwrap_or_default(), text("webhook-timestamp").unwrap_or_default());
            let content = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
            for entry in entries.split(' ') {
                let (version, signature) = entry.split_once(',').ok_or("an entry without a version")?;
                let signature = STANDARD.decode(signature).map_err(|_| "an entry that is not base64")?;
                if version == "v1" {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
                    hmac::verify(&key, &content, &signature).map_err(|_| "an HMAC that does not verify")?;
                } else {
                    let own = UnparsedPublicKey::new(&ED25519, self.own.bytes());
                    own.verify(&content, &signature).map_err(|_| "a `v1a` that does not verify")?;
                }
                signatures += 1;
            }
        }
        if signatures == 0 { Err("no signature".into()) } else { Ok(()) }
    }
}

fn verify(key: &PublicKey, content: &[u8], signature: &[u8]) -> Result<(), String> {
    let algorithm: &dyn VerificationAlgorithm = match key.algorithm() {
        Algorithm::EdDSA => &ED25519,
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
    };
    let verified = UnparsedPublicKey::new(algorithm, key.subject_public_key()).verify(content, signature);
    verified.map_err(|_| format!("a signature of {} that does not verify", key.algorithm()))
}
