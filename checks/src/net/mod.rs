//! What kinds that talk to a service have in common: finding it, connecting, TLS, and giving up in time.

mod connect;
pub(crate) mod mail;
pub(crate) mod mysql;
mod payload;
mod place;
mod resolve;
mod starttls;
mod tls;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use monchero_core::check::Context;
use monchero_core::duration::human;
use monchero_core::{CheckError, Report, State};
use ring::rand::{SecureRandom as _, SystemRandom};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use connect::Connection;
pub(crate) use connect::{Address, Peer, connect};
pub(crate) use payload::{Payload, Reply, said};
pub(crate) use place::{Place, ServerAddress};
pub(crate) use resolve::resolve;
pub(crate) use starttls::{StartTls, reply};
pub(crate) use tls::{CERTIFICATE_LIMITS, Certificate, Handshake, TlsSettings};
pub(crate) use wire::Wire;

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
        Self::after(context.timeout.mul_f64(0.95))
    }

    fn after(limit: Duration) -> Self {
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

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::Unable("the system gives no random numbers".to_owned()))?;
    Ok(bytes)
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
    /// The certificates between it and an authority, as the server sends them.
    pub(crate) issuers: Vec<Certificate>,
    /// Whether the certificate was verified.
    pub(crate) verified: bool,
    /// Why it was refused, if the handshake was to go on all the same.
    pub(crate) fault: Option<String>,
    /// `TLS 1.2` or `TLS 1.3`.
    pub(crate) protocol: &'static str,
    /// The name of the cipher suite.
    pub(crate) cipher: &'static str,
    /// Which of the offered protocols the server chose by ALPN.
    pub(crate) chosen: Option<String>,
}

/// Opens a channel to a service. `protocols` are offered by ALPN.
pub(crate) async fn open(
    peer: &Peer,
    family: Family,
    tls: Option<&TlsSettings>,
    protocols: &[&[u8]],
    deadline: Deadline,
) -> Result<Channel, Failure> {
    let channel = Channel::from(connect(peer, family, deadline).await?);
    match tls {
        Some(settings) => channel.secure(peer, settings, Handshake { protocols, tolerant: false }, deadline).await,
        None => Ok(channel),
    }
}

impl From<Connection> for Channel {
    fn from(Connection { stream, address, resolving, connecting }: Connection) -> Self {
        Self { stream: Box::new(stream), address, resolving, connecting, tls: None }
    }
}

impl Channel {
    /// Makes the channel speak TLS with `peer`.
    pub(crate) async fn secure(
        self,
        peer: &Peer,
        settings: &TlsSettings,
        way: Handshake<'_>,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let (stream, secured) = secure(self.stream, peer, settings, way, deadline).await?;
        Ok(Self { stream, tls: Some(secured), ..self })
    }
}

/// Makes a stream to `peer` speak TLS.
pub(crate) async fn secure(
    stream: Box<dyn Stream>,
    peer: &Peer,
    settings: &TlsSettings,
    way: Handshake<'_>,
    deadline: Deadline,
) -> Result<(Box<dyn Stream>, Secured), Failure> {
    let (stream, secured) = tls::handshake(stream, peer, settings, way, deadline).await?;
    Ok((Box::new(stream), secured))
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
