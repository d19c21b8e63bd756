//! The verification of webhooks, step by step. The steps have the names of `signpost verify`.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::encoding::{base64, base64url, json_object, number, to_base64, to_base64url};
use crate::error::{Error, KeysUnavailable, SettingsError, VerificationError};
use crate::http_signature::{Input, signature};
use crate::keys::{Key, KeySet, KeySetOptions};
use crate::request::{ALL_HEADERS, BEFORE_PARSER, Headers, REFUSE, Request, UNCHANGED};

const REQUIRED: [&str; 4] = ["@method", "@target-uri", "content-digest", "webhook-id"];

/// Algorithm of a key (`jwsAlgorithm` of an endpoint). `"RS256".parse()` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// Name in a JWS (RFC 7518, RFC 8037).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }

    fn http_name(self) -> &'static str {
        match self {
            Self::ES256 => "ecdsa-p256-sha256",
            Self::EdDSA => "ed25519",
            Self::RS256 => "rsa-v1_5-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, SettingsError> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == name);
        found.ok_or_else(|| SettingsError::Algorithm(name.to_owned()))
    }
}

/// Signature format (`signatures` of an endpoint). `"jws".parse()` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// HTTP message signatures (RFC 9421).
    HttpMessageSignatures,
    /// JWS with a detached payload (RFC 7515, appendix F).
    Jws,
    /// Standard Webhooks 1.0.0.
    StandardWebhooks,
}

impl Format {
    const ALL: [Self; 3] = [Self::Jws, Self::StandardWebhooks, Self::HttpMessageSignatures];

    /// Name in an endpoint's `signatures`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpMessageSignatures => "http-message-signatures",
            Self::Jws => "jws",
            Self::StandardWebhooks => "standard-webhooks",
        }
    }
}

impl FromStr for Format {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, SettingsError> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == name);
        found.ok_or_else(|| SettingsError::Format(name.to_owned()))
    }
}

/// Webhook that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// `webhook-id`: the same over all attempts and replays.
    pub id: Option<String>,
    /// Source of the event, if the request has it.
    pub source: Option<String>,
    /// Type of the event, if the request has it.
    pub kind: Option<String>,
    /// The number of the attempt, from 1.
    pub attempt: Option<u32>,
    /// The operator's request that caused it: `replay`, `recover`, `redrive` or `test`.
    pub replay: Option<String>,
    /// The signed bytes: the body, or for a `GET` the query.
    pub payload: Vec<u8>,
    /// Which of `id`, `source` and `type` the signature covers. Somebody on the way can change the others.
    pub signed: BTreeSet<&'static str>,
    /// Whether the `seen` hook knows the id: answer 2xx, and do nothing.
    pub is_repeated: bool,
}

type SeenFuture = Pin<Box<dyn Future<Output = Result<bool, Box<dyn StdError + Send + Sync>>> + Send>>;
type Seen = Box<dyn Fn(String) -> SeenFuture + Send + Sync>;
type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of a [`Receiver`], from your own configuration and never from a request.
///
/// Give at least one of `keys_url` (or `keys`) and `secrets`.
#[derive(Clone)]
pub struct Settings {
    /// The endpoint's `jwksUrl`, for JWS, HTTP message signatures, and with `endpoint` for `v1a`.
    pub keys_url: Option<String>,
    /// Keys instead of `keys_url`.
    pub keys: Option<KeySet>,
    /// The endpoint's `signingSecret` (`whsec_…`), or several, for `v1`.
    pub secrets: Vec<String>,
    /// The endpoint's id, `ep_…`.
    pub endpoint: Option<String>,
    /// The endpoint's `url`, for HTTP message signatures and for `GET`.
    pub url: Option<String>,
    /// The endpoint's `jwsAlgorithm`; without it, that of the key.
    pub algorithm: Option<Algorithm>,
    /// The formats that you accept; by default, all that the settings can verify.
    pub formats: Vec<Format>,
    /// How far the moment of signing may be from the clock; 300 s by default.
    pub tolerance: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys_url: None,
            keys: None,
            secrets: Vec::new(),
            endpoint: None,
            url: None,
            algorithm: None,
            formats: Format::ALL.to_vec(),
            tolerance: Duration::from_mins(5),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys_url, keys: _, secrets, endpoint, url, algorithm, formats, tolerance } = self;
        let mut shown = f.debug_struct("Settings");
        shown.field("keys_url", keys_url).field("secrets", &format_args!("{} hidden", secrets.len()));
        shown.field("endpoint", endpoint).field("url", url).field("algorithm", algorithm);
        shown.field("formats", formats).field("tolerance", tolerance).finish_non_exhaustive()
    }
}

