//! Targets that are reached over HTTP: one client, one judgement of answers, one way to name a service without its secrets.

mod metadata;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use monchero_core::action::DeliveryError;
use monchero_core::{Invalid, Secret};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde_json::Value as Json;

/// How long a connection may take, and a whole delivery (R41).
const CONNECT: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(15);
/// How much of an answer is read, in bytes: ids and reasons stand in the first few hundred.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of an answer a message about a failure shows, in bytes.
const MAX_SHOWN: usize = 200;
/// How a program that asks names itself.
const USER_AGENT: &str = concat!("monchero/", env!("CARGO_PKG_VERSION"));

/// How a web service is reached. Environment variables such as `https_proxy` are not used: what a daemon does stands in its configuration.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    /// A file with the certificates (PEM) of the authorities to trust, instead of those that the system trusts.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// The proxy: `http://proxy.example:3128`. Default: none.
    #[serde(default)]
    proxy: Option<String>,
    /// The user to log in to the proxy as. Default: no login.
    #[serde(default)]
    proxy_user: Option<String>,
    /// The password to log in to the proxy with.
    #[serde(default)]
    proxy_password: Option<Secret>,
    #[serde(skip)]
    authorities: Vec<CertificateDer<'static>>,
    #[serde(skip)]
    client: OnceLock<Client>,
}

/// An answer of a service that took a message.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body, cut to [`MAX_ANSWER`].
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }

    /// `200 OK`, for the log of who was told what.
    pub(crate) fn word(&self) -> String {
        self.status.to_string()
    }
}

