//! `postgres`: whether a PostgreSQL server answers, how it is, and what a query says.

mod session;

use std::path::Path;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Filter, Invalid, Report, Secret, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use self::session::Session;
use crate::counters::{Clock, Named, Span};
use crate::net::{Deadline, Failure, Place, ServerAddress, TlsSettings};
use crate::rows::{self, Asked};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "The whole run: connecting, logging in, every answer."),
    Field::number("connections", "", "Connections of clients."),
    Field::number("connections_used", "%", "The share of `max_connections` in use."),
    Field::number("waiting", "", "Connections that wait for a lock."),
    Field::number("oldest_transaction", "s", "For how long the oldest transaction has been open."),
    Field::number("lag", "s", "On a replica: how far it is behind. On a primary: how far its slowest replica is."),
    Field::number("replicas", "", "On a primary: connected replicas."),
    Field::number("size", "B", "The size of the database."),
    Field::number("hits", "%", "The share of blocks that were found in memory, of all databases, since the last run."),
    Field::number(
        "wraparound",
        "%",
        "The share of transaction numbers used up since the oldest was frozen, of all databases.",
    ),
    Field::text("role", "`primary` or `replica`."),
    Field::text("version", "The server's version."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "connections_used", warning: "> 80%", bad: "> 90%" },
    Limit { field: "oldest_transaction", warning: "> 1h", bad: "" },
    Limit { field: "lag", warning: "> 1m", bad: "> 10m" },
    Limit { field: "wraparound", warning: "> 40%", bad: "> 75%" },
];

/// The counters that are remembered from run to run.
const COUNTERS: &[&str] = &["blks_hit", "blks_read"];

/// Whether a PostgreSQL server lets us in, and how it is, or what a query of yours answers.
///
/// A server that refuses, does not answer, or does not let us in is bad. Sessions only read
/// (`default_transaction_read_only`), and a statement ends with the run. Without `query`, connections, open transactions, replication, size and
/// cache are measured; for transactions and replicas of others, the user needs the role `pg_monitor`.
///
/// With `query`, each column of the answer is measured under its name. If there are several rows, or the first column holds no number,
/// the first column is the name of the row. A single range in `warning` and `bad` is about the first column that is measured; in maps the
/// columns stand by their names, `rows` for their number and `time` for the whole run. An answer without rows is unknown unless there
/// is a limit for `rows`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Postgres {
    /// The host, and the port if it is not the usual one, 5432: `db.example.org`, `10.0.0.1:5433`. Or the directory of the Unix socket,
    /// `/run/postgresql`, or, if its port is another one, the socket itself, `/run/postgresql/.s.PGSQL.5433`. Default: `localhost`.
    #[serde(default)]
    address: ServerAddress,
    /// The user.
    user: String,
    /// The password. Without `tls` the server decides how well it is protected on the way.
    password: Option<Secret>,
    /// The database. Default: `postgres`.
    #[serde(default = "usual_database")]
    database: String,
    /// Whether TLS is spoken: `true`, or a map of settings (`server_name`, `ca`, `verify`). Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// A query (SQL). The first 200 rows and 50 columns of its answer are looked at. Spans and moments must be turned into numbers
    /// (`extract(epoch from ..)`).
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
    /// `connections_used` above 80%, `oldest_transaction` above 1h, `lag` above 1m and `wraparound` above 40%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without `query` and without a word about them, bad is `connections_used` above 90%, `lag`
    /// above 10m and `wraparound` above 75%.
    #[serde(default)]
    bad: Thresholds,
    /// Made by `validate`.
    #[serde(skip)]
    place: Place,
}

fn usual_database() -> String {
    "postgres".to_owned()
}

/// Whether a path is that of a Unix socket of a server, or else that of its directory.
fn is_socket(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".s.PGSQL."))
}

