//! `udp`: whether something answers a datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::duration::human as span;
use monchero_core::items::{Field, Judge};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::net::{Deadline, Failure, Family, Payload, Peer, Reply, io_text, resolve, said};

const FIELDS: &[Field<'static>] =
    &[Field::number("time", "s", "From the start to the answer; name resolution is part of it.")];

/// The largest datagram that there is, in bytes.
const MAX_DATAGRAM: usize = 65_535;

/// How many datagrams that are not what is expected are looked at: a few may be late answers to others.
const MAX_DATAGRAMS: usize = 100;

/// Whether a UDP service answers: sends one datagram and waits for another.
///
/// No answer in time is bad, and so is a host that says that nobody listens there (ICMP port unreachable). UDP may lose a datagram on
/// the way; `retries` of the check are for that.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Udp {
    /// The host and port to send to: `game.example.org:27015`, `10.0.0.1:53`, `[::1]:123`.
    address: Peer,
    /// What is sent: a text, or bytes as `{ hex: .. }`.
    send: Payload,
    /// What the service must answer: a text, `{ regex: .. }`, or bytes as `{ hex: .. }`. Default: anything.
    expect: Option<Reply>,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`, in the order of the system; the next one is tried
    /// where nobody listens.
    #[serde(default)]
    family: Family,
    /// When the time is a warning.
    #[serde(default)]
    warning: Thresholds,
    /// When the time is bad.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Udp {
    const NAME: &'static str = "udp";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str =
        "{ address: \"game.example.org:27015\", send: { hex: \"ff ff ff ff 54\" }, expect: { hex: \"ff ff ff ff\" } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let start = Instant::now();
        if let Err(failure) = self.look(Deadline::of(context)).await {
            return failure.into_answer();
        }
        let time = start.elapsed().as_secs_f64();
        let mut report = context.report();
        Judge::new(FIELDS, &self.warning, &self.bad).item(&mut report, "", &[("time", time)], || {
            let what = self.expect.as_ref().map_or("answers".to_owned(), |expected| format!("says {expected}"));
            format!("{} {what} in {}", self.address, human(time, &Unit::SECONDS))
        });
        Ok(report)
    }
}

impl Udp {
    async fn look(&self, deadline: Deadline) -> Result<(), Failure> {
        let mut failure = Failure::Bad(format!("{} has no address", self.address));
        for address in resolve(&self.address, self.family, deadline).await? {
            match self.ask(address, deadline).await {
                Ok(()) => return Ok(()),
                Err(why) => failure = why,
            }
            if deadline.left().is_zero() {
                break;
            }
        }
        Err(failure)
    }

    /// Asks one address.
    async fn ask(&self, address: SocketAddr, deadline: Deadline) -> Result<(), Failure> {
        let own = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let at = if address.ip().to_string() == self.address.host {
            self.address.to_string()
        } else {
            format!("{} ({})", self.address, address.ip())
        };
        let socket = UdpSocket::bind((own, 0)).await;
        let socket = socket.map_err(|error| Failure::Unable(format!("opening a UDP socket: {}", io_text(&error))))?;
        // Only answers of this address reach the socket, and what ICMP says about it.
        let broken = |doing: &str, error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                Failure::Bad(format!("nobody listens at {at} (ICMP port unreachable)"))
            }
            _ => Failure::Bad(format!("{doing} {at}: {}", io_text(error))),
        };
        socket.connect(address).await.map_err(|error| broken("reaching", &error))?;
        socket.send(self.send.bytes()).await.map_err(|error| broken("sending to", &error))?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut last = Vec::new();
        for _ in 0..MAX_DATAGRAMS {
            let read = match timeout(deadline.left(), socket.recv(&mut buffer)).await {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Err(broken("waiting for an answer of", &error)),
                Err(_) => return Err(Failure::Bad(self.silence(&at, &last, deadline))),
            };
            let answer = buffer.get(..read).unwrap_or_default();
            if self.expect.as_ref().is_none_or(|expected| expected.matches(answer)) {
                return Ok(());
            }
            last = answer.to_vec();
        }
        Err(Failure::Bad(format!("{at} sends {MAX_DATAGRAMS} datagrams, the last {}: {}", said(&last), self.wish())))
    }

    fn silence(&self, at: &str, last: &[u8], deadline: Deadline) -> String {
        let limit = span(deadline.limit());
        if last.is_empty() {
            return format!("{at} does not answer within {limit}");
        }
        format!("{at} answers {} within {limit}: {}", said(last), self.wish())
    }

    fn wish(&self) -> String {
        self.expect.as_ref().map_or_else(|| "expected anything".to_owned(), |expected| format!("expected {expected}"))
    }
}
