//! `plugin`: an external program that looks, in any of four formats.

mod checkmk;
mod exit;
#[cfg(test)]
mod fuzz_native;
mod native;
mod settings;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::check::{CheckKind, Context};
use monchero_core::program::{self, Exit, Program, RunEnd, RunError};
use monchero_core::{CheckError, Invalid, Name, Range, Report, State, nagios, text};
use rustix::fs::{Access, access};
use schemars::JsonSchema;
use serde::Deserialize;

use exit::Verdict;
use settings::{Command, Format, InsecurePermissions, Size};

/// Where plugins stand that are given by their bare name, before the directories of programs.
const PLUGIN_DIRECTORIES: [&str; 5] = [
    "/usr/lib/monchero/plugins",
    "/usr/local/lib/nagios/plugins",
    "/usr/lib/nagios/plugins",
    "/usr/lib64/nagios/plugins",
    "/usr/lib/monitoring-plugins",
];
/// The smallest and the largest `max_output`. A message needs the one; what is larger than the other is a log, not a result.
const OUTPUT_SIZES: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024;
/// The longest `kill_grace`. A run lasts up to its timeout and this; what cleans up longer needs a longer timeout.
const MAX_KILL_GRACE: Duration = Duration::from_mins(1);
/// How much of the first line of standard error is put into a message, in bytes.
const MAX_STDERR_LINE: usize = 300;

/// Runs a program and reads its result: a Nagios plugin, a Checkmk local check, a plugin in monchero's own format, or any command.
///
/// No shell is involved. A command in one text is split into words as a shell would, with quotes and backslashes, and nothing else happens
/// to it: no variables, no wildcards, no pipes. Who needs those writes `[sh, -c, "..."]`.
///
/// The program gets nothing on standard input and a fixed environment: `PATH`, `LANG`, `HOME`, and
/// - `MONCHERO_CHECK`, the name of the check;
/// - `MONCHERO_HOST`, the name of this host;
/// - `MONCHERO_TIMEOUT`, the seconds that it has, as a decimal number;
/// - `MONCHERO_FORMAT`, the format that is expected;
/// - `MONCHERO_AGENT_NUMBER_OF_CPUS`, with the format `native` only;
/// - what environment setters gave, `env:` of the check, and `env:` of these settings, of which the last one counts.
///
/// When the timeout is over, the program and everything that it started get SIGTERM and, `kill_grace` later, SIGKILL. A timeout, death by
/// a signal, an unexpected exit status and a program that cannot be started make the check unknown, with the reason; if there was nothing
/// on standard output, the first line of standard error stands in the message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugin {
    /// The program and its arguments, as one text or as a list of words. The program is a whole path, or a bare name that is looked for in
    /// `/usr/lib/monchero/plugins`, `/usr/local/lib/nagios/plugins`, `/usr/lib/nagios/plugins`, `/usr/lib64/nagios/plugins`,
    /// `/usr/lib/monitoring-plugins`, and then in the usual directories of programs. A command that ends with a colon or holds `: ` or ` #`
    /// stands in quotes, or YAML takes it for something else.
    command: Command,
    /// What the program prints and what its exit status means: `nagios` (the default), `checkmk`, `native` or `exit-code`.
    #[serde(default)]
    format: Format,
    /// Whether the limits that the program prints beside its metrics can make the result worse than the program itself says.
    ///
    /// By default they can with `native`, and with `checkmk` for services of status `P` (which are judged by them in any case), since
    /// there limits are part of the result. They cannot with `nagios` and `exit-code`: many Nagios plugins print limits that do not have
    /// the meaning of the guidelines. `check_swap -w 50%` prints `swap=4293918720B;2146959350`, where the limit is the least that may be
    /// free; `check_file_age` prints `size=1328B;0;0`, where it is the smallest size; `check_ntp_time` prints
    /// `offset=-0.499998s;60;120`, where it is compared without the sign. All three are okay, and would be bad by their metrics. (Seen with
    /// monitoring-plugins 2.3.3.) Set `true` for plugins whose limits mean what the guidelines say.
    judge_metrics: Option<bool>,
    /// Environment variables for the program. The default is none.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The user that the program runs as, with that user's groups. Only a daemon that runs as root can change the user. The default is the
    /// user of the daemon.
    run_as: Option<Box<str>>,
    /// The directory that the program is started in, as a whole path. The default is `/`.
    directory: Option<Box<Path>>,
    /// How much of standard output is kept, from 1KiB to 1MiB; the default is 64KiB. The rest is read and thrown away, the result says so,
    /// and a metric at the cut is dropped. With the format `native`, output that is longer has no result.
    #[serde(default = "default_max_output")]
    max_output: Size,
    /// How long the program may clean up between SIGTERM and SIGKILL, at most 60s. The default is 2s.
    #[serde(default = "default_kill_grace", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    kill_grace: Duration,
    /// Whether processes that the program leaves behind may live on. By default they are killed when the program ends.
    #[serde(default)]
    allow_background: bool,
    /// Set `allow` to run a program that others than root and the daemon's user could have changed: one that they can write to, or that
    /// stands in a directory that they can write to. By default (`refuse`) it is not run, and the check is unknown.
    #[serde(default)]
    insecure_permissions: InsecurePermissions,
    /// For the format `exit-code`: the exit statuses that mean okay. 0 does in any case, unless another list has it.
    #[serde(default)]
    okay: Box<[u8]>,
    /// For the format `exit-code`: the exit statuses that mean warning. The default is none.
    #[serde(default)]
    warning: Box<[u8]>,
    /// For the format `exit-code`: the exit statuses that mean bad. If neither this list nor `warning` has one, every status means bad that
    /// is not 0 and stands in no list; otherwise such a status means unknown.
    #[serde(default)]
    bad: Box<[u8]>,
    /// For the format `exit-code`: the exit statuses that mean unknown. The default is none.
    #[serde(default)]
    unknown: Box<[u8]>,
}

