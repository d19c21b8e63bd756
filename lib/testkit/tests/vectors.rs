//! The test vectors for receivers, `docs/vectors.json`: webhooks that Signpost's own code signs with fixed keys at fixed times,
//! and whether a receiver accepts them.
//!
//! `SIGNPOST_WRITE_VECTORS=1 cargo test -p signpost-testkit --test vectors` writes the file.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::too_many_lines, clippy::too_many_arguments, reason = "tables, and a row of a table")]
#![expect(clippy::assigning_clones, reason = "speed does not matter here")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use signpost_cli::verify::keys::PublishedKey;
use signpost_cli::verify::request::SavedRequest;
use signpost_cli::verify::{Trust, verify};
use signpost_core::delivery::ReplayKind;
use signpost_core::delivery::request::{AttemptStart, Keyring, Request};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{CloudEvents, Endpoint, EndpointId, Method, SignatureFormat};
use signpost_core::event::{Event, TenantId};
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::signer::{Signer, TenantSigner};
use signpost_core::signing::standard_webhooks::{EndpointKeys, SigningSecret};
use signpost_core::signing::{jws, kid, standard_webhooks};

const SIGNED_AT: u64 = 1_795_183_441;
const NOW: u64 = SIGNED_AT + 2;
const TOLERANCE: u64 = 300;
const URL: &str = "https://hooks.acme.example/in";
const URL_WITH_QUERY: &str = "https://hooks.acme.example/in?from=signpost";
const ENDPOINT: &str = "ep_0123456789abcdef0123456789abcdef";
const OTHER_ENDPOINT: &str = "ep_fedcba9876543210fedcba9876543210";
const UNKNOWN_KID: &str = "00000000-0000-8000-8000-000000000000";
const DATA: &str =
    r#"{"type":"OPERATION","operationId":"payment-1","status":"APPROVED","payer":"John Smith","amount":10.50}"#;

/// Key pairs that `openssl genpkey` made, from the tests of `lib/core`.
fn signer(algorithm: Algorithm, tenant: &str) -> (TenantSigner, PublicKey) {
    let (id, private, public) = match algorithm {
        Algorithm::EdDSA => (
            "070725bf-7dac-4712-b61a-420ba3701261",
            include_str!("../../core/tests/data/ed25519.pem"),
            include_str!("../../core/tests/data/ed25519.public.pem"),
        ),
        Algorithm::ES256 => (
            "070725bf-7dac-4712-b61a-420ba3701262",
            include_str!("../../core/tests/data/p256.pem"),
            include_str!("../../core/tests/data/p256.public.pem"),
        ),
        Algorithm::RS256 => (
            "070725bf-7dac-4712-b61a-420ba3701263",
            include_str!("../../core/tests/data/rsa-2048.pem"),
            include_str!("../../core/tests/data/rsa-2048.public.pem"),
        ),
    };
    let der =
        |pem: &str| STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let public = PublicKey::from_spki(id, &der(public)).unwrap();
    let signer = Arc::new(Signer::from_pkcs8(&public, &der(private)).unwrap());
    (TenantSigner::new(signer, &TenantId::parse(tenant).unwrap()), public)
}

/// The keys of an endpoint's Standard Webhooks. Endpoint [`ENDPOINT`] has 1 and, before a rotation, 3. The other one has 2.
fn endpoint_keys(number: u8) -> Arc<EndpointKeys> {
    Arc::new(EndpointKeys::new([number; 32], [number; 32]).unwrap())
}

fn secret(number: u8) -> String {
    endpoint_keys(number).secret().written().reveal().to_owned()
}

/// The key set of a tenant, as Signpost publishes it.
fn key_set(tenant: &str, endpoints: &[(&str, u8)]) -> Value {
    let mut keys: Vec<Value> = Vec::new();
    for algorithm in Algorithm::ALL {
        let (signer, public) = signer(algorithm, tenant);
        keys.push(json!(public.jwk(signer.kid().to_owned())));
    }
    for (endpoint, number) in endpoints {
        let (id, key) = (EndpointId::parse(endpoint).unwrap(), endpoint_keys(*number).public_key());
        let public = PublicKey::from_ed25519(endpoint, key.bytes()).unwrap();
        let kid = kid::of_endpoint_key(&TenantId::parse(tenant).unwrap(), &id, &key);
        keys.push(json!(public.jwk(kid).of_endpoint(&id)));
    }
    json!({"keys": keys})
}

fn key_sets() -> Value {
    json!({"acme": key_set("acme", &[(ENDPOINT, 1), (OTHER_ENDPOINT, 2)]), "globex": key_set("globex", &[])})
}

