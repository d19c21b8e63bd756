//! Output into a pipe.

use std::process::Stdio;

use crate::program::{NOWHERE, command, run, start};
use crate::signed::ENDPOINT;
use crate::stack;

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let stack = stack::start();
    for args in
        [vec!["endpoint", "list", "-t", "acme", "--output", "jsonl"], vec!["completion", "bash"], vec!["--help"]]
    {
        let (mut child, _limit) = start(command(&stack.url, &args).stdin(Stdio::null()));
        drop(child.stdout.take()); // As `head` does after its lines.
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap()),
            (Some(0), String::new()),
            "{args:?}"
        );
    }
}

#[test]
fn output_into_a_pipe_is_plain_and_talk_is_elsewhere() {
    let stack = stack::start();
    let ran = run(&stack.url, &["endpoint", "list", "-t", "acme"]);
    assert!(!ran.stdout.contains('\x1b') && ran.stderr.is_empty(), "{ran:?}");
    let ran = run(&stack.url, &["endpoint", "test", ENDPOINT, "-t", "acme", "--output", "json"]);
    serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    assert!(ran.stderr.contains("waiting"), "{ran:?}");
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(NOWHERE, &["completion", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("rotate-secret"), "{shell}");
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    std::fs::create_dir_all(&folder).unwrap();
    let ran = run(NOWHERE, &["man", folder.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = std::fs::read_to_string(folder.join("signpost-endpoint-create.1")).unwrap();
    assert!(page.contains("signpost endpoint create https://hooks.acme.example/in"), "{page}");
}
