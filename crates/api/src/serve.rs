//! Serves the API on the socket: who asks, how many may, how long they may take (R68).
//!
//! One connection carries one request. So an idle connection is always one that has not asked yet, and can be closed for another's sake.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt as _;

use crate::backend::Backend;
use crate::routes::{self, Caller};
use crate::socket::Socket;
use crate::users::Operators;

/// How many connections may be open at once: with 64 KiB of request each, the most that strangers can make the daemon hold is 2 MiB.
pub const MAX_CONNECTIONS: usize = 32;
/// How many of them one user may hold who is neither root nor the daemon's own.
pub const MAX_PER_USER: usize = 4;
/// How many are kept free for root and the daemon's own user, whatever others do.
pub const RESERVED: usize = 4;
/// How long a client may take from connecting to the end of its request's head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take no byte of its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes: a line and the headers of any client, and some patterns.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long requests that are being answered may go on when the daemon stops.
pub const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait when no connection can be accepted (too many open files): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is done, then lets requests that are being answered end for [`DRAIN`] at most.
pub async fn serve(socket: Socket, backend: Backend, stop: impl Future<Output = ()>) {
    let operators = backend.operators.clone();
    let router = routes::router(backend);
    let mut slots = Slots { own: rustix::process::geteuid().as_raw(), operators, connections: Vec::new() };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => slots.take(stream, &router),
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection on the socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Nobody connects to a daemon that is leaving.
    drop(socket);
    slots.drain().await;
}

/// An open connection.
struct Connection {
    uid: u32,
    /// Whether the head of its request has come.
    asked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// The open connections, oldest first. Owned by the accepting task alone.
struct Slots {
    /// The user that the daemon runs as.
    own: u32,
    operators: Option<Operators>,
    connections: Vec<Connection>,
}

impl Slots {
    fn take(&mut self, stream: UnixStream, router: &Router) {
        let (uid, gid) = match stream.peer_cred() {
            Ok(peer) => (peer.uid(), peer.gid()),
            Err(error) => {
                tracing::warn!(%error, "a connection without credentials was closed");
                return;
            }
        };
        let may = |operators: &Operators| operators.admit(uid, gid);
        let operates = uid == 0 || uid == self.own || self.operators.as_ref().is_some_and(may);
        let caller = Caller { uid, operates };
        if !self.make_room(caller) {
            tracing::warn!(uid, "too many connections: one was refused");
            refuse(&stream);
            return;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(converse(stream, caller, router.clone(), Arc::clone(&asked)));
        self.connections.push(Connection { uid, asked, task });
    }

    /// Whether a connection of `caller` may be served. If there are too many, the oldest one that has not asked anything makes room: one
    /// of the same user, or anybody's for root and the daemon's own user. So idle connections, however many, lock nobody out.
    fn make_room(&mut self, caller: Caller) -> bool {
        self.connections.retain(|connection| !connection.task.is_finished());
        let (per_user, all) = if caller.operates {
            (MAX_CONNECTIONS, MAX_CONNECTIONS)
        } else {
            (MAX_PER_USER, MAX_CONNECTIONS - RESERVED)
        };
        let of_user = self.connections.iter().filter(|connection| connection.uid == caller.uid).count();
        if of_user < per_user && self.connections.len() < all {
            return true;
        }
        let idle = self.connections.iter().position(|connection| {
            (connection.uid == caller.uid || caller.operates) && !connection.asked.load(Ordering::Relaxed)
        });
        match idle {
            Some(idle) => {
                self.connections.remove(idle).task.abort();
                true
            }
            None => false,
        }
    }

    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        for connection in &mut self.connections {
            let abort = connection.task.abort_handle();
            let asked = connection.asked.load(Ordering::Relaxed);
            if !asked || tokio::time::timeout_at(deadline, &mut connection.task).await.is_err() {
                abort.abort();
            }
        }
    }
}

/// Says why, if the client's buffer takes it at once, and closes.
fn refuse(stream: &UnixStream) {
    let body =
        r#"{"error":"too many connections to the daemon at once","hint":"end some of them, or try again as root"}"#;
    let head = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.try_write(answer.as_bytes());
}

/// One connection: one request, one answer.
async fn converse(stream: UnixStream, caller: Caller, router: Router, asked: Arc<AtomicBool>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(caller);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    if let Err(error) = connection.await {
        // A client that went away or sent nonsense is its own affair.
        tracing::debug!(uid = caller.uid, %error, "a connection ended early");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A stream whose writes fail when the other side takes nothing for [`WRITE_TIMEOUT`].
struct Patient {
    stream: UnixStream,
    /// When patience ends; runs only while a write waits.
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Patient {
    fn new(stream: UnixStream) -> Self {
        Self { stream, deadline: Box::pin(tokio::time::sleep(WRITE_TIMEOUT)), waiting: false }
    }

    /// What a write that waits answers: that it waits, until it has waited too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if !self.waiting {
            self.waiting = true;
            self.deadline.as_mut().reset(Instant::now() + WRITE_TIMEOUT);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer"))
    }

    fn written<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(written) => {
                self.waiting = false;
                Poll::Ready(written)
            }
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
