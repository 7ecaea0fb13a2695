//! What kinds that talk to a service have in common: finding it, connecting, TLS, and giving up in time.

mod connect;
mod resolve;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use monchero_core::check::Context;
use monchero_core::duration::human;
use monchero_core::{CheckError, Report, State};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

pub(crate) use connect::Peer;
pub(crate) use tls::{Certificate, TlsSettings};

/// Why a service could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The service is at fault: a finding.
    Bad(String),
    /// monchero could not find out.
    Unable(String),
}

impl Failure {
    /// The answer of a run that ends with this.
    pub(crate) fn into_answer(self) -> Result<Report, CheckError> {
        match self {
            Self::Bad(why) => Ok(Report::of(State::Bad, why)),
            Self::Unable(why) => Err(CheckError::Unable(why)),
        }
    }
}

/// When a run gives up by itself, a little before the engine ends it: so it can still say what it waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// 95% of the time that the run has.
    pub(crate) fn of(context: &Context<'_>) -> Self {
        let limit = context.timeout.mul_f64(0.95);
        // A timeout of ages ends never.
        Self { end: Instant::now() + limit.min(Duration::from_secs(365 * 86_400)), limit }
    }

    /// How long it is from the start of the run to here.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// How much of it is left.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Waits for `doing`, at most until then; a service that takes longer is at fault.
    pub(crate) async fn bound<T>(
        &self,
        doing: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout_at(self.end, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Bad(format!("{} timed out after {}", doing(), human(self.limit)))),
        }
    }
}

/// Something to read from and to write to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A way to a service, with or without TLS, and how long each step to it took.
pub(crate) struct Channel {
    pub(crate) stream: Box<dyn Stream>,
    /// Which of the peer's addresses answered.
    pub(crate) address: SocketAddr,
    /// The resolution of the name.
    pub(crate) resolving: Duration,
    /// The TCP connection.
    pub(crate) connecting: Duration,
    /// The handshake and what the server showed in it, if TLS is spoken.
    pub(crate) tls: Option<Secured>,
}

/// What TLS adds to a channel.
pub(crate) struct Secured {
    /// How long the handshake took.
    pub(crate) took: Duration,
    /// The server's certificate, if it can be read.
    pub(crate) certificate: Option<Certificate>,
    /// Whether the certificate was verified.
    pub(crate) verified: bool,
}

/// Opens a channel to a service. `protocols` are offered by ALPN.
pub(crate) async fn open(
    peer: &Peer,
    family: Family,
    tls: Option<&TlsSettings>,
    protocols: &[&[u8]],
    deadline: Deadline,
) -> Result<Channel, Failure> {
    let connect::Connection { stream, address, resolving, connecting } =
        connect::connect(peer, family, deadline).await?;
    let Some(settings) = tls else {
        return Ok(Channel { stream: Box::new(stream), address, resolving, connecting, tls: None });
    };
    let (stream, secured) = tls::handshake(stream, peer, settings, protocols, deadline).await?;
    Ok(Channel { stream: Box::new(stream), address, resolving, connecting, tls: Some(secured) })
}

/// The address of a peer to which datagrams are sent: the one that the system prefers, since nothing tells at once that it does not answer.
pub(crate) async fn resolve(peer: &Peer, family: Family, deadline: Deadline) -> Result<SocketAddr, Failure> {
    let found = resolve::resolve(peer, family, deadline).await?;
    found.into_iter().next().ok_or_else(|| Failure::Bad(format!("`{}` has no address", peer.host)))
}

/// Makes an open channel speak TLS, for protocols that begin in clear and ask for it (`STARTTLS`).
pub(crate) async fn secure(
    channel: Channel,
    peer: &Peer,
    settings: &TlsSettings,
    deadline: Deadline,
) -> Result<Channel, Failure> {
    let Channel { stream, address, resolving, connecting, .. } = channel;
    let (stream, secured) = tls::handshake(stream, peer, settings, &[], deadline).await?;
    Ok(Channel { stream: Box::new(stream), address, resolving, connecting, tls: Some(secured) })
}

/// Which addresses of a host are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    /// All of them; the first that answers counts.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// The reason in an I/O error, in the words of the system but without its number: `connection refused`.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !chars.as_str().starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
