//! Counts the SDK's requests to KMS, and those that fail, by service. One connector sees the requests of all clients.

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use signpost_engine::metrics::{Meter, Metric};

/// A connector that counts.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) inner: SharedHttpConnector,
    pub(crate) meter: Meter,
}

impl HttpConnector for Metered {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = Service::of(request.headers().get(TARGET).unwrap_or_default());
        if service == Some(Service::Kms) {
            self.meter.add(Metric::KmsCalls, 1);
        }
        let (answer, failure) = (self.inner.call(request), Failure { service, meter: self.meter.clone() });
        HttpConnectorFuture::new(async move {
            let (answer, is_failure) = judge(answer.await?).await?;
            if !is_failure {
                failure.did_not_happen();
            }
            Ok(answer)
        })
    }
}

/// The header that names the service and the operation in AWS's JSON protocols.
const TARGET: &str = "x-amz-target";

/// A service that Signpost calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    DynamoDb,
    Kms,
    Sqs,
}

impl Service {
    fn of(target: &str) -> Option<Self> {
        match target.split('.').next()? {
            "AmazonSQS" => Some(Self::Sqs),
            "DynamoDB_20120810" => Some(Self::DynamoDb),
            "TrentService" => Some(Self::Kms),
            _ => None,
        }
    }

    fn errors(self) -> Metric {
        match self {
            Self::DynamoDb => Metric::DynamoDbErrors,
            Self::Kms => Metric::KmsErrors,
            Self::Sqs => Metric::SqsErrors,
        }
    }
}

/// A request that counts as a failure when this is dropped, unless [`Self::did_not_happen`]. So a request that the SDK gives
/// up, because its time is over, counts too.
#[derive(Debug)]
struct Failure {
    service: Option<Service>,
    meter: Meter,
}

impl Failure {
    fn did_not_happen(mut self) {
        self.service = None;
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        if let Some(service) = self.service {
            self.meter.add(service.errors(), 1);
        }
    }
}

/// The errors that are answers to a question: a condition did not hold, or a MAC is not valid.
const ANSWERS: [&str; 3] =
    ["ConditionalCheckFailedException", "KMSInvalidMacException", "TransactionCanceledException"];

/// Returns an answer with whether it is a failure. To know that, it reads the body of an error.
async fn judge(mut answer: HttpResponse) -> Result<(HttpResponse, bool), ConnectorError> {
    if answer.status().is_success() {
        return Ok((answer, false));
    }
    let body = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
    let body = body.collect().await.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
    let is_answer = ANSWERS.iter().any(|error| contains(&body, error.as_bytes()));
    *answer.body_mut() = SdkBody::from(body);
    Ok((answer, !is_answer))
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use std::future;

    use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
    use aws_smithy_runtime_api::http::StatusCode;
    use futures_util::FutureExt as _;

    use super::*;

    /// Answers every request in the same way; never, if there is no answer.
    #[derive(Clone, Debug)]
    struct Always(Option<Result<(u16, &'static str), &'static str>>);

    impl HttpConnector for Always {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let Some(answer) = self.0 else { return HttpConnectorFuture::new(future::pending()) };
            HttpConnectorFuture::ready(match answer {
                Ok((status, body)) => Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body))),
                Err(error) => Err(ConnectorError::io(error.into())),
            })
        }
    }

    type Counted = &'static [(Metric, u64)];

    #[test]
    fn each_request_that_fails_counts_for_its_service_and_each_request_to_kms_costs() {
        let condition = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}"#;
        let throttled = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
        let no_mac = r#"{"__type":"KMSInvalidMacException"}"#;
        let dynamodb = "DynamoDB_20120810.PutItem";
        let cases: [(&str, _, Counted, &str); 9] = [
            (dynamodb, Some(Ok((200, "{}"))), &[], "an answer"),
            (dynamodb, Some(Ok((400, condition))), &[], "a condition that did not hold is an answer"),
            (dynamodb, Some(Ok((400, throttled))), &[(Metric::DynamoDbErrors, 1)], "throttled"),
            (dynamodb, Some(Ok((500, ""))), &[(Metric::DynamoDbErrors, 1)], "a fault of AWS"),
            (dynamodb, Some(Err("reset")), &[(Metric::DynamoDbErrors, 1)], "no connection"),
            (dynamodb, None, &[(Metric::DynamoDbErrors, 1)], "given up"),
            ("AmazonSQS.SendMessageBatch", Some(Ok((503, ""))), &[(Metric::SqsErrors, 1)], "another service"),
            ("TrentService.VerifyMac", Some(Ok((400, no_mac))), &[(Metric::KmsCalls, 1)], "a verdict"),
            (
                "TrentService.Decrypt",
                Some(Ok((400, "{}"))),
                &[(Metric::KmsCalls, 1), (Metric::KmsErrors, 1)],
                "each try costs",
            ),
        ];
        for (target, answer, expected, why) in cases {
            let meter = Meter::default();
            let metered = Metered { inner: SharedHttpConnector::new(Always(answer)), meter: meter.clone() };
            let mut request = HttpRequest::empty();
            request.headers_mut().insert(TARGET, target);
            let answered = metered.call(request).now_or_never();
            let body = answered.and_then(Result::ok).map(|answer| answer.body().bytes().unwrap().to_vec());
            let sent = answer.and_then(Result::ok).map(|(_, body)| body.as_bytes().to_vec());
            assert_eq!(body, sent, "{why}: the body is still there");
            assert_eq!(meter.take().all.numbers.into_iter().collect::<Vec<_>>(), expected, "{why}");
        }
    }
}
