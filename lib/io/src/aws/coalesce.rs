//! Coalescing of concurrent requests, so that one call answers all of them. `deliver` handles the deliveries of a batch
//! at the same time, and a call to DynamoDB costs about as much CPU as a request to a receiver.

use std::mem::take;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use signpost_engine::slots::lock;

/// A coalescer for questions of type `Q`, each with an answer of type `A`.
#[derive(Debug)]
pub(crate) struct Coalescer<Q, A> {
    asked: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    asks: Notify,
    expected: AtomicUsize,
}

/// An announced question. It counts until this is dropped.
#[derive(Debug)]
pub struct Announced<'a> {
    count: &'a AtomicUsize,
    asks: &'a Notify,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.asks.notify_one(); // The caller that waits for this question need not wait any more.
    }
}

/// How long the first caller waits for announced questions.
const PATIENCE: Duration = Duration::from_millis(10);

impl<Q, A> Coalescer<Q, A> {
    /// Announces a coming question, so that concurrent callers wait up to 10 ms to share one call. The announcement
    /// counts until the returned value is dropped.
    pub(crate) fn announce(&self) -> Announced<'_> {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Announced { count: &self.expected, asks: &self.asks }
    }

    /// Returns the answer to `question`. The first caller waits for concurrent callers and for announced questions.
    /// Then it calls `answer` with all questions, in their order.
    ///
    /// Returns `None` if that caller is dropped before it has the answers.
    pub(crate) async fn load(&self, question: Q, answer: impl AsyncFnOnce(Vec<Q>) -> Vec<A>) -> Option<A> {
        let (sender, answered) = oneshot::channel();
        let count = {
            let mut asked = lock(&self.asked);
            asked.push((question, sender));
            asked.len()
        };
        if count > 1 {
            self.asks.notify_one();
            return answered.await.ok();
        }
        let mut turn = Turn { coalescer: self, is_over: false };
        yield_now().await; // The other callers of the same batch ask first.
        let _ = timeout(PATIENCE, self.all_asked()).await;
        let asked = take(&mut *lock(&self.asked));
        turn.is_over = true;
        let (questions, senders): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        for (sender, answer) in senders.into_iter().zip(answer(questions).await) {
            let _ = sender.send(answer); // The caller may be gone.
        }
        answered.await.ok()
    }

    async fn all_asked(&self) {
        while lock(&self.asked).len() < self.expected.load(Ordering::Relaxed) {
            self.asks.notified().await;
        }
    }
}

impl<Q, A> Default for Coalescer<Q, A> {
    fn default() -> Self {
        Self { asked: Mutex::default(), asks: Notify::new(), expected: AtomicUsize::default() }
    }
}

/// The turn of the first caller. If it is dropped before it is over, the others get no answer, and do not wait.
struct Turn<'a, Q, A> {
    coalescer: &'a Coalescer<Q, A>,
    is_over: bool,
}

impl<Q, A> Drop for Turn<'_, Q, A> {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.coalescer.asked).clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures_util::future::{FutureExt as _, join, join_all};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn concurrent_questions_share_one_call_and_each_gets_its_own_answer() {
        let (coalescer, calls) = (Coalescer::default(), Cell::new(0));
        for round in 1..=3 {
            let ask = async |question: u32| {
                let answer = async |questions: Vec<u32>| {
                    calls.set(calls.get() + 1);
                    questions.into_iter().map(|question| question * 10).collect()
                };
                coalescer.load(question, answer).await
            };
            let answers = join_all((0..10).map(ask)).await;
            assert_eq!(answers, (0..10).map(|question| Some(question * 10)).collect::<Vec<_>>());
            assert_eq!(calls.get(), round);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_first_caller_waits_for_an_announced_one_until_it_asks_or_gives_up() {
        let coalescer = Coalescer::default();
        let answer = async |questions: Vec<u32>| vec![questions.len(); questions.len()];
        let comes = async |after: u32, asks: bool| {
            let expected = coalescer.announce();
            for _ in 0..after {
                yield_now().await;
            }
            let answered = if asks { coalescer.load(2, answer).await } else { None };
            drop(expected);
            answered
        };
        assert_eq!(join(comes(0, true), comes(20, true)).await, (Some(2), Some(2)));
        assert_eq!(join(comes(0, true), comes(20, false)).await, (Some(1), None));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_first_caller_that_is_dropped_leaves_no_caller_waiting() {
        let coalescer = Coalescer::<u32, u32>::default();
        let never = async |_: Vec<u32>| pending::<Vec<u32>>().await;
        let mut first = Box::pin(coalescer.load(1, never));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(coalescer.load(2, never));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await, None);
        assert_eq!(coalescer.load(3, async |_| vec![30]).await, Some(30));
    }
}
