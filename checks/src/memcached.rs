//! `memcached`: whether a memcached server answers, and how it is.

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Secret, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::counters::{Clock, Named, Span};
use crate::net::{Deadline, Failure, Place, ServerAddress, TlsSettings, Wire};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, every answer."),
    Field::number("memory", "B", "The memory that items use."),
    Field::number("memory_used", "%", "The share of the memory for items in use; a cache fills it in time."),
    Field::number("connections", "", "Open connections."),
    Field::number("connections_used", "%", "The share of the connections that the server allows."),
    Field::number("items", "", "Items that are stored."),
    Field::number("hits", "%", "The share of lookups that found their item, since the last run."),
    Field::number("evicted", "", "Items removed to make room for others, per second since the last run."),
    Field::number("rejected", "", "Connections refused, per second since the last run."),
    Field::number("uptime", "s", "Since the server was started."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `tls`."),
    Field::text("version", "The server's version."),
];

const LIMITS: &[Limit] = &[Limit { field: "connections_used", warning: "> 80%", bad: "> 90%" }];

/// The counters that are remembered from run to run.
const COUNTERS: &[&str] = &["get_hits", "get_misses", "evictions", "rejected_connections"];

/// Whether a memcached server answers, and how it is: memory, connections, lookups.
///
/// A server that refuses, does not answer, or does not let us in is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memcached {
    /// The host, and the port if it is not the usual one, 11211, or the path of a Unix socket: `cache.example.org`, `10.0.0.1:11212`,
    /// `/run/memcached/memcached.sock`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The user, for servers with an authentication file (option `-Y`).
    user: Option<String>,
    /// The password. Without `tls` it is sent as it is.
    password: Option<Secret>,
    /// Whether TLS is spoken: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// When it is a warning. A single range is about `time`; a map has conditions by field. Without a word about it, `connections_used`
    /// is a warning above 80%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, `connections_used` is bad above 90%.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    place: Place,
}

impl CheckKind for Memcached {
    const NAME: &'static str = "memcached";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: cache.example.org, warning: { hits: \"< 50%\", evicted: \"> 10\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.place = self.address.place(11211, self.tls.as_ref())?;
        if self.user.is_some() != self.password.is_some() {
            return Err(Invalid::at("user", "`user` and `password` need each other".to_owned()));
        }
        let mut limits = LIMITS.to_vec();
        limits.extend_from_slice(TlsSettings::limits(self.tls.as_ref()));
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Memcached {
    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let deadline = Deadline::of(context);
        let mut wire = self.place.open(self.tls.as_ref(), deadline).await?;
        self.log_in(&mut wire).await?;
        let mut stats = stats(&mut wire).await?;
        let time = start.elapsed().as_secs_f64();
        let clock = Clock::of_server(context, start);
        let first = clock.reading(Named::of(&stats, COUNTERS));
        let span = match clock.span(context.recall(), first).await {
            Ok(span) => span,
            Err(first) => {
                stats = self::stats(&mut wire).await?;
                first.until(clock.reading(Named::of(&stats, COUNTERS)))
            }
        };
        let mut report = context.report();
        report.remember(&span.now);
        let certificate = wire.certificate_left(context.now);
        self.judge(&mut report, time, &stats, &span, certificate);
        Ok(report)
    }

    /// The text protocol logs in by storing user and password under any name.
    async fn log_in(&self, wire: &mut Wire) -> Result<(), Failure> {
        let (Some(user), Some(password)) = (&self.user, &self.password) else { return Ok(()) };
        let both = format!("{user} {}", password.reveal());
        wire.send(format!("set login 0 0 {}\r\n{both}\r\n", both.len()).as_bytes()).await?;
        match wire.line("the answer to the password").await?.as_str() {
            "STORED" => Ok(()),
            other => Err(wire.fault(format!("does not let us in: {}", excerpt(other)))),
        }
    }

    fn judge(
        &self,
        report: &mut Report,
        time: f64,
        stats: &BTreeMap<String, String>,
        span: &Span<Named>,
        certificate: Option<f64>,
    ) {
        let number = |name: &str| stats.get(name).and_then(|value| value.parse::<f64>().ok());
        let share = |part: &str, whole: &str| Some(100.0 * number(part)? / number(whole).filter(|whole| *whole > 0.0)?);
        let numbers = [
            ("time", Some(time)),
            ("memory", number("bytes")),
            ("memory_used", share("bytes", "limit_maxbytes")),
            ("connections", number("curr_connections")),
            ("connections_used", share("curr_connections", "max_connections")),
            ("items", number("curr_items")),
            ("hits", span.share("get_hits", "get_misses")),
            ("evicted", span.rate("evictions")),
            ("rejected", span.rate("rejected_connections")),
            ("uptime", number("uptime")),
            ("certificate", certificate),
        ];
        let version = stats.get("version").map_or("", String::as_str);
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, Value::Number(value?))));
        let values: Vec<_> = numbers.chain([("version", Value::Text(version))]).collect();
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let items = number("curr_items").unwrap_or_default();
            let memory = human(number("bytes").unwrap_or_default(), &Unit::BYTES);
            format!("memcached {} in {}, {items} items, {memory}", excerpt(version), human(time, &Unit::SECONDS))
        });
    }
}

/// What the server says about itself, by name.
async fn stats(wire: &mut Wire) -> Result<BTreeMap<String, String>, Failure> {
    wire.send(b"stats\r\n").await?;
    let mut stats = BTreeMap::new();
    loop {
        let line = wire.line("its statistics").await?;
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("STAT"), Some(name), Some(value)) => drop(stats.insert(name.to_owned(), value.to_owned())),
            (Some("END"), None, None) => return Ok(stats),
            (Some("CLIENT_ERROR" | "ERROR" | "SERVER_ERROR"), ..) => {
                return Err(wire.fault(format!("does not give its statistics: {}", excerpt(&line))));
            }
            _ => return Err(wire.fault(format!("does not speak as memcached does: it says `{}`", excerpt(&line)))),
        }
    }
}
