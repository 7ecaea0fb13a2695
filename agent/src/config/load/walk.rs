//! The files of the configuration: which there are, and what stands in each.

use std::path::Path;
use std::rc::Rc;

use monchero_core::Invalid;
use monchero_core::mask::Recorder;
use monchero_core::node::{self, Key, Node, SettingsError, Span, Value};
use monchero_core::text::escape_controls;

use super::super::checks::Layer;
use super::super::files::{self, FileError, MAX_TOTAL, Source};
use super::super::paths::Reason;
use super::super::read::read_all;
use super::super::settings::{CheckSettings, Settings};
use super::super::yaml;
use super::Loader;

/// The keys of a file in `conf.d`.
const FILE_KEYS: [&str; 5] = ["defaults", "checks", "actions", "downtimes", "summaries"];

impl Loader<'_> {
    /// Reads a file into a tree. None if that is not possible, or not safe; then the reason is noted.
    fn read(&mut self, path: &Path, may_allow: bool) -> Option<(yaml::Parsed, u32)> {
        let opened = match files::read(path) {
            Ok(opened) => opened,
            Err(error) => {
                self.report_file(path, error);
                return None;
            }
        };
        if let Some(error) = opened.untrusted {
            if !(may_allow && self.allow_insecure) {
                self.report_file(path, error);
                return None;
            }
            self.warnings.push(format!("{}: {} (`insecure_permissions: allow`)", self.shown_name(path), error.message));
        }
        self.total += opened.text.len();
        if self.total > MAX_TOTAL {
            let message = format!("the files of the configuration have more than {MAX_TOTAL} bytes together");
            self.report_file(path, FileError { message, help: None, permissions: false });
            return None;
        }
        let mut source = Source::new(self.shown_name(path), opened.text);
        source.others_read = opened.others_read;
        self.parse(source)
    }

    /// Makes a tree of a text. None if it is no YAML; then the reason is noted.
    pub(super) fn parse(&mut self, source: Source) -> Option<(yaml::Parsed, u32)> {
        let file = self.sources.add(source);
        let text = self.sources.get(file).map_or("", |source| source.text.as_str());
        match yaml::parse(text, file) {
            Ok(parsed) => Some((parsed, file)),
            Err(error) => {
                self.incomplete = true;
                self.no_yaml.insert(file);
                self.report(None, error);
                None
            }
        }
    }

    pub(super) fn settings_file(&mut self) -> Settings {
        let config = self.options.config;
        if let Err(error) = files::check_directory(&config.path) {
            self.report_file(&config.path, error);
        } else if matches!(config.reason, Reason::Option(_) | Reason::Environment(_)) && !config.path.exists() {
            let help = Some(format!("its path comes from the {}", config.reason));
            self.report_file(
                &config.path,
                FileError { message: "the directory does not exist".to_owned(), help, permissions: false },
            );
        }
        let path = config.path.join("monchero.yaml");
        if path.symlink_metadata().is_err() {
            return Settings::default();
        }
        let Some((parsed, file)) = self.read(&path, false) else { return Settings::default() };
        for error in parsed.doubled {
            self.report(None, error);
        }
        if !matches!(parsed.root.value, Value::Map(_) | Value::Null) {
            let message = format!("{} stands where a map of settings is expected", parsed.root.describe());
            self.report_at(None, parsed.root.span, message, Some("write `host: NAME`, for example".to_owned()));
            return Settings::default();
        }
        let fetcher = self.fetcher(file);
        let secrets = Recorder::new(&fetcher);
        let (settings, errors) = read_all(&parsed.root, |node| node.read::<Settings>(None, &secrets));
        for error in errors {
            self.report(None, error);
        }
        let mut settings = settings.unwrap_or_default();
        if let Some(Err(Invalid { path, why })) = settings.alive.as_mut().map(|alive| alive.validate(secrets.mask())) {
            self.report(None, parsed.root.error_at(&format!("alive.{path}"), why));
            settings.alive = None;
        }
        for (name, why) in settings.validate() {
            self.report(None, parsed.root.error_at(&name, why));
        }
        if let Some(node) = parsed.root.get("defaults") {
            self.global = Rc::new(self.layer(node.clone(), settings.defaults.clone(), Some("defaults")));
        }
        self.settings = Some(parsed.root);
        settings
    }

    /// Reads `conf.d`; how many files it has.
    pub(super) fn conf_d(&mut self) -> Option<usize> {
        let directory = self.options.config.path.join("conf.d");
        match files::check_directory(&directory) {
            Err(error) if error.permissions && self.allow_insecure => {
                self.warnings.push(format!("conf.d: {} (`insecure_permissions: allow`)", error.message));
            }
            Err(error) => {
                self.report_file(&directory, error);
                return Some(0);
            }
            Ok(()) => {}
        }
        match files::definition_files(&directory) {
            Ok(Some(paths)) => {
                for path in &paths {
                    self.definition_file(path);
                }
                Some(paths.len())
            }
            Ok(None) => None,
            Err(error) => {
                self.report_file(&directory, error);
                Some(0)
            }
        }
    }

    fn definition_file(&mut self, path: &Path) {
        if let Some((parsed, file)) = self.read(path, true) {
            self.definitions(parsed, file);
        }
    }

    /// Takes the checks and actions of a file.
    pub(super) fn definitions(&mut self, parsed: yaml::Parsed, file: u32) {
        let mut doubled = parsed.doubled;
        let root = parsed.root;
        let entries = match root.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => {
                let help =
                    "a file in `conf.d` has the keys `defaults`, `checks`, `actions`, `downtimes` and `summaries`"
                        .to_owned();
                self.report_at(
                    None,
                    root.span,
                    format!("{} stands where a map is expected", root.describe()),
                    Some(help),
                );
                return;
            }
        };
        let (mut checks, mut actions, mut defaults) = (None, None, Layer::default());
        let (mut downtimes, mut summaries) = (None, None);
        for (key, node) in entries {
            match &*key.name {
                "checks" => checks = Some(node),
                "actions" => actions = Some(node),
                "downtimes" => downtimes = Some(node),
                "summaries" => summaries = Some(node),
                "defaults" => defaults = self.defaults(node, &mut doubled),
                // A place for what `&name` stands before, as in Compose files.
                name if name.starts_with("x-") => {}
                name => self.unknown_file_key(name, key.span),
            }
        }
        let fetcher = self.fetcher(file);
        for (key, node) in self.entries("actions", actions) {
            self.action(&key, node, &mut doubled, &fetcher);
        }
        for (key, node) in self.entries("checks", checks) {
            self.check(&key, node, &defaults, &mut doubled, &fetcher);
        }
        for (key, node) in self.entries("downtimes", downtimes) {
            self.downtime(&key, &node, &mut doubled, &fetcher);
        }
        for (key, node) in self.entries("summaries", summaries) {
            self.summary_entry(key, node, &mut doubled, &fetcher);
        }
        self.keep_inline_secrets(fetcher);
        for error in doubled {
            self.report(None, error);
        }
    }

    fn unknown_file_key(&mut self, name: &str, span: Span) {
        let kinds = self.options.kinds;
        let is_kind =
            kinds.checks.iter().any(|kind| kind.name == name) || kinds.actions.iter().any(|kind| kind.name == name);
        let help = if is_kind {
            "a kind stands in a check, and checks stand under `checks:`".to_owned()
        } else {
            match node::nearest(name, FILE_KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "a file in `conf.d` has the keys `defaults`, `checks`, `actions`, `downtimes` and `summaries`; checks stand under `checks:`"
                        .to_owned()
                }
            }
        };
        self.report_at(None, span, format!("unknown setting `{}`", escape_controls(name)), Some(help));
    }

    /// The entries of `checks:` or `actions:`.
    fn entries(&mut self, what: &str, node: Option<Node>) -> Vec<(Key, Node)> {
        let Some(node) = node else { return Vec::new() };
        match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            _ => {
                let message = format!("{} stands where a map of names is expected", node.describe());
                let help = Some(format!("write `{what}:`, then each name with its settings below it"));
                self.report(None, SettingsError { span: node.span, path: what.to_owned(), message, help });
                Vec::new()
            }
        }
    }

    /// Reads the `defaults:` of a file.
    fn defaults(&mut self, node: Node, doubled: &mut Vec<SettingsError>) -> Layer {
        self.take_doubled(Some("defaults"), node.span, doubled);
        let fetcher = self.fetcher(node.span.file);
        let (settings, errors) = read_all(&node, |node| node.read::<CheckSettings>(None, &fetcher));
        for error in errors {
            self.report(Some("defaults"), error);
        }
        let settings = settings.unwrap_or_default();
        for (name, why) in settings.validate() {
            self.report(Some("defaults"), node.error_at(name, why));
        }
        self.layer(node, settings, Some("defaults"))
    }
}
