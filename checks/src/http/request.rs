//! What is asked: the method, the headers and the body of the first request, and of those that follow redirects.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use hyper::{Method, StatusCode};
use monchero_core::secret::MaybeSecret;
use monchero_core::{Invalid, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Http;
use super::exchange::{Answer, Question};
use crate::base64::base64;
use crate::net::Failure;

/// What the service is told about who asks.
const USER_AGENT: &str = concat!("monchero/", env!("CARGO_PKG_VERSION"));

/// A user and a password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basic {
    /// The user, without a colon.
    user: String,
    /// The password.
    password: Secret,
}

/// A request, ready to be sent, but for its `Host`.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Ready {
    pub(super) fn new(http: &Http) -> Result<Self, Invalid> {
        let (body, content_type) = body(http)?;
        let method = match &http.method {
            None if body.is_none() => Method::GET,
            None => Method::POST,
            Some(method) => Method::from_bytes(method.to_ascii_uppercase().as_bytes())
                .ok()
                .filter(|method| *method != Method::CONNECT)
                .ok_or_else(|| Invalid::at("method", format!("`{method}` is no method that a check can use")))?,
        };
        let mut headers = headers(&http.headers)?;
        if let Some(content_type) = content_type {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        if let Some(value) = authorization(http.basic.as_ref(), http.bearer.as_ref())?
            && headers.insert(header::AUTHORIZATION, value).is_some()
        {
            return Err(Invalid::at("headers", "`Authorization` is made of `basic` or `bearer` already".to_owned()));
        }
        Ok(Self { method, headers, body: Bytes::from(body.unwrap_or_default()) })
    }
}

/// The body, and the type of its content if that is known.
fn body(http: &Http) -> Result<(Option<String>, Option<&'static str>), Invalid> {
    let given = [("body", http.body.is_some()), ("json", http.json.is_some()), ("form", !http.form.is_empty())];
    let mut given = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        return Err(Invalid::at(
            second,
            format!("`{first}` and `{second}` exclude each other: a request has one body"),
        ));
    }
    if let Some(json) = &http.json {
        return Ok((Some(json.to_string()), Some("application/json")));
    }
    if !http.form.is_empty() {
        let field = |(name, value): (&String, &MaybeSecret)| format!("{}={}", encode(name), encode(value.reveal()));
        let fields: Vec<String> = http.form.iter().map(field).collect();
        return Ok((Some(fields.join("&")), Some("application/x-www-form-urlencoded")));
    }
    Ok((http.body.clone(), None))
}

/// A name or value of a form (URL Standard, section 5.2).
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The headers that say who asks, and for how long.
pub(super) fn who_asks() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers
}

/// The headers that are sent, all but `Host`.
fn headers(own: &BTreeMap<String, MaybeSecret>) -> Result<HeaderMap, Invalid> {
    let mut headers = who_asks();
    for (name, value) in own {
        let wrong = |why: &str| Invalid::at("headers", format!("`{name}` {why}"));
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
        if [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(&known) {
            return Err(wrong("is decided by monchero"));
        }
        let is_secret = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE].contains(&known);
        if is_secret && matches!(value, MaybeSecret::Plain(_)) {
            return Err(wrong(
                "holds a secret: write `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`, or use `basic` or `bearer`",
            ));
        }
        let mut value = HeaderValue::from_str(value.reveal())
            .map_err(|_| wrong("has a value with characters that a header cannot hold"))?;
        value.set_sensitive(is_secret);
        headers.insert(known, value);
    }
    Ok(headers)
}

fn authorization(basic: Option<&Basic>, bearer: Option<&Secret>) -> Result<Option<HeaderValue>, Invalid> {
    let mut value = match (basic, bearer) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Invalid::at("bearer", "`basic` and `bearer` exclude each other".to_owned()));
        }
        (Some(basic), None) if basic.user.contains(':') => {
            return Err(Invalid::at("basic.user", "a user of HTTP Basic has no colon".to_owned()));
        }
        (Some(basic), None) => credentials(&basic.user, basic.password.reveal()),
        (None, Some(token)) => HeaderValue::from_str(&format!("Bearer {}", token.reveal())),
    }
    .map_err(|_| Invalid::at("bearer", "the token has characters that a header cannot hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A user and a password as a header shows them (RFC 7617).
pub(super) fn credentials(user: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What is asked after a redirect (RFC 9110, section 15.4): POST becomes GET except after 307 and 308; nothing that was meant for one
/// host goes to another (R73).
pub(super) fn next(question: Question, answer: &Answer, location: &str) -> Result<Question, Failure> {
    let Question { url, mut method, mut headers, mut body } = question;
    let target = url.redirect(location).map_err(|why| Failure::Bad(format!("{url} {why}")))?;
    let keeps_method = matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let is_safe = matches!(method, Method::GET | Method::HEAD);
    if !is_safe && !keeps_method {
        method = Method::GET;
        body = Bytes::new();
        headers.remove(header::CONTENT_TYPE);
    }
    if !url.shares_secrets_with(&target) {
        if !is_safe && keeps_method {
            return Err(Failure::Bad(format!(
                "{url} redirects a {method} to {target}, which is not followed: it is another host"
            )));
        }
        body = Bytes::new();
        let ours = [header::USER_AGENT, header::ACCEPT, header::CONNECTION];
        let kept = ours.into_iter().filter_map(|name| headers.remove(&name).map(|value| (name, value)));
        headers = kept.collect();
    }
    Ok(Question { url: target, method, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_forms() {
        assert_eq!(encode("a b&c=d/é*-._~"), "a+b%26c%3Dd%2F%C3%A9*-._%7E");
    }
}
