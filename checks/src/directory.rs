//! `directory`: how many files directories hold, how much, and how old: spools, queues, backups.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge};
use monchero_core::quantity::{Unit, human};
use monchero_core::text::{escape_controls, glob};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::host;
use crate::net::{Deadline, io_text};
use crate::paths::{self, FILES};
use crate::settings::{OneOrMore, excerpt};

const FIELDS: &[Field<'static>] = &[
    Field::number("files", "", "How many files it holds, or everything else that is no directory."),
    Field::number("directories", "", "How many directories it holds."),
    Field::number("size", "B", "The sizes of the files together."),
    Field::number(
        "newest",
        "s",
        "How long ago the content of the file was changed that was changed last; not measured without files.",
    ),
    Field::number(
        "oldest",
        "s",
        "How long ago the content of the file was changed that was left alone for the longest time; not measured without files.",
    ),
];

/// What directories hold: how many files, how much, the newest and the oldest of them. For queues that must not grow (`warning: { files: 100,
/// oldest: "> 1h" }`), and backups that must come (`files: "*.sql.gz", bad: { newest: "> 25h", size: "< 1GiB" }`).
///
/// A directory that does not exist is bad. If no file is there, its age cannot be told: then a limit for `newest` alerts. A directory that could not be read to its end
/// in the time that the check has, or for lack of permission, is unknown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    /// The directories, one or a list. `*` and `?` stand for any characters and for one character within a name, and not for the dot at the start of a hidden
    /// name: `/home/*/Maildir/new`.
    path: OneOrMore<String>,
    /// Which files count, by their names: a pattern or a list of them, `[*.log, *.gz]`. `!` in front means all others. Default: all, hidden ones too.
    files: Option<OneOrMore<String>>,
    /// How many levels of directories are looked at: 1 is the directory itself, 2 the directories in it too, up to 64. Symbolic links are not
    /// followed. Default: 1.
    #[serde(default = "one")]
    depth: u8,
    /// Which of the directories are looked at: globs on the path, or conditions on fields. Default: all.
    #[serde(default)]
    only: Filter,
    /// Which of the directories are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `files`; a map has ranges for `files`, `directories`, `size` (bytes), `newest` and `oldest` (times).
    /// Default: never.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
}

fn one() -> u8 {
    1
}

const MAX_DEPTH: u8 = 64;
/// Above so many directories, each has no metrics of its own.
const MAX_MEASURED: usize = 20;
/// How many entries are counted in one directory and below: each costs a system call, and so many are minutes.
const MAX_ENTRIES: u64 = 5_000_000;
/// How many directories wait to be read at most: their names are in memory.
const MAX_WAITING: usize = 10_000;

impl CheckKind for Directory {
    const NAME: &'static str = "directory";
    const EXAMPLE: &'static str =
        "{ path: /var/backups/db, files: \"*.sql.gz\", bad: { newest: \"> 25h\", size: \"< 1MiB\" } }";
    const SHORT_FOR: Option<&'static str> = Some("path");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        paths::validate(&self.path.0)?;
        if !(1..=MAX_DEPTH).contains(&self.depth) {
            return Err(Invalid::at("depth", format!("the depth is from 1 to {MAX_DEPTH}")));
        }
        let patterns = self.files.iter().flat_map(|files| &files.0);
        if let Some(pattern) =
            patterns.clone().find(|pattern| pattern.trim_start_matches('!').is_empty() || pattern.contains('/'))
        {
            return Err(Invalid::at("files", format!("`{}` fits no name of a file", escape_controls(pattern))));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let answers = self.look(context).await;
        let count: usize = answers.iter().map(|answer| answer.as_ref().map_or(0, Vec::len)).sum();
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        let judge = if count > MAX_MEASURED { judge.without_metrics() } else { judge };
        for (pattern, answer) in self.path.0.iter().zip(answers) {
            match answer {
                Err(why) => report.find(State::Unknown, escape_controls(&why.to_string())),
                Ok(found) if found.is_empty() => {
                    report.find(State::Bad, format!("no directory fits {}", excerpt(pattern)));
                }
                Ok(found) => {
                    for (path, look) in found {
                        self.judge(&judge, &mut report, &path.to_string_lossy(), &look, context);
                    }
                }
            }
        }
        judge.end(&mut report, "directory");
        Ok(report)
    }
}

