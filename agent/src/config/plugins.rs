//! Directories whose programs are checks: each executable file is one, named by its file name.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monchero_core::definition::Place;
use monchero_core::duration;
use monchero_core::node::{Key, Node, Span, Value};
use monchero_core::order;
use monchero_core::text::{escape_controls, quote};

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
    let written = loader.settings.as_ref().and_then(|root| root.get("plugin_directories")).cloned();
    match (&settings.plugin_directories, written) {
        (Some(directories), Some(Node { value: Value::List(nodes), .. })) => {
            // A relative path was told as a mistake of the settings.
            for (directory, node) in
                directories.iter().zip(&nodes).filter(|(directory, _)| directory.path.is_absolute())
            {
                load_directory(loader, directory, Some(node));
            }
        }
        // What is written could not be read, and it is told why.
        (_, Some(_)) => loader.incomplete = true,
        (_, None) => {
            let path = loader.options.config.path.join("plugins.d");
            if path.is_dir() {
                load_directory(
                    loader,
                    &PluginDirectory { path, format: None, defaults: CheckSettings::default() },
                    None,
                );
            }
        }
    }
}

/// `written` is what `monchero.yaml` says about the directory.
fn load_directory(loader: &mut Loader<'_>, directory: &PluginDirectory, written: Option<&Node>) {
    let listed = programs(&directory.path).and_then(|own| Ok((own, sub_directories(&directory.path)?)));
    let (own, below) = match listed {
        Ok(listed) => listed,
        Err(error) => return loader.report_file(&directory.path, error),
    };
    let file = loader.sources.add(Source::new(directory.path.to_string_lossy().into_owned(), String::new()));
    let span = Span { file, start: 0, end: 0 };
    let subject = format!("plugin directory {}", quote(&directory.path.to_string_lossy()));
    let defaults = written.and_then(|node| node.get("defaults")).cloned().unwrap_or_else(|| Node::empty_map(span));
    let format = written.and_then(|node| node.get("format")).cloned().unwrap_or_else(|| scalar(FORMAT, span));
    let base = loader.layer(defaults, directory.defaults.clone(), Some(&subject));
    for path in &own {
        program(loader, &format, path, [&Layer::default(), &base], span);
    }
    for path in below {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(interval) = interval_of(&name) else {
            let shown = escape_controls(&path.to_string_lossy());
            loader.warnings.push(format!("`{shown}`: the name is no span of time, so nothing in this directory runs"));
            continue;
        };
        let own = CheckSettings { interval: Some(interval), ..CheckSettings::default() };
        let file = loader.sources.add(Source::new(path.to_string_lossy().into_owned(), String::new()));
        let span = Span { file, ..span };
        let written = Value::Scalar { text: name.into(), quoted: false };
        let written = vec![(Key { span, name: Box::from("interval") }, Node { span, value: written })];
        let own = loader.layer(Node { span, value: Value::Map(written) }, own, None);
        match programs(&path) {
            Ok(programs) => programs.iter().for_each(|path| program(loader, &format, path, [&own, &base], span)),
            Err(error) => loader.report_file(&path, error),
        }
    }
}

fn scalar(text: &str, span: Span) -> Node {
    Node { span, value: Value::Scalar { text: Box::from(text), quoted: true } }
}

/// Makes a check of a program. `layers` are what its directory says about it, the nearest first.
fn program(loader: &mut Loader<'_>, format: &Node, path: &Path, layers: [&Layer; 2], span: Span) {
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
    let command = Node { span, value: Value::List(vec![scalar(text, span)]) };
    let entries = [("command", command), ("format", format.clone())];
    let entries = entries.into_iter().map(|(key, node)| (Key { span, name: Box::from(key) }, node)).collect();
    let source = Place { file: Arc::from(escape_controls(text)), line: None };
    let plan = Plan { name, kind, settings: Node { span, value: Value::Map(entries) }, source, fate: Fate::Runs };
    let fetcher = loader.fetcher(span.file);
    let global = loader.global.clone();
    let [own, base] = layers;
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
    order::sort_by(&mut found, |a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
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
