//! Benchmarks of the pure parts that every delivery uses: `cargo bench --package signpost-bench`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use signpost_core::event::Event;
use signpost_core::event::projection::project;
use signpost_core::input::json::{minify, without_whitespace};

/// Builds a JSON object of about `bytes` bytes, on several lines.
fn spread(bytes: usize) -> String {
    let entry = "    {\n      \"title\": \"Transfer to John Smith\",\n      \"amount\": 10.25\n    }";
    let entries = vec![entry; (bytes / entry.len()).max(1)].join(",\n");
    format!("{{\n  \"status\": \"APPROVED\",\n  \"entries\": [\n{entries}\n  ]\n}}")
}

fn pure(criterion: &mut Criterion) {
    for bytes in [500, 50_000] {
        let spread = spread(bytes);
        let body = minify(&spread);
        let event = format!(
            r#"{{"specversion":"1.0","id":"bench-1","source":"/core","type":"example","tenant":"acme","data":{body}}}"#
        );
        let mut group = criterion.benchmark_group(format!("{bytes} bytes"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("minify", |bencher| bencher.iter(|| minify(black_box(&spread))));
        group.bench_function("escape", |bencher| bencher.iter(|| without_whitespace(black_box(&body))));
        group.bench_function("project", |bencher| bencher.iter(|| project(black_box(&body), |name| name != "entries")));
        group.bench_function("parse an event", |bencher| {
            bencher.iter_batched(|| (), |()| Event::parse(black_box(&event)), BatchSize::SmallInput);
        });
        group.finish();
    }
}

criterion_group!(benches, pure);
criterion_main!(benches);
