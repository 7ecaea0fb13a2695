//! `log`: lines of log files that mean something.

mod follow;

use std::collections::BTreeMap;
use std::time::Duration;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human};
use monchero_core::text::{counted, escape_controls, shorten, truncate_at_char};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::net::Deadline;
use crate::paths::{self, FILES};
use crate::settings::{OneOrMore, Pattern, Size, excerpt};
use follow::{Followed, Follower, Position};

const FIELDS: &[Field<'static>] = &[
    Field::number("matches", "", "How many lines matched in this run, except those of rules that mean okay."),
    Field::number("lines", "", "How many lines were read in this run."),
    Field::number("skipped", "B", "How much was passed over in this run because there was more than `max_read`."),
    Field::number("silence", "s", "How long ago the file, or the newest of several, was written to."),
];

const LIMITS: &[Limit] = &[Limit { field: "skipped", warning: "> 0B", bad: "" }];

/// Lines in log files that mean something. Files are followed: each line is looked at once, in the run after it was written.
///
/// A line that matches a rule alerts for as long as `hold` says after the last such line, then the alert ends by itself; nothing else ends it.
/// The first rule that matches a line counts, so a rule with `state: okay` in front lets lines pass. The last matching lines stand in the output.
///
/// The place is remembered, over restarts too. A file that is renamed, copied and truncated, or replaced is read to its end, and the new one from its
/// start, as long as the old one stays in the same directory under a name like `app.log.1`, `app.log-20260601` or `app-20260601.log`, and is
/// not compressed at once (logrotate: `delaycompress`). What was written between the last run and a truncation without a copy is lost, as is what is in a file
/// that is deleted or compressed before the next run.
///
/// Of a line, the first 16 KiB are looked at. A last line without an end counts when nothing follows it until the next run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// The files that are followed, one or a list. `*` and `?` stand for any characters and for one character within a name: all files that fit
    /// `/var/log/app/app-*.log` are followed, at most 100, and those that appear later from their start.
    path: OneOrMore<String>,
    /// What is looked for in each line, in this order. Default: nothing, only counted.
    #[serde(default, rename = "match")]
    rules: Vec<Rule>,
    /// How long a line alerts. `0s` is for one run. Default: `15m`.
    #[serde(default = "fifteen_minutes", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    hold: Duration,
    /// Where the first run begins: at the `end`, so that only what is written from then on counts, or at the `beginning`. Default: `end`.
    #[serde(default)]
    start: Start,
    /// How much is read in one run. If there is more, the newest is read, and it is said how much was passed over. Default: `16MiB`.
    #[serde(default = "sixteen_mib")]
    max_read: Size,
    /// The state when a file is not there: `okay`, `warning`, `bad` or `unknown`. Default: `bad`.
    #[serde(default = "bad")]
    missing: State,
    /// When it is a warning. A single range is about `matches`; a map has ranges for `matches`, `lines`, `skipped` (bytes) and `silence` (a time, for logs
    /// to which something must be written: `> 1h`). Without a word about it, it is a warning when something was `skipped`.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
}

/// What is looked for in lines.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What the line must match; `^` and `$` are its start and end, `(?i)` in front ignores case.
    regex: Pattern,
    /// What the line must not match. Default: nothing.
    except: Option<Pattern>,
    /// What such a line means: `okay`, `warning`, `bad` or `unknown`. Default: `bad`.
    #[serde(default = "bad")]
    state: State,
    /// What such lines are called in messages and metrics. Default: the regular expression.
    name: Option<String>,
}

/// Where the first run begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Start {
    /// At the end: what stands there already does not count.
    #[default]
    End,
    /// At the beginning.
    Beginning,
}

fn fifteen_minutes() -> Duration {
    Duration::from_mins(15)
}

fn sixteen_mib() -> Size {
    Size(16 * 1024 * 1024)
}

fn bad() -> State {
    State::Bad
}

/// How many rules one check may have: each may need 1 MiB of memory, and a metric.
const MAX_RULES: usize = 32;
/// How many lines are shown, and how much of each, in bytes.
const MAX_SHOWN: usize = 10;
const MAX_SHOWN_LINE: usize = 400;

