//! The state of a request's connection, which reqwest does not report.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

/// The connection that a request was sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// A connection is being opened for it.
    Opening,
    /// A connection was opened for it. The request may have used one from the pool instead, if one became free
    /// meanwhile.
    New,
    /// A connection from the pool.
    Reused,
}

tokio::task_local! {
    static CONNECTION: Cell<Connection>;
}

/// Runs one request and returns its result and its connection. The client must have the layer [`ObserveConnections`].
pub(crate) async fn observe<T>(request: impl Future<Output = T>) -> (T, Connection) {
    let observed = async {
        let outcome = request.await;
        (outcome, CONNECTION.get().get())
    };
    CONNECTION.scope(Cell::new(Connection::Reused), observed).await
}

/// A layer around the client's connector. The client calls it only to open a connection.
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

impl<R, S: Service<R>> Service<R> for Observed<S>
where
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;
    type Response = S::Response;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        note(Connection::Opening);
        let opening = self.0.call(request);
        Box::pin(async move {
            let opened = opening.await?;
            note(Connection::New);
            Ok(opened)
        })
    }
}

/// Stores the state of the connection. Does nothing outside of [`observe`], when the client opens a connection for
/// later.
fn note(connection: Connection) {
    let _ = CONNECTION.try_with(|known| known.set(connection));
}
