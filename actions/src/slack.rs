//! The kind `slack`: messages in Slack, through an incoming webhook or as a bot.
//!
//! What the service takes stands at <https://docs.slack.dev/reference/methods/chat.postMessage>, and as a schema in `cases/slack/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, Secret};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Answer, Connection, Request, address, below};
use crate::wording::{self, Words};

/// The longest text of a section, and of a header with room for the sign before it (docs.slack.dev/reference/block-kit/blocks: 3,000 and
/// 150 characters).
const MAX_SECTION: usize = 3_000;
const MAX_HEADER: usize = 130;
/// The longest field of a section, and how many it has (the same page). A field may have 2,000 characters, but all blocks of a message together
/// may have about 13,000: Slack answers `msg_blocks_too_long` to more, which no page of it says.
const MAX_FIELD: usize = 700;
const MAX_FIELDS: usize = 10;
/// How much of the text is sent when Slack calls it too long.
const SHORT: usize = 500;

/// Tells people in Slack: in a channel through an incoming webhook, or as a bot in a channel or to a person.
///
/// As a bot (`token` and `channel`), a problem begins a thread; its reminders and its recovery follow there, and the recovery is shown
/// in the channel too. A webhook cannot do that: each message stands alone. A channel is an id (`C0123ABCD`) or a name (`#ops`), a person
/// is a member id (`U0123ABCD`), with whom a conversation is opened. The bot needs the scopes `chat:write`, and `im:write` for persons.
/// Limits: 3,000 characters of text; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slack {
    /// The address of an incoming webhook. It is a secret: who knows it can write.
    #[serde(default)]
    webhook: Option<Secret>,
    /// The token of a bot (`xoxb-..`), instead of a webhook.
    #[serde(default)]
    token: Option<Secret>,
    /// Where the bot writes: a channel, or a member id for a direct message.
    #[serde(default)]
    channel: Option<String>,
    /// The address of Slack's API. Default: `https://slack.com/api`.
    #[serde(default = "default_url")]
    url: String,
    /// The title, a template. Default: state, check, host and message.
    #[serde(default)]
    title: Option<String>,
    /// The text, a template. Default: what the check said, what was measured, what to do.
    #[serde(default)]
    body: Option<String>,
    /// How the service is reached.
    #[serde(default)]
    connection: Connection,
    #[serde(skip)]
    ready: Validated<Ready>,
}

fn default_url() -> String {
    "https://slack.com/api".to_owned()
}

#[derive(Debug)]
struct Ready {
    way: Way,
    words: Words,
}

#[derive(Debug)]
enum Way {
    Webhook(Url),
    Bot { api: Url, token: Secret, channel: String },
}

impl TargetKind for Slack {
    const NAME: &'static str = "slack";
    const EXAMPLE: &'static str = "{ token: { file: /etc/monchero/slack.token }, channel: \"#ops\" }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let way = match (&self.webhook, &self.token, &self.channel) {
            (Some(webhook), None, None) => Way::Webhook(address("webhook", webhook.reveal())?),
            (Some(_), _, _) => {
                return Err(Invalid::at("webhook", "a webhook needs neither `token` nor `channel`: it has its own"));
            }
            (None, Some(token), Some(channel)) if !channel.is_empty() => {
                Way::Bot { api: address("url", &self.url)?, token: token.clone(), channel: channel.clone() }
            }
            (None, Some(_), _) => {
                return Err(Invalid::at("channel", "where is the bot to write? A channel is missing"));
            }
            (None, None, _) => return Err(Invalid::at("", "give either `webhook`, or `token` and `channel`")),
        };
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new(Ready { way, words });
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let ready = self.ready.get()?;
        let blocks = |max: usize| ready.blocks(message, context, max);
        match &ready.way {
            Way::Webhook(url) => {
                let request = Request::json(url.clone(), &blocks(MAX_SECTION));
                let answer = self.connection.send(request, || Some(Request::json(url.clone(), &blocks(SHORT)))).await?;
                Ok(answer.word().into())
            }
            Way::Bot { api, token, channel } => {
                let bot = Bot { slack: self, api, token };
                let channel = bot.conversation(channel).await?;
                let post = |max: usize| {
                    let mut body = blocks(max);
                    place(&mut body, &channel, message);
                    bot.request("chat.postMessage", &body)
                };
                let answer = self.connection.send(post(MAX_SECTION)?, || post(SHORT).ok()).await?;
                let json = judge("chat.postMessage", &answer)?;
                let stamp = json.get("ts").and_then(Json::as_str).map(str::to_owned);
                Ok(Delivered { answer: answer.word(), reference: message.reference.clone().or(stamp) })
            }
        }
    }
}

/// A bot, at its API.
struct Bot<'a> {
    slack: &'a Slack,
    api: &'a Url,
    token: &'a Secret,
}

