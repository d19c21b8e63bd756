//! `smoke`: tries a stack out, as a producer, an operator and a receiver.
//!
//! It takes the steps of `infra/smoke.py`, which `make deploy` runs. That program verifies signatures with another
//! implementation, and needs no compiler on a machine that only deploys. This one needs no checkout and no Python. Both
//! judge the same: `infra/local/smoke-vectors.json` lists the test vectors that pass, and each has a test of it.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use signpost_core::fingerprint::hexadecimal;
use signpost_core::signing::algorithm::Algorithm;
use uuid::Uuid;

use crate::api::{CREATE_ENDPOINT, Call, DELETE_ENDPOINT, GET_ENDPOINT, LIST_ENDPOINTS, READ_EVENT};
use crate::args::Smoke;
use crate::commands::endpoint::text;
use crate::commands::send::{enqueue, post};
use crate::commands::trust::{keys, now, parse_secret};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Form, Output};
use crate::signals::Stop;
use crate::stack::{API_URL, Stack};
use crate::verify::request::SavedRequest;
use crate::verify::{Diagnosis, Format, Trust, Verified, verify};

/// The tenant of the endpoints and events.
const TENANT: &str = "signpost-smoke";
const SOURCE: &str = "/smoke";
/// One endpoint each. `echo` can return the signatures of one format only, because a record keeps 1 KiB of an answer.
const FORMATS: [Format; 3] = [Format::Jws, Format::StandardWebhooks, Format::HttpMessageSignatures];
/// The algorithm of endpoints that name none.
const ALGORITHM: Algorithm = Algorithm::RS256;
const DOORS: [&str; 2] = ["HTTP", "SQS"];
/// The answer of `echo` to a first attempt.
const TOO_EARLY: u64 = 425;
/// An older run left its endpoints. No run takes so long.
const LEFT_AFTER_SECONDS: u64 = 900;
/// After a failure, deliveries that are under way may end by themselves for so long.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Tries the stack out, and removes its endpoints, after a failure and Ctrl-C as well.
///
/// # Errors
/// A step failed.
pub async fn run(args: &Smoke, stack: &Stack<'_>, output: &Output) -> Outcome {
    let mut stop = Stop::listen()?;
    let id = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let mut run = Run {
        stack,
        output,
        wait: Duration::from_secs(args.wait),
        id,
        endpoints: Vec::new(),
        sent: Vec::new(),
        step: String::new(),
        began: Instant::now(),
        steps: Vec::new(),
    };
    let result = tokio::select! {
        () = stop.wait() => Err(Failure::refused("stopped by a signal", "run it again")),
        result = run.try_out() => result,
    };
    if let Err(failure) = result {
        run.clean_up().await;
        return Err(failure.within(&format!("the smoke test failed at `{}`", run.step)));
    }
    match output.form() {
        Form::Json => output.one(&json!(run.steps), |_| Vec::new()),
        Form::Jsonl => Ok(()),
        Form::Table => output.line("all steps succeeded"),
    }
}

/// One run: its endpoints, its events, and the step that it is at.
struct Run<'a> {
    stack: &'a Stack<'a>,
    output: &'a Output,
    wait: Duration,
    id: String,
    /// In the order of [`FORMATS`].
    endpoints: Vec<Value>,
    sent: Vec<&'static str>,
    step: String,
    began: Instant,
    steps: Vec<Value>,
}

