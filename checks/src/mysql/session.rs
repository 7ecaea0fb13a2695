//! A session with a MySQL or MariaDB server.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, ServerError, Value};
use tokio::time::timeout;

use super::Mysql;
use crate::blocking::{Blocking, NoAnswer};
use crate::net::{Deadline, Failure, Family, io_text, resolve};
use crate::rows::{MAX_COLUMNS, MAX_ROWS, Table};
use crate::server::Place;
use crate::settings::excerpt;

/// Each session has a thread with an event loop of its own: the client leaves tasks behind that close its connections, and would wait for
/// ever for a server that keeps silent. They end with their loop.
static SESSIONS: Blocking = Blocking::new("monchero-mysql", 1024 * 1024);

/// How long a message of the server may be, in bytes: a row.
const MAX_MESSAGE: usize = 1024 * 1024;

/// What a server says when it ends a statement by itself: interrupted, `max_statement_time` (MariaDB), `max_execution_time` (MySQL),
/// waiting for a lock, going down.
const ENDED: [u16; 5] = [1317, 1969, 3024, 1205, 1053];

/// A session in which nothing can be changed.
pub(super) struct Session {
    connection: Conn,
    place: String,
}

/// Connects, does the work and leaves, all before the deadline.
pub(super) async fn run<T: Send + 'static>(
    settings: &Mysql,
    deadline: Deadline,
    work: impl AsyncFnOnce(&mut Session) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let place = settings.place.to_string();
    let options = options(settings, deadline).await?;
    let left = deadline.left();
    let session = {
        let place = place.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::Unable(format!("starting a session: {error}")))?;
            runtime.block_on(async {
                let session = async {
                    let mut session = connect(options, place.clone()).await?;
                    session.protect(left).await;
                    work(&mut session).await
                };
                timeout(left, session).await.unwrap_or_else(|_| Err(silent(&place, deadline)))
            })
        }
    };
    // The loop ends by itself at the deadline; the thread has a moment to say so.
    match SESSIONS.call(&place, left + Duration::from_millis(100), session).await {
        Ok(answer) => answer,
        // The client breaks off where others return an error.
        Err(NoAnswer::Failed(_)) => Err(Failure::Unable(format!(
            "{place} wants this user to log in in a way that monchero cannot (it can `mysql_native_password` and `caching_sha2_password`), or says what makes no sense"
        ))),
        Err(why) => Err(Failure::Unable(format!("asking {place}: the session {why}"))),
    }
}

fn silent(place: &str, deadline: Deadline) -> Failure {
    Failure::Bad(format!("asking {place} timed out after {}", monchero_core::duration::human(deadline.limit())))
}

async fn options(settings: &Mysql, deadline: Deadline) -> Result<Opts, Failure> {
    let options = OptsBuilder::default()
        .user(Some(&settings.user))
        .pass(settings.password.as_ref().map(monchero_core::Secret::reveal))
        .db_name(settings.database.as_deref())
        .prefer_socket(false)
        .stmt_cache_size(0)
        .max_allowed_packet(Some(MAX_MESSAGE))
        .wait_timeout(Some(60));
    Ok(match &settings.place {
        Place::Socket(path) => options.socket(Some(path.display().to_string())),
        Place::Network(peer) => {
            // The client's own way to resolve names has no deadline.
            let addresses = resolve(peer, Family::Any, deadline).await?;
            let addresses: Vec<_> = addresses.into_iter().map(|address| address.ip()).collect();
            options.ip_or_hostname(&peer.host).tcp_port(peer.port).resolved_ips(Some(addresses))
        }
    }
    .into())
}

async fn connect(options: Opts, place: String) -> Result<Session, Failure> {
    match Conn::new(options).await {
        Ok(connection) => Ok(Session { connection, place }),
        Err(Error::Server(error)) => {
            Err(Failure::Bad(format!("{place} does not let us in: {}", excerpt(&error.message))))
        }
        Err(Error::Driver(DriverError::UnknownAuthPlugin { name })) => Err(Failure::Unable(format!(
            "{place} wants this user to log in by `{}`, which monchero cannot: give the user a password of `mysql_native_password` or `caching_sha2_password`",
            excerpt(&name)
        ))),
        Err(error) => Err(broken(&place, &error)),
    }
}

/// What went wrong on the way.
fn broken(place: &str, error: &Error) -> Failure {
    Failure::Bad(match error {
        Error::Io(mysql_async::IoError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("{place} closed the connection")
        }
        Error::Io(mysql_async::IoError::Io(error)) => match io_text(error).as_str() {
            "bytes remaining on stream" => format!("{place} closed the connection within a message"),
            "packet is larger than max_allowed_packet" => {
                format!("talking to {place}: what it says is not MySQL, or a message of more than 1 MiB")
            }
            why => format!("talking to {place}: {}", excerpt(why)),
        },
        Error::Driver(DriverError::ConnectionClosed) => format!("{place} closed the connection"),
        _ => format!("talking to {place}: what it says is not MySQL"),
    })
}

impl Session {
    /// Lets statements only read, and end in time. Servers know one of the last two; none of them is needed for what follows.
    async fn protect(&mut self, left: Duration) {
        let (seconds, millis) = (left.as_secs_f64(), left.as_millis());
        for statement in [
            "set session transaction read only".to_owned(),
            format!("set session max_statement_time = {seconds}"),
            format!("set session max_execution_time = {millis}"),
        ] {
            let _ = self.connection.query_drop(statement).await;
        }
    }

    /// The answer to a statement, as far as it is looked at.
    pub(super) async fn ask(&mut self, statement: &str) -> Result<Table, Failure> {
        self.try_ask(statement).await?.map_err(|error| self.failure(&error))
    }

    /// The same; what the server has against the statement is for the caller to judge.
    pub(super) async fn try_ask(&mut self, statement: &str) -> Result<Result<Table, ServerError>, Failure> {
        match table(&mut self.connection, statement).await {
            Ok(table) => Ok(Ok(table)),
            Err(Error::Server(error)) => Ok(Err(error)),
            Err(error) => Err(broken(&self.place, &error)),
        }
    }

    /// Why a statement failed: the server's fault if it ended it, else something in the statement or in what the user may do, which says
    /// nothing about the server.
    pub(super) fn failure(&self, error: &ServerError) -> Failure {
        let text = format!("{} answers: {}", self.place, excerpt(&error.message));
        if ENDED.contains(&error.code) { Failure::Bad(text) } else { Failure::Unable(text) }
    }
}

async fn table(connection: &mut Conn, statement: &str) -> Result<Table, Error> {
    let mut answer = connection.query_iter(statement).await?;
    let columns = answer.columns_ref().iter().take(MAX_COLUMNS).map(|column| column.name_str().into_owned());
    let mut table = Table { columns: columns.collect(), ..Table::default() };
    while let Some(row) = answer.next().await? {
        if table.rows.len() >= MAX_ROWS {
            table.is_cut = true;
            break;
        }
        table.rows.push(row.unwrap().into_iter().take(MAX_COLUMNS).map(text).collect());
    }
    Ok(table)
}

/// A value as text; answers to plain statements hold nothing else.
fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}
