//! The fields of HTTP message signatures (RFC 9421): dictionaries of structured fields (RFC 9651).

use crate::request::Request;

/// Member of `signature-input`.
pub(crate) struct Input<'a> {
    pub(crate) label: &'a str,
    pub(crate) components: Vec<&'a str>,
    parameters: Vec<(&'a str, &'a str)>,
    /// The last line of the signature base.
    text: &'a str,
}

impl<'a> Input<'a> {
    fn parse((label, text): (&'a str, &'a str)) -> Option<Self> {
        let (components, parameters) = text.strip_prefix('(')?.split_once(')')?;
        let components = components.split_ascii_whitespace().map(unquoted).collect();
        let pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
        let parameters = pairs.map(|(name, value)| (name.trim(), unquoted(value))).collect();
        Some(Self { label, components, parameters, text })
    }

    /// Finds the signature with the tag `signpost`.
    pub(crate) fn of_signpost(field: &'a str) -> Option<Self> {
        members(field).into_iter().filter_map(Self::parse).find(|input| input.parameter("tag") == Some("signpost"))
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rfind(|(one, _)| *one == name).map(|(_, value)| *value)
    }

    /// Makes the signature base (RFC 9421, section 2.5).
    pub(crate) fn base(&self, request: &Request<'_>, url: &str) -> String {
        let value = |name: &str| match name {
            "@method" => request.method.clone(),
            "@target-uri" => url.to_owned(),
            header => request.header(header).unwrap_or_default().to_owned(),
        };
        let lines = self.components.iter().map(|name| format!("\"{name}\": {}\n", value(name)));
        format!("{}\"@signature-params\": {}", lines.collect::<String>(), self.text)
    }
}

/// Finds a member of `signature`, without its colons.
pub(crate) fn signature<'a>(field: &'a str, label: &str) -> Option<&'a str> {
    members(field).into_iter().rfind(|(one, _)| *one == label).map(|(_, value)| value)
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

/// Splits a dictionary (RFC 9651, section 3.2) at the commas outside of quotes and parentheses.
fn members(text: &str) -> Vec<(&str, &str)> {
    let (mut parts, mut start, mut is_in_string, mut depth) = (Vec::new(), 0, false, 0);
    for (at, char) in text.char_indices() {
        match char {
            '"' => is_in_string = !is_in_string,
            '(' if !is_in_string => depth += 1,
            ')' if !is_in_string => depth -= 1,
            ',' if !is_in_string && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().filter_map(|part| part.trim().split_once('=')).collect()
}
