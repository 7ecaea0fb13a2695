//! `process`: whether programs run, how many of them, and what they use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counters::APART;
use crate::host;
use crate::net::Deadline;
use crate::proc::{self, Detail, Process, Snapshot, Times};
use crate::settings::{OneOrMore, TextMatch};

const FIELDS: &[Field<'static>] = &[
    Field::number("count", "", "How many processes there are; zombies do not count."),
    Field::number("total_cpu", "%", "The CPU time that all of them use together; 100% is one CPU."),
    Field::number("total_rss", "B", "The resident memory of all of them; what they share counts for each."),
    Field::number("total_threads", "", "The threads of all of them."),
    Field::number("total_descriptors", "", "The open descriptors of all of them; measured if it has a limit."),
    Field::number("zombies", "", "Processes that have ended and whose parent does not take notice."),
    Field::number(
        "blocked",
        "",
        "Processes in uninterruptible sleep (state D): they wait for a disk or another device.",
    ),
    Field::number(
        "orphans",
        "",
        "Processes that process 1 has adopted: their parent has ended, as that of a worker whose master died. What systemd starts itself \
         leads its own session and is none; a daemon that detaches itself by forking twice is one, so a limit must allow for it.",
    ),
    Field::number("oldest", "s", "How long the oldest of them has run."),
    Field::number("youngest", "s", "How long the youngest of them has run."),
    Field::number(
        "restarts",
        "",
        "How often, within `restarts_within`, the oldest of them was found to be a newer one than before: a program that ended and came \
         back. Measured if processes are chosen; several restarts between two runs count once.",
    ),
    Field::number("cpu", "%", "The CPU time that a single process uses; 100% is one CPU."),
    Field::number("descriptors", "", "The open descriptors of a single process; measured if it has a limit."),
    Field::number("rss", "B", "The resident memory of a single process."),
    Field::number("threads", "", "The threads of a single process."),
    Field::number("age", "s", "How long a single process has run."),
    Field::number("parent", "", "The number of its parent."),
    Field::text(
        "state",
        "`running`, `sleeping`, `blocked` (state D), `idle`, `stopped`, `traced`, `zombie` or `dead`.",
    ),
    Field::text("user", "The name of the user that it acts as, from `/etc/passwd`; the number if it has none there."),
    Field::text("command", "Its command line, the arguments separated by blanks; kernel threads have none."),
    Field::text(
        "exe",
        "The file that it executes; ` (deleted)` follows if that was replaced or removed since. Others' can be seen by root only.",
    ),
];

/// What `only` and `except` may name: what a single process shows at once.
const SINGLE: &[Field<'static>] = FIELDS.split_at(TOTALS + 2).1;
/// How many fields are about all processes together; those behind are about a single one.
const TOTALS: usize = 11;

const CHOSEN: &[Limit] = &[Limit { field: "count", warning: "", bad: "< 1" }];
const ALL: &[Limit] = &[Limit { field: "zombies", warning: "> 10", bad: "" }];

/// How many processes are remembered with their CPU times: so many fit into what a check may remember. Beyond it, those that used most
/// count.
const MAX_REMEMBERED: usize = 1_500;
/// How many restarts are remembered.
const MAX_RESTARTS: usize = 100;
/// How many processes the further output lists.
const MAX_LISTED: usize = 10;

/// Processes: whether they run, how many there are, and what they use.
///
/// `name`, `command`, `user`, `pid_file`, `only` and `except` choose processes; all that are given must fit. Chosen processes are measured
/// together (`count`, `total_cpu`, `total_rss`, `zombies` ..) and it is bad if there is none. A limit for what a single process has (`cpu`,
/// `rss`, `descriptors`, `age` ..) is compared with each of them. Without a choice, all processes of the host are looked at, kernel
/// threads too.
///
/// Whoever sets a limit for `count` says all about it: `warning: { count: "> 5" }` alone allows none, `1:5` asks for at least one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProcessCheck")]
pub(crate) struct ProcessCheck {
    /// The name of the program, as `ps -e` shows it but not cut: a glob such as `nginx` or `php-fpm*`, or a list of them.
    name: Option<OneOrMore<String>>,
    /// What the command line (the arguments separated by blanks) must contain, or `{ regex: .. }`: for what an interpreter runs,
    /// such as Java or Python.
    command: Option<TextMatch>,
    /// The user that they act as: a name of `/etc/passwd` or a number.
    user: Option<String>,
    /// A file in which the number of the process stands. If there is no such file, or no such process, none is found.
    pid_file: Option<PathBuf>,
    /// How long a restart counts for `restarts`. Default: `1h`.
    #[serde(default = "an_hour", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    restarts_within: Duration,
    /// Only processes that fit: globs of names, or maps of conditions about what a single process has.
    #[serde(default)]
    only: Filter,
    /// Not the processes that fit.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `count`. Without a word about it, and if no processes are chosen, more than 10
    /// `zombies` are a warning.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, and if processes are chosen, a `count` below 1 is bad.
    #[serde(default)]
    bad: Thresholds,
}

fn an_hour() -> Duration {
    Duration::from_secs(60 * 60)
}

/// What is known from the last run. Times are ticks since the host began.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    boot: String,
    at: u64,
    /// Number, start and CPU time.
    times: Vec<(u32, u64, u64)>,
    /// When the oldest process began.
    oldest: Option<u64>,
    restarts: Vec<u64>,
}

