//! A small stack: tenant `acme` with two endpoints, an event, and messages that were given up.

use serde_json::{Value, json};

use crate::signed::{ENDPOINT, OTHER_ENDPOINT, key_set};
use crate::stub_api::{Asked, StubApi};

/// Starts the stack.
pub fn start() -> StubApi {
    StubApi::start(answer)
}

fn answer(asked: &Asked) -> (u16, String) {
    if asked.target == "/" {
        return aws(asked);
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let tenant = "/v1/tenants/acme";
    let rest = path.strip_prefix(tenant).unwrap_or(path);
    let one = format!("/endpoints/{ENDPOINT}");
    let json = |status: u16, value: Value| (status, value.to_string());
    match (asked.method.as_str(), rest) {
        ("POST", "/v1/events") if asked.body.contains("faulty") => json(400, faults()),
        ("POST", "/v1/events") => json(202, json!({"accepted": ["payment-1-approved"]})),
        ("POST", "/endpoints") | ("PUT", "/notices") => json(201, with_secret()),
        ("GET", "/endpoints") if query.is_empty() => {
            json(200, json!({"endpoints": [endpoint(ENDPOINT)], "cursor": "a+b"}))
        }
        ("GET", "/endpoints") => json(200, json!({"endpoints": [disabled()]})),
        ("GET", "/events/payment-1-approved") => (200, history().to_string().replace("10.5,", "10.50,")),
        ("POST", "/events/payment-1-approved/replay") => {
            json(if asked.body.contains("dryRun") { 200 } else { 202 }, json!({"endpoints": [ENDPOINT]}))
        }
        ("DELETE", "/events/payment-1-approved") if query.contains("dryRun") => {
            json(200, json!({"events": 1, "deliveries": 2, "more": false}))
        }
        ("DELETE", "/status/operation/payment-1") if query.contains("dryRun") => {
            json(200, json!({"events": 3, "deliveries": null, "more": false}))
        }
        ("DELETE", "/events/payment-1-approved" | "/status/operation/payment-1") => json(202, erased()),
        ("GET", "/status/operation/payment-1") => (200, status().to_string().replace("10.5}", "10.50}")),
        ("POST", "/token-requests") => json(201, registered()),
        ("POST", "/filters/test") => json(200, compared(&asked.body)),
        ("PUT", "/event-types/invoice.paid") => json(201, event_type()),
        ("GET", "/event-types/invoice.paid") => json(200, event_type()),
        ("DELETE", "/event-types/invoice.paid") => (204, String::new()),
        ("GET", "/event-types") => json(
            200,
            json!({"types": [
                {"type": "operation", "builtIn": true, "format": "PowerAuth", "description": "An operation.", "example": {}, "deprecated": false},
                event_type(),
            ]}),
        ),
        (_, path) if path.starts_with("/event-types/") => {
            json(404, json!({"status": 404, "title": "Not Found", "detail": "the tenant has no such event type"}))
        }
        ("GET", "/notices") => json(200, endpoint(ENDPOINT)),
        ("GET", "/audit") => json(200, json!({"entries": entries()})),
        ("POST", "/erasures") if asked.body.contains("dryRun") => {
            json(200, json!({"endpoints": 3, "eventTypes": 1, "events": null, "deliveries": null}))
        }
        ("POST", "/erasures") => json(202, erasure("running", "settling")),
        ("GET", path) if path == format!("/erasures/{ERASURE}") => json(200, erasure("done", "done")),
        ("POST", "/replays") if asked.body.contains("dryRun") => json(200, json!({"matched": 3, "more": false})),
        ("POST", "/replays") => json(202, replay("running")),
        ("GET", "/replays") => json(200, json!({"replays": [replay("running"), replay("done")]})),
        ("GET", path) if path == format!("/replays/{REPLAY}") => json(200, replay("done")),
        ("DELETE", path) if path == format!("/replays/{REPLAY}") => json(200, replay("stopped")),
        (_, path) if path.starts_with("/replays/") => {
            json(404, json!({"status": 404, "title": "Not Found", "detail": "tenant `acme` has no such replay"}))
        }
        ("POST", "/portal-links") => json(
            201,
            json!({"id": LINK, "url": "https://api.example/portal/#the-code", "expiresAt": "2026-01-31T10:15:00Z"}),
        ),
        ("GET", "/portal-links") => json(200, json!({"links": links()})),
        ("DELETE", "/notices" | "/portal-links") => (204, String::new()),
        ("DELETE", path) if path == format!("/portal-links/{LINK}") => (204, String::new()),
        (_, path) if path.starts_with("/portal-links/") => {
            json(404, json!({"status": 404, "title": "Not Found", "detail": "tenant `acme` has no such link"}))
        }
        ("GET", "/events/forbidden") => json(403, json!({"message": "Forbidden"})),
        ("GET", "/.well-known/egress-addresses.json") => {
            json(200, json!({"fixed": true, "addresses": ["203.0.113.7/32"], "upcoming": ["203.0.113.8/32"]}))
        }
        ("GET", "/tenants/acme/.well-known/jwks.json") => json(200, key_set()),
        ("POST", "/2015-03-31/functions/sweep/invocations") => json(200, json!({"moved": 2, "kept": 1, "more": false})),
        ("POST", "/2015-03-31/functions/rotate-keys/invocations") if asked.body.contains("dryRun") => {
            json(200, json!({"keyIds": [], "wouldReplace": ["RS256", "ES256", "EdDSA"]}))
        }
        ("POST", "/2015-03-31/functions/rotate-keys/invocations") => json(200, json!({"keyIds": ["k"]})),
        (_, rest) => match (asked.method.as_str(), rest.strip_prefix(one.as_str())) {
            ("GET" | "PATCH", Some("")) | ("POST", Some("/enable")) => json(200, endpoint(ENDPOINT)),
            ("POST", Some("/disable")) => json(200, disabled()),
            ("DELETE", Some("")) => (204, String::new()),
            ("POST", Some("/test")) => json(202, json!({"event": "payment-1-approved"})),
            ("POST", Some("/rotate-secret")) => json(200, with_secret()),
            ("POST", Some("/recover")) => json(202, json!({"recovered": 2, "more": false})),
            ("GET", Some("/deliveries")) => json(200, json!({"deliveries": deliveries(query)})),
            _ => {
                json(404, json!({"status": 404, "title": "Not Found", "detail": "tenant `acme` has no such endpoint"}))
            }
        },
    }
}

fn aws(asked: &Asked) -> (u16, String) {
    match asked.header("x-amz-target") {
        "AmazonSQS.ReceiveMessage" => (200, messages().to_string()),
        "AmazonSQS.GetQueueAttributes" => {
            (200, json!({"Attributes": {"ApproximateNumberOfMessages": "3"}}).to_string())
        }
        "AmazonSQS.SendMessage" | "AmazonSQS.SendMessageBatch" => (200, json!({"Successful": []}).to_string()),
        _ if asked.body.contains("GetCallerIdentity") => (200, CALLER.to_owned()),
        _ if asked.body.contains("StackName=signpost") => (200, STACK.to_owned()),
        _ => (400, NO_STACK.to_owned()),
    }
}

const CALLER: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/ada</Arn>\
<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

const STACK: &str = r#"<?xml version="1.0"?>
<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member>
  <StackName>signpost</StackName><StackStatus>UPDATE_COMPLETE</StackStatus><Description>Signed webhooks &amp; keys</Description>
  <CreationTime>2026-01-01T00:00:00Z</CreationTime><LastUpdatedTime>2026-01-31T10:00:00Z</LastUpdatedTime>
  <Outputs>
    <member><OutputKey>ApiUrl</OutputKey><OutputValue>https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com</OutputValue><Description>Of the API.</Description></member>
    <member><Description>Before the key.</Description><OutputKey>SweepFunctionName</OutputKey><OutputValue>signpost-sweep</OutputValue></member>
    <member><OutputKey>Version</OutputKey><OutputValue>0.0.9</OutputValue></member>
  </Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"#;

const NO_STACK: &str = "<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id other does not exist</Message></Error></ErrorResponse>";

fn endpoint(id: &str) -> Value {
    json!({
        "id": id, "tenant": "acme", "state": "enabled", "enabled": true, "disabledBecause": null, "held": null,
        "url": "https://hooks.acme.example/in", "description": "Approved payments",
        "types": [{"type": "operation", "statuses": ["APPROVED"]}], "filter": {"data": {"currency": ["EUR"], "total": [7]}}, "fields": {}, "cloudEvents": "headers", "method": "POST",
        "auth": {"kind": "none"}, "signatures": ["jws"], "jwsAlgorithm": "RS256", "retry": {"schedule": [5, 300]},
        "timeoutSeconds": 10, "maxConcurrency": null, "maxPerSecond": null, "headers": {}, "verification": "none",
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-31T10:00:00Z", "signingSecrets": [
            {"createdAt": "2026-01-31T10:00:00Z", "expiresAt": null, "publicKey": "whpk_…"},
            {"createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-02-01T10:00:00Z", "publicKey": "whpk_…"},
        ],
        "signingPublicKey": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "jwksUrl": "https://api.example/tenants/acme/.well-known/jwks.json",
    })
}

