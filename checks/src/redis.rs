//! `redis`: whether a Redis (or Valkey) server answers, and how it is.

mod resp;

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Secret, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::resp::{Reply, ask};
use crate::counters::{Clock, Named, Span};
use crate::net::{Deadline, Failure, Place, ServerAddress, TlsSettings, Wire};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, every answer."),
    Field::number("memory", "B", "The memory in use."),
    Field::number("memory_used", "%", "The share of `maxmemory` in use, if that is set."),
    Field::number("clients", "", "Connected clients."),
    Field::number("clients_used", "%", "The share of `maxclients` in use."),
    Field::number("blocked", "", "Clients that wait in a blocking command."),
    Field::number("keys", "", "Keys in all databases."),
    Field::number("hits", "%", "The share of lookups that found their key, since the last run."),
    Field::number("rejected", "", "Connections refused because of `maxclients`, per second since the last run."),
    Field::number("evicted", "", "Keys removed because of `maxmemory`, per second since the last run."),
    Field::number(
        "lag",
        "s",
        "On a replica: since it last heard from its master. On a master: the same of its slowest replica.",
    ),
    Field::number("replicas", "", "On a master: connected replicas."),
    Field::number("uptime", "s", "Since the server was started."),
    Field::number("value", "", "What `command` answers, if that is a number; of a list, its length."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `tls`."),
    Field::text("role", "`master` or `slave`."),
    Field::text("link", "On a replica: whether it is connected to its master, `up` or `down`."),
    Field::text("saving", "Whether the last attempt to write the data to disk went well: `ok` or `err`."),
    Field::text("reply", "What `command` answers."),
    Field::text("version", "The server's version."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "clients_used", warning: "> 80%", bad: "> 90%" },
    Limit { field: "lag", warning: "> 30s", bad: "> 2m" },
    Limit { field: "link", warning: "", bad: "down" },
    Limit { field: "saving", warning: "", bad: "err" },
];

/// The counters that are remembered from run to run.
const COUNTERS: &[&str] = &["keyspace_hits", "keyspace_misses", "rejected_connections", "evicted_keys"];

/// Whether a Redis server, or one that speaks its language (such as Valkey), answers `PING`, and how it is: memory, clients,
/// replication, lookups, and what a command of yours answers.
///
/// A server that refuses, does not answer, or does not let us in is bad. Nothing is written to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    /// The host, and the port if it is not the usual one, 6379, or the path of a Unix socket: `cache.example.org`, `10.0.0.1:6380`,
    /// `/run/redis/redis.sock`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The user, for servers with access control lists. Default: the default user.
    user: Option<String>,
    /// The password. Without `tls` it is sent as it is.
    password: Option<Secret>,
    /// Whether TLS is spoken: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// The number of the database for `command`. Default: `0`.
    #[serde(default)]
    database: u32,
    /// A command whose answer is measured as `value` and `reply`, split as a shell would: `LLEN jobs`. It is sent as it is: it should
    /// only read.
    command: Option<String>,
    /// When it is a warning. A single range is about `time`; a map has conditions by field. Without a word about them, `clients_used` is
    /// a warning above 80% and `lag` above 30s.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, `clients_used` above 90%, `lag` above 2m, a `link` that is
    /// down and `saving` that fails are bad.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    ready: (Place, Vec<String>),
}

impl CheckKind for Redis {
    const NAME: &'static str = "redis";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: cache.example.org, password: { env: REDIS_PASSWORD }, command: LLEN jobs, warning: { value: \"> 1000\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let place = self.address.place(6379, self.tls.as_ref())?;
        if self.user.is_some() && self.password.is_none() {
            return Err(Invalid::at("user", "a user needs a `password`".to_owned()));
        }
        let command = match &self.command {
            Some(text) => shell_words::split(text).map_err(|why| ("command", format!("`{text}`: {why}")))?,
            None => Vec::new(),
        };
        if self.command.is_some() && command.is_empty() {
            return Err(Invalid::at("command", "an empty command says nothing".to_owned()));
        }
        self.ready = (place, command);
        let mut limits = LIMITS.to_vec();
        limits.extend_from_slice(TlsSettings::limits(self.tls.as_ref()));
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Redis {
    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let deadline = Deadline::of(context);
        let (place, command) = &self.ready;
        let mut wire = place.open(self.tls.as_ref(), deadline).await?;
        self.log_in(&mut wire).await?;
        let reply = self.command(&mut wire, command).await?;
        let mut info = info(&mut wire).await?;
        let time = start.elapsed().as_secs_f64();
        let clock = Clock::of_server(context, start);
        let first = clock.reading(Named::of(&info, COUNTERS));
        let span = match clock.span(context.recall(), first).await {
            Ok(span) => span,
            Err(first) => {
                info = self::info(&mut wire).await?;
                first.until(clock.reading(Named::of(&info, COUNTERS)))
            }
        };
        let mut report = context.report();
        report.remember(&span.now);
        let certificate = wire.certificate_left(context.now);
        self.judge(&mut report, time, &info, &span, reply.as_ref(), certificate);
        Ok(report)
    }

    async fn log_in(&self, wire: &mut Wire) -> Result<(), Failure> {
        if let Some(password) = &self.password {
            let words: Vec<&str> =
                ["AUTH"].into_iter().chain(self.user.as_deref()).chain([password.reveal()]).collect();
            if let Reply::Error(why) = ask(wire, &words).await? {
                return Err(wire.fault(format!("does not let us in: {why}")));
            }
        }
        match ask(wire, &["PING"]).await? {
            Reply::Text(text) if text == "PONG" => Ok(()),
            Reply::Error(why) if why.starts_with("NOAUTH") => {
                Err(wire.fault(format!("does not let us in without a password: set `password` ({why})")))
            }
            Reply::Error(why) => Err(wire.fault(format!("answers PING with an error: {why}"))),
            other => Err(wire.fault(format!("answers PING with {other}"))),
        }
    }

