//! Events that arrive through a topic of Amazon SNS.

use std::borrow::Cow;

use serde::Deserialize;

/// The members of a notification that tell it from an event, and the message.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    topic_arn: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Returns the message in a notification of SNS, or the text itself if it is none.
///
/// SNS wraps messages for SQS in a JSON object, unless the subscription has `RawMessageDelivery`
/// ([Amazon SNS message formats][formats]). An event cannot be taken for a notification: names of CloudEvents attributes have no
/// capital letters (CloudEvents 1.0.2, "Attribute Naming Convention").
///
/// The signature in the notification is not verified. The policy of the queue allows only topics that the operator named.
///
/// [formats]: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
#[must_use]
pub fn message_in(text: &str) -> Cow<'_, str> {
    if !text.contains("\"TopicArn\"") {
        return Cow::Borrowed(text); // Nearly all messages. It is cheaper than to parse them twice.
    }
    match serde_json::from_str::<Notification<'_>>(text) {
        Ok(found) if found.kind == "Notification" && found.topic_arn.starts_with("arn:") => found.message,
        Ok(_) | Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVENT: &str =
        r#"{"specversion":"1.0","id":"a-1","source":"/shop","type":"order","tenant":"acme","data":{"total":10.50}}"#;

    /// The example of the developer guide, "Amazon SNS message formats", with another message.
    fn notification(message: &str) -> serde_json::Value {
        json!({
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
            "Subject": "My First Message",
            "Message": message,
            "Timestamp": "2012-05-02T00:54:06.655Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLEw6JRN…",
            "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
            "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
            "MessageAttributes": {"my-attribute": {"Type": "String", "Value": "a"}},
        })
    }

    #[test]
    fn a_notification_is_unwrapped_byte_for_byte() {
        for message in [EVENT, " {\"a\": 10.50}\n", "\u{1F4E6} \"quoted\" \\", "", "not JSON"] {
            assert_eq!(message_in(&notification(message).to_string()), message);
            assert_eq!(message_in(&serde_json::to_string_pretty(&notification(message)).unwrap()), message);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let nested = EVENT.replace(r#""total":10.50"#, &format!(r#""note":{}"#, notification("inner")));
        let mut confirmation = notification(EVENT);
        confirmation["Type"] = "SubscriptionConfirmation".into();
        let mut without_message = notification(EVENT);
        without_message.as_object_mut().unwrap().remove("Message");
        let mut no_arn = notification(EVENT);
        no_arn["TopicArn"] = "MyTopic".into();
        let cases = [
            (EVENT.to_owned(), "an event"),
            (nested, "an event with a notification in its data"),
            (confirmation.to_string(), "another message of SNS"),
            (without_message.to_string(), "a notification without a message"),
            (no_arn.to_string(), "a name that is no ARN"),
            (format!("[{}]", notification(EVENT)), "a list"),
            (format!("{}x", notification(EVENT)), "JSON with more behind it"),
            ("\"TopicArn\"".to_owned(), "a string"),
        ];
        for (text, why) in cases {
            assert_eq!(message_in(&text), text, "{why}");
        }
    }
}