fn erased() -> Value {
    json!({
        "events": 1, "deliveries": 2, "more": false, "lastAttemptEndsBy": "2026-01-31T10:01:35Z",
        "queuesEmptyBy": "2026-02-14T10:01:35Z", "tombstonesGoneBy": "2026-03-02T10:00:00Z",
    })
}

/// The id of an erasure of a tenant.
pub const ERASURE: &str = "er_0123456789abcdef0123456789abcdef";

fn erasure(state: &str, next: &str) -> Value {
    let count = |number: u64| if state == "done" { number } else { 0 };
    json!({
        "id": ERASURE, "state": state, "stage": next,
        "removed": {
            "endpoints": 3, "eventTypes": count(1), "events": count(40), "states": count(38), "deliveries": count(60),
            "parked": count(2), "tokenRequests": 0, "links": count(1), "replays": 0,
        },
        "createdAt": "2026-01-31T10:00:00Z", "changedAt": "2026-01-31T10:05:00Z",
        "endedAt": (state == "done").then_some("2026-01-31T10:05:00Z"),
        "lastAttemptEndsBy": "2026-01-31T10:01:45Z", "keysPublishedUntil": "2026-01-31T11:05:00Z",
        "queuesEmptyBy": "2026-02-14T10:05:00Z", "auditLogGoneBy": "2027-01-31T10:05:00Z",
    })
}

