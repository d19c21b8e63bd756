//! Code that verifies webhooks, for integrators, by signature format and language. The page fills in an endpoint's values.

use serde_json::{Value, json};

/// The file of an example: its signature format, its language, and its text.
struct Snippet {
    format: &'static str,
    language: &'static str,
    code: &'static str,
}

macro_rules! snippet {
    ($format:literal, $language:literal, $extension:literal) => {
        Snippet {
            format: $format,
            language: $language,
            code: include_str!(concat!("../snippets/", $format, ".", $extension)),
        }
    };
}

const SNIPPETS: [Snippet; 18] = [
    snippet!("jws", "Python", "py"),
    snippet!("jws", "JavaScript", "mjs"),
    snippet!("jws", "Java", "java"),
    snippet!("jws", "Go", "go"),
    snippet!("jws", "PHP", "php"),
    snippet!("jws", "C#", "cs"),
    snippet!("standard-webhooks", "Python", "py"),
    snippet!("standard-webhooks", "JavaScript", "mjs"),
    snippet!("standard-webhooks", "Java", "java"),
    snippet!("standard-webhooks", "Go", "go"),
    snippet!("standard-webhooks", "PHP", "php"),
    snippet!("standard-webhooks", "C#", "cs"),
    snippet!("http-message-signatures", "Python", "py"),
    snippet!("http-message-signatures", "JavaScript", "mjs"),
    snippet!("http-message-signatures", "Java", "java"),
    snippet!("http-message-signatures", "Go", "go"),
    snippet!("http-message-signatures", "PHP", "php"),
    snippet!("http-message-signatures", "C#", "cs"),
];

/// Returns all examples in the form of an answer.
pub(crate) fn snippets() -> String {
    let shown = |Snippet { format, language, code }: &Snippet| -> Value {
        json!({ "format": format, "language": language, "code": code })
    };
    json!({ "snippets": SNIPPETS.iter().map(shown).collect::<Vec<_>>() }).to_string()
}

#[cfg(test)]
mod tests {
    use signpost_core::endpoint::SignatureFormat;

    use super::*;

    #[test]
    fn every_format_has_an_example_in_six_languages() {
        for format in ["jws", "standard-webhooks", "http-message-signatures"] {
            assert!(serde_json::from_value::<SignatureFormat>(format.into()).is_ok(), "{format}");
            assert_eq!(SNIPPETS.iter().filter(|one| one.format == format).count(), 6, "{format}");
        }
    }

    /// The page replaces these words by an endpoint's values.
    #[test]
    fn examples_name_the_values_that_they_need() {
        for Snippet { format, language, code } in SNIPPETS {
            let needed: &[&str] = match format {
                "jws" => &["KEYS_URL", "ALGORITHM"],
                "standard-webhooks" => &["ENDPOINT_ID"],
                _ => &["KEYS_URL", "ALGORITHM", "ENDPOINT_URL"],
            };
            assert!(needed.iter().all(|name| code.contains(name)), "{format} in {language}");
        }
    }
}