fn default_max_output() -> Size {
    Size(program::MAX_OUTPUT)
}

fn default_kill_grace() -> Duration {
    program::KILL_GRACE
}

impl CheckKind for Plugin {
    const NAME: &'static str = "plugin";
    const EXAMPLE: &'static str =
        "{ command: /usr/lib/nagios/plugins/check_procs -w 250 -c 400, kill_grace: 5s, env: { LC_ALL: C.UTF-8 } }";
    const TAKES_ENV: bool = true;
    const SHORT_FOR: Option<&'static str> = Some("command");

    fn validate(&mut self) -> Result<(), Invalid> {
        self.command.judge().map_err(|why| ("command", why))?;
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let name = text::escape_controls(name);
                return Err(Invalid::at(
                    "env",
                    format!("`{name}` is no environment variable: its name has no `=`, and neither part a NUL"),
                ));
            }
        }
        if self.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            return Err(Invalid::at("directory", "the directory must be a whole path".to_owned()));
        }
        if self.run_as.as_deref().is_some_and(str::is_empty) {
            return Err(Invalid::at("run_as", "the name of the user is empty".to_owned()));
        }
        if !OUTPUT_SIZES.contains(&self.max_output.0) {
            return Err(Invalid::at("max_output", "from 1KiB to 1MiB of output can be kept".to_owned()));
        }
        if self.kill_grace > MAX_KILL_GRACE {
            return Err(Invalid::at(
                "kill_grace",
                "the grace is at most 60s; give what cleans up longer a longer timeout".to_owned(),
            ));
        }
        self.validate_lists()
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        match context.spawner.run(self.program(context)).await {
            Ok(end) => self.report(context, &end),
            Err(RunError::Cancelled) => Err(CheckError::Cancelled),
            Err(error) => Err(CheckError::Unable(error.to_string())),
        }
    }
}

impl Plugin {
    fn validate_lists(&self) -> Result<(), Invalid> {
        let mut seen: BTreeMap<u8, &str> = BTreeMap::new();
        for (name, list) in
            [("okay", &self.okay), ("warning", &self.warning), ("bad", &self.bad), ("unknown", &self.unknown)]
        {
            if !list.is_empty() && self.format != Format::ExitCode {
                return Err(Invalid::at(name, "lists of exit statuses need `format: exit-code`".to_owned()));
            }
            for status in list {
                if let Some(other) = seen.insert(*status, name).filter(|other| *other != name) {
                    return Err(Invalid::at(name, format!("the exit status {status} stands in `{other}`, too")));
                }
            }
        }
        Ok(())
    }

    /// The file name of the program, for messages.
    fn file_name(&self) -> &str {
        let path = self.command.words.first().map_or("", |word| word);
        Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
    }

