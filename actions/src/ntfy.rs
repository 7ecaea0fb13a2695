//! The kind `ntfy`: push messages to phones and desktops through ntfy.
//!
//! What the service takes stands at <https://docs.ntfy.sh/publish/#publish-as-json>, and as a schema in `cases/ntfy/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, NoticeKind, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::json;

use crate::validated::Validated;
use crate::web::{Connection, Request, address};
use crate::wording::{self, Words};

/// The longest message that ntfy shows as one, in bytes (docs.ntfy.sh/publish, "Limitations": longer ones become attachments).
const MAX_MESSAGE: usize = 4_096;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// The shortest that a message is cut to when the service calls it too long.
const SHORT: usize = 512;

/// Tells people through [ntfy](https://ntfy.sh), a push service for phones and desktops that can also run on a host of one's own.
///
/// Problems come with a high priority (bad: urgent, warning and unknown: high), recoveries with the default one. A message has a button
/// that opens the runbook, if the check has a label `runbook` with a link. Limits: 4,096 bytes a message; what does not fit is cut from
/// the output.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ntfy {
    /// The topic. Whoever knows its name can read it, so take a long one or a server with logins.
    topic: Secret,
    /// The server. Default: `https://ntfy.sh`.
    #[serde(default = "default_url")]
    url: String,
    /// The access token of an account. Default: none.
    #[serde(default)]
    token: Option<Secret>,
    /// The user to log in as, instead of a token. Default: no login.
    #[serde(default)]
    user: Option<String>,
    /// The password of `user`.
    #[serde(default)]
    password: Option<Secret>,
    /// The priority of problems, from 1 (quiet) to 5 (urgent). Default: 5 for bad, 4 for warning and unknown.
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

fn default_url() -> String {
    "https://ntfy.sh".to_owned()
}

impl TargetKind for Ntfy {
    const NAME: &'static str = "ntfy";
    const EXAMPLE: &'static str = "{ topic: ops-4f1c9a, url: https://ntfy.example }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let url = address("url", &self.url)?;
        if self.topic.reveal().is_empty() {
            return Err(Invalid::at("topic", "it is empty"));
        }
        if self.priority.is_some_and(|priority| !(1..=5).contains(&priority)) {
            return Err(Invalid::at("priority", "it is a number from 1 to 5"));
        }
        if self.token.is_some() && self.user.is_some() {
            return Err(Invalid::at("token", "`token` and `user` are two ways to log in; choose one"));
        }
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((url, words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let request = self.request(message, context, MAX_MESSAGE)?;
        let answer = self.connection.send(request, || self.request(message, context, SHORT).ok()).await?;
        Ok(answer.word().into())
    }
}

impl Ntfy {
    /// Publishes as JSON to the root of the server (docs.ntfy.sh/publish, "Publish as JSON").
    fn request(&self, message: &Message, context: &ActionContext<'_>, max: usize) -> Result<Request, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let mut body = json!({
            "topic": self.topic.reveal(),
            "title": words.title(message, MAX_TITLE),
            "message": words.body(message, context.zone, max),
            "priority": self.priority_of(message),
            "tags": [tag(message)],
        });
        if let (Some(link), Some(fields)) = (wording::runbook(&message.event), body.as_object_mut()) {
            fields.insert("actions".to_owned(), json!([{ "action": "view", "label": "What to do", "url": link }]));
        }
        let request = Request::json(url.clone(), &body);
        match (&self.token, &self.user) {
            (Some(token), _) => request.secret_header("authorization", &format!("Bearer {}", token.reveal())),
            (None, Some(user)) => {
                let password = self.password.as_ref().map_or("", |password| password.reveal());
                request.basic(user, password)
            }
            (None, None) => Ok(request),
        }
    }

    fn priority_of(&self, message: &Message) -> u8 {
        match message.event.state {
            _ if message.is_calm() => 3,
            _ if message.kind == NoticeKind::Reminder => self.priority.unwrap_or(3),
            State::Bad => self.priority.unwrap_or(5),
            _ => self.priority.unwrap_or(4),
        }
    }
}

/// The tag that ntfy shows as a picture before the title.
fn tag(message: &Message) -> &'static str {
    match message.event.state {
        State::Okay => "white_check_mark",
        State::Warning => "warning",
        State::Unknown => "question",
        State::Bad => "rotating_light",
    }
}
