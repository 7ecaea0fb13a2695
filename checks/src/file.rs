//! `file`: whether files are there, and are as they must be.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::net::Deadline;
use crate::paths::{self, FILES};
use crate::settings::{OneOrMore, Size, TextMatch, excerpt};
use look::{Look, Seen, Wanted};

const FIELDS: &[Field<'static>] = &[
    Field::number("age", "s", "How long ago its content was changed."),
    Field::number("size", "B", "Its size."),
    Field::text("mode", "Its permissions as four octal digits: `0640`."),
    Field::text("owner", "The name of its owner, or the number if the owner does not stand in `/etc/passwd`."),
    Field::text("group", "The name of its group, or the number if the group does not stand in `/etc/group`."),
    Field::text("type", "`file`, `directory`, `pipe`, `socket` or `device`; of a symbolic link, what it leads to."),
    Field::text("target", "Where it leads, if it is a symbolic link."),
    Field::text(
        "sha256",
        "The checksum of its content, in small hexadecimal digits. It is computed only if something is said about it.",
    ),
];

/// Whether files are there, and their age, size, permissions, owner and content.
///
/// A file that does not exist is bad, as is a pattern that nothing fits, and a symbolic link that leads nowhere. Of symbolic links, all fields are
/// those of the file that they lead to. A file that cannot be looked at is unknown. With up to 20 files, age and size are metrics.
///
/// What must be so is said by conditions: `bad: { owner: "!root", mode: "!06?0", size: "> 1GiB" }` is bad unless the owner is root and the
/// permissions are like 0600, 0640, and when the size is above 1 GiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The files, one or a list. `*` and `?` stand for any characters and for one character within a name, and not for the dot at the start of a hidden
    /// name: `/var/backups/*/dump-????.sql`. At most 1,000 files may fit.
    path: OneOrMore<String>,
    /// Whether the files must not exist: then each that does is bad. Default: `false`.
    #[serde(default)]
    absent: bool,
    /// What the content must hold, or else it is bad: a text, or `{ regex: .. }`. Default: anything.
    contains: Option<TextMatch>,
    /// What the content must not hold, or else it is bad, written as `contains` is. Default: nothing.
    lacks: Option<TextMatch>,
    /// How much of the start of a file is read for `contains` and `lacks`, at most 64MiB. Default: `1MiB`.
    #[serde(default = "one_mib")]
    max_read: Size,
    /// The state when the content is not what it was in the last run: `okay`, `warning` or `bad`. The checksum is compared; it is computed anew
    /// only when the size or the time of the last change are not the same. Default: `okay`.
    #[serde(default)]
    changed: State,
    /// How long a change is told. Default: `15m`.
    #[serde(default = "fifteen_minutes", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    hold: Duration,
    /// Which of the files are looked at: globs on the path, or conditions on fields (`{ type: file, size: "> 0B" }`). Default: all.
    #[serde(default)]
    only: Filter,
    /// Which of the files are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When a file is a warning. A single range is about `age`; a map has ranges for `age` (a time) and `size` (bytes), and texts for `mode`, `owner`,
    /// `group`, `type`, `target` and `sha256`. Default: never.
    #[serde(default)]
    warning: Thresholds,
    /// When a file is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
}

fn one_mib() -> Size {
    Size(1024 * 1024)
}

fn fifteen_minutes() -> Duration {
    Duration::from_mins(15)
}

/// Up to how many files each has metrics of its own.
const MAX_MEASURED: usize = 20;
/// How many bytes are remembered at most: a little less than a check may.
const MAX_REMEMBERED: usize = monchero_core::report::MAX_MEMORY - 4096;
/// How many bytes a remembered file needs besides its path.
const SIZE_OF_KNOWN: usize = 200;

