//! A panic is a line of the log. The test runs itself in a process of its own, because the hook and the log are the process's.

use std::process::Command;

use serde_json::Value;
use signpost_io::runtime::config::environment;
use signpost_io::runtime::logs::{InvocationIds, Log, LogSettings};

const CHILD: &str = "SIGNPOST_TEST_PANICS";

#[test]
fn a_panic_is_a_line_like_all_others_and_the_lines_before_it_are_not_lost() {
    if environment(CHILD).is_some() {
        let log = Log::start(LogSettings::default());
        log.begin(InvocationIds::new("r-1", None));
        tracing::info!(event.id = "payment-1", "delivery.attempted");
        panic!("a \"defect\"\nof Signpost");
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_panic_is_a_line_like_all_others_and_the_lines_before_it_are_not_lost", "--nocapture"]);
    let output = child.env(CHILD, "yes").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
    let [panicked, attempted] = &lines[..] else { panic!("{text}") };
    let field = |name: &str| panicked[name].as_str().unwrap();
    assert_eq!((field("level"), field("requestId"), field("message")), ("ERROR", "r-1", "function.panicked"));
    assert_eq!(field("error"), "a \"defect\"\nof Signpost");
    assert!(field("panic.place").contains("panics.rs:"), "{panicked}");
    assert_eq!(attempted["deliveries"][0]["event.id"], "payment-1");
}
