//! The kind `opsgenie`: alerts in Opsgenie, and in Jira Service Management, which speaks the same language.
//!
//! What the service takes stands at <https://github.com/opsgenie/opsgenie-oas/blob/master/definitions/alert.yaml> and, with lengths, at <https://docs.opsgenie.com/docs/alert-api>,
//! and as a schema in `cases/opsgenie/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, NoticeKind, Secret, State, order};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::Words;

/// The longest parts of an alert, in characters (docs.opsgenie.com/docs/alert-api, "Create Alert"): message, description, alias, source.
const MAX_MESSAGE: usize = 130;
const MAX_DESCRIPTION: usize = 15_000;
const MAX_ALIAS: usize = 512;
const MAX_SOURCE: usize = 100;
/// How long names and values of all details may be together.
const MAX_DETAILS: usize = 8_000;
/// How much is sent when the service calls it too long.
const SHORT: usize = 500;

/// Opens and closes alerts in Opsgenie, or in Jira Service Management with its address in `url`.
///
/// All messages of one incident of a check have one alias: a problem opens an alert once, reminders and changes count there, and the
/// recovery closes it. Whoever acknowledges the problem in monchero acknowledges it there too. Bad has priority P1, unknown P3, a warning P3.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opsgenie {
    /// The key of an API integration.
    key: Secret,
    /// The address of the API. Default: `https://api.opsgenie.com`; in the EU `https://api.eu.opsgenie.com`.
    #[serde(default = "default_url")]
    url: String,
    /// The teams that respond. Default: those of the integration.
    #[serde(default)]
    teams: Vec<String>,
    /// The title, a template. Default: state, check, host and message.
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

fn default_url() -> String {
    "https://api.opsgenie.com".to_owned()
}

impl TargetKind for Opsgenie {
    const NAME: &'static str = "opsgenie";
    const TAKES_DIGESTS: bool = false;
    const HEARS_ACKNOWLEDGEMENTS: bool = true;
    const EXAMPLE: &'static str = "{ key: { file: /etc/monchero/opsgenie.key }, teams: [ops] }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((below(&base, &["v2", "alerts"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| self.request(url, words, message, context, max);
        let answer = self.connection.send(request(MAX_DESCRIPTION)?, || request(SHORT).ok()).await?;
        Ok(answer.word().into())
    }
}

impl Opsgenie {
    fn request(
        &self,
        url: &Url,
        words: &Words,
        message: &Message,
        context: &ActionContext<'_>,
        max: usize,
    ) -> Result<Request, DeliveryError> {
        let event = &message.event;
        let alias = shorten(&format!("monchero/{}/{}", event.host, message.thread), MAX_ALIAS);
        let text = words.body(message, context.zone, max);
        let step = match message.kind {
            NoticeKind::Acknowledged => Some("acknowledge"),
            NoticeKind::FlappingStarted => None,
            _ => (event.state == State::Okay).then_some("close"),
        };
        let request = if let Some(step) = step {
            let mut url = below(url, &[&alias, step]);
            url.query_pairs_mut().append_pair("identifierType", "alias");
            Request::json(url, &json!({ "source": shorten(&event.host, MAX_SOURCE), "note": text }))
        } else {
            let teams: Vec<_> = self.teams.iter().map(|team| json!({ "name": team, "type": "team" })).collect();
            let body = json!({
                "message": words.title(message, MAX_MESSAGE),
                "alias": alias,
                "description": text,
                "responders": teams,
                "details": details(message),
                "entity": event.check.name,
                "source": shorten(&event.host, MAX_SOURCE),
                "priority": if event.state == State::Bad { "P1" } else { "P3" },
            });
            Request::json(url.clone(), &body)
        };
        request.secret_header("authorization", &format!("GenieKey {}", self.key.reveal()))
    }
}

/// The labels, as many as fit.
fn details(message: &Message) -> Json {
    let mut room = MAX_DETAILS;
    let labels = message.event.labels.iter().take_while(|(name, value)| {
        let fits = room.checked_sub(name.len() + value.len());
        room = fits.unwrap_or(0);
        fits.is_some()
    });
    Json::Object(order::tree(labels.map(|(name, value)| (name.clone(), Json::from(value.as_str())))))
}
