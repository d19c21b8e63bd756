//! `verify`: each format, and wrong requests, each with a diagnosis of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use signpost_cli::verify::keys::PublishedKey;
use signpost_cli::verify::request::SavedRequest;
use signpost_cli::verify::{Report, Step, Trust, verify};
use signpost_core::signing::algorithm::Algorithm;

use crate::program::{NOWHERE, run, run_with_input};
use crate::signed::{BODY, ENDPOINT, SIGNED_AT, URL, Webhook, endpoint_keys, key_set, with_jws_header};

fn trust() -> Trust {
    Trust {
        keys: PublishedKey::parse_set(key_set().to_string().as_bytes()).unwrap(),
        secrets: vec![endpoint_keys(1).secret().clone()],
        endpoint: Some(ENDPOINT.to_owned()),
        url: URL.parse().ok(),
        algorithm: None,
        now: Some(SIGNED_AT + 10),
        tolerance: Duration::from_mins(5),
    }
}

fn report(webhook: &Webhook) -> Report {
    verify(&webhook.request, &trust())
}

#[test]
fn every_format_and_algorithm_verifies() {
    for algorithm in Algorithm::ALL {
        for webhook in [Webhook::jws(algorithm, "acme"), Webhook::http(algorithm, "acme")] {
            let report = report(&webhook);
            assert!(report.is_valid() && report.kid().is_some(), "{algorithm}: {report:?}");
        }
    }
    let report = report(&Webhook::standard(1));
    assert_eq!(report.checks[0].result.as_ref().unwrap().by, "v1 and v1a");
}

#[test]
fn a_get_verifies_without_the_query_of_the_endpoints_own_url() {
    let mut trust = trust();
    trust.url = "https://hooks.acme.example/in?key=a%20b".parse().ok();
    let mut webhook = Webhook::jws(Algorithm::RS256, "acme").to(&format!("/in?key=a%20b&{BODY}"));
    webhook.request.method = Some("GET".to_owned());
    webhook.request.body.clear();
    assert!(verify(&webhook.request, &trust).is_valid());
}

/// A wrong request: a name, the request, the step that fails, and words of the diagnosis.
type Case = (&'static str, Webhook, Step, &'static str);

fn jws() -> Webhook {
    Webhook::jws(Algorithm::RS256, "acme")
}

fn http() -> Webhook {
    Webhook::http(Algorithm::EdDSA, "acme")
}

fn standard() -> Webhook {
    Webhook::standard(1)
}

fn with_header(change: impl Fn(&mut serde_json::Value)) -> Webhook {
    jws().altered("jws-signature", |jws| with_jws_header(jws, &change))
}