    fn program(&self, context: &Context<'_>) -> Program {
        let mut argv: Vec<OsString> = self.command.words.iter().map(|word| OsString::from(&**word)).collect();
        if let Some(first) = argv.first_mut()
            && let Some(path) = find_plugin(context.sysroot, Path::new(first))
        {
            *first = path.into_os_string();
        }
        Program {
            env: self.environment(context),
            directory: self.directory.as_deref().map(PathBuf::from),
            run_as: self.run_as.as_deref().map(str::to_owned),
            kill_grace: self.kill_grace,
            max_output: self.max_output.0,
            allow_background: self.allow_background,
            allow_insecure_path: self.insecure_permissions == InsecurePermissions::Allow,
            ..Program::new(argv, context.timeout)
        }
    }

    /// Each variable once.
    fn environment(&self, context: &Context<'_>) -> Vec<(OsString, OsString)> {
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        let mut set = |name: &str, value: String| drop(env.insert(OsString::from(name), OsString::from(value)));
        set("MONCHERO_CHECK", context.check.to_owned());
        set("MONCHERO_HOST", context.host.to_owned());
        set("MONCHERO_TIMEOUT", context.timeout.as_secs_f64().to_string());
        set("MONCHERO_FORMAT", self.format.as_str().to_owned());
        if self.format == Format::Native {
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            set("MONCHERO_AGENT_NUMBER_OF_CPUS", cpus.to_string());
        }
        env.extend(context.env.iter().cloned());
        env.extend(self.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        env.into_iter().collect()
    }

    /// What a run says, by its format.
    fn report(&self, context: &Context<'_>, end: &RunEnd) -> Result<Report, CheckError> {
        let status = match end.exit {
            Exit::TimedOut => return Err(CheckError::TimedOut(context.timeout)),
            Exit::Stuck { pid } => return Err(CheckError::Stuck(pid)),
            Exit::Signal(_) | Exit::TooMuchOutput => None,
            Exit::Status(status) => Some(status),
        };
        let check = Name::new(context.check);
        let mut notes = Vec::new();
        if end.truncated {
            notes.push(format!("the output was cut, {} bytes are kept: see `max_output`", self.max_output.0));
        }
        if end.leftovers > 0 {
            notes.push(format!("{} processes that it left behind were ended: see `allow_background`", end.leftovers));
        }
        let mut report = match (status, self.format) {
            (None, _) => self.cut_short(end),
            (Some(status), Format::Nagios | Format::ExitCode) => self.classic(status, end, &mut notes),
            (Some(_), Format::Native | Format::Checkmk) if is_blank(&end.stdout) => {
                Report::of(State::Unknown, with_stderr(format!("`{}` printed nothing", self.file_name()), end))
            }
            (Some(status), Format::Native) => {
                notes.extend(ignored(status));
                self.native(&check, end)
            }
            (Some(status), Format::Checkmk) => {
                notes.extend(ignored(status));
                self.checkmk(&check, context, end)
            }
        };
        for note in notes {
            add_note(&mut report.output, &note);
        }
        if report.worst().is_problem() && !is_blank(&end.stdout) {
            add_stderr(&mut report.output, &end.stderr);
        }
        Ok(report)
    }

    /// A run that was ended before it could say how it is.
    fn cut_short(&self, end: &RunEnd) -> Report {
        let why = exit::cut_short(&end.exit).unwrap_or_default();
        let mut report = Report::of(State::Unknown, with_stderr(format!("`{}`: {why}", self.file_name()), end));
        report.output = text::clean(&end.stdout);
        report
    }

    /// A Nagios plugin, or a command that is judged by its exit status.
    fn classic(&self, status: i32, end: &RunEnd, notes: &mut Vec<String>) -> Report {
        let said = nagios::parse(&end.stdout, end.truncated);
        notes.extend(said.lost.describe());
        let mut message = said.message;
        if message.is_empty() {
            message = with_stderr("(no output)".to_owned(), end);
        }
        let state = match self.verdict(status) {
            Verdict::State(state) => state,
            Verdict::Unclear(why) => {
                message = format!("{why}: {message}");
                State::Unknown
            }
        };
        Report {
            state: Some(state),
            message: Some(message),
            output: said.long_output,
            metrics: said.metrics,
            metrics_inform_only: !self.judge_metrics.unwrap_or(false),
            ..Report::default()
        }
    }

    fn native(&self, check: &Name, end: &RunEnd) -> Report {
        let file = self.file_name();
        if end.truncated {
            // Half a document may look like a whole one.
            let why = format!("`{file}` printed more than {} bytes: raise `max_output`", self.max_output.0);
            return Report::of(State::Unknown, why);
        }
        let printed = text::clean(&end.stdout);
        let reader = native::Reader { check, file, judge_metrics: self.judge_metrics.unwrap_or(true) };
        reader.read(&printed).unwrap_or_else(|why| {
            let mut report =
                Report::of(State::Unknown, with_stderr(format!("the output of `{file}` has no result: {why}"), end));
            report.output = printed;
            report
        })
    }

    fn checkmk(&self, check: &Name, context: &Context<'_>, end: &RunEnd) -> Report {
        let mut printed = text::clean(&end.stdout);
        if end.truncated {
            printed.truncate(printed.rfind('\n').unwrap_or(0));
        }
        let reader = checkmk::Reader { check, now: context.now, judge_metrics: self.judge_metrics.unwrap_or(false) };
        let mut report = reader.read(&printed);
        if end.truncated {
            report.find(State::Unknown, "the services behind the cut in its output are lost: raise `max_output`");
        }
        report
    }
}

/// A plugin that is given by its bare name, if it stands in one of the directories of plugins.
fn find_plugin(sysroot: &Path, name: &Path) -> Option<PathBuf> {
    if name.components().count() != 1 || name.is_absolute() {
        return None;
    }
    let runs = |path: &Path| {
        let path = sysroot.join(path.strip_prefix("/").unwrap_or(path));
        path.is_file() && access(&path, Access::EXEC_OK).is_ok()
    };
    PLUGIN_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| runs(path))
}

