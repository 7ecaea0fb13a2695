//! The kind `telegram`: messages by a Telegram bot.
//!
//! What the service takes stands at <https://core.telegram.org/bots/api#sendmessage>, and as a schema in `cases/telegram/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, Secret};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{Words, html};

/// The longest message, in characters after its marks are taken away (core.telegram.org/bots/api, "sendMessage": 4,096).
const MAX_MESSAGE: usize = 3_800;
/// The longest title, in bytes.
const MAX_TITLE: usize = 200;
/// How much is sent when Telegram calls it too long.
const SHORT: usize = 500;

/// Tells people by a Telegram bot: in a group, a channel or a private chat.
///
/// Reminders and the recovery answer the message that told of the problem. Make the bot with `@BotFather`, add it to the chat, and take the
/// chat's number from `https://api.telegram.org/bot<TOKEN>/getUpdates`. Limits: 3,800 characters a message; what does not fit is cut from
/// the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telegram {
    /// The token of the bot.
    token: Secret,
    /// The chat: its number (`-1001234567890`) or the name of a public channel (`@ops`).
    chat: String,
    /// The topic of a group with topics: the number of its thread. Default: none.
    #[serde(default)]
    topic: Option<i64>,
    /// Whether recoveries and reminders come without a sound. Default: `false`.
    #[serde(default)]
    quiet: bool,
    /// The address of the Bot API. Default: `https://api.telegram.org`.
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
    "https://api.telegram.org".to_owned()
}

impl TargetKind for Telegram {
    const NAME: &'static str = "telegram";
    const EXAMPLE: &'static str = "{ token: { file: /etc/monchero/telegram.token }, chat: \"-1001234567890\" }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        let is_number = self.chat.strip_prefix('-').unwrap_or(&self.chat).bytes().all(|byte| byte.is_ascii_digit());
        if self.chat.is_empty() || !(is_number || self.chat.starts_with('@')) {
            return Err(Invalid::at("chat", format!("`{}` is neither a number nor a name such as `@ops`", self.chat)));
        }
        let token = self.token.reveal();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte)) {
            return Err(Invalid::at("token", "this is no token of a bot: those look like `123456:ABC-DEF`"));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((below(&base, &[&format!("bot{token}"), "sendMessage"]), words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| Request::json(url.clone(), &self.body(words, message, context, max));
        let answer = self.connection.send(request(MAX_MESSAGE), || Some(request(SHORT))).await?;
        let id = answer.json().pointer("/result/message_id").and_then(Json::as_i64).map(|id| id.to_string());
        Ok(Delivered { answer: answer.word(), reference: message.reference.clone().or(id) })
    }
}

impl Telegram {
    fn body(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let (title, text) = (words.title(message, MAX_TITLE), words.body(message, context.zone, max));
        let mut body = json!({
            "chat_id": self.chat,
            "text": format!("<b>{}</b>\n\n{}", html(&title), html(&text)),
            "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
            "disable_notification": self.quiet && (message.reference.is_some() || !message.event.state.is_problem()),
        });
        let Some(fields) = body.as_object_mut() else { return body };
        if let Some(topic) = self.topic {
            fields.insert("message_thread_id".to_owned(), topic.into());
        }
        if let Some(first) = message.reference.as_deref().and_then(|id| id.parse::<i64>().ok()) {
            // The first message may have been deleted meanwhile.
            let reply = json!({ "message_id": first, "allow_sending_without_reply": true });
            fields.insert("reply_parameters".to_owned(), reply);
        }
        body
    }
}
