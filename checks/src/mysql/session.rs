//! A session with a MySQL or MariaDB server.

use std::time::Duration;

use monchero_core::Secret;

use super::Mysql;
use super::packet::{self, Head, Way, Welcome};
use crate::net::mysql::{self, Greeting, Refusal};
use crate::net::{Deadline, Failure, Handshake, Place, Wire};
use crate::rows::{MAX_COLUMNS, MAX_ROWS, Table};
use crate::settings::excerpt;

/// How many columns an answer may have; servers allow no more.
const MAX_ALL_COLUMNS: u64 = 4096;

/// How often a server may ask for another way to log in: once is what is known of servers.
const MAX_SWITCHES: usize = 3;

/// What a server says when it ends a statement by itself: interrupted, `max_statement_time` (MariaDB), `max_execution_time` (MySQL),
/// waiting for a lock, going down.
const ENDED: [u16; 5] = [1317, 1969, 3024, 1205, 1053];

/// A session in which nothing can be changed.
pub(super) struct Session {
    wire: Wire,
    /// The number of the next packet of an exchange.
    number: u8,
    /// Whether the server has more to say than was read, so that nothing else can be asked.
    is_spent: bool,
}

impl Session {
    /// Connects and logs in.
    pub(super) async fn open(settings: &Mysql, deadline: Deadline) -> Result<Self, Failure> {
        let mut wire = settings.place.open(None, deadline).await?;
        let greeting = Greeting::read(&mut wire).await?;
        if greeting.capabilities & mysql::SALTED == 0 {
            return Err(
                wire.fault(format!("speaks a protocol from before MySQL 4.1: `{}`", excerpt(&greeting.version)))
            );
        }
        let wanted = mysql::VERSION_41 | mysql::SALTED | mysql::SEVERAL_ANSWERS | mysql::NAMED_LOGIN;
        let mut capabilities = wanted & greeting.capabilities | mysql::VERSION_41;
        let mut number = 1;
        if let (Place::Network(peer), Some(tls)) = (&settings.place, &settings.tls) {
            capabilities |= mysql::TLS;
            greeting.ask_tls(&mut wire, capabilities).await?;
            wire = wire.secure(peer, tls, Handshake::default()).await?;
            number = 2;
        }
        let mut session = Self { wire, number, is_spent: false };
        session.log_in(settings, &greeting, capabilities).await?;
        session.protect(deadline.limit()).await?;
        Ok(session)
    }

    /// For how many seconds the server's certificate is valid yet.
    pub(super) fn certificate_left(&self, now: jiff::Timestamp) -> Option<f64> {
        self.wire.certificate_left(now)
    }

    /// Says that we go; whether the server hears that does not matter.
    pub(super) async fn leave(mut self) {
        let _ = self.wire.send(&mysql::packet(0, &[1])).await;
    }

    async fn send(&mut self, body: &[u8]) -> Result<(), Failure> {
        self.wire.send(&mysql::packet(self.number, body)).await
    }

    async fn read(&mut self, awaited: &str) -> Result<Vec<u8>, Failure> {
        let (number, body) = mysql::read(&mut self.wire, awaited).await?;
        self.number = number.wrapping_add(1);
        Ok(body)
    }

    fn strange(&self, awaited: &str) -> Failure {
        self.wire.fault(format!("does not speak MySQL: {awaited} cannot be read"))
    }

    async fn log_in(&mut self, settings: &Mysql, greeting: &Greeting, mut capabilities: u32) -> Result<(), Failure> {
        let password = settings.password.as_ref().map_or("", Secret::reveal);
        // If the server's usual way is not known here, it may be another one for this user: the server says which.
        let mut way = Way::of(&greeting.way).unwrap_or(Way::Native);
        let proof = way.proof(password, &greeting.salt);
        capabilities |= settings.database.as_ref().map_or(0, |_| mysql::WITH_DATABASE);
        let mut body = mysql::introduction(capabilities);
        body.extend([settings.user.as_bytes(), b"\0"].concat());
        // It is a digest of at most 32 bytes.
        body.push(u8::try_from(proof.len()).unwrap_or_default());
        body.extend(proof);
        for text in settings.database.as_deref().into_iter().chain([way.name()]) {
            body.extend([text.as_bytes(), b"\0"].concat());
        }
        self.send(&body).await?;
        let awaited = "the answer to the login";
        let mut switches = 0;
        loop {
            let answer = self.read(awaited).await?;
            match Welcome::parse(&answer).ok_or_else(|| self.strange(awaited))? {
                Welcome::In => return Ok(()),
                Welcome::Known => {}
                Welcome::Refused(why) => return Err(self.wire.fault(format!("does not let us in: {}", why.message))),
                Welcome::Switch(name, salt) if switches < MAX_SWITCHES => {
                    switches += 1;
                    way = Way::of(&name).ok_or_else(|| self.unknown_way(&name))?;
                    self.send(&way.proof(password, &salt)).await?;
                }
                Welcome::Show if way == Way::Sha2 => {
                    let is_private = self.wire.tls.is_some() || matches!(settings.place, Place::Socket(_));
                    if !is_private {
                        return Err(Failure::Unable(format!(
                            "{} must see the password of this user, which is sent only within TLS or over a Unix socket: set `tls`",
                            self.wire
                        )));
                    }
                    self.send(&[password.as_bytes(), b"\0"].concat()).await?;
                }
                Welcome::Switch(..) | Welcome::Show => return Err(self.strange(awaited)),
            }
        }
    }

