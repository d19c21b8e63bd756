//! Texts that people see, compared with files of `tests/snapshots`. A small helper is enough: a text, a file, and a
//! copy of what was found beside the program's other test files, to be looked at and copied.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use signpost_cli::args::Args;

use crate::program::{NOWHERE, run, run_with_input};
use crate::signed::ENDPOINT;
use crate::stack;

/// Compares a text with the file `name`.
fn assert_snapshot(name: &str, text: &str) {
    assert_eq!(difference(name, text), None);
}

/// Returns what to do if a text is not that of the file `name`.
fn difference(name: &str, text: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    (text != expected).then(|| {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snapshots").join(name);
        std::fs::create_dir_all(found.parent().unwrap()).unwrap();
        std::fs::write(&found, text).unwrap();
        format!("{name} is now\n{text}\nif it should be, copy {} to {}", found.display(), file.display())
    })
}

#[test]
fn the_help_fits_one_screen_and_is_as_recorded() {
    let help = run(NOWHERE, &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.lines().count() <= 48, "{}", help.stdout.lines().count());
    assert_snapshot("help.txt", &help.stdout);
}

/// Calls `check` with each command, and its words: groups of commands, and the program itself, as well.
pub fn each_command(command: &Command, words: &[&str], check: &mut dyn FnMut(&Command, &[&str])) {
    check(command, words);
    for subcommand in command.get_subcommands() {
        each_command(subcommand, &[words, &[subcommand.get_name()]].concat(), check);
    }
}

#[test]
fn each_command_has_two_examples_that_its_own_parser_accepts() {
    let mut command = Args::command();
    command.build();
    let (mut texts, mut count) = (String::new(), 0);
    each_command(&command, &[], &mut |command, words| {
        let help = command.clone().render_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{words:?} has no examples"));
        let examples: Vec<_> = examples.lines().take_while(|line| line.starts_with("  ")).map(str::trim).collect();
        assert_eq!(examples.len(), 2, "{words:?}");
        for example in examples {
            let call = example.split("signpost ").skip(1).last().unwrap();
            let call = call.split([';', '|', '>', '&']).next().unwrap();
            let call = ["signpost"].into_iter().chain(call.split_whitespace());
            let matches = Args::command().try_get_matches_from(call);
            assert!(matches.is_ok(), "{example}: {}", matches.unwrap_err());
            assert!(example.contains(&words.iter().take(1).copied().collect::<String>()), "{example}");
        }
        if !words.is_empty() {
            writeln!(texts, "$ signpost {} --help\n{help}", words.join(" ")).unwrap(); // Else it is in help.txt.
        }
        count += 1;
    });
    assert!(count > 20, "{count}");
    assert_snapshot("commands.txt", &texts);
}

#[test]
fn tables_and_json_are_as_recorded() {
    let stack = stack::start();
    let cases: [(&str, &[&str]); 20] = [
        ("addresses.txt", &["addresses"]),
        ("endpoint-list.txt", &["endpoint", "list", "-t", "acme"]),
        ("endpoint-list.jsonl", &["endpoint", "list", "-t", "acme", "--output", "jsonl"]),
        ("endpoint-show.txt", &["endpoint", "show", ENDPOINT, "-t", "acme"]),
        ("event-show.txt", &["event", "show", "payment-1-approved", "-t", "acme"]),
        ("event-show.json", &["event", "show", "payment-1-approved", "-t", "acme", "--output", "json"]),
        ("deliveries.txt", &["deliveries", ENDPOINT, "-t", "acme"]),
        ("dlq-list.txt", &["dlq", "list"]),
        ("dlq-show.txt", &["dlq", "show", "5fea7756-0ea4-451a-a703-a558b933e274"]),
        ("keys-list.txt", &["keys", "list", "-t", "acme"]),
        ("endpoint-test.txt", &["endpoint", "test", ENDPOINT, "-t", "acme"]),
        ("status.txt", &["status", "operation", "payment-1", "-t", "acme"]),
        ("token-request.txt", &["token-request", "consent-42", "-t", "acme"]),
        ("audit.txt", &["audit", "-t", "acme"]),
        ("portal-link-list.txt", &["portal-link", "list", "-t", "acme"]),
        ("event-type-list.txt", &["event-type", "list", "-t", "acme"]),
        ("event-type-show.txt", &["event-type", "show", "invoice.paid", "-t", "acme"]),
        ("replays-list.txt", &["replays", "list", "-t", "acme"]),
        ("erase-show.txt", &["erase", "show", stack::ERASURE, "-t", "acme"]),
        ("whoami.txt", &["whoami", "--stack", "signpost"]),
    ];
    let differences = cases.iter().filter_map(|(name, args)| {
        let ran = run(&stack.url, args);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        difference(name, &ran.stdout)
    });
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn errors_are_as_recorded_and_say_what_to_do() {
    let stack = stack::start();
    let cases: [(&str, &[&str], i32); 12] = [
        ("no command", &["endpoint", "lst"], 2),
        ("no tenant", &["endpoint", "list"], 2),
        ("a bad time", &["deliveries", ENDPOINT, "-t", "acme", "--since", "yesterday"], 2),
        ("nothing to change", &["endpoint", "update", ENDPOINT, "-t", "acme"], 2),
        ("nobody to ask", &["endpoint", "delete", ENDPOINT, "-t", "acme"], 2),
        ("no such endpoint", &["endpoint", "show", "ep_0", "-t", "acme"], 3),
        ("no such message", &["dlq", "show", "nothing"], 3),
        ("no such stack", &["whoami", "--stack", "other"], 3),
        ("no permission", &["event", "show", "forbidden", "-t", "acme"], 1),
        ("faults", &["send", "-"], 1),
        ("faults as JSON", &["send", "-", "--output", "json"], 1),
        ("a bad URL", &["doctor", "http://hooks.acme.example/in"], 1),
    ];
    let mut texts = String::new();
    for (name, args, code) in cases {
        let ran = run_with_input(&stack.url, args, r#"{"id":"faulty"}"#);
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        let words = args.join(" ");
        let stderr = ran.stderr.replace(&stack.url, "API_URL");
        writeln!(texts, "# {name}\n$ signpost {words}\n{stderr}exit {code}\n").unwrap();
    }
    assert_snapshot("errors.txt", &texts);
}
