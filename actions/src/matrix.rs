//! The kind `matrix`: messages in a Matrix room.
//!
//! What the service takes stands at <https://github.com/matrix-org/matrix-spec/blob/main/data/event-schemas/schema/m.room.message$m.notice.yaml> and at <https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>,
//! and as a schema in `cases/matrix/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, Secret};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::{self, Words, html};

/// The longest text, in bytes: an event may have 65,536 in all (spec.matrix.org, "Size limits"), and the text stands in it twice.
const MAX_TEXT: usize = 16 * 1024;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// How much is sent when the server calls it too long.
const SHORT: usize = 500;

/// Tells people in a Matrix room.
///
/// A problem begins a thread, and its reminders and its recovery follow there. The messages are notices, which other bots do not answer.
/// A delivery that is repeated has the same transaction id, so that the server drops the duplicate. Rooms with encryption are not
/// supported. Limits: 16 KiB of text; what does not fit is cut from the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    /// The address of the homeserver: `https://matrix.example`.
    url: String,
    /// The access token of the bot's account.
    token: Secret,
    /// The id of the room: `!abcdef:matrix.example`. The bot must have joined it.
    room: String,
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

impl TargetKind for Matrix {
    const NAME: &'static str = "matrix";
    const EXAMPLE: &'static str =
        "{ url: https://matrix.example, token: { file: /etc/monchero/matrix.token }, room: \"!ops:matrix.example\" }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        if !self.room.starts_with('!') {
            let why = format!("`{}` is no id of a room: those begin with `!` (room settings, Advanced)", self.room);
            return Err(Invalid::at("room", why));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        let url = below(&base, &["_matrix", "client", "v3", "rooms", &self.room, "send", "m.room.message"]);
        self.ready = Validated::new((url, words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize, id: &str| {
            let mut request = Request::json(below(url, &[id]), &content(words, message, context, max));
            request.method = Method::PUT;
            request.secret_header("authorization", &format!("Bearer {}", self.token.reveal()))
        };
        let short = || request(SHORT, &format!("{}-short", message.delivery_id)).ok();
        let answer = self.connection.send(request(MAX_TEXT, &message.delivery_id)?, short).await?;
        let id = answer.json().get("event_id").and_then(Json::as_str).map(str::to_owned);
        Ok(Delivered { answer: answer.word(), reference: message.reference.clone().or(id) })
    }
}

/// The content of a message event (spec.matrix.org, client-server API, "m.notice" and "Threading").
fn content(words: &Words, message: &Message, context: &ActionContext<'_>, max: usize) -> Json {
    let (title, text) = (words.title(message, MAX_TITLE), shorten(&words.body(message, context.zone, max), max));
    let mut body = json!({
        "msgtype": "m.notice",
        "body": format!("{title}\n\n{text}"),
        "format": "org.matrix.custom.html",
        "formatted_body": format!(
            "<strong><font color=\"#{:06x}\">{}</font></strong><pre>{}</pre>",
            wording::colour(message.event.state),
            html(&title),
            html(&text)
        ),
        "m.mentions": {},
    });
    if let (Some(first), Some(fields)) = (&message.reference, body.as_object_mut()) {
        let relation = json!({
            "rel_type": "m.thread",
            "event_id": first,
            "is_falling_back": true,
            "m.in_reply_to": { "event_id": first },
        });
        fields.insert("m.relates_to".to_owned(), relation);
    }
    body
}
