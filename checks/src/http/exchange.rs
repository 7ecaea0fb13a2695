//! One request and its answer.

use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use monchero_core::quantity::{Unit, human};
use tokio::time::Instant;

use super::proxy::Proxy;
use super::url::Url;
use crate::net::{Address, Channel, Deadline, Failure, Family, Handshake, Secured, TlsSettings, connect, io_text};

/// How large the head of an answer may be, in bytes (R73).
const MAX_HEAD: usize = 64 * 1024;

/// How one request is made, whatever it asks for.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// Where the host of the first URL is found, if not where its name leads.
    pub(super) resolve: Option<(&'a Url, &'a Address)>,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) family: Family,
    pub(super) tls: &'a TlsSettings,
    /// How many bytes of a body are kept.
    pub(super) max_body: usize,
    pub(super) deadline: Deadline,
}

impl Way<'_> {
    /// A channel on which a URL can be asked.
    async fn reach(self, url: &Url) -> Result<Channel, Failure> {
        let channel = match (self.proxy, self.resolve) {
            (Some(proxy), _) => proxy.reach(url, self.family, self.deadline).await?,
            (None, Some((first, address))) if first.peer.host == url.peer.host => {
                connect(&address.peer(url.peer.port), self.family, self.deadline).await?.into()
            }
            (None, _) => connect(&url.peer, self.family, self.deadline).await?.into(),
        };
        if !url.tls {
            return Ok(channel);
        }
        let handshake = Handshake { protocols: &[b"http/1.1"], tolerant: false };
        channel.secure(&url.peer, self.tls, handshake, self.deadline).await
    }
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) url: Url,
    pub(super) method: Method,
    /// All but `Host` if that is not given.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The first bytes of the body.
    pub(super) body: Vec<u8>,
    /// Whether there was more.
    pub(super) is_cut: bool,
    /// How long each step took.
    pub(super) times: Times,
    /// The address that answered.
    pub(super) address: std::net::SocketAddr,
    /// What TLS adds.
    pub(super) tls: Option<Secured>,
}

impl Answer {
    /// Where it sends us, if it is a redirect that says so.
    pub(super) fn location(&self) -> Option<String> {
        const REDIRECTS: [StatusCode; 5] = [
            StatusCode::MOVED_PERMANENTLY,
            StatusCode::FOUND,
            StatusCode::SEE_OTHER,
            StatusCode::TEMPORARY_REDIRECT,
            StatusCode::PERMANENT_REDIRECT,
        ];
        let location = self.headers.get(header::LOCATION).filter(|_| REDIRECTS.contains(&self.status))?;
        Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
    }

    /// How much of the body was kept, for people.
    pub(super) fn kept(&self) -> String {
        human(self.body.len() as f64, &Unit::BYTES)
    }
}

/// The steps of a request.
pub(super) struct Times {
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    /// From sending the request to the head of the answer.
    pub(super) first_byte: Duration,
}

/// Asks and waits for the whole answer.
pub(super) async fn exchange(question: Question, way: Way<'_>) -> Result<Answer, Failure> {
    let Question { url, method, headers, body } = question;
    let Channel { stream, address, resolving, connecting, tls } = way.reach(&url).await?;
    let to_proxy = way.proxy.filter(|_| !url.tls);
    let target = if to_proxy.is_some() { url.to_string() } else { url.path.clone() };
    let mut request = Request::builder().method(method).uri(target).body(Full::new(body));
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
        request.headers_mut().extend(to_proxy.map(Proxy::headers).unwrap_or_default());
    }
    let request = request.map_err(|error| Failure::Unable(format!("asking {url}: {error}")))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let shaking = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream));
    let (mut sender, connection) =
        shaking.await.map_err(|error| Failure::Bad(format!("asking {url}: {}", explain(&error))))?;

    let start = Instant::now();
    let asking = async {
        let answer = sender.send_request(request).await;
        answer.map_err(|error| Failure::Bad(format!("asking {url}: {}", explain(&error))))
    };
    let mut connection = pin!(connection);
    let response = driven(&mut connection, way.deadline.bound(|| format!("asking {url}"), asking)).await?;
    let first_byte = start.elapsed();
    let (head, mut incoming) = response.into_parts();
    let reading = async {
        let read = read_body(&mut incoming, way.max_body).await;
        read.map_err(|error| Failure::Bad(format!("reading the body of {url}: {}", explain(&error))))
    };
    let status = head.status.as_u16();
    let bounded = way.deadline.bound(|| format!("{status} came, but reading the body of {url}"), reading);
    let (body, is_cut) = driven(&mut connection, bounded).await?;
    let times = Times { dns: resolving, connect: connecting, first_byte };
    Ok(Answer { status: head.status, headers: head.headers, body, is_cut, times, address, tls })
}

/// Does the work while the connection is driven beside it.
async fn driven<T>(
    connection: &mut (impl Future<Output = hyper::Result<()>> + Unpin),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            // What ended it reaches the work too, with more to say about it.
            _ = &mut *connection, if is_open => is_open = false,
        }
    }
}

async fn read_body(incoming: &mut Incoming, max: usize) -> hyper::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max - body.len();
        body.extend(data.iter().take(room));
        if data.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// What hyper could not do, in the words of somebody who runs the service.
fn explain(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the connection was closed before an answer came".to_owned();
    }
    let mut cause = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    "the connection was closed before the answer was complete".to_owned()
                }
                _ => io_text(io),
            };
        }
        last = Some(inner);
        cause = inner.source();
    }
    let why = last.map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_parse() { format!("the answer cannot be read as HTTP/1.1: {why}") } else { why }
}