/// Verifies the webhooks of one endpoint. Make one for the life of the program: it keeps the keys.
pub struct Receiver {
    keys: Option<KeySet>,
    secrets: Vec<hmac::Key>,
    endpoint: Option<String>,
    url: Option<String>,
    algorithm: Option<Algorithm>,
    formats: Vec<Format>,
    tolerance: u64,
    seen: Option<Seen>,
    clock: Clock,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Receiver");
        shown.field("endpoint", &self.endpoint).field("url", &self.url).field("algorithm", &self.algorithm);
        shown.field("formats", &self.formats).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Makes a receiver. Fetches nothing yet.
    ///
    /// # Errors
    /// The settings verify nothing, or one of them cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let keys = match (settings.keys, settings.keys_url) {
            (None, Some(url)) => Some(KeySet::new(&url, KeySetOptions::default())?),
            (keys, _) => keys,
        };
        if keys.is_none() && settings.secrets.is_empty() {
            return Err(SettingsError::NothingToVerifyWith);
        }
        if settings.formats.is_empty() {
            return Err(SettingsError::NoFormat);
        }
        Ok(Self {
            keys,
            secrets: settings.secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?,
            endpoint: settings.endpoint,
            url: settings.url,
            algorithm: settings.algorithm,
            formats: settings.formats,
            tolerance: settings.tolerance.as_secs(),
            seen: None,
            clock: Box::new(SystemTime::now),
        })
    }

    /// Takes a hook that says whether you have handled the event of an id already.
    ///
    /// [`verify`](Self::verify) asks it about each request that verifies. Its error becomes [`Error::Seen`].
    #[must_use]
    pub fn with_seen<F, R, E>(mut self, seen: F) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.seen = Some(Box::new(move |id| {
            let is_seen = seen(id);
            Box::pin(async move { is_seen.await.map_err(Into::into) })
        }));
        self
    }

    /// Takes a clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Verifies a request, and returns its event.
    ///
    /// `headers` is a `&HeaderMap`, or other pairs of names and values. `body` is the bytes as they arrived. `url` is the URL that
    /// was called, and only needed for `GET`, or if the receiver has no `url`. Every signature of the accepted formats must be
    /// right. May fetch keys, for at most the time-out of the key set. Needs the runtime of tokio for that.
    ///
    /// # Errors
    /// The request does not verify, the keys cannot be fetched, or the `seen` hook fails: [`Error::status`] says what to answer.
    pub async fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        url: Option<&str>,
        method: &str,
    ) -> Result<Event, Error> {
        let request = Request::new(Headers::new(headers), body, method, self.url.as_deref(), url)?;
        let mut signed = BTreeSet::new();
        for format in self.wanted(&request)? {
            match format {
                Format::Jws => self.jws(&request).await?,
                Format::StandardWebhooks => {
                    self.standard_webhooks(&request).await?;
                    signed.insert("id");
                }
                Format::HttpMessageSignatures => signed.extend(self.http(&request).await?),
            }
        }
        self.event(&request, signed).await
    }

    /// Lists the formats that the request has and this receiver verifies.
    fn wanted(&self, request: &Request<'_>) -> Result<Vec<Format>, VerificationError> {
        let has = |name| request.header(name).is_some();
        let is_present = |format: &Format| match format {
            Format::Jws => has("jws-signature"),
            Format::StandardWebhooks => has("webhook-signature"),
            Format::HttpMessageSignatures => has("signature") || has("signature-input"),
        };
        let present: Vec<_> = Format::ALL.into_iter().filter(is_present).collect();
        let is_accepted = |format: &Format| self.formats.contains(format);
        let wanted: Vec<_> =
            present.iter().copied().filter(|format| is_accepted(format) && self.can_verify(*format)).collect();
        if !wanted.is_empty() {
            return Ok(wanted);
        }
        if present.contains(&Format::StandardWebhooks) && is_accepted(&Format::StandardWebhooks) {
            let found = "there is neither a secret for `v1` nor the endpoint's id for `v1a`";
            let next = "add `secrets` or `endpoint` to the receiver's settings";
            return Err(VerificationError::new("secret", found, next));
        }
        if !present.is_empty() {
            let names: Vec<_> = present.into_iter().map(Format::as_str).collect();
            let found = format!("the request has {}, which this receiver does not verify", names.join(", "));
            let next = "compare `formats`, and the endpoint's `signatures`";
            return Err(VerificationError::new("no-signature", found, next));
        }
        let names = request.headers.names();
        let found = format!("there is no `jws-signature`, `webhook-signature` or `signature`; the headers are {names}");
        Err(VerificationError::new("no-signature", found, ALL_HEADERS))
    }

    fn can_verify(&self, format: Format) -> bool {
        let has_secret = format == Format::StandardWebhooks && !self.secrets.is_empty();
        has_secret || (self.keys.is_some() && (format != Format::StandardWebhooks || self.endpoint.is_some()))
    }

    async fn event(&self, request: &Request<'_>, mut signed: BTreeSet<&'static str>) -> Result<Event, Error> {
        let text = |name| request.header(name).map(str::to_owned);
        // Headers of CloudEvents (HTTP binding 1.0.2, section 3.1.3.2).
        let decoded = |name| request.header(name).map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let (mut source, mut kind) = (decoded("ce-source"), decoded("ce-type"));
        let media_type = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        if media_type.trim().eq_ignore_ascii_case("application/cloudevents+json") {
            let whole = json_object(request.body).unwrap_or_default();
            let member = |name| whole.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(of_body), Some(kind_of_body)) = (member("source"), member("type")) {
                (source, kind) = (Some(of_body), Some(kind_of_body));
                signed.extend(["source", "type"]);
            }
        }
        let id = text("webhook-id");
        let is_repeated = match (&self.seen, &id) {
            (Some(seen), Some(id)) => seen(id.clone()).await.map_err(Error::Seen)?,
            _ => false,
        };
        let attempt = request.header("signpost-attempt").and_then(|text| number(text, 9));
        let attempt = attempt.and_then(|number| u32::try_from(number).ok());
        let (replay, payload) = (text("signpost-replay"), request.payload.to_vec());
        Ok(Event { id, source, kind, attempt, replay, payload, signed, is_repeated })
    }

    /// Verifies a JWS (RFC 7515, appendix F).
    async fn jws(&self, request: &Request<'_>) -> Result<(), Error> {
        let field = request.needed("jws-signature")?;
        let parts: Vec<_> = field.split('.').collect();
        let [protected, middle, text] = parts[..] else {
            let found = format!("`jws-signature` has {} parts; expected `<header>..<signature>`", parts.len());
            return Err(VerificationError::new("malformed", found, UNCHANGED).into());
        };
        if !middle.is_empty() {
            let found = "the payload is inside `jws-signature`; expected nothing between the two dots";
            return Err(VerificationError::new("not-detached", found, "take the header as it arrived").into());
        }
        let (algorithm, header) = jws_header(protected)?;
        let signature = base64url(text).ok_or_else(|| {
            let found = "the signature is not base64url without padding";
            VerificationError::new("signature-malformed", found, UNCHANGED)
        })?;
        let kid = header.get("kid").and_then(Value::as_str).unwrap_or_default();
        let signed = format!("{protected}.{}", to_base64url(request.payload));
        self.with_key(kid, algorithm, &signature, |key| {
            if key.verifies(signed.as_bytes(), &signature) {
                return Ok(());
            }
            Err(request.mismatch("the header of the signature and the payload"))
        })
        .await
    }

    /// Verifies Standard Webhooks 1.0.0.
    async fn standard_webhooks(&self, request: &Request<'_>) -> Result<(), Error> {
        let (id, timestamp) = (request.needed("webhook-id")?, request.needed("webhook-timestamp")?);
        let signed_at = number(timestamp, 15).ok_or_else(|| {
            let found = format!("`webhook-timestamp` is `{timestamp}`; expected seconds since the Unix epoch");
            VerificationError::new("timestamp", found, UNCHANGED)
        })?;
        let entries = entries(request.needed("webhook-signature")?)?;
        let content = [format!("{id}.{timestamp}.").as_bytes(), request.payload].concat();
        let fits = |secret: &hmac::Key| {
            entries.iter().any(|(version, entry)| *version == "v1" && hmac::verify(secret, &content, entry).is_ok())
        };
        if !self.secrets.iter().any(fits) {
            let by_key = self.fits_v1a(&entries, &content).await?;
            if by_key && !self.secrets.is_empty() {
                let found = "`v1a` is valid, and no `v1` fits the secret: it is of another endpoint, or was replaced";
                let next = "enter the endpoint's present `signingSecret` (`whsec_…`)";
                return Err(VerificationError::new("secret", found, next).into());
            }
            if !by_key {
                let covers = "`webhook-id`, `webhook-timestamp` and the payload, under the endpoint's own keys";
                return Err(request.mismatch(covers).into());
            }
        }
        Ok(self.check_age(signed_at, "webhook-timestamp")?)
    }

    async fn fits_v1a(&self, entries: &[(&str, Vec<u8>)], content: &[u8]) -> Result<bool, KeysUnavailable> {
        let (Some(set), Some(endpoint)) = (&self.keys, &self.endpoint) else { return Ok(false) };
        let signatures: Vec<_> = entries.iter().filter(|(version, _)| *version == "v1a").collect();
        if signatures.is_empty() {
            return Ok(false);
        }
        let is_own = |key: &&Key| key.endpoint.as_ref() == Some(endpoint) && key.algorithm == Algorithm::EdDSA;
        let fits = |keys: &[Key]| {
            keys.iter().filter(is_own).any(|key| signatures.iter().any(|(_, entry)| key.verifies(content, entry)))
        };
        let known = set.keys().await?;
        Ok(fits(&known.keys) || fits(&set.keys_after(&known).await?.keys))
    }

    /// Verifies an HTTP message signature (RFC 9421) with `content-digest` (RFC 9530). Returns what it covers.
    async fn http(&self, request: &Request<'_>) -> Result<Vec<&'static str>, Error> {
        let (inputs, signatures) = (request.needed("signature-input")?, request.needed("signature")?);
        let input = Input::of_signpost(inputs).ok_or_else(|| {
            let found = format!("no signature has the tag `signpost`; `signature-input` is `{inputs}`");
            VerificationError::new("tag", found, "use the signature whose `tag` is `signpost`")
        })?;
        let (signature, algorithm) = check_form(&input, signatures)?;
        for name in input.components.iter().filter(|name| !name.starts_with('@')) {
            if request.header(name).is_none() {
                let found = format!("`{name}` is missing; the signature covers it");
                return Err(VerificationError::new("header-missing", found, ALL_HEADERS).into());
            }
        }
        let urls = request.urls();
        let [url, others @ ..] = &urls[..] else {
            let found = "the URL is not known, and the signature covers it";
            let next = "add `url` to the receiver, from the endpoint's settings";
            return Err(VerificationError::new("url", found, next).into());
        };
        self.with_key(input.parameter("keyid").unwrap_or_default(), algorithm, &signature, |key| {
            let fits = |url: &str| key.verifies(input.base(request, url).as_bytes(), &signature);
            if fits(url) {
                return Ok(());
            }
            if let Some(other) = others.iter().find(|other| fits(other)) {
                let found = format!("the signature is for `{other}`, and the URL here is `{url}`");
                let next = "build the URL from the endpoint's settings, not from what arrives behind a proxy";
                return Err(VerificationError::new("url", found, next));
            }
            let covers = input.components.join(", ");
            let found = format!("the signature does not fit; it covers {covers}, for the URL `{url}`");
            let next = "compare each with what arrived, and the URL with the endpoint's";
            Err(VerificationError::new("signature", found, next))
        })
        .await?;
        check_digest(request)?;
        let created = input.parameter("created").and_then(|text| number(text, 15)).ok_or_else(|| {
            let next = "refuse the request: Signpost always sends it";
            VerificationError::new("timestamp", "`created` is missing or not a number", next)
        })?;
        self.check_age(created, "created")?;
        let names = [("webhook-id", "id"), ("ce-source", "source"), ("ce-type", "type")];
        let covered = names.into_iter().filter(|(header, _)| input.components.contains(header));
        Ok(covered.map(|(_, name)| name).collect())
    }

    /// Finds the key that a signature names, and judges the signature by it.
    async fn with_key(
        &self,
        kid: &str,
        algorithm: Algorithm,
        signature: &[u8],
        judge: impl FnOnce(&Key) -> Result<(), VerificationError>,
    ) -> Result<(), Error> {
        if !is_uuid(kid) {
            let found = format!("the `kid` is `{}`; expected a UUID", kid.chars().take(60).collect::<String>());
            let next = "refuse the request, and put nothing but a UUID into a URL";
            return Err(VerificationError::new("kid-malformed", found, next).into());
        }
        let set = self.keys.as_ref().ok_or_else(|| {
            let next = "add `keys_url` to the receiver's settings";
            VerificationError::new("no-signature", "there are no keys to verify with", next)
        })?;
        let find = |keys: &[Key]| keys.iter().position(|key| key.kid == kid && key.endpoint.is_none());
        let mut known = set.keys().await?;
        let mut at = find(&known.keys);
        if at.is_none() {
            known = set.keys_after(&known).await?;
            at = find(&known.keys);
        }
        let key = at.map(|at| &known.keys[at]).ok_or_else(|| {
            let next =
                "refuse the request: the key has retired, or the request is for another tenant; compare the key URL";
            VerificationError::new("kid-unknown", format!("no key of the set has the `kid` `{kid}`"), next)
        })?;
        let expected = self.algorithm.unwrap_or(key.algorithm);
        if algorithm != key.algorithm || algorithm != expected {
            let found =
                format!("the signature names {algorithm}, and the key is for {}; expected {expected}", key.algorithm);
            let next = "refuse the request; accept the endpoint's `jwsAlgorithm` only";
            return Err(VerificationError::new("algorithm", found, next).into());
        }
        if signature.len() != key.signature_bytes {
            let (length, wanted) = (signature.len(), key.signature_bytes);
            let found = format!("the signature has {length} bytes; expected {wanted}, as {algorithm} has");
            let next = "look for a program that cuts long headers";
            return Err(VerificationError::new("signature-malformed", found, next).into());
        }
        Ok(judge(key)?)
    }

    fn check_age(&self, signed_at: u64, name: &str) -> Result<(), VerificationError> {
        let now = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let most = self.tolerance;
        if now.saturating_sub(signed_at) > most {
            let ago = now - signed_at;
            let found = format!("the signature is valid, and `{name}` is {ago} s ago; expected at most {most} s");
            let next = "compare your clock, and look for a queue in front of the receiver";
            return Err(VerificationError::new("too-old", found, next));
        }
        if signed_at.saturating_sub(now) > most {
            let found = format!("`{name}` is {} s ahead of the clock; expected at most {most} s", signed_at - now);
            return Err(VerificationError::new("from-the-future", found, "set the clock of the receiver by NTP"));
        }
        Ok(())
    }
}

