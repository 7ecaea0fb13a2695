//! `tcp`: whether something answers on a port, and says what it should.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::net::{Deadline, Failure, Family, Payload, Peer, Reply, Stream, TlsSettings, io_text, open, said};

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "time",
        "s",
        "From the start to the connection, or to the reply if one is expected; name resolution is part of it.",
    ),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `tls`."),
];

/// How much of a reply is looked at, in bytes: greetings and status lines are much shorter.
const MAX_REPLY: usize = 64 * 1024;

/// In how many pieces a reply may come. The whole is searched after each, so this bounds the work that a server can make us do.
const MAX_PIECES: usize = 1_000;

/// Whether a TCP port answers. Optionally speaks TLS, sends a text and waits for one.
///
/// A service that refuses, does not answer, says something else or whose name cannot be resolved is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tcp {
    /// The host and port to connect to: `db.example.org:5432`, `10.0.0.1:80`, `[::1]:80`.
    address: Peer,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// Whether TLS is spoken: `true`, or a map of `server_name`, `ca`, `verify`, `certificate` and `key`. Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// What is sent once connected: a text, or bytes as `{ hex: .. }`. In double quotes, `\r\n` ends a line.
    send: Option<Payload>,
    /// What the service must say: a text, `{ regex: .. }`, or bytes as `{ hex: .. }`. The first 64 KiB of the reply are looked at, until
    /// it is found.
    expect: Option<Reply>,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time` (seconds) and `certificate` (seconds left).
    /// Without a word about it, a certificate that is
    /// verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is
    /// verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Tcp {
    const NAME: &'static str = "tcp";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: \"mail.example.org:25\", expect: \"220 \", warning: \"> 500ms\" }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(tls) = &self.tls {
            tls.validate().map_err(|why| ("tls", why))?;
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, TlsSettings::limits(self.tls.as_ref()))
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        match self.look(context).await {
            Ok(report) => Ok(report),
            Err(failure) => failure.into_answer(),
        }
    }
}

impl Tcp {
    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let deadline = Deadline::of(context);
        let mut channel = open(&self.address, self.family, self.tls.as_ref(), &[], deadline).await?;
        if let Some(payload) = &self.send {
            let writing = async {
                let sent = async {
                    channel.stream.write_all(payload.bytes()).await?;
                    channel.stream.flush().await
                };
                sent.await.map_err(|error| Failure::Bad(format!("sending to {}: {}", self.address, io_text(&error))))
            };
            deadline.bound(|| format!("sending to {}", self.address), writing).await?;
        }
        if let Some(expected) = &self.expect {
            self.wait_for(expected, &mut *channel.stream, deadline).await?;
        }
        let time = start.elapsed().as_secs_f64();
        let mut report = context.report();
        let mut values = vec![("time", time)];
        let mut tls = "";
        if let Some(secured) = &channel.tls {
            if let Some(certificate) = &secured.certificate {
                values.push(("certificate", certificate.left(context.now)));
                report.output = certificate.describe();
            }
            tls = if secured.verified { ", tls" } else { ", tls not verified" };
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(&mut report, "", &values, || {
            let took = human(time, &Unit::SECONDS);
            match &self.expect {
                Some(expected) => format!("{} says {expected} in {took}{tls}", self.address),
                None => format!("connected to {} in {took}{tls}", self.address),
            }
        });
        Ok(report)
    }

    /// Reads until what is expected has come.
    async fn wait_for(&self, expected: &Reply, stream: &mut dyn Stream, deadline: Deadline) -> Result<(), Failure> {
        let mut reply = Vec::new();
        for _ in 0..MAX_PIECES {
            let mut piece = [0; 4096];
            let read = match timeout(deadline.left(), stream.read(&mut piece)).await {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    return Err(Failure::Bad(format!("reading from {}: {}", self.address, io_text(&error))));
                }
                Err(_) => {
                    let limit = monchero_core::duration::human(deadline.limit());
                    return Err(Failure::Bad(format!(
                        "{} does not say {expected} within {limit}, but {}",
                        self.address,
                        said(&reply)
                    )));
                }
            };
            if read == 0 {
                return Err(Failure::Bad(format!(
                    "{} does not say {expected}, but {}, and closes",
                    self.address,
                    said(&reply)
                )));
            }
            reply.extend(piece.iter().take(read));
            if expected.matches(&reply) {
                return Ok(());
            }
            if reply.len() >= MAX_REPLY {
                return Err(Failure::Bad(format!(
                    "{} does not say {expected} in its first {} KiB",
                    self.address,
                    MAX_REPLY / 1024
                )));
            }
        }
        Err(Failure::Bad(format!("{} does not say {expected} in its first {MAX_PIECES} pieces", self.address)))
    }
}
