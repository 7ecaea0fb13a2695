//! The kind `gotify`: push messages through a Gotify server.
//!
//! What the service takes stands at <https://github.com/gotify/server/blob/master/docs/spec.json>,
//! and as a schema in `cases/gotify/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words};

/// The longest message, in bytes: Gotify has no limit, phones do.
const MAX_MESSAGE: usize = 16 * 1024;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// How much is sent when the server or a proxy before it calls it too long.
const SHORT: usize = 500;

/// Tells people through a Gotify server.
///
/// Bad has priority 8, warning and unknown 5, a recovery 3, unless `priority` says otherwise. If the check has a label `runbook` with a
/// link, a tap on the message opens it.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gotify {
    /// The address of the server: `https://gotify.example`.
    url: String,
    /// The token of the application.
    token: Secret,
    /// The priority of problems, from 0 to 10. Default: 8 for bad, 5 for warning and unknown.
    #[serde(default)]
    priority: Option<u8>,
    /// The title, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The text, a template. Default: all that is known about the event.
    #[serde(default)]
    body: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

impl TargetKind for Gotify {
    const NAME: &'static str = "gotify";
    const EXAMPLE: &'static str = "{ url: https://gotify.example, token: { file: /etc/monchero/gotify.token } }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        if self.priority.is_some_and(|priority| priority > 10) {
            return Err(Invalid::at("priority", "it is a number from 0 to 10"));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((below(&base, &["message"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| {
            let request = Request::json(url.clone(), &self.body(words, message, context, max));
            // In a header, so that no log of a proxy holds it (gotify.net/api-docs, "appTokenHeader").
            request.secret_header("x-gotify-key", self.token.reveal())
        };
        let answer = self.connection.send(request(MAX_MESSAGE)?, || request(SHORT).ok()).await?;
        Ok(answer.word().into())
    }
}

impl Gotify {
    fn body(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let priority = match message.event.state {
            _ if message.is_calm() => 3,
            State::Bad => self.priority.unwrap_or(8),
            _ => self.priority.unwrap_or(5),
        };
        let mut extras = json!({ "client::display": { "contentType": "text/plain" } });
        if let (Some(link), Some(extras)) = (wording::runbook(&message.event), extras.as_object_mut()) {
            extras.insert("client::notification".to_owned(), json!({ "click": { "url": link } }));
        }
        json!({
            "title": words.title(message, MAX_TITLE),
            "message": words.body(message, context.zone, max),
            "priority": priority,
            "extras": extras,
        })
    }
}
