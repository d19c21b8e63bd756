//! Receivers that speak TLS.

use serde_json::json;
use signpost_core::endpoint::Endpoint;
use signpost_core::retry::RetryPolicy;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::{Receiver, certified_key};

#[tokio::test]
async fn a_receiver_is_called_over_tls_under_the_names_of_its_certificate_only() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start_tls(certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"))).await;
    let tenant = tenant();
    let mut right = Endpoint::new(&receiver.url);
    right.retry = RetryPolicy::fixed(0, 5).unwrap();
    let mut wrong = right.clone();
    wrong.url = receiver.url.replace("127.0.0.1", "localhost"); // The same server; no name of its certificate.
    let (right, wrong) = (stack.register(&tenant, &right).await, stack.register(&tenant, &wrong).await);
    let id = event_id();

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    assert_eq!(stack.wait_for_attempts(&tenant, &id, &right, 1).await[0].status, Some(204));
    let refused = &stack.wait_for_attempts(&tenant, &id, &wrong, 1).await[0];
    let text =
        "connection to the endpoint failed; check that it is up, reachable and speaks TLS with a valid certificate";
    assert_eq!((refused.status, refused.error.as_deref()), (None, Some(text)));
    assert_eq!(receiver.so_far().len(), 1, "nothing was sent over the connection that failed");
}