fn wrong_requests() -> Vec<Case> {
    let unknown = "3b898542-d329-4d44-bb7d-f7a85988cf50";
    vec![
        ("a proxy removed the header", jws().without("jws-signature"), Step::NoSignature, "there is no `jws-signature`"),
        ("two dots became one", jws().altered("jws-signature", |jws| jws.replace("..", ".")), Step::Malformed, "has 2 parts"),
        ("the payload is in the JWS", jws().altered("jws-signature", |jws| jws.replace("..", ".e30.")), Step::NotDetached, "inside"),
        ("`alg` is none", with_header(|header| header["alg"] = json!("none")), Step::Algorithm, "`alg` is `none`"),
        ("`alg` is of another key", with_header(|header| header["alg"] = json!("ES256")), Step::Algorithm, "names ES256"),
        ("the kid is a path", with_header(|header| header["kid"] = json!("../../etc")), Step::KidMalformed, "`../../etc`"),
        // The header is signed, so a changed kid with a valid signature does not exist: this one is forged.
        ("the kid is unknown", with_header(|header| header["kid"] = json!(unknown)), Step::KidUnknown, unknown),
        ("another tenant's webhook", Webhook::jws(Algorithm::RS256, "other"), Step::WrongTenant, "another tenant"),
        ("the header was cut", jws().altered("jws-signature", |jws| jws[..jws.len() - 42].to_owned()), Step::SignatureMalformed, "bytes"),
        ("a number was spelled again", jws().with_body(&BODY.replace("10.50", "10.5")), Step::BodyReencoded, "`/amount`: it has `10.5`, and Signpost signed `10.50`"),
        ("a string was spelled again", jws().with_body(&BODY.replace("\\u0020", " ")), Step::BodyReencoded, "`/payer`"),
        ("the members were sorted", standard().with_body(r#"{"amount":10.50,"operationId":"payment-1","payer":"John\u0020Smith","status":"APPROVED","type":"OPERATION"}"#), Step::BodyReencoded, "order of the members"),
        ("whitespace was added", standard().with_body(&BODY.replace(",\"", ", \"")), Step::BodyReencoded, "between the JSON tokens"),
        ("a newline was added", http().with_body(&format!("{BODY}\n")), Step::BodyReencoded, "around the JSON"),
        ("the body was cut", jws().with("content-length", "107").with_body(&BODY[..50]), Step::BodyCut, "50 bytes"),
        ("a framework read the body", jws().with_body(""), Step::BodyMissing, "empty"),
        ("the amount is another", jws().with_body(&BODY.replace("10.50", "99.99")), Step::Signature, "does not fit"),
        ("the amount is another", http().with_body(&BODY.replace("10.50", "99.99")), Step::Digest, "signed digest"),
        ("the timestamp was removed", standard().without("webhook-timestamp"), Step::HeaderMissing, "`webhook-timestamp`"),
        ("the timestamp is a date", standard().with("webhook-timestamp", "2026-11-20"), Step::Timestamp, "`2026-11-20`"),
        ("the id is another", standard().with("webhook-id", "payment-2:5e20e4179b97"), Step::Signature, "`webhook-id`"),
        ("an entry is not base64", standard().with("webhook-signature", "v1,???"), Step::SignatureMalformed, "`v1,???`"),
        ("another endpoint's webhook", Webhook::standard(2), Step::WrongEndpoint, "ep_fedcba"),
        ("`signature-input` was removed", http().without("signature-input"), Step::HeaderMissing, "`signature-input`"),
        ("the tag is another", http().altered("signature-input", |input| input.replace("signpost", "other")), Step::Tag, "tag"),
        ("the URL is not covered", http().altered("signature-input", |input| input.replace(" \"@target-uri\"", "")), Step::ComponentMissing, "`@target-uri`"),
        ("a covered header was removed", http().without("ce-type"), Step::HeaderMissing, "`ce-type`"),
        ("a covered header is another", http().with("ce-type", "payment"), Step::Signature, "ce-type"),
        ("another tenant's message", Webhook::http(Algorithm::EdDSA, "other"), Step::WrongTenant, "another tenant"),
    ]
}

#[test]
fn each_wrong_request_has_a_diagnosis_of_its_own() {
    let cases = wrong_requests();
    assert!(cases.len() >= 20);
    for (name, webhook, step, words) in &cases {
        let report = report(webhook);
        let diagnosis = report.diagnosis().unwrap_or_else(|| panic!("{name}: it verifies"));
        assert_eq!(diagnosis.step, *step, "{name}: {diagnosis:?}");
        assert!(diagnosis.found.contains(words), "{name}: {diagnosis:?}");
        assert!(!diagnosis.next.is_empty(), "{name}: it says what to do");
    }
    let texts: BTreeSet<_> = cases.iter().map(|case| report(&case.1).diagnosis().unwrap().found.clone()).collect();
    assert_eq!(texts.len(), cases.len(), "no two requests have the same text");
}

/// A request, a change of what the receiver trusts, the step that fails, and why.
type ClockCase<'a> = (&'a Webhook, &'a dyn Fn(&mut Trust), Option<Step>, &'a str);

/// A saved request has no scheme. Only on this machine, a receiver has no certificate.
#[test]
fn without_the_endpoints_url_the_scheme_is_http_on_loopback_and_https_elsewhere() {
    let cases = [
        ("http://127.0.0.1:9000/in", "127.0.0.1:9000", None),
        ("http://localhost/in", "localhost", None),
        ("http://[::1]:9000/in", "[::1]:9000", None),
        ("https://127.0.0.1:9000/in", "127.0.0.1:9000", Some(Step::Url)),
        ("https://hooks.acme.example/in", "hooks.acme.example", None),
        ("http://hooks.acme.example/in", "hooks.acme.example", Some(Step::Url)),
        ("http://127.0.0.1.acme.example/in", "127.0.0.1.acme.example", Some(Step::Url)),
    ];
    for (url, host, expected) in cases {
        let webhook = Webhook::http_at(Algorithm::ES256, "acme", url, SIGNED_AT).with("host", host);
        let found =
            verify(&webhook.request, &Trust { url: None, ..trust() }).diagnosis().map(|diagnosis| diagnosis.step);
        assert_eq!(found, expected, "{url}");
    }
}

#[test]
fn the_clock_and_the_settings_have_diagnoses_too() {
    let of = |webhook: &Webhook, change: &dyn Fn(&mut Trust)| {
        let mut trust = trust();
        change(&mut trust);
        verify(&webhook.request, &trust).diagnosis().map(|diagnosis| diagnosis.step)
    };
    let cases: [ClockCase; 8] = [
        (&standard(), &|trust| trust.now = Some(SIGNED_AT + 301), Some(Step::TooOld), "older than five minutes"),
        (&http(), &|trust| trust.now = Some(SIGNED_AT + 301), Some(Step::TooOld), "`created` counts"),
        (&standard(), &|trust| trust.now = Some(SIGNED_AT - 301), Some(Step::FromTheFuture), "the clock is behind"),
        (&standard(), &|trust| trust.now = None, None, "any age"),
        (
            &http(),
            &|trust| trust.url = "https://other.example/in".parse().ok(),
            Some(Step::Url),
            "the host says which URL fits",
        ),
        (
            &jws(),
            &|trust| trust.algorithm = Some(Algorithm::ES256),
            Some(Step::Algorithm),
            "the endpoint signs with another",
        ),
        (
            &standard(),
            &|trust| trust.secrets = vec![endpoint_keys(2).secret().clone()],
            Some(Step::Secret),
            "another secret",
        ),
        (
            &standard(),
            &|trust| (trust.secrets.clear(), trust.keys.clear()).0,
            Some(Step::Secret),
            "nothing to verify with",
        ),
    ];
    for (webhook, change, step, why) in cases {
        assert_eq!(of(webhook, change), step, "{why}");
    }
}

/// A sender chooses the body, so no body may cost much.
#[test]
fn a_long_body_is_searched_for_a_bounded_time() {
    let numbers = vec!["1"; 100_000].join(",");
    let nested = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    for body in [format!("[{numbers}]"), format!(r#"{{"a":[{numbers}],"b":1,"c":2,"d":3,"e":4}}"#), nested] {
        for webhook in [jws(), standard(), http()] {
            let begin = std::time::Instant::now();
            assert!(!report(&webhook.with_body(&body)).is_valid());
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?} for {} bytes", begin.elapsed(), body.len());
        }
    }
}

#[test]
fn bodies_that_are_not_json_have_a_diagnosis() {
    for body in ["{", "\\u", "\"\\ud800\"", "\u{feff}{}", "[1,]", "é\\", "\0"] {
        assert!(report(&jws().with_body(body)).diagnosis().is_some(), "{body}");
    }
}

#[test]
fn saved_requests_of_every_kind_are_read() {
    let webhook = jws();
    let message = String::from_utf8(webhook.message()).unwrap();
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let verbose: String = head.lines().flat_map(|line| ["> ", line, "\n"]).collect();
    let response = head.replacen("POST /in HTTP/1.1", "HTTP/1.1 200 OK", 1);
    let headers: Vec<_> =
        webhook.request.headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let request = json!({"method": "POST", "url": URL, "headers": headers, "postData": {"mimeType": "application/json", "text": BODY}});
    let noise = json!({"request": {"method": "GET", "url": "https://other.example/", "headers": []}});
    let cases = [
        ("an HTTP message", message.clone()),
        ("one with Unix line ends", message.replace("\r\n", "\n")),
        (
            "one that an editor ended with a newline",
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}\n", body.len()),
        ),
        ("`curl -v`", format!("* Connected\n{verbose}>\n{body}")),
        ("`curl -i` of an inspector", format!("{response}\r\n\r\n{body}")),
        ("HAR", json!({"log": {"entries": [noise, {"request": request}]}}).to_string()),
    ];
    for (kind, text) in cases {
        let requests = SavedRequest::parse_all(text.as_bytes()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(requests.len(), 1, "{kind}");
        assert!(verify(&requests[0], &trust()).is_valid(), "{kind}: {:?}", verify(&requests[0], &trust()));
    }
    for bad in ["", "no header at all", "{}", "{\"log\":1}"] {
        assert!(SavedRequest::parse_all(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn the_program_exits_with_0_for_a_valid_request_and_with_1_for_another() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify");
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("keys.json"), key_set().to_string()).unwrap();
    std::fs::write(path("secret.txt"), format!("{}\n", endpoint_keys(1).secret().written().reveal())).unwrap();
    std::fs::write(path("valid.txt"), standard().message()).unwrap();

    let secret = path("secret.txt");
    let valid = run(NOWHERE, &["verify", &path("valid.txt"), "--secret-file", &secret, "--any-age"]);
    assert_eq!((valid.code, valid.stdout.as_str(), valid.stderr.as_str()), (0, "✓ standard-webhooks  v1\n", ""));

    let old = run(NOWHERE, &["verify", &path("valid.txt"), "--secret-file", &secret]);
    assert_eq!(old.code, 1);
    assert!(old.stderr.contains("add --any-age"), "{}", old.stderr);

    let wrong = String::from_utf8(jws().with_body(&BODY.replace("10.50", "10.5")).message()).unwrap();
    let args = ["verify", "-", "--keys", &path("keys.json"), "--output", "json"];
    let wrong = run_with_input(NOWHERE, &args, &wrong);
    assert_eq!(wrong.code, 1);
    let report: serde_json::Value = serde_json::from_str(&wrong.stdout).unwrap();
    assert_eq!((&report["valid"], &report["checks"][0]["step"]), (&json!(false), &json!("body-reencoded")));
    let error: serde_json::Value = serde_json::from_str(&wrong.stderr).unwrap();
    assert_eq!(error["error"]["next"], "verify the bytes as they arrived, before any JSON parser");

    for (args, code, words) in [
        (vec!["verify", "nothing.txt", "--secret-file", secret.as_str()], 3, "there is no file `nothing.txt`"),
        (vec!["verify", "-", "--secret-file", "-"], 2, "stdin"),
        (vec!["verify", "-"], 2, "--keys"),
    ] {
        let ran = run(NOWHERE, &args);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}
