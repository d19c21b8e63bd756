//! Reads the member `destination` of an endpoint's settings: a queue or an event bus instead of a URL.

use crate::endpoint::destination::{Destination, EXPECTED_ROLE, Kind, Resource, RoleArn, RolePatterns};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::object::{Found, Object};

/// The maximum number of characters of an ARN: that of a role.
const MAX_ARN_CHARACTERS: usize = 2_048;

const KINDS: &str = "one of sqs, eventBridge";

/// Reads a destination. Its `ExternalId` is empty: `manage` makes it.
pub(super) fn read_destination(found: &Found<'_>, roles: &RolePatterns, faults: &mut Faults) -> Option<Destination> {
    let mut object = Object::open(found, faults)?;
    let kind = object.member("kind");
    if kind.is_none() {
        faults.push(Fault::nothing_at(&object.pointer_to("kind"), KINDS));
    }
    let kind = kind.and_then(|found| found.one_of::<Kind>(KINDS, faults));
    let role = read_arn(&mut object, "roleArn", EXPECTED_ROLE, RoleArn::parse, faults);
    if let Some(role) = role.as_ref().filter(|role| !roles.allows(role)) {
        let expected = if roles.is_empty() {
            "`url` instead of `destination`, or another stack: this one assumes no roles; its operator can set the \
             parameter `DestinationRoleArns`"
        } else {
            "a role that the stack may assume; its operator can add this one to the parameter `DestinationRoleArns`"
        };
        let pointer = object.pointer_to("roleArn");
        faults.push(Fault::of_text(pointer, role.as_str(), expected).code(FaultCode::ForbiddenTarget));
    }
    let resource = kind.and_then(|kind| {
        let parse = |arn: &str| Resource::parse(kind, arn);
        read_arn(&mut object, kind.member(), kind.expected(), parse, faults)
    });
    if kind.is_none() {
        // One of them is expected, but which one is unknown.
        let _ = (object.member("queueArn"), object.member("busArn"));
    }
    object.refuse("externalId", "nothing, because Signpost makes it", faults);
    object.refuse("assumedBy", "nothing, because it is read-only", faults);
    object.close(faults);
    let (resource, role) = (resource?, role?);
    let destination = Destination { resource, role, external_id: String::new() };
    if !destination.is_in_one_partition() {
        let expected = "a role and a target in the same partition, such as `aws`";
        faults.push(Fault::at(&found.pointer, found.value, expected).code(FaultCode::Conflict));
        return None;
    }
    Some(destination)
}