impl CheckKind for Log {
    const NAME: &'static str = "log";
    const EXAMPLE: &'static str = "{ path: /var/log/app/app.log, match: [{ regex: \"ERROR|FATAL\", except: \"retrying\" }, { regex: WARN, state: warning }] }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        paths::validate(&self.path.0)?;
        if let Some(path) = self.path.0.iter().find(|path| path.ends_with('/')) {
            return Err(Invalid::at("path", format!("`{}` is a directory: write `{}*`", excerpt(path), excerpt(path))));
        }
        if self.rules.len() > MAX_RULES {
            return Err(Invalid::at("match", format!("a check has at most {MAX_RULES} rules")));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if self.rules.iter().take(index).any(|other| other.label() == rule.label()) {
                let why = format!("two rules are called `{}`: give them a `name`", rule.label());
                return Err(Invalid::at(format!("match.{}", index + 1), why));
            }
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let memory: Option<Memory> = context.recall();
        let is_first = memory.is_none();
        let Memory { positions, mut held, mut shown } = memory.unwrap_or_default();
        let (followed, hits) = self.follow(context, (!is_first).then_some(positions)).await?;
        let now = context.now.as_second();
        for (rule, hit) in self.rules.iter().zip(&hits.of_rules).filter(|(_, hit)| hit.count > 0) {
            if rule.state.is_problem() {
                held.entry(rule.label()).or_default().extend(now, hit);
            }
        }
        let hold = i64::try_from(self.hold.as_secs()).unwrap_or(i64::MAX);
        held.retain(|_, held| (held.last == now || now.saturating_sub(held.last) < hold) && held.last <= now);
        held.retain(|label, _| self.rules.iter().any(|rule| rule.label() == *label));
        shown.extend(hits.shown);
        let surplus = if held.is_empty() { shown.len() } else { shown.len().saturating_sub(MAX_SHOWN) };
        shown.drain(..surplus);
        let mut report = context.report();
        self.judge(&mut report, &followed, &hits.of_rules, is_first, context);
        for rule in &self.rules {
            if let Some(held) = held.get(&rule.label()) {
                report.find(rule.state, held.describe(&rule.label(), now));
            }
        }
        report.output = shown.join("\n");
        report.remember(&Memory { positions: followed.positions, held, shown });
        Ok(report)
    }
}

/// What one run leaves to the next.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    positions: Vec<Position>,
    held: BTreeMap<String, Held>,
    shown: Vec<String>,
}

/// A rule that alerts.
#[derive(Default, Serialize, Deserialize)]
struct Held {
    count: u64,
    /// When the last line was found, in seconds.
    last: i64,
    line: String,
}

impl Held {
    fn extend(&mut self, now: i64, hit: &Hit) {
        self.count = self.count.saturating_add(hit.count);
        self.last = now;
        self.line.clone_from(&hit.last);
    }

    fn describe(&self, label: &str, now: i64) -> String {
        let age = now.saturating_sub(self.last);
        let ago = if age > 0 { format!(" {} ago", human(age as f64, &Unit::SECONDS)) } else { String::new() };
        match self.count {
            1 => format!("{label}: 1 line{ago}: {}", self.line),
            count => format!("{label}: {count} lines, the last one{ago}: {}", self.line),
        }
    }
}

impl Rule {
    /// What it is called.
    fn label(&self) -> String {
        const MAX_LABEL: usize = 60;
        let name = self.name.as_deref().unwrap_or(self.regex.0.as_str());
        shorten(&escape_controls(name), MAX_LABEL)
    }

    fn matches(&self, line: &str) -> bool {
        self.regex.0.is_match(line) && !self.except.as_ref().is_some_and(|except| except.0.is_match(line))
    }
}

/// The lines of a rule in one run.
#[derive(Clone, Default)]
struct Hit {
    count: u64,
    last: String,
}

