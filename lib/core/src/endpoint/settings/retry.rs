//! Reads the member `retry` of an endpoint's settings.

use std::ops::RangeInclusive;

use crate::endpoint::retry::{RetryPolicy, RetryPolicyInput};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::object::{Found, Object};

pub(super) fn read_retry(found: &Found<'_>, faults: &mut Faults) -> Option<RetryPolicy> {
    let mut object = Object::open(found, faults)?;
    let mut number = |name, range: RangeInclusive<u32>| object.member(name).map(|found| found.within(range, faults));
    let max_retries = number("maxRetries", RetryPolicy::RETRIES);
    let interval_seconds = number("intervalSeconds", RetryPolicy::INTERVAL_SECONDS);
    let max_interval_seconds = number("maxIntervalSeconds", RetryPolicy::INTERVAL_SECONDS);
    let backoff = object.member("backoff").map(|found| found.one_of("one of fixed, exponential", faults));
    let schedule = object.member("schedule").map(|found| {
        let waits = found.items(*RetryPolicy::RETRIES.end() as usize, faults);
        let read: Vec<_> = waits.iter().map(|wait| wait.within(RetryPolicy::INTERVAL_SECONDS, faults)).collect();
        read.into_iter().collect::<Option<Vec<_>>>() // Report every fault first.
    });
    object.close(faults);
    let written = RetryPolicyInput {
        max_retries: flatten(max_retries)?,
        interval_seconds: flatten(interval_seconds)?,
        max_interval_seconds: flatten(max_interval_seconds)?,
        backoff: flatten(backoff)?,
        schedule: flatten(schedule)?,
    };
    let policy = RetryPolicy::try_from(written);
    if let Err(error) = &policy {
        faults.push(
            Fault::at(&found.pointer, found.value, format!("a finite policy of one kind: {error}"))
                .code(FaultCode::Conflict),
        );
    }
    policy.ok()
}

/// Returns `Some(None)` for an absent member, and `None` for one that is unreadable, because that already is a fault.
#[expect(clippy::option_option, reason = "absent, unreadable, or a value")]
fn flatten<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use crate::endpoint::settings::read;
    use crate::endpoint::settings::tests::CONTEXT;

    #[test]
    fn retry_policies_of_each_kind_are_read() {
        let cases = [
            (r#"{"maxRetries":8,"backoff":"exponential","maxIntervalSeconds":3600}"#, vec![]),
            (r#"{"schedule":[5,300,43200]}"#, vec![]),
            (r#"{"schedule":[5,0,"x"]}"#, vec!["/retry/schedule/1", "/retry/schedule/2"]),
            (r#"{"schedule":[5],"maxRetries":3}"#, vec!["/retry"]),
            (r#"{"maxRetries":15,"intervalSeconds":43200}"#, vec!["/retry"]),
        ];
        for (retry, expected) in cases {
            let faults = read(&format!(r#"{{"url":"https://a.example","retry":{retry}}}"#), CONTEXT).err();
            let pointers: Vec<_> = faults.iter().flatten().map(|fault| &*fault.pointer).collect();
            assert_eq!(pointers, expected, "{retry}");
        }
    }
}
