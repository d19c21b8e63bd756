//! A tenant's key set: public keys, fetched from the tenant's `jwksUrl` and kept for the time in its `Cache-Control`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::encoding::{base64url, json_object, number};
use crate::error::{FetchError, KeysUnavailable, SettingsError};
use crate::receiver::Algorithm;

const MOST_BYTES: usize = 4 << 20; // 1,000 endpoints with two keys each need less than 1 MiB.
const LONGEST: u64 = 24 * 3600;
const DEFAULT: u64 = 300;
const USER_AGENT: &str = concat!("signpost-receiver-rust/", env!("CARGO_PKG_VERSION"));

/// Public key of a key set. A key with an endpoint verifies `v1a` of this endpoint only.
#[derive(Debug)]
pub struct Key {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) endpoint: Option<String>,
    pub(crate) signature_bytes: usize,
    public: ParsedPublicKey,
}

impl Key {
    /// Returns whether `signature` is this key's signature over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == self.signature_bytes && self.public.verify_sig(message, signature).is_ok()
    }

    fn parse(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(base64url);
        let (algorithm, signature_bytes, public) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let n: Vec<u8> = bytes("n")?.into_iter().skip_while(|byte| *byte == 0).collect();
                if n.len() < 256 || (n.len() == 256 && n[0] < 128) {
                    return None; // Shorter than 2048 bits.
                }
                let signature_bytes = n.len();
                let key = RsaPublicKeyComponents { n, e: bytes("e")? };
                (Algorithm::RS256, signature_bytes, key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?)
            }
            ("EC", Some("P-256")) => {
                let point = [vec![4], bytes("x")?, bytes("y")?].concat();
                (Algorithm::ES256, 64, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, 64, ParsedPublicKey::new(&ED25519, bytes("x")?).ok()?),
            _ => return None,
        };
        let endpoint = text("endpoint").map(str::to_owned);
        Some(Self { kid: text("kid")?.to_owned(), algorithm, endpoint, signature_bytes, public })
    }
}

/// Reads a key set (RFC 7517). Keys of other kinds than Signpost's are left out.
fn parse_key_set(text: &[u8]) -> Result<Arc<[Key]>, FetchError> {
    let set = json_object(text).ok_or(FetchError::NotAKeySet)?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or(FetchError::NotAKeySet)?;
    Ok(keys.iter().filter_map(Value::as_object).filter_map(Key::parse).collect())
}

/// Settings of a [`KeySet`].
#[derive(Clone)]
pub struct KeySetOptions {
    /// How long a fetch may take in total; 3 s by default.
    pub timeout: Duration,
    /// The shortest time between two fetches, 2 s by default. Forged requests cannot cause more.
    pub cooldown: Duration,
    /// How long after its expiry a copy serves while the server does not answer; an hour by default.
    pub stale: Duration,
    /// A clock that never goes back, for tests.
    pub clock: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl Default for KeySetOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { timeout: seconds(3), cooldown: seconds(2), stale: seconds(3600), clock: Arc::new(Instant::now) }
    }
}

impl fmt::Debug for KeySetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, cooldown, stale, clock: _ } = self;
        write!(f, "KeySetOptions {{ timeout: {timeout:?}, cooldown: {cooldown:?}, stale: {stale:?} }}")
    }
}

/// Keys below a URL. All tasks share one copy, and only one of them fetches at a time. A clone shares them, too.
#[derive(Clone, Debug)]
pub struct KeySet(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<Copy>),
    Fetched(Arc<Fetched>),
}

#[derive(Debug)]
struct Fetched {
    url: Url,
    client: Client,
    options: KeySetOptions,
    copy: RwLock<Option<Arc<Copy>>>,
    fetches: Mutex<Fetches>,
}

/// Keys with the time until which they count.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) keys: Arc<[Key]>,
    etag: Option<String>,
    expires: Instant,
}

#[derive(Debug, Default)]
struct Fetches {
    last: Option<Instant>,
    error: Option<Arc<FetchError>>,
}

