//! The kind `teams`: messages in Microsoft Teams.
//!
//! What the service takes stands at <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using> and, for cards, at <https://github.com/microsoft/AdaptiveCards/tree/main/schemas/src>,
//! and as a schema in `cases/teams/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Answer, Connection, Request, address};
use crate::wording::{self, Words};

/// The longest text, in bytes: a message may have 28 KB in all (learn.microsoft.com, "Incoming Webhooks", message size).
const MAX_TEXT: usize = 12 * 1024;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// The longest value of a fact, in bytes: a message may have 28 KiB in all.
const MAX_FACT: usize = 500;
/// How much is sent when Teams calls it too long.
const SHORT: usize = 500;

/// Tells people in a Microsoft Teams channel or chat, as an adaptive card.
///
/// The address is that of a workflow ("Post to a channel when a webhook request is received") or of an incoming webhook. Limits:
/// 28 KB a message; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Teams {
    /// The address of the workflow. It is a secret: who knows it can write.
    webhook: Secret,
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
    ready: Validated<(Url, Words)>,
}

impl TargetKind for Teams {
    const NAME: &'static str = "teams";
    const EXAMPLE: &'static str = "{ webhook: { file: /etc/monchero/teams.webhook } }";
    const SHORT_FOR: Option<&'static str> = Some("webhook");

    fn validate(&mut self) -> Result<(), Invalid> {
        let url = address("webhook", self.webhook.reveal())?;
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((url, words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| Request::json(url.clone(), &card(words, message, context, max));
        let mut answer = self.connection.send(request(MAX_TEXT), || Some(request(SHORT))).await?;
        if refusal(&answer).is_some_and(|status| status == "413") {
            answer = self.connection.send(request(SHORT), || None).await?;
        }
        let Some(status) = refusal(&answer) else { return Ok(answer.word().into()) };
        let why = format!("Teams answered {} and in it that the channel refused the message: {status}", answer.word());
        Err(if status == "429" || status.starts_with('5') {
            DeliveryError::Transient { why, after: None }
        } else {
            DeliveryError::Permanent { why }
        })
    }
}

/// The status with which the channel refused a message that its webhook took: an incoming webhook answers 200 to that too, and says it in
/// words (the page above, "Rate limiting for connectors").
fn refusal(answer: &Answer) -> Option<String> {
    let said = String::from_utf8_lossy(&answer.body);
    let (_, status) = said.split_once("Microsoft Teams endpoint returned HTTP error ")?;
    Some(status.chars().take(3).filter(char::is_ascii_digit).collect())
}

/// A message with an adaptive card (adaptivecards.io/explorer, version 1.4).
fn card(words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
    let event = &message.event;
    let colour = match event.state {
        State::Okay => "good",
        State::Warning => "warning",
        State::Unknown => "default",
        State::Bad => "attention",
    };
    let text = words.own_body(message).unwrap_or_else(|| default_text(message));
    let facts: Vec<Json> = wording::facts(message, context.zone)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": shorten(&escape(&value), MAX_FACT) }))
        .collect();
    let mut body = vec![
        json!({ "type": "TextBlock", "text": escape(&words.title(message, MAX_TITLE)), "weight": "bolder", "size": "medium", "color": colour, "wrap": true }),
        json!({ "type": "TextBlock", "text": shorten(&escape(&text), max), "wrap": true }),
        json!({ "type": "FactSet", "facts": facts }),
    ];
    let output = wording::output(event, max.saturating_sub(text.len()));
    if !output.is_empty() && message.digest.is_empty() && words.own_body(message).is_none() {
        body.push(json!({ "type": "TextBlock", "text": shorten(&escape(&output), max), "fontType": "monospace", "wrap": true, "maxLines": 40 }));
    }
    body.push(json!({ "type": "TextBlock", "text": escape(&wording::signature(message)), "isSubtle": true, "size": "small", "wrap": true }));
    let links: Vec<Json> = wording::runbook(event)
        .map(|link| json!({ "type": "Action.OpenUrl", "title": "What to do", "url": link }))
        .into_iter()
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": links,
                "msteams": { "width": "Full" },
            },
        }],
    })
}

fn default_text(message: &Message) -> String {
    let mut lines = vec![wording::headline(message)];
    lines.extend(wording::saying(message).lines().map(str::to_owned));
    lines.extend(wording::measured(&message.event));
    lines.extend(wording::acknowledge(message).map(|command| format!("Acknowledge it: {command}")));
    lines.retain(|line| !line.is_empty());
    // Cards keep a new line only between two paragraphs.
    lines.join("\n\n")
}

/// What cards read as Markdown, as itself.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\*_[]()`~#<>".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}
