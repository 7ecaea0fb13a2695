//! Directories whose programs are checks: each executable file is one, named by its file name.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monchero_core::duration;
use monchero_core::node::{Key, Node, Span, Value};
use monchero_core::text::escape_controls;

use super::checks::{Fate, Layer, Plan};
use super::files::{FileError, Source, is_backup_name};
use super::load::{Loader, Sort};
use super::settings::{CheckSettings, MIN_INTERVAL, PluginDirectory, Settings};

/// The kind that runs a program. This is the only name of a kind in the loader: a directory of programs needs some kind to run them, and what
/// that kind does with them is its own affair.
const KIND: &str = "plugin";
/// What the programs print unless the directory says otherwise.
const FORMAT: &str = "nagios";
/// How many entries of a directory are looked at.
const MAX_ENTRIES: usize = 20_000;

/// Makes checks of the programs in the plugin directories.
pub(crate) fn load(loader: &mut Loader<'_>, settings: &Settings) {
    if let Some(directories) = &settings.plugin_directories {
        // A relative path was told as a mistake of the settings.
        for directory in directories.iter().filter(|directory| directory.path.is_absolute()) {
            load_directory(loader, directory);
        }
    } else {
        let path = loader.options.config.path.join("plugins.d");
        if path.is_dir() {
            load_directory(loader, &PluginDirectory { path, format: None, defaults: CheckSettings::default() });
        }
    }
}

fn load_directory(loader: &mut Loader<'_>, directory: &PluginDirectory) {
    let listed = programs(&directory.path).and_then(|own| Ok((own, sub_directories(&directory.path)?)));
    let (own, below) = match listed {
        Ok(listed) => listed,
        Err(error) => return loader.report_file(&directory.path, error),
    };
    let file = loader.sources.add(Source::new(directory.path.to_string_lossy().into_owned(), String::new()));
    let span = Span { file, start: 0, end: 0 };
    let base = loader.layer(Node::empty_map(span), directory.defaults.clone(), None);
    for path in &own {
        program(loader, directory, path, &base, &Layer::default(), span);
    }
    for path in below {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(interval) = interval_of(&name) else {
            let shown = escape_controls(&path.to_string_lossy());
            loader.warnings.push(format!("`{shown}`: the name is no span of time, so nothing in this directory runs"));
            continue;
        };
        let own = CheckSettings { interval: Some(interval), ..CheckSettings::default() };
        let own = loader.layer(Node::empty_map(span), own, None);
        match programs(&path) {
            Ok(programs) => programs.iter().for_each(|path| program(loader, directory, path, &base, &own, span)),
            Err(error) => loader.report_file(&path, error),
        }
    }
}

fn program(loader: &mut Loader<'_>, directory: &PluginDirectory, path: &Path, base: &Layer, own: &Layer, span: Span) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let subject = format!("check `{}`", escape_controls(&name));
    let Some(kind) = loader.options.kinds.checks.iter().find(|kind| kind.name == KIND) else {
        loader.report_at(None, span, "there are programs, but this build cannot run plugins", None);
        return;
    };
    let Some(text) = path.to_str() else {
        loader.report_at(Some(&subject), span, "the name of the program is not UTF-8", Some("rename it".to_owned()));
        return;
    };
    let Some(name) = loader.take_name(&name, span, Sort::Check, &subject) else { return };
    let scalar = |text: &str| Node { span, value: Value::Scalar { text: Box::from(text), quoted: true } };
    let command = Node { span, value: Value::List(vec![scalar(text)]) };
    let format = scalar(directory.format.as_deref().unwrap_or(FORMAT));
    let entries = [("command", command), ("format", format)];
    let entries = entries.into_iter().map(|(key, node)| (Key { span, name: Box::from(key) }, node)).collect();
    let source: Arc<str> = Arc::from(escape_controls(text));
    let plan = Plan { name, kind, settings: Node { span, value: Value::Map(entries) }, source, fate: Fate::Runs };
    let fetcher = loader.fetcher(span.file);
    let global = loader.global.clone();
    loader.define(plan, [own, base, &*global], &subject, &fetcher);
}

/// The interval that the name of a sub-directory stands for.
fn interval_of(name: &str) -> Option<Duration> {
    let seconds = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let interval = if seconds { duration::parse(&format!("{name}s")) } else { duration::parse(name) };
    interval.ok().filter(|interval| *interval >= MIN_INTERVAL)
}

/// The executable regular files of a directory, sorted; hidden ones and backups are skipped.
pub(crate) fn programs(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    entries(directory, |metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

fn sub_directories(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    entries(directory, fs::Metadata::is_dir)
}

fn entries(directory: &Path, wanted: impl Fn(&fs::Metadata) -> bool) -> Result<Vec<PathBuf>, FileError> {
    let error = |message: String| FileError { message, help: None, permissions: false };
    let failed = |why: std::io::Error| error(format!("cannot read the directory: {why}"));
    let mut found = Vec::new();
    for (count, entry) in fs::read_dir(directory).map_err(failed)?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(error(format!("there are more than {MAX_ENTRIES} files")));
        }
        let path = entry.map_err(failed)?.path();
        let skipped = path.file_name().is_none_or(|name| is_backup_name(&name.to_string_lossy()));
        // A link that leads nowhere is not there.
        if !skipped && fs::metadata(&path).is_ok_and(|metadata| wanted(&metadata)) {
            found.push(path);
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_are_intervals() {
        assert_eq!(interval_of("5m"), Some(Duration::from_secs(300)));
        assert_eq!(interval_of("300"), Some(Duration::from_secs(300)));
        assert_eq!(interval_of("100ms"), Some(Duration::from_millis(100)));
        for name in ["", "0", "lib", "10ms", "-5", "99999999999999999999"] {
            assert_eq!(interval_of(name), None, "{name}");
        }
    }
}
