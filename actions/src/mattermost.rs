//! The kinds `mattermost` and `rocketchat`: two chats that take the same messages.
//!
//! What the service takes stands at <https://developers.mattermost.com/integrate/webhooks/incoming/>, and as a schema in `cases/mattermost/schema.json`, to which tests hold every request.
//! Those of Rocket.Chat stand at <https://docs.rocket.chat/docs/integrations>.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, Secret};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address};
use crate::wording::{self, Words};

/// The longest text, in characters (docs.mattermost.com, "Incoming webhooks": 16,383; Rocket.Chat has 5,000 as default).
const MAX_TEXT: usize = 4_500;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// How much is sent when the service calls it too long.
const SHORT: usize = 500;

/// Tells people in Mattermost, through an incoming webhook.
///
/// A webhook cannot continue a thread, so each message stands alone and names its incident. Names in texts from outside mention nobody.
/// Limits: 4,500 characters of text; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mattermost {
    /// The address of the webhook. It is a secret: who knows it can write.
    webhook: Secret,
    /// The channel, if it is not that of the webhook.
    #[serde(default)]
    channel: Option<String>,
    /// The title, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The text, a template. Default: what the check said, what was measured, what to do.
    #[serde(default)]
    body: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

/// Tells people in Rocket.Chat, through an incoming webhook.
///
/// A webhook cannot continue a thread, so each message stands alone and names its incident. Names in texts from outside mention nobody.
/// Limits: 4,500 characters of text; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rocketchat {
    /// The address of the webhook. It is a secret: who knows it can write.
    webhook: Secret,
    /// The channel (`#ops`) or person (`@name`), if it is not that of the webhook.
    #[serde(default)]
    channel: Option<String>,
    /// The title, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The text, a template. Default: what the check said, what was measured, what to do.
    #[serde(default)]
    body: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<(Url, Words)>,
}

macro_rules! chat {
    ($kind:ty, $name:literal, $example:literal) => {
        impl TargetKind for $kind {
            const NAME: &'static str = $name;
            const EXAMPLE: &'static str = $example;
            const SHORT_FOR: Option<&'static str> = Some("webhook");

            fn validate(&mut self) -> Result<(), Invalid> {
                let url = address("webhook", self.webhook.reveal())?;
                self.connection.validate()?;
                let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
                self.ready = Validated::new((url, words));
                Ok(())
            }

            async fn deliver(
                &self,
                message: &Message,
                context: &ActionContext<'_>,
            ) -> Result<Delivered, DeliveryError> {
                let (url, words) = self.ready.get()?;
                let request = |max: usize| {
                    Request::json(url.clone(), &post(words, self.channel.as_deref(), message, context, max))
                };
                let answer = self.connection.send(request(MAX_TEXT), || Some(request(SHORT))).await?;
                Ok(answer.word().into())
            }
        }
    };
}

chat!(Mattermost, "mattermost", "{ webhook: { file: /etc/monchero/mattermost.webhook }, channel: ops }");
chat!(Rocketchat, "rocketchat", "{ webhook: { file: /etc/monchero/rocketchat.webhook } }");

/// A message with an attachment, as both take it (developers.mattermost.com, "Message attachments"; docs.rocket.chat, "Message object").
fn post(words: &Words, channel: Option<&str>, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
    let event = &message.event;
    let title = words.title(message, MAX_TITLE);
    let text = match words.own_body(message) {
        Some(own) => escape(&own),
        None => wording::markdown(message, max, escape),
    };
    let fields: Vec<Json> = wording::facts(message, context.zone)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": escape(&value), "short": value.len() < 40 }))
        .collect();
    let mut body = json!({
        "text": escape(&title),
        "attachments": [{
            "fallback": title,
            "color": format!("#{:06x}", wording::colour(event.state)),
            "text": shorten(&text, max),
            "fields": fields,
            "footer": wording::signature(message),
        }],
    });
    if let (Some(channel), Some(fields)) = (channel, body.as_object_mut()) {
        fields.insert("channel".to_owned(), channel.into());
    }
    body
}

/// What both read as Markdown, as itself; the mark of a mention is parted from the name by a character without width.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\*_[]()`~#<>|!".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
        if letter == '@' {
            out.push('\u{200b}');
        }
    }
    out
}
