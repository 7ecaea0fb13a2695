//! Asking through a proxy.

use std::fmt;

use hyper::header::{HeaderMap, PROXY_AUTHORIZATION};
use monchero_core::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::request::credentials;
use super::url::Url;
use crate::net::{Channel, Deadline, Failure, Family, Peer, Wire, connect};
use crate::settings::excerpt;

/// How many headers a proxy may send when it opens a tunnel.
const MAX_HEADERS: usize = 100;

/// The proxy that is asked instead of the service itself.
#[derive(Debug, Clone, Default)]
pub(crate) enum ProxySetting {
    /// None: the service is asked itself.
    #[default]
    None,
    /// This one.
    Through(Proxy),
}

/// A proxy that speaks HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proxy {
    /// The URL of the proxy: `http://proxy.example:3128`.
    url: Url,
    /// The user that the proxy asks for.
    user: Option<String>,
    /// The password of the user.
    password: Option<Secret>,
}

impl Proxy {
    fn new(url: Url) -> Self {
        Self { url, user: None, password: None }
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.url.tls {
            return Err(("proxy", "a proxy is spoken to with `http://`, also about `https` services".to_owned()));
        }
        if self.url.path != "/" {
            return Err(("proxy", "the URL of a proxy ends behind its port".to_owned()));
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(("proxy.password", "a password belongs to a `user`".to_owned()));
        }
        let is_possible = !self.user.as_ref().is_some_and(|user| user.contains(':'));
        self.authorization().filter(|_| is_possible).map(drop).ok_or_else(|| {
            (
                "proxy.user",
                "a user of a proxy has no colon, and neither it nor the password a control character".to_owned(),
            )
        })
    }

    /// What is added to a request that goes to the proxy itself; none if that cannot be.
    fn authorization(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map(Secret::reveal).unwrap_or_default();
            headers.insert(PROXY_AUTHORIZATION, credentials(user, password).ok()?);
        }
        Some(headers)
    }

    /// The headers that are added to a request that goes to the proxy itself.
    pub(super) fn headers(&self) -> HeaderMap {
        self.authorization().unwrap_or_default()
    }

    /// A way to the proxy and, if TLS is to be spoken, through it. That it does not work says nothing about the service, unless the
    /// proxy says so.
    pub(super) async fn reach(&self, url: &Url, family: Family, deadline: Deadline) -> Result<Channel, Failure> {
        let unable = |failure| match failure {
            Failure::Bad(why) | Failure::Unable(why) => {
                Failure::Unable(format!("{url} cannot be asked through the proxy: {why}"))
            }
        };
        let channel = Channel::from(connect(&self.url.peer, family, deadline).await.map_err(unable)?);
        if !url.tls {
            return Ok(channel);
        }
        let mut wire = Wire::new(channel.stream, &self.url.peer, deadline);
        let status = self.open_tunnel(&mut wire, &url.peer).await.map_err(unable)?;
        match status {
            200..=299 => {}
            500..=599 => return Err(Failure::Bad(format!("the proxy {self} cannot reach {}: {status}", url.peer))),
            407 => {
                return Err(Failure::Unable(format!(
                    "the proxy {self} refuses to lead to {}: 407, the user or the password is wrong",
                    url.peer
                )));
            }
            _ => return Err(Failure::Unable(format!("the proxy {self} refuses to lead to {}: {status}", url.peer))),
        }
        Ok(Channel { stream: wire.into_stream()?, ..channel })
    }

    async fn open_tunnel(&self, wire: &mut Wire, peer: &Peer) -> Result<u16, Failure> {
        let mut request = format!("CONNECT {peer} HTTP/1.1\r\nHost: {peer}\r\n").into_bytes();
        for (name, value) in &self.headers() {
            request.extend(format!("{name}: ").into_bytes());
            request.extend(value.as_bytes());
            request.extend(b"\r\n");
        }
        request.extend(b"\r\n");
        wire.send(&request).await?;
        let first = wire.line("the answer to CONNECT").await?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| Failure::Unable(format!("it says `{}`", excerpt(&first))))?;
        for _ in 0..MAX_HEADERS {
            if wire.line("the end of its headers").await?.is_empty() {
                return Ok(status);
            }
        }
        Err(Failure::Unable(format!("it sends more than {MAX_HEADERS} headers")))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.peer.fmt(f)
    }
}

impl ProxySetting {
    pub(super) fn get(&self) -> Option<&Proxy> {
        match self {
            Self::None => None,
            Self::Through(proxy) => Some(proxy),
        }
    }
}

impl<'de> Deserialize<'de> for ProxySetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = ProxySetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the URL of a proxy, `none`, or a map of `url`, `user` and `password`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ProxySetting, E> {
                if text == "none" {
                    return Ok(ProxySetting::None);
                }
                if text.contains('@') {
                    // The text is not shown: it holds a password.
                    return Err(E::custom(
                        "a URL with a user or a password in it ends up in logs: write `{ url: .., user: .., password: .. }`",
                    ));
                }
                text.parse().map(Proxy::new).map(ProxySetting::Through).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProxySetting, A::Error> {
                Proxy::deserialize(MapAccessDeserializer::new(map)).map(ProxySetting::Through)
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for ProxySetting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProxySetting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<Proxy>();
        json_schema!({
            "description": "`none`, the URL of a proxy, or a map of `url`, `user` and `password`.",
            "anyOf": [{ "type": "string" }, map],
        })
    }
}