/// Settings of the endpoint and of the attempt, from which Signpost makes a request.
struct Sent {
    tenant: &'static str,
    data: String,
    endpoint: Endpoint,
    algorithm: Algorithm,
    keys: Vec<u8>,
    at: u64,
    attempt: u32,
    replay: Option<ReplayKind>,
}

impl Sent {
    fn new(format: SignatureFormat, algorithm: Algorithm) -> Self {
        let endpoint = Endpoint { signatures: vec![format], jws_algorithm: algorithm, ..Endpoint::new(URL) };
        let data = DATA.to_owned();
        Self { tenant: "acme", data, endpoint, algorithm, keys: vec![1], at: SIGNED_AT, attempt: 1, replay: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn event(&self) -> Event {
        let text = format!(
            r#"{{"specversion":"1.0","id":"payment-1-approved","source":"/core/caf%C3%A9","type":"operation","tenant":"{}","time":"2026-11-20T16:00:00Z","data":{}}}"#,
            self.tenant, self.data
        );
        Event::parse(&text).unwrap()
    }

    fn request(&self) -> Saved {
        let event = self.event();
        let target = TargetRules::INTERNET.parse(&self.endpoint.url).unwrap();
        let start = AttemptStart { number: self.attempt, unix_seconds: self.at, replay: self.replay };
        let keyring = Keyring {
            signer: Some(signer(self.algorithm, self.tenant).0),
            endpoint_keys: self.keys.iter().map(|number| endpoint_keys(*number)).collect(),
        };
        let request = Request::build(&event, &self.endpoint, target, start, &keyring).unwrap();
        let headers = request.headers.into_iter().map(|(name, value)| (name.into_owned(), value));
        Saved {
            method: request.method.as_str().to_owned(),
            url: request.target.url().to_string(),
            headers: [("host".to_owned(), "hooks.acme.example".to_owned())].into_iter().chain(headers).collect(),
            body: request.body.into_bytes(),
        }
    }
}

/// A request as it arrives.
#[derive(Clone)]
struct Saved {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Saved {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(one, _)| one != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn alter(&mut self, name: &str, change: impl FnOnce(&str) -> String) {
        let value = change(self.header(name).unwrap());
        self.set(name, &value);
    }

    fn replace(&mut self, name: &str, from: &str, to: &str) {
        self.alter(name, |text| {
            assert!(text.contains(from), "`{text}` has `{from}`");
            text.replace(from, to)
        });
    }

    fn remove(&mut self, name: &str) {
        let before = self.headers.len();
        self.headers.retain(|(one, _)| one != name);
        assert_eq!(self.headers.len() + 1, before, "{name} was there");
    }

    /// Writes the header of the JWS again, with a change.
    fn jws_header(&mut self, change: impl FnOnce(&mut Value)) {
        self.alter("jws-signature", |jws| {
            let (header, rest) = jws.split_once('.').unwrap();
            let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
            change(&mut header);
            format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
        });
    }

    fn body_replace(&mut self, from: &str, to: &str) {
        let body = String::from_utf8(self.body.clone()).unwrap();
        assert!(body.contains(from), "`{body}` has `{from}`");
        self.body = body.replace(from, to).into_bytes();
    }

    fn json(&self) -> Value {
        json!({"method": self.method, "url": self.url, "headers": self.headers, "body": STANDARD.encode(&self.body)})
    }

    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers = value["headers"].as_array().unwrap();
        Self {
            method: text(&value["method"]),
            url: text(&value["url"]),
            headers: headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            body: STANDARD.decode(text(&value["body"])).unwrap(),
        }
    }
}

/// The vectors, in the order of the file.
struct Vectors(Vec<Value>);

impl Vectors {
    #[expect(clippy::needless_pass_by_value, reason = "JSON")]
    fn add(
        &mut self,
        name: &str,
        why: &str,
        (format, algorithm): (&str, &str),
        receiver: Value,
        now: u64,
        request: &Saved,
        expected: Value,
    ) {
        self.0.push(json!({
            "name": name, "why": why, "format": format, "algorithm": algorithm, "receiver": receiver, "now": now,
            "request": request.json(), "expected": expected,
        }));
    }

    fn accepted(&mut self, name: &str, why: &str, receiver: Value, sent: &Sent, request: &Saved, signed: &[&str]) {
        let has_type = sent.endpoint.cloud_events != CloudEvents::None;
        let event = json!({
            "id": sent.event().key.webhook_id(),
            "source": has_type.then_some("/core/caf%C3%A9"),
            "type": has_type.then_some("operation"),
            "attempt": sent.attempt,
            "replay": sent.replay.map(ReplayKind::as_str),
            "signed": signed,
        });
        let expected = json!({"accepted": true, "event": event});
        self.add(name, why, names(sent), receiver, NOW, request, expected);
    }

    /// Adds a request that a receiver refuses. The first of `steps` is that of `signpost verify`. Receivers may name any of them.
    fn refused(&mut self, name: &str, why: &str, steps: &[&str], sent: &Sent, change: impl FnOnce(&mut Saved)) {
        self.refused_by(name, why, steps, receiver_of(sent), NOW, sent, change);
    }

    fn refused_by(
        &mut self,
        name: &str,
        why: &str,
        steps: &[&str],
        receiver: Value,
        now: u64,
        sent: &Sent,
        change: impl FnOnce(&mut Saved),
    ) {
        let mut request = sent.request();
        change(&mut request);
        let expected = json!({"accepted": false, "steps": steps});
        self.add(name, why, names(sent), receiver, now, &request, expected);
    }
}

fn names(sent: &Sent) -> (&'static str, &'static str) {
    match &sent.endpoint.signatures[..] {
        [SignatureFormat::Jws] => ("jws", sent.algorithm.as_str()),
        [SignatureFormat::StandardWebhooks] => ("standard-webhooks", "v1, v1a"),
        [SignatureFormat::HttpMessageSignatures] => ("http-message-signatures", sent.algorithm.http_signature_name()),
        _ => ("all", sent.algorithm.as_str()),
    }
}

/// The settings of a receiver that verifies the formats of an endpoint.
fn receiver_of(sent: &Sent) -> Value {
    let mut receiver = json!({"keySet": "acme", "url": sent.endpoint.url});
    if sent.endpoint.signatures.contains(&SignatureFormat::StandardWebhooks) {
        receiver["endpoint"] = json!(ENDPOINT);
        receiver["secrets"] = json!([secret(1)]);
    }
    if sent.endpoint.signatures != [SignatureFormat::StandardWebhooks] {
        receiver["algorithm"] = json!(sent.algorithm.as_str());
    }
    receiver
}

const JWS: SignatureFormat = SignatureFormat::Jws;
const STANDARD_WEBHOOKS: SignatureFormat = SignatureFormat::StandardWebhooks;
const HTTP: SignatureFormat = SignatureFormat::HttpMessageSignatures;

/// The parts of the event that a format covers.
fn covered(format: SignatureFormat, cloud_events: CloudEvents) -> Vec<&'static str> {
    let structured = cloud_events == CloudEvents::Structured;
    match format {
        SignatureFormat::Jws if structured => vec!["source", "type"],
        SignatureFormat::Jws => vec![],
        SignatureFormat::StandardWebhooks if structured => vec!["id", "source", "type"],
        SignatureFormat::StandardWebhooks => vec!["id"],
        SignatureFormat::HttpMessageSignatures if cloud_events == CloudEvents::None => vec!["id"],
        SignatureFormat::HttpMessageSignatures => vec!["id", "source", "type"],
    }
}

type Change = fn(&mut Sent);

fn accepted(all: &mut Vectors) {
    let label = |format: SignatureFormat| match format {
        SignatureFormat::Jws => "JWS",
        SignatureFormat::StandardWebhooks => "Standard Webhooks",
        SignatureFormat::HttpMessageSignatures => "HTTP message signature",
    };
    for (format, algorithms) in
        [(JWS, &Algorithm::ALL[..]), (STANDARD_WEBHOOKS, &[Algorithm::RS256]), (HTTP, &Algorithm::ALL)]
    {
        for algorithm in algorithms {
            let sent = Sent::new(format, *algorithm);
            let name = if format == STANDARD_WEBHOOKS {
                label(format).to_owned()
            } else {
                format!("{} {algorithm}", label(format))
            };
            let signed = covered(format, CloudEvents::Headers);
            all.accepted(&name, "as Signpost sends it by default", receiver_of(&sent), &sent, &sent.request(), &signed);
        }
        let variants: [(&str, &str, Change); 7] = [
            ("PUT", "the method is the endpoint's", |sent| sent.endpoint.method = Method::Put),
            ("GET", "the payload is the query", |sent| sent.endpoint.method = Method::Get),
            (
                "GET with a query of the endpoint",
                "the endpoint's own query is first, and JWS and Standard Webhooks do not sign it",
                |sent| {
                    sent.endpoint.method = Method::Get;
                    sent.endpoint.url = URL_WITH_QUERY.to_owned();
                },
            ),
            ("structured", "the body is the whole event", |sent| sent.endpoint.cloud_events = CloudEvents::Structured),
            ("without CloudEvents", "there is no `ce-` header", |sent| sent.endpoint.cloud_events = CloudEvents::None),
            ("unicode", "the body is UTF-8, and whitespace in strings is escaped", |sent| {
                sent.data = r#"{"type":"OPERATION","operationId":"payment-1","status":"APPROVED","payer":"Žofie 🦊\u2028Nováková"}"#.to_owned();
            }),
            ("replayed", "the third attempt, of a replay", |sent| {
                (sent.attempt, sent.replay) = (3, Some(ReplayKind::Replay));
            }),
        ];
        for (name, why, change) in variants {
            let sent = Sent::new(format, Algorithm::RS256).with(change);
            let signed = covered(format, sent.endpoint.cloud_events);
            all.accepted(
                &format!("{}, {name}", label(format)),
                why,
                receiver_of(&sent),
                &sent,
                &sent.request(),
                &signed,
            );
        }
    }
    let standard = || Sent::new(STANDARD_WEBHOOKS, Algorithm::RS256);
    let signed = ["id"];
    let sent = standard();
    all.accepted(
        "Standard Webhooks v1",
        "a secret is enough",
        json!({"secrets": [secret(1)]}),
        &sent,
        &sent.request(),
        &signed,
    );
    let by_key = json!({"keySet": "acme", "endpoint": ENDPOINT});
    all.accepted(
        "Standard Webhooks v1a",
        "the endpoint's public key is enough",
        by_key,
        &sent,
        &sent.request(),
        &signed,
    );
    let rotating = standard().with(|sent| sent.keys = vec![3, 1]);
    let request = rotating.request();
    all.accepted(
        "Standard Webhooks v1, first of two",
        "the secret is being replaced; one of two entries is right",
        json!({"secrets": [secret(3)]}),
        &rotating,
        &request,
        &signed,
    );
    all.accepted(
        "Standard Webhooks v1, second of two",
        "the secret is being replaced; one of two entries is right",
        json!({"secrets": [secret(1)]}),
        &rotating,
        &request,
        &signed,
    );
    all.accepted(
        "Standard Webhooks v1, two secrets",
        "the receiver knows the old secret and the new one",
        json!({"secrets": [secret(2), secret(3)]}),
        &rotating,
        &request,
        &signed,
    );
    let mut upper = sent.request();
    upper.headers = upper.headers.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect();
    all.accepted(
        "Standard Webhooks, header names in upper case",
        "header names have no case",
        json!({"secrets": [secret(1)]}),
        &sent,
        &upper,
        &signed,
    );
    for (name, at) in [("at the end of the tolerance", NOW - TOLERANCE), ("ahead by the tolerance", NOW + TOLERANCE)] {
        for format in [STANDARD_WEBHOOKS, HTTP] {
            let sent = Sent::new(format, Algorithm::EdDSA).with(|sent| sent.at = at);
            let why = "five minutes are allowed";
            all.accepted(
                &format!("{}, {name}", label(format)),
                why,
                receiver_of(&sent),
                &sent,
                &sent.request(),
                &covered(format, CloudEvents::Headers),
            );
        }
    }
    let http = Sent::new(HTTP, Algorithm::ES256);
    let mut request = http.request();
    request.alter("signature-input", |input| {
        format!("proxy=(\"@method\");created=1;keyid=\"a,(b)\";tag=\"proxy\", {input}")
    });
    request.alter("signature", |signature| format!("proxy=:AAAA:, {signature}"));
    all.accepted(
        "HTTP message signature beside that of a proxy",
        "`tag` says which one is Signpost's",
        receiver_of(&http),
        &http,
        &request,
        &["id", "source", "type"],
    );
    let every =
        Sent::new(JWS, Algorithm::RS256).with(|sent| sent.endpoint.signatures = vec![JWS, STANDARD_WEBHOOKS, HTTP]);
    all.accepted(
        "all formats",
        "every signature is right",
        receiver_of(&every),
        &every,
        &every.request(),
        &["id", "source", "type"],
    );

    let mut empty = Sent::new(JWS, Algorithm::EdDSA).request();
    empty.body.clear();
    let signature = jws::sign_detached(&signer(Algorithm::EdDSA, "acme").0, b"").unwrap();
    empty.set("jws-signature", &signature);
    let sent = Sent::new(JWS, Algorithm::EdDSA);
    all.accepted("JWS, empty body", "an empty body can be signed, too", receiver_of(&sent), &sent, &empty, &[]);
    let mut empty = standard().request();
    empty.body.clear();
    let id = empty.header("webhook-id").unwrap().to_owned();
    empty.set("webhook-signature", &standard_webhooks::sign(&[endpoint_keys(1)], &id, SIGNED_AT, b"").unwrap());
    let sent = standard();
    all.accepted(
        "Standard Webhooks, empty body",
        "an empty body can be signed, too",
        receiver_of(&sent),
        &sent,
        &empty,
        &signed,
    );
}

fn refused_jws(all: &mut Vectors) {
    let sent = |algorithm| Sent::new(JWS, algorithm);
    let rsa = sent(Algorithm::RS256);
    all.refused("no signature", "a proxy removed it, or the request is a stranger's", &["no-signature"], &rsa, |one| {
        one.remove("jws-signature");
    });
    all.refused("JWS, unknown kid", "no key of the set has it", &["kid-unknown"], &rsa, |one| {
        one.jws_header(|header| header["kid"] = json!(UNKNOWN_KID));
    });
    all.refused(
        "JWS, kid that escapes from a URL",
        "only a UUID may get into a URL",
        &["kid-malformed"],
        &rsa,
        |one| one.jws_header(|header| header["kid"] = json!("../../globex/keys")),
    );
    all.refused("JWS, no kid", "Signpost always names the key", &["kid-malformed"], &rsa, |one| {
        one.jws_header(|header| drop(header.as_object_mut().unwrap().remove("kid")));
    });
    for algorithm in Algorithm::ALL {
        let other = sent(algorithm).with(|sent| sent.tenant = "globex");
        all.refused(
            &format!("JWS {algorithm}, another tenant's"),
            "the private key is the same, and the kid is not",
            &["wrong-tenant", "kid-unknown"],
            &other,
            |_| {},
        );
        all.refused(
            &format!("JWS {algorithm}, changed body"),
            "somebody changed a number",
            &["signature"],
            &sent(algorithm),
            |one| one.body_replace("10.50", "99.50"),
        );
        let name = format!("JWS {algorithm}, cut signature");
        all.refused(&name, "a proxy cut the header", &["signature-malformed"], &sent(algorithm), |one| {
            one.alter("jws-signature", |jws| jws[..jws.len() - 4].to_owned());
        });
    }
    for alg in ["none", "HS256", "RS512", "rs256"] {
        all.refused(&format!("JWS, alg {alg}"), "Signpost has RS256, ES256 and EdDSA", &["algorithm"], &rsa, |one| {
            one.jws_header(|header| header["alg"] = json!(alg));
        });
    }
    all.refused("JWS, alg none without a signature", "the classic forgery", &["algorithm"], &rsa, |one| {
        one.jws_header(|header| header["alg"] = json!("none"));
        one.alter("jws-signature", |jws| jws.rsplit_once('.').unwrap().0.to_owned() + ".");
    });
    all.refused("JWS, algorithm of another key", "the key is for RS256", &["algorithm"], &rsa, |one| {
        one.jws_header(|header| header["alg"] = json!("EdDSA"));
    });
    let wrong = sent(Algorithm::EdDSA);
    let receiver = json!({"keySet": "acme", "url": URL, "algorithm": "RS256"});
    all.refused_by(
        "JWS, not the endpoint's algorithm",
        "the signature is right, and the endpoint signs with RS256",
        &["algorithm"],
        receiver,
        NOW,
        &wrong,
        |_| {},
    );
    all.refused("JWS, two parts", "expected `<header>..<signature>`", &["malformed"], &rsa, |one| {
        one.replace("jws-signature", "..", ".");
    });
    all.refused(
        "JWS, payload inside",
        "a detached signature has nothing between the dots",
        &["not-detached"],
        &rsa,
        |one| {
            let payload = URL_SAFE_NO_PAD.encode(&one.body);
            one.replace("jws-signature", "..", &format!(".{payload}."));
        },
    );
    all.refused("JWS, header is not JSON", "the first part is not base64url of JSON", &["malformed"], &rsa, |one| {
        one.alter("jws-signature", |jws| format!("e30x{}", &jws[4..]));
    });
    all.refused(
        "JWS, signature in base64",
        "base64url has `-` and `_`, and no padding",
        &["signature-malformed"],
        &rsa,
        |one| one.alter("jws-signature", |jws| format!("{jws}==")),
    );
    all.refused(
        "JWS, body encoded again with spaces",
        "a program parsed the body and wrote it again",
        &["body-reencoded"],
        &rsa,
        |one| one.body_replace("\":", "\": "),
    );
    all.refused(
        "JWS, body encoded again with another number",
        "a program parsed the body and wrote it again",
        &["body-reencoded", "signature"],
        &rsa,
        |one| one.body_replace("10.50", "10.5"),
    );
    all.refused("JWS, body missing", "another program read the body first", &["body-missing"], &rsa, |one| {
        one.body.clear();
    });
    all.refused("JWS, body cut", "`content-length` says more", &["body-cut"], &rsa, |one| {
        let length = one.body.len().to_string();
        one.set("content-length", &length);
        one.body.truncate(50);
    });
    all.refused(
        "JWS, body encoded again and shorter",
        "`content-length` says more, but the body is whole",
        &["body-reencoded"],
        &rsa,
        |one| {
            let length = one.body.len().to_string();
            one.set("content-length", &length);
            one.body_replace("\\u0020", "");
        },
    );
    let get = sent(Algorithm::RS256).with(|sent| sent.endpoint.method = Method::Get);
    all.refused("JWS, GET with a changed query", "the payload is the query", &["signature"], &get, |one| {
        one.url = one.url.replace("APPROVED", "REJECTED");
    });
    let put = sent(Algorithm::ES256).with(|sent| sent.endpoint.method = Method::Put);
    all.refused("JWS, PUT with a changed body", "the payload is the body", &["signature"], &put, |one| {
        one.body_replace("10.50", "10.51");
    });
}

fn refused_standard_webhooks(all: &mut Vectors) {
    let sent = Sent::new(STANDARD_WEBHOOKS, Algorithm::RS256);
    let by_secret = || json!({"secrets": [secret(1)]});
    let by_key = || json!({"keySet": "acme", "endpoint": ENDPOINT});
    for name in ["webhook-id", "webhook-timestamp"] {
        all.refused(
            &format!("Standard Webhooks without {name}"),
            "the signature covers it",
            &["header-missing"],
            &sent,
            |one| one.remove(name),
        );
    }
    all.refused(
        "Standard Webhooks, moment is not a number",
        "expected seconds since the Unix epoch",
        &["timestamp"],
        &sent,
        |one| one.set("webhook-timestamp", "2026-11-20T16:00:00Z"),
    );
    for (name, receiver) in [("v1", by_secret()), ("v1a", by_key())] {
        let row = |what: &str| format!("Standard Webhooks {name}, {what}");
        all.refused_by(
            &row("too old"),
            "signed 301 s ago",
            &["too-old"],
            receiver.clone(),
            SIGNED_AT + 301,
            &sent,
            |_| {},
        );
        all.refused_by(
            &row("from the future"),
            "signed 301 s ahead of the clock",
            &["from-the-future"],
            receiver.clone(),
            SIGNED_AT - 301,
            &sent,
            |_| {},
        );
        all.refused_by(
            &row("changed body"),
            "the signature covers it",
            &["signature"],
            receiver.clone(),
            NOW,
            &sent,
            |one| one.body_replace("10.50", "99.50"),
        );
        all.refused_by(
            &row("changed id"),
            "the signature covers it",
            &["signature"],
            receiver.clone(),
            NOW,
            &sent,
            |one| one.set("webhook-id", "payment-2-approved:5e20e4179b97"),
        );
        all.refused_by(
            &row("changed moment"),
            "the signature covers it",
            &["signature"],
            receiver.clone(),
            NOW,
            &sent,
            |one| one.set("webhook-timestamp", &NOW.to_string()),
        );
        all.refused_by(
            &row("body encoded again"),
            "a program parsed the body and wrote it again",
            &["body-reencoded"],
            receiver.clone(),
            NOW,
            &sent,
            |one| one.body_replace(",\"", ", \""),
        );
        all.refused_by(
            &row("body missing"),
            "another program read the body first",
            &["body-missing"],
            receiver.clone(),
            NOW,
            &sent,
            |one| one.body.clear(),
        );
        let version = format!("{name},");
        all.refused_by(
            &row("entry of another version"),
            "no entry is of a known version",
            &["signature"],
            receiver.clone(),
            NOW,
            &sent,
            |one| {
                one.alter("webhook-signature", |text| {
                    text.split(' ')
                        .filter(|entry| entry.starts_with(&version))
                        .map(|entry| entry.replace(&version, "v9,"))
                        .collect()
                });
            },
        );
    }
    all.refused(
        "Standard Webhooks, entry without a version",
        "expected `v1,<base64>`",
        &["signature-malformed"],
        &sent,
        |one| one.alter("webhook-signature", |text| text.replace("v1,", "")),
    );
    all.refused(
        "Standard Webhooks, entry that is not base64",
        "expected `v1,<base64>`",
        &["signature-malformed"],
        &sent,
        |one| one.set("webhook-signature", "v1,%%%"),
    );
    let other = Sent::new(STANDARD_WEBHOOKS, Algorithm::RS256).with(|sent| sent.keys = vec![2]);
    all.refused_by(
        "Standard Webhooks v1 of another endpoint",
        "the secret is not this endpoint's",
        &["signature"],
        by_secret(),
        NOW,
        &other,
        |_| {},
    );
    all.refused_by(
        "Standard Webhooks v1a of another endpoint",
        "the key is not this endpoint's",
        &["wrong-endpoint", "signature"],
        by_key(),
        NOW,
        &other,
        |_| {},
    );
    let wrong = json!({"keySet": "acme", "endpoint": ENDPOINT, "secrets": [secret(2)]});
    all.refused_by(
        "Standard Webhooks, v1a right and v1 wrong",
        "the receiver's secret was replaced",
        &["secret"],
        wrong,
        NOW,
        &sent,
        |_| {},
    );
}

fn refused_http(all: &mut Vectors) {
    let rsa = Sent::new(HTTP, Algorithm::RS256);
    for name in ["signature", "signature-input", "content-digest", "webhook-id", "ce-type", "ce-source"] {
        all.refused(
            &format!("HTTP message signature without {name}"),
            "the signature covers it, or needs it",
            &["header-missing"],
            &rsa,
            |one| one.remove(name),
        );
    }
    for algorithm in Algorithm::ALL {
        let sent = Sent::new(HTTP, algorithm);
        let row = |what: &str| format!("HTTP message signature {algorithm}, {what}");
        all.refused(&row("changed body"), "the body does not have the signed digest", &["digest"], &sent, |one| {
            one.body_replace("10.50", "99.50");
        });
        all.refused(&row("changed body and digest"), "the signature covers the digest", &["signature"], &sent, |one| {
            one.body_replace("10.50", "99.50");
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &one.body);
            let digest = format!("sha-256=:{}:", STANDARD.encode(digest.as_ref()));
            one.set("content-digest", &digest);
        });
        let other = Sent::new(HTTP, algorithm).with(|sent| sent.tenant = "globex");
        all.refused(
            &row("another tenant's"),
            "the private key is the same, and the kid is not",
            &["wrong-tenant", "kid-unknown"],
            &other,
            |_| {},
        );
        all.refused(
            &row("another URL"),
            "the signature covers the URL",
            &["url", "signature"],
            &Sent::new(HTTP, algorithm).with(|sent| sent.endpoint.url = "https://hooks.acme.example/other".to_owned()),
            |_| {},
        );
    }
    // The receiver's own URL is not the one that Signpost called.
    for vector in &mut all.0 {
        if vector["name"].as_str().unwrap().ends_with("another URL") {
            vector["receiver"]["url"] = json!(URL);
        }
    }
    all.refused(
        "HTTP message signature, another method",
        "the signature covers the method",
        &["signature"],
        &rsa,
        |one| one.method = "PUT".to_owned(),
    );
    let get = Sent::new(HTTP, Algorithm::RS256).with(|sent| sent.endpoint.method = Method::Get);
    all.refused(
        "HTTP message signature, GET with a changed query",
        "the signature covers the URL",
        &["signature"],
        &get,
        |one| one.url = one.url.replace("APPROVED", "REJECTED"),
    );
    all.refused(
        "HTTP message signature, changed type",
        "the signature covers `ce-type`",
        &["signature"],
        &rsa,
        |one| one.set("ce-type", "activation"),
    );
    all.refused("HTTP message signature, another tag", "the signature has another purpose", &["tag"], &rsa, |one| {
        one.replace("signature-input", "tag=\"signpost\"", "tag=\"other\"");
    });
    for component in ["@method", "@target-uri", "content-digest", "webhook-id"] {
        let name = format!("HTTP message signature that does not cover {component}");
        all.refused(&name, "it proves too little", &["component-missing"], &rsa, |one| {
            let quoted = format!("\"{component}\" ");
            one.replace("signature-input", &quoted, "");
        });
    }
    all.refused(
        "HTTP message signature, alg hmac-sha256",
        "Signpost never signs like that",
        &["algorithm"],
        &rsa,
        |one| one.replace("signature-input", "rsa-v1_5-sha256", "hmac-sha256"),
    );
    all.refused(
        "HTTP message signature, algorithm of another key",
        "the key is for RS256",
        &["algorithm"],
        &rsa,
        |one| one.replace("signature-input", "rsa-v1_5-sha256", "ed25519"),
    );
    let receiver = json!({"keySet": "acme", "url": URL, "algorithm": "RS256"});
    let wrong = Sent::new(HTTP, Algorithm::ES256);
    all.refused_by(
        "HTTP message signature, not the endpoint's algorithm",
        "the endpoint signs with RS256",
        &["algorithm"],
        receiver,
        NOW,
        &wrong,
        |_| {},
    );
    let kid = signer(Algorithm::RS256, "acme").0.kid().to_owned();
    all.refused("HTTP message signature, unknown keyid", "no key of the set has it", &["kid-unknown"], &rsa, |one| {
        one.replace("signature-input", &kid, UNKNOWN_KID);
    });
    all.refused(
        "HTTP message signature, keyid that escapes from a URL",
        "only a UUID may get into a URL",
        &["kid-malformed"],
        &rsa,
        |one| one.replace("signature-input", &kid, "../keys"),
    );
    all.refused(
        "HTTP message signature, changed moment",
        "the signature covers `created`",
        &["signature"],
        &rsa,
        |one| {
            one.replace("signature-input", &SIGNED_AT.to_string(), &NOW.to_string());
        },
    );
    all.refused(
        "HTTP message signature that is not base64",
        "expected base64 between two colons",
        &["signature-malformed"],
        &rsa,
        |one| one.set("signature", "sig=:%%%:"),
    );
    all.refused(
        "HTTP message signature under another label",
        "`signature` lacks the member that `signature-input` has",
        &["malformed"],
        &rsa,
        |one| one.replace("signature", "sig=", "gis="),
    );
    all.refused_by(
        "HTTP message signature, too old",
        "signed 301 s ago",
        &["too-old"],
        receiver_of(&rsa),
        SIGNED_AT + 301,
        &rsa,
        |_| {},
    );
    all.refused_by(
        "HTTP message signature, from the future",
        "signed 301 s ahead of the clock",
        &["from-the-future"],
        receiver_of(&rsa),
        SIGNED_AT - 301,
        &rsa,
        |_| {},
    );
    let every =
        Sent::new(JWS, Algorithm::RS256).with(|sent| sent.endpoint.signatures = vec![JWS, STANDARD_WEBHOOKS, HTTP]);
    all.refused(
        "all formats, of which one is wrong",
        "JWS and Standard Webhooks do not cover the type",
        &["signature"],
        &every,
        |one| one.set("ce-type", "activation"),
    );
}