impl CheckKind for File {
    const NAME: &'static str = "file";
    const EXAMPLE: &'static str =
        "{ path: /etc/shadow, changed: warning, bad: { owner: \"!root\", mode: \"!0640\", size: \"< 1B\" } }";
    const SHORT_FOR: Option<&'static str> = Some("path");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        paths::validate(&self.path.0)?;
        if self.changed == State::Unknown {
            return Err(Invalid::at("changed", "a change is `okay`, `warning` or `bad`".to_owned()));
        }
        for (name, is_set) in [
            ("contains", self.contains.is_some()),
            ("lacks", self.lacks.is_some()),
            ("changed", self.changed.is_problem()),
        ] {
            if self.absent && is_set {
                return Err(Invalid::at(name, "a file that must be absent has no content".to_owned()));
            }
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let mut memory: Memory = context.recall().unwrap_or_default();
        let mut answers = self.look(context, &memory).await;
        let count: usize = answers.iter().map(|answer| answer.as_ref().map_or(0, Vec::len)).sum();
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        let judge = if count > MAX_MEASURED { judge.without_metrics() } else { judge };
        let mut next = Memory::default();
        let mut seen = BTreeSet::new();
        for (pattern, answer) in self.path.0.iter().zip(&mut answers) {
            match answer {
                Err(why) => report.find(State::Unknown, escape_controls(&why.to_string())),
                Ok(files) if files.is_empty() && self.absent => {
                    report.find(State::Okay, format!("nothing fits {}, as it must be", excerpt(pattern)));
                }
                Ok(files) if files.is_empty() => report.find(State::Bad, format!("no file fits {}", excerpt(pattern))),
                Ok(files) => {
                    for (path, look) in files.drain(..) {
                        // Several patterns may fit one file.
                        if !seen.insert(path.clone()) {
                            continue;
                        }
                        let name = path.to_string_lossy();
                        let known = memory.0.remove(&*name);
                        let known = self.judge(&judge, &mut report, &name, look, known, context);
                        next.0.extend(known.map(|known| (name.into_owned(), known)));
                    }
                }
            }
        }
        judge.end(&mut report, "file");
        if self.needs_checksum() {
            self.remember(&mut report, next);
        }
        Ok(report)
    }
}

/// What is known of each file from the last run.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory(BTreeMap<String, Known>);

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    identity: String,
    sha256: String,
    /// When a change was seen last, in seconds.
    changed: Option<i64>,
}

impl File {
    fn needs_checksum(&self) -> bool {
        self.changed.is_problem() || self.warning.names().chain(self.bad.names()).any(|name| name == "sha256")
    }

