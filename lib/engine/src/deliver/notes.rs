//! A cache of the notes that this environment has written to a table, so that it does not repeat them for each
//! delivery.

use futures_util::lock::Mutex;
use signpost_core::endpoint::EndpointId;

use crate::slots::Slots;

/// How many endpoints are remembered.
const CAPACITY: usize = 5_000;

/// Endpoints, each with the time of its note, in seconds since the Unix epoch. The writer of a note holds the lock, so
/// that the other deliveries of its batch go on only after the note is in the table.
#[derive(Debug)]
pub(crate) struct Notes {
    valid_seconds: u64,
    noted: Slots<EndpointId, Mutex<Option<u64>>>,
}

impl Notes {
    /// Creates an empty list, whose notes are valid for `valid_seconds`.
    pub(crate) fn new(valid_seconds: u64) -> Self {
        Self { valid_seconds, noted: Slots::new(CAPACITY) }
    }

    /// Writes the note of an endpoint, unless an earlier one is still valid at `now`.
    ///
    /// # Errors
    /// The note could not be written. The next caller tries again.
    pub(crate) async fn write<E>(
        &self,
        endpoint: &EndpointId,
        now: u64,
        write: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let noted = self.noted.get(endpoint.clone());
        let mut at = noted.lock().await;
        if at.is_some_and(|at| (at..at + self.valid_seconds).contains(&now)) {
            return Ok(());
        }
        write.await?;
        *at = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Ready, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn once<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_note_is_written_again_when_it_is_too_old_or_was_not_written() {
        let (notes, id) = (Notes::new(60), EndpointId::parse(&format!("ep_{}", "0".repeat(32))).unwrap());
        let cases = [
            (1_000, Ok(()), true, "new"),
            (1_059, Ok(()), false, "still valid"),
            (1_060, Err(()), true, "too old"),
            (1_061, Ok(()), true, "not written"),
            (1_000, Ok(()), true, "the clock was set back"),
        ];
        for (now, answer, expected, why) in cases {
            let is_written = Cell::new(false);
            let write = async {
                is_written.set(true);
                answer
            };
            assert_eq!(once(notes.write(&id, now, write)), Poll::Ready(answer), "{why}");
            assert_eq!(is_written.get(), expected, "{why}");
        }
    }

    #[test]
    fn nobody_goes_on_before_the_note_is_written() {
        let (notes, id) = (Notes::new(60), EndpointId::parse(&format!("ep_{}", "0".repeat(32))).unwrap());
        let mut first = pin!(notes.write(&id, 1_000, std::future::pending::<Result<(), ()>>()));
        assert_eq!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        let second: Ready<Result<(), ()>> = ready(Ok(()));
        assert_eq!(once(notes.write(&id, 1_000, second)), Poll::Pending);
    }
}
