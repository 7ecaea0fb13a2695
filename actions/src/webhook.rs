//! The kind `webhook`: tells a program of one's own over HTTP.

use std::collections::BTreeMap;

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::secret::MaybeSecret;
use monchero_core::{Event, Invalid, Secret};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use ring::hmac;
use schemars::JsonSchema;
use serde_json::Value as Json;

use crate::template::{RenderError, Template};
use crate::validated::Validated;
use crate::web::{Connection, Request, address};
use crate::wording;

/// The longest output that goes into the event, in bytes, and the shortest that it is cut to when the receiver calls it too long.
const MAX_OUTPUT: usize = 64 * 1024;
const SHORT: usize = 512;
/// The most values that a tree of templates may have.
const MAX_VALUES: usize = 1_000;

/// Tells a program of one's own, or any service that takes JSON over HTTP.
///
/// Without `json`, the whole event is sent: `kind` (problem, change, reminder, acknowledged, recovery, missed, `hold_ends`, `flapping_started`, `flapping_ended`,
/// summary, started, config or crashed), `delivery_id`, `thread` (the same for all messages of an incident), `title`, `text`, `attempt`, `late_seconds`, `last_action`, `missed`,
/// `digest`, `bulletin` (a summary, or what happened to monchero itself), and `event` with all that templates can name. A delivery that
/// is repeated has the same header `Idempotency-Key`.
///
/// Templates know a summary or a notice about monchero itself as a message whose `message` is its first line and whose `output` the rest.
///
/// With `secret`, the header `X-Monchero-Signature` is `sha256=` and the HMAC-SHA-256 of the body in hexadecimal digits. An answer from
/// 200 to 299 takes the message; 408, 425, 429 and 5xx are tried again, everything else is not.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// Where to. It may hold a token: only scheme and host of it are ever shown.
    url: Secret,
    /// The method: `POST`, `PUT` or `PATCH`. Default: `POST`.
    #[serde(default)]
    method: Option<String>,
    /// Further headers: `{ Authorization: { file: /etc/monchero/token } }`.
    #[serde(default)]
    headers: BTreeMap<String, MaybeSecret>,
    /// What is sent: any tree, each text in it a template (`{ text: "{{ check.name }} is {{ state }}" }`). Default: the whole event.
    #[serde(default)]
    json: Option<Json>,
    /// The key with which bodies are signed. Default: they are not.
    #[serde(default)]
    secret: Option<Secret>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<Ready>,
}

#[derive(Debug)]
struct Ready {
    url: Url,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    tree: Option<Tree>,
}

/// A tree of JSON whose texts are templates.
#[derive(Debug)]
enum Tree {
    Text(Box<Template>),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    Plain(Json),
}

impl Tree {
    fn new(json: &Json, path: &str, left: &mut usize) -> Result<Self, Invalid> {
        *left =
            left.checked_sub(1).ok_or_else(|| Invalid::at("json", format!("it has more than {MAX_VALUES} values")))?;
        Ok(match json {
            Json::String(text) => {
                Self::Text(Box::new(Template::plain(text).map_err(|error| Invalid::at(path, error.to_string()))?))
            }
            Json::Array(items) => {
                let items =
                    items.iter().enumerate().map(|(i, item)| Self::new(item, &format!("{path}.{}", i + 1), left));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Json::Object(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::new(value, &format!("{path}.{key}"), left)?)));
                Self::Map(entries.collect::<Result<_, Invalid>>()?)
            }
            other => Self::Plain(other.clone()),
        })
    }

    fn render(&self, event: &Event) -> Result<Json, RenderError> {
        Ok(match self {
            Self::Text(template) => Json::String(template.render(event)?),
            Self::List(items) => Json::Array(items.iter().map(|item| item.render(event)).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((key.clone(), value.render(event)?)));
                Json::Object(entries.collect::<Result<_, RenderError>>()?)
            }
            Self::Plain(json) => json.clone(),
        })
    }
}

impl TargetKind for Webhook {
    const NAME: &'static str = "webhook";
    const EXAMPLE: &'static str =
        r#"{ url: https://hooks.example/monchero, json: { text: "{{ check.name }} is {{ state }}" } }"#;
    const SHORT_FOR: Option<&'static str> = Some("url");

    fn validate(&mut self) -> Result<(), Invalid> {
        let url = address("url", self.url.reveal())?;
        let method = match self.method.as_deref().unwrap_or("POST") {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            other => return Err(Invalid::at("method", format!("`{other}` is not `POST`, `PUT` or `PATCH`"))),
        };
        let headers = self.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        let tree = self.json.as_ref().map(|json| Tree::new(json, "json", &mut MAX_VALUES.clone())).transpose()?;
        self.connection.validate()?;
        self.ready = Validated::new(Ready { url, method, headers, tree });
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let request = self.request(message, context, MAX_OUTPUT)?;
        let answer = self.connection.send(request, || self.request(message, context, SHORT).ok()).await?;
        Ok(answer.word().into())
    }
}

impl Webhook {
    fn request(
        &self,
        message: &Message,
        context: &ActionContext<'_>,
        max_output: usize,
    ) -> Result<Request, DeliveryError> {
        let permanent = |why: String| DeliveryError::Permanent { why };
        let ready = self.ready.get()?;
        let mut event = message.event.clone();
        if message.bulletin.is_some() {
            event.message = wording::headline(message);
            event.output = wording::saying(message);
        }
        event.output = monchero_core::text::shorten(&event.output, max_output);
        let body = match &ready.tree {
            Some(tree) => tree.render(&event).map_err(|error| permanent(error.to_string()))?,
            None => wording::whole_json(message, &event, context.zone),
        };
        let mut request = Request::json(ready.url.clone(), &body);
        request.method = ready.method.clone();
        request.headers.extend(ready.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
        let mut request = request.secret_header("idempotency-key", &message.delivery_id)?;
        if let Some(secret) = &self.secret {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()), &request.body);
            let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            request = request.secret_header("x-monchero-signature", &format!("sha256={digits}"))?;
        }
        Ok(request)
    }
}

pub(crate) fn header(name: &str, value: &MaybeSecret) -> Result<(HeaderName, HeaderValue), Invalid> {
    let wrong = |why: &str| Invalid::at(format!("headers.{name}"), format!("`{name}` {why}"));
    let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
    let is_ours =
        ["content-length", "transfer-encoding", "connection", "host", "idempotency-key"].contains(&known.as_str());
    if is_ours {
        return Err(wrong("is decided by monchero"));
    }
    let is_secret = ["authorization", "proxy-authorization", "cookie"].contains(&known.as_str());
    if is_secret && matches!(value, MaybeSecret::Plain(_)) {
        return Err(wrong("holds a secret: write `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`"));
    }
    let mut value =
        HeaderValue::from_str(value.reveal()).map_err(|_| wrong("has a value that a header cannot hold"))?;
    value.set_sensitive(true);
    Ok((known, value))
}
