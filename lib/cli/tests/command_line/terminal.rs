//! The program in a terminal: colours, progress, questions, Ctrl-C.

use std::process::Output;

use serde_json::json;
use signpost_testkit::program::output;

use crate::program::{LIMIT, command};
use crate::signed::{ENDPOINT, key_set};
use crate::stack;
use crate::stub_api::StubApi;

/// Runs the program in a terminal, and types `text` when `word` appears.
pub fn in_terminal(api_url: &str, word: &str, text: &str, variable: (&str, &str), args: &[&str]) -> (i32, String) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/in_terminal.py");
    let words = [word, text, env!("CARGO_BIN_EXE_signpost")];
    // The variables are those of the program: Python is found by its path.
    let variables: Vec<_> =
        command(api_url, args).get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let mut python = std::process::Command::new("python3");
    python.arg(program).args(words).args(args).envs(variables).env("TERM", "xterm").env(variable.0, variable.1);
    let Output { status, stdout, stderr } = output(&mut python, LIMIT).unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

#[test]
fn a_terminal_has_colours_unless_no_color_is_set() {
    let stack = stack::start();
    let args = ["endpoint", "list", "-t", "acme"];
    let (_, coloured) = in_terminal(&stack.url, "", "", ("LANG", "C.UTF-8"), &args);
    assert!(coloured.contains("\x1b[32menabled\x1b[0m"), "{coloured:?}");
    let (_, plain) = in_terminal(&stack.url, "", "", ("NO_COLOR", "1"), &args);
    assert!(plain.contains("enabled") && !plain.contains('\x1b'), "{plain:?}");
    let (_, plain) =
        in_terminal(&stack.url, "", "", ("LANG", "C.UTF-8"), &[&args[..], &["--output", "jsonl"]].concat());
    assert!(!plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn a_question_is_asked_and_only_y_goes_on() {
    let stack = stack::start();
    let args = ["endpoint", "delete", ENDPOINT, "-t", "acme"];
    let (code, shown) = in_terminal(&stack.url, "[y/N]", "n\\n", ("LANG", "C.UTF-8"), &args);
    assert!(code == 1 && shown.contains("nothing was changed"), "{shown}");
    assert!(!stack.routes().iter().any(|route| route.starts_with("DELETE")));
    let (code, shown) = in_terminal(&stack.url, "[y/N]", "y\\n", ("LANG", "C.UTF-8"), &args);
    assert!(code == 0 && shown.contains("removed"), "{shown}");
}

#[test]
fn a_secret_is_asked_for_and_not_shown() {
    let stack = stack::start();
    let url = "https://hooks.acme.example/in";
    let args = ["endpoint", "create", url, "-t", "acme", "--auth", "basic", "--auth-secret-file", "-"];
    let (code, shown) = in_terminal(&stack.url, "Secret", "ada:open sesame\\n", ("LANG", "C.UTF-8"), &args);
    assert!(code == 0 && !shown.contains("sesame"), "{shown}");
    let asked = stack.asked().pop().unwrap();
    assert!(asked.body.contains(r#"{"kind":"basic","secret":"ada:open sesame"}"#), "{}", asked.body);
}

#[test]
fn long_work_shows_progress() {
    let rounds = std::sync::atomic::AtomicU64::new(0);
    let stack = StubApi::start(move |asked| {
        if asked.method == "GET" {
            return (200, json!({"deliveries": [{}, {}, {}, {}]}).to_string());
        }
        let round = rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (202, json!({"recovered": 1, "more": round < 3}).to_string())
    });
    let args = ["recover", ENDPOINT, "-t", "acme", "--since", "2026-01-31T10:00:00Z", "--yes"];
    let (code, shown) = in_terminal(&stack.url, "", "", ("LANG", "C.UTF-8"), &args);
    assert!(code == 0 && shown.contains("recovering") && shown.contains("/4"), "{shown:?}");
}

#[test]
fn ctrl_c_ends_what_listens_and_what_follows() {
    let stack = stack::start();
    let keys = StubApi::start(|_| (200, key_set().to_string()));
    let url = format!("{}/keys", keys.url);
    for (args, word) in [
        (vec!["listen", "--port", "0", "--keys", url.as_str()], "ready"),
        (vec!["deliveries", ENDPOINT, "-t", "acme", "--follow"], "following"),
    ] {
        let (code, shown) = in_terminal(&stack.url, word, "\\x03", ("LANG", "C.UTF-8"), &args);
        assert!(code == 0 && shown.contains("Ctrl-C"), "{args:?}: {shown}");
    }
}