    /// Looks at the files of each pattern, so that one that hangs delays no other.
    async fn look(
        &self,
        context: &Context<'_>,
        memory: &Memory,
    ) -> Vec<Result<Vec<(std::path::PathBuf, Look)>, CheckError>> {
        let limit = Deadline::of(context).limit();
        let wanted = Wanted {
            contains: self.contains.clone(),
            lacks: self.lacks.clone(),
            max_read: self.max_read.0,
            sha256: self.needs_checksum(),
            // Those that only take long end by themselves before they count as hung.
            deadline: Instant::now() + limit.mul_f64(0.9),
        };
        let known: BTreeMap<String, (String, String)> = memory
            .0
            .iter()
            .map(|(path, known)| (path.clone(), (known.identity.clone(), known.sha256.clone())))
            .collect();
        let mut looks = JoinSet::new();
        for (index, pattern) in self.path.0.iter().enumerate() {
            let (sysroot, pattern) = (context.sysroot.to_owned(), pattern.clone());
            let (wanted, known) = (wanted.clone(), known.clone());
            let key = crate::host::under(&sysroot, std::path::Path::new(&pattern)).to_string_lossy().into_owned();
            looks.spawn(async move {
                let name = pattern.clone();
                let answer = FILES.call(&key, limit, move || look::look_all(&sysroot, &pattern, &wanted, &known)).await;
                (index, answer.unwrap_or_else(|why| Err(CheckError::Unable(format!("{name} {why}")))))
            });
        }
        let mut answers = looks.join_all().await;
        order::sort_by_key(&mut answers, |(index, _)| *index);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Judges a file; gives back what is to be remembered of it.
    fn judge(
        &self,
        judge: &Judge<'_>,
        report: &mut Report,
        name: &str,
        look: Look,
        known: Option<Known>,
        context: &Context<'_>,
    ) -> Option<Known> {
        let shown = escape_controls(name);
        let (state, text) = match look {
            Look::Seen(seen) if !self.absent => return self.judge_seen(judge, report, name, &seen, known, context),
            Look::Seen(_) => (State::Bad, format!("{shown} exists")),
            Look::Missing if self.absent => (State::Okay, format!("{shown} does not exist, as it must be")),
            Look::Missing => (State::Bad, format!("{shown} does not exist")),
            Look::Dangling(target) => {
                (State::Bad, format!("{shown} is a symbolic link to {}, which does not exist", excerpt(&target)))
            }
            Look::Failed(why) => (State::Unknown, format!("{shown} cannot be looked at: {why}")),
        };
        // Nothing is known of it that `only` could ask for.
        if judge.filtered(&Filter::default(), &self.except).wants(name, &[]) {
            report.find(state, text);
        }
        known
    }

    fn judge_seen(
        &self,
        judge: &Judge<'_>,
        report: &mut Report,
        name: &str,
        seen: &Seen,
        known: Option<Known>,
        context: &Context<'_>,
    ) -> Option<Known> {
        let age = context.now.as_millisecond() as f64 / 1e3 - seen.changed;
        let mut values: Vec<(&str, Value<'_>)> = vec![
            ("age", age.into()),
            ("size", (seen.size as f64).into()),
            ("mode", Value::Text(&seen.mode)),
            ("owner", Value::Text(&seen.owner)),
            ("group", Value::Text(&seen.group)),
            ("type", seen.kind.into()),
        ];
        values.extend(seen.target.as_deref().map(|target| ("target", Value::Text(target))));
        let sha256 = seen.sha256.as_ref().and_then(|sha256| sha256.as_deref().ok());
        values.extend(sha256.map(|sha256| ("sha256", Value::Text(sha256))));
        let next = sha256.map(|sha256| Known {
            identity: seen.identity.clone(),
            sha256: sha256.to_owned(),
            changed: known
                .as_ref()
                .and_then(|known| if known.sha256 == sha256 { known.changed } else { Some(context.now.as_second()) }),
        });
        let kept = judge.item(report, name, &values, || summary(seen, age));
        if kept {
            let changed = next.as_ref().or(known.as_ref()).and_then(|known| known.changed);
            self.judge_content(report, &escape_controls(name), seen, changed, context.now.as_second());
        }
        next.or(known)
    }

    fn judge_content(&self, report: &mut Report, name: &str, seen: &Seen, changed: Option<i64>, now: i64) {
        if let (Some(false), Some(contains)) = (seen.contains, &self.contains) {
            report.find(State::Bad, format!("{name} does not contain {contains}{}", self.within(seen)));
        }
        if let (Some(false), Some(lacks)) = (seen.lacks, &self.lacks) {
            report.find(State::Bad, format!("{name} contains {lacks}"));
        }
        if let Some(why) = &seen.unread {
            report.find(State::Unknown, format!("the content of {name} cannot be read: {why}"));
        }
        if let Some(Err(why)) = &seen.sha256 {
            report.find(State::Unknown, format!("the checksum of {name} cannot be computed: {why}"));
        }
        let hold = i64::try_from(self.hold.as_secs()).unwrap_or(i64::MAX);
        if let Some(span) = changed.map(|changed| now.saturating_sub(changed)).filter(|span| *span <= hold)
            && self.changed.is_problem()
        {
            let when = if span <= 0 { String::new() } else { format!(" {} ago", human(span as f64, &Unit::SECONDS)) };
            report.find(self.changed, format!("{name} was changed{when}"));
        }
    }

    /// That only the start of a file was read.
    fn within(&self, seen: &Seen) -> String {
        let limit = self.max_read.0 as f64;
        if seen.size as f64 > limit {
            format!(" in its first {} (`max_read`)", human(limit, &Unit::BYTES))
        } else {
            String::new()
        }
    }

    /// Keeps as much as fits.
    fn remember(&self, report: &mut Report, mut next: Memory) {
        let mut size = 0;
        let all = next.0.len();
        next.0.retain(|path, _| {
            // Each byte of a path may need two in JSON, or six if it is a control character, which is rare.
            size += 2 * path.len() + SIZE_OF_KNOWN;
            size <= MAX_REMEMBERED
        });
        if next.0.len() < all && self.changed.is_problem() {
            report.find(
                State::Warning,
                format!("only {} of {all} files are watched for changes: name fewer in one check", next.0.len()),
            );
        }
        report.remember(&next);
    }
}

fn summary(seen: &Seen, age: f64) -> String {
    let link = seen.target.as_ref().map(|target| format!(", a link to {}", excerpt(target))).unwrap_or_default();
    let kind = if seen.kind == "file" { String::new() } else { format!("{}, ", seen.kind) };
    let (size, age) = (human(seen.size as f64, &Unit::BYTES), human(age, &Unit::SECONDS));
    let (owner, group) = (escape_controls(&seen.owner), escape_controls(&seen.group));
    format!("{kind}{size}, changed {age} ago, {} {owner}:{group}{link}", seen.mode)
}
