//! `doctor`: the steps of a request to a receiver, one after the other, from this machine.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::Identity;
use serde_json::{Value, json};
use signpost_core::endpoint::target::TargetRules;
use url::Url;

use crate::args::Doctor;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::{Colour, Form, Output};

/// The default `timeoutSeconds` of an endpoint.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of an answer is shown.
const SHOWN_CHARACTERS: usize = 200;

/// The result of a step.
struct Finding {
    step: &'static str,
    status: &'static str,
    found: String,
    next: &'static str,
}

impl Finding {
    fn ok(step: &'static str, found: impl Into<String>) -> Self {
        Self { step, status: "ok", found: found.into(), next: "" }
    }

    fn fail(step: &'static str, found: impl Into<String>, next: &'static str) -> Self {
        Self { step, status: "fail", found: found.into(), next }
    }

    fn warn(step: &'static str, found: impl Into<String>, next: &'static str) -> Self {
        Self { step, status: "warn", found: found.into(), next }
    }

    fn json(&self) -> Value {
        json!({"step": self.step, "status": self.status, "found": self.found, "next": self.next})
    }
}

/// Examines a URL, and fails if a step fails.
pub async fn run(args: &Doctor, output: &Output) -> Outcome {
    let identity = identity(args)?;
    let findings = examine(args, identity).await;
    if output.form() == Form::Table {
        for finding in &findings {
            let status = format!("{:<4}", finding.status);
            output.line(&format!(
                "{}  {:<8}  {}",
                output.painted(&status, Colour::of_status(finding.status)),
                finding.step,
                finding.found
            ))?;
        }
    } else {
        let all: Vec<_> = findings.iter().map(Finding::json).collect();
        output.list(&all, &[], |_| Vec::new())?;
    }
    match findings.iter().find(|finding| finding.status == "fail") {
        None => Ok(()),
        Some(finding) => Err(Failure::refused(format!("{}: {}", finding.step, finding.found), finding.next)),
    }
}

/// Reads the client certificate and its key, if there are some.
fn identity(args: &Doctor) -> Outcome<Option<Identity>> {
    let (Some(certificate), Some(key)) = (&args.client_certificate, &args.client_key) else { return Ok(None) };
    let key = input::read_secret(key)?;
    let pem = format!("{}\n{}\n", input::read_text(certificate)?, key.reveal());
    let unfit = |error: reqwest::Error| {
        let what = format!("`{certificate}` and its key are not a client certificate: {}", root(&error));
        Failure::usage(what, "write the certificate and its key as PEM, without a passphrase, into a file each")
    };
    Identity::from_pem(pem.as_bytes()).map(Some).map_err(unfit)
}

/// Goes on as long as the next step makes sense.
async fn examine(args: &Doctor, identity: Option<Identity>) -> Vec<Finding> {
    let rules = TargetRules {
        dangerously_allow_http: args.allow_private,
        dangerously_allow_private_targets: args.allow_private,
        ..TargetRules::default()
    };
    let mut findings = Vec::new();
    let target = match rules.parse(&args.url) {
        Ok(target) => target,
        Err(error) => {
            findings.push(Finding::fail(
                "url",
                error.to_string(),
                "register a URL that Signpost may call (docs/endpoints.md)",
            ));
            return findings;
        }
    };
    let url = target.url().clone();
    findings.push(Finding::ok("url", url.as_str()));
    let addresses = match resolve(&url).await {
        Ok(addresses) => addresses,
        Err(found) => {
            findings.push(Finding::fail("dns", found, "add an A or AAAA record for the host, or correct the URL"));
            return findings;
        }
    };
    let texts: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::ok("dns", texts.join(", ")));
    let forbidden = |address: &SocketAddr| rules.vet_address(address.ip()).is_err();
    if let Some(address) = addresses.iter().find(|address| forbidden(address)) {
        let found = format!("{} is not an address of the public internet", address.ip());
        findings.push(Finding::fail(
            "address",
            found,
            "use a host that everyone can reach; on a local stack, add --allow-private",
        ));
        return findings;
    }
    findings.push(Finding::ok("address", "public, or allowed"));
    let Some(first) = addresses.first() else { return findings };
    let begin = Instant::now();
    match tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(first)).await {
        Ok(Ok(_)) => findings.push(Finding::ok("connect", format!("{first} in {} ms", begin.elapsed().as_millis()))),
        Ok(Err(error)) => {
            findings.push(Finding::fail(
                "connect",
                format!("{first}: {error}"),
                "start the receiver, and open its port in the firewall",
            ));
            return findings;
        }
        Err(_) => {
            let found = format!("{first} did not answer within {} s", PATIENCE.as_secs());
            findings.push(Finding::fail("connect", found, "open the port in the firewall, which drops packets"));
            return findings;
        }
    }
    findings.extend(ask(&url, identity).await);
    findings
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or(443);
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| format!("`{host}` does not resolve within {} s", PATIENCE.as_secs()))?;
    let found = found.map_err(|error| format!("`{host}` does not resolve: {error}"))?;
    let all: Vec<_> = found.collect();
    if all.is_empty() { Err(format!("`{host}` has no address")) } else { Ok(all) }
}

