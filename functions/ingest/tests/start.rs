//! A function that cannot start says why in its log.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_function_with_a_bad_setting_ends_with_a_line_that_names_the_fix() {
    let cases = [
        (&[][..], "`ENDPOINTS_TABLE` is not set; set it under Environment.Variables in template.yaml"),
        (&[("LOG_LEVEL", "LOUD")], "`LOG_LEVEL` is `LOUD`; expected `DEBUG`, `INFO`, `WARN` or `ERROR`"),
    ];
    for (settings, expected) in cases {
        let mut function = Command::new(env!("CARGO_BIN_EXE_ingest"));
        let output = function.env_clear().envs(settings.iter().copied()).output().unwrap();
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let field = |name: &str| line[name].as_str().unwrap();
        assert_eq!((field("level"), field("message"), field("error")), ("ERROR", "function.not_started", expected));
        assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
    }
}
