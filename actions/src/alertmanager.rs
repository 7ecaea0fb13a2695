//! The kind `alertmanager`: alerts for Prometheus Alertmanager.
//!
//! What the service takes stands at <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>, and as a schema in `cases/alertmanager/schema.json`, to which tests hold every request.

use std::collections::BTreeMap;
use std::time::Duration;

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, NoticeKind, Secret, State, duration, order};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words};

/// The most text of an annotation, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// The longest summary, in bytes.
const MAX_TITLE: usize = 500;
/// How much is sent when the service calls it too long.
const SHORT: usize = 500;

/// Gives alerts to Prometheus Alertmanager, which groups, routes and silences them with those of others.
///
/// Each alert has the labels `alertname` (the check), `instance` (the host) and those of the check; its state stands in the annotation
/// `state`, since labels are what an alert is known by. Alertmanager forgets an alert that is not repeated: set `remind` of this action to
/// less than `expire`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alertmanager {
    /// The address of Alertmanager: `http://alertmanager.example:9093`.
    url: String,
    /// The user to log in as. Default: no login.
    #[serde(default)]
    user: Option<String>,
    /// The password of `user`.
    #[serde(default)]
    password: Option<Secret>,
    /// A bearer token, instead of a user. Default: none.
    #[serde(default)]
    token: Option<Secret>,
    /// How long an alert stands that is not repeated. Default: `1d`.
    #[serde(default = "day", with = "duration::text")]
    #[schemars(with = "String")]
    expire: Duration,
    /// The summary, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The description, a template. Default: all that is known about the event.
    #[serde(default)]
    body: Option<String>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

fn day() -> Duration {
    Duration::from_secs(24 * 3_600)
}

impl TargetKind for Alertmanager {
    const NAME: &'static str = "alertmanager";
    const TAKES_DIGESTS: bool = false;
    const EXAMPLE: &'static str = "{ url: http://alertmanager.example:9093 }";
    const SHORT_FOR: Option<&'static str> = Some("url");

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        if self.token.is_some() && self.user.is_some() {
            return Err(Invalid::at("token", "`token` and `user` are two ways to log in; choose one"));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((below(&base, &["api", "v2", "alerts"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| {
            let request = Request::json(url.clone(), &self.alerts(words, message, context, max));
            match (&self.token, &self.user) {
                (Some(token), _) => request.secret_header("authorization", &format!("Bearer {}", token.reveal())),
                (None, Some(user)) => {
                    request.basic(user, self.password.as_ref().map_or("", |password| password.reveal()))
                }
                (None, None) => Ok(request),
            }
        };
        let answer = self.connection.send(request(MAX_TEXT)?, || request(SHORT).ok()).await?;
        Ok(answer.word().into())
    }
}

impl Alertmanager {
    /// A list of one alert (prometheus.io, "Alerts API").
    fn alerts(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let event = &message.event;
        let mut labels: BTreeMap<String, &str> =
            order::tree(event.labels.iter().map(|(name, value)| (label(name), value.as_str())));
        // Labels are what an alert is known by: nothing in them changes between its beginning and its end.
        labels.insert("alertname".to_owned(), event.check.name.as_str());
        labels.insert("instance".to_owned(), &event.host);
        let mut annotations = json!({
            "summary": words.title(message, MAX_TITLE),
            "description": words.body(message, context.zone, max),
            "state": event.state,
        });
        if let (Some(link), Some(annotations)) = (wording::runbook(event), annotations.as_object_mut()) {
            annotations.insert("runbook_url".to_owned(), link.into());
        }
        let over = event.state == State::Okay && message.kind != NoticeKind::FlappingStarted;
        let ends = if over { Some(event.now) } else { event.now.checked_add(self.expire).ok() };
        json!([{
            "labels": labels,
            "annotations": annotations,
            "startsAt": event.incident.as_ref().map_or(event.now, |incident| incident.since).to_string(),
            "endsAt": ends.map(|at| at.to_string()),
        }])
    }
}

/// The name of a label with the characters that Prometheus allows in it.
fn label(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}
