//! Monit: each `check` becomes a check of what it looks at, and one for each of its tests that has a number of cycles or an action of its own.
//! `alert` becomes `email`, `start`, `restart`, `stop` and `exec` become scripts.

mod actions;
mod lines;
mod looks;
mod services;
mod tests_of;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Files, Imported, Taken};
use lines::{Reader, Statement};

/// How many checks are made.
const MAX_CHECKS: usize = 10_000;

/// What `set` statements say.
#[derive(Debug)]
pub(super) struct Main {
    /// How long a cycle is.
    cycle: Duration,
    mailserver: Option<Statement>,
    from: Option<String>,
    alerts: Vec<Statement>,
}

/// Reads `monitrc`, what it includes, and directories of such files.
pub(super) fn read(paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
    let mut out = Imported::default();
    let mut statements = Vec::new();
    let mut reader = Reader::default();
    for path in paths {
        for path in files.find(path, &|_| true) {
            statements
                .extend(reader.file(&path, files, &mut out.lost).map_err(|why| format!("{}: {why}", path.display()))?);
        }
    }
    let mut main = Main { cycle: Duration::from_secs(30), mailserver: None, from: None, alerts: Vec::new() };
    let mut unused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut services: Vec<(Statement, Vec<Statement>)> = Vec::new();
    for statement in statements {
        match (statement.word(0), services.last_mut()) {
            ("set", _) => set(&mut main, statement, &mut unused, &mut out),
            ("check", _) => services.push((statement, Vec::new())),
            (_, Some((_, parts))) => parts.push(statement),
            (_, None) => out.lose(&statement.place, &statement.text(), "this is no statement that begins a file"),
        }
    }
    for (file, names) in &unused {
        out.notes.push(super::unused(file, names));
    }
    if !services.is_empty() {
        out.notes.push(
            "What Monit tests is bad here if the test fails. Kinds that have limits for warnings keep them.".to_owned(),
        );
    }
    services::Services::new(&main, files, taken, &mut out).make(&services);
    Ok(out)
}

fn set(main: &mut Main, statement: Statement, unused: &mut BTreeMap<String, Vec<String>>, out: &mut Imported) {
    match statement.word(1) {
        "daemon" => match statement.word(2).parse() {
            Ok(seconds @ 1..=604_800) => main.cycle = Duration::from_secs(seconds),
            _ => out.lose(&statement.place, &statement.text(), "this is no number of seconds"),
        },
        "mailserver" => main.mailserver = Some(statement),
        "alert" => main.alerts.push(statement),
        "mail-format" => {
            main.from = statement.after("from:").map(str::to_owned);
            if statement.tokens.iter().any(|token| ["subject:", "message:"].contains(&token.lower().as_str())) {
                let why = "write `subject` and `body` of the action `email` as templates";
                out.lose(&statement.place, "set mail-format", why);
            }
        }
        "ssl" if statement.tokens.iter().any(|token| token.lower().starts_with("enable")) => {
            let why =
                "certificates are not verified unless a test says so: take `tls: { verify: false }` out of the checks";
            out.lose(&statement.place, "set ssl", why);
        }
        "mmonit" => out.lose(&statement.place, "set mmonit", "results are not sent to M/Monit"),
        other => unused.entry(statement.place.file.to_string()).or_default().push(other.to_owned()),
    }
}