/// The id of a bulk replay.
pub const REPLAY: &str = "rp_0123456789abcdef0123456789abcdef";

fn replay(state: &str) -> Value {
    let is_over = state != "running";
    json!({
        "id": REPLAY, "state": state, "matched": 3, "sent": 2, "skipped": 1, "position": null,
        "filter": {"since": "2026-01-31T09:00:00Z", "until": "2026-01-31T10:00:00Z", "endpoints": null, "types": null,
            "statuses": ["exhausted"]},
        "createdAt": "2026-01-31T10:00:00Z", "changedAt": "2026-01-31T10:05:00Z",
        "endedAt": is_over.then_some("2026-01-31T10:05:00Z"),
    })
}

fn status() -> Value {
    let state = |status: &str, time: &str| json!({"status": status, "time": time, "event": "payment-1-approved", "source": "/core"});
    let (newest, before) = (state("APPROVED", "2026-01-31T10:00:05Z"), state("PENDING", "2026-01-31T10:00:00Z"));
    let mut status = newest.clone();
    (status["type"], status["subject"]) = (json!("operation"), json!("payment-1"));
    (status["data"], status["history"]) = (json!({"amount": 10.5}), json!([newest, before]));
    status
}

/// The result of a filter that names an amount, and of others.
fn compared(body: &str) -> Value {
    let differs = body.contains(r#"{"amount":["#);
    let mismatch =
        json!({"pointer": "/data/amount", "filterPointer": "/data/amount", "expected": "7", "found": "10.50"});
    json!({"matches": !differs, "tooCostly": false, "mismatches": if differs { vec![mismatch] } else { Vec::new() }})
}

fn registered() -> Value {
    json!({"requestId": "consent-42", "tenant": "acme", "redirectUrl": "https://tpp.example/done",
           "callbackUrl": "https://api.example/callbacks/the-state", "expiresAt": "2026-01-31T10:15:00Z"})
}

fn entries() -> Value {
    let entry = |actor: Value, outcome: &str, status: u16, endpoint: Value| {
        json!({"id": "1769853600007-00000000000000000000000000000001", "at": "2026-01-31T10:00:00.007Z", "actor": actor,
               "action": "PATCH /v1/tenants/{tenant}/endpoints/{endpoint}", "endpoint": endpoint, "event": null, "requestId": "r-1",
               "outcome": outcome, "status": status, "before": null, "after": null, "changedSecrets": []})
    };
    let ada = json!({"kind": "iam", "principal": "arn:aws:iam::123456789012:user/ada"});
    json!([
        entry(json!({"kind": "link", "id": LINK}), "done", 200, json!(ENDPOINT)),
        entry(ada, "refused", 400, Value::Null)
    ])
}

/// A link that is open.
pub const LINK: &str = "pl_0123456789abcdef0123456789abcdef";

fn links() -> Value {
    let link = |id: &str, endpoints: Value, state: &str, session: Value| {
        json!({"id": id, "name": null, "endpoints": endpoints, "can": ["view", "replay"], "createdAt": "2026-01-31T10:00:00Z",
               "expiresAt": "2026-01-31T10:15:00Z", "state": state, "session": session})
    };
    let session =
        |state: &str| json!({"startedAt": "2026-01-31T10:01:00Z", "expiresAt": "2026-01-31T11:01:00Z", "state": state});
    json!([
        link(LINK, json!("*"), "unused", Value::Null),
        link("pl_1123456789abcdef0123456789abcdef", json!([ENDPOINT]), "used", session("open")),
        link("pl_2123456789abcdef0123456789abcdef", json!("*"), "used", session("expired")),
    ])
}

fn disabled() -> Value {
    let mut endpoint = endpoint(OTHER_ENDPOINT);
    (endpoint["state"], endpoint["disabledBecause"], endpoint["description"]) =
        (json!("disabled"), json!("gone"), json!(""));
    endpoint
}

fn with_secret() -> Value {
    let mut endpoint = endpoint(ENDPOINT);
    endpoint["signingSecret"] = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    endpoint
}

fn history() -> Value {
    let attempt = |number: u32, status: Value, error: Value| json!({"number": number, "at": format!("2026-01-31T10:00:0{number}Z"), "durationMs": 18, "status": status, "error": error});
    let mut failed = attempt(1, json!(503), json!("endpoint answered 503; answer 2xx to acknowledge"));
    failed["response"] = json!("\u{1b}[2Jupstream is down");
    let mut replayed = attempt(2, json!(204), Value::Null);
    replayed["sent"] = json!({"headers": {"signpost-replay": "replay"}});
    json!({
        "event": {"specversion": "1.0", "id": "payment-1-approved", "source": "/core", "type": "operation", "tenant": "acme",
                  "subject": "payment:1", "data": {"amount": 10.5, "type": "OPERATION", "operationId": "payment-1", "status": "APPROVED"}},
        "fannedOutAt": "2026-01-31T10:00:00Z",
        "deliveries": [
            {"endpoint": ENDPOINT, "status": "delivered", "reason": null, "nextAttemptAt": null, "held": null, "attempts": [
                failed, replayed]},
            {"endpoint": "ep_3333456789abcdef0123456789abcdef", "status": "pending", "reason": null, "nextAttemptAt": "2026-01-31T10:05:00Z", "held": null,
             "attempts": [failed]},
            {"endpoint": "ep_4444456789abcdef0123456789abcdef", "status": "exhausted", "reason": "exhausted", "nextAttemptAt": null, "held": null,
             "attempts": [failed]},
            {"endpoint": OTHER_ENDPOINT, "status": "pending", "reason": null, "nextAttemptAt": null,
             "held": {"since": null, "because": "disabled", "nextProbeAt": null}, "attempts": []},
        ],
    })
}

fn deliveries(query: &str) -> Vec<Value> {
    let delivery = |event: &str, status: &str, reason: Value, held: Value| {
        json!({"event": event, "source": "/core", "status": status, "reason": reason, "attempts": 2, "arrivedAt": "2026-01-31T10:00:00Z",
               "firstAttemptAt": "2026-01-31T10:00:00Z", "nextAttemptAt": null, "held": held})
    };
    let held = json!({"since": null, "because": "failing", "nextProbeAt": "2026-01-31T10:05:00Z"});
    let all = [
        delivery("payment-3-approved", "pending", Value::Null, held),
        delivery("payment-2-approved", "exhausted", json!("exhausted"), Value::Null),
        delivery("payment-1-approved", "delivered", Value::Null, Value::Null),
    ];
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("status="));
    all.into_iter().filter(|one| wanted.is_none_or(|wanted| one["status"] == wanted)).collect()
}

