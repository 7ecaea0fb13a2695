//! The kind `apprise`: any of the services that Apprise knows.
//!
//! What the service takes stands at <https://github.com/caronc/apprise-api/blob/master/swagger.yaml>,
//! and as a schema in `cases/apprise/schema.json`, to which tests hold every request.

use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::{Invalid, Secret, State};
use reqwest::{StatusCode, Url};
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
                let urls = self.urls.as_ref().map(|urls| ("urls".to_owned(), addresses(urls.reveal()).into()));
                let tag = self.tag.as_deref().map(|tag| ("tag".to_owned(), tag.into()));
                fields.extend(urls.into_iter().chain(tag));
            }
            Request::json(url.clone(), &body)
        };
        let answer = self.connection.send(request(MAX_BODY), || Some(request(SHORT))).await?;
        if answer.status == StatusCode::NO_CONTENT {
            let why = "Apprise told nobody (204): it knows no service by this `key`, or none of the `urls`".to_owned();
            return Err(DeliveryError::Permanent { why });
        }
        Ok(answer.word().into())
    }
}

/// The addresses in a list of them. A comma is a separator only where an address follows: it may stand in one too.
fn addresses(list: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let scheme = rest.split("://").next().filter(|scheme| scheme.len() < rest.len());
        scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let is_between = |c: char| c == ',' || c.is_whitespace();
    let mut found = Vec::new();
    let (mut rest, mut from) = (list.trim_matches(is_between), 0);
    while let Some(at) = rest.get(from..).and_then(|rest| rest.find(is_between)).map(|at| from + at) {
        let (one, more) = rest.split_at(at);
        let next = more.trim_start_matches(is_between);
        if begins(next) {
            found.push(one);
            (rest, from) = (next, 0);
        } else {
            from = rest.len() - next.len();
        }
    }
    found.push(rest);
    found
}

/// What Apprise calls a state.
fn sort(state: State) -> &'static str {
    match state {
        State::Okay => "success",
        State::Warning | State::Unknown => "warning",
        State::Bad => "failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_addresses_only_before_an_address() {
        assert_eq!(addresses("json://a"), ["json://a"]);
        assert_eq!(
            addresses(" json://a, mailto://b?to=c,d ,\n tgram://x/ "),
            ["json://a", "mailto://b?to=c,d", "tgram://x/"]
        );
        assert_eq!(addresses("mailto://a?to=b, c é,json://d"), ["mailto://a?to=b, c é", "json://d"]);
    }
}
