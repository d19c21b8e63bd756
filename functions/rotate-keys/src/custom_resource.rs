//! CloudFormation custom resources: the request of a deploy, and the answer that it waits for.

use serde::Deserialize;
use serde_json::json;

/// How many characters a reason may have. CloudFormation accepts answers of up to 4,096 bytes, and a character may take
/// six.
const REASON_CHARS: usize = 500;

/// A request from CloudFormation ("Custom resource request objects").
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CustomResourceEvent {
    request_type: String,
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
}

impl CustomResourceEvent {
    /// Returns whether the resource is deleted with its stack. Keys stay, because the table is retained.
    pub(crate) fn is_delete(&self) -> bool {
        self.request_type == "Delete"
    }

    /// Returns the answer ("Custom resource response objects"), with the reason of a failure.
    fn answer(&self, failure: Option<&str>) -> String {
        let mut answer = json!({
            "Status": if failure.is_some() { "FAILED" } else { "SUCCESS" },
            "PhysicalResourceId": "signing-keys",
            "StackId": self.stack_id,
            "RequestId": self.request_id,
            "LogicalResourceId": self.logical_resource_id,
        });
        if let Some(reason) = failure {
            answer["Reason"] = reason.chars().take(REASON_CHARS).collect::<String>().into();
        }
        answer.to_string()
    }
}

/// A client that answers CloudFormation at the presigned URL of the request.
#[derive(Debug)]
pub(crate) struct Responder {
    client: reqwest::Client,
}

impl Responder {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client })
    }

    /// Sends the answer. Without it, the deploy would wait for an hour.
    pub(crate) async fn answer(
        &self,
        request: &CustomResourceEvent,
        failure: Option<&str>,
    ) -> Result<(), reqwest::Error> {
        // No content-type, because the presigned URL was signed without one.
        let put = self.client.put(&request.response_url).body(request.answer(failure));
        put.send().await.and_then(reqwest::Response::error_for_status).map_err(reqwest::Error::without_url)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const CREATE: &str = include_str!("../../../events/rotate-keys-custom-resource.json");

    #[test]
    fn the_answer_to_a_deploy_has_the_outcome_and_the_ids_of_the_request() {
        let request: CustomResourceEvent = serde_json::from_str(CREATE).unwrap();
        let asked: Value = serde_json::from_str(CREATE).unwrap();
        let endless = "\u{1}".repeat(10_000); // Six bytes each, in JSON.
        for (failure, status) in [(None, "SUCCESS"), (Some("throttled"), "FAILED"), (Some(endless.as_str()), "FAILED")]
        {
            let text = request.answer(failure);
            assert!(text.len() <= 4_096, "CloudFormation would refuse it: {}", text.len());
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(answer["Status"], status);
            for id in ["StackId", "RequestId", "LogicalResourceId"] {
                assert_eq!(answer[id], asked[id], "{id}");
            }
            assert_eq!(answer["Reason"].is_string(), failure.is_some(), "FAILED needs a reason");
        }
    }

    #[test]
    fn other_payloads_are_not_deploys() {
        for payload in [r#"{"force":true}"#, "{}", r#"{"source":"aws.events"}"#] {
            assert!(serde_json::from_str::<CustomResourceEvent>(payload).is_err(), "{payload}");
        }
    }
}
