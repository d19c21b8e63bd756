//! `verify`: a saved request, and the step that failed.

use serde_json::{Value, json};

use crate::args::Verify;
use crate::aws::Aws;
use crate::commands::trust;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::{Colour, Form, Output};
use crate::verify::request::SavedRequest;
use crate::verify::{Check, Report, verify};

/// Verifies each request of the file. It fails if one of them does not verify.
pub async fn run(args: &Verify, aws: &Aws<'_>, output: &Output) -> Outcome {
    if args.trusted.keys.is_none() && args.trusted.secret_file.is_none() {
        return Err(Failure::usage(
            "there is nothing to verify with",
            "add --keys with the endpoint's `jwksUrl`, or --secret-file",
        ));
    }
    if args.file == "-" && args.trusted.secret_file.as_deref() == Some("-") {
        return Err(Failure::usage(
            "the request and the secret are both to come from stdin",
            "put the secret into a file",
        ));
    }
    let mut trust = trust::read(&args.trusted, aws).await?;
    if args.any_age {
        trust.now = None;
    }
    let expected = "save the request with `curl -i`, or as a HAR file from a browser or proxy";
    let requests = SavedRequest::parse_all(&input::read(&args.file)?);
    let requests = requests.map_err(|error| Failure::refused(format!("`{}`: {error}", args.file), expected))?;
    if requests.is_empty() {
        return Err(Failure::refused(format!("`{}` has no request", args.file), expected));
    }
    let reports: Vec<Report> = requests.iter().map(|request| verify(request, &trust)).collect();
    match output.form() {
        Form::Json if reports.len() > 1 => {
            let all: Vec<Value> = reports.iter().map(Report::json).collect();
            output.one(&json!(all), |_| Vec::new())?;
        }
        _ => reports.iter().try_for_each(|report| output.one(&report.json(), |output| lines(report, output)))?,
    }
    let Some(diagnosis) = reports.iter().find_map(Report::diagnosis) else { return Ok(()) };
    let what = format!("the request does not verify: {}", diagnosis.step.as_str());
    Err(Failure::refused(what, diagnosis.next.clone()))
}

fn lines(report: &Report, output: &Output) -> Vec<String> {
    report.checks.iter().flat_map(|check| line(check, output)).collect()
}

fn line(Check { format, result }: &Check, output: &Output) -> Vec<String> {
    match result {
        Ok(verified) => {
            let kid = verified.kid.as_ref().map_or_else(String::new, |kid| format!("  kid {kid}"));
            vec![format!("{} {}  {}{kid}", output.painted("✓", Some(Colour::Green)), format.as_str(), verified.by)]
        }
        Err(diagnosis) => vec![
            format!("{} {}  {}", output.painted("✗", Some(Colour::Red)), format.as_str(), diagnosis.step.as_str()),
            format!("    {}", diagnosis.found),
        ],
    }
}
