//! The accept loop: hyper's HTTP/1.1 with a clock (without one its header timeout never fires), a bound on
//! connections, on heads and on readers that do not read, and a drain that ends.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

use super::problem::{Code, Problem};
use super::settings::Settings;
use super::tls::Tls;

/// Headers of a request, in number and in bytes.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;
/// After a failed accept: out of file descriptors, most likely, and they come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long an evicted connection may take to end.
const EVICTION: Duration = Duration::from_millis(100);

/// The limits of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// With all of them open, one more takes the place of the one that has been without a request for longest. Else it is turned
    /// away. For a listener whose few callers must not be kept out by whoever opens connections and asks nothing.
    pub evicts: bool,
    /// From the connection, or the last answer, to the end of a request's head.
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long open requests may go on after the shutdown.
    pub drain_timeout: Duration,
}

impl Limits {
    /// The limits that the table `[http]` sets.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            connections: settings.max_connections,
            evicts: false,
            header_timeout: Duration::from_millis(settings.header_timeout_ms),
            write_timeout: Duration::from_millis(settings.write_timeout_ms),
            drain_timeout: Duration::from_millis(settings.drain_timeout_ms),
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they outlived the drain timeout.
    pub cut: usize,
}

/// Accepts and serves connections until `shutdown` is true (or its sender is gone), then lets open requests
/// finish within the drain timeout. Must be called inside a runtime with I/O and time.
///
/// # Errors
/// When the socket cannot be handed to the runtime.
pub async fn run(
    listener: std::net::TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<Drained> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut open = Open::default();
    loop {
        let stream = tokio::select! {
            () = asked(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    refuse_to_spin(&error).await;
                    continue;
                }
            },
        };
        if limits.evicts && places.available_permits() == 0 {
            open.evict(&places).await;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Who speaks TLS could not read an answer before the handshake.
            if tls.is_none() {
                turn_away(&stream);
            }
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection could not be set up");
            continue;
        }
        let stream = Impatient::new(stream, limits.write_timeout);
        let (router, watcher) = (router.clone(), graceful.watcher());
        let (head, acceptor) = (
            limits.header_timeout,
            tls.as_ref().map(|tls| tls.acceptor()),
        );
        let asks = Arc::new(AtomicBool::new(false));
        let is_asking = Arc::clone(&asks);
        let connection = connections.spawn(async move {
            match acceptor {
                None => answer(stream, router, head, watcher, is_asking).await,
                // A handshake takes no longer than the head of a request may.
                Some(acceptor) => match timeout(head, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, router, head, watcher, is_asking).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                },
            }
            drop(place);
        });
        if limits.evicts {
            open.note(connection, asks);
        }
    }
    drop(listener);
    let finished = timeout(limits.drain_timeout, graceful.shutdown()).await;
    while connections.try_join_next().is_some() {}
    let cut = if finished.is_ok() {
        0
    } else {
        connections.len()
    };
    connections.shutdown().await;
    Ok(Drained { cut })
}

/// The open connections, the oldest first, and whether a request of each is being answered.
#[derive(Default)]
struct Open(VecDeque<(AbortHandle, Arc<AtomicBool>)>);

impl Open {
    fn note(&mut self, connection: AbortHandle, asks: Arc<AtomicBool>) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        self.0.push_back((connection, asks));
    }

    /// Ends the oldest connection that asks nothing, and waits until its place is free.
    async fn evict(&mut self, places: &Semaphore) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        let idle = self
            .0
            .iter()
            .position(|(_, asks)| !asks.load(Ordering::Acquire));
        if let Some((connection, _)) = idle.and_then(|place| self.0.remove(place)) {
            connection.abort();
            drop(timeout(EVICTION, places.acquire()).await);
        }
    }
}

/// Answers the requests of one connection; `asks` tells while one is being answered.
async fn answer<S>(
    stream: S,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
    asks: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        asks.store(true, Ordering::Release);
        let (answer, asks) = (router.call(request), Arc::clone(&asks));
        async move {
            let answer = answer.await;
            asks.store(false, Ordering::Release);
            answer
        }
    });
    let connection = http(header_timeout).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Resolves once a stop was asked for; a daemon that is gone has asked too.
async fn asked(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

fn http(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .half_close(false);
    builder
}

/// Errors of one connection are over at once; others (no file descriptors) would come back at once.
async fn refuse_to_spin(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !of_one_connection {
        tracing::error!(%error, "connections cannot be accepted");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// One answer without a task, a buffer or a wait.
fn turn_away(stream: &TcpStream) {
    let body = Problem::new(
        Code::Unavailable,
        "as many connections as allowed are open: try again later",
    )
    .to_json()
    .to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A new connection's send buffer is empty; if it cannot take this much, closing says enough.
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        tracing::debug!(%error, "a connection too many was closed without an answer");
    }
}

/// A stream whose writes fail when the other side reads nothing for too long.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
        }
    }

    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client reads nothing",
        )))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
