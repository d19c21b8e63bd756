//! Measures what a delivery costs: `make bench`. See `docs/performance.md`.
//!
//! ```text
//! bench [ONLY]                  the functions, against a stand-in for AWS; writes target/bench.json
//! bench latency                 latency and isolation on the local stack, in whose settings it runs
//! bench instructions PART       a pure part, once and again, for callgrind to count
//! ```

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends, and the message says what was missing")]
#![expect(clippy::cast_precision_loss, reason = "counts that are far below 2^52")]

mod aws;
mod cold;
mod cost;
mod dynamodb;
mod floor;
mod instructions;
mod kms;
mod latency;
mod machine;
mod path;
mod process;
mod receiver;
mod report;
mod world;

use std::env;

use serde_json::json;

use crate::world::World;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments[..] {
        ["post", url, bytes, at_once] => {
            println!("{}", floor::post(url, number(bytes), number(at_once)).await);
        }
        ["sign", name, bytes] => println!("{}", floor::sign(name, number(bytes))),
        ["latency"] => latency::run().await,
        ["instructions", part] => instructions::run(part),
        [] => functions("").await,
        [only] => functions(only).await,
        _ => fail("usage: bench [ONLY] | latency | instructions PART"),
    }
}

/// Measures the functions.
async fn functions(only: &str) {
    let machine = machine::describe();
    say(&format!("On {machine}"));
    let world = World::make().await;
    say("The way of an event: signature, payload bytes, batch size");
    let ways = path::measure(&world, only).await;
    report::ways(&ways);
    say("Cold starts");
    let cold_starts = cold::measure(&world, only).await;
    report::cold_starts(&cold_starts);
    let dollars = if "dollars".contains(only) { cost::measure(&world).await } else { Vec::new() };
    report::dollars(&dollars);
    let (_, _, verified) = world.receiver.so_far();
    say(&format!("{verified} requests had their signatures verified"));
    let all = json!({"machine": machine, "ways": ways, "coldStarts": cold_starts, "dollarsPerMillion": dollars});
    report::write("bench.json", &all);
}

/// Ends the benchmark: whatever it would tell from here on would mislead.
fn fail(what: &str) -> ! {
    eprintln!("bench: {what}");
    std::process::exit(1)
}

fn say(text: &str) {
    println!("· {text}");
}
