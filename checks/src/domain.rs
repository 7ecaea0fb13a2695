//! `domain`: for how long a domain is registered yet.

mod rdap;

use std::time::Duration;

use jiff::Timestamp;
use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::rdap::Registration;
use crate::http::Url;
use crate::net::Deadline;
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("expires", "s", "How long it is until the registration ends; less than nothing if it has ended."),
    Field::text(
        "trouble",
        "The worst that its status says: `none`, `client hold`, `server hold`, `redemption period`, `pending restore`, `pending delete`.",
    ),
    Field::text("status", "All that its status says, with commas."),
    Field::text("registrar", "By whom it was registered."),
];

const LIMITS: &[Limit] =
    &[Limit { field: "expires", warning: "< 30d", bad: "< 7d" }, Limit { field: "trouble", warning: "", bad: "!none" }];

/// How long an answer is used, and how long the registry is left alone after one that failed: what changes once a year need not be asked for
/// every minute, and registries shut out who asks too often.
const ASK_AGAIN: Duration = Duration::from_hours(6);
const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::from_mins(30);
/// How long an answer stands in for one that cannot be had.
const USABLE: Duration = Duration::from_hours(7 * 24);

/// For how long a domain is registered yet, and whether the registry has taken it out of service (RDAP, what came after WHOIS).
///
/// The registry is found by the list of IANA (`https://data.iana.org/rdap/dns.json`). A few, mostly of countries, do not speak RDAP or do not tell when a
/// registration ends: then the check is unknown. A domain that does not exist is bad, and so is one whose status says that it is held or about
/// to be deleted.
///
/// An `interval` of a day (`interval: 1d`) is right for it. The answer is used for 6 hours, whatever the interval is, and for up to a week while the registry cannot be
/// asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Domain {
    /// The domain as it was registered: `example.org`, not `www.example.org`. With other letters than a to z in their ASCII form,
    /// `xn--..`.
    name: String,
    /// The URL of an RDAP server that is asked instead of the one in IANA's list: `https://rdap.example.org/v1/`.
    server: Option<Url>,
    /// When it is a warning. A single range is about `expires`, the time that is left; a map has a range for `expires` and texts for
    /// `trouble`, `status` and `registrar`. Without a word about it, `expires` is a warning below 30 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, `expires` is bad below 7 days, and every `trouble` but `none`.
    #[serde(default)]
    bad: Thresholds,
}

/// What is known from run to run.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// Of which domain; another one may be configured now.
    name: String,
    asked: Timestamp,
    failure: Option<String>,
    answer: Option<(Timestamp, Registration)>,
}

impl CheckKind for Domain {
    const NAME: &'static str = "domain";
    const LOOKS: Looks = Looks::Out("server");
    const EXAMPLE: &'static str = "{ name: example.org, warning: \"< 45d\", bad: \"< 10d\" }";
    const SHORT_FOR: Option<&'static str> = Some("name");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.name = self.name.trim().trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !self.name.split('.').all(is_label) || !self.name.contains('.') || self.name.len() > 253 {
            let why =
                format!("`{}` is no domain: write it as it was registered, such as `example.org`", excerpt(&self.name));
            return Err(Invalid::at("name", why));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let known = context.recall::<Known>().filter(|known| known.name == self.name);
        let known = match known.filter(|known| known.is_fresh(context.now)) {
            Some(fresh) => fresh,
            None => self.ask(context).await,
        };
        let mut report = context.report();
        self.judge(&mut report, &known, context.now);
        report.remember(&known);
        Ok(report)
    }
}

/// How long ago a moment was; no time at all if the clock was set back since.
fn since(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(moment)).unwrap_or_default()
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let wait = if self.failure.is_some() { ASK_AGAIN_AFTER_FAILURE } else { ASK_AGAIN };
        since(self.asked, now) < wait && self.asked <= now
    }
}

impl Domain {
    /// Asks the registry; if it cannot be asked, what it said last stays for a while.
    async fn ask(&self, context: &Context<'_>) -> Known {
        let (name, asked) = (self.name.clone(), context.now);
        match rdap::ask(&self.name, self.server.as_ref(), Deadline::of(context)).await {
            Ok(registration) => Known { name, asked, failure: None, answer: Some((asked, registration)) },
            Err(why) => {
                let before = context.recall::<Known>().filter(|known| known.name == self.name);
                let answer = before.and_then(|known| known.answer).filter(|(at, _)| since(*at, asked) < USABLE);
                Known { name, asked, failure: Some(why), answer }
            }
        }
    }

    fn judge(&self, report: &mut Report, known: &Known, now: Timestamp) {
        let failure = known.failure.as_deref();
        let Some((at, registration)) = &known.answer else {
            return report.find(State::Unknown, failure.unwrap_or_default());
        };
        let Some(facts) = &registration.0 else {
            let why = format!(
                "{} is not registered, or is no domain that can be registered: name `example.org`, not `www.example.org`",
                self.name
            );
            return report.find(State::Bad, why);
        };
        let status = facts.status.join(", ");
        let mut values = vec![
            ("trouble", Value::Text(facts.trouble())),
            ("status", Value::Text(&status)),
            ("registrar", Value::Text(&facts.registrar)),
        ];
        let left = facts.expires.map(|end| end.duration_since(now).as_secs_f64());
        values.extend(left.map(|left| ("expires", Value::Number(left))));
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let registrar = match facts.registrar.as_str() {
                "" => String::new(),
                registrar => format!(" by {}", excerpt(registrar)),
            };
            let status = if status.is_empty() { String::new() } else { format!(" ({})", excerpt(&status)) };
            let name = &self.name;
            match facts.expires.map(|end| (end < now, end.strftime("%Y-%m-%d"))) {
                Some((true, day)) => format!("the registration of {name}{registrar} ended on {day}{status}"),
                Some((false, day)) => format!("{name} is registered{registrar} until {day}{status}"),
                None => format!("{name} is registered{registrar}{status}"),
            }
        });
        if facts.expires.is_none() {
            let why = format!("the registry does not tell when the registration of {} ends", self.name);
            report.find(State::Unknown, why);
        }
        if let Some(why) = failure {
            report.output = format!("as of {at}; since then: {why}");
        }
    }
}
