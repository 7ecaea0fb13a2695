//! `http`: whether a URL answers as it should, how fast, and for how long its certificate is valid yet.

mod exchange;
mod expect;
mod json;
mod url;

use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human};
use monchero_core::secret::MaybeSecret;
use monchero_core::text::{clean, shorten};
use monchero_core::{CheckError, Invalid, Report, Secret, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::exchange::{Answer, Question, Way, exchange};
use self::expect::{Expect, status_text};
use self::url::Url;
use crate::net::{Deadline, Failure, Family, TlsSettings};
use crate::settings::Size;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "time",
        "s",
        "The whole run: every step of every request, redirects included, to the end of the body.",
    ),
    Field::number("dns", "s", "The resolution of the name of the host, in the last request."),
    Field::number("connect", "s", "The TCP connection, in the last request."),
    Field::number("tls", "s", "The TLS handshake, in the last request; only with `https`."),
    Field::number("first_byte", "s", "From sending the last request to the head of its answer."),
    Field::number("size", "B", "The size of the body, as far as it was read."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `https`."),
];

const LIMITS: &[Limit] = &[Limit { field: "certificate", warning: "< 14d", bad: "< 3d" }];

/// How much of a body is shown when it is not as expected, in bytes.
const MAX_SHOWN: usize = 500;

/// The most redirects that may be asked for: browsers give up at 20.
const MAX_REDIRECTS: u8 = 20;

/// What the service is told about who asks.
const USER_AGENT: &str = concat!("monchero/", env!("CARGO_PKG_VERSION"));

