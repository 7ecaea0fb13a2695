//! Signs of life: a request to a service that notices when they stop (Healthchecks, Uptime Kuma, another monitor).

use std::collections::BTreeMap;
use std::time::Duration;

use monchero_core::duration::DurationText;
use monchero_core::mask::Mask;
use monchero_core::secret::MaybeSecret;
use monchero_core::{Invalid, Secret, duration};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::validated::Validated;
use crate::web::{Connection, Request, address, place};
use crate::webhook::header;

/// How often one is sent if nobody says.
const USUAL_INTERVAL: Duration = Duration::from_secs(60);
/// How long one may take if nobody says.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest interval: a service that is called more often than that takes it for an attack.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that one may take: as long as any request.
const MAX_TIMEOUT: Duration = Duration::from_secs(15);

/// A sign of life that is sent again and again to a service that notices when it stops: Healthchecks, Uptime Kuma and the like. It is sent
/// only while monchero is well: while none of its own checks (`self/store`, `self/notify`, ..) is bad, and its engine answers. The check
/// `self/alive` tells how it was taken. An answer from 200 to 299 takes it; redirects are not followed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alive {
    /// Where it goes: `https://hc-ping.com/UUID`. It may hold a token: only scheme and host of it are ever shown.
    url: Secret,
    /// How often it is sent, at least `1s`. Default: `1m`.
    #[serde(default, with = "duration::option")]
    #[schemars(with = "Option<DurationText>")]
    interval: Option<Duration>,
    /// How long it may take, from `100ms` to `15s`. Default: `10s`.
    #[serde(default, with = "duration::option")]
    #[schemars(with = "Option<DurationText>")]
    timeout: Option<Duration>,
    /// The method: `POST`, `PUT`, `GET` or `HEAD`; the last two send no text. Default: `POST`.
    #[serde(default)]
    method: Option<String>,
    /// Further headers: `{ Authorization: { file: /etc/monchero/alive.token } }`.
    #[serde(default)]
    headers: BTreeMap<String, MaybeSecret>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    mask: Mask,
    #[serde(skip)]
    ready: Validated<Ready>,
}

#[derive(Clone)]
struct Ready {
    url: Url,
    method: Method,
    headers: HeaderMap,
}

impl Alive {
    /// Judges what the types cannot. The path names the setting. What the service says is shown without what `mask` hides.
    pub fn validate(&mut self, mask: Mask) -> Result<(), Invalid> {
        self.mask = mask;
        let url = address("url", self.url.reveal())?;
        let method = match self.method.as_deref().unwrap_or("POST") {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            other => return Err(Invalid::at("method", format!("`{other}` is not `POST`, `PUT`, `GET` or `HEAD`"))),
        };
        if self.interval() < MIN_INTERVAL {
            return Err(Invalid::at("interval", format!("it is at least `{}`", duration::format(MIN_INTERVAL))));
        }
        if !(Duration::from_millis(100)..=MAX_TIMEOUT).contains(&self.timeout()) {
            return Err(Invalid::at("timeout", format!("it is from `100ms` to `{}`", duration::format(MAX_TIMEOUT))));
        }
        let headers = self.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        self.connection.validate()?;
        self.ready = Validated::new(Ready { url, method, headers });
        Ok(())
    }

    /// How often it is sent.
    pub fn interval(&self) -> Duration {
        self.interval.unwrap_or(USUAL_INTERVAL)
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(USUAL_TIMEOUT)
    }

    /// Sends one, with a line about how everything is; what the service answered, or why it was not taken.
    pub async fn send(&self, text: &str) -> Result<String, String> {
        let hidden = |mut said: String| {
            self.mask.hide(&mut said);
            said
        };
        self.try_to_send(text).await.map(hidden).map_err(hidden)
    }

    async fn try_to_send(&self, text: &str) -> Result<String, String> {
        let ready = self.ready.get().map_err(|error| error.to_string())?;
        let mut headers = ready.headers.clone();
        let mut body = Vec::new();
        if matches!(ready.method, Method::POST | Method::PUT) {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
            body = text.as_bytes().to_vec();
        }
        let request = Request { method: ready.method.clone(), url: ready.url.clone(), headers, body };
        let place = place(&ready.url);
        match tokio::time::timeout(self.timeout(), self.connection.send(request, || None)).await {
            Ok(Ok(answer)) => Ok(format!("{place} answered {}", answer.word())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{place} gave no answer within {}", duration::human(self.timeout()))),
        }
    }
}