impl KeySet {
    /// Makes a key set that is fetched from the endpoint's `jwksUrl`. Fetches nothing yet.
    ///
    /// # Errors
    /// The URL has not the scheme `https`. Loopback may have `http`, for tests.
    pub fn new(url: &str, options: KeySetOptions) -> Result<Self, SettingsError> {
        let parsed = Url::parse(url).map_err(|_| SettingsError::KeysUrl(url.to_owned()))?;
        let is_loopback = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_loopback) {
            return Err(SettingsError::KeysUrl(url.to_owned()));
        }
        // The time is for the whole answer. No redirects: the URL of the keys is fixed.
        let client = Client::builder().timeout(options.timeout).redirect(Policy::none()).user_agent(USER_AGENT);
        let client = if is_loopback { client.no_proxy() } else { client };
        let client = client.build().map_err(SettingsError::Client)?;
        let (copy, fetches) = (RwLock::default(), Mutex::default());
        Ok(Self(Source::Fetched(Arc::new(Fetched { url: parsed, client, options, copy, fetches }))))
    }

    /// Makes a key set that never changes, for tests.
    ///
    /// # Errors
    /// The text is not a key set.
    pub fn fixed(text: &str) -> Result<Self, SettingsError> {
        let keys = parse_key_set(text.as_bytes()).map_err(|_| SettingsError::Keys)?;
        Ok(Self(Source::Fixed(Arc::new(Copy { keys, etag: None, expires: Instant::now() }))))
    }

    /// Returns the keys, fetched if the copy has expired.
    pub(crate) async fn keys(&self) -> Result<Arc<Copy>, KeysUnavailable> {
        match &self.0 {
            Source::Fixed(copy) => Ok(copy.clone()),
            Source::Fetched(set) => match set.copy() {
                Some(copy) if (set.options.clock)() < copy.expires => Ok(copy),
                seen => set.refresh(seen).await,
            },
        }
    }

    /// Returns the keys, newer than `known` if the last fetch is at least the cooldown ago.
    pub(crate) async fn keys_after(&self, known: &Arc<Copy>) -> Result<Arc<Copy>, KeysUnavailable> {
        match &self.0 {
            Source::Fixed(copy) => Ok(copy.clone()),
            Source::Fetched(set) => match set.copy() {
                Some(copy) if !Arc::ptr_eq(&copy, known) => Ok(copy),
                seen => set.refresh(seen).await,
            },
        }
    }
}

impl Fetched {
    fn copy(&self) -> Option<Arc<Copy>> {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Instant {
        (self.options.clock)()
    }

    /// Fetches in a task of its own: if the caller goes away, the others get the keys all the same.
    async fn refresh(self: &Arc<Self>, seen: Option<Arc<Copy>>) -> Result<Arc<Copy>, KeysUnavailable> {
        let set = Arc::clone(self);
        let refreshed = tokio::spawn(async move { set.refresh_once(seen).await }).await;
        refreshed.unwrap_or_else(|_| Err(self.unavailable(None))) // The runtime is shutting down.
    }

    async fn refresh_once(&self, seen: Option<Arc<Copy>>) -> Result<Arc<Copy>, KeysUnavailable> {
        let mut fetches = self.fetches.lock().await;
        let mut copy = self.copy();
        let is_new = match (&copy, &seen) {
            (Some(copy), Some(seen)) => !Arc::ptr_eq(copy, seen),
            (copy, _) => copy.is_some(),
        };
        if !is_new && fetches.last.is_none_or(|last| self.now() >= last + self.options.cooldown) {
            match self.fetch(copy.as_deref()).await {
                Ok(new) => {
                    copy = Some(Arc::new(new));
                    self.copy.write().unwrap_or_else(PoisonError::into_inner).clone_from(&copy);
                    fetches.error = None;
                }
                Err(error) => fetches.error = Some(Arc::new(error)),
            }
            fetches.last = Some(self.now());
        }
        let error = fetches.error.clone();
        match copy {
            Some(copy) if error.is_none() || self.now() <= copy.expires + self.options.stale => Ok(copy),
            _ => Err(self.unavailable(error)),
        }
    }

    fn unavailable(&self, cause: Option<Arc<FetchError>>) -> KeysUnavailable {
        KeysUnavailable { url: self.url.to_string(), cause }
    }

    async fn fetch(&self, old: Option<&Copy>) -> Result<Copy, FetchError> {
        let mut request = self.client.get(self.url.clone()).header(ACCEPT, "application/json");
        if let Some(etag) = old.and_then(|old| old.etag.as_ref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut answer = request.send().await.map_err(FetchError::NoAnswer)?;
        let expires = self.now() + lifetime(answer.headers());
        match (answer.status().as_u16(), old) {
            (304, Some(old)) => return Ok(Copy { keys: old.keys.clone(), etag: old.etag.clone(), expires }),
            (200, _) => {}
            (status, _) => return Err(FetchError::Status(status)),
        }
        let etag = header(answer.headers(), &ETAG).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(FetchError::NoAnswer)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(FetchError::TooLong(MOST_BYTES));
            }
        }
        Ok(Copy { keys: parse_key_set(&body)?, etag, expires })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads how long an answer counts (RFC 9111, section 4.2).
fn lifetime(headers: &HeaderMap) -> Duration {
    let text = header(headers, &CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let mut directives = text.split(',').map(|one| one.split_once('=').unwrap_or((one, "")));
    if directives.clone().any(|(name, _)| matches!(name.trim(), "no-store" | "no-cache")) {
        return Duration::ZERO;
    }
    let max_age = directives.find(|(name, _)| name.trim() == "max-age");
    let max_age = max_age.and_then(|(_, value)| number(value.trim().trim_matches('"'), 9));
    let age = header(headers, &AGE).and_then(|text| number(text, 9)).unwrap_or(0);
    Duration::from_secs(max_age.map_or(DEFAULT, |seconds| seconds.min(LONGEST).saturating_sub(age)))
}
