//! The kind `pagerduty`: incidents in PagerDuty.
//!
//! What the service takes stands at <https://github.com/PagerDuty/api-schema/blob/main/reference/events-v2/openapiv3.json> and, with lengths, at <https://developer.pagerduty.com/docs/send-alert-event>,
//! and as a schema in `cases/pagerduty/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, NoticeKind, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words};

/// The longest summary, in characters (developer.pagerduty.com, "PD-CEF": 1,024).
const MAX_SUMMARY: usize = 1_000;
/// How much of the host's name the key of an incident has, in bytes: it may have 255 characters in all.
const MAX_HOST: usize = 180;
/// The most text in the details, in bytes: an event may have 512 KiB in all (the same page).
const MAX_DETAILS: usize = 64 * 1024;
/// How much is sent when the service calls it too long.
const SHORT: usize = 500;

/// Opens, updates and resolves incidents in PagerDuty, by its Events API v2.
///
/// All messages of one incident of a check have one `dedup_key`, so that a problem triggers an incident once, reminders and changes go
/// there, and the recovery resolves it. Whoever acknowledges the problem in monchero acknowledges it there too.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pagerduty {
    /// The integration key of the service (Integrations, Events API v2).
    key: Secret,
    /// The address of the API. Default: `https://events.pagerduty.com`; in the EU `https://events.eu.pagerduty.com`.
    #[serde(default = "default_url")]
    url: String,
    /// The severity of a bad state: `critical` or `error`. Default: `critical`. A warning is `warning`, unknown is `error`.
    #[serde(default)]
    severity: Severity,
    /// The summary, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

/// How severe a bad state is.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Somebody is to be woken.
    #[default]
    Critical,
    /// Somebody is to look at it.
    Error,
}

fn default_url() -> String {
    "https://events.pagerduty.com".to_owned()
}

impl TargetKind for Pagerduty {
    const NAME: &'static str = "pagerduty";
    const TAKES_DIGESTS: bool = false;
    const HEARS_ACKNOWLEDGEMENTS: bool = true;
    const EXAMPLE: &'static str = "{ key: { file: /etc/monchero/pagerduty.key } }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", None))?;
        self.ready = Validated::new((below(&base, &["v2", "enqueue"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| Request::json(url.clone(), &self.event(words, message, context, max));
        let answer = self.connection.send(request(MAX_DETAILS), || Some(request(SHORT))).await?;
        Ok(answer.word().into())
    }
}

impl Pagerduty {
    /// An event (developer.pagerduty.com, "Send an Alert Event").
    fn event(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let event = &message.event;
        let action = match message.kind {
            NoticeKind::Acknowledged => "acknowledge",
            NoticeKind::FlappingStarted => "trigger",
            _ if event.state == State::Okay => "resolve",
            _ => "trigger",
        };
        let severity = match (event.state, self.severity) {
            (State::Bad, Severity::Critical) => "critical",
            (State::Bad, Severity::Error) | (State::Unknown, _) => "error",
            (State::Warning, _) => "warning",
            (State::Okay, _) => "info",
        };
        let links: Vec<Json> =
            wording::runbook(event).map(|link| json!({ "href": link, "text": "What to do" })).into_iter().collect();
        json!({
            "routing_key": self.key.reveal(),
            "event_action": action,
            "dedup_key": format!("monchero/{}/{}", shorten(&event.host, MAX_HOST), message.thread),
            "payload": {
                "summary": words.title(message, MAX_SUMMARY),
                "source": event.host,
                "severity": severity,
                "timestamp": event.now.to_string(),
                "component": event.check.name,
                "class": event.check.kind,
                "custom_details": {
                    "text": words.body(message, context.zone, max),
                    "labels": event.labels,
                    "delivery": message.delivery_id,
                },
            },
            "links": links,
            "client": "monchero",
        })
    }
}