fn vectors() -> Vec<Value> {
    let mut all = Vectors(Vec::new());
    accepted(&mut all);
    refused_jws(&mut all);
    refused_standard_webhooks(&mut all);
    refused_http(&mut all);
    all.0
}

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors.json"))
}

/// Removes the signatures of ES256, which differ each time.
fn without_random(vector: &Value) -> Value {
    let mut vector = vector.clone();
    let algorithm = vector["algorithm"].as_str().unwrap();
    if ["ES256", "ecdsa-p256-sha256"].contains(&algorithm) {
        for pair in vector["request"]["headers"].as_array_mut().unwrap() {
            if ["jws-signature", "signature"].contains(&pair[0].as_str().unwrap()) {
                pair[1] = json!("random");
            }
        }
    }
    vector
}

/// Asks `signpost verify`. Returns nothing if it accepts the request, or else the step that failed.
fn step(vector: &Value, sets: &Value) -> Option<&'static str> {
    let (receiver, saved) = (&vector["receiver"], Saved::of(&vector["request"]));
    let keys = receiver["keySet"]
        .as_str()
        .map_or_else(Vec::new, |name| PublishedKey::parse_set(sets[name].to_string().as_bytes()).unwrap());
    let secrets = receiver["secrets"].as_array().into_iter().flatten();
    let trust = Trust {
        keys,
        secrets: secrets.map(|secret| SigningSecret::parse(secret.as_str().unwrap()).unwrap()).collect(),
        endpoint: receiver["endpoint"].as_str().map(str::to_owned),
        url: receiver["url"].as_str().map(|url| url.parse().unwrap()),
        algorithm: receiver["algorithm"]
            .as_str()
            .map(|name| Algorithm::ALL.into_iter().find(|one| one.as_str() == name).unwrap()),
        now: vector["now"].as_u64(),
        tolerance: Duration::from_secs(TOLERANCE),
    };
    let headers = saved.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let request = SavedRequest { method: Some(saved.method), target: Some(saved.url), headers, body: saved.body };
    verify(&request, &trust).diagnosis().map(|diagnosis| diagnosis.step.as_str())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a request of a developer, and not a setting")]
