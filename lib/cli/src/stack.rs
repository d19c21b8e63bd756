//! The deployed stack: its outputs, which CloudFormation knows, and the calls that need them.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use url::form_urlencoded;
use xmlparser::{Token, Tokenizer};

use crate::args::Global;
use crate::aws::{Answer, Aws, Unsigned};
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};

/// The name that `make deploy` gives a stack.
pub const DEFAULT_NAME: &str = "signpost";

/// An output of the stack, and the variable that may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackOutput {
    name: &'static str,
    variable: &'static str,
}

/// The URL of the API.
pub const API_URL: StackOutput = StackOutput { name: "ApiUrl", variable: "API_URL" };
/// The queue for events.
pub const EVENTS_QUEUE_URL: StackOutput = StackOutput { name: "EventsQueueUrl", variable: "EVENTS_QUEUE_URL" };
/// The queue of deliveries that were given up.
pub const DEAD_LETTER_QUEUE_URL: StackOutput =
    StackOutput { name: "DeadLetterQueueUrl", variable: "DEAD_LETTER_QUEUE_URL" };
/// The queue of invalid events.
pub const REJECTED_QUEUE_URL: StackOutput = StackOutput { name: "RejectedQueueUrl", variable: "REJECTED_QUEUE_URL" };
/// The function that redrives.
pub const SWEEP_FUNCTION: StackOutput = StackOutput { name: "SweepFunctionName", variable: "SWEEP_FUNCTION" };
/// The function that makes signing keys.
pub const ROTATE_KEYS_FUNCTION: StackOutput =
    StackOutput { name: "RotateKeysFunctionName", variable: "ROTATE_KEYS_FUNCTION" };

/// A stack of the account.
#[derive(Debug)]
pub struct Stack<'a> {
    /// The caller.
    pub aws: &'a Aws<'a>,
    global: &'a Global,
    environment: &'a Environment,
    description: OnceCell<Description>,
}

/// The answer of CloudFormation about a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Outputs by name.
    pub outputs: BTreeMap<String, String>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// The status, such as `UPDATE_COMPLETE`.
    pub status: String,
    /// When the stack was last deployed.
    pub changed_at: String,
    /// The description of the template.
    pub description: String,
}

impl<'a> Stack<'a> {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(aws: &'a Aws<'a>, global: &'a Global, environment: &'a Environment) -> Self {
        Self { aws, global, environment, description: OnceCell::new() }
    }

    /// Returns the stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.global.stack.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// Returns an output. A variable of the environment stands for it, unless `--stack` names a stack.
    ///
    /// # Errors
    /// The stack does not exist, or has no such output.
    pub async fn output(&self, output: StackOutput) -> Outcome<&str> {
        if self.global.stack.is_none()
            && let Some(value) = self.environment.get(output.variable)
        {
            return Ok(value);
        }
        let description = self.describe().await?;
        description.outputs.get(output.name).map(String::as_str).ok_or_else(|| {
            let what = format!("stack `{}` has no output `{}`", self.name(), output.name);
            Failure::not_found(what, format!("name a stack of Signpost with --stack, or set {}", output.variable))
        })
    }

    /// Returns the URL of the API, if it was looked up before.
    #[must_use]
    pub fn known_api_url(&self) -> Option<&str> {
        let of_environment = self.environment.get(API_URL.variable).filter(|_| self.global.stack.is_none());
        of_environment.or_else(|| self.description.get()?.outputs.get(API_URL.name).map(String::as_str))
    }

    /// Asks CloudFormation for the stack.
    ///
    /// # Errors
    /// The stack does not exist, or the caller may not ask.
    pub async fn describe(&self) -> Outcome<&Description> {
        self.description
            .get_or_try_init(|| async {
                let query = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", self.name())];
                let answer = self.query("cloudformation", &query).await?;
                let text = answer.text();
                if answer.status == 200 {
                    return Ok(Description::parse(&text));
                }
                let message =
                    element(&text, "Message").unwrap_or_else(|| format!("CloudFormation answered {}", answer.status));
                if message.contains("does not exist") {
                    let region = self.aws.region().await?;
                    let what = format!("there is no stack `{}` in {region}", self.name());
                    return Err(Failure::not_found(
                        what,
                        "add --stack, --region or --profile; on the local stack, load .local/stack.env",
                    ));
                }
                Err(Failure::refused(
                    message,
                    format!("allow cloudformation:DescribeStacks, or set {}", API_URL.variable),
                ))
            })
            .await
    }

    /// Asks AWS who the caller is.
    ///
    /// # Errors
    /// STS refuses.
    pub async fn caller(&self) -> Outcome<(String, String)> {
        let answer = self.query("sts", &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).await?;
        let text = answer.text();
        match (element(&text, "Account"), element(&text, "Arn")) {
            (Some(account), Some(arn)) if answer.status == 200 => Ok((account, arn)),
            _ => {
                let message = element(&text, "Message").unwrap_or_else(|| format!("STS answered {}", answer.status));
                Err(Failure::refused(message, "check the credentials: they may have expired"))
            }
        }
    }