impl CheckKind for ProcessCheck {
    const NAME: &'static str = "process";
    const EXAMPLE: &'static str = "{ name: nginx, warning: { rss: \"> 1GiB\" }, bad: { count: \"< 2\" } }";
    const SHORT_FOR: Option<&'static str> = Some("name");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(name) = self.name.iter().flat_map(|names| &names.0).find(|name| name.trim().is_empty()) {
            return Err(Invalid::at("name", format!("`{name}` is no name")));
        }
        if let Some(path) = self.pid_file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Invalid::at("pid_file", format!("`{}` does not begin with `/`", path.display())));
        }
        self.only.validate("only", SINGLE)?;
        self.except.validate("except", SINGLE)?;
        let limits = if self.chooses() { CHOSEN } else { ALL };
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let pid = self.pid_file.as_deref().map(|path| read_pid(context, path)).transpose()?;
        let boot = proc::boot_id(context.sysroot);
        let known = context.recall::<Memory>().filter(|memory| memory.boot == boot);
        let memory = match known {
            Some(memory) => memory,
            None => Memory { boot, ..self.watch(context, deadline).await? },
        };
        let mut snapshot = self.list(context, deadline).await?;
        let all = std::mem::take(&mut snapshot.processes);
        let (chosen, hung) = self.choose(context, deadline, all, pid.as_ref()).await?;
        let with_users = chosen.iter().any(|process| process.user.is_some());
        let users = if with_users { proc::users(context.sysroot) } else { BTreeMap::new() };
        let mut look = Look { check: self, snapshot, users, memory, report: context.report() };
        let mut chosen = look.filter(chosen);
        if self.limits("descriptors") || self.limits("total_descriptors") {
            let (known, unknown) = proc::details(context, deadline, chosen, &[Detail::Descriptors]).await?;
            chosen = known.into_iter().chain(unknown).collect();
        }
        if chosen.is_empty() && look.snapshot.hidden > 0 && self.chooses() {
            return Err(CheckError::Unable(format!(
                "none of the processes that can be seen is {}, and {} may not be looked at: `/proc` is mounted with `hidepid`, so run as \
                 root or in the group of its option `gid`",
                self.what(),
                look.snapshot.hidden
            )));
        }
        for process in hung {
            let name = proc::label(&process);
            let why = "reading its command line hangs";
            look.report.find(State::Warning, format!("{name} cannot be looked at, so it was not counted: {why}"));
        }
        Ok(look.judge(&chosen, pid.as_ref()))
    }
}

fn times(processes: &[Process]) -> Vec<(u32, u64, u64)> {
    processes.iter().map(|process| (process.pid, process.start, process.ticks)).collect()
}

/// What a pid file says.
enum Pid {
    Number(u32),
    /// Why there is none.
    None(String),
}