/// What one run found.
struct Hits {
    of_rules: Vec<Hit>,
    shown: Vec<String>,
}

impl Hits {
    fn take(&mut self, rules: &[Rule], line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some((rule, hit)) = rules.iter().zip(&mut self.of_rules).find(|(rule, _)| rule.matches(&line)) else {
            return;
        };
        hit.count += 1;
        if rule.state.is_problem() {
            let mut start = line.into_owned();
            truncate_at_char(&mut start, MAX_SHOWN_LINE);
            hit.last = excerpt(&start);
            if self.shown.len() == MAX_SHOWN {
                self.shown.remove(0);
            }
            self.shown.push(shorten(&escape_controls(&start), MAX_SHOWN_LINE));
        }
    }
}

impl Log {
    async fn follow(
        &self,
        context: &Context<'_>,
        known: Option<Vec<Position>>,
    ) -> Result<(Followed, Hits), CheckError> {
        let limit = Deadline::of(context).limit();
        let follower = Follower {
            patterns: self.path.0.clone(),
            from_end: self.start == Start::End,
            max_read: self.max_read.0 as u64,
            // What only takes long ends by itself before it counts as hung.
            deadline: Instant::now() + limit.mul_f64(0.9),
        };
        let (sysroot, rules, names) = (context.sysroot.to_owned(), self.rules.clone(), self.path.0.join(", "));
        let key = format!("{} {}", sysroot.display(), names);
        let call = move || {
            let mut hits = Hits { of_rules: vec![Hit::default(); rules.len()], shown: Vec::new() };
            let found = follower.follow(&sysroot, known.as_deref(), &mut |line| hits.take(&rules, line))?;
            Ok((found, hits))
        };
        let answer = FILES.call(&key, limit, call).await;
        answer.unwrap_or_else(|why| Err(CheckError::Unable(format!("{} {why}", excerpt(&names)))))
    }

    fn judge(&self, report: &mut Report, followed: &Followed, hits: &[Hit], is_first: bool, context: &Context<'_>) {
        for pattern in &followed.missing {
            let text = if paths::has_wildcard(pattern) { "no file fits" } else { "there is no file" };
            report.find(self.missing, format!("{text} {}", excerpt(pattern)));
        }
        for why in &followed.failed {
            let hint = "the user of monchero must be able to read it (often: be in the group `adm`)";
            report.find(State::Unknown, format!("{}; {hint}", escape_controls(why)));
        }
        if followed.behind > 0 {
            let behind = human(followed.behind as f64, &Unit::BYTES);
            report.find(
                State::Warning,
                format!("{behind} were not read in time and are left for the next run: raise `timeout`"),
            );
            report.again = Some(Duration::from_secs(5));
        }
        let (rules, okay) = (self.rules.iter().zip(hits), Thresholds::default());
        let problems = rules.clone().filter(|(rule, _)| rule.state.is_problem());
        let matches: u64 = problems.map(|(_, hit)| hit.count).sum();
        let mut values =
            vec![("matches", matches as f64), ("lines", followed.lines as f64), ("skipped", followed.skipped as f64)];
        let now = context.now.as_millisecond() as f64 / 1e3;
        values.extend(followed.newest.map(|newest| ("silence", now - newest)));
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(report, "", &values, || {
            let lines = counted(followed.lines, "line");
            let of = if followed.files == 1 { String::new() } else { format!(" of {} files", followed.files) };
            let first = if is_first && self.start == Start::End { ", followed from here on" } else { "" };
            let gone = match followed.gone {
                0 => String::new(),
                1 => ", a file was removed, packed or truncated".to_owned(),
                count => format!(", {count} files were removed, packed or truncated"),
            };
            format!("{lines}{of} read, {matches} matched{first}{gone}")
        });
        let counts = Judge::new(&FIELDS[..1], &okay, &okay);
        let mut metrics = Report::default();
        for (rule, hit) in rules {
            counts.item(&mut metrics, &rule.label(), &[("matches", hit.count as f64)], String::new);
        }
        report.metrics.append(&mut metrics.metrics);
    }
}
