//! Connecting to a host and port.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::resolve::resolve;
use super::{Deadline, Failure, Family, io_text};

/// How long an address has before the next one is tried beside it (RFC 8305, section 5, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not of the form `host:port`, as in `db.example.org:5432`, `10.0.0.1:80` or `[::1]:80`")
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                rest.strip_suffix(']').filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok()).ok_or_else(wrong)?
            }
            None => host,
        };
        let is_name = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !is_name(host) && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Peer {
    /// A host alone, by name or address, at a port.
    pub(crate) fn of(host: &str, port: u16) -> Option<Self> {
        // Before a port, an IPv6 address needs brackets.
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let text = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        text.parse().ok()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Peer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Peer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": ":[0-9]+$", "description": "A host and a port: `db.example.org:5432`, `10.0.0.1:80`, `[::1]:80`." })
    }
}

/// A host, and a port if it is not the usual one: `mail.example.org`, `10.0.0.1:2525`, `[::1]:25`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: Option<u16>,
}

impl Address {
    /// This host.
    pub(crate) fn localhost() -> Self {
        Self { host: "localhost".to_owned(), port: None }
    }

    /// The peer, at the usual port if none was named.
    pub(crate) fn peer(&self, usual: u16) -> Peer {
        Peer { host: self.host.clone(), port: self.port.unwrap_or(usual) }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(Peer { host, port }) = text.parse() {
            return Ok(Self { host, port: Some(port) });
        }
        // With any port behind it, a host alone is a peer.
        let Peer { host, .. } = Peer::of(text, 1).ok_or_else(|| {
            format!("`{text}` is no host and no `host:port`, as in `mail.example.org`, `10.0.0.1:2525` or `[::1]:25`")
        })?;
        Ok(Self { host, port: None })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A host, and a port if it is not the usual one: `mail.example.org`, `10.0.0.1:2525`, `[::1]:25`." })
    }
}

/// A connection, and how long it took to get it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    /// The resolution of the name.
    pub(crate) resolving: Duration,
    /// From then to the connection.
    pub(crate) connecting: Duration,
}

/// Connects to the first address of the peer that answers.
pub(crate) async fn connect(peer: &Peer, family: Family, deadline: Deadline) -> Result<Connection, Failure> {
    let start = Instant::now();
    let addresses = resolve(peer, family, deadline).await?;
    let resolving = start.elapsed();
    let (stream, address) = deadline.bound(|| format!("connecting to {peer}"), race(peer, &addresses)).await?;
    // A request is written at once; waiting for more to send would be measured as the service's time.
    let _ = stream.set_nodelay(true);
    Ok(Connection { stream, address, resolving, connecting: start.elapsed().saturating_sub(resolving) })
}

/// Tries the addresses in order, each a little after the one before or when that has failed (RFC 8305).
async fn race(peer: &Peer, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut refusal = None;
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let ended = match (next, waiting.len()) {
            // The last one is on its way: nothing is left to do but to wait.
            (_, 0) => attempts.join_next().await,
            _ => match timeout(HEAD_START, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok((address, Ok(stream)))) => return Ok((stream, address)),
            Some(Ok((address, Err(error)))) => drop(refusal.get_or_insert((address, io_text(&error)))),
            Some(Err(error)) => return Err(Failure::Unable(format!("connecting to {peer}: {error}"))),
            None if waiting.len() == 0 => break,
            None => {}
        }
    }
    Err(Failure::Bad(match refusal {
        Some((address, why)) if address.ip().to_string() != peer.host => {
            format!("connecting to {peer} ({}): {why}", address.ip())
        }
        Some((_, why)) => format!("connecting to {peer}: {why}"),
        None => format!("connecting to {peer}: no address answered"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers() {
        for (text, host, port) in
            [("a.example:80", "a.example", 80), ("[::1]:443", "::1", 443), ("10.0.0.1:1", "10.0.0.1", 1)]
        {
            let peer: Peer = text.parse().unwrap();
            assert_eq!((peer.host.as_str(), peer.port), (host, port));
            assert_eq!(peer.to_string(), text);
        }
        for text in ["", "a", ":80", "a:", "a:0", "a:99999", "http://a:80", "a b:80", "[x]:80", "[::1:80", "user@a:80"]
        {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("a.example", "a.example:25"),
            ("a:26", "a:26"),
            ("::1", "[::1]:25"),
            ("[::1]", "[::1]:25"),
            ("10.0.0.1", "10.0.0.1:25"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.peer(25).to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "a b", "a:0", "a:99999", "http://a", "a:b:c"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_one_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let peer = Peer { host: "service".to_owned(), port: good.port() };
        let (_, address) = race(&peer, &[refusing, good]).await.unwrap();
        assert_eq!(address, good);
        let Err(Failure::Bad(why)) = race(&peer, &[refusing, refusing]).await else { panic!("nobody listens") };
        assert_eq!(why, format!("connecting to {peer} (127.0.0.1): connection refused"));
    }
}