/// Reads the header of a JWS.
fn jws_header(protected: &str) -> Result<(Algorithm, Map<String, Value>), VerificationError> {
    let header = base64url(protected).and_then(|text| json_object(&text)).filter(|header| !header.contains_key("crit"));
    let header = header.ok_or_else(|| {
        let found = "the first part of `jws-signature` is not base64url of JSON";
        VerificationError::new("malformed", found, UNCHANGED)
    })?;
    let name = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let algorithm = name.parse().map_err(|_| {
        VerificationError::new("algorithm", format!("`alg` is `{name}`; expected RS256, ES256 or EdDSA"), REFUSE)
    })?;
    Ok((algorithm, header))
}

/// Splits `webhook-signature` into versions and signatures.
fn entries(field: &str) -> Result<Vec<(&str, Vec<u8>)>, VerificationError> {
    let entry = |entry| {
        let parsed = str::split_once(entry, ',').and_then(|(version, text)| Some((version, base64(text)?)));
        parsed.ok_or_else(|| {
            let start: String = entry.chars().take(30).collect();
            let found =
                format!("an entry of `webhook-signature` is `{start}`; expected `v1,<base64>` or `v1a,<base64>`");
            VerificationError::new("signature-malformed", found, UNCHANGED)
        })
    };
    field.split(' ').filter(|one| !one.is_empty()).map(entry).collect()
}