fn read_pid(context: &Context<'_>, path: &Path) -> Result<Pid, CheckError> {
    let shown = text::escape_controls(&path.to_string_lossy());
    let Some(line) = host::read_if_exists(context.sysroot, &path.to_string_lossy())? else {
        return Ok(Pid::None(format!("`{shown}` does not exist")));
    };
    let number = line.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    Ok(number.map_or_else(|| Pid::None(format!("`{shown}` holds no number of a process")), Pid::Number))
}

impl ProcessCheck {
    /// The processes that may be meant, without details.
    async fn list(&self, context: &Context<'_>, deadline: Deadline) -> Result<Snapshot, CheckError> {
        proc::list(context, deadline, self.name.as_ref().map(|names| names.0.as_slice())).await
    }

    /// The CPU times of the processes a little before the first look.
    async fn watch(&self, context: &Context<'_>, deadline: Deadline) -> Result<Memory, CheckError> {
        let before = self.list(context, deadline).await?;
        tokio::time::sleep(APART.min(deadline.left() / 2)).await;
        Ok(Memory { at: before.now, times: times(&before.processes), ..Memory::default() })
    }

    fn chooses(&self) -> bool {
        self.name.is_some()
            || self.command.is_some()
            || self.user.is_some()
            || self.pid_file.is_some()
            || !self.only.is_empty()
            || !self.except.is_empty()
    }

    /// Whether a limit names this field.
    fn limits(&self, field: &str) -> bool {
        self.warning.names().chain(self.bad.names()).any(|name| name == field)
    }

    /// The processes that fit all settings but `only` and `except`, and those that hang. What is cheap is asked first.
    async fn choose(
        &self,
        context: &Context<'_>,
        deadline: Deadline,
        mut processes: Vec<Process>,
        pid: Option<&Pid>,
    ) -> Result<(Vec<Process>, Vec<Process>), CheckError> {
        if let Some(pid) = pid {
            processes.retain(|process| matches!(pid, Pid::Number(number) if *number == process.pid));
        }
        // What nobody names is not read: each is a file of each process.
        let filters =
            |field: &str| context.explain || self.only.names().chain(self.except.names()).any(|name| name == field);
        let wanted = [
            (Detail::Command, filters("command") || self.command.is_some() || self.limits("command")),
            (Detail::Exe, filters("exe") || self.limits("exe")),
            (Detail::User, filters("user") || self.user.is_some() || self.limits("user")),
        ];
        let details: Vec<Detail> = wanted.into_iter().filter_map(|(detail, is)| is.then_some(detail)).collect();
        let (mut processes, mut hung) = proc::details(context, deadline, processes, &details).await?;
        if details.is_empty() {
            // All that is not known of them is the end of a long name.
            processes.append(&mut hung);
        }
        if let Some(names) = &self.name {
            processes.retain(|process| fits(&names.0, &process.name));
        }
        if let Some(command) = &self.command {
            processes.retain(|process| process.command.as_ref().is_some_and(|line| command.matches(line)));
        }
        if let Some(user) = &self.user {
            let number = user.parse().ok().or_else(|| {
                proc::users(context.sysroot).into_iter().find(|(_, name)| name == user).map(|(number, _)| number)
            });
            processes.retain(|process| process.user.is_some() && process.user == number);
        }
        Ok((processes, hung))
    }

    /// What is looked for, as it follows "processes".
    fn what(&self) -> String {
        let mut parts = Vec::new();
        if let Some(OneOrMore(names)) = &self.name {
            let names: Vec<String> = names.iter().map(|name| text::quote(name)).collect();
            parts.push(format!("named {}", names.join(" or ")));
        }
        parts.extend(self.command.as_ref().map(|command| format!("with {command} in the command line")));
        parts.extend(self.user.as_ref().map(|user| format!("of user {}", text::quote(user))));
        parts.extend(self.pid_file.as_ref().map(|path| format!("of {}", text::quote(&path.to_string_lossy()))));
        if !self.only.is_empty() || !self.except.is_empty() {
            parts.push("chosen by `only` and `except`".to_owned());
        }
        parts.join(", ")
    }
}

fn fits(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| text::glob(glob, name))
}

/// One look at the processes.
struct Look<'a> {
    check: &'a ProcessCheck,
    snapshot: Snapshot,
    users: BTreeMap<u32, String>,
    /// What was known; what is to be known next.
    memory: Memory,
    report: Report,
}

