//! `updates`: which updates of packages wait to be installed.

mod parse;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::program::{Exit, Program, RunEnd, RunError};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;

use self::parse::Update;
use crate::blocking::Blocking;
use crate::host::{expand, under};
use crate::net::Deadline;
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("pending", "", "Updates that would be installed now."),
    Field::number("security", "", "Those of them that mend security."),
    Field::number(
        "list_age",
        "s",
        "How long ago the lists of packages were fetched; not measured where that cannot be seen.",
    ),
];

const LIMITS: &[Limit] =
    &[Limit { field: "security", warning: "> 0", bad: "" }, Limit { field: "list_age", warning: "> 7d", bad: "" }];

/// How much of a program's output is read: a release upgrade of 3,000 packages has half of it.
const MAX_OUTPUT: usize = 1024 * 1024;
/// How many packages are named in the further output.
const MAX_NAMED: usize = 100;
/// How many packages for security the message names.
const MAX_SAID: usize = 5;
/// How many lists are looked at; a host with fifty repositories has some hundred.
const MAX_LISTS: usize = 10_000;

/// Directories of lists are read apart, since they may stand on a mount that hangs.
static LISTS: Blocking = Blocking::new("monchero-lists", 128 * 1024);

/// Which updates of packages wait to be installed (apt and dnf), how many of them mend security, and how old the lists are by which that is
/// known.
///
/// Nothing is fetched and nothing changed: apt simulates the upgrade (`apt-get -s dist-upgrade`), dnf looks into its cache (`dnf --cacheonly
/// check-update`). So something else has to fetch the lists, such as apt's and dnf's own timers; lists older than a week are a warning, and a host
/// without any is unknown. The simulation takes seconds of a CPU: an `interval` of hours and a `timeout` of a minute are right for it. Held packages
/// do not count, nor do those that a staged rollout does not offer to this host yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Updates {
    /// When it is a warning. A single range is about `pending`; a map has ranges for `pending`, `security` and `list_age` (a span of
    /// time). Without a word about them, `security` is a warning above 0 and `list_age` above 7 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, nothing is.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Updates {
    const NAME: &'static str = "updates";
    const EXAMPLE: &'static str = "{ warning: { pending: \"> 50\" }, bad: { security: \"> 10\" } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let has = |manager: &Manager| under(context.sysroot, Path::new(manager.program())).exists();
        let manager = [Manager::Apt, Manager::Dnf].into_iter().find(has).ok_or_else(|| {
            CheckError::Unable(
                "this host has neither `apt-get` nor `dnf`: other package managers are not known".to_owned(),
            )
        })?;
        let sysroot = context.sysroot.to_owned();
        let key = sysroot.to_string_lossy().into_owned();
        let fetched = LISTS.call(&key, Deadline::of(context).limit(), move || newest(&sysroot, manager)).await;
        let fetched =
            fetched.map_err(|why| CheckError::Unable(format!("the directory of the package lists {why}")))??;
        let Some(fetched) = fetched else {
            return Err(CheckError::Unable(format!(
                "there are no package lists on this host: run `{}`",
                manager.fetch()
            )));
        };
        let updates = manager.updates(context).await?;
        let mut report = context.report();
        self.judge(&mut report, &updates, seconds_since(context, fetched));
        Ok(report)
    }
}

impl Updates {
    fn judge(&self, report: &mut Report, updates: &[Update], age: Option<f64>) {
        let (pending, security) = (updates.len(), updates.iter().filter(|update| update.security).count());
        let mut values = vec![("pending", pending as f64), ("security", security as f64)];
        values.extend(age.map(|age| ("list_age", age)));
        Judge::new(FIELDS, &self.warning, &self.bad).item(report, "", &values, || {
            let lists =
                age.map_or_else(String::new, |age| format!(", the lists are {} old", human(age, &Unit::SECONDS)));
            let plural = if pending == 1 { "" } else { "s" };
            format!("{pending} update{plural}, {security} for security{}{lists}", named(updates))
        });
        let mut sorted: Vec<&Update> = updates.iter().collect();
        order::sort_by(&mut sorted, |a, b| (!a.security, &a.package).cmp(&(!b.security, &b.package)));
        let more = sorted.split_off(sorted.len().min(MAX_NAMED)).len();
        let mut lines: Vec<String> = sorted.into_iter().map(Update::line).collect();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        report.output = lines.join("\n");
    }
}

