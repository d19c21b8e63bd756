//! Keys that take turns while events flow.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use signpost_core::endpoint::Endpoint;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::LocalStack;
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::independently;
use tokio::time::Instant;

/// One event a second, from before the first scheduled rotation until the first key's grace is over.
#[tokio::test]
async fn nothing_fails_verification_while_keys_take_turns_and_an_old_key_goes_after_its_grace() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 200).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let deadline = Instant::now() + Duration::from_mins(6); // The grace ends three to four minutes after the deploy.
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    let mut kids: Vec<String> = Vec::new();
    let mut forced = None;
    let mut verified = 0;

    loop {
        assert!(Instant::now() < deadline, "the first of {kids:?} can still be fetched");
        pace.tick().await;
        stack.send_events([event(&tenant, &event_id(), &json!({"text": "a b"})).to_string()]).await;
        let requests = receiver.wait_for(verified + 1).await;
        for report in independently(&stack.api_url, &requests[verified..]).await {
            assert_eq!(report.error, None, "{report:?}");
            if !kids.contains(&report.kid) {
                kids.push(report.kid);
            }
        }
        verified = requests.len();

        let Some(first) = kids.first() else { continue };
        let status = stack.get(&format!("/keys/{first}"), &[]).await.status;
        match kids.len() {
            1 => assert_eq!(status, 200, "the current key"),
            2 => assert_eq!(status, 200, "just retired, in its grace"),
            _ if status == 404 => break,
            _ => {}
        }
        if kids.len() == 2 && forced.is_none() {
            forced = Some(stack.rotate_now().await);
        }
    }

    assert!(kids.len() >= 3, "{kids:?}");
    assert!(forced.unwrap().iter().any(|kid| kids.contains(kid)), "the forced key signed too");
    let published = stack.get("/.well-known/jwks.json", &[]).await.json();
    let published: BTreeSet<_> =
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    assert!(!published.contains(&kids[0]), "forgotten keys leave the set as well");
    assert!(published.contains(kids.last().unwrap()));
}