    /// Calls one of AWS's query APIs, which take a form and answer in XML.
    async fn query(&self, service: &'static str, query: &[(&str, &str)]) -> Outcome<Answer> {
        let url = format!("{}/", self.aws.service_url(service).await?);
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.aws
            .send(Unsigned { service, method: Method::POST, url: &url, headers: &headers, body: body.into_bytes() })
            .await
    }

    /// Calls SQS.
    ///
    /// # Errors
    /// SQS refuses.
    pub async fn sqs(&self, operation: &str, body: &Value) -> Outcome<Value> {
        let url = format!("{}/", self.aws.service_url("sqs").await?);
        let target = format!("AmazonSQS.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let body = body.to_string().into_bytes();
        let answer = self
            .aws
            .send(Unsigned { service: "sqs", method: Method::POST, url: &url, headers: &headers, body })
            .await?;
        if answer.status == 200 {
            return Ok(answer.json());
        }
        let problem = answer.json();
        let message = problem["message"].as_str().or(problem["Message"].as_str()).unwrap_or("no reason");
        let what = format!("SQS refused {operation} ({}): {message}", answer.status);
        Err(Failure::refused(what, format!("allow sqs:{} on the queue", operation.trim_end_matches("Batch"))))
    }

    /// Invokes a function of the stack, and returns its answer.
    ///
    /// # Errors
    /// The function does not exist, refuses the payload, or fails.
    pub async fn invoke(&self, function: StackOutput, payload: &Value) -> Outcome<Value> {
        let name = self.output(function).await?;
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.aws.service_url("lambda").await?);
        let headers = [("content-type", "application/json")];
        let body = payload.to_string().into_bytes();
        let answer = self
            .aws
            .send(Unsigned { service: "lambda", method: Method::POST, url: &url, headers: &headers, body })
            .await?;
        let said = answer.json();
        if answer.status == 200 && answer.headers.get("x-amz-function-error").is_none() {
            return Ok(said);
        }
        let message = said["errorMessage"]
            .as_str()
            .or(said["message"].as_str())
            .or(said["Message"].as_str())
            .unwrap_or("no reason");
        let what = format!("function `{name}` did not do it ({}): {message}", answer.status);
        Err(Failure::refused(what, "allow lambda:InvokeFunction on it; its log group has the cause"))
    }

    /// Returns the number of messages in a queue, which SQS estimates.
    ///
    /// # Errors
    /// SQS refuses.
    pub async fn depth(&self, queue_url: &str) -> Outcome<u64> {
        let (visible, hidden) = self.visible_and_hidden(queue_url).await?;
        Ok(visible + hidden)
    }

    /// Returns the numbers of messages in a queue that a receiver can get now, and that are hidden by another look. SQS
    /// estimates both.
    ///
    /// # Errors
    /// SQS refuses.
    pub async fn visible_and_hidden(&self, queue_url: &str) -> Outcome<(u64, u64)> {
        let body = json!({"QueueUrl": queue_url, "AttributeNames": ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]});
        let answer = self.sqs("GetQueueAttributes", &body).await?;
        let number = |name: &str| {
            answer["Attributes"][name].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok((number("ApproximateNumberOfMessages"), number("ApproximateNumberOfMessagesNotVisible")))
    }
}

impl Description {
    /// Reads the answer to `DescribeStacks`.
    #[must_use]
    pub fn parse(xml: &str) -> Self {
        let mut all = Self::default();
        let mut key = String::new();
        for (path, text) in texts(xml) {
            let last = path.last().map(String::as_str).unwrap_or_default();
            let is_output = path.iter().any(|one| one == "Outputs");
            match last {
                "OutputKey" | "ParameterKey" => key = text,
                "OutputValue" => drop(all.outputs.insert(std::mem::take(&mut key), text)),
                "ParameterValue" => drop(all.parameters.insert(std::mem::take(&mut key), text)),
                "StackStatus" => all.status = text,
                "CreationTime" if all.changed_at.is_empty() => all.changed_at = text,
                "LastUpdatedTime" => all.changed_at = text,
                "Description" if !is_output => all.description = text,
                _ => {}
            }
        }
        all
    }
}

/// Returns the text of the first element with this name.
fn element(xml: &str, name: &str) -> Option<String> {
    texts(xml).into_iter().find(|(path, _)| path.last().is_some_and(|last| last == name)).map(|(_, text)| text)
}

/// Lists the texts of a document, each with the names of the elements around it. A document that is cut ends early.
fn texts(xml: &str) -> Vec<(Vec<String>, String)> {
    let (mut all, mut path) = (Vec::new(), Vec::new());
    for token in Tokenizer::from(xml) {
        match token {
            Ok(Token::ElementStart { local, .. }) => path.push(local.as_str().to_owned()),
            Ok(Token::ElementEnd { end: xmlparser::ElementEnd::Open, .. }) => {}
            Ok(Token::ElementEnd { .. }) => drop(path.pop()),
            Ok(Token::Text { text }) if !text.as_str().trim().is_empty() => {
                all.push((path.clone(), unescaped(text.as_str().trim())));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    all
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
