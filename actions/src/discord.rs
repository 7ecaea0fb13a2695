//! The kind `discord`: messages in a Discord channel.
//!
//! What the service takes stands at <https://github.com/discord/discord-api-spec/blob/main/specs/openapi.json> (`RichEmbed`) and at <https://discord.com/developers/docs/resources/webhook#execute-webhook>,
//! and as a schema in `cases/discord/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, Secret};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words};

/// The longest parts of an embed (docs.discord.com/developers/resources/message, "Embed Limits"): title, description, field value, footer.
const MAX_TITLE: usize = 256;
const MAX_DESCRIPTION: usize = 3_000;
/// Less than the 1,024 that a field may have, since all texts of an embed together may have 6,000.
const MAX_FIELD: usize = 500;
const MAX_FOOTER: usize = 2_048;
/// How much of the text is sent when Discord calls it too long.
const SHORT: usize = 500;

/// Tells people in a Discord channel, through a webhook of the channel.
///
/// A problem, its reminders and its recovery are one message: it is edited, and its colour shows how things are. Names of people and roles
/// in texts from outside mention nobody. Limits: 3,000 characters of text; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Discord {
    /// The address of the webhook (channel settings, Integrations). It is a secret: who knows it can write.
    webhook: Secret,
    /// Who is mentioned when a problem begins: `<@USER>`, `<@&ROLE>`, `@here` or `@everyone`. Default: nobody.
    #[serde(default)]
    mention: Option<String>,
    /// Whether the first message is edited when things change, rather than each change being a message of its own. An edit makes no
    /// sound; a recovery is told in a message of its own all the same. Default: `true`.
    #[serde(default = "yes")]
    edit: bool,
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

fn yes() -> bool {
    true
}

impl TargetKind for Discord {
    const NAME: &'static str = "discord";
    const EXAMPLE: &'static str = "{ webhook: { file: /etc/monchero/discord.webhook }, mention: \"@here\" }";
    const SHORT_FOR: Option<&'static str> = Some("webhook");

    fn validate(&mut self) -> Result<(), Invalid> {
        let url = address("webhook", self.webhook.reveal())?;
        if let Some(mention) = &self.mention
            && !is_mention(mention)
        {
            return Err(Invalid::at(
                "mention",
                format!("`{mention}` is not `<@USER>`, `<@&ROLE>`, `@here` or `@everyone`"),
            ));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((url, words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (webhook, words) = self.ready.get()?;
        if let Some(known) = message.reference.as_deref().filter(|_| self.edit && message.is_about_one_check()) {
            let mut request = Request::json(
                below(webhook, &["messages", known]),
                &self.embed(words, message, context, MAX_DESCRIPTION),
            );
            request.method = Method::PATCH;
            let short = || {
                let mut request =
                    Request::json(below(webhook, &["messages", known]), &self.embed(words, message, context, SHORT));
                request.method = Method::PATCH;
                Some(request)
            };
            let edited = self.connection.send(request, short).await;
            // An edit is silent: the end is told aloud. A message that somebody deleted is told anew.
            let was_deleted = matches!(&edited, Err(DeliveryError::Permanent { why }) if why.contains("404"));
            if !was_deleted && (edited.is_err() || message.event.state.is_problem()) {
                return edited.map(|answer| Delivered { answer: answer.word(), reference: message.reference.clone() });
            }
        }
        let mut url = webhook.clone();
        // With `wait`, the answer is the message with its id (docs.discord.com/developers/resources/webhook, "Execute Webhook").
        url.query_pairs_mut().append_pair("wait", "true");
        let post = |max: usize| Request::json(url.clone(), &self.embed(words, message, context, max));
        let answer = self.connection.send(post(MAX_DESCRIPTION), || Some(post(SHORT))).await?;
        let id = answer
            .json()
            .get("id")
            .and_then(Json::as_str)
            .filter(|id| id.bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned);
        Ok(Delivered { answer: answer.word(), reference: message.reference.clone().or(id) })
    }
}

impl Discord {
    fn embed(&self, words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
        let text = match words.own_body(message) {
            Some(own) => escape(&own),
            None => wording::markdown(message, max, escape),
        };
        let facts = wording::facts(message, context.zone).into_iter();
        let fields: Vec<Json> = facts
            .map(|(name, value)| json!({ "name": name, "value": shorten(&escape(&value), MAX_FIELD), "inline": true }))
            .collect();
        let begins = message.event.state.is_problem() && message.reference.is_none();
        let mention = self.mention.as_deref().filter(|_| begins).unwrap_or_default();
        json!({
            "content": mention,
            "allowed_mentions": { "parse": if mention.is_empty() { vec![] } else { vec!["users", "roles", "everyone"] } },
            "embeds": [{
                "title": words.title(message, MAX_TITLE),
                "description": shorten(&text, max),
                "color": wording::colour(message.event.state),
                "fields": fields,
                "footer": { "text": shorten(&wording::signature(message), MAX_FOOTER) },
                "timestamp": message.event.now.to_string(),
            }],
        })
    }
}

fn is_mention(text: &str) -> bool {
    let id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let inner = text.strip_prefix("<@").and_then(|rest| rest.strip_suffix('>'));
    matches!(text, "@here" | "@everyone") || inner.is_some_and(|inner| id(inner.strip_prefix('&').unwrap_or(inner)))
}

/// What Discord reads as Markdown, as itself.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\*_~`|>[]()#<@:".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}
