//! Gathers what is asked at the same time, so that one call answers all of it: the deliveries of a batch are treated at
//! once, and a call of DynamoDB costs about as much CPU as a request to a receiver.

use std::mem::take;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Questions of type `Q`, each with an answer of type `A`.
#[derive(Debug)]
pub(crate) struct Coalescer<Q, A> {
    asked: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    asks: Notify,
    expected: AtomicUsize,
}

/// Somebody who is going to ask, or has asked and waits for the answer.
#[derive(Debug)]
pub struct Announced<'a> {
    count: &'a AtomicUsize,
    asks: &'a Notify,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.asks.notify_one(); // Whoever waits for this one need not.
    }
}

/// How long whoever asks first waits for those that are expected to ask too.
const PATIENCE: Duration = Duration::from_millis(10);

impl<Q, A> Coalescer<Q, A> {
    /// Has whoever asks in the meantime wait for one who is going to, for some milliseconds. Those who ask are expected
    /// themselves, until they are answered.
    pub(crate) fn announce(&self) -> Announced<'_> {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Announced { count: &self.expected, asks: &self.asks }
    }

    /// Gives the answer to `question`. Whoever asks first waits for those who ask at the same time and for those who are
    /// expected, and `answer`s all of them, in their order.
    ///
    /// No answer comes if that one is dropped before it has answered.
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
        yield_now().await; // Those of the same batch ask before this goes on.
        let _ = timeout(PATIENCE, self.all_asked()).await;
        let asked = take(&mut *lock(&self.asked));
        turn.is_over = true;
        let (questions, senders): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        for (sender, answer) in senders.into_iter().zip(answer(questions).await) {
            let _ = sender.send(answer); // Nobody has to wait for it.
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

/// The turn of one who is to answer. Dropped before it is over, it leaves the others without an answer, not waiting.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures_util::future::{FutureExt as _, join, join_all};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_asked_at_once_is_answered_in_one_go_and_each_gets_its_own() {
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
    async fn who_is_expected_is_waited_for_unless_it_does_not_ask_after_all() {
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
    async fn who_is_dropped_before_it_answers_leaves_nobody_waiting() {
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