impl Directory {
    /// Looks at the directories of each pattern, so that one that hangs delays no other.
    async fn look(&self, context: &Context<'_>) -> Vec<Result<Vec<(PathBuf, Look)>, CheckError>> {
        let limit = Deadline::of(context).limit();
        // Those that only take long end by themselves before they count as hung.
        let deadline = Instant::now() + limit.mul_f64(0.9);
        let patterns: Vec<String> = self.files.as_ref().map(|files| files.0.clone()).unwrap_or_default();
        let mut looks = JoinSet::new();
        for (index, pattern) in self.path.0.iter().enumerate() {
            let (sysroot, pattern, name) = (context.sysroot.to_owned(), pattern.clone(), pattern.clone());
            let key = host::under(&sysroot, Path::new(&pattern)).to_string_lossy().into_owned();
            let walk = Walk { patterns: patterns.clone(), depth: self.depth, deadline };
            let call = move || {
                let found = paths::expand(&sysroot, &pattern, deadline)?;
                // A pattern may fit files beside the directories that are meant.
                let is_meant = |path: &PathBuf| !paths::has_wildcard(&pattern) || host::under(&sysroot, path).is_dir();
                Ok(found
                    .into_iter()
                    .filter(is_meant)
                    .map(|path| {
                        let look = walk.walk(&host::under(&sysroot, &path));
                        (path, look)
                    })
                    .collect())
            };
            looks.spawn(async move {
                let answer = FILES.call(&key, limit, call).await;
                (index, answer.unwrap_or_else(|why| Err(CheckError::Unable(format!("{name} {why}")))))
            });
        }
        let mut answers = looks.join_all().await;
        order::sort_by_key(&mut answers, |(index, _)| *index);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn judge(&self, judge: &Judge<'_>, report: &mut Report, name: &str, look: &Look, context: &Context<'_>) {
        let shown = escape_controls(name);
        let held = match look {
            Look::Content(held) => held,
            Look::Missing => return report.find(State::Bad, format!("{shown} does not exist")),
            Look::NoDirectory => return report.find(State::Bad, format!("{shown} is no directory")),
        };
        if let Some(why) = &held.incomplete {
            let files = held.files;
            let text = format!("{shown} was not seen as a whole: {} ({files} files were seen)", escape_controls(why));
            return report.find(State::Unknown, text);
        }
        let now = context.now.as_millisecond() as f64 / 1e3;
        let mut values =
            vec![("files", held.files as f64), ("directories", held.directories as f64), ("size", held.size as f64)];
        values.extend(held.newest.map(|time| ("newest", now - time)));
        values.extend(held.oldest.map(|time| ("oldest", now - time)));
        let is_kept = judge.item(report, name, &values, || {
            let plural = if held.files == 1 { "" } else { "s" };
            let size = human(held.size as f64, &Unit::BYTES);
            let newest = held.newest.map(|time| format!(", the newest {} old", human(now - time, &Unit::SECONDS)));
            format!("{} file{plural}, {size}{}", held.files, newest.unwrap_or_default())
        });
        let asks = |thresholds: &Thresholds| thresholds.names().any(|field| field == "newest");
        if is_kept && held.newest.is_none() {
            let state = [(&self.bad, State::Bad), (&self.warning, State::Warning)]
                .into_iter()
                .find(|(thresholds, _)| asks(thresholds));
            if let Some((_, state)) = state {
                let which = if self.files.is_some() { " that counts (`files`)" } else { "" };
                report.find(state, format!("{shown} holds no file{which}, so there is no newest one"));
            }
        }
    }
}

/// What one path showed.
enum Look {
    Content(Content),
    Missing,
    NoDirectory,
}

/// What a directory holds.
#[derive(Debug, Default)]
struct Content {
    files: u64,
    directories: u64,
    size: u64,
    /// When the newest and the oldest file were changed, in seconds.
    newest: Option<f64>,
    oldest: Option<f64>,
    /// Why there is more than that.
    incomplete: Option<String>,
}

/// How directories are walked through. It may hang.
struct Walk {
    patterns: Vec<String>,
    depth: u8,
    deadline: Instant,
}

impl Walk {
    fn walk(&self, top: &Path) -> Look {
        let mut content = Content::default();
        let mut waiting = vec![(top.to_owned(), 1)];
        while let Some((folder, depth)) = waiting.pop() {
            if let Err(error) = self.read(&folder, depth, &mut content, &mut waiting) {
                match error.kind() {
                    std::io::ErrorKind::NotFound if depth == 1 => return Look::Missing,
                    std::io::ErrorKind::NotADirectory if depth == 1 => return Look::NoDirectory,
                    // It was removed in the meantime.
                    _ if paths::is_missing(&error) => {}
                    _ => {
                        let name = folder.strip_prefix(top).unwrap_or(&folder).display().to_string();
                        let of = if name.is_empty() { String::new() } else { format!("`{name}` in it: ") };
                        content.incomplete.get_or_insert_with(|| format!("{of}{}", io_text(&error)));
                    }
                }
            }
            if content.incomplete.is_some() {
                break;
            }
        }
        Look::Content(content)
    }

    fn read(
        &self,
        folder: &Path,
        depth: u8,
        content: &mut Content,
        waiting: &mut Vec<(PathBuf, u8)>,
    ) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let stop = if Instant::now() >= self.deadline {
                Some("the time was over: raise `timeout`".to_owned())
            } else if content.files + content.directories >= MAX_ENTRIES {
                Some(format!("it holds more than {MAX_ENTRIES} entries"))
            } else if waiting.len() >= MAX_WAITING {
                Some(format!("more than {MAX_WAITING} directories wait to be read: lower `depth`"))
            } else {
                None
            };
            if stop.is_some() {
                content.incomplete = stop;
                return Ok(());
            }
            if entry.file_type()?.is_dir() {
                content.directories += 1;
                if depth < self.depth {
                    waiting.push((entry.path(), depth + 1));
                }
            } else if self.counts(&entry.file_name().to_string_lossy()) {
                match entry.metadata() {
                    Ok(metadata) => content.add(&metadata),
                    // It was removed in the meantime.
                    Err(error) if paths::is_missing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn counts(&self, name: &str) -> bool {
        let (not, yes): (Vec<&String>, Vec<&String>) =
            self.patterns.iter().partition(|pattern| pattern.starts_with('!'));
        (yes.is_empty() || yes.iter().any(|pattern| glob(pattern, name)))
            && !not.iter().any(|pattern| glob(pattern.trim_start_matches('!'), name))
    }
}

impl Content {
    fn add(&mut self, metadata: &std::fs::Metadata) {
        let changed = metadata.mtime() as f64 + metadata.mtime_nsec() as f64 / 1e9;
        self.files += 1;
        self.size = self.size.saturating_add(metadata.size());
        self.newest = Some(self.newest.map_or(changed, |newest| newest.max(changed)));
        self.oldest = Some(self.oldest.map_or(changed, |oldest| oldest.min(changed)));
    }
}