impl CheckKind for Postgres {
    const NAME: &'static str = "postgres";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: db.example.org, user: monitor, password: { env: PGPASSWORD }, tls: true, database: shop, query: \"select count(*) from orders where state = 'stuck'\", warning: \"> 10\" }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.place = match self.address.place(5432, self.tls.as_ref())? {
            Place::Socket(path) if !is_socket(&path) => Place::Socket(path.join(".s.PGSQL.5432")),
            place => place,
        };
        for (setting, text) in [("user", &self.user), ("database", &self.database)] {
            if text.is_empty() || text.contains('\0') {
                return Err(Invalid::at(setting, format!("`{setting}` must not be empty")));
            }
        }
        rows::validate(self.query.as_deref(), self.asked())?;
        match self.query {
            Some(_) => Ok(()),
            None => Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS),
        }
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let looked = match &self.query {
            Some(query) => self.query(context, query).await?,
            None => self.look(context).await,
        };
        looked.or_else(Failure::into_answer)
    }
}

/// What is measured without a query, in one row.
const HEALTH: &str = "
    select
        case when pg_is_in_recovery() then 'replica' else 'primary' end as role,
        current_setting('server_version') as version,
        (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
        current_setting('max_connections') as max_connections,
        (select count(*) from pg_stat_activity where wait_event_type = 'Lock') as waiting,
        (select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0) from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid()) as oldest_transaction,
        case
            when not pg_is_in_recovery() then (select max(extract(epoch from replay_lag)) from pg_stat_replication)
            when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())
        end as lag,
        case when not pg_is_in_recovery() then (select count(*) from pg_stat_replication) end as replicas,
        pg_database_size(current_database()) as size,
        (select sum(blks_hit) from pg_stat_database) as blks_hit,
        (select sum(blks_read) from pg_stat_database) as blks_read,
        (select 100.0 * max(age(datfrozenxid)) / 2147483647 from pg_database) as wraparound";

impl Postgres {
    fn asked(&self) -> Asked<'_> {
        let Self { unit, only, except, warning, bad, .. } = self;
        Asked { unit, only, except, warning, bad }
    }

    async fn query(&self, context: &Context<'_>, query: &str) -> Result<Result<Report, Failure>, CheckError> {
        let start = Instant::now();
        let answer = Session::run(self, Deadline::of(context), async |session| session.ask(query).await).await;
        let table = match answer {
            Ok(table) => table,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut report = context.report();
        table.judge(&mut report, self.asked(), start.elapsed().as_secs_f64())?;
        Ok(Ok(report))
    }

    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let start = Instant::now();
        let (health, time, span) = Session::run(self, Deadline::of(context), async |session| {
            let mut health = session.ask(HEALTH).await?.record();
            let time = start.elapsed().as_secs_f64();
            let clock = Clock::of_server(context, start);
            let first = clock.reading(Named::of(&health, COUNTERS));
            let span = match clock.span(context.recall(), first).await {
                Ok(span) => span,
                Err(first) => {
                    health = session.ask(HEALTH).await?.record();
                    first.until(clock.reading(Named::of(&health, COUNTERS)))
                }
            };
            Ok((health, time, span))
        })
        .await?;
        let mut report = context.report();
        report.remember(&span.now);
        self.judge(&mut report, time, &health, &span);
        Ok(report)
    }

    fn judge(&self, report: &mut Report, time: f64, health: &rows::Record, span: &Span<Named>) {
        let number = |name: &str| health.get(name).and_then(|value| value.parse::<f64>().ok());
        let text = |name: &str| health.get(name).map_or("", String::as_str);
        let most = number("max_connections").filter(|most| *most > 0.0);
        let numbers = [
            ("time", Some(time)),
            ("connections_used", number("connections").zip(most).map(|(used, most)| 100.0 * used / most)),
            ("hits", span.share("blks_hit", "blks_read")),
        ];
        let named = ["connections", "waiting", "oldest_transaction", "lag", "replicas", "size", "wraparound"];
        let numbers = numbers.into_iter().chain(named.map(|name| (name, number(name))));
        let numbers = numbers.filter_map(|(name, value)| Some((name, Value::Number(value?))));
        let texts = ["role", "version"].map(|name| (name, Value::Text(text(name))));
        let values: Vec<_> = numbers.chain(texts).collect();
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let what = excerpt(&format!("{} {}", text("role"), text("version")));
            let connections = format!("{} of {} connections", text("connections"), text("max_connections"));
            let size = human(number("size").unwrap_or_default(), &Unit::BYTES);
            format!("{what} in {}, {connections}, {} is {size}", human(time, &Unit::SECONDS), self.database)
        });
    }
}
