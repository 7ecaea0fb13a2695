//! What kinds that ask a server in its own language have in common: where it is, reading and writing with bounds, and counters.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::Invalid;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::net::{
    Deadline, Failure, Family, Handshake, Lines, Peer, Secured, StartTls, Stream, TlsSettings, io_text, open,
};

/// Where `host` points if nothing is said.
pub(crate) fn localhost() -> String {
    "localhost".to_owned()
}

/// How far apart two readings of counters are if none is remembered.
pub(crate) const SECOND_READING: Duration = Duration::from_millis(500);

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::Unable("the system gives no random numbers".to_owned()))?;
    Ok(bytes)
}

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Network(Peer),
    /// A Unix socket.
    Socket(PathBuf),
}

impl Default for Place {
    fn default() -> Self {
        Self::Socket(PathBuf::new())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(peer) => peer.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    /// The place that the settings `host`, `port` and `tls` name; a host that begins with a slash is a Unix socket.
    pub(crate) fn of(host: &str, port: u16, tls: Option<&TlsSettings>) -> Result<Self, Invalid> {
        let host = host.trim();
        if !host.starts_with('/') {
            if let Some(tls) = tls {
                tls.validate().map_err(|why| ("tls.server_name", why))?;
            }
            return peer(host, port).map(Self::Network);
        }
        if tls.is_some() {
            return Err(Invalid::at("tls", "no TLS is spoken on a Unix socket".to_owned()));
        }
        Ok(Self::Socket(PathBuf::from(host)))
    }

    /// Connects.
    pub(crate) async fn open(&self, tls: Option<&TlsSettings>, deadline: Deadline) -> Result<Wire, Failure> {
        self.open_after(None, tls, deadline).await
    }

    /// Connects, and asks for TLS in the way of a protocol if it is wanted.
    pub(crate) async fn open_after(
        &self,
        asking: Option<StartTls>,
        tls: Option<&TlsSettings>,
        deadline: Deadline,
    ) -> Result<Wire, Failure> {
        let (stream, tls) = self.stream(asking, tls, deadline).await?;
        Ok(Wire { stream: BufReader::new(stream), place: self.to_string(), deadline, tls })
    }

    /// The same for those who read by themselves.
    pub(crate) async fn stream(
        &self,
        asking: Option<StartTls>,
        tls: Option<&TlsSettings>,
        deadline: Deadline,
    ) -> Result<(Box<dyn Stream>, Option<Secured>), Failure> {
        let peer = match self {
            Self::Network(peer) => peer,
            Self::Socket(path) => return Ok((Box::new(connect(path, deadline).await?), None)),
        };
        let (Some(asking), Some(settings)) = (asking, tls) else {
            let channel = open(peer, Family::Any, tls, &[], deadline).await?;
            return Ok((channel.stream, channel.tls));
        };
        let mut channel = open(peer, Family::Any, None, &[], deadline).await?;
        let mut lines = Lines::new(channel.stream, peer, deadline);
        asking.ask(&mut lines, peer).await?;
        channel.stream = lines.into_stream()?;
        let channel = channel.secure(peer, settings, Handshake::default(), deadline).await?;
        Ok((channel.stream, channel.tls))
    }
}

/// Connects to a Unix socket.
async fn connect(path: &Path, deadline: Deadline) -> Result<UnixStream, Failure> {
    let shown = path.display();
    let connecting = async {
        UnixStream::connect(path).await.map_err(|error| match error.kind() {
            // Whether the service is well cannot be said by one who may not ask.
            std::io::ErrorKind::PermissionDenied => Failure::Unable(format!(
                "connecting to {shown}: permission denied: monchero's user must be in the group that may write to the socket"
            )),
            _ => Failure::Bad(format!("connecting to {shown}: {}", io_text(&error))),
        })
    };
    deadline.bound(|| format!("connecting to {shown}"), connecting).await
}

/// The peer that the settings `host` and `port` name.
pub(crate) fn peer(host: &str, port: u16) -> Result<Peer, Invalid> {
    if port == 0 {
        return Err(Invalid::at("port", "a port is a number from 1 to 65535".to_owned()));
    }
    let host = host.trim();
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let text = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().map_err(|_| {
        Invalid::at(
            "host",
            format!("`{host}` is no name of a host and no address, such as `db.example.org`, `10.0.0.1` or `::1`"),
        )
    })
}

/// A connection that is read in pieces whose size is bounded, each of which must come in time.
pub(crate) struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    place: String,
    deadline: Deadline,
    /// What TLS added, if it is spoken.
    pub(crate) tls: Option<Secured>,
}