fn read_arn<T>(
    object: &mut Object<'_>,
    name: &'static str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    faults: &mut Faults,
) -> Option<T> {
    let Some(found) = object.member(name) else {
        faults.push(Fault::nothing_at(&object.pointer_to(name), expected));
        return None;
    };
    let text = found.text(MAX_ARN_CHARACTERS, faults)?;
    let parsed = parse(&text);
    if parsed.is_none() {
        faults.push(Fault::of_text(found.pointer, &text, expected));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::endpoint::Endpoint;
    use crate::endpoint::destination::RolePatterns;
    use crate::endpoint::settings::tests::CONTEXT;
    use crate::endpoint::settings::{Context, Stored, patched, read, shown};
    use crate::input::fault::{Fault, FaultCode};

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:orders";
    const ROLE: &str = "arn:aws:iam::111122223333:role/hooks-a";

    fn read_with(settings: &Value) -> Result<Endpoint, Vec<Fault>> {
        let roles = RolePatterns::parse("arn:aws:iam::*:role/hooks-*").unwrap();
        let context = Context { roles: &roles, ..CONTEXT };
        read(&settings.to_string(), context).map(|submission| submission.endpoint)
    }

    fn queue() -> Value {
        json!({"kind": "sqs", "queueArn": QUEUE, "roleArn": ROLE})
    }

    #[test]
    fn a_queue_is_enough_and_its_url_is_called() {
        let endpoint = read_with(&json!({"destination": queue()})).unwrap();
        assert_eq!(endpoint.url, "https://sqs.eu-west-1.amazonaws.com/111122223333/orders");
        let seen = shown(&endpoint, None);
        assert_eq!((seen.get("url"), &seen["destination"]["queueArn"]), (None, &json!(QUEUE)));
        let read: Endpoint = serde_json::from_value(json!(endpoint)).unwrap();
        assert_eq!(read, endpoint, "as the table stores it");
    }

    #[test]
    fn every_setting_that_only_http_has_is_a_fault() {
        let settings = json!({"url": "https://a.example", "destination": queue(), "method": "PUT",
            "auth": {"kind": "basic", "secret": "u:p"}, "headers": {"X-Team": "a"}, "verification": "challenge",
            "signatures": ["standard-webhooks", "http-message-signatures"]});
        let faults = read_with(&settings).unwrap_err();
        let mut pointers: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/auth", "/headers", "/method", "/signatures/1", "/url", "/verification"]);
        assert!(faults.iter().all(|fault| fault.code == FaultCode::Conflict));
        let named = faults.iter().find(|fault| fault.pointer == "/signatures/1").unwrap();
        assert!(named.expected.starts_with("`jws` or `standard-webhooks`"), "{}", named.expected);
    }

    #[test]
    fn all_faults_of_a_destination_are_listed() {
        let cases = [
            (json!({}), vec!["/destination/kind", "/destination/roleArn"]),
            (json!("sqs"), vec!["/destination"]),
            (
                json!({"kind": "sns", "queueArn": QUEUE, "roleArn": "a", "externalId": "x", "colour": 1}),
                vec!["/destination/kind", "/destination/roleArn", "/destination/externalId", "/destination/colour"],
            ),
            (
                json!({"kind": "sqs", "busArn": QUEUE, "roleArn": ROLE}),
                vec!["/destination/queueArn", "/destination/busArn"],
            ),
            (json!({"kind": "eventBridge", "busArn": QUEUE, "roleArn": ROLE}), vec!["/destination/busArn"]),
            (
                json!({"kind": "sqs", "queueArn": QUEUE.replace("aws:", "aws-cn:"), "roleArn": ROLE}),
                vec!["/destination"],
            ),
            (
                json!({"kind": "sqs", "queueArn": QUEUE, "roleArn": "arn:aws:iam::111122223333:role/admin"}),
                vec!["/destination/roleArn"],
            ),
        ];
        for (destination, expected) in cases {
            let faults = read_with(&json!({"destination": destination})).unwrap_err();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{destination}");
        }
    }

    #[test]
    fn a_stack_that_assumes_no_roles_says_what_to_set() {
        let faults = read(&json!({"destination": queue()}).to_string(), CONTEXT).unwrap_err();
        assert_eq!((&*faults[0].pointer, faults[0].code), ("/destination/roleArn", FaultCode::ForbiddenTarget));
        assert!(faults[0].expected.contains("`DestinationRoleArns`"), "{}", faults[0].expected);
    }

    #[test]
    fn a_patch_moves_an_endpoint_from_a_url_to_a_queue_and_back() {
        let roles = RolePatterns::parse("arn:aws:iam::*:role/hooks-*").unwrap();
        let change = |endpoint: &Endpoint, patch: Value| {
            let stored = Some(Stored { endpoint, trusted: None });
            let context = Context { roles: &roles, stored, ..CONTEXT };
            read(&patched(endpoint, None, &patch.to_string()).unwrap(), context).map(|read| read.endpoint)
        };
        let https = Endpoint::new("https://a.example/in");
        let moved = change(&https, json!({"destination": queue()})).unwrap();
        assert_eq!(moved, read_with(&json!({"destination": queue()})).unwrap());
        let other = change(&moved, json!({"destination": {"queueArn": format!("{QUEUE}.fifo")}})).unwrap();
        assert!(other.destination.unwrap().resource.is_fifo());
        let back = change(&moved, json!({"destination": null, "url": "https://a.example/in"})).unwrap();
        assert_eq!(back, https);
        let faults = change(&moved, json!({"destination": null})).unwrap_err();
        assert_eq!(faults[0].pointer, "/url");
        let faults = change(&moved, json!({"url": "https://a.example/in"})).unwrap_err();
        assert_eq!(faults[0].pointer, "/url");
        assert_eq!(change(&moved, json!({"description": "d"})).unwrap().destination, moved.destination);
        assert!(change(&https, json!({"destination": null})).is_ok());
    }
}
