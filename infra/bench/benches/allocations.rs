//! Allocations of the pure parts that every event and delivery uses: `cargo bench --package signpost-bench --bench
//! allocations`. A program of its own, because counting costs time that the other figures must not contain.

#![expect(clippy::expect_used, reason = "a failed benchmark ends, and the message names what is missing")]
#![expect(clippy::print_stdout, reason = "the output is the purpose of the program")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use allocation_counter::measure;
use serde_json::{Value, json};
use signpost_core::delivery::Delivery;
use signpost_core::delivery::request::{AttemptStart, Keyring, Request};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Endpoint, EndpointId, SignatureFormat};
use signpost_core::event::Event;
use signpost_core::input::json::minify;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use uuid::Uuid;

/// A payload of about `bytes` bytes.
fn payload(bytes: usize) -> Value {
    let entry = json!({"title": "Transfer to John Smith", "amount": 10.25, "iban": "CZ6508000000192000145399"});
    let entries = vec![entry.clone(); (bytes / entry.to_string().len()).max(1)];
    json!({"status": "APPROVED", "entries": entries})
}

fn main() {
    let mut all = Vec::new();
    for bytes in [1_000, 50_000] {
        let payload = payload(bytes);
        let event = json!({
            "specversion": "1.0", "id": "bench-1", "source": "/core", "type": "example", "tenant": "acme",
            "time": "2026-01-31T10:00:00Z", "data": payload,
        });
        let (spread, event) = (format!("{payload:#}"), event.to_string());
        let parsed = Event::parse(&event).expect("an event");
        let message = Delivery::message(&EndpointId::new(Uuid::nil()), &parsed, 0);
        let endpoint = Endpoint {
            signatures: vec![SignatureFormat::StandardWebhooks],
            ..Endpoint::new("https://receiver.example/in")
        };
        let target = TargetRules::INTERNET.parse(&endpoint.url).expect("a public URL");
        let keys = EndpointKeys::new([7; 32], [7; 32]).expect("keys");
        let keyring = Keyring { endpoint_keys: vec![Arc::new(keys)], ..Keyring::default() };
        let start = AttemptStart { number: 1, unix_seconds: 1_800_000_000, replay: None };
        let parts: [(&str, &dyn Fn()); 4] = [
            ("minify a payload", &|| drop(black_box(minify(black_box(&spread))))),
            ("parse an event", &|| drop(black_box(Event::parse(black_box(&event))))),
            ("parse a delivery", &|| drop(black_box(Delivery::parse(black_box(&message))))),
            ("build and sign a request, HMAC and Ed25519", &|| {
                drop(black_box(Request::build(black_box(&parsed), &endpoint, target.clone(), start, &keyring)));
            }),
        ];
        for (part, run) in parts {
            run(); // What is kept for later is not counted.
            let counted = measure(run);
            println!("{part:44}{bytes:>8} B{:>8} allocations{:>10} bytes", counted.count_total, counted.bytes_total);
            all.push(json!({
                "part": part, "payloadBytes": bytes, "allocations": counted.count_total, "bytes": counted.bytes_total,
            }));
        }
    }
    let program = std::env::current_exe().expect("a process has a file");
    let target = program.ancestors().filter(|folder| folder.join("CACHEDIR.TAG").is_file()).last();
    let path = target.unwrap_or(Path::new(".")).join("bench-allocations.json");
    let text = serde_json::to_string_pretty(&json!({"allocations": all})).expect("it is JSON");
    fs::write(path, text).expect("cargo's target folder can be written");
}