/// Sends the harmless question of a proof of ownership: `OPTIONS`, without a webhook.
async fn ask(url: &Url, identity: Option<Identity>) -> Vec<Finding> {
    let is_client_known = identity.is_some();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(PATIENCE);
    let client = identity.into_iter().fold(builder, reqwest::ClientBuilder::identity).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let found = format!("the HTTPS client cannot start: {}", root(&error));
            let next = if is_client_known {
                "check that the key is that of the client certificate"
            } else {
                "install the system's certificates"
            };
            return vec![Finding::fail("tls", found, next)];
        }
    };
    let begin = Instant::now();
    let call = client.request(http::Method::OPTIONS, url.as_str()).header("webhook-request-origin", "signpost");
    let answer = match call.header("user-agent", concat!("Signpost/", env!("CARGO_PKG_VERSION"))).send().await {
        Ok(answer) => answer,
        Err(error) => return vec![explain(&error, url, is_client_known)],
    };
    let mut findings = Vec::new();
    if url.scheme() == "https" {
        let about_client = if is_client_known {
            "the client certificate was not refused"
        } else {
            "no client certificate was required"
        };
        findings.push(Finding::ok("tls", format!("the certificate is valid for the host, and {about_client}")));
    }
    let (status, server) = (answer.status().as_u16(), header(&answer, "server"));
    let (allowed, location) = (header(&answer, "webhook-allowed-origin"), header(&answer, "location"));
    let is_firewall = ["cf-ray", "x-amzn-waf-action", "x-sucuri-id", "x-iinfo", "akamai-grn"]
        .iter()
        .any(|name| answer.headers().contains_key(*name));
    let elapsed = begin.elapsed();
    let text: String = answer
        .text()
        .await
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(SHOWN_CHARACTERS)
        .collect();
    let found = format!(
        "{status} in {} ms{}",
        elapsed.as_millis(),
        server.map_or_else(String::new, |server| format!(", from `{server}`"))
    );
    findings.push(match status {
        200..=299 => Finding::ok("answer", found),
        300..=399 => Finding::warn(
            "answer",
            format!("{found}, to {}", location.unwrap_or_default()),
            "register the URL of the redirect: Signpost does not follow it",
        ),
        401 | 403 if is_firewall => {
            Finding::fail("firewall", format!("{found}: {text}"), "let the path through the web application firewall")
        }
        401 | 403 => Finding::warn(
            "answer",
            format!("{found}: {text}"),
            "the receiver or a firewall asks for authentication; compare with the endpoint's `auth`",
        ),
        404 | 410 => Finding::warn(
            "answer",
            format!("{found}: {text}"),
            "check the path; some receivers answer so to OPTIONS only",
        ),
        405 | 501 => Finding::ok("answer", format!("{found}; the receiver does not know OPTIONS, which is fine")),
        _ => Finding::warn(
            "answer",
            format!("{found}: {text}"),
            "send a test event (`signpost endpoint test`), and see its record",
        ),
    });
    findings.push(allowed.map_or_else(
        || {
            Finding::warn(
                "proof",
                "no `webhook-allowed-origin`",
                "needed only if the endpoint has to prove itself (docs/verifying.md); an echo does as well",
            )
        },
        |allowed| Finding::ok("proof", format!("allows `{allowed}`")),
    ));
    findings
}

fn header(answer: &reqwest::Response, name: &str) -> Option<String> {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Says which step of the exchange failed.
fn explain(error: &reqwest::Error, url: &Url, is_client_known: bool) -> Finding {
    let text = root(error);
    let has = |words: &[&str]| words.iter().any(|word| text.to_ascii_lowercase().contains(word));
    if error.is_timeout() {
        return Finding::fail(
            "answer",
            format!("no answer within {} s", PATIENCE.as_secs()),
            "acknowledge first, and work on the event afterwards",
        );
    }
    if is_client_known && has(&["received fatal alert", "receivedalert", "alertreceived"]) {
        return Finding::fail(
            "tls",
            format!("the receiver refuses the client certificate: {text}"),
            "let the receiver trust the certificate's authority, or use a certificate that it trusts",
        );
    }
    if has(&["certificaterequired", "certificate required", "handshakefailure", "handshake failure"]) {
        return Finding::fail(
            "tls",
            text,
            "the receiver demands a client certificate: set the endpoint's `auth` to mtls, and add --client-certificate here",
        );
    }
    if has(&["expired"]) {
        return Finding::fail("tls", text, "renew the certificate");
    }
    if has(&["notvalidforname", "not valid for name", "not valid for"]) {
        return Finding::fail("tls", text, "install a certificate for the host of the URL");
    }
    if has(&["unknownissuer", "unknown issuer", "self-signed", "selfsigned", "causedasendentity"]) {
        return Finding::fail("tls", text, "install the whole chain, from an authority that everyone trusts");
    }
    if has(&["corrupt message", "invalid message", "invalidcontenttype"]) {
        return Finding::fail(
            "tls",
            format!("the port does not speak TLS: {text}"),
            "let the receiver serve HTTPS on this port",
        );
    }
    if url.scheme() == "https" && has(&["certificate", "tls"]) {
        return Finding::fail("tls", text, "correct the receiver's TLS settings");
    }
    Finding::fail("answer", text, "see the receiver's log: it closed the connection without an answer")
}

/// Returns the innermost cause, which names no URL: a query may hold a token.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
