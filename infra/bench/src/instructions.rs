//! The pure parts that every delivery uses, run repeatedly so that callgrind counts their instructions.

use std::hint::black_box;

use signpost_core::delivery::Delivery;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;
use signpost_core::event::projection::project;
use signpost_core::input::json::{minify, without_whitespace};
use uuid::Uuid;

use crate::floor::signing;
use crate::world::{SIGNATURES, event, payload};

/// The number of runs of a part. Divide the count of instructions by it.
const TIMES: u32 = 100;

/// Runs a part with a payload of about a kilobyte. `nothing` runs only the common setup.
pub(crate) fn run(part: &str) {
    let body = payload(1_000).to_string();
    let spread = format!("{:#}", payload(1_000));
    let event = event("acme", 1_000).to_string();
    let message = Delivery::message(&EndpointId::new(Uuid::nil()), &Event::parse(&event).expect("an event"), 0);
    let times = |part: &dyn Fn()| (0..TIMES).for_each(|_| part());
    match part {
        "nothing" => {}
        "minify" => times(&|| drop(black_box(minify(black_box(&spread))))),
        "escape" => times(&|| drop(black_box(without_whitespace(black_box(&body))))),
        "project" => times(&|| drop(black_box(project(black_box(&body), |name| name != "entries")))),
        "parse-event" => times(&|| drop(black_box(Event::parse(black_box(&event))))),
        "parse-delivery" => times(&|| drop(black_box(Delivery::parse(black_box(&message))))),
        name => {
            let signature = SIGNATURES.into_iter().find(|one| one.name == name);
            let Some(signature) = signature else { crate::fail(&format!("part `{name}` is unknown")) };
            let sign = signing(signature, body.as_bytes());
            times(&sign);
        }
    }
}
