//! Tests that count what functions send, on a machine that may be too busy for them.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::future::FutureExt as _;
use signpost_testkit::aws_proxy::AwsProxy;

/// How often a scene is played before its failure counts in any case.
const TRIES: usize = 4;

/// Plays a scene. Plays it again if it fails and the machine was too busy: the local stack answered late, or a test was late to
/// act on a held call. What the functions do about a late AWS is tested elsewhere, and changes what a scene counts. A first
/// failure gets another try in any case, because a test cannot see all that a busy machine does. So a scene may not judge what
/// must hold each time, such as that no event is lost: it returns that.
pub(crate) async fn undisturbed<T>(name: &str, scene: impl AsyncFn(AwsProxy) -> T) -> T {
    for tries_left in (0..TRIES).rev() {
        let proxy = AwsProxy::start().await;
        let disturbances = proxy.disturbances();
        match AssertUnwindSafe(scene(proxy)).catch_unwind().await {
            Ok(end) => return end,
            Err(_) if tries_left == TRIES - 1 || (tries_left > 0 && disturbances.count() > 0) => {
                eprintln!("{name}: again, after {} disturbances", disturbances.count());
            }
            Err(failure) => resume_unwind(failure),
        }
    }
    unreachable!("the last try returns or fails")
}
