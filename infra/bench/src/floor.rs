//! The minimum that every sender needs: the signatures alone, and one plain HTTP POST alone, each in its own process.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use signpost_core::endpoint::SignatureFormat;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::signer::{Signer, TenantSigner};
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_core::signing::{jws, standard_webhooks};

use crate::process::cpu_ms;
use crate::world::{SIGNATURES, Signature, payload};

/// Includes a key of the tests of `signpost-core`.
macro_rules! pem {
    ($file:literal) => {
        include_str!(concat!("../../../lib/core/tests/data/", $file))
    };
}

/// Measures the CPU-ms of one POST, in a process that does nothing else.
pub(crate) async fn post_ms(url: &str, bytes: usize, at_once: usize) -> f64 {
    told(["post", url, &bytes.to_string(), &at_once.to_string()]).await
}

/// Measures the CPU-ms of the signatures of one request.
pub(crate) async fn signing_ms(signature: Signature, bytes: usize) -> f64 {
    told(["sign", signature.name, &bytes.to_string()]).await
}

/// Runs this program in another process, and returns the number that it prints.
async fn told<const COUNT: usize>(arguments: [&str; COUNT]) -> f64 {
    let program = std::env::current_exe().expect("a process has a file");
    let mut command = Command::new(program);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()); // The receiver must run at the same time.
    let output = output.await.expect("no panic").expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| {
        crate::fail(&format!("`{}` printed {text} {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
    })
}

/// The number of rounds. Each posts `at_once` requests.
const ROUNDS: usize = 1_000;

/// Posts `at_once` requests at a time, and returns the CPU-ms of one. Builds the client as
/// [`signpost_io::http::guarded_client`] does.
pub(crate) async fn post(url: &str, bytes: usize, at_once: usize) -> f64 {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(10))
        .build()
        .expect("a client");
    let body = hyper::body::Bytes::from(payload(bytes).to_string());
    let posts = async || {
        let posts = (0..at_once).map(async |_| {
            let request = client.post(url).header("content-type", "application/json").body(body.clone());
            let response = request.send().await.expect("an answer");
            response.bytes().await.expect("a whole answer")
        });
        join_all(posts).await;
    };
    for _ in 0..10 {
        posts().await;
    }
    let before = cpu_ms("self");
    for _ in 0..ROUNDS {
        posts().await;
    }
    (cpu_ms("self") - before) / (ROUNDS * at_once) as f64
}

/// Signs for a second as an endpoint with this signature requires, and returns the CPU-ms of one request.
pub(crate) fn sign(name: &str, bytes: usize) -> f64 {
    let signature = SIGNATURES.into_iter().find(|one| one.name == name).expect("the name of a signature");
    let body = payload(bytes).to_string().replace(' ', "\\u0020");
    let sign = signing(signature, body.as_bytes());
    let before = cpu_ms("self");
    let mut count = 0;
    while cpu_ms("self") - before < 1_000.0 {
        for _ in 0..200 {
            sign();
        }
        count += 200;
    }
    (cpu_ms("self") - before) / f64::from(count)
}

/// Returns a function that signs `body` once, with its own keys.
pub(crate) fn signing(signature: Signature, body: &[u8]) -> impl Fn() + '_ {
    let tenant = TenantId::parse(signature.name).expect("letters, digits and hyphens");
    let other = TenantSigner::new(Arc::new(signer(signature.algorithm)), &tenant);
    let own = [Arc::new(EndpointKeys::new([7; 32], [7; 32]).expect("keys"))];
    move || {
        for format in signature.formats {
            let signed = match format {
                SignatureFormat::StandardWebhooks => {
                    standard_webhooks::sign(&own, "bench-1:0123456789ab", 1_800_000_000, body)
                }
                _ => jws::sign_detached(&other, body),
            };
            std::hint::black_box(signed.expect("a signature"));
        }
    }
}

/// Makes a signer with a fixed key, so that the figures are comparable.
fn signer(algorithm: Algorithm) -> Signer {
    let (private, public) = match algorithm {
        Algorithm::EdDSA => (pem!("ed25519.pem"), pem!("ed25519.public.pem")),
        Algorithm::ES256 => (pem!("p256.pem"), pem!("p256.public.pem")),
        Algorithm::RS256 => (pem!("rsa-2048.pem"), pem!("rsa-2048.public.pem")),
    };
    let der = |pem: &str| {
        let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        STANDARD.decode(lines).expect("base64")
    };
    let public = PublicKey::from_spki("070725bf-7dac-4712-b61a-420ba3701263", &der(public)).expect("a public key");
    Signer::from_pkcs8(&public, &der(private)).expect("a pair")
}
