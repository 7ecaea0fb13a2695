//! The kind `apprise`: any of the services that Apprise knows.
//!
//! What the service takes stands at <https://github.com/caronc/apprise-api#api-details>, and as a schema in `cases/apprise/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, Secret, State};
use reqwest::Url;
use schemars::JsonSchema;
use serde_json::json;

use crate::validated::Validated;
use crate::web::{Connection, Request, address, below};
use crate::wording::Words;

/// The longest text, in bytes: Apprise cuts or splits it to what each service takes (its wiki, "Development API": up to 32 KiB).
const MAX_BODY: usize = 32 * 1024;
/// The longest title, in bytes.
const MAX_TITLE: usize = 250;
/// How much is sent when the service calls it too long.
const SHORT: usize = 500;

/// Tells people through an Apprise API server, which knows more than a hundred services.
///
/// Either the server has a configuration under a key (`key`), or the addresses of services are given here (`urls`).
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apprise {
    /// The address of the server: `http://apprise.example:8000`.
    url: String,
    /// The key of a configuration on the server.
    #[serde(default)]
    key: Option<Secret>,
    /// The addresses of services, in Apprise's own form, separated by commas. They hold passwords and tokens, so they are a secret.
    #[serde(default)]
    urls: Option<Secret>,
    /// Which services of the configuration: its tags. Default: all.
    #[serde(default)]
    tag: Option<String>,
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

impl TargetKind for Apprise {
    const NAME: &'static str = "apprise";
    const EXAMPLE: &'static str = "{ url: http://apprise.example:8000, key: ops, tag: phones }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let base = address("url", &self.url)?;
        let url = match (&self.key, &self.urls) {
            (Some(key), None) => below(&base, &["notify", key.reveal()]),
            (None, Some(_)) if self.tag.is_some() => {
                return Err(Invalid::at("tag", "tags choose among the services of a `key`; `urls` are all meant"));
            }
            (None, Some(_)) => below(&base, &["notify"]),
            _ => return Err(Invalid::at("", "give either `key` or `urls`")),
        };
        self.connection.validate()?;
        let words = Words::new(("title", self.title.as_deref()), ("body", self.body.as_deref()))?;
        self.ready = Validated::new((url, words));
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let (url, words) = self.ready.get()?;
        let request = |max: usize| {
            let mut body = json!({
                "title": words.title(message, MAX_TITLE),
                "body": words.body(message, context.zone, max),
                "type": sort(message.event.state),
                "format": "text",
            });
            if let Some(fields) = body.as_object_mut() {
                let more = [("urls", self.urls.as_ref().map(Secret::reveal)), ("tag", self.tag.as_deref())];
                let more = more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
                fields.extend(more);
            }
            Request::json(url.clone(), &body)
        };
        let answer = self.connection.send(request(MAX_BODY), || Some(request(SHORT))).await?;
        Ok(answer.word().into())
    }
}

/// What Apprise calls a state.
fn sort(state: State) -> &'static str {
    match state {
        State::Okay => "success",
        State::Warning | State::Unknown => "warning",
        State::Bad => "failure",
    }
}
