//! `users`: who is logged in.

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host;
use crate::net::io_text;

const FIELDS: &[Field<'static>] = &[
    Field::number("count", "", "How many sessions there are."),
    Field::number("age", "s", "How long ago the session began."),
    Field::text("from", "The host from which it came; `local` if it began here."),
    Field::text("terminal", "Its terminal, such as `pts/0`; `none` if it has none."),
];

/// What `only` and `except` may name: what a single session shows.
const SINGLE: &[Field<'static>] = FIELDS.split_at(1).1;

const SESSIONS: &str = "/run/systemd/sessions";
const UTMP: [&str; 2] = ["/run/utmp", "/var/run/utmp"];
/// How many sessions are looked at, and how many are listed.
const MAX_SESSIONS: usize = 2_000;
const MAX_LISTED: usize = 100;

/// Who is logged in: sessions of people, as systemd's `logind` or, without it, `/var/run/utmp` has them.
///
/// The name of a session is that of its user. Sessions that are about to end, screens that wait for a login and services of users do not
/// count. The further output lists the sessions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Users {
    /// Only sessions that fit: globs of users' names, or maps of conditions (`{ from: "!10.*" }`).
    #[serde(default)]
    only: Filter,
    /// Not the sessions that fit.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `count`, a map has conditions by field; those about `age`, `from` and `terminal` are
    /// about each session. Without a word about it, never.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, never.
    #[serde(default)]
    bad: Thresholds,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq)]
struct Session {
    user: String,
    from: String,
    terminal: String,
    /// When it began, in seconds of the wall clock.
    since: Option<f64>,
}

impl CheckKind for Users {
    const NAME: &'static str = "users";
    const EXAMPLE: &'static str = "{ warning: \"> 5\", bad: { from: \"!10.*\" }, except: backup }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.only.validate("only", SINGLE)?;
        self.except.validate("except", SINGLE)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let sessions = match of_logind(context)? {
            Some(sessions) => sessions,
            None => of_utmp(context)?,
        };
        Ok(self.judge(context, &sessions))
    }
}

impl Users {
    fn judge(&self, context: &Context<'_>, sessions: &[Session]) -> Report {
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except).without_metrics();
        let mut singles = context.report();
        let mut lines = Vec::new();
        for session in sessions {
            let age = session.since.map(|since| (context.now.as_duration().as_secs_f64() - since).max(0.0));
            let mut values = vec![("from", Value::Text(&session.from)), ("terminal", Value::Text(&session.terminal))];
            values.extend(age.map(|age| ("age", Value::Number(age))));
            let shown = session.shown(age);
            if judge.item(&mut singles, &session.user, &values, || shown.clone()) {
                lines.push(format!("{}: {shown}", escape_controls(&session.user)));
            }
        }
        let mut report = Report { items: singles.items, ..Report::default() };
        let count = lines.len();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(&mut report, "", &[("count", count as f64)], || {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} session{plural}")
        });
        report.findings.extend(singles.findings.into_iter().filter(|finding| finding.state.is_problem()));
        lines.truncate(MAX_LISTED);
        report.output = lines.join("\n");
        report
    }
}

impl Session {
    fn shown(&self, age: Option<f64>) -> String {
        let age = age.map(|age| format!(", for {}", human(age, &Unit::SECONDS))).unwrap_or_default();
        format!("from {} on {}{age}", escape_controls(&self.from), escape_controls(&self.terminal))
    }
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

/// The sessions of logind, if it is there.
fn of_logind(context: &Context<'_>) -> Result<Option<Vec<Session>>, CheckError> {
    let unable = |error: &std::io::Error| {
        CheckError::Unable(format!("listing the sessions in `{SESSIONS}`: {}", io_text(error)))
    };
    let entries = match std::fs::read_dir(host::under(context.sysroot, Path::new(SESSIONS))) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unable(&error)),
    };
    let mut sessions = Vec::new();
    for entry in entries.take(MAX_SESSIONS) {
        let entry = entry.map_err(|error| unable(&error))?;
        // Beside each session stands a pipe that must not be opened.
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Some(name) = entry.file_name().to_str()
            && let Some(text) = host::read_if_exists(context.sysroot, &format!("{SESSIONS}/{name}"))?
        {
            sessions.extend(parse_session(&text));
        }
    }
    order::sort_by(&mut sessions, |a, b| (&a.user, &a.terminal).cmp(&(&b.user, &b.terminal)));
    Ok(Some(sessions))
}

/// Reads what logind writes of a session, if it is one of a person that is logged in.
fn parse_session(text: &str) -> Option<Session> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
            .map_or("", |(_, value)| value)
    };
    let is_person =
        matches!(value("CLASS"), "" | "user" | "user-early" | "user-light" | "user-early-light" | "user-incomplete");
    if !is_person || value("STATE") == "closing" {
        return None;
    }
    let from = if value("REMOTE") == "1" { or(value("REMOTE_HOST"), "another host") } else { "local".to_owned() };
    let since = value("REALTIME").parse::<u64>().ok().map(|micros| micros as f64 / 1e6);
    Some(Session { user: or(value("USER"), value("UID")), from, terminal: or(value("TTY"), "none"), since })
        .filter(|session| !session.user.is_empty())
}

