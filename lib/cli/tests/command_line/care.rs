//! Commands that send again, replace or remove: each counts, asks, and refuses if nobody can be asked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Command, CommandFactory as _};
use serde_json::{Value, json};
use signpost_cli::args::Args;

use crate::program::{Ran, run};
use crate::signed::ENDPOINT;
use crate::snapshots::each_command;
use crate::stack::{self, LINK, REPLAY};
use crate::stub_api::{Asked, StubApi};
use crate::terminal::in_terminal;

const SINCE: &str = "2026-01-31T10:00:00Z";

/// A call of a command that sends again, replaces or removes.
struct Dangerous {
    call: Vec<&'static str>,
    /// The answer to `--dry-run` on the stack of [`stack::start`].
    count: usize,
    precision: &'static str,
    /// The last request with `--yes`, its body, and the answer.
    route: String,
    sent: &'static str,
    said: &'static str,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn dangerous() -> Vec<Dangerous> {
    let one = |call: &[&'static str], count, precision, route: &str, sent, said| Dangerous {
        call: call.to_vec(),
        count,
        precision,
        route: route.replace("ENDPOINT", ENDPOINT).replace("LINK", LINK).replace("REPLAY", REPLAY),
        sent,
        said,
    };
    let delete = "DELETE /v1/tenants/acme";
    let post = "POST /v1/tenants/acme";
    let rotate = format!("{post}/endpoints/ENDPOINT/rotate-secret");
    let replay = format!("{post}/events/payment-1-approved/replay");
    let sweep = "POST /2015-03-31/functions/sweep/invocations";
    let keys = "POST /2015-03-31/functions/rotate-keys/invocations";
    let secret = "signingSecret     whsec_";
    vec![
        one(
            &["endpoint", "delete", ENDPOINT, "-t", "acme"],
            1,
            "at-least",
            &format!("{delete}/endpoints/ENDPOINT"),
            "",
            "removed",
        ),
        one(&["endpoint", "rotate-secret", ENDPOINT, "-t", "acme"], 1, "exact", &rotate, "{}", secret),
        one(
            &["endpoint", "rotate-secret", ENDPOINT, "-t", "acme", "--overlap", "0"],
            1,
            "exact",
            &rotate,
            r#"{"overlapSeconds":0}"#,
            secret,
        ),
        one(
            &["endpoint", "rotate-secret", ENDPOINT, "-t", "acme", "--end-all-others"],
            2,
            "exact",
            &rotate,
            r#"{"endAllOthers":true}"#,
            secret,
        ),
        one(
            &["replay", "payment-1-approved", "-t", "acme", "--source", "/core"],
            1,
            "exact",
            &format!("{replay}?source=%2Fcore"),
            "{}",
            "sent again to 1 endpoints",
        ),
        one(
            &["replay", "payment-1-approved", "-t", "acme", "--endpoint", ENDPOINT],
            1,
            "exact",
            &replay,
            "{\"endpoint\":\"ENDPOINT\"}",
            "sent again to 1 endpoints",
        ),
        one(
            &["recover", ENDPOINT, "-t", "acme", "--since", SINCE],
            1,
            "exact",
            &format!("{post}/endpoints/ENDPOINT/recover"),
            r#"{"since":"2026-01-31T10:00:00Z"}"#,
            "2 deliveries go out again",
        ),
        one(
            &["replays", "create", "-t", "acme", "--since", SINCE, "--status", "delivered"],
            3,
            "exact",
            &format!("{post}/replays"),
            r#"{"since":"2026-01-31T10:00:00Z","statuses":["delivered"]}"#,
            "running",
        ),
        one(&["replays", "stop", REPLAY, "-t", "acme"], 0, "exact", &format!("{delete}/replays/REPLAY"), "", "stopped"),
        one(
            &["erase", "event", "payment-1-approved", "-t", "acme"],
            1,
            "exact",
            &format!("{delete}/events/payment-1-approved"),
            "",
            "erased 1 events with 2 deliveries",
        ),
        one(
            &["erase", "subject", "operation", "payment-1", "-t", "acme"],
            3,
            "exact",
            &format!("{delete}/status/operation/payment-1?type=operation"),
            "",
            "erased 1 events with 2 deliveries",
        ),
        one(&["erase", "tenant", "acme"], 3, "exact", &format!("{post}/erasures"), r#"{"tenant":"acme"}"#, "settling"),
        one(
            &["dlq", "redrive"],
            3,
            "about",
            sweep,
            r#"{"redrive":"DeadLetterQueue"}"#,
            "2 messages start again; 1 stay",
        ),
        one(
            &["dlq", "redrive", "--tenant", "acme"],
            1,
            "about",
            sweep,
            r#"{"redrive":"DeadLetterQueue","tenant":"acme"}"#,
            "2 messages",
        ),
        one(
            &["dlq", "redrive", "--queue", "rejected"],
            3,
            "about",
            sweep,
            r#"{"redrive":"RejectedQueue"}"#,
            "2 messages",
        ),
        one(&["keys", "rotate"], 3, "exact", keys, r#"{"force":true}"#, "new keys sign"),
        one(
            &["event-type", "delete", "invoice.paid", "-t", "acme"],
            1,
            "exact",
            &format!("{delete}/event-types/invoice.paid"),
            "",
            "removed invoice.paid",
        ),
        one(&["notices", "remove", "-t", "acme"], 1, "at-least", &format!("{delete}/notices"), "", "removed"),
        one(
            &["portal-link", "end", LINK, "-t", "acme"],
            1,
            "exact",
            &format!("{delete}/portal-links/LINK"),
            "",
            "ended 1 links",
        ),
        one(
            &["portal-link", "end", "--all", "-t", "acme"],
            2,
            "exact",
            &format!("{delete}/portal-links"),
            "",
            "ended 2 links",
        ),
    ]
}

/// All other commands, and why nobody needs to be asked.
const HARMLESS: [(&str, &str); 36] = [
    ("addresses", "reads"),
    ("endpoint create", "adds"),
    ("endpoint list", "reads"),
    ("endpoint show", "reads"),
    ("endpoint update", "changes settings, which the audit log keeps"),
    ("endpoint enable", "sends what waits; nothing that was acknowledged"),
    ("endpoint disable", "parks, and `enable` sends it"),
    ("endpoint test", "sends an event that says that it is a test"),
    ("send", "sends for the first time; the same event twice is dropped"),
    ("event show", "reads"),
    ("event-type put", "adds, or changes a type, which the audit log keeps"),
    ("event-type list", "reads"),
    ("event-type show", "reads"),
    ("filter test", "compares, and sends nothing"),
    ("deliveries", "reads"),
    ("dlq list", "reads"),
    ("dlq show", "reads"),
    ("keys list", "reads"),
    ("replays list", "reads"),
    ("replays show", "reads"),
    ("erase show", "reads"),
    ("status", "reads"),
    ("token-request", "adds"),
    ("notices set", "adds, or changes settings, which the audit log keeps"),
    ("notices show", "reads"),
    ("audit", "reads"),
    ("portal-link create", "adds"),
    ("portal-link list", "reads"),
    ("tail", "reads"),
    ("whoami", "reads"),
    ("smoke", "sends its own events, and removes its own endpoints"),
    ("doctor", "asks a receiver a harmless question"),
    ("listen", "adds an endpoint, and removes its own"),
    ("verify", "reads"),
    ("completion", "prints"),
    ("man", "writes pages into a directory of the caller"),
];

fn words_of(call: &[&str]) -> String {
    let words: Vec<_> = call.iter().copied().take(2).collect();
    if words[0] == "erase" || HARMLESS.iter().any(|(name, _)| name.starts_with(&format!("{} ", words[0]))) {
        words.join(" ")
    } else {
        words[0].to_owned()
    }
}

#[test]
fn every_command_that_sends_again_replaces_or_removes_can_count_first() {
    let mut command = Args::command();
    command.build();
    let dangerous: BTreeSet<_> = dangerous().iter().map(|one| words_of(&one.call)).collect();
    let mut known: BTreeSet<_> = HARMLESS.iter().map(|(name, _)| (*name).to_owned()).chain(dangerous.clone()).collect();
    each_command(&command, &[], &mut |command: &Command, words| {
        if command.has_subcommands() {
            return; // It does nothing by itself.
        }
        let name = words.join(" ");
        assert!(known.remove(&name), "`{name}` is in neither table of this file, or in both");
        if dangerous.contains(&name) {
            for option in ["dry-run", "yes"] {
                assert!(command.get_arguments().any(|one| one.get_long() == Some(option)), "`{name}` needs --{option}");
            }
        }
    });
    assert_eq!(known, BTreeSet::new(), "these are no commands");
}

fn is_change(asked: &Asked) -> bool {
    asked.method != "GET"
        && !asked.header("x-amz-target").starts_with("AmazonSQS.")
        && !asked.body.contains(r#""dryRun":true"#)
        && !asked.target.contains("dryRun=true")
}

/// Runs a command, and returns the requests that change something.
fn changes(stack: &StubApi, run: impl FnOnce() -> Ran) -> (Ran, Vec<Asked>) {
    let before = stack.asked().len();
    let ran = run();
    let changes = stack.asked()[before..].iter().filter(|one| is_change(one)).cloned().collect();
    (ran, changes)
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let stack = stack::start();
    for Dangerous { call, count, precision, .. } in dangerous() {
        let args = [&call[..], &["--dry-run", "--output", "json"]].concat();
        let (ran, changes) = changes(&stack, || run(&stack.url, &args));
        assert_eq!((ran.code, changes), (0, vec![]), "{call:?}: {}", ran.stderr);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(answer, json!({"dryRun": true, "count": count, "precision": precision}), "{call:?}");
        let both = [&call[..], &["--dry-run", "--yes"]].concat();
        let ran = run(&stack.url, &both);
        assert!(ran.stdout.contains("nothing was changed"), "--dry-run is stronger than --yes: {ran:?}");
    }
    assert!(!stack.asked().iter().any(is_change));
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_changed() {
    let stack = stack::start();
    for Dangerous { call, .. } in dangerous() {
        let (ran, changes) = changes(&stack, || run(&stack.url, &call));
        assert_eq!((ran.code, changes), (2, vec![]), "{call:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("add --yes, or look first with --dry-run"), "{ran:?}");
    }
}

#[test]
fn in_a_terminal_each_of_them_asks_with_the_count() {
    let stack = stack::start();
    for Dangerous { call, .. } in dangerous() {
        let before = stack.asked().len();
        let (code, shown) = in_terminal(&stack.url, "[y/N]", "n\\n", ("LANG", "C.UTF-8"), &call);
        assert!(code == 1 && shown.contains("nothing was changed"), "{call:?}: {shown}");
        assert!(!stack.asked()[before..].iter().any(is_change), "{call:?}");
    }
}

#[test]
fn with_yes_the_work_is_done_once() {
    let stack = stack::start();
    for Dangerous { call, route, sent, said, .. } in dangerous() {
        let (ran, changes) = changes(&stack, || run(&stack.url, &[&call[..], &["--yes"]].concat()));
        assert!(ran.code == 0 && ran.stdout.contains(said), "{call:?}: {ran:?}");
        let [change] = &changes[..] else { panic!("{call:?}: {changes:?}") };
        let sent = sent.replace("ENDPOINT", ENDPOINT);
        assert_eq!((format!("{} {}", change.method, change.target), &change.body), (route, &sent), "{call:?}");
    }
}

/// A look hides messages for five seconds, and the function finds visible ones only.
#[test]
fn a_redrive_begins_when_the_messages_that_were_counted_are_visible_again() {
    let stack = stack::start();
    let began = std::time::Instant::now();
    let call = ["dlq", "redrive", "--tenant", "acme"];
    let (code, shown) = in_terminal(&stack.url, "[y/N]", "y\\n", ("LANG", "C.UTF-8"), &call);
    assert!(code == 0 && shown.contains("2 messages start again"), "{shown}");
    assert!(began.elapsed() >= std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Starts an API whose lists never end: each page has as many items as `size`.
fn endless(member: &'static str, size: usize) -> StubApi {
    let pages = AtomicUsize::new(0);
    StubApi::start(move |asked| {
        if !asked.target.contains("/deliveries") && !asked.target.contains("/audit") {
            return (200, json!({"id": ENDPOINT, "url": "https://hooks.acme.example/in"}).to_string());
        }
        let page = pages.fetch_add(1, Ordering::Relaxed);
        (200, json!({member: vec![json!({}); size], "cursor": page.to_string()}).to_string())
    })
}

#[test]
fn a_count_that_stops_at_its_bound_says_so() {
    for (call, bound, text) in [
        (vec!["endpoint", "delete", ENDPOINT, "-t", "acme"], 10_000, "at least 10,000"),
        (vec!["notices", "remove", "-t", "acme"], 10_000, "at least 10,000"),
        (vec!["recover", ENDPOINT, "-t", "acme", "--since", SINCE], 100_000, "at least 100,000"),
    ] {
        let stack = endless("deliveries", 5_000);
        let ran = run(&stack.url, &[&call[..], &["--dry-run"]].concat());
        assert!(ran.code == 0 && ran.stdout.contains(text), "{ran:?}");
        let ran = run(&stack.url, &[&call[..], &["--dry-run", "--output", "json"]].concat());
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(answer, json!({"dryRun": true, "count": bound, "precision": "at-least"}), "{call:?}");
    }
}

#[test]
fn a_search_that_stops_at_its_bound_says_so() {
    let rounds = AtomicUsize::new(0);
    let stack = StubApi::start(move |_| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let message = |index: usize| json!({"MessageId": format!("{round}-{index}"), "Body": "{}"});
        (200, json!({"Messages": (0..1_000).map(message).collect::<Vec<_>>()}).to_string())
    });
    let ran = run(&stack.url, &["dlq", "show", "nothing"]);
    assert!(
        ran.code == 3 && ran.stderr.contains("is among 10,000 messages of DeadLetterQueue, which has more"),
        "{ran:?}"
    );
}

#[test]
fn a_list_that_stops_at_its_limit_says_so() {
    for (call, member) in [
        (vec!["deliveries", ENDPOINT, "-t", "acme", "--limit", "3"], "deliveries"),
        (vec!["audit", "-t", "acme", "--limit", "3"], "entries"),
    ] {
        for (size, why) in [(2, "the next page has more"), (3, "there is a next page"), (5, "the page has more")] {
            let stack = endless(member, size);
            let ran = run(&stack.url, &[&call[..], &["--output", "jsonl"]].concat());
            assert_eq!((ran.code, ran.stdout.lines().count()), (0, 3), "{ran:?}");
            assert_eq!(ran.stderr, "these are the first 3, and there are more; --limit shows more of them\n", "{why}");
        }
    }
    let stack = stack::start();
    let ran = run(&stack.url, &["deliveries", ENDPOINT, "-t", "acme", "--limit", "3"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "there are three");
    let ran = run(&stack.url, &["dlq", "list", "--limit", "1"]);
    assert!(ran.stderr.starts_with("these are the first 1, and there are more"), "{ran:?}");
    assert_eq!(run(&stack.url, &["dlq", "list", "--limit", "2"]).stderr, "", "there are two");
}
