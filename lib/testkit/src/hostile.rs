//! Receivers that try to harm their callers. They speak TLS, as receivers do everywhere except in local stacks.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::server::TlsStream;

use crate::receiver::tls;

/// A hostile receiver's behaviour after it has read the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Answers 429 with this value of `Retry-After`.
    AsksToWait(&'static str),
    /// Answers with one byte per second, for ever.
    Drips,
    /// Answers 500, and sends a gibibyte of body.
    EndlessBody,
    /// Answers with one header that never ends.
    EndlessHeader,
    /// Answers with headers, for ever.
    EndlessHeaders,
    /// Answers 500, and sends a gibibyte that it declares as gzip.
    GzipBomb,
    /// Sends informational answers, for ever.
    Informs,
    /// Sends nothing and keeps the connection open.
    NeverAnswers,
    /// Redirects to the metadata service of a cloud.
    Redirects,
    /// Resets the connection in the middle of a body.
    Resets,
    /// Answers a TLS handshake with bytes that are not TLS.
    TlsGarbage,
}

/// A hostile receiver on loopback. It runs until it is dropped.
#[derive(Debug)]
pub struct Hostile {
    /// The URL at which it listens.
    pub url: String,
    server: JoinHandle<()>,
}

impl Hostile {
    /// Starts a hostile receiver that speaks TLS with `certificate`.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start(trick: Trick, certificate: CertifiedKey) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("https://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let config = tls().with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(meet(stream, acceptor.clone(), trick));
            }
        });
        Self { url, server }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn meet(mut stream: TcpStream, acceptor: TlsAcceptor, trick: Trick) {
    if trick == Trick::TlsGarbage {
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
    } else if let Ok(stream) = acceptor.accept(stream).await {
        treat(stream, trick).await;
    }
}

async fn treat(mut stream: TlsStream<TcpStream>, trick: Trick) {
    read_head(&mut stream).await;
    // An error means that the caller has closed the connection.
    let _ = match trick {
        Trick::AsksToWait(wait) => {
            let head = format!("HTTP/1.1 429 Slow Down\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Trick::Drips => drip(stream).await,
        Trick::EndlessBody => {
            flood(stream, b"HTTP/1.1 500 No\r\ncontent-length: 1073741824\r\n\r\n", &[b'x'; 8_192]).await
        }
        Trick::EndlessHeader => flood(stream, b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; 4_096]).await,
        Trick::EndlessHeaders => flood(stream, b"HTTP/1.1 200 OK\r\n", b"x-more: of the same\r\n").await,
        Trick::GzipBomb => {
            let head = b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 1073741824\r\n\r\n";
            flood(stream, head, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]).await // The start of a gzip stream.
        }
        Trick::Informs => flood(stream, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n").await,
        Trick::NeverAnswers => std::future::pending().await,
        Trick::Redirects => {
            let head = "HTTP/1.1 307 Over There\r\nlocation: http://169.254.169.254/latest/meta-data/\r\n";
            stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).await
        }
        Trick::Resets => {
            let half = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
            half.and(stream.get_ref().0.set_zero_linger()) // Then closing is a reset.
        }
        Trick::TlsGarbage => Ok(()), // `meet` has done it, before TLS.
    };
}

async fn read_head(stream: &mut TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

async fn drip(mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
    let mut pace = interval(Duration::from_secs(1));
    loop {
        pace.tick().await;
        stream.write_all(b"x").await?;
    }
}

async fn flood(mut stream: TlsStream<TcpStream>, head: &[u8], more: &[u8]) -> std::io::Result<()> {
    stream.write_all(head).await?;
    loop {
        stream.write_all(more).await?;
    }
}