impl Look<'_> {
    fn values<'p>(&'p self, process: &'p Process, user: &'p str) -> Vec<(&'static str, Value<'p>)> {
        let mut values: Vec<(&'static str, Value<'p>)> = vec![
            ("name", Value::Text(&process.name)),
            ("rss", Value::Number(process.rss as f64)),
            ("threads", Value::Number(process.threads as f64)),
            ("age", Value::Number(self.snapshot.age(process))),
            ("parent", Value::Number(f64::from(process.parent))),
            ("state", Value::Text(state(process.state))),
        ];
        values.extend(process.user.map(|_| ("user", Value::Text(user))));
        values.extend(process.command.as_deref().map(|command| ("command", Value::Text(command))));
        values.extend(process.exe.as_deref().map(|exe| ("exe", Value::Text(exe))));
        values.extend(process.descriptors.map(|count| ("descriptors", Value::Number(count as f64))));
        values
    }

    fn user(&self, process: &Process) -> String {
        let Some(number) = process.user else { return String::new() };
        self.users.get(&number).cloned().unwrap_or_else(|| number.to_string())
    }

    /// The processes that `only` and `except` keep; the others are noted.
    fn filter(&mut self, processes: Vec<Process>) -> Vec<Process> {
        let check = self.check;
        if check.only.is_empty() && check.except.is_empty() {
            return processes;
        }
        let judge =
            Judge::new(FIELDS, &check.warning, &check.bad).filtered(&check.only, &check.except).without_metrics();
        let mut report = std::mem::take(&mut self.report);
        let mut kept = processes;
        kept.retain(|process| {
            let user = self.user(process);
            let values = self.values(process, &user);
            // Those that are kept are noted when they are judged.
            judge.wants(&process.name, &values) || judge.item(&mut report, &process.name, &values, String::new)
        });
        self.report = report;
        kept
    }

    fn judge(mut self, processes: &[Process], pid: Option<&Pid>) -> Report {
        let alive: Vec<&Process> = processes.iter().filter(|process| !is_over(process)).collect();
        self.note_restart(&alive);
        let before: Times = order::tree(self.memory.times.iter().map(|(pid, start, ticks)| ((*pid, *start), *ticks)));
        let elapsed = proc::seconds(self.snapshot.now.saturating_sub(self.memory.at));
        let cpu = |process: &Process| {
            let used = proc::seconds(proc::used_since(process, &before, self.memory.at));
            (elapsed > 0.0).then(|| used / elapsed * 100.0)
        };
        let cpus: Vec<Option<f64>> = processes.iter().map(cpu).collect();
        let mut report = std::mem::take(&mut self.report);
        self.judge_together(&mut report, processes, &alive, &cpus, pid);
        self.judge_each(&mut report, processes, &cpus);
        if report.worst().is_problem() && !alive.is_empty() && self.check.chooses() {
            let line = |process| format!("{}: {}\n", proc::label(process), self.snapshot.describe(process));
            report.output = proc::biggest(alive, MAX_LISTED).into_iter().map(line).collect();
        }
        let mut times = times(processes);
        if times.len() > MAX_REMEMBERED {
            order::sort_by_key(&mut times, |(_, _, ticks)| std::cmp::Reverse(*ticks));
            times.truncate(MAX_REMEMBERED);
        }
        report.remember(&Memory { at: self.snapshot.now, times, ..self.memory });
        report
    }

    /// Sees whether the oldest process is a newer one than before. Nobody there leaves what is known: they may come back.
    fn note_restart(&mut self, alive: &[&Process]) {
        let Some(oldest) = alive.iter().map(|process| process.start).min() else { return };
        let now = self.snapshot.now;
        if self.memory.oldest.is_some_and(|before| oldest > before) {
            self.memory.restarts.push(now);
        }
        self.memory.oldest = Some(oldest);
        let window = self.check.restarts_within.as_secs_f64();
        self.memory.restarts.retain(|at| proc::seconds(now.saturating_sub(*at)) <= window);
        let surplus = self.memory.restarts.len().saturating_sub(MAX_RESTARTS);
        self.memory.restarts.drain(..surplus);
    }

    fn judge_together(
        &self,
        report: &mut Report,
        processes: &[Process],
        alive: &[&Process],
        cpus: &[Option<f64>],
        pid: Option<&Pid>,
    ) {
        let count = |is: &dyn Fn(&Process) -> bool| processes.iter().filter(|process| is(process)).count() as f64;
        let sum =
            |value: fn(&Process) -> u64| alive.iter().map(|process| value(process)).fold(0, u64::saturating_add) as f64;
        let ages = || alive.iter().map(|process| self.snapshot.age(process));
        let rss = sum(|process| process.rss);
        let mut values = vec![("count", alive.len() as f64)];
        let cpu = cpus.iter().copied().try_fold(0.0, |sum, cpu| Some(sum + cpu?));
        values.extend(cpu.map(|cpu| ("total_cpu", cpu)));
        values.extend([("total_rss", rss), ("total_threads", sum(|process| process.threads))]);
        if self.check.limits("total_descriptors") {
            values.push(("total_descriptors", sum(|process| process.descriptors.unwrap_or(0))));
        }
        values.push(("zombies", count(&|process| process.state == 'Z')));
        values.push(("blocked", count(&|process| process.state == 'D')));
        values.push(("orphans", count(&|process| process.parent == 1 && process.session != process.pid)));
        values.extend(ages().reduce(f64::max).map(|age| ("oldest", age)));
        values.extend(ages().reduce(f64::min).map(|age| ("youngest", age)));
        if self.check.chooses() {
            values.push(("restarts", self.memory.restarts.len() as f64));
        }
        let judge = Judge::new(FIELDS, &self.check.warning, &self.check.bad);
        judge.item(report, "", &values, || {
            let what = self.check.what();
            let blank = if what.is_empty() { "" } else { " " };
            match (alive, pid) {
                ([], Some(Pid::None(why))) => format!("no process{blank}{what}: {why}"),
                ([], _) => format!("no process{blank}{what}"),
                _ => {
                    let plural = if alive.len() == 1 { "" } else { "es" };
                    let cpu = cpu.map(|cpu| format!("{} CPU, ", human(cpu, &Unit::PERCENT))).unwrap_or_default();
                    format!("{} process{plural}{blank}{what}: {cpu}{}", alive.len(), human(rss, &Unit::BYTES))
                }
            }
        });
    }

    /// Says which single processes alert.
    fn judge_each(&self, report: &mut Report, processes: &[Process], cpus: &[Option<f64>]) {
        let is_asked = |field: &Field<'_>| self.check.limits(field.name);
        if report.items.seen.is_none() && !FIELDS.iter().skip(TOTALS).any(is_asked) {
            return;
        }
        let mut singles = Report { items: std::mem::take(&mut report.items), ..Report::default() };
        let judge = Judge::new(FIELDS, &self.check.warning, &self.check.bad).without_metrics();
        for (process, cpu) in processes.iter().zip(cpus) {
            let user = self.user(process);
            let mut values = self.values(process, &user);
            values.extend(cpu.map(|cpu| ("cpu", Value::Number(cpu))));
            let shown = format!("{}[{}]", process.name, process.pid);
            judge.item(&mut singles, &shown, &values, || self.snapshot.describe(process));
        }
        report.items = singles.items;
        report.findings.extend(singles.findings.into_iter().filter(|finding| finding.state.is_problem()));
    }
}

fn is_over(process: &Process) -> bool {
    matches!(process.state, 'Z' | 'X' | 'x')
}

/// The kernel's letter as a word (`proc_pid_stat(5)`).
fn state(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'D' => "blocked",
        'I' => "idle",
        'T' => "stopped",
        't' => "traced",
        'Z' => "zombie",
        'X' | 'x' => "dead",
        _ => "sleeping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_may_name_what_a_single_process_shows() {
        let names: Vec<&str> = SINGLE.iter().map(|field| field.name).collect();
        assert_eq!(names, ["rss", "threads", "age", "parent", "state", "user", "command", "exe"]);
        assert_eq!(FIELDS[TOTALS].name, "cpu");
    }
}
