//! Measures the cost of a delivery: `make bench`. See `docs/performance.md`.
//!
//! ```text
//! bench [ONLY]                  the functions, against a stand-in for AWS; writes target/bench.json
//! bench endpoints               fanout for a tenant with 1,000 endpoints
//! bench latency                 latency, its hops, and isolation on the local stack, with its settings in the environment
//! bench hops                    the hops alone
//! bench soak MINUTES              200 events a second on the local stack: memory, connections, duplicates
//! bench instructions PART       a pure part, run repeatedly, so that callgrind counts its instructions
//! ```

#![expect(clippy::print_stdout, reason = "the output is the purpose of the program")]
#![expect(clippy::expect_used, reason = "a failed benchmark ends, and the message names what is missing")]
#![expect(clippy::cast_precision_loss, reason = "counts that are far below 2^52")]

mod aws;
mod cold;
mod cost;
mod dynamodb;
mod endpoints;
mod floor;
mod hops;
mod instructions;
mod kms;
mod latency;
mod machine;
mod path;
mod process;
mod receiver;
mod report;
mod soak;
mod world;

use std::env;

use serde_json::json;
use signpost_testkit::local_stack::LocalStack;

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
        ["endpoints"] => many_endpoints().await,
        ["latency"] => latency::run().await,
        ["hops"] => {
            let hops = hops::measure(&LocalStack::from_env().await).await;
            report::write("bench-hops.json", &json!({ "hops": hops }));
        }
        ["soak", minutes] => soak::run(number(minutes)).await,
        ["instructions", part] => instructions::run(part),
        [] => functions("").await,
        [only] => functions(only).await,
        _ => fail("usage: bench [ONLY] | endpoints | latency | hops | soak MINUTES | instructions PART"),
    }
}

/// Measures the functions, and prints and writes the figures.
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
    say(&format!("verified the signatures of {verified} requests"));
    let all = json!({"machine": machine, "ways": ways, "coldStarts": cold_starts, "dollarsPerMillion": dollars});
    report::write("bench.json", &all);
}

/// Measures `fanout` for a tenant with many endpoints, and prints the figures.
async fn many_endpoints() {
    let world = World::make().await;
    say("fanout for a tenant with 1,000 endpoints");
    for (wanting, batch, measured) in endpoints::measure(&world).await {
        println!("{wanting} want each event, batches of {batch}: {}", json!(measured));
    }
}

/// Ends the benchmark, because later figures would mislead.
fn fail(what: &str) -> ! {
    eprintln!("bench: {what}");
    std::process::exit(1)
}

fn say(text: &str) {
    println!("· {text}");
}
