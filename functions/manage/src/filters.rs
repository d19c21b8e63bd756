//! The operators' route that compares an event with a filter. It stores nothing and sends nothing.

use serde_json::{Value, json};
use signpost_core::endpoint::filter::{Document, Mismatch, Verdict};
use signpost_core::endpoint::settings::{self, FilterTest};
use signpost_core::input::problem::Problem;
use signpost_io::runtime::api_gateway::respond;

use crate::api_request::ApiRequest;
use crate::endpoints::JSON;
use crate::{Answer, App};

/// How many differences an answer has at most.
const MAX_MISMATCHES: usize = 100;

impl App {
    /// Answers whether an event fits a filter, and where it does not.
    pub(crate) fn test_filter(asked: &ApiRequest<'_>) -> Answer {
        let test = settings::filter_test(&asked.body(&[JSON])?, &asked.tenant).map_err(Problem::bad_request)?;
        Ok(respond(200, JSON, shown(&test).to_string()))
    }
}

fn shown(FilterTest { filter, event }: &FilterTest) -> Value {
    let document = Document::of(event);
    let verdict = filter.judge(&document);
    let mismatches = match verdict {
        Verdict::Differs => filter.mismatches(&document),
        Verdict::Matches | Verdict::TooCostly => Vec::new(),
    };
    let mismatches = mismatches.into_iter().take(MAX_MISMATCHES);
    let mismatches = mismatches.map(|Mismatch { pointer, filter_pointer, expected, found }| {
        json!({"pointer": pointer, "filterPointer": filter_pointer, "expected": expected, "found": found})
    });
    json!({
        "matches": verdict != Verdict::Differs,
        "tooCostly": verdict == Verdict::TooCostly,
        "mismatches": mismatches.collect::<Vec<_>>(),
    })
}