/// Checks the form of an HTTP message signature. Returns the signature and the algorithm that it names.
fn check_form(input: &Input<'_>, signatures: &str) -> Result<(Vec<u8>, Algorithm), VerificationError> {
    if let Some(name) = REQUIRED.into_iter().find(|name| !input.components.contains(name)) {
        let found = format!("the signature does not cover `{name}`; it covers {}", input.components.join(", "));
        let next = "refuse the request: Signpost always covers it";
        return Err(VerificationError::new("component-missing", found, next));
    }
    let member = signature(signatures, input.label).ok_or_else(|| {
        let found = format!("`signature` has no member `{}`, which `signature-input` has", input.label);
        VerificationError::new("malformed", found, UNCHANGED)
    })?;
    let text = member.strip_prefix(':').and_then(|text| text.strip_suffix(':'));
    let signature = text.and_then(base64).ok_or_else(|| {
        let found = "the signature is not base64 between two colons";
        VerificationError::new("signature-malformed", found, UNCHANGED)
    })?;
    let name = input.parameter("alg").unwrap_or_default();
    let algorithm = Algorithm::ALL.into_iter().find(|one| one.http_name() == name).ok_or_else(|| {
        let expected = Algorithm::ALL.map(Algorithm::http_name).join(", ");
        VerificationError::new("algorithm", format!("`alg` is `{name}`; expected {expected}"), REFUSE)
    })?;
    Ok((signature, algorithm))
}

fn check_digest(request: &Request<'_>) -> Result<(), VerificationError> {
    let digest = format!("sha-256=:{}:", to_base64(digest::digest(&digest::SHA256, request.body).as_ref()));
    if request.header("content-digest") == Some(&digest) {
        return Ok(());
    }
    let error = request.mismatch("the digest of the body");
    if error.step() != "signature" {
        return Err(error);
    }
    let found = format!("the body of {} bytes does not have the signed digest", request.body.len());
    Err(VerificationError::new("digest", found, BEFORE_PARSER))
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn secret(text: &str) -> Result<hmac::Key, SettingsError> {
    let bytes = base64(text.strip_prefix("whsec_").unwrap_or(text)).filter(|bytes| (24..=64).contains(&bytes.len()));
    bytes.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes)).ok_or(SettingsError::Secret)
}
