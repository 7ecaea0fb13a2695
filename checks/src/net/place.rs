//! Where a server is that may listen on a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use monchero_core::Invalid;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tokio::net::UnixStream;

use super::{Address, Deadline, Failure, Family, Handshake, Peer, StartTls, TlsSettings, Wire, io_text, open};

/// A host, and a port if it is not the usual one, or the path of a Unix socket: `db.example.org`, `10.0.0.1:6380`, `/run/redis.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Network(Address),
    Socket(PathBuf),
}

/// This host.
impl Default for ServerAddress {
    fn default() -> Self {
        Self::Network(Address::localhost())
    }
}

impl ServerAddress {
    /// The place, at the usual port if none was named, where TLS can be spoken as the setting `tls` says.
    pub(crate) fn place(&self, usual: u16, tls: Option<&TlsSettings>) -> Result<Place, Invalid> {
        match self {
            Self::Network(address) => {
                if let Some(tls) = tls {
                    tls.validate().map_err(|why| ("tls", why))?;
                }
                Ok(Place::Network(address.peer(usual)))
            }
            Self::Socket(_) if tls.is_some() => Err(Invalid::at("tls", "no TLS is spoken on a Unix socket".to_owned())),
            Self::Socket(path) => Ok(Place::Socket(path.clone())),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        text.parse().map(Self::Network).map_err(|_: String| {
            format!(
                "`{text}` is no host, no `host:port` and no path of a Unix socket, as in `db.example.org`, `10.0.0.1:2525`, `[::1]:25` or `/run/db.sock`"
            )
        })
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ServerAddress {
    fn schema_name() -> Cow<'static, str> {
        "ServerAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A host, and a port if it is not the usual one, or the path of a Unix socket: `db.example.org`, `10.0.0.1:2525`, `[::1]:25`, `/run/db.sock`." })
    }
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
    /// Connects, and speaks TLS at once if it is wanted.
    pub(crate) async fn open(&self, tls: Option<&TlsSettings>, deadline: Deadline) -> Result<Wire, Failure> {
        match self {
            Self::Network(peer) => {
                let channel = open(peer, Family::Any, tls, &[], deadline).await?;
                Ok(Wire::over(channel, peer, deadline))
            }
            Self::Socket(path) => Ok(Wire::new(Box::new(connect(path, deadline).await?), self, deadline)),
        }
    }

    /// Connects, and asks for TLS in the way of a protocol if it is wanted.
    pub(crate) async fn open_after(
        &self,
        asking: StartTls,
        tls: Option<&TlsSettings>,
        deadline: Deadline,
    ) -> Result<Wire, Failure> {
        let mut wire = self.open(None, deadline).await?;
        let (Self::Network(peer), Some(settings)) = (self, tls) else { return Ok(wire) };
        asking.ask(&mut wire, &peer.host).await?;
        wire.secure(peer, settings, Handshake::default()).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (text, place) in [
            ("db.example", "db.example:1"),
            ("db.example:2", "db.example:2"),
            ("::1", "[::1]:1"),
            (" /run/db.sock ", "/run/db.sock"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.place(1, None).unwrap().to_string(), place, "{text}");
        }
        assert_eq!(ServerAddress::default().place(1, None).unwrap().to_string(), "localhost:1");
        for text in ["", "http://a", "a b", "a:0", "a:99999", "run/db.sock"] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
        let socket: ServerAddress = "/run/db.sock".parse().unwrap();
        assert!(socket.place(1, Some(&TlsSettings::default())).is_err());
    }
}
