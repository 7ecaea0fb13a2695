//! `mysql`: whether a MySQL or MariaDB server answers, how it is, and what a query says.

mod packet;
mod session;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Filter, Invalid, Report, Secret, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::session::Session;
use crate::counters::{Clock, Named, Span};
use crate::net::{Deadline, Failure, Place, ServerAddress, TlsSettings};
use crate::rows::{self, Asked, Record};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, every answer."),
    Field::number("connections", "", "Connections of clients."),
    Field::number("connections_used", "%", "The share of `max_connections` in use."),
    Field::number("running", "", "Connections that are executing something, this check's own included."),
    Field::number("queries", "", "Statements per second since the last run."),
    Field::number("slow", "", "Slow statements per second since the last run, slow by the server's `long_query_time`."),
    Field::number("aborted", "", "Failed attempts to connect per second since the last run."),
    Field::number("hits", "%", "The share of reads that InnoDB found in its buffer pool, since the last run."),
    Field::number("lag", "s", "On a replica: how far it is behind; nothing while replication is stopped."),
    Field::number("uptime", "s", "Since the server was started."),
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with `tls`."),
    Field::text("replication", "On a replica: `running`, or `stopped` if one of its two threads is."),
    Field::text("version", "The server's version."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "connections_used", warning: "> 80%", bad: "> 90%" },
    Limit { field: "lag", warning: "> 1m", bad: "> 10m" },
    Limit { field: "replication", warning: "", bad: "stopped" },
];

/// The counters that are remembered from run to run.
const COUNTERS: &[&str] =
    &["questions", "slow_queries", "aborted_connects", "innodb_buffer_pool_reads", "innodb_buffer_pool_read_requests"];

/// Whether a MySQL or MariaDB server lets us in, and how it is, or what a query of yours answers.
///
/// A server that refuses, does not answer, or does not let us in is bad. Sessions only read (`transaction_read_only`), and a
/// statement ends with the run where the server can do that. Without `query`, connections, statements, InnoDB's buffer pool and
/// replication are measured; for the last, the user needs `REPLICATION CLIENT` (MySQL) or `SLAVE MONITOR` (MariaDB).
///
/// With `query`, each column of the answer is measured under its name. If there are several rows, or the first column holds no number,
/// the first column is the name of the row. A single range in `warning` and `bad` is about the first column that is measured; in maps the
/// columns stand by their names, `rows` for their number and `time` for the whole run. An answer without rows is unknown unless there
/// is a limit for `rows`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mysql {
    /// The host, and the port if it is not the usual one, 3306, or the path of the Unix socket: `db.example.org`, `10.0.0.1:3307`,
    /// `/run/mysqld/mysqld.sock`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The user. The ways to log in that are known are `mysql_native_password`, `caching_sha2_password`, and the user of the system at
    /// the other end of a Unix socket (`unix_socket`, `auth_socket`).
    user: String,
    /// The password. It is sent as it is only within TLS or over a Unix socket, if the server wants that: one with
    /// `caching_sha2_password` must see it once after each start. Default: none.
    password: Option<Secret>,
    /// Whether TLS is spoken: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// The database. Default: none is chosen.
    database: Option<String>,
    /// A query (SQL), a single statement. The first 200 rows and 50 columns of its answer are looked at.
    query: Option<String>,
    /// What the first column that is measured counts: `s`, `B` or `%`. Default: plain numbers.
    #[serde(default)]
    unit: String,
    /// Which rows of the query count, by name or by the values of columns. Default: all.
    #[serde(default)]
    only: Filter,
    /// Which rows of the query do not count. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. Without `query`, a single range is about `time`, and without a word about them, a warning is
    /// `connections_used` above 80% and `lag` above 1m.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without `query` and without a word about them, bad is `connections_used` above 90%, `lag`
    /// above 10m and a `replication` that is stopped.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    place: Place,
}

/// The longest name that is sent, in bytes: those of users have 128 characters at most, those of databases 64.
const MAX_NAME: usize = 512;

impl CheckKind for Mysql {
    const NAME: &'static str = "mysql";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: /run/mysqld/mysqld.sock, user: monitor, password: { env: MYSQL_PASSWORD }, warning: { slow: \"> 1\" } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.place = self.address.place(3306, self.tls.as_ref())?;
        for (setting, text) in [("user", Some(&self.user)), ("database", self.database.as_ref())] {
            if text.is_some_and(|text| text.is_empty() || text.len() > MAX_NAME || text.contains('\0')) {
                return Err(Invalid::at(setting, format!("`{setting}` has 1 to {MAX_NAME} bytes")));
            }
        }
        if self.password.as_ref().is_some_and(|password| password.reveal().contains('\0')) {
            return Err(Invalid::at("password", "a password has no NUL in it".to_owned()));
        }
        rows::validate(self.query.as_deref(), self.asked())?;
        if self.query.is_some() {
            return Ok(());
        }
        let mut limits = LIMITS.to_vec();
        limits.extend_from_slice(TlsSettings::limits(self.tls.as_ref()));
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let looked = match &self.query {
            Some(query) => self.query(context, query).await?,
            None => self.look(context).await,
        };
        looked.or_else(Failure::into_answer)
    }
}

