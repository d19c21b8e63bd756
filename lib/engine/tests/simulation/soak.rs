//! Ever new schedules on all cores, for minutes.

use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::laws::Figures;
use crate::{Schedule, wild};

/// How often it reports its progress.
const TELLS_EVERY: Duration = Duration::from_secs(10);

pub fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() * 1_000_000
}

pub fn run(minutes: u64) {
    let (first, started) = (fresh_seed(), Instant::now());
    let until = started + Duration::from_secs(60 * minutes);
    let (next, told) = (AtomicU64::new(first), Mutex::new((Figures::default(), started)));
    let has_failed = AtomicBool::new(false);
    let work = || {
        while Instant::now() < until && !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let run = || {
                let _schedule = Schedule(seed);
                wild::run(seed, false)
            };
            let figures = catch_unwind(run).unwrap_or_else(|failure| {
                has_failed.store(true, Ordering::Relaxed); // So that the other cores do not go on for minutes.
                resume_unwind(failure)
            });
            let mut told = told.lock().unwrap();
            told.0.add(&figures);
            if told.1.elapsed() >= TELLS_EVERY {
                told.1 = Instant::now();
                let count = next.load(Ordering::Relaxed) - first;
                println!("{:>5} s, {count} schedules: {:?}", started.elapsed().as_secs(), told.0);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let count = next.load(Ordering::Relaxed) - first;
    println!("{count} schedules from seed {first} on: {:?}", told.into_inner().unwrap().0);
}
