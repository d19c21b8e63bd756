//! Webhooks as messages of SQS and as events of EventBridge: the call of one attempt, its limits, and what AWS's answer
//! means.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::delivery::attempt::{AttemptError, AttemptResult};
use crate::delivery::cause::DestinationFault;
use crate::delivery::request::{AttemptStart, Request};
use crate::endpoint::destination::{Destination, Kind};
use crate::event::Event;
use crate::fingerprint::{fingerprint, hexadecimal};

/// The maximum size of a message of SQS with its attributes, in bytes ([message quotas][quotas]).
///
/// [quotas]: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// The maximum number of attributes of a message (same page).
pub const MAX_ATTRIBUTES: usize = 10;

/// The maximum size of an entry of `PutEvents`, in bytes: 1 MB since January 2026 ([announcement][news]). The size is that
/// of source, type and detail ([calculation][size]).
///
/// [news]: https://aws.amazon.com/blogs/compute/more-room-to-build-serverless-services-now-support-payloads-up-to-1-mb
/// [size]: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
pub const MAX_ENTRY_BYTES: usize = 1_048_576;

/// The attribute with all headers that have no attribute of their own, as a JSON object.
pub const MORE_HEADERS: &str = "more-headers";

/// The headers that come first if there are more than attributes: those by which receivers verify and route.
const FIRST: [&str; 9] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "jws-signature",
    "ce-type",
    "ce-source",
    "content-type",
    "signpost-attempt",
    "signpost-replay",
];

/// One call of AWS's JSON protocol, unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The media type of the protocol's version.
    pub content_type: &'static str,
    /// The operation: the header `x-amz-target`.
    pub operation: &'static str,
    /// The body.
    pub body: String,
}

impl Call {
    /// Builds the call by which AWS takes the webhook `request` of `event`.
    ///
    /// The signed bytes travel as a text: the body of the message, or `body` in the detail of the event. EventBridge
    /// reads JSON in the detail and writes it again, and refuses whole numbers of more than 64 bits.
    ///
    /// # Errors
    /// [`AttemptError::MessageTooLarge`].
    pub fn build(
        request: &Request,
        destination: &Destination,
        event: &Event,
        start: AttemptStart,
    ) -> Result<Self, AttemptError> {
        match destination.resource.kind {
            Kind::EventBridge => put_events(request, destination, event),
            Kind::Sqs => send_message(request, destination, event, start),
        }
    }
}

fn put_events(request: &Request, destination: &Destination, event: &Event) -> Result<Call, AttemptError> {
    let headers: Map<_, _> = request.headers.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
    let detail = json!({ "headers": headers, "body": request.body }).to_string();
    let (source, kind) = (source_of(event), &*event.kind); // A type has at most 128 bytes, and so has a `DetailType`.
    let bytes = source.len() + kind.len() + detail.len();
    if bytes > MAX_ENTRY_BYTES {
        return Err(AttemptError::MessageTooLarge { kind: Kind::EventBridge, bytes, limit: MAX_ENTRY_BYTES });
    }
    let entry = json!({
        "EventBusName": destination.resource.to_string(), "Source": source, "DetailType": kind, "Detail": detail,
    });
    let body = json!({ "Entries": [entry] }).to_string();
    Ok(Call { content_type: "application/x-amz-json-1.1", operation: "AWSEvents.PutEvents", body })
}

/// Returns the `Source` of an event: its own, unless that begins like those of AWS, which no one else may use.
fn source_of(event: &Event) -> Cow<'_, str> {
    let source = &*event.key.source;
    let is_reserved = source.get(..4).is_some_and(|first| first.eq_ignore_ascii_case("aws."));
    if is_reserved { Cow::Owned(format!("signpost:{source}")) } else { Cow::Borrowed(source) }
}