/// With the first line of standard error, if there was nothing on standard output.
fn with_stderr(message: String, end: &RunEnd) -> String {
    if !is_blank(&end.stdout) {
        return message;
    }
    let stderr = text::clean(&end.stderr);
    match stderr.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{message}, standard error: {}", text::shorten(line, MAX_STDERR_LINE)),
        None => message,
    }
}

fn is_blank(output: &[u8]) -> bool {
    output.iter().all(u8::is_ascii_whitespace)
}

/// Why an exit status is told although it means nothing: it may be the trace of a plugin that broke off.
fn ignored(status: i32) -> Option<String> {
    (status != 0).then(|| format!("its exit status {status} means nothing in this format"))
}

fn add_note(output: &mut String, note: &str) {
    if !output.is_empty() && !output.ends_with('\n') {
        output.push('\n');
    }
    output.push('(');
    output.push_str(note);
    output.push(')');
}

fn add_stderr(output: &mut String, stderr: &[u8]) {
    let stderr = text::clean(stderr);
    if stderr.trim().is_empty() {
        return;
    }
    if !output.is_empty() {
        output.push('\n');
    }
    output.push_str("standard error:\n");
    output.push_str(stderr.trim_end());
}

/// The message of a service: its text, and in brackets what its findings say; further lines and notes below.
fn finish(service: &mut Report, first: &str, further: &str, notes: Vec<String>) {
    let faults: Vec<&str> = service.findings.iter().map(|finding| finding.text.as_str()).collect();
    let message = match (first.trim(), faults.is_empty()) {
        ("", true) => "(no text)".to_owned(),
        ("", false) => faults.join("; "),
        (words, true) => words.to_owned(),
        (words, false) => format!("{words} ({})", faults.join("; ")),
    };
    service.message = Some(message);
    further.trim_end().clone_into(&mut service.output);
    for note in notes {
        add_note(&mut service.output, &note);
    }
}

/// The result of a check that only carries services.
fn count_services(report: &mut Report) {
    let count = report.services.len();
    report.find(State::Okay, text::counted(count, "service"));
}

/// The range that alerts below `lower`, and at or above `upper`: how Checkmk means its levels.
fn outside_half_open(lower: Option<f64>, upper: Option<f64>) -> Option<Range> {
    match (lower, upper) {
        (None, None) => None,
        (Some(lower), None) => Some(Range::outside(lower, f64::INFINITY)),
        (None, Some(upper)) => Some(Range::inside(upper, f64::INFINITY)),
        (Some(lower), Some(upper)) if lower < upper => Some(Range::outside(lower, upper).without_end()),
        // Every number is below the one or above the other.
        (Some(_), Some(_)) => Some(Range::inside(f64::NEG_INFINITY, f64::INFINITY)),
    }
}