impl Run<'_> {
    async fn try_out(&mut self) -> Outcome {
        self.begin("find the stack".to_owned());
        let url = format!("{}/smoke", self.find().await?);
        self.end(&url)?;
        self.begin("remove what an earlier run left".to_owned());
        let removed = self.remove(|description| is_left(description, now())).await?;
        self.end(&format!("{removed} endpoints"))?;
        self.begin("create an endpoint for each signature format".to_owned());
        for format in FORMATS {
            let endpoint = self.create(&url, format).await?;
            self.endpoints.push(endpoint);
        }
        self.end("")?;
        self.begin("wait until the endpoints are enabled".to_owned());
        self.wait_until_enabled().await?;
        self.end("")?;
        for door in DOORS {
            self.begin(format!("send an event by {door}"));
            self.sent.push(door);
            let event = [self.event(door).to_string()];
            if door == "HTTP" {
                post(&event, self.stack).await?;
            } else {
                enqueue(&event, self.stack).await?;
            }
            self.end("")?;
        }
        for door in DOORS {
            self.begin(format!("wait for the webhooks of the event by {door}"));
            self.wait_for_webhooks(door).await?;
            self.end("")?;
        }
        for door in DOORS {
            for (index, format) in FORMATS.iter().enumerate() {
                self.begin(format!("verify {} of the event by {door}", format.as_str()));
                let request = self.arrived(door, index).await?;
                let by = self.verify(&request, index).await?;
                self.end(&by)?;
            }
        }
        self.begin("remove the endpoints".to_owned());
        self.remove_own().await?;
        self.end("")
    }

    fn begin(&mut self, step: String) {
        (self.step, self.began) = (step, Instant::now());
    }

    fn end(&mut self, result: &str) -> Outcome {
        let seconds = self.began.elapsed().as_secs_f64();
        let step = json!({"step": self.step, "seconds": seconds, "result": result});
        match self.output.form() {
            Form::Json => {}
            Form::Jsonl => self.output.line(&step.to_string())?,
            Form::Table => {
                let result = if result.is_empty() { String::new() } else { format!(": {result}") };
                self.output.line(&format!("{seconds:5.1} s  {}{result}", self.step))?;
            }
        }
        self.steps.push(step);
        Ok(())
    }

    // - The stack and its endpoints -

    /// Returns the URL of the API. A caller who may not ask CloudFormation learns of a missing route by its answer 404.
    async fn find(&self) -> Outcome<String> {
        if let Ok(description) = self.stack.describe().await
            && description.parameters.get("SmokeTest").is_some_and(|value| value != "true")
        {
            let what = format!("stack `{}` has no route /smoke", self.stack.name());
            return Err(Failure::refused(what, "deploy it with SmokeTest=true"));
        }
        Ok(self.stack.output(API_URL).await?.trim_end_matches('/').to_owned())
    }

    async fn create(&self, url: &str, format: Format) -> Outcome<Value> {
        let settings = json!({
            "url": url, "types": [{"type": self.kind()}], "signatures": [format.as_str()],
            // A second, so that the retry comes at once. Two more than are needed.
            "retry": {"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"},
            "description": format!("smoke test {}, begun at {}", self.id, now()),
        });
        self.stack.call(Call::new(&CREATE_ENDPOINT, &[("tenant", TENANT)]).with_json(&settings)).await
    }

    async fn wait_until_enabled(&self) -> Outcome {
        let deadline = Instant::now() + self.wait;
        for endpoint in &self.endpoints {
            let id = text(&endpoint["id"]);
            let path = [("tenant", TENANT), ("endpoint", id.as_str())];
            loop {
                let state = text(&self.stack.call(Call::new(&GET_ENDPOINT, &path)).await?["state"]);
                if state == "enabled" {
                    break;
                }
                if Instant::now() > deadline {
                    let what = format!("{id} is {state} after {} s; expected enabled", self.wait.as_secs());
                    return Err(Failure::timed_out(what, "look at the log group of EchoFunction"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Removes the endpoints with such a description. Returns their number.
    async fn remove(&self, is_chosen: impl Fn(&str) -> bool) -> Outcome<usize> {
        let path = [("tenant", TENANT)];
        let all = self.stack.pages(&Call::new(&LIST_ENDPOINTS, &path), "endpoints").await?;
        let chosen: Vec<_> = all.iter().filter(|one| is_chosen(&text(&one["description"]))).collect();
        for endpoint in &chosen {
            let id = text(&endpoint["id"]);
            match self.stack.call(Call::new(&DELETE_ENDPOINT, &[("tenant", TENANT), ("endpoint", &id)])).await {
                Err(failure) if failure.is(Exit::NotFound) => {} // Another run removed it.
                other => drop(other?),
            }
        }
        Ok(chosen.len())
    }

    /// Removes the endpoints of this run; also one whose creation got no answer.
    async fn remove_own(&self) -> Outcome<usize> {
        let own = format!("smoke test {},", self.id);
        self.remove(|description| description.starts_with(&own)).await
    }

    /// Waits until no delivery is under way, because one whose endpoint is gone ends in `DeadLetterQueue`.
    async fn clean_up(&self) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        while Instant::now() < deadline && self.is_under_way().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if let Err(Failure::Told(told)) = self.remove_own().await {
            self.output.say(&format!("cannot remove the endpoints: {}; the next run removes them", told.what));
        }
    }

    async fn is_under_way(&self) -> bool {
        for door in &self.sent {
            // If the API does not answer, nothing can be waited for.
            let Ok(found) = self.deliveries(door).await else { return false };
            if self.ids().iter().any(|id| found.get(id).is_none_or(|one| one["status"] == "pending")) {
                return true;
            }
        }
        false
    }

    fn ids(&self) -> Vec<String> {
        self.endpoints.iter().map(|one| text(&one["id"])).collect()
    }

    // - Events and their records -

    fn kind(&self) -> String {
        format!("smoke-{}", self.id)
    }

    fn event(&self, door: &str) -> Value {
        json!({
            "specversion": "1.0", "id": format!("{}-{door}", self.id), "source": SOURCE, "type": self.kind(),
            "tenant": TENANT,
            "data": {"run": self.id, "door": door, "text": "a b"}, // With a space, which bodies spell as an escape.
        })
    }

    /// Returns the deliveries of an event, by endpoint.
    async fn deliveries(&self, door: &str) -> Outcome<Map<String, Value>> {
        let event = format!("{}-{door}", self.id);
        let path = [("tenant", TENANT), ("event", event.as_str())];
        let call = Call::new(&READ_EVENT, &path).with_query(&[("source", Some(SOURCE))]);
        let history = match self.stack.call(call).await {
            Err(failure) if failure.is(Exit::NotFound) => return Ok(Map::new()), // It has not arrived yet.
            other => other?,
        };
        let all = history["deliveries"].as_array().into_iter().flatten();
        Ok(all.map(|one| (text(&one["endpoint"]), one.clone())).collect())
    }

    async fn wait_for_webhooks(&self, door: &str) -> Outcome {
        let deadline = Instant::now() + self.wait;
        loop {
            let found = self.deliveries(door).await?;
            let states: Vec<_> = self
                .ids()
                .iter()
                .map(|id| found.get(id).map_or("not there".to_owned(), |one| text(&one["status"])))
                .collect();
            if states.iter().all(|state| state == "delivered") {
                return Ok(());
            }
            let errors = last_errors(&found);
            let pairs: Vec<_> =
                FORMATS.iter().zip(&states).map(|(format, state)| format!("{} is {state}", format.as_str())).collect();
            if states.iter().any(|state| state == "exhausted") {
                let what = format!("Signpost gave up: {}{errors}", pairs.join(", "));
                return Err(Failure::refused(what, "see docs/operating.md, Causes"));
            }
            if Instant::now() > deadline {
                let what = format!("{}{errors} after {} s", pairs.join(", "), self.wait.as_secs());
                let queue = if door == "SQS" {
                    "RejectedQueue, which has invalid events"
                } else {
                    "the log group of IngestFunction"
                };
                return Err(Failure::timed_out(
                    what,
                    format!("look at the log groups of FanoutFunction and DeliverFunction, and at {queue}"),
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Checks the record of a delivery, and returns the request that its endpoint got.
    async fn arrived(&self, door: &str, index: usize) -> Outcome<SavedRequest> {
        let endpoint = &self.endpoints[index];
        let found = self.deliveries(door).await?;
        let delivery = found.get(&text(&endpoint["id"])).cloned().unwrap_or_default();
        echoed(&delivery, &self.event(door)["data"], &text(&endpoint["url"]))
    }

    /// Verifies the signature. Fetches the key set again if it lacks the key: a cache of it may be older than the endpoint.
    async fn verify(&self, request: &SavedRequest, index: usize) -> Outcome<String> {
        let endpoint = &self.endpoints[index];
        let (deadline, place) = (Instant::now() + self.wait, text(&endpoint["jwksUrl"]));
        loop {
            let trust = Trust {
                keys: keys(&place, self.stack.aws).await?,
                secrets: parse_secret(&text(&endpoint["signingSecret"])).into_iter().collect(),
                endpoint: endpoint["id"].as_str().map(str::to_owned),
                url: url::Url::parse(&text(&endpoint["url"])).ok(),
                algorithm: None,
                now: None, // The first attempt was up to `--wait` ago.
                tolerance: Duration::ZERO,
            };
            match judge(request, FORMATS[index], &trust) {
                Ok(by) => return Ok(by),
                Err(unfit) if !unfit.may_lack_a_key || Instant::now() > deadline => return Err(unfit.failure),
                Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
            }
        }
    }
}

/// Reads the request that arrived from the record of its delivery: the answer of `echo` to the first attempt.
///
/// # Errors
/// The endpoint got something else than what was sent, or answered something else than `echo` does.
pub fn echoed(delivery: &Value, data: &Value, url: &str) -> Outcome<SavedRequest> {
    let attempts = delivery["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answers: Vec<_> = attempts.iter().filter_map(|one| one["status"].as_u64()).collect();
    if answers.first() != Some(&TOO_EARLY) || answers.len() < 2 || answers.last() != Some(&204) {
        let what = format!("the record has the answers {answers:?}; expected [{TOO_EARLY}, 204]");
        return Err(Failure::refused(what, "look at the log group of EchoFunction"));
    }
    let answer: Value = serde_json::from_str(&text(&attempts[0]["response"])).unwrap_or_default();
    let (Some(headers), Some(body)) = (answer["headers"].as_object(), answer["body"].as_str()) else {
        let what = format!("the first answer is `{}`; expected what arrived", text(&attempts[0]["response"]));
        return Err(Failure::refused(what, "look for a proxy that answers instead of EchoFunction"));
    };
    let proxy = "look for a proxy that changes requests";
    let hash = digest(&SHA256, body.as_bytes());
    let sha256 = hexadecimal(hash);
    let sent = text(&attempts[0]["sent"]["bodySha256"]);
    if sent != sha256 {
        let what = format!("a body with the SHA-256 {sha256} arrived; the record says that {sent} was sent");
        return Err(Failure::refused(what, proxy));
    }
    if serde_json::from_str::<Value>(body).ok().as_ref() != Some(data) {
        return Err(Failure::refused(format!("`{body}` arrived; expected the data of the event"), proxy));
    }
    Ok(SavedRequest {
        method: Some("POST".to_owned()),
        target: Some(url.to_owned()),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: body.as_bytes().to_vec(),
    })
}

/// The reason why a signature does not pass.
#[derive(Debug)]
pub struct Unfit {
    /// For the operator.
    pub failure: Failure,
    /// Whether a newer key set may have the key.
    pub may_lack_a_key: bool,
}

/// Judges the signature of one format as `infra/smoke.py` does. It must be valid, by the algorithm that the endpoint
/// has, and cover all that Signpost covers. Returns the algorithm and the key.
///
/// # Errors
/// The signature does not pass.
pub fn judge(request: &SavedRequest, format: Format, trust: &Trust) -> Result<String, Unfit> {
    let proxy = "look for a proxy that changes requests, and compare KeysUrl with this stack";
    let refused = |what: String| Unfit { failure: Failure::refused(what, proxy), may_lack_a_key: false };
    let report = verify(request, trust);
    let Some(check) = report.checks.into_iter().find(|check| check.format == format) else {
        return Err(refused(format!("the webhook has no signature of the format {}", format.as_str())));
    };
    let Verified { by, kid } = check.result.map_err(|Diagnosis { step, found, .. }| Unfit {
        may_lack_a_key: step.may_lack_a_key(),
        ..refused(format!("the signature does not verify: {}: {found}", step.as_str()))
    })?;
    let (demanded, covered): (_, &[&str]) = match format {
        Format::Jws => (ALGORITHM.as_str(), &[]),
        Format::StandardWebhooks => ("v1 and v1a", &[]),
        Format::HttpMessageSignatures => (ALGORITHM.http_signature_name(), &["ce-type", "ce-source"]),
    };
    if by != demanded {
        // Without the endpoint's key, `v1a` cannot be verified.
        let has_key = trust.keys.iter().any(|key| key.endpoint.is_some() && key.endpoint == trust.endpoint);
        let may_lack_a_key = format == Format::StandardWebhooks && !has_key;
        return Err(Unfit { may_lack_a_key, ..refused(format!("the signature is by {by}; expected {demanded}")) });
    }
    // If the request has them, `verify` demands that the signature covers them.
    if let Some(missing) = covered.iter().find(|name| request.header(name).is_none()) {
        return Err(refused(format!("the webhook has no `{missing}`; expected one that the signature covers")));
    }
    Ok(kid.map_or_else(|| by.clone(), |kid| format!("{by}, kid {kid}")))
}

/// Returns whether a run that was killed left the endpoint, and not a run that may still go on.
fn is_left(description: &str, now: u64) -> bool {
    let begun = description.strip_prefix("smoke test ").and_then(|rest| rest.split_once(", begun at "));
    begun.and_then(|(_, at)| at.parse::<u64>().ok()).is_some_and(|at| at.saturating_add(LEFT_AFTER_SECONDS) < now)
}

fn last_errors(found: &Map<String, Value>) -> String {
    let error = |one: &Value| one["attempts"].as_array()?.last()?["error"].as_str().map(|error| format!(" ({error})"));
    let errors: std::collections::BTreeSet<_> = found.values().filter_map(error).collect();
    errors.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endpoints_of_old_runs_are_left() {
        for (description, expected, why) in [
            ("smoke test 0123abcd, begun at 99", true, "901 seconds ago"),
            ("smoke test 0123abcd, begun at 100", false, "a run takes no longer than 900 seconds"),
            ("smoke test 0123abcd, begun at soon", false, "not a number"),
            ("an operator's own", false, "no run made it"),
            ("", false, "no description"),
        ] {
            assert_eq!(is_left(description, 1_000), expected, "{why}");
        }
    }
}
