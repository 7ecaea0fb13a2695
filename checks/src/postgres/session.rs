//! A session with a PostgreSQL server.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::Postgres;
use crate::net::{Deadline, Failure, Place, StartTls, Stream, io_text};
use crate::rows::{MAX_ROWS, Table};
use crate::settings::excerpt;

/// How long a message of the server may be, in bytes: a row. The client would otherwise make room for what its head claims.
const MAX_MESSAGE: u32 = 1024 * 1024;

/// A session in which nothing can be changed.
pub(super) struct Session<'a> {
    client: Client,
    place: &'a Place,
}

impl Session<'_> {
    /// Connects, does the work and leaves, all before the deadline.
    pub(super) async fn run<T>(
        settings: &Postgres,
        deadline: Deadline,
        work: impl AsyncFnOnce(&Session<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let place = &settings.place;
        let wire = place.open_after(StartTls::Postgres, settings.tls.as_ref(), deadline).await?;
        let stream = Bounded { inner: wire.into_stream()?, head: Vec::new(), rest: 0 };
        let mut config = Config::new();
        // Where TLS is spoken, it is spoken already.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        config.user(&settings.user).dbname(&settings.database).application_name("monchero");
        if let Some(password) = &settings.password {
            config.password(password.reveal());
        }
        let session = async {
            let (client, connection) =
                config.connect_raw(stream, NoTls).await.map_err(|error| refusal(place, &error))?;
            let session = Session { client, place };
            let mut connection = pin!(connection);
            let mut working = pin!(async {
                let limit = deadline.left().as_millis().max(1);
                let bounds = format!("set default_transaction_read_only = on; set statement_timeout = {limit}");
                session.client.batch_execute(&bounds).await.map_err(|error| session.failure(&error))?;
                work(&session).await
            });
            // The connection moves what the session says and hears; if it ends first, it knows why.
            tokio::select! {
                done = &mut working => done,
                ended = &mut connection => match ended {
                    Err(error) => Err(session.failure(&error)),
                    Ok(()) => Err(Failure::Bad(format!("{place} closed the connection"))),
                },
            }
        };
        deadline.bound(|| format!("asking {place}"), session).await
    }

    /// The answer to a query, as far as it is looked at.
    pub(super) async fn ask(&self, query: &str) -> Result<Table, Failure> {
        let answer = self.client.simple_query_raw(query).await.map_err(|error| self.failure(&error))?;
        let mut answer = pin!(answer);
        let mut table = Table::default();
        while let Some(message) = answer.next().await {
            match message.map_err(|error| self.failure(&error))? {
                SimpleQueryMessage::RowDescription(columns) => {
                    // Of several statements, the last one counts.
                    let columns = columns.iter().map(|column| column.name().to_owned()).collect();
                    table = Table { columns, ..Table::default() };
                }
                SimpleQueryMessage::Row(_) if table.rows.len() >= MAX_ROWS => {
                    table.is_cut = true;
                    break;
                }
                SimpleQueryMessage::Row(row) => {
                    let values = (0..row.len()).map(|column| row.try_get(column).ok().flatten().map(str::to_owned));
                    table.rows.push(values.collect());
                }
                _ => {}
            }
        }
        Ok(table)
    }

    /// Why a statement failed: the server's fault if it broke off or was too slow, else something in the statement or in what the user may
    /// do, which says nothing about the server.
    fn failure(&self, error: &Error) -> Failure {
        let Some(said) = error.as_db_error() else { return refusal(self.place, error) };
        let class = said.code().code().get(..2).unwrap_or_default();
        let text = format!("{} answers: {}", self.place, excerpt(said.message()));
        // Insufficient resources, intervention of an operator, system errors.
        if *said.code() == SqlState::QUERY_CANCELED || ["53", "57", "58", "XX"].contains(&class) {
            return Failure::Bad(text);
        }
        Failure::Unable(text)
    }
}

/// Why there is no session.
fn refusal(place: &Place, error: &Error) -> Failure {
    if let Some(said) = error.as_db_error() {
        return Failure::Bad(format!("{place} does not let us in: {}", excerpt(said.message())));
    }
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), io_text);
        source = cause.source();
    }
    Failure::Bad(match why.as_str() {
        "password missing" => format!("{place} does not let us in without a password: set `password`"),
        "bytes remaining on stream" => format!("{place} closed the connection within a message"),
        _ => format!("talking to {place}: {}", excerpt(&why)),
    })
}

/// A stream whose messages have a bound (one byte that says what it is, four with the length): R71 for databases.
struct Bounded {
    inner: Box<dyn Stream>,
    /// As much of the head of the message as has come.
    head: Vec<u8>,
    /// What is missing of the message behind its head.
    rest: u32,
}

impl Bounded {
    /// Follows the messages in what was read.
    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((first, others)) = bytes.split_first() {
            if self.rest > 0 {
                let skipped = bytes.len().min(self.rest as usize);
                // It is at most what `rest` holds.
                self.rest -= u32::try_from(skipped).unwrap_or(self.rest);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            self.head.push(*first);
            bytes = others;
            if let [kind, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                let length = u32::from_be_bytes(length);
                if !kind.is_ascii_alphanumeric() || !(4..=MAX_MESSAGE).contains(&length) {
                    let what = "what it says is not PostgreSQL, or a message of more than 1 MiB";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                self.rest = length - 4;
                self.head.clear();
            }
        }
        Ok(())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        Poll::Ready(self.check(buf.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounded() -> Bounded {
        Bounded { inner: Box::new(tokio::io::empty()), head: Vec::new(), rest: 0 }
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let messages = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IS\0\0\0\x04";
        for size in 1..messages.len() {
            let mut stream = bounded();
            assert!(messages.chunks(size).all(|piece| stream.check(piece).is_ok()), "{size}");
            assert!(stream.check(b"D\x7f\xff\xff\xff").is_err(), "a message of 2 GiB");
        }
        assert!(bounded().check(b"HTTP/1.1 400").is_err());
        assert!(bounded().check(b"Z\0\0\0\x03").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let mut stream = bounded();
            let _ = pieces.iter().try_for_each(|piece| stream.check(piece));
        }
    }
}