    async fn command(&self, wire: &mut Wire, command: &[String]) -> Result<Option<Reply>, Failure> {
        if command.is_empty() {
            return Ok(None);
        }
        if self.database > 0
            && let Reply::Error(why) = ask(wire, &["SELECT", &self.database.to_string()]).await?
        {
            return Err(wire.fault(format!("refuses database {}: {why}", self.database)));
        }
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match ask(wire, &words).await? {
            Reply::Error(why) => {
                Err(wire.fault(format!("answers `{}` with an error: {why}", excerpt(&command.join(" ")))))
            }
            reply => Ok(Some(reply)),
        }
    }

    fn judge(
        &self,
        report: &mut Report,
        time: f64,
        info: &BTreeMap<String, String>,
        span: &Span<Named>,
        reply: Option<&Reply>,
        certificate: Option<f64>,
    ) {
        let number = |name: &str| info.get(name).and_then(|value| value.parse::<f64>().ok());
        let text = |name: &str| info.get(name).map(String::as_str);
        let share = |part: &str, whole: &str| Some(100.0 * number(part)? / number(whole).filter(|whole| *whole > 0.0)?);
        let role = text("role");
        let shown = reply.map(ToString::to_string);
        let numbers = [
            ("time", Some(time)),
            ("memory", number("used_memory")),
            ("memory_used", share("used_memory", "maxmemory")),
            ("clients", number("connected_clients")),
            ("clients_used", share("connected_clients", "maxclients")),
            ("blocked", number("blocked_clients")),
            ("keys", keys(info)),
            ("hits", span.share("keyspace_hits", "keyspace_misses")),
            ("rejected", span.rate("rejected_connections")),
            ("evicted", span.rate("evicted_keys")),
            ("lag", lag(info)),
            ("replicas", number("connected_slaves").filter(|_| role == Some("master"))),
            ("uptime", number("uptime_in_seconds")),
            ("value", reply.and_then(Reply::number)),
            ("certificate", certificate),
        ];
        let saving = [text("rdb_last_bgsave_status"), text("aof_last_write_status")];
        let saving = saving.into_iter().flatten().find(|status| *status != "ok").or(saving[0]);
        let texts = [
            ("role", role),
            ("link", text("master_link_status")),
            ("saving", saving),
            ("reply", shown.as_deref()),
            ("version", text("redis_version")),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, Value::Number(value?))));
        let texts = texts.into_iter().filter_map(|(name, value)| Some((name, Value::Text(value?))));
        let values: Vec<_> = numbers.chain(texts).collect();
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let what = excerpt(&format!("{} {}", role.unwrap_or("server"), text("redis_version").unwrap_or_default()));
            let said = shown.as_ref().map(|reply| format!(", `{}` is {}", self.ready.1.join(" "), excerpt(reply)));
            let clients = number("connected_clients").map(|count| format!(", {count} clients")).unwrap_or_default();
            let memory = human(number("used_memory").unwrap_or_default(), &Unit::BYTES);
            let time = human(time, &Unit::SECONDS);
            format!("{what} in {time}, {memory}{clients}{}", said.unwrap_or_default())
        });
    }
}

/// What the server says about itself, by name.
async fn info(wire: &mut Wire) -> Result<BTreeMap<String, String>, Failure> {
    match ask(wire, &["INFO"]).await? {
        Reply::Text(text) => Ok(pairs(&text)),
        Reply::Error(why) => Err(wire.fault(format!("refuses INFO: {why}"))),
        other => Err(wire.fault(format!("answers INFO with {other}"))),
    }
}

/// Lines `name:value` (`INFO`).
fn pairs(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    order::tree(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// One part of a value such as `keys=5,expires=0`.
fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// Keys in all databases (`db0:keys=5,..`). A server without keys names no database.
fn keys(info: &BTreeMap<String, String>) -> Option<f64> {
    let databases = info.iter().filter(|(name, _)| {
        name.strip_prefix("db").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    });
    databases
        .map(|(_, value)| part(value, "keys")?.parse().ok())
        .try_fold(0.0, |sum, keys: Option<f64>| Some(sum + keys?))
}

/// How far a replica, or the slowest replica of a master (`slave0:..,lag=1`), is behind.
fn lag(info: &BTreeMap<String, String>) -> Option<f64> {
    if let Some(own) = info.get("master_last_io_seconds_ago") {
        // -1 while it is not connected.
        return own.parse().ok().filter(|seconds| *seconds >= 0.0);
    }
    let replicas = info.iter().filter(|(name, _)| name.starts_with("slave"));
    let lags = replicas.filter_map(|(_, value)| part(value, "lag")?.parse::<f64>().ok());
    lags.filter(|lag| lag.is_finite() && *lag >= 0.0).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_server_says_about_itself() {
        let text = "# Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=1\r\n\
            slave1:ip=10.0.0.3,port=6379,state=online,offset=7,lag=4\r\nslave_read_only:1\r\n\
            # Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\ndb12:keys=7,expires=0,avg_ttl=0\r\ndbx:keys=1\r\n";
        let info = pairs(text);
        assert_eq!((info["role"].as_str(), keys(&info), lag(&info)), ("master", Some(12.0), Some(4.0)));
        let replica = pairs("role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n");
        assert_eq!((keys(&replica), lag(&replica)), (Some(0.0), None));
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(slave0|db0|keys=|lag=|[:=,a-z0-9-]|\r\n){0,40}") {
            let info = pairs(&text);
            let _ = (keys(&info), lag(&info));
        }
    }
}