impl Bot<'_> {
    fn request(&self, method: &str, body: &Json) -> Result<Request, DeliveryError> {
        let request = Request::json(below(self.api, &[method]), body);
        request.secret_header("authorization", &format!("Bearer {}", self.token.reveal()))
    }

    /// The channel itself, or the conversation with a person (docs.slack.dev/reference/methods/conversations.open).
    async fn conversation(&self, channel: &str) -> Result<String, DeliveryError> {
        let is_person = channel.len() > 1
            && channel.starts_with(['U', 'W'])
            && channel.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if !is_person {
            return Ok(channel.to_owned());
        }
        let request = self.request("conversations.open", &json!({ "users": channel }))?;
        let answer = self.slack.connection.send(request, || None).await?;
        let json = judge("conversations.open", &answer)?;
        let id = json.pointer("/channel/id").and_then(Json::as_str);
        id.map(str::to_owned).ok_or_else(|| DeliveryError::Permanent {
            why: "Slack opened a conversation and did not say which".to_owned(),
        })
    }
}

/// Slack says in the body how it went (docs.slack.dev/apis/web-api, "Evaluating responses").
fn judge(method: &str, answer: &Answer) -> Result<Json, DeliveryError> {
    let json = answer.json();
    if json.get("ok").and_then(Json::as_bool) == Some(true) {
        return Ok(json);
    }
    let error = json.get("error").and_then(Json::as_str).unwrap_or("an answer that is none of Slack's");
    let why = format!("Slack refused `{method}`: {}", shorten(&monchero_core::text::escape_controls(error), 100));
    let is_transient =
        ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"]
            .contains(&error);
    Err(if is_transient { DeliveryError::Transient { why, after: None } } else { DeliveryError::Permanent { why } })
}

/// Where a message goes: into the thread of its problem, and in the end into the channel too.
fn place(body: &mut Json, channel: &str, message: &Message) {
    let Some(fields) = body.as_object_mut() else { return };
    fields.insert("channel".to_owned(), channel.into());
    if let Some(thread) = &message.reference {
        fields.insert("thread_ts".to_owned(), thread.as_str().into());
        fields.insert("reply_broadcast".to_owned(), (!message.event.state.is_problem()).into());
    }
}

impl Ready {
    /// A message in blocks, with a text for notifications and screen readers.
    fn blocks(&self, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let title = self.words.title(message, MAX_HEADER);
        let text = match self.words.own_body(message) {
            Some(own) => cut(&escape(&own), max),
            None => default_text(message, max),
        };
        let mut blocks = vec![
            json!({ "type": "header", "text": { "type": "plain_text", "text": format!("{} {title}", sign(message)), "emoji": true } }),
        ];
        // Slack refuses a message with an empty text in it, and a template may say nothing.
        if !text.trim().is_empty() {
            blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
        }
        let fields: Vec<Json> = wording::facts(message, context.zone)
            .into_iter()
            .take(MAX_FIELDS)
            .map(|(name, value)| json!({ "type": "mrkdwn", "text": cut(&format!("*{name}*\n{}", escape(&value)), MAX_FIELD) }))
            .collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
        let end = json!({ "type": "mrkdwn", "text": escape(&wording::signature(message)) });
        blocks.push(json!({ "type": "context", "elements": [end] }));
        json!({ "text": escape(&title), "blocks": blocks, "unfurl_links": false })
    }
}

fn default_text(message: &Message, max: usize) -> String {
    let mut text = format!("{}\n{}", escape(&wording::headline(message)), escape(&wording::saying(message)));
    for line in wording::measured(&message.event) {
        text.push_str(&format!("• {}\n", escape(&line)));
    }
    if let Some(link) = wording::runbook(&message.event) {
        text.push_str(&format!("<{}|What to do>\n", escape(link)));
    }
    if let Some(command) = wording::acknowledge(message) {
        text.push_str(&format!("Acknowledge it: `{}`\n", escape(&command).replace('`', "'")));
    }
    let output = wording::output(&message.event, max.saturating_sub(text.len() + 10) / 2);
    if !output.is_empty() && message.digest.is_empty() {
        text.push_str(&format!("```{}```", escape(&output).replace("```", "'''")));
    }
    cut(&text, max)
}

/// What stands for the state where colour may not be seen.
fn sign(message: &Message) -> &'static str {
    match message.event.state {
        monchero_core::State::Okay => ":white_check_mark:",
        monchero_core::State::Warning => ":warning:",
        monchero_core::State::Unknown => ":grey_question:",
        monchero_core::State::Bad => ":rotating_light:",
    }
}

/// The three characters that Slack reads as its own (docs.slack.dev/messaging/formatting-message-text, "Escaping text").
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// At most `max` bytes, and no half of an escaped character at the end.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let short = shorten(text, max);
    match short.rfind('&') {
        Some(at) if short.get(at..).is_some_and(|rest| rest.len() < 5 && !rest.contains(';')) => {
            short.get(..at).unwrap_or_default().to_owned()
        }
        _ => short,
    }
}
