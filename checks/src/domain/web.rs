//! Getting one document by HTTP, with redirects.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tokio::task::JoinSet;

use crate::net::{Deadline, Failure, Family, Peer, TlsSettings, open};
use crate::settings::excerpt;

/// How large a document may be, in bytes: IANA's list has 100 KB.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// How large the head of an answer may be, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How many redirects are followed: registries send to registrars, and those to their new addresses.
const MAX_REDIRECTS: usize = 5;

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    tls: bool,
    peer: Peer,
    path: String,
}

impl Url {
    /// The URL of something below this one.
    pub(super) fn below(&self, path: &str) -> Self {
        Self { path: format!("{}/{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }

    /// Where a redirect leads, unless it gives up TLS.
    fn redirect(&self, location: &str) -> Result<Self, String> {
        let target = if location.starts_with('/') && !location.starts_with("//") {
            Self { path: location.to_owned(), ..self.clone() }
        } else {
            location.parse().map_err(|why| format!("{self} redirects to what is not followed: {why}"))?
        };
        if self.tls && !target.tls {
            return Err(format!("{self} redirects to {target}, which is not followed: it gives up TLS"));
        }
        Ok(target)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no URL such as `https://rdap.example.org/v1/`", excerpt(text));
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = uri.host().filter(|_| is_plain).ok_or_else(wrong)?;
        let peer = format!("{host}:{port}").parse().map_err(|_| wrong())?;
        Ok(Self { tls, peer, path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, host(self), self.path)
    }
}

/// The value of the header `Host`.
fn host(url: &Url) -> String {
    let peer = url.peer.to_string();
    let default = if url.tls { ":443" } else { ":80" };
    peer.strip_suffix(default).unwrap_or(&peer).to_owned()
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "RdapServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://", "description": "The URL of an RDAP server." })
    }
}

/// A document.
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Where it came from in the end, for messages.
    pub(super) from: String,
}

/// Gets a document; an error is the reason why it could not be had.
pub(super) async fn get(mut url: Url, deadline: Deadline) -> Result<Got, String> {
    let first = url.to_string();
    for _ in 0..=MAX_REDIRECTS {
        let asking = format!("asking {url}");
        let (status, location, body) =
            deadline.bound(|| asking.clone(), once(&url, deadline)).await.map_err(|failure| match failure {
                Failure::Bad(why) | Failure::Unable(why) => why,
            })?;
        match location.filter(|_| (300..400).contains(&status)) {
            Some(location) => url = url.redirect(&location)?,
            None => return Ok(Got { status, body, from: url.to_string() }),
        }
    }
    Err(format!("{first} leads to more than {MAX_REDIRECTS} redirects, the last to {url}"))
}

/// One question and its answer: the status, where it sends us, the body.
async fn once(url: &Url, deadline: Deadline) -> Result<(u16, Option<String>, Bytes), Failure> {
    let settings = TlsSettings::default();
    let channel = open(&url.peer, Family::Any, url.tls.then_some(&settings), &[b"http/1.1"], deadline).await?;
    let wrong = |error: &dyn fmt::Display| Failure::Unable(format!("asking {url}: {error}"));
    let request = Request::builder()
        .uri(&url.path)
        .header(header::HOST, host(url))
        .header(header::USER_AGENT, concat!("monchero/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/rdap+json, application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(&error))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(channel.stream)).await.map_err(|error| wrong(&error))?;
    // Ends with this question. What ended the connection reaches the one who asks, too.
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
    let location = response.headers().get(header::LOCATION);
    let location = location.map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| wrong(&error))?;
    Ok((status, location, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_redirects() {
        let url: Url = "https://rdap.example.org/v1/".parse().unwrap();
        let below = url.below("domain/a.org");
        assert_eq!(below.to_string(), "https://rdap.example.org/v1/domain/a.org");
        let to = |location: &str| below.redirect(location).map(|url| url.to_string());
        assert_eq!(to("/v2/x").as_deref(), Ok("https://rdap.example.org/v2/x"));
        assert_eq!(to("https://b.example:8443/x?y").as_deref(), Ok("https://b.example:8443/x?y"));
        assert!(to("http://b.example/").unwrap_err().contains("gives up TLS"));
        for text in ["", "file:///etc/passwd", "ftp://a/", "https://u:p@a/", "//a", "x", "https://"] {
            assert!(text.parse::<Url>().is_err() && to(text).is_err(), "{text}");
        }
    }
}