fn the_file_of_vectors_is_what_signpost_signs() {
    let mut made = vectors();
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let old: Value = serde_json::from_str(&text).unwrap_or_default();
    let old: Map<String, Value> = old["vectors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()))
        .collect();
    let sets = key_sets();
    let (mut names, mut wrong) = (std::collections::HashSet::new(), Vec::new());
    for vector in &mut made {
        let name = vector["name"].as_str().unwrap().to_owned();
        assert!(names.insert(name.clone()), "`{name}` is there once");
        if let Some(old) = old.get(&name).filter(|old| without_random(old) == without_random(vector)) {
            *vector = old.clone();
        }
        let expected = vector["expected"]["steps"][0].as_str();
        let found = step(vector, &sets);
        if found != expected {
            wrong.push(format!("{name}: `signpost verify` says {found:?}; expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = made.iter().filter(|one| one["expected"]["accepted"] == false).count();
    assert!(refused >= 20 && made.len() - refused >= 20, "{refused} of {} are refused", made.len());
    let content = json!({
        "about": "Webhooks that Signpost signed with keys for tests. docs/receivers.md describes the members.",
        "version": 1, "toleranceSeconds": TOLERANCE, "keySets": sets, "vectors": made,
    });
    let content = serde_json::to_string_pretty(&content).unwrap() + "\n";
    if std::env::var_os("SIGNPOST_WRITE_VECTORS").is_some() {
        std::fs::write(file(), &content).unwrap();
    }
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    assert!(
        text == content,
        "docs/vectors.json differs from what Signpost signs; write it with SIGNPOST_WRITE_VECTORS=1"
    );
}