fn send_message(
    request: &Request,
    destination: &Destination,
    event: &Event,
    start: AttemptStart,
) -> Result<Call, AttemptError> {
    const TYPE: &str = "String";
    let attributes = attributes_of(&request.headers);
    let sizes = attributes.iter().map(|(name, value)| name.len() + TYPE.len() + value.len());
    let bytes = request.body.len() + sizes.sum::<usize>();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(AttemptError::MessageTooLarge { kind: Kind::Sqs, bytes, limit: MAX_MESSAGE_BYTES });
    }
    let attribute = |value: &str| json!({ "DataType": TYPE, "StringValue": value });
    let attributes: Map<_, _> = attributes.iter().map(|(name, value)| (name.to_string(), attribute(value))).collect();
    let mut body = json!({
        "QueueUrl": destination.resource.url(), "MessageBody": request.body, "MessageAttributes": attributes,
    });
    if destination.resource.is_fifo() {
        let (group, deduplication) = fifo_ids(event, start);
        body["MessageGroupId"] = group.into();
        body["MessageDeduplicationId"] = deduplication.into();
    }
    let body = body.to_string();
    Ok(Call { content_type: "application/x-amz-json-1.0", operation: "AmazonSQS.SendMessage", body })
}

/// Returns the attributes of a message: each header, or the first nine and [`MORE_HEADERS`] if there are more than ten.
/// SQS takes no empty values.
fn attributes_of<'a>(headers: &'a [(Cow<'static, str>, String)]) -> Vec<(&'a str, Cow<'a, str>)> {
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut all: Vec<(&str, Cow<'_, str>)> = headers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (&**name, (&**value).into()))
        .collect();
    all.sort_by_key(|(name, _)| rank(name)); // Stable: the others stay in their order.
    if all.len() > MAX_ATTRIBUTES {
        let more = all.split_off(MAX_ATTRIBUTES - 1);
        let more: Map<_, _> = more.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        all.push((MORE_HEADERS, Value::Object(more).to_string().into()));
    }
    all
}

/// Returns the group and the deduplication id of a message in a FIFO queue.
///
/// A group is a subject, so that a consumer sees what happens to one payment one at a time, and different payments side by
/// side. SQS drops a second message with the same id for five minutes. So an attempt whose answer got lost arrives once.
/// A delivery that an operator sends again arrives again.
fn fifo_ids(event: &Event, start: AttemptStart) -> (String, String) {
    let id = event.key.webhook_id();
    let subject = event.subject.as_deref().map(Cow::Borrowed).or_else(|| event.family_subject());
    let group = match &subject {
        Some(subject) => fingerprint([&*event.kind, subject]),
        None => fingerprint([&*id]),
    };
    let deduplication = match start.replay {
        Some(replay) => fingerprint([&*id, replay.as_str(), &start.number.to_string()]),
        None => fingerprint([&*id]),
    };
    (hexadecimal(group), hexadecimal(deduplication))
}

/// Judges AWS's answer to a [`Call`].
///
/// # Errors
/// [`AttemptError::Destination`], with the code in AWS's answer.
pub fn judge(kind: Kind, status: u16, body: &[u8]) -> AttemptResult {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if (200..300).contains(&status) {
        return match kind {
            Kind::EventBridge if answer["FailedEntryCount"] != 0 => {
                let code = code_of(&answer["Entries"][0]["ErrorCode"]).unwrap_or_else(|| "InternalFailure".to_owned());
                Err(AttemptError::Destination { kind, status: None, fault: fault_of(&code, None), code })
            }
            Kind::EventBridge | Kind::Sqs => Ok(status),
        };
    }
    let code = ["__type", "code"].iter().find_map(|name| code_of(&answer[*name]));
    let code = code.unwrap_or_else(|| format!("HTTP {status}"));
    Err(AttemptError::Destination { kind, status: Some(status), fault: fault_of(&code, Some(status)), code })
}

/// Reads a code such as `com.amazonaws.sqs#QueueDoesNotExist`.
fn code_of(value: &Value) -> Option<String> {
    const MAX_CODE_BYTES: usize = 64;
    let code = value.as_str()?.rsplit('#').next()?.split(':').next()?;
    let fits = |code: &str| code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    (!code.is_empty() && code.len() <= MAX_CODE_BYTES && fits(code)).then(|| code.to_owned())
}

/// The codes are those of [SQS][sqs], of [`PutEvents`][events], and the [common errors][common] of AWS.
///
/// [sqs]: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html#API_SendMessage_Errors
/// [events]: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html#API_PutEvents_Errors
/// [common]: https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html
fn fault_of(code: &str, status: Option<u16>) -> DestinationFault {
    let is_throttled = code.contains("Throttl") || code == "OverLimit" || code.starts_with("TooManyRequests");
    let is_failed = code.starts_with("Internal") || code.starts_with("ServiceUnavailable");
    if is_throttled || status == Some(429) {
        DestinationFault::Throttled
    } else if is_failed || status.is_some_and(|status| status >= 500) {
        DestinationFault::Failed
    } else if code.starts_with("AccessDenied") || code.starts_with("Kms") || status == Some(403) {
        DestinationFault::Denied
    } else if code.ends_with("QueueDoesNotExist")
        || code.ends_with("NonExistentQueue")
        || code.starts_with("ResourceNotFound")
    {
        DestinationFault::Missing
    } else {
        DestinationFault::Refused
    }
}

/// Returns whether AWS refused the credentials of the call, and not what it asks for. Others may be valid.
#[must_use]
pub fn is_of_credentials(result: &AttemptResult) -> bool {
    const CODES: [&str; 11] = [
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ];
    let Err(AttemptError::Destination { code, .. }) = result else { return false };
    CODES.contains(&&**code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::delivery::ReplayKind;
    use crate::delivery::request::Keyring;
    use crate::endpoint::Endpoint;
    use crate::endpoint::target::TargetRules;

    const FIRST_ATTEMPT: AttemptStart = AttemptStart { number: 1, unix_seconds: 1_769_853_600, replay: None };

    fn destination(name: &str) -> Destination {
        let member = if name.starts_with("event-bus/") {
            ("eventBridge", "busArn", "events")
        } else {
            ("sqs", "queueArn", "sqs")
        };
        let (kind, arn, service) = member;
        let arn_of = format!("arn:aws:{service}:eu-west-1:111122223333:{name}");
        let role = "arn:aws:iam::111122223333:role/hooks";
        serde_json::from_value(json!({"kind": kind, arn: arn_of, "roleArn": role})).unwrap()
    }

    fn event(change: impl FnOnce(&mut Value)) -> Event {
        let mut event = json!({"specversion": "1.0", "id": "op-1", "source": "/core", "type": "invoice",
                               "tenant": "acme", "subject": "A", "time": "2026-01-31T10:00:00Z", "data": {"a": 12_345_678_901_234_567_890_u64}});
        change(&mut event);
        Event::parse(&event.to_string()).unwrap()
    }

    fn request(event: &Event, destination: &Destination, start: AttemptStart) -> Request {
        let endpoint = Endpoint { signatures: Vec::new(), ..Endpoint::new(destination.resource.url()) };
        let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
        Request::build(event, &endpoint, target, start, &Keyring::default()).unwrap()
    }

    fn call(event: &Event, name: &str, start: AttemptStart) -> Value {
        let destination = destination(name);
        let call = Call::build(&request(event, &destination, start), &destination, event, start).unwrap();
        serde_json::from_str(&call.body).unwrap()
    }

    #[test]
    fn a_message_has_the_signed_bytes_and_all_headers() {
        let event = event(|_| {});
        let body = call(&event, "orders", FIRST_ATTEMPT);
        assert_eq!(body["MessageBody"], r#"{"a":12345678901234567890}"#);
        assert_eq!(body["QueueUrl"], "https://sqs.eu-west-1.amazonaws.com/111122223333/orders");
        let attributes = body["MessageAttributes"].as_object().unwrap();
        assert!(attributes.len() <= MAX_ATTRIBUTES, "{attributes:?}");
        let mut all: BTreeMap<String, Value> =
            attributes.iter().map(|(name, value)| (name.clone(), value["StringValue"].clone())).collect();
        let more = all.remove(MORE_HEADERS).unwrap();
        let more: BTreeMap<String, Value> = serde_json::from_str(more.as_str().unwrap()).unwrap();
        all.extend(more);
        let sent = request(&event, &destination("orders"), FIRST_ATTEMPT).headers;
        let sent = sent.iter().map(|(name, value)| (name.to_string(), json!(value)));
        assert_eq!(all, sent.collect());
        assert!(attributes.contains_key("webhook-id") && attributes.contains_key("ce-type"));
    }

    #[test]
    fn messages_of_a_fifo_queue_are_grouped_by_subject_and_dropped_twice() {
        let ids = |event: &Event, start: AttemptStart| {
            let body = call(event, "orders.fifo", start);
            [&body["MessageGroupId"], &body["MessageDeduplicationId"]].map(|id| id.as_str().unwrap().to_owned())
        };
        let of = |id: &str, subject: &str| event(|event| (event["id"], event["subject"]) = (json!(id), json!(subject)));
        let later = AttemptStart { number: 2, ..FIRST_ATTEMPT };
        let replay = |number| AttemptStart { number, replay: Some(ReplayKind::Replay), ..FIRST_ATTEMPT };
        let [group, once] = ids(&of("1", "A"), FIRST_ATTEMPT);
        assert_eq!(ids(&of("1", "A"), later), [group.clone(), once.clone()], "a retry");
        assert_eq!(ids(&of("2", "A"), FIRST_ATTEMPT)[0], group, "the same subject");
        assert_ne!(ids(&of("2", "A"), FIRST_ATTEMPT)[1], once, "another event");
        assert_ne!(ids(&of("2", "B"), FIRST_ATTEMPT)[0], group, "another subject");
        assert_ne!(ids(&of("1", "A"), replay(2))[1], once, "sent again by an operator");
        assert_ne!(ids(&of("1", "A"), replay(2))[1], ids(&of("1", "A"), replay(3))[1], "and once more");
        assert_eq!(call(&of("1", "A"), "orders", FIRST_ATTEMPT).get("MessageGroupId"), None, "a standard queue");
    }

    #[test]
    fn an_event_is_matched_by_source_and_type_and_keeps_the_signed_bytes() {
        let event = event(|_| {});
        let body = call(&event, "event-bus/hooks", FIRST_ATTEMPT);
        let entry = &body["Entries"][0];
        assert_eq!(entry["EventBusName"], "arn:aws:events:eu-west-1:111122223333:event-bus/hooks");
        assert_eq!((&entry["Source"], &entry["DetailType"]), (&json!("/core"), &json!("invoice")));
        let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail["body"], r#"{"a":12345678901234567890}"#);
        assert_eq!((&detail["headers"]["ce-subject"], &detail["headers"]["ce-id"]), (&json!("A"), &json!("op-1")));
    }

    #[test]
    fn sources_like_those_of_aws_are_changed_so_that_eventbridge_takes_them() {
        for (source, expected) in [("aws.ec2", "signpost:aws.ec2"), ("AWS.x", "signpost:AWS.x"), ("aws", "aws")] {
            let event = event(|event| event["source"] = json!(source));
            assert_eq!(call(&event, "event-bus/hooks", FIRST_ATTEMPT)["Entries"][0]["Source"], expected);
        }
    }

    #[test]
    fn a_webhook_over_the_limit_is_refused_with_the_limit_and_one_below_is_not() {
        let built = |name: &str, length: usize| {
            let (event, destination) = (event(|_| {}), destination(name));
            let mut request = request(&event, &destination, FIRST_ATTEMPT);
            request.body = "x".repeat(length);
            Call::build(&request, &destination, &event, FIRST_ATTEMPT)
        };
        for (name, service) in [("orders", "SQS"), ("event-bus/hooks", "EventBridge")] {
            let Err(AttemptError::MessageTooLarge { bytes, limit: 1_048_576, .. }) = built(name, 1_048_576) else {
                panic!("{name}")
            };
            let around = bytes - 1_048_576;
            assert!(built(name, 1_048_576 - around).is_ok(), "{name}: exactly the limit");
            let error = built(name, 1_048_577 - around).unwrap_err();
            let expected =
                format!("webhook has 1048577 bytes with its headers, and {service} takes at most 1048576; choose");
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(!error.is_retryable());
        }
    }

    /// The codes are those that AWS documents, see [`fault_of`].
    #[test]
    fn each_answer_of_aws_is_one_outcome() {
        use DestinationFault::{Denied, Failed, Missing, Refused, Throttled};
        let typed = |code: &str| json!({ "__type": code, "message": "m" }).to_string();
        let entry = |code: &str| json!({"FailedEntryCount": 1, "Entries": [{"ErrorCode": code}]}).to_string();
        let taken = json!({"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}).to_string();
        assert_eq!(judge(Kind::Sqs, 200, br#"{"MessageId":"m"}"#).ok(), Some(200));
        assert_eq!(judge(Kind::EventBridge, 200, taken.as_bytes()).ok(), Some(200));
        let cases = [
            (Kind::Sqs, 403, typed("com.amazonaws.sqs#AccessDeniedException"), Denied, "AccessDeniedException"),
            (Kind::Sqs, 400, typed("com.amazonaws.sqs#KmsAccessDenied"), Denied, "KmsAccessDenied"),
            (Kind::Sqs, 400, typed("com.amazonaws.sqs#QueueDoesNotExist"), Missing, "QueueDoesNotExist"),
            (
                Kind::Sqs,
                400,
                typed("AWS.SimpleQueueService.NonExistentQueue"),
                Missing,
                "AWS.SimpleQueueService.NonExistentQueue",
            ),
            (Kind::Sqs, 403, typed("RequestThrottled"), Throttled, "RequestThrottled"),
            (Kind::Sqs, 400, typed("com.amazonaws.sqs#KmsThrottled"), Throttled, "KmsThrottled"),
            (Kind::Sqs, 400, typed("com.amazonaws.sqs#InvalidMessageContents"), Refused, "InvalidMessageContents"),
            (Kind::Sqs, 503, "<html>".to_owned(), Failed, "HTTP 503"),
            (Kind::Sqs, 404, String::new(), Refused, "HTTP 404"),
            (Kind::EventBridge, 400, typed("AccessDeniedException"), Denied, "AccessDeniedException"),
            (Kind::EventBridge, 400, typed("ResourceNotFoundException:http://x"), Missing, "ResourceNotFoundException"),
            (Kind::EventBridge, 400, typed("ThrottlingException"), Throttled, "ThrottlingException"),
            (Kind::EventBridge, 500, typed("InternalException"), Failed, "InternalException"),
            (Kind::EventBridge, 200, entry("InternalFailure"), Failed, "InternalFailure"),
            (Kind::EventBridge, 200, entry("ThrottlingException"), Throttled, "ThrottlingException"),
            (
                Kind::EventBridge,
                200,
                entry("NotAuthorizedForSourceException"),
                Refused,
                "NotAuthorizedForSourceException",
            ),
            (Kind::EventBridge, 200, "{".to_owned(), Failed, "InternalFailure"),
        ];
        for (kind, status, body, expected, expected_code) in cases {
            let error = judge(kind, status, body.as_bytes()).unwrap_err();
            assert!(error.is_retryable(), "its owner may correct it: {body}");
            assert_eq!(error.status(), (status != 200).then_some(status), "{body}");
            let AttemptError::Destination { fault, code, .. } = error else { panic!("{error}") };
            assert_eq!((fault, &*code), (expected, expected_code), "{body}");
        }
    }

    #[test]
    fn refused_credentials_are_not_the_owners_fault() {
        for (code, expected) in [("ExpiredToken", true), ("UnrecognizedClientException", true), ("AccessDenied", false)]
        {
            let answer = json!({ "__type": code }).to_string();
            assert_eq!(is_of_credentials(&judge(Kind::Sqs, 403, answer.as_bytes())), expected, "{code}");
        }
        assert!(!is_of_credentials(&Ok(200)));
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_judge(status in 100_u16..600, body in ".{0,200}") {
            for kind in [Kind::Sqs, Kind::EventBridge] {
                if let Err(error) = judge(kind, status, body.as_bytes()) {
                    prop_assert!(error.to_string().len() < 300);
                }
            }
        }

        /// SQS counts names, types and values of attributes, and takes ten of them.
        #[test]
        fn attributes_are_at_most_ten_and_lose_nothing(values in prop::collection::vec("[a-z]{0,5}", 0..20)) {
            let headers: Vec<_> =
                (0..).zip(values).map(|(at, value): (u32, String)| (Cow::Owned(format!("h{at}")), value)).collect();
            let attributes = attributes_of(&headers);
            prop_assert!(attributes.len() <= MAX_ATTRIBUTES && attributes.iter().all(|(_, value)| !value.is_empty()));
            let more = attributes.iter().find(|(name, _)| *name == MORE_HEADERS);
            let mut all: BTreeMap<String, String> =
                more.map(|(_, more)| serde_json::from_str(more).unwrap()).unwrap_or_default();
            let own = attributes.iter().filter(|(name, _)| *name != MORE_HEADERS);
            all.extend(own.map(|(name, value)| ((*name).to_owned(), value.to_string())));
            let expected = headers.iter().filter(|(_, value)| !value.is_empty());
            prop_assert_eq!(all, expected.map(|(name, value)| (name.to_string(), value.clone())).collect());
        }
    }
}