impl Wire {
    /// That the server is at fault: the text follows its place.
    pub(crate) fn fault(&self, what: impl fmt::Display) -> Failure {
        Failure::Bad(format!("{} {what}", self.place))
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { stream, place, deadline, .. } = self;
        let sending = async {
            let sent = async {
                stream.write_all(bytes).await?;
                stream.flush().await
            };
            sent.await.map_err(|error| Failure::Bad(format!("sending to {place}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("sending to {place}"), sending).await
    }

    /// A line of at most `max` bytes, without its end. `awaited` is what it should be, as in "the answer to PING".
    pub(crate) async fn line(&mut self, max: usize, awaited: &str) -> Result<String, Failure> {
        let Self { stream, place, deadline, .. } = self;
        let mut line = Vec::new();
        let reading = async {
            let mut bounded = stream.take(max as u64);
            bounded.read_until(b'\n', &mut line).await.map_err(|error| broken(place, awaited, &error))
        };
        deadline.bound(|| format!("waiting for {awaited} of {place}"), reading).await?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            let long = line.len() >= max;
            return Err(self.fault(if long {
                format!("sends a line of more than {max} bytes instead of {awaited}")
            } else {
                format!("closes the connection instead of sending {awaited}")
            }));
        }
        line.pop_if(|last| *last == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Exactly `count` bytes; the caller has bounded that.
    pub(crate) async fn exact(&mut self, count: usize, awaited: &str) -> Result<Vec<u8>, Failure> {
        let Self { stream, place, deadline, .. } = self;
        let mut bytes = vec![0; count];
        let reading =
            async { stream.read_exact(&mut bytes).await.map_err(|error| broken(place, awaited, &error)).map(drop) };
        deadline.bound(|| format!("waiting for {awaited} of {place}"), reading).await?;
        Ok(bytes)
    }
}

fn broken(place: &str, awaited: &str, error: &std::io::Error) -> Failure {
    Failure::Bad(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => format!("{place} closes the connection instead of sending {awaited}"),
        _ => format!("reading {awaited} of {place}: {}", io_text(error)),
    })
}

/// Counters of a server at a moment, to be remembered from run to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// In seconds, from wherever both readings count.
    pub(crate) at: f64,
    pub(crate) values: BTreeMap<String, f64>,
}

impl Counters {
    /// These counters of those that the server names, now.
    pub(crate) fn of(now: jiff::Timestamp, values: &BTreeMap<String, String>, names: &[&str]) -> Self {
        let number = |name: &&str| Some(((*name).to_owned(), values.get(*name)?.parse().ok()?));
        Self { at: now.as_millisecond() as f64 / 1000.0, values: names.iter().filter_map(number).collect() }
    }

    /// How much each has grown since `earlier`, and in how many seconds. Nothing if time or a counter went backwards: the server was
    /// started anew.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Growth> {
        let seconds = self.at - earlier.at;
        let grown = |(name, now): (&String, &f64)| {
            let by = now - earlier.values.get(name)?;
            (by >= 0.0).then(|| (name.clone(), by))
        };
        let values = self.values.iter().map(grown).collect::<Option<_>>()?;
        (seconds > 0.0).then_some(Growth { seconds, values })
    }
}

/// How much counters have grown.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) seconds: f64,
    values: BTreeMap<String, f64>,
}

impl Growth {
    /// By how much in all.
    pub(crate) fn by(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// By how much per second.
    pub(crate) fn rate(&self, name: &str) -> Option<f64> {
        self.by(name).map(|by| by / self.seconds)
    }

    /// The share of `part` in `part` and `rest`, in percent, if there was any of both.
    pub(crate) fn share(&self, part: &str, rest: &str) -> Option<f64> {
        let (part, rest) = (self.by(part)?, self.by(rest)?);
        (part + rest > 0.0).then(|| 100.0 * part / (part + rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at: f64, hits: f64) -> Counters {
        Counters { at, values: BTreeMap::from([("hits".to_owned(), hits)]) }
    }

    #[test]
    fn growth_of_counters() {
        let growth = counters(20.0, 50.0).since(&counters(10.0, 30.0)).unwrap();
        assert_eq!((growth.by("hits"), growth.rate("hits"), growth.rate("other")), (Some(20.0), Some(2.0), None));
        assert!(counters(20.0, 5.0).since(&counters(10.0, 30.0)).is_none(), "the server was started anew");
        assert!(counters(10.0, 50.0).since(&counters(10.0, 30.0)).is_none(), "no time has passed");
        assert!(counters(20.0, 5.0).since(&Counters { at: 1.0, values: BTreeMap::new() }).is_none());
    }

    #[test]
    fn places() {
        for (host, shown) in [("db.example", "db.example:1"), ("::1", "[::1]:1"), ("/run/db.sock", "/run/db.sock")] {
            assert_eq!(Place::of(host, 1, None).unwrap().to_string(), shown);
        }
        for host in ["", "http://a", "a b", "a:1"] {
            assert!(Place::of(host, 1, None).is_err(), "{host}");
        }
        assert!(Place::of("a", 0, None).is_err());
        assert!(Place::of("/run/db.sock", 1, Some(&TlsSettings::default())).is_err());
    }
}
