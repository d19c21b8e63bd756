//! Request bodies in pieces with pauses, so that the client sees an answer that arrives before the end of the body.
//!
//! A receiver may answer when it has read the head, and close. Its system then resets the connection, because bytes
//! arrive that nobody reads. If the client writes into a connection that was reset, hyper reports the failed write, and
//! not the answer that waits to be read. hyper reads before it writes, but writes all that it has at once. While a body
//! pauses, hyper waits for both, and finds the answer (RFC 9112, section 9.5: a client should watch for one while it
//! sends).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The size of a piece: one TLS record (RFC 8446, section 5.1). A shorter body is sent at once.
const PIECE_BYTES: usize = 16 * 1024;

/// The pause after each piece. Encrypting and writing a piece takes microseconds, in which an answer can still be lost;
/// the pause is long compared with that. The longest body, 6 MiB, is sent in less than a second.
const PAUSE: Duration = Duration::from_millis(1);

/// Creates the body of a request. Its length is known, so the request has a `Content-Length`.
pub(crate) fn body(bytes: Bytes) -> reqwest::Body {
    if bytes.len() <= PIECE_BYTES { bytes.into() } else { reqwest::Body::wrap(Pieces { rest: bytes, pause: None }) }
}

/// A body, without the pieces that were sent.
struct Pieces {
    rest: Bytes,
    /// The pause since the last piece.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        self.pause = Some(Box::pin(sleep(PAUSE)));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Reads all of a body and returns its pieces.
    async fn pieces(mut body: reqwest::Body) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut left = body.size_hint().exact().unwrap();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let piece = frame.unwrap().into_data().unwrap();
            left -= piece.len() as u64;
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left), left == 0));
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn a_body_comes_whole_and_in_order_and_says_how_long_it_is() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 7] {
            let whole: Bytes = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let pieces = pieces(body(whole.clone())).await;
            assert_eq!(pieces.concat(), whole, "{length}");
            assert!(pieces.iter().all(|piece| (1..=PIECE_BYTES).contains(&piece.len())), "{length}");
        }
    }

    #[tokio::test]
    async fn there_is_a_pause_after_each_piece_except_the_last() {
        let mut body = body(Bytes::from(vec![b'x'; 2 * PIECE_BYTES]));
        let mut is_pending = || {
            futures_util::FutureExt::now_or_never(poll_fn(|context| Pin::new(&mut body).poll_frame(context))).is_none()
        };
        assert!(!is_pending(), "the first piece goes at once");
        assert!(is_pending(), "hyper must look for an answer first");
        assert_eq!(pieces(body).await.len(), 1);
    }
}
