//! An integrator's server on loopback. A test sets its answers, and it records its requests.

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

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The time when it was complete.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its URL, made as RFC 9110, section 7.1 says: the authority is the header `host`.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The exact bytes of its body.
    pub body: Bytes,
    /// The client's certificate in DER, if it sent one.
    pub client_certificate: Option<Vec<u8>>,
    /// The status of its answer; none while the receiver holds it.
    pub status: Option<u16>,
}

impl Received {
    /// Returns the id of the event: the part of `webhook-id` before its last colon.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.header("webhook-id").rsplit_once(':').map_or("", |(id, _)| id)
    }

    /// Returns a header's text, empty if the header is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A server that accepts webhooks. It runs until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// The URL at which it listens: `http://127.0.0.1:<port>/hook`.
    pub url: String,
    received: watch::Receiver<Vec<Received>>,
    is_holding: Arc<AtomicBool>,
    at_once: Arc<AtOnce>,
    server: JoinHandle<()>,
}

/// The number of requests that wait for an answer, and its maximum so far.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Reads a certificate and its key, both in PEM.
///
/// # Panics
/// A file is missing, or is not valid PEM.
#[must_use]
pub fn certified_key(certificate: &str, key: &str) -> CertifiedKey {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .expect("a file with certificates")
        .collect::<Result<_, _>>()
        .expect("certificates in PEM");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key in PEM");
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .expect("a key that matches the certificate")
}

/// How long a test waits for requests before it fails: longer than a delivery waits twice because another function may be
/// sending it, for 95 s each time.
const PATIENCE: Duration = Duration::from_mins(4);

impl Receiver {
    /// Starts a server that answers the n-th request (from 0) with the status that `answer` returns.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::start_answering(move |index, _| (answer(index), String::new())).await
    }

    /// Starts a server that answers the n-th request (from 0) with the status and the body that `answer` returns.
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

    /// Starts a server that answers the n-th request (from 0) with the status, the body and the headers that `answer`
    /// returns.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_with_headers(answer: impl Fn(usize, &Received) -> Answered + Send + Sync + 'static) -> Self {
        Self::listen("http", None, Arc::new(answer), Duration::ZERO).await
    }

    /// Starts a server that answers 204 after `time`.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_slow(time: Duration) -> Self {
        Self::listen("http", None, Arc::new(|_, _| (204, String::new(), Vec::new())), time).await
    }

    /// Starts a server that speaks TLS with `certificate` and answers 204.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start_tls(certificate: CertifiedKey) -> Self {
        let config = tls().with_no_client_auth();
        Self::listen_tls(config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)))).await
    }

    /// Starts a server that speaks TLS with `certificate` and answers 204. It accepts only clients with a certificate
    /// of `authority` (DER).
    ///
    /// # Panics
    /// Loopback has no free port, or `authority` is not a certificate.
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

    /// Waits until at least `count` requests have arrived, and returns all requests.
    ///
    /// # Panics
    /// Fewer requests arrive within four minutes.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut received = self.received.clone();
        let enough = tokio::time::timeout(PATIENCE, received.wait_for(|all| all.len() >= count)).await;
        match enough {
            Ok(Ok(all)) => all.clone(),
            _ => panic!("{} of {count} requests arrived at {}", self.received.borrow().len(), self.url),
        }
    }

    /// Holds requests from now on, until [`Self::release`]. A held request gets no answer: for tests that kill the
    /// sender there.
    pub fn hold(&self) {
        self.is_holding.store(true, Ordering::Relaxed);
    }

    /// Answers new requests again. The requests that are held stay held.
    pub fn release(&self) {
        self.is_holding.store(false, Ordering::Relaxed);
    }

    /// Returns the largest number of requests that waited for an answer at the same time.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.at_once.most.load(Ordering::Relaxed)
    }

    /// Returns the requests that have arrived so far.
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
        .expect("TLS versions that the provider supports")
}

type Answer = dyn Fn(usize, &Received) -> Answered + Send + Sync;

/// Status, body, and the headers besides those of HTTP itself.
pub type Answered = (u16, String, Vec<(&'static str, String)>);

/// State that all connections share.
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
            // A failed handshake or connection concerns the sender only.
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

/// The scheme of a connection, and the client's certificate.
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
        response.headers_mut().append(name, value.parse().expect("a header value"));
    }
    Ok(response)
}