/// A request that is about to be made.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `POST` mostly.
    pub(crate) method: Method,
    /// Where to. Never shown whole: it may hold a token.
    pub(crate) url: Url,
    /// What goes with it.
    pub(crate) headers: HeaderMap,
    /// What is sent.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A `POST` of JSON.
    pub(crate) fn json(url: Url, body: &Json) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(reqwest::header::CONTENT_TYPE, reqwest::header::HeaderValue::from_static("application/json"));
        Self { method: Method::POST, url, headers, body: body.to_string().into_bytes() }
    }

    /// Adds a header whose value is a secret.
    pub(crate) fn secret_header(mut self, name: &'static str, value: &str) -> Result<Self, DeliveryError> {
        let mut value = reqwest::header::HeaderValue::from_str(value).map_err(|_| DeliveryError::Permanent {
            why: format!("the header `{name}` cannot hold the characters that it should"),
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Logs in with HTTP Basic (RFC 7617).
    pub(crate) fn basic(self, user: &str, password: &str) -> Result<Self, DeliveryError> {
        use base64::Engine as _;
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.secret_header("authorization", &format!("Basic {both}"))
    }

    fn place(&self) -> String {
        place(&self.url)
    }
}

/// Reads an address of the settings: `http` or `https`, with a host that may be asked and without a user in it.
pub(crate) fn address(setting: &'static str, text: &str) -> Result<Url, Invalid> {
    let wrong = |why: &str| Invalid::at(setting, format!("this is no address of a web service: {why}"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it begins with `https://` or `http://` and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user and a password do not stand in it; there are settings for them"));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.parse::<IpAddr>().is_ok_and(metadata::is_metadata) {
        return Err(wrong("it is the metadata service of a cloud, which hands out credentials; no message goes there"));
    }
    Ok(url)
}

/// An address with a path behind it, each part of which is a text of its own.
pub(crate) fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Scheme and host: all of an address that is shown, since the rest may be a token.
pub(crate) fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

impl Connection {
    /// Reads what can be wrong about it.
    pub(crate) fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(path) = &self.ca {
            let wrong = |why: String| {
                Invalid::at("connection.ca", format!("cannot read the certificates in `{}`: {why}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            self.authorities = found.map_err(|error| wrong(error.to_string()))?;
            if self.authorities.is_empty() {
                return Err(wrong("no certificate in PEM form stands in it".to_owned()));
            }
        }
        if let Some(proxy) = &self.proxy {
            address("connection.proxy", proxy)?;
        }
        if self.proxy.is_none() && (self.proxy_user.is_some() || self.proxy_password.is_some()) {
            return Err(Invalid::at("connection.proxy", "it is missing: somebody is to log in to it"));
        }
        Ok(())
    }

    /// Sends a request and judges the answer: `Ok` for a status from 200 to 299. If it is too long for the service (413, or 431 of Apprise),
    /// what `shorter` makes is sent once instead.
    pub(crate) async fn send(
        &self,
        request: Request,
        shorter: impl FnOnce() -> Option<Request>,
    ) -> Result<Answer, DeliveryError> {
        let (status, headers, body) = self.exchange(&request).await?;
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            && let Some(request) = shorter()
        {
            let (status, headers, body) = self.exchange(&request).await?;
            return judge(&request, status, &headers, body);
        }
        judge(&request, status, &headers, body)
    }

    async fn exchange(&self, request: &Request) -> Result<(StatusCode, HeaderMap, Vec<u8>), DeliveryError> {
        let client = self.client().map_err(|why| DeliveryError::Permanent { why })?;
        let failed = |error: &reqwest::Error| DeliveryError::Transient {
            why: format!("sending to {}: {}", request.place(), describe(error)),
            after: None,
        };
        let sending = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send();
        let mut response = sending.await.map_err(|error| failed(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        // A body that breaks off says nothing against the status that came before it.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_ANSWER.saturating_sub(body.len());
            body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if body.len() >= MAX_ANSWER {
                break;
            }
        }
        Ok((status, headers, body))
    }

    /// The client, made when it is first needed: it holds the authorities that the system trusts.
    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    fn build(&self) -> Result<Client, String> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            // What holds a token does not follow whoever points elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            // Messages are rare: a connection of the last one is stale when the next one comes.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .dns_resolver(Arc::new(metadata::Names))
            .tls_backend_preconfigured(tls(&self.authorities)?);
        if let Some(proxy) = &self.proxy {
            let mut proxy =
                reqwest::Proxy::all(proxy).map_err(|error| format!("cannot use the proxy: {}", describe(&error)))?;
            if let Some(user) = &self.proxy_user {
                proxy = proxy.basic_auth(user, self.proxy_password.as_ref().map_or("", |secret| secret.reveal()));
            }
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|error| format!("cannot prepare connections: {}", describe(&error)))
    }
}

fn tls(authorities: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if authorities.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        roots.add_parsable_certificates(authorities.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot prepare TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What a status means: whether the message was taken, may be taken later, or never will be (R39, R40).
fn judge(request: &Request, status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Result<Answer, DeliveryError> {
    if status.is_success() {
        return Ok(Answer { status, body });
    }
    let said = monchero_core::text::escape_controls(&String::from_utf8_lossy(&body));
    let said = monchero_core::text::shorten(said.trim(), MAX_SHOWN);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let why = format!("{} answered {status}{said}", request.place());
    let may_pass = [
        StatusCode::REQUEST_TIMEOUT,
        // Apprise: a service behind it did not take the message.
        StatusCode::FAILED_DEPENDENCY,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    let is_transient = status.is_server_error() || may_pass.contains(&status);
    if is_transient {
        let after = retry_after(headers).or_else(|| retry_after_in(&body));
        return Err(DeliveryError::Transient { why, after });
    }
    Err(DeliveryError::Permanent { why })
}

/// The header `Retry-After`: seconds, or a date by the clock of who answered (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    Some(Duration::try_from(date(text)?.duration_since(now)).unwrap_or_default())
}

/// The same in the body: `retry_after` (Discord, seconds with a fraction; Matrix has `retry_after_ms`) or `parameters.retry_after` (Telegram).
fn retry_after_in(body: &[u8]) -> Option<Duration> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let seconds = json
        .get("retry_after")
        .or_else(|| json.pointer("/parameters/retry_after"))
        .and_then(Json::as_f64)
        .or_else(|| Some(json.get("retry_after_ms")?.as_f64()? / 1_000.0))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// An error of the client with its causes, without the address, which may hold a token.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() {
            "no connection within 5s".to_owned()
        } else {
            "no answer within 15s".to_owned()
        };
    }
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    // The innermost says why, and the outer ones repeat where to.
    causes.pop().unwrap_or_else(|| {
        if error.is_builder() { "the request cannot be made".to_owned() } else { "it failed".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_stands_in_the_header_or_in_the_body() {
        let header = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            headers.insert(DATE, "Thu, 01 Jan 2026 00:00:00 GMT".parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(header("7"), Some(Duration::from_secs(7)));
        assert_eq!(header("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(header("Wed, 31 Dec 2025 00:01:00 GMT"), Some(Duration::ZERO));
        assert_eq!(header("soon"), None);
        assert_eq!(retry_after_in(br#"{"retry_after": 0.5}"#), Some(Duration::from_millis(500)));
        assert_eq!(retry_after_in(br#"{"parameters": {"retry_after": 3}}"#), Some(Duration::from_secs(3)));
        assert_eq!(retry_after_in(br#"{"retry_after_ms": 1500}"#), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after_in(br#"{"retry_after": -1}"#), None);
        assert_eq!(retry_after_in(b"<html>"), None);
    }

    #[test]
    fn only_scheme_and_host_of_an_address_are_shown() {
        let url = address("url", "https://hooks.example:8443/services/SECRET?token=SECRET").unwrap();
        assert_eq!(place(&url), "https://hooks.example:8443");
        for wrong in ["hooks.example", "ftp://x/", "https://user:pass@x/", "https://"] {
            assert!(address("url", wrong).is_err(), "{wrong}");
        }
        // Numbers and other ways to write an address are the same to a URL.
        for refused in [
            "http://169.254.169.254/latest/",
            "http://2852039166/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:a9fe:a9fe]/",
        ] {
            let why = address("url", refused).unwrap_err().why;
            assert!(why.contains("metadata service"), "{refused}: {why}");
        }
        assert_eq!(below(&address("url", "https://x/a/").unwrap(), &["b c", "d"]).as_str(), "https://x/a/b%20c/d");
    }
}
