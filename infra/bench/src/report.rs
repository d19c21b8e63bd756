//! The report: tables to print, and files for machines.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::cold::ColdStart;
use crate::cost::Dollars;
use crate::path::Way;

pub(crate) fn ways(ways: &[Way]) {
    if ways.is_empty() {
        return;
    }
    println!();
    println!(
        "{:19}{:>8}{:>6} │{:>8}{:>8}{:>8}{:>8}{:>10} │{:>7}{:>7}{:>7} │{:>6}{:>9}",
        "CPU-ms per event",
        "payload",
        "batch",
        "ingest",
        "fanout",
        "deliver",
        "all",
        "ev/s/core",
        "sign",
        "POST",
        "over",
        "MB",
        "bytes",
    );
    for way in ways {
        println!(
            "{:19}{:>8}{:>6} │{:>8.3}{:>8.3}{:>8.3}{:>8.3}{:>10.0} │{:>7.3}{:>7.3}{:>7.3} │{:>6.1}{:>9.0}",
            way.signature,
            way.payload_bytes,
            way.batch,
            way.ingest.cpu_ms,
            way.fanout.cpu_ms,
            way.deliver.cpu_ms,
            way.cpu_ms(),
            1_000.0 / way.cpu_ms(),
            way.signing_ms,
            way.post_ms,
            way.deliver_over_floor_ms(),
            way.deliver.peak_rss_mb,
            way.ingest.bytes + way.fanout.bytes + way.deliver.bytes,
        );
    }
    println!(
        "over: deliver without its signatures and one POST. MB: the peak memory of deliver. bytes: to and from AWS and the receiver."
    );
    println!();
    println!("{:52}{:>6}{:>9}{:>9}{:>9}{:>9}", "AWS per event", "batch", "calls", "items", "units", "bytes");
    let mut told: Vec<(usize, usize)> = Vec::new();
    for way in ways {
        if told.contains(&(way.payload_bytes, way.batch)) {
            continue; // The signature makes no difference.
        }
        told.push((way.payload_bytes, way.batch));
        for (function, measured) in [("ingest", &way.ingest), ("fanout", &way.fanout), ("deliver", &way.deliver)] {
            let per_event = |count: u64| count as f64 / measured.events as f64;
            for (operation, count) in &measured.counts.0 {
                println!(
                    "{:52}{:>6}{:>9.3}{:>9.3}{:>9.3}{:>9.0}",
                    format!("{} B, {function} {operation}", way.payload_bytes),
                    way.batch,
                    per_event(count.calls),
                    per_event(count.items),
                    per_event(count.units),
                    per_event(count.bytes),
                );
            }
        }
    }
}

pub(crate) fn cold_starts(all: &[ColdStart]) {
    if all.is_empty() {
        return;
    }
    println!();
    println!(
        "{:16}{:>10}{:>8}{:>14}{:>8}{:>8}{:>12}",
        "cold start, ms", "to /next", "max", "to first done", "max", "CPU", "zipped, MB"
    );
    for one in all {
        println!(
            "{:16}{:>10.1}{:>8.1}{:>14.1}{:>8.1}{:>8.1}{:>12.2}",
            one.function,
            one.first_next_median,
            one.first_next_max,
            one.first_done_median,
            one.first_done_max,
            one.cpu_mean,
            one.zipped_mb,
        );
    }
    println!();
}

pub(crate) fn dollars(all: &[Dollars]) {
    if all.is_empty() {
        return;
    }
    println!(
        "{:46}{:>7}{:>8}{:>7}{:>10}{:>6}{:>6}{:>8}",
        "dollars per million", "API", "Lambda", "SQS", "DynamoDB", "KMS", "logs", "all"
    );
    for one in all {
        println!(
            "{:46}{:>7.2}{:>8.2}{:>7.2}{:>10.2}{:>6.2}{:>6.2}{:>8.2}",
            one.way,
            one.api_gateway,
            one.lambda,
            one.sqs,
            one.dynamodb,
            one.kms,
            one.logs,
            one.total(),
        );
    }
    println!();
}

/// Writes a file into cargo's target folder: the outermost, because the folder of a platform has a tag, too.
pub(crate) fn write(name: &str, value: &Value) {
    let program = std::env::current_exe().expect("a process has a file");
    let target = program.ancestors().filter(|folder| folder.join("CACHEDIR.TAG").is_file()).last();
    let path = target.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let text = serde_json::to_string_pretty(value).expect("it is JSON");
    fs::write(&path, text)
        .unwrap_or_else(|error| crate::fail(&format!("{} cannot be written: {error}", path.display())));
    crate::say(&format!("All figures are in {}", path.display()));
}
