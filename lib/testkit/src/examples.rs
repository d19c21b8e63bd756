//! The example payloads of the five vendors, one event each, from the files of `events/`.

use serde_json::Value;

/// An example: its name, and the file of `events/` that posts it.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The part after `ingest-` in the file's name, and before `.post.txt` in the name of its golden file.
    pub name: &'static str,
    file: &'static str,
    golden: &'static str,
}

macro_rules! examples {
    ($($name:literal),* $(,)?) => {
        [$(Example {
            name: $name,
            file: include_str!(concat!("../../../events/ingest-", $name, ".json")),
            golden: include_str!(concat!("../../core/tests/golden/", $name, ".post.txt")),
        }),*]
    };
}

/// All examples.
pub const EXAMPLES: [Example; 13] = examples![
    "operation",
    "activation",
    "workflow",
    "token-request-redirect",
    "token-request-error",
    "token-request-embedded",
    "token-request-decoupled",
    "session",
    "session-accounts",
    "session-counters",
    "session-transactions",
    "payment",
    "transaction",
];

impl Example {
    /// Returns the event as the file has it, with another tenant (`acme` there).
    ///
    /// # Panics
    /// The file is not a request with a body.
    #[must_use]
    pub fn event(&self, tenant: &str) -> String {
        let request: Value = serde_json::from_str(self.file).expect("a request");
        let body = request["body"].as_str().expect("a body");
        body.replacen(r#""tenant": "acme""#, &format!(r#""tenant": "{tenant}""#), 1)
    }

    /// Returns the event's id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-1", self.name)
    }

    /// Returns the body that the receiver gets, as the vendor documents it.
    #[must_use]
    pub fn body(&self) -> &'static str {
        self.golden.trim_end().rsplit('\n').next().unwrap_or_default()
    }
}
