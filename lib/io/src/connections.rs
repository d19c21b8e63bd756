//! Whether a request went over a new connection or over one from the pool, which reqwest does not tell.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

/// What a request was sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// A connection was opened for it. If one from the pool became free meanwhile, it may have gone over that.
    New,
    /// A connection from the pool.
    Reused,
}

tokio::task_local! {
    static CONNECTION: Cell<Connection>;
}

/// Runs one request and tells what it was sent over. The client must have been built with [`ObserveConnections`].
pub(crate) async fn observe<T>(request: impl Future<Output = T>) -> (T, Connection) {
    let observed = async {
        let outcome = request.await;
        (outcome, CONNECTION.get().get())
    };
    CONNECTION.scope(Cell::new(Connection::Reused), observed).await
}

/// Whether a request failed because its connection was closed before anything was answered. A connection that is reused
/// and dead fails like that; so does one whose other end read the request and hung up, which cannot be told apart.
pub(crate) fn was_closed(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return true;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected);
        }
        cause = error.source();
    }
    false
}

/// A layer around the client's connector: it is called only when a connection is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct ObserveConnections;

impl<S> Layer<S> for ObserveConnections {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed(inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Observed<S>(S);

impl<R, S: Service<R>> Service<R> for Observed<S> {
    type Error = S::Error;
    type Future = S::Future;
    type Response = S::Response;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let _ = CONNECTION.try_with(|connection| connection.set(Connection::New)); // Outside of `observe`: nobody asks.
        self.0.call(request)
    }
}
