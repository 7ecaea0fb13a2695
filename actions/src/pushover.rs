//! The kind `pushover`: push messages to phones through Pushover.
//!
//! What the service takes stands at <https://pushover.net/api>, and as a schema in `cases/pushover/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, NoticeKind, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words};

/// The longest message and title, in characters (pushover.net/api, "Limitations").
const MAX_MESSAGE: usize = 1_024;
const MAX_TITLE: usize = 250;
/// The longest link beside a message, in characters (the same page, "Supplementary URLs").
const MAX_LINK: usize = 512;
/// How much is sent when the service calls it too long.
const SHORT: usize = 300;
/// How often an emergency sounds again and for how long, in seconds (pushover.net/api, "Message priority": at least 30, at most 10,800).
const RETRY: u32 = 60;
const EXPIRE: u32 = 3_600;

/// Tells people through Pushover.
///
/// Bad has priority 1 (sounds through quiet hours), warning and unknown 0, a recovery -1 (no sound). With `emergency: true`, a new bad
/// problem sounds every minute for an hour until somebody confirms it. Limits: 1,024 characters a message.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pushover {
    /// The token of the application.
    token: Secret,
    /// The key of the user or group.
    user: Secret,
    /// The devices, separated by commas. Default: all.
    #[serde(default)]
    device: Option<String>,
    /// Whether a bad problem sounds until somebody confirms it. Default: `false`.
    #[serde(default)]
    emergency: bool,
    /// The address of the API. Default: `https://api.pushover.net`.
    #[serde(default = "default_url")]
    url: String,
    /// The title, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The text, a template. Default: all that is known about the event.
    #[serde(default)]
    body: Option<String>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

fn default_url() -> String {
    "https://api.pushover.net".to_owned()
}

impl TargetKind for Pushover {
    const NAME: &'static str = "pushover";
    const EXAMPLE: &'static str =
        "{ token: { file: /etc/monchero/pushover.token }, user: { file: /etc/monchero/pushover.user } }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((below(&base, &["1", "messages.json"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| Request::json(url.clone(), &self.body(words, message, context, max));
        let answer = self.connection.send(request(MAX_MESSAGE), || Some(request(SHORT))).await?;
        Ok(answer.word().into())
    }
}

impl Pushover {
    fn body(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let begins = message.kind == NoticeKind::Problem;
        let priority = match message.event.state {
            _ if message.is_calm() => -1,
            State::Bad if self.emergency && begins && !message.event.drill => 2,
            State::Bad => 1,
            _ => 0,
        };
        let mut body = json!({
            "token": self.token.reveal(),
            "user": self.user.reveal(),
            "title": words.title(message, MAX_TITLE),
            "message": words.body(message, context.zone, max),
            "priority": priority,
            "timestamp": message.event.now.as_second(),
        });
        let Some(fields) = body.as_object_mut() else { return body };
        if priority == 2 {
            fields.insert("retry".to_owned(), RETRY.into());
            fields.insert("expire".to_owned(), EXPIRE.into());
        }
        if let Some(device) = &self.device {
            fields.insert("device".to_owned(), device.as_str().into());
        }
        if let Some(link) = wording::runbook(&message.event).filter(|link| link.len() <= MAX_LINK) {
            fields.insert("url".to_owned(), link.into());
            fields.insert("url_title".to_owned(), "What to do".into());
        }
        body
    }
}