/// The first packages for security, in brackets.
fn named(updates: &[Update]) -> String {
    let mut names: Vec<&str> =
        updates.iter().filter(|update| update.security).map(|update| update.package.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    order::sort(&mut names);
    let more = if names.len() > MAX_SAID { ", .." } else { "" };
    names.truncate(MAX_SAID);
    format!(" ({}{more})", names.join(", "))
}

/// A package manager.
#[derive(Debug, Clone, Copy)]
enum Manager {
    Apt,
    Dnf,
}

impl Manager {
    fn program(self) -> &'static str {
        match self {
            Self::Apt => "/usr/bin/apt-get",
            Self::Dnf => "/usr/bin/dnf",
        }
    }

    /// How a person has the lists fetched.
    fn fetch(self) -> &'static str {
        match self {
            Self::Apt => "apt-get update",
            Self::Dnf => "dnf makecache",
        }
    }

    /// The lists; one is enough to know something.
    fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["/var/lib/apt/lists/*_*"],
            Self::Dnf => &["/var/cache/dnf/*/repodata/*", "/var/cache/libdnf5/*/repodata/*"],
        }
    }

    /// What changes whenever lists are fetched, even if they are as they were.
    fn stamps(self) -> &'static [&'static str] {
        match self {
            // The lists themselves are given the time that their server says. Downloads come and go in `partial`.
            Self::Apt => &[
                "/var/lib/apt/lists",
                "/var/lib/apt/lists/partial",
                "/var/lib/apt/periodic/update-success-stamp",
                "/var/lib/apt/periodic/update-stamp",
            ],
            Self::Dnf => {
                &["/var/cache/dnf/*/repodata/*", "/var/cache/libdnf5/*/repodata/*", "/var/cache/dnf/last_makecache"]
            }
        }
    }

    async fn updates(self, context: &Context<'_>) -> Result<Vec<Update>, CheckError> {
        if matches!(self, Self::Apt) {
            let words = ["-qq", "-s", "-o", "Debug::NoLocking=true", "dist-upgrade"];
            return self.ask(context, &words, &[0]).await.map(|text| parse::apt(&text));
        }
        // dnf says 100 if there are any.
        let all = self.ask(context, &["-q", "--cacheonly", "check-update"], &[0, 100]).await?;
        let mut updates = parse::dnf(&all);
        if !updates.is_empty() {
            let security = self.ask(context, &["-q", "--cacheonly", "check-update", "--security"], &[0, 100]).await?;
            let security = parse::dnf(&security);
            for update in &mut updates {
                update.security = security.iter().any(|other| other.package == update.package);
            }
        }
        Ok(updates)
    }

    /// What the program prints, if it ends with one of these statuses.
    async fn ask(self, context: &Context<'_>, words: &[&str], fine: &[i32]) -> Result<String, CheckError> {
        let argv: Vec<OsString> =
            std::iter::once(self.program()).chain(words.iter().copied()).map(OsString::from).collect();
        let shown = format!("`{} {}`", self.program(), words.join(" "));
        let env = vec![("LC_ALL".into(), "C.UTF-8".into())];
        let program = Program { env, max_output: MAX_OUTPUT, ..Program::new(argv, context.timeout) };
        let end = match context.spawner.run(program).await {
            Ok(end) => end,
            Err(RunError::Cancelled) => return Err(CheckError::Cancelled),
            Err(error) => return Err(CheckError::Unable(error.to_string())),
        };
        match end.exit {
            Exit::Status(status) if fine.contains(&status) && !end.truncated => {
                Ok(String::from_utf8_lossy(&end.stdout).into_owned())
            }
            Exit::TimedOut => Err(CheckError::TimedOut(context.timeout)),
            Exit::Stuck { pid } => Err(CheckError::Stuck(pid)),
            Exit::Status(status) if !fine.contains(&status) => {
                Err(CheckError::Unable(format!("{shown} failed with the exit status {status}: {}", complaint(&end))))
            }
            Exit::Signal(signal) => Err(CheckError::Unable(format!("{shown} was ended by the signal {signal}"))),
            Exit::Status(_) | Exit::TooMuchOutput => {
                Err(CheckError::Unable(format!("{shown} printed more than {} KiB", MAX_OUTPUT / 1024)))
            }
        }
    }
}

/// What a program says is wrong: its first error, or the first line that it has.
fn complaint(end: &RunEnd) -> String {
    let text = String::from_utf8_lossy(&end.stderr);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.clone().next();
    let error = lines.find(|line| line.starts_with("E:") || line.starts_with("Error"));
    error.or(first).map_or_else(|| "it does not say why".to_owned(), excerpt)
}

/// When lists were fetched last, if there are any.
fn newest(sysroot: &Path, manager: Manager) -> Result<Option<SystemTime>, CheckError> {
    let all = |patterns: &[&str]| -> Result<Vec<PathBuf>, CheckError> {
        let found: Result<Vec<_>, _> =
            patterns.iter().map(|pattern| expand(sysroot, Path::new(pattern), MAX_LISTS)).collect();
        Ok(found?.concat())
    };
    if all(manager.lists())?.is_empty() {
        return Ok(None);
    }
    let changed = |path: &PathBuf| std::fs::metadata(under(sysroot, path)).ok()?.modified().ok();
    Ok(all(manager.stamps())?.iter().filter_map(changed).max())
}

fn seconds_since(context: &Context<'_>, moment: SystemTime) -> Option<f64> {
    let moment = jiff::Timestamp::try_from(moment).ok()?;
    Some(context.now.duration_since(moment).as_secs_f64().max(0.0))
}