/// Whether a URL answers as it should (HTTP/1.1, with or without TLS), how long each step takes, and for how long the certificate of the
/// server is valid yet.
///
/// A service that refuses, does not answer in time, shows a certificate that is not to be trusted, answers otherwise than expected or
/// whose name cannot be resolved is bad. No proxy is used. No compression is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// The URL, `http://` or `https://`, without user and password: for these there is `basic`.
    url: Url,
    /// The method: `GET`, `HEAD`, `POST` or any other. Default: `GET`.
    #[serde(default = "get")]
    method: String,
    /// Headers of the request: a map from names to texts or to secrets that stand elsewhere (`{ file: .. }`, `{ env: .. }`,
    /// `{ credential: .. }`).
    #[serde(default)]
    headers: BTreeMap<String, MaybeSecret>,
    /// The body of the request.
    body: Option<String>,
    /// User and password for the service (HTTP Basic, RFC 7617).
    basic: Option<Basic>,
    /// A token for the service (`Authorization: Bearer`, RFC 6750).
    bearer: Option<Secret>,
    /// How many redirects are followed: `0` to `20`. With `0`, or where a redirect names no place, the redirect itself is the answer. A
    /// redirect from `https` to `http`, or to anything that is not HTTP, is bad. On another host or port neither credentials nor the
    /// headers nor the body of this check are sent. Default: `5`.
    #[serde(default = "five")]
    redirects: u8,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// How TLS is spoken with `https`: a map of `server_name`, `ca` and `verify`.
    #[serde(default)]
    tls: TlsSettings,
    /// What the answer must be like. Default: a status of 200 to 399.
    #[serde(default)]
    expect: Expect,
    /// How much of a body is read, up to 64MiB; the rest is not waited for. Default: `1MiB`.
    #[serde(default = "one_mebibyte")]
    max_body: Size,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time`, `dns`, `connect`, `tls`, `first_byte` (seconds),
    /// `size` (bytes) and `certificate` (seconds left). Without a word about it, a certificate that is
    /// verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is
    /// verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
    /// Method and headers, ready to send: made by `validate`.
    #[serde(skip)]
    ready: Option<(Method, HeaderMap)>,
}

/// A user and a password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Basic {
    /// The user, without a colon.
    user: String,
    /// The password.
    password: Secret,
}

fn get() -> String {
    "GET".to_owned()
}

fn five() -> u8 {
    5
}

fn one_mebibyte() -> Size {
    Size(1024 * 1024)
}

impl CheckKind for Http {
    const NAME: &'static str = "http";
    const EXAMPLE: &'static str = "{ url: \"https://shop.example/health\", expect: { status: 200, json: { database: ok } }, warning: { time: \"> 500ms\" } }";
    const SHORT_FOR: Option<&'static str> = Some("url");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.redirects > MAX_REDIRECTS {
            return Err(Invalid::at("redirects", format!("at most {MAX_REDIRECTS} redirects can be followed")));
        }
        self.tls.validate().map_err(|why| ("tls.server_name", why))?;
        self.expect.validate()?;
        let method = self.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).ok().filter(|method| *method != Method::CONNECT);
        let method =
            method.ok_or_else(|| ("method", format!("`{}` is no method that a check can use", self.method)))?;
        self.ready = Some((method, self.request_headers()?));
        let limits = if self.tls.verify { LIMITS } else { &[] };
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let start = Instant::now();
        match self.follow(Deadline::of(context)).await {
            Ok(end) => Ok(self.judge(context.report(), &end, start.elapsed().as_secs_f64(), context.now)),
            Err(failure) => failure.into_answer(),
        }
    }
}

/// The last answer, and how it was reached.
struct End {
    answer: Answer,
    url: Url,
    redirects: u8,
}

impl Http {
    /// The headers that are sent, all but `Host`.
    fn request_headers(&self) -> Result<HeaderMap, Invalid> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &self.headers {
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
        let authorization = match (&self.basic, &self.bearer) {
            (None, None) => return Ok(headers),
            (Some(_), Some(_)) => {
                return Err(Invalid::at("bearer", "`basic` and `bearer` exclude each other".to_owned()));
            }
            (Some(basic), None) if basic.user.contains(':') => {
                return Err(Invalid::at("basic.user", "a user of HTTP Basic has no colon".to_owned()));
            }
            (Some(basic), None) => {
                format!("Basic {}", base64(format!("{}:{}", basic.user, basic.password.reveal()).as_bytes()))
            }
            (None, Some(token)) => format!("Bearer {}", token.reveal()),
        };
        let wrong = || Invalid::at("bearer", "the token has characters that a header cannot hold".to_owned());
        let mut value = HeaderValue::from_str(&authorization).map_err(|_| wrong())?;
        value.set_sensitive(true);
        if headers.insert(header::AUTHORIZATION, value).is_some() {
            return Err(Invalid::at("headers", "`Authorization` is made of `basic` or `bearer` already".to_owned()));
        }
        Ok(headers)
    }

    /// Asks, and follows redirects.
    async fn follow(&self, deadline: Deadline) -> Result<End, Failure> {
        let way = Way { family: self.family, tls: &self.tls, max_body: self.max_body.0, deadline };
        let Some((method, headers)) = self.ready.clone() else {
            return Err(Failure::Unable("the settings were not validated".to_owned()));
        };
        let body = Bytes::from(self.body.clone().unwrap_or_default());
        let mut question = Question { url: self.url.clone(), method, headers, body };
        for redirects in 0..=self.redirects {
            let answer = exchange(question.clone().with_host(), way).await?;
            match target(&answer) {
                Some(location) if self.redirects > 0 => question = next(question, &answer, &location)?,
                _ => return Ok(End { answer, url: question.url, redirects }),
            }
        }
        Err(Failure::Bad(format!(
            "{} leads to more than {} redirects, the last to {}",
            self.url, self.redirects, question.url
        )))
    }

    fn judge(&self, mut report: Report, end: &End, time: f64, now: jiff::Timestamp) -> Report {
        let answer = &end.answer;
        for (state, why) in self.expect.judge(answer) {
            report.find(state, why);
        }
        let is_as_expected = report.worst() == State::Okay;
        let size = answer.body.len() as f64;
        let times = &answer.times;
        let mut values =
            vec![("time", time), ("dns", times.dns.as_secs_f64()), ("connect", times.connect.as_secs_f64())];
        let mut output = vec![format!("{} answered at {}", end.url, answer.address)];
        let mut tls = "";
        if let Some(secured) = &answer.tls {
            values.push(("tls", secured.took.as_secs_f64()));
            if let Some(certificate) = &secured.certificate {
                values.push(("certificate", certificate.left(now)));
                output.push(certificate.describe());
            }
            tls = if secured.verified { "" } else { ", tls not verified" };
        }
        values.extend([("first_byte", times.first_byte.as_secs_f64()), ("size", size)]);
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(&mut report, "", &values, || {
            let redirects = match end.redirects {
                0 => String::new(),
                1 => format!(", after a redirect to {}", end.url),
                many => format!(", after {many} redirects to {}", end.url),
            };
            let size = format!("{}{}", if answer.is_cut { "more than " } else { "" }, human(size, &Unit::BYTES));
            format!("{} in {}, {size}{redirects}{tls}", status_text(answer.status), human(time, &Unit::SECONDS))
        });
        if !is_as_expected {
            output.push(shorten(&clean(answer.body.get(..MAX_SHOWN).unwrap_or(&answer.body)), MAX_SHOWN));
        }
        report.output = output.join("\n");
        report
    }
}

impl Question {
    fn with_host(mut self) -> Self {
        // The host was parsed as ASCII without blanks, so it is a value.
        if !self.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(&self.url.host())
        {
            self.headers.insert(header::HOST, host);
        }
        self
    }
}

/// Where an answer sends us, if it is a redirect that says so.
fn target(answer: &Answer) -> Option<String> {
    const REDIRECTS: [StatusCode; 5] = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let location = answer.headers.get(header::LOCATION).filter(|_| REDIRECTS.contains(&answer.status))?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// What is asked after a redirect (RFC 9110, section 15.4): POST becomes GET except after 307 and 308; nothing that was meant for one
/// host goes to another (R73).
fn next(question: Question, answer: &Answer, location: &str) -> Result<Question, Failure> {
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

/// Base 64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let six = usize::try_from(bits >> shift & 63).unwrap_or(0);
            out.push(if index <= chunk.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
