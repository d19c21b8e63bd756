//! An integrator's server on loopback: answers as told and remembers what it got.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was complete.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its whole URL, as RFC 9110, section 7.1 has receivers put it together: the authority is what `host` says.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it came.
    pub body: Bytes,
    /// The certificate that the client showed, in DER, if it showed one.
    pub client_certificate: Option<Vec<u8>>,
    /// The status that it is answered with, unless it is held.
    pub status: Option<u16>,
}

impl Received {
    /// Gives the id of the event: what the header `webhook-id` has before its last colon.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.header("webhook-id").rsplit_once(':').map_or("", |(id, _)| id)
    }

    /// Gives a header's text; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A server that takes callbacks until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens: `http://127.0.0.1:<port>/hook`.
    pub url: String,
    received: watch::Receiver<Vec<Received>>,
    is_holding: Arc<AtomicBool>,
    at_once: Arc<AtOnce>,
    server: JoinHandle<()>,
}

/// How many requests are being answered, and how many were at the most.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Reads a certificate and its key, both in PEM.
///
/// # Panics
/// The files are not there, or hold something else.
#[must_use]
pub fn certified_key(certificate: &str, key: &str) -> CertifiedKey {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .expect("a file of certificates")
        .collect::<Result<_, _>>()
        .expect("certificates in PEM");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key in PEM");
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .expect("a key of that certificate")
}

/// How long a test waits for requests before it fails.
const PATIENCE: Duration = Duration::from_mins(2);

impl Receiver {
    /// Starts a server that answers the n-th request (from 0) with the status that `answer` gives.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::start_answering(move |index, _| (answer(index), String::new())).await
    }

    /// Starts a server that answers the n-th request (from 0) with the status and the body that `answer` gives.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_answering(answer: impl Fn(usize, &Received) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::start_with_headers(move |index, request| {
            let (status, body) = answer(index, request);
            (status, body, Vec::new())
        })
        .await
    }

    /// Starts a server that answers the n-th request (from 0) with the status, the body and the headers that `answer` gives.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_with_headers(answer: impl Fn(usize, &Received) -> Answered + Send + Sync + 'static) -> Self {
        Self::listen("http", None, Arc::new(answer), Duration::ZERO).await
    }

    /// Starts a server that takes its time to answer 204.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_slow(time: Duration) -> Self {
        Self::listen("http", None, Arc::new(|_, _| (204, String::new(), Vec::new())), time).await
    }

    /// Starts a server that speaks TLS under `certificate` and accepts everything.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_tls(certificate: CertifiedKey) -> Self {
        let config = tls().with_no_client_auth();
        Self::listen_tls(config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)))).await
    }

    /// Starts a server that speaks TLS under `certificate` with those only who show a certificate of `authority` (DER),
    /// and accepts everything.
    ///
    /// # Panics
    /// Loopback has no free port, or the authority is none.
    pub async fn start_mtls(certificate: CertifiedKey, authority: Vec<u8>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.into()).expect("an authority's certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let config = tls().with_client_cert_verifier(clients.expect("a verifier"));
        Self::listen_tls(config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)))).await
    }

    async fn listen_tls(config: rustls::ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::listen("https", Some(tls), Arc::new(|_, _| (204, String::new(), Vec::new())), Duration::ZERO).await
    }

    async fn listen(scheme: &str, tls: Option<TlsAcceptor>, answer: Arc<Answer>, time: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("{scheme}://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let (sender, received) = watch::channel(Vec::new());
        let is_holding = Arc::<AtomicBool>::default();
        let at_once = Arc::<AtOnce>::default();
        let inside = Inside {
            received: Arc::new(sender),
            answer,
            time,
            is_holding: Arc::clone(&is_holding),
            at_once: Arc::clone(&at_once),
        };
        let server = tokio::spawn(serve(listener, tls, inside));
        Self { url, received, is_holding, at_once, server }
    }

    /// Waits until at least `count` requests have arrived, and gives all there are.
    ///
    /// # Panics
    /// They do not arrive within two minutes.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut received = self.received.clone();
        let enough = tokio::time::timeout(PATIENCE, received.wait_for(|all| all.len() >= count)).await;
        match enough {
            Ok(Ok(all)) => all.clone(),
            _ => panic!("{} of {count} requests arrived at {}", self.received.borrow().len(), self.url),
        }
    }

    /// Takes requests from now on and never answers them, until [`Self::release`]: for senders that are killed there.
    pub fn hold(&self) {
        self.is_holding.store(true, Ordering::Relaxed);
    }

    /// Answers requests again. What is held stays held.
    pub fn release(&self) {
        self.is_holding.store(false, Ordering::Relaxed);
    }

    /// The most requests that were being answered at the same time.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.at_once.most.load(Ordering::Relaxed)
    }

    /// Gives the requests that have arrived so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn tls() -> rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier> {
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that the provider speaks")
}

type Answer = dyn Fn(usize, &Received) -> Answered + Send + Sync;

/// Status, body, and headers besides those of HTTP itself.
pub type Answered = (u16, String, Vec<(&'static str, String)>);

/// What all connections share.
#[derive(Clone)]
struct Inside {
    received: Arc<watch::Sender<Vec<Received>>>,
    answer: Arc<Answer>,
    time: Duration,
    is_holding: Arc<AtomicBool>,
    at_once: Arc<AtOnce>,
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, inside: Inside) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, inside) = (tls.clone(), inside.clone());
        let serve = move |over: Over| service_fn(move |request| respond(over.clone(), request, inside.clone()));
        tokio::spawn(async move {
            // A handshake or a connection that fails is the sender's business.
            let http = http1::Builder::new();
            match tls {
                None => {
                    let over = Over { scheme: "http", client_certificate: None };
                    drop(http.serve_connection(TokioIo::new(stream), serve(over)).await);
                }
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let over = Over { scheme: "https", client_certificate: shown.map(|leaf| leaf.to_vec()) };
                    drop(http.serve_connection(TokioIo::new(stream), serve(over)).await);
                }
            }
        });
    }
}

/// What a request came over.
#[derive(Clone)]
struct Over {
    scheme: &'static str,
    client_certificate: Option<Vec<u8>>,
}

async fn respond(
    Over { scheme, client_certificate }: Over,
    request: Request<Incoming>,
    Inside { received, answer, time, is_holding, at_once }: Inside,
) -> Result<Response<Full<Bytes>>, Infallible> {
    at_once.most.fetch_max(at_once.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = format!("{scheme}://{host}{}", parts.uri);
    let (at, method, uri, headers) = (Instant::now(), parts.method, parts.uri, parts.headers);
    let mut one = Received { at, method, uri, url, headers, body, client_certificate, status: None };
    let mut answered = None;
    received.send_modify(|all| {
        if !is_holding.load(Ordering::Relaxed) {
            let answer = answer(all.len(), &one);
            (one.status, answered) = (Some(answer.0), Some(answer));
        }
        all.push(one);
    });
    let Some((status, text, headers)) = answered else {
        return pending().await; // Ends with the connection, when the sender is dead.
    };
    tokio::time::sleep(time).await;
    at_once.now.fetch_sub(1, Ordering::Relaxed);
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in headers {
        response.headers_mut().append(name, value.parse().expect("a header's value"));
    }
    Ok(response)
}