impl Mysql {
    fn asked(&self) -> Asked<'_> {
        let Self { unit, only, except, warning, bad, .. } = self;
        Asked { unit, only, except, warning, bad }
    }

    async fn query(&self, context: &Context<'_>, query: &str) -> Result<Result<Report, Failure>, CheckError> {
        let start = Instant::now();
        let asking = async {
            let mut session = Session::open(self, Deadline::of(context)).await?;
            let table = session.ask(query).await?;
            session.leave().await;
            Ok(table)
        };
        let table = match asking.await {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut report = context.report();
        table.judge(&mut report, self.asked(), start.elapsed().as_secs_f64())?;
        Ok(Ok(report))
    }

    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let mut session = Session::open(self, Deadline::of(context)).await?;
        let replication = replication(&mut session).await?;
        let mut health = health(&mut session).await?;
        let time = start.elapsed().as_secs_f64();
        let clock = Clock::of_server(context, start);
        let first = clock.reading(Named::of(&health, COUNTERS));
        let span = match clock.span(context.recall(), first).await {
            Ok(span) => span,
            Err(first) => {
                health = self::health(&mut session).await?;
                first.until(clock.reading(Named::of(&health, COUNTERS)))
            }
        };
        let certificate = session.certificate_left(context.now);
        session.leave().await;
        let mut report = context.report();
        report.remember(&span.now);
        self.judge(&mut report, time, &health, &replication, &span, certificate);
        Ok(report)
    }

    fn judge(
        &self,
        report: &mut Report,
        time: f64,
        health: &Record,
        replication: &Replication,
        span: &Span<Named>,
        certificate: Option<f64>,
    ) {
        let number = |name: &str| health.get(name).and_then(|value| value.parse::<f64>().ok());
        let text = |name: &str| health.get(name).map_or("", String::as_str);
        let most = number("max_connections").filter(|most| *most > 0.0);
        let used = number("threads_connected").zip(most).map(|(used, most)| 100.0 * used / most);
        let (missed, reads) = ("innodb_buffer_pool_reads", "innodb_buffer_pool_read_requests");
        let missed = span.by(missed).zip(span.by(reads));
        let hits =
            missed.filter(|(_, reads)| *reads > 0.0).map(|(missed, reads)| 100.0 * (1.0 - missed / reads).max(0.0));
        let numbers = [
            ("time", Some(time)),
            ("connections", number("threads_connected")),
            ("connections_used", used),
            ("running", number("threads_running")),
            ("queries", span.rate("questions")),
            ("slow", span.rate("slow_queries")),
            ("aborted", span.rate("aborted_connects")),
            ("hits", hits),
            ("lag", replication.lag()),
            ("uptime", number("uptime")),
            ("certificate", certificate),
        ];
        let texts = [("replication", replication.state()), ("version", Some(text("version")))];
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, Value::Number(value?))));
        let texts = texts.into_iter().filter_map(|(name, value)| Some((name, Value::Text(value?))));
        let values: Vec<_> = numbers.chain(texts).collect();
        if let Replication::Denied(why) = replication {
            report.output = format!("replication is not measured: {why}");
        }
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let connections = format!("{} of {} connections", text("threads_connected"), text("max_connections"));
            let why = replication.why().map(|why| format!(", replication: {}", excerpt(why))).unwrap_or_default();
            format!("{} in {}, {connections}{why}", excerpt(text("version")), human(time, &Unit::SECONDS))
        });
    }
}

/// What is asked of some 500 values.
const STATUS: &str = "show global status where variable_name in ('Threads_connected', 'Threads_running', 'Uptime', 'Questions', \
    'Slow_queries', 'Aborted_connects', 'Innodb_buffer_pool_reads', 'Innodb_buffer_pool_read_requests')";

/// What the server says about itself, by names in small letters.
async fn health(session: &mut Session) -> Result<Record, Failure> {
    let table = session.ask(STATUS).await?;
    let pairs = table.rows.into_iter().filter_map(|row| {
        let mut values = row.into_iter();
        Some((values.next()??.to_lowercase(), values.next()??))
    });
    let mut status: Record = order::tree(pairs);
    let variables = "select @@global.max_connections as max_connections, version() as version";
    status.extend(session.ask(variables).await?.record());
    Ok(status)
}

/// How a replica is.
enum Replication {
    /// It is none.
    None,
    /// By the names of the columns, in small letters.
    Status(Record),
    /// The user may not know.
    Denied(String),
}

/// Access is denied to a statement.
const DENIED: u16 = 1227;
/// A statement cannot be understood: another version has another one.
const SYNTAX: u16 = 1064;

async fn replication(session: &mut Session) -> Result<Replication, Failure> {
    for statement in ["show replica status", "show slave status"] {
        match session.try_ask(statement).await? {
            Ok(table) if table.rows.is_empty() => return Ok(Replication::None),
            Ok(table) => {
                let status = table.record().into_iter();
                return Ok(Replication::Status(order::tree(status.map(|(name, value)| (name.to_lowercase(), value)))));
            }
            Err(error) if error.code == SYNTAX => {}
            Err(error) if error.code == DENIED => return Ok(Replication::Denied(error.message)),
            Err(error) => return Err(session.failure(&error)),
        }
    }
    Ok(Replication::None)
}

impl Replication {
    /// The value under one of the names that the versions have for it.
    fn get(&self, names: [&str; 2]) -> Option<&str> {
        let Self::Status(status) = self else { return None };
        names.iter().find_map(|name| status.get(*name)).map(String::as_str)
    }

    fn lag(&self) -> Option<f64> {
        self.get(["seconds_behind_master", "seconds_behind_source"])?.parse().ok()
    }

    fn state(&self) -> Option<&'static str> {
        let receiver = self.get(["slave_io_running", "replica_io_running"])?;
        let applier = self.get(["slave_sql_running", "replica_sql_running"])?;
        Some(if receiver == "Yes" && applier == "Yes" { "running" } else { "stopped" })
    }

    /// What went wrong last.
    fn why(&self) -> Option<&str> {
        let errors = [["last_io_error"; 2], ["last_sql_error"; 2]];
        errors.into_iter().find_map(|names| self.get(names).filter(|why| !why.is_empty()))
    }
}