/// The sessions of `utmp(5)`; those whose process is gone are left over.
fn of_utmp(context: &Context<'_>) -> Result<Vec<Session>, CheckError> {
    for path in UTMP {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(host::under(context.sysroot, Path::new(path)));
        let most = (MAX_SESSIONS * SIZES[0]) as u64;
        match file.and_then(|file| file.take(most).read_to_end(&mut bytes)) {
            Ok(_) => {
                let is_alive = |pid: i32| {
                    host::under(context.sysroot, Path::new(&format!("/proc/{pid}"))).try_exists().unwrap_or(true)
                };
                let records =
                    parse_utmp(&bytes).ok_or_else(|| host::malformed(path, "it does not hold whole records"))?;
                return Ok(records.into_iter().filter(|(pid, _)| is_alive(*pid)).map(|(_, session)| session).collect());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(CheckError::Unable(format!("reading `{path}`: {}", io_text(&error)))),
        }
    }
    Err(CheckError::Unable(format!(
        "looking for sessions: there is neither `{SESSIONS}` nor `{}`: nothing on this host keeps account of logins",
        UTMP[1]
    )))
}

/// The sizes of a record: with times of 32 bits (amd64, among others) and of 64 bits (arm64). The places before the times are the same.
const SIZES: [usize; 2] = [384, 400];
/// Where the times begin in each.
const TIMES: [usize; 2] = [340, 344];
/// The type of a record of a login, and the largest type that there is.
const USER_PROCESS: i16 = 7;
const LAST_TYPE: i16 = 9;

/// Reads the logins of `utmp`: the number of the process, and the session. None if the bytes are no such records.
fn parse_utmp(bytes: &[u8]) -> Option<Vec<(i32, Session)>> {
    let kind = |record: &[u8]| Some(i16::from_ne_bytes(record.get(..2)?.try_into().ok()?));
    let fits = |size: &usize| {
        bytes.len().is_multiple_of(*size)
            && bytes.chunks(*size).all(|record| kind(record).is_some_and(|kind| (0..=LAST_TYPE).contains(&kind)))
    };
    let which = SIZES.iter().position(fits)?;
    let size = SIZES.get(which)?;
    let times = *TIMES.get(which)?;
    let text = |record: &[u8], from: usize, length: usize| {
        let field = record.get(from..from + length).unwrap_or_default();
        let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    };
    let session = |record: &[u8]| {
        let pid = i32::from_ne_bytes(record.get(4..8)?.try_into().ok()?);
        let since = if which == 0 {
            f64::from(u32::from_ne_bytes(record.get(times..times + 4)?.try_into().ok()?))
        } else {
            i64::from_ne_bytes(record.get(times..times + 8)?.try_into().ok()?) as f64
        };
        let from = or(&text(record, 76, 256), "local");
        // Terminals of a graphical login or of tmux name a display: they began here.
        let from = if from.starts_with(':') { "local".to_owned() } else { from };
        let session = Session {
            user: text(record, 44, 32),
            from,
            terminal: or(&text(record, 8, 32), "none"),
            since: Some(since).filter(|since| *since > 0.0 && *since < Timestamp::MAX.as_second() as f64),
        };
        (kind(record)? == USER_PROCESS && !session.user.is_empty()).then_some((pid, session))
    };
    Some(bytes.chunks(*size).filter_map(session).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(size: usize, kind: i16, pid: i32, line: &str, user: &str, host: &str, time: u32) -> Vec<u8> {
        let mut record = vec![0; size];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[4..8].copy_from_slice(&pid.to_ne_bytes());
        for (place, text) in [(8, line), (44, user), (76, host)] {
            record[place..place + text.len()].copy_from_slice(text.as_bytes());
        }
        let times = TIMES[usize::from(size == SIZES[1])];
        record[times..times + 4].copy_from_slice(&time.to_ne_bytes());
        record
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn logins_of_both_sizes_are_read() {
        for size in SIZES {
            let mut bytes = record(size, 2, 0, "~", "reboot", "6.1.0", 5);
            bytes.extend(record(size, 7, 812, "pts/0", "root", "192.0.2.1", 1_780_000_000));
            bytes.extend(record(size, 8, 813, "pts/1", "", "", 1_780_000_000));
            bytes.extend(record(size, 7, 900, "tty7", "anna", ":0", 1_780_000_000));
            let sessions = parse_utmp(&bytes).unwrap();
            let session = |user: &str, from: &str, terminal: &str| Session {
                user: user.to_owned(),
                from: from.to_owned(),
                terminal: terminal.to_owned(),
                since: Some(1.78e9),
            };
            assert_eq!(
                sessions,
                [(812, session("root", "192.0.2.1", "pts/0")), (900, session("anna", "local", "tty7"))]
            );
        }
        assert_eq!(parse_utmp(b""), Some(Vec::new()));
        assert_eq!(parse_utmp(b"not a utmp"), None);
    }

    #[test]
    fn sessions_of_people_count() {
        let text = "UID=0\nUSER=root\nACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nTTY=pts/0\nREMOTE_HOST=192.0.2.1\nREALTIME=1780000000000000\n";
        let session = parse_session(text).unwrap();
        assert_eq!((&*session.user, &*session.from, &*session.terminal), ("root", "192.0.2.1", "pts/0"));
        assert_eq!(session.since, Some(1.78e9));
        for (from, to) in
            [("STATE=active", "STATE=closing"), ("CLASS=user", "CLASS=greeter"), ("CLASS=user", "CLASS=manager")]
        {
            assert_eq!(parse_session(&text.replace(from, to)), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            bytes in prop::collection::vec(any::<u8>(), 384..=800), kind in 0_i16..12, text in "([A-Z]{3,6}=.{0,5}\n){0,5}"
        ) {
            let _ = parse_session(&text);
            let mut bytes = bytes;
            bytes.truncate(if bytes.len() < 768 { 400 } else { 768 });
            bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            let _ = parse_utmp(&bytes);
        }
    }
}