    fn unknown_way(&self, name: &str) -> Failure {
        Failure::Unable(format!(
            "{} wants this user to log in by `{}`, which monchero cannot: give the user a password of `mysql_native_password` or `caching_sha2_password`",
            self.wire,
            excerpt(name)
        ))
    }

    /// Lets statements only read, and end in time. Servers know one of the last two; none of them is needed for what follows.
    async fn protect(&mut self, limit: Duration) -> Result<(), Failure> {
        let (seconds, millis) = (limit.as_secs_f64(), limit.as_millis());
        for statement in [
            "set session transaction read only".to_owned(),
            format!("set session max_statement_time = {seconds}"),
            format!("set session max_execution_time = {millis}"),
        ] {
            let _ = self.try_ask(&statement).await?;
        }
        Ok(())
    }

    /// The answer to a statement, as far as it is looked at.
    pub(super) async fn ask(&mut self, statement: &str) -> Result<Table, Failure> {
        self.try_ask(statement).await?.map_err(|refusal| self.failure(&refusal))
    }

    /// The same; what the server has against the statement is for the caller to judge.
    pub(super) async fn try_ask(&mut self, statement: &str) -> Result<Result<Table, Refusal>, Failure> {
        let awaited = "the answer to a statement";
        if self.is_spent {
            return Err(self.wire.fault("says more than it was asked for"));
        }
        self.number = 0;
        self.send(&[b"\x03", statement.as_bytes()].concat()).await?;
        let head = self.read(awaited).await?;
        let count = match Head::parse(&head).ok_or_else(|| self.strange(awaited))? {
            Head::Done => return Ok(Ok(Table::default())),
            Head::Refused(refusal) => return Ok(Err(refusal)),
            Head::Columns(count) if count <= MAX_ALL_COLUMNS => usize::try_from(count).unwrap_or(usize::MAX),
            Head::Columns(count) => {
                return Err(self.wire.fault(format!("sends {count} columns, more than are read")));
            }
        };
        let mut table = Table::default();
        for _ in 0..count {
            let body = self.read(awaited).await?;
            let name = packet::column(&body).ok_or_else(|| self.strange(awaited))?;
            if table.columns.len() < MAX_COLUMNS {
                table.columns.push(name);
            }
        }
        let body = self.read(awaited).await?;
        packet::end(&body).ok_or_else(|| self.strange(awaited))?;
        loop {
            let body = self.read(awaited).await?;
            if let Some(goes_on) = packet::end(&body) {
                // Of several answers, as of a procedure, the first one counts.
                self.is_spent = goes_on;
                return Ok(Ok(table));
            }
            if let Some((0xff, why)) = body.split_first() {
                return Refusal::parse(why).map(Err).ok_or_else(|| self.strange(awaited));
            }
            if table.rows.len() >= MAX_ROWS {
                (table.is_cut, self.is_spent) = (true, true);
                return Ok(Ok(table));
            }
            table.rows.push(packet::row(&body, count, MAX_COLUMNS).ok_or_else(|| self.strange(awaited))?);
        }
    }

    /// Why a statement failed: the server's fault if it ended it, else something in the statement or in what the user may do, which says
    /// nothing about the server.
    pub(super) fn failure(&self, refusal: &Refusal) -> Failure {
        let text = format!("{} answers: {}", self.wire, refusal.message);
        if ENDED.contains(&refusal.code) { Failure::Bad(text) } else { Failure::Unable(text) }
    }
}
