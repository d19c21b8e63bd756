//! Invalid and hostile inputs. Each is either accepted, and then reads back as the same, or refused with faults that
//! fit into an answer.

use proptest::prelude::*;
use signpost_core::delivery::Delivery;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::family::{Payload, status_of};
use signpost_core::event::projection::project;
use signpost_core::event::{Event, MAX_EVENT_BYTES, RoutingFacts};
use signpost_core::input::fault::MAX_FAULTS;
use signpost_core::input::json::{is_whitespace_anywhere, without_whitespace};
use signpost_core::input::query;

/// Events to start from: one of a family with many checks, and one without a family.
const SEEDS: [&str; 2] = [
    r#"{"specversion":"1.0","id":"s-1","source":"/core","type":"session","tenant":"acme","time":"2026-01-31T10:00:00Z",
      "data":{"sessionId":"s","stage":"Accounts","status":"Finished","isSca":true,"details":{"accounts":[{"accountNumber":"BE 1"}]},
      "bank":{"id":75,"secondaryIdentifiers":[{"type":"1","value":"x"}]},"earliestAccountDate":"2019-02-26T00:00:00.000Z"}}"#,
    r#"{"specversion":"1.0","id":"c-1","source":"urn:x","type":"custom","tenant":"acme","ext":1,"data":{"a b":[1.50,{"c":"\u0041\ud83d\ude00"}]}}"#,
];

/// Generates the replacements of an edit: structure, escapes, extremes, characters with a special meaning.
fn snippet() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ -~]{1,6}",
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "null",
            "{}",
            "[]",
            "\"\"",
            "\\",
            "\"",
            "\\u0000",
            "\\ud800",
            "\u{ffff}",
            "\u{2028}",
            "1e999",
            "-0",
            "99999999999999999999",
            ",\"id\":\"twice\"",
            "\"data\":",
            "0/0",
            "2019-02-26T",
            "\u{0}",
            "é",
            "~",
            "/",
        ])
        .prop_map(str::to_owned),
    ]
}

fn mutated() -> impl Strategy<Value = String> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, snippet()), 0..5);
    (prop::sample::select(SEEDS.to_vec()), edits).prop_map(|(seed, edits)| {
        let mut characters: Vec<char> = seed.chars().collect();
        for (at, length, text) in edits {
            let start = at.index(characters.len() + 1);
            let end = (start + length).min(characters.len());
            characters.splice(start..end, text.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_input_reads_back_as_the_same_or_is_refused(text in mutated()) {
        match Event::parse(&text) {
            Ok(event) => {
                prop_assert_eq!(&Event::parse(event.json()).unwrap(), &event);
                prop_assert_eq!(&Event::reread(event.json()).unwrap(), &event);
                let payload = Payload::new(event.data());
                let RoutingFacts { status, stage, .. } = event.routing_facts();
                prop_assert_eq!((status, stage), (status_of(&event.kind, &payload), payload.text("stage")));
                let endpoint = EndpointId::parse(&format!("ep_{:032x}", 1)).unwrap();
                let delivery = Delivery { endpoint: endpoint.clone(), event: event.clone(), arrived_unix_ms: 7 };
                prop_assert_eq!(Delivery::parse(&Delivery::message(&endpoint, &event, 7)).unwrap(), delivery);
                let body = without_whitespace(event.data());
                prop_assert!(!body.contains(is_whitespace_anywhere));
                let whole = project(event.data(), |_| true);
                prop_assert_eq!(&*whole, event.data());
                prop_assert!(!query::encode(event.data()).contains(|one: char| one.is_whitespace() || !one.is_ascii()));
            }
            Err(faults) => {
                prop_assert!((1..=MAX_FAULTS + 1).contains(&faults.len()));
                prop_assert!(serde_json::to_string(&faults).unwrap().len() < MAX_EVENT_BYTES);
            }
        }
    }

    #[test]
    fn no_text_causes_a_panic(text in any::<String>()) {
        prop_assert!(Event::parse(&text).is_err());
        prop_assert!(Event::parse_batch(&text).is_err());
        prop_assert!(Event::reread(&text).is_err());
        prop_assert!(Delivery::parse(&text).is_err());
    }
}