fn messages() -> Value {
    let attribute = |text: &str| json!({"StringValue": text, "DataType": "String"});
    let event = json!({"specversion": "1.0", "id": "payment-2-approved", "source": "/core", "type": "operation", "tenant": "acme", "data": {}});
    json!({"Messages": [
        {"MessageId": "5fea7756-0ea4-451a-a703-a558b933e274", "MessageAttributes": {"reason": attribute("exhausted")},
         "Body": json!({"endpoint": ENDPOINT, "arrivedUnixMs": 1, "event": event}).to_string()},
        {"MessageId": "6fea7756-0ea4-451a-a703-a558b933e275", "MessageAttributes": {"reason": attribute("invalid-event"), "faults": attribute("[…]")},
         "Body": "no event"},
    ]})
}

fn faults() -> Value {
    json!({"status": 400, "title": "Bad Request", "detail": "the event has 2 faults", "errors": [
        {"code": "missing", "pointer": "/source", "found": "nothing", "expected": "a URI reference"},
        {"code": "wrong-type", "pointer": "", "found": "an array", "expected": "an object"},
    ]})
}

fn event_type() -> Value {
    json!({
        "type": "invoice.paid", "builtIn": false, "description": "An invoice was paid.", "schema": {"required": ["number"]},
        "example": {"number": "INV-7"}, "deprecated": false, "createdAt": "2026-01-31T10:00:00Z",
        "updatedAt": "2026-01-31T10:00:00Z",
    })
}
