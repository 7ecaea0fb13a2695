//! `http`: whether a URL answers as it should, how fast, and for how long its certificate is valid yet.

mod exchange;
mod expect;
mod follow;
mod json;
mod measure;
mod proxy;
mod request;
mod service;
mod url;
mod wanted;

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge};
use monchero_core::quantity::{Unit, human};
use monchero_core::secret::MaybeSecret;
use monchero_core::text::{clean, shorten};
use monchero_core::{CheckError, Invalid, Report, Secret, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::exchange::{Question, Way};
use self::expect::{Expect, status_text};
pub(crate) use self::follow::Document;
use self::follow::{End, follow};
use self::measure::Measure;
pub(crate) use self::proxy::ProxySetting;
pub(crate) use self::request::Basic;
use self::request::Ready;
pub(crate) use self::service::{Service, Settings};
pub(crate) use self::url::Url;
use crate::net::{Address, Deadline, Failure, Family, TlsSettings};
use crate::settings::Size;

pub(crate) const FIELDS: &[Field<'static>] = &[
    Field::number(
        "time",
        "s",
        "The whole run: every step of every request, redirects included, to the end of the body.",
    ),
    Field::number("dns", "s", "The resolution of the name of the host, or of the proxy, in the last request."),
    Field::number("connect", "s", "The TCP connection, in the last request."),
    Field::number("tls", "s", "The TLS handshake, in the last request; only with `https`."),
    Field::number("first_byte", "s", "From sending the last request to the head of its answer."),
    Field::number("size", "B", "The size of the body, as far as it was read."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `https`."),
];

/// How much of a body is shown when it is not as expected, in bytes.
const MAX_SHOWN: usize = 500;

/// The most redirects that may be asked for: browsers give up at 20.
const MAX_REDIRECTS: u8 = 20;

/// Whether a URL answers as it should (HTTP/1.1, with or without TLS; HTTP/2 is not offered), how long each step takes, and for how long
/// the certificate of the server is valid yet.
///
/// A service that refuses, does not answer in time, shows a certificate that is not to be trusted, answers otherwise than expected or
/// whose name cannot be resolved is bad. Whether a server offers HTTP/2 says the kind `tls` (`alpn`). Each run makes a connection of its own. The variables `http_proxy` and `https_proxy` of the
/// environment mean nothing here: a proxy is used only where `proxy` names it. No compression is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// The URL, `http://` or `https://`, without user and password: for these there is `basic`.
    url: Url,
    /// The method: `GET`, `HEAD`, `POST` or any other. Default: `GET`, and `POST` where there is a body.
    method: Option<String>,
    /// Headers of the request: a map from names to texts or to secrets that stand elsewhere (`{ file: .. }`, `{ env: .. }`,
    /// `{ credential: .. }`).
    #[serde(default)]
    headers: BTreeMap<String, MaybeSecret>,
    /// The body of the request, as it is.
    body: Option<String>,
    /// The body of the request, sent as JSON: any map, list or value.
    json: Option<serde_json::Value>,
    /// The body of the request, sent as a form: a map from names to texts or to secrets that stand elsewhere.
    #[serde(default)]
    form: BTreeMap<String, MaybeSecret>,
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
    /// Where the host of the URL is, instead of where its name leads: an address, with a port if it is another one than that of the URL.
    /// Name and certificate are still those of the URL, so that one of several machines behind a name can be checked.
    resolve: Option<Address>,
    /// The proxy through which the service is asked: `http://proxy.example:3128`, or a map of `url`, `user` and `password`. An `https`
    /// service is reached by CONNECT and sees nothing of it. A proxy that does not work makes the check unknown. Default: `none`.
    #[serde(default)]
    proxy: ProxySetting,
    /// How TLS is spoken with `https`: a map of `server_name`, `ca`, `verify`, `certificate` and `key`.
    #[serde(default)]
    tls: TlsSettings,
    /// What the answer must be like. Default: a status of 200 to 399.
    #[serde(default)]
    expect: Expect,
    /// What is measured in an answer that is JSON: a map from names to paths as `expect.json` has them (`queue: $.queue.length`), or to
    /// maps of `path` and `unit`. Each becomes a metric that `warning` and `bad` may name. A list or an object counts its entries,
    /// `true` is 1 and `false` is 0.
    #[serde(default)]
    measure: BTreeMap<String, Measure>,
    /// How much of a body is read, up to 64MiB; the rest is not waited for. Default: `1MiB`.
    #[serde(default = "one_mebibyte")]
    max_body: Size,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time`, `dns`, `connect`, `tls`, `first_byte` (seconds),
    /// `size` (bytes), `certificate` (seconds left) and what `measure` names. Without a word about it, a certificate that is
    /// verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is
    /// verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
    /// Method, headers and body, ready to send: made by `validate`.
    #[serde(skip)]
    ready: Option<Ready>,
}

const FIVE: u8 = 5;

fn five() -> u8 {
    FIVE
}

const ONE_MEBIBYTE: Size = Size(1024 * 1024);

fn one_mebibyte() -> Size {
    ONE_MEBIBYTE
}

impl CheckKind for Http {
    const NAME: &'static str = "http";
    const LOOKS: Looks = Looks::At("url");
    const EXAMPLE: &'static str = "{ url: \"https://shop.example/health\", expect: { status: 200, json: { database: ok } }, warning: { time: \"> 500ms\" } }";
    const SHORT_FOR: Option<&'static str> = Some("url");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.redirects > MAX_REDIRECTS {
            return Err(Invalid::at("redirects", format!("at most {MAX_REDIRECTS} redirects can be followed")));
        }
        self.tls.validate().map_err(|why| ("tls", why))?;
        if let Some(proxy) = self.proxy.get() {
            proxy.validate()?;
            if self.resolve.is_some() {
                return Err(Invalid::at("resolve", "a proxy resolves names itself".to_owned()));
            }
        }
        self.expect.validate()?;
        for name in self.measure.keys() {
            measure::validate_name(name, FIELDS).map_err(|why| Invalid::at(format!("measure.{name}"), why))?;
        }
        self.ready = Some(Ready::new(self)?);
        let fields = measure::fields(FIELDS, &self.measure);
        Thresholds::settle(&mut self.warning, &mut self.bad, &fields, TlsSettings::limits(Some(&self.tls)))
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context, |end| self.expect.judge(&end.url, &end.answer), None).await
    }
}

impl Http {
    /// Asks and judges. `faults` finds what is wrong with the last answer; `praise` is what is said if nothing is.
    async fn look(
        &self,
        context: &Context<'_>,
        faults: impl FnOnce(&End) -> Vec<(State, String)>,
        praise: Option<&str>,
    ) -> Result<Report, CheckError> {
        let start = Instant::now();
        match self.follow(Deadline::of(context)).await {
            Ok(end) => {
                let time = start.elapsed().as_secs_f64();
                let faults = faults(&end);
                Ok(self.judge(context, &end, time, faults, praise))
            }
            Err(failure) => failure.into_answer(),
        }
    }

    /// Asks, and follows redirects.
    async fn follow(&self, deadline: Deadline) -> Result<End, Failure> {
        let way = Way {
            resolve: self.resolve.as_ref().map(|address| (&self.url, address)),
            proxy: self.proxy.get(),
            family: self.family,
            tls: &self.tls,
            max_body: self.max_body.0,
            deadline,
        };
        let Some(Ready { method, headers, body }) = self.ready.clone() else {
            return Err(Failure::Unable("the settings were not validated".to_owned()));
        };
        let most = if self.expect.redirect.is_some() { 0 } else { self.redirects };
        follow(Question { url: self.url.clone(), method, headers, body }, way, most).await
    }

    fn judge(
        &self,
        context: &Context<'_>,
        end: &End,
        time: f64,
        faults: Vec<(State, String)>,
        praise: Option<&str>,
    ) -> Report {
        let mut report = context.report();
        let answer = &end.answer;
        for (state, why) in faults {
            report.find(state, why);
        }
        let measured = measure::measure(&self.measure, answer, &mut report);
        let is_as_expected = report.worst() == State::Okay;
        let size = answer.body.len() as f64;
        let times = &answer.times;
        let mut values =
            vec![("time", time), ("dns", times.dns.as_secs_f64()), ("connect", times.connect.as_secs_f64())];
        let way = self.proxy.get().map_or_else(|| format!("at {}", answer.address), |proxy| format!("through {proxy}"));
        let mut output = vec![format!("{} answered {way}", end.url)];
        let mut tls = "";
        if let Some(secured) = &answer.tls {
            values.push(("tls", secured.took.as_secs_f64()));
            if let Some(certificate) = &secured.certificate {
                values.push(("certificate", certificate.left(context.now)));
                output.push(certificate.describe());
            }
            tls = if secured.verified { "" } else { ", tls not verified" };
        }
        values.extend([("first_byte", times.first_byte.as_secs_f64()), ("size", size)]);
        values.extend(measured);
        let fields = measure::fields(FIELDS, &self.measure);
        Judge::new(&fields, &self.warning, &self.bad).item(&mut report, "", &values, || {
            let redirects = match end.redirects {
                0 => String::new(),
                1 => format!(", after a redirect to {}", end.url),
                many => format!(", after {many} redirects to {}", end.url),
            };
            let size = format!("{}{}", if answer.is_cut { "more than " } else { "" }, human(size, &Unit::BYTES));
            let status = status_text(answer.status);
            let what = praise.map_or_else(|| status.clone(), |praise| format!("{praise}: {status}"));
            format!("{what} in {}, {size}{redirects}{tls}", human(time, &Unit::SECONDS))
        });
        if !is_as_expected {
            output.push(shorten(&clean(answer.body.get(..MAX_SHOWN).unwrap_or(&answer.body)), MAX_SHOWN));
        }
        report.output = output.join("\n");
        report
    }
}
