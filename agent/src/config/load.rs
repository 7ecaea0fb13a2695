//! From the files to the running set: reads `monchero.yaml` and `conf.d`, and collects every mistake in them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use monchero_actions::Alive;
use monchero_core::action::ActionKind;
use monchero_core::check::Kind;
use monchero_core::definition::{
    ActionDefinition, ConfigProblem, Configuration, Definition, Gate, Retention, SummaryDefinition,
};
use monchero_core::hold::Recurring;
use monchero_core::node::{Key, Node, SettingsError, Span, Value, suggest};
use monchero_core::text::escape_controls;
use monchero_core::{Invalid, Name, node, order};
use schemars::SchemaGenerator;
use serde_json::Value as Json;

use super::checks::Layer;
use super::files::{self, FileError, MAX_TOTAL, Source, Sources};
use super::log::LogSettings;
use super::mistakes::Found;
use super::paths::{Chosen, Reason};
use super::plugins;
use super::pool::{Fingerprint, Pool};
use super::problem::Problem;
use super::read::{contains, read_all};
use super::routes::Route;
use super::secrets::{Fetcher, SecretStore};
use super::settings::{ActionSettings, CheckSettings, DEFAULT_CONCURRENCY, InsecurePermissions, Settings};
use super::show::Shown;
use super::yaml;

/// The keys of a file in `conf.d`.
const FILE_KEYS: [&str; 4] = ["defaults", "checks", "actions", "downtimes"];

/// The kinds that a configuration may name.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// Kinds of checks.
    pub checks: &'static [Kind],
    /// Kinds of actions.
    pub actions: &'static [ActionKind],
}

impl Kinds {
    /// Those of this program.
    pub fn built_in() -> Self {
        Self { checks: monchero_checks::KINDS, actions: monchero_actions::KINDS }
    }
}

/// What a load depends on.
pub struct LoadOptions<'a> {
    /// The directory that holds `monchero.yaml` and `conf.d`.
    pub config: &'a Chosen,
    /// The kinds that there are.
    pub kinds: Kinds,
    /// What environment setters gave: the environment of all checks.
    pub env: Vec<(OsString, OsString)>,
    /// Where secrets come from.
    pub secrets: SecretStore<'a>,
    /// Whether [`Loaded::shown`] is wanted, for `config show`.
    pub keep_settings: bool,
}

/// What the files say.
#[derive(Debug)]
pub struct Loaded {
    /// What is good. Its `problems` are those of this struct, rendered.
    pub configuration: Configuration,
    /// What is not: every mistake, in the order of the files.
    pub problems: Vec<Problem>,
    /// How many files `conf.d` has; none if it does not exist. A reload that finds none after there were some is a mistake (R53).
    pub definition_files: Option<usize>,
    /// What `monchero.yaml` says about the log.
    pub log: LogSettings,
    /// Where signs of life go, if anywhere.
    pub alive: Option<Alive>,
    /// The resolved settings, if they were asked for.
    pub shown: Vec<Shown>,
}

/// Reads everything.
pub fn load(options: &LoadOptions<'_>) -> Loaded {
    let mut loader = Loader::new(options);
    let settings = loader.settings_file();
    loader.allow_insecure = settings.insecure_permissions == InsecurePermissions::Allow;
    let zone = settings.time_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
    loader.zone = zone.unwrap_or_else(jiff::tz::TimeZone::system);
    loader.has_gate = settings.gate.is_some();
    let definition_files = loader.conf_d();
    plugins::load(&mut loader, &settings);
    loader.connect();
    let gate = loader.gate(&settings);
    loader.refuse_unknown_patterns();
    let summaries = loader.summaries(&settings);
    loader.finish(settings, gate, summaries, definition_files)
}

/// Reads a text as though it were the only file of `conf.d`: what is to be written is judged before it is.
pub fn load_text(options: &LoadOptions<'_>, name: &str, text: String) -> Loaded {
    let mut loader = Loader::new(options);
    if let Some((parsed, file)) = loader.parse(Source::new(name.to_owned(), text)) {
        loader.definitions(parsed, file);
    }
    loader.connect();
    loader.finish(Settings::default(), None, Vec::new(), None)
}

/// The programs of `environment_setters:`, to be run before [`load`]. Reads only `monchero.yaml`; what is wrong with it `load` will tell.
pub fn environment_setters(options: &LoadOptions<'_>) -> Vec<PathBuf> {
    let settings = Loader::new(options).settings_file();
    settings.environment_setters.map(|directory| plugins::programs(&directory)).and_then(Result::ok).unwrap_or_default()
}

/// A name that a list refers to, before it is known what there is.
pub(crate) struct Reference {
    pub(crate) span: Span,
    pub(crate) subject: Option<String>,
}

/// All that is known while files are read.
pub(crate) struct Loader<'a> {
    pub(crate) options: &'a LoadOptions<'a>,
    pub(crate) sources: Sources,
    pub(crate) pool: Pool,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) env: Arc<[(OsString, OsString)]>,
    /// The fingerprint of `env`, which all checks share.
    pub(crate) env_print: u64,
    /// What `monchero.yaml` says that all checks have.
    pub(crate) global: Rc<Layer>,
    /// `monchero.yaml` as it is written, once it is read.
    pub(crate) settings: Option<Node>,
    pub(crate) checks: Vec<Definition>,
    pub(crate) actions: Vec<ActionDefinition>,
    pub(crate) downtimes: Vec<Recurring>,
    /// The time zone of the daemon.
    pub(crate) zone: jiff::tz::TimeZone,
    /// Whether `monchero.yaml` has a gate, and the checks that look at other hosts if it has.
    pub(crate) has_gate: bool,
    pub(crate) network: HashSet<Name>,
    /// Names and patterns of checks that downtimes and the gate choose by.
    pub(crate) wanted_patterns: Vec<(String, Reference)>,
    /// Of which checks targets are told that do not name them.
    pub(crate) routes: Vec<Route>,
    /// Every name of a check that is written down, whether it can run or not, and where.
    pub(crate) check_names: HashMap<Name, Span>,
    pub(crate) action_names: HashMap<Name, Span>,
    downtime_names: HashMap<Name, Span>,
    /// The instances of a check with `for_each`.
    pub(crate) instances: HashMap<Name, Vec<Name>>,
    pub(crate) wanted_actions: HashMap<Name, Vec<Reference>>,
    pub(crate) wanted_checks: HashMap<Name, Vec<Reference>>,
    /// A file could not be read, so a name that is not known may stand in there.
    pub(crate) incomplete: bool,
    /// The files whose text is no YAML that we understand.
    pub(crate) no_yaml: HashSet<u32>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) warnings: Vec<String>,
    /// The keys that checks and actions have besides a kind.
    pub(crate) check_keys: Vec<String>,
    pub(crate) action_keys: Vec<String>,
    allow_insecure: bool,
    total: usize,
    pub(crate) found: Vec<Found>,
    pub(crate) whole_files: Vec<Problem>,
    pub(crate) inline_secrets: Vec<Span>,
}

impl<'a> Loader<'a> {
    fn new(options: &'a LoadOptions<'a>) -> Self {
        Self {
            options,
            sources: Sources::default(),
            pool: Pool::default(),
            fingerprint: Fingerprint::default(),
            env: Arc::from(options.env.as_slice()),
            env_print: env_print(&options.env),
            global: Rc::default(),
            settings: None,
            checks: Vec::new(),
            actions: Vec::new(),
            downtimes: Vec::new(),
            zone: jiff::tz::TimeZone::UTC,
            has_gate: false,
            network: HashSet::new(),
            wanted_patterns: Vec::new(),
            routes: Vec::new(),
            check_names: HashMap::new(),
            action_names: HashMap::new(),
            downtime_names: HashMap::new(),
            instances: HashMap::new(),
            wanted_actions: HashMap::new(),
            wanted_checks: HashMap::new(),
            incomplete: false,
            no_yaml: HashSet::new(),
            shown: Vec::new(),
            warnings: Vec::new(),
            check_keys: keys_of::<CheckSettings>(&["for_each", "enabled"]),
            action_keys: keys_of::<ActionSettings>(&[]),
            allow_insecure: false,
            total: 0,
            found: Vec::new(),
            whole_files: Vec::new(),
            inline_secrets: Vec::new(),
        }
    }

    /// A path as it is shown: relative to the configuration directory if it is in there.
    pub(crate) fn shown_name(&self, path: &Path) -> String {
        // Bytes, because comparing the parts of ten thousand paths takes longer than reading the files.
        let (base, whole) = (self.options.config.path.as_os_str().as_bytes(), path.as_os_str().as_bytes());
        let short = whole.strip_prefix(base).and_then(|rest| rest.strip_prefix(b"/")).filter(|short| !short.is_empty());
        escape_controls(&String::from_utf8_lossy(short.unwrap_or(whole)))
    }

    /// A fetcher of secrets for what stands in a file.
    pub(crate) fn fetcher(&self, file: u32) -> Fetcher<'a> {
        let readable = self.sources.get(file).filter(|source| source.others_read).map(|source| source.name.clone());
        Fetcher::new(&self.options.secrets, readable)
    }

    pub(crate) fn keep_inline_secrets(&mut self, fetcher: Fetcher<'_>) {
        self.inline_secrets.extend(fetcher.into_inline());
    }

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
    fn parse(&mut self, source: Source) -> Option<(yaml::Parsed, u32)> {
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

    fn settings_file(&mut self) -> Settings {
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
        let (settings, errors) = read_all(&parsed.root, |node| node.read::<Settings>(None, &fetcher));
        for error in errors {
            self.report(None, error);
        }
        let mut settings = settings.unwrap_or_default();
        if let Some(Err(Invalid { path, why })) = settings.alive.as_mut().map(Alive::validate) {
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
    fn conf_d(&mut self) -> Option<usize> {
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
    fn definitions(&mut self, parsed: yaml::Parsed, file: u32) {
        let mut doubled = parsed.doubled;
        let root = parsed.root;
        let entries = match root.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => {
                let help = "a file in `conf.d` has the keys `defaults`, `checks`, `actions` and `downtimes`".to_owned();
                self.report_at(
                    None,
                    root.span,
                    format!("{} stands where a map is expected", root.describe()),
                    Some(help),
                );
                return;
            }
        };
        let (mut checks, mut actions, mut downtimes, mut defaults) = (None, None, None, Layer::default());
        for (key, node) in entries {
            match &*key.name {
                "checks" => checks = Some(node),
                "actions" => actions = Some(node),
                "downtimes" => downtimes = Some(node),
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
                    "a file in `conf.d` has the keys `defaults`, `checks`, `actions` and `downtimes`; checks stand under `checks:`"
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

    /// Tells of the doubled keys in a stretch of the file, and whether there are any.
    pub(crate) fn take_doubled(
        &mut self,
        subject: Option<&str>,
        within: Span,
        doubled: &mut Vec<SettingsError>,
    ) -> bool {
        if doubled.is_empty() {
            return false;
        }
        let (inside, outside): (Vec<_>, Vec<_>) =
            std::mem::take(doubled).into_iter().partition(|error| contains(within, error.span));
        *doubled = outside;
        let any = !inside.is_empty();
        for error in inside {
            self.report(subject, error);
        }
        any
    }

    /// Judges a name and takes it, unless somebody else has it. What it names is told as `subject`.
    pub(crate) fn take_name(&mut self, text: &str, span: Span, sort: Sort, subject: &str) -> Option<Name> {
        let name = match Name::parse(text) {
            Ok(name) => self.pool.name(name.as_str()),
            Err(why) => {
                self.report_at(Some(subject), span, why, None);
                return None;
            }
        };
        if let Some(prefix) = RESERVED.iter().find(|prefix| sort == Sort::Check && text.starts_with(**prefix)) {
            let message = format!("names that begin with `{prefix}` belong to what monchero checks about itself");
            self.report_at(Some(subject), span, message, Some("choose another name".to_owned()));
            return None;
        }
        let names = match sort {
            Sort::Check => &mut self.check_names,
            Sort::Action => &mut self.action_names,
            Sort::Downtime => &mut self.downtime_names,
        };
        if let Some(earlier) = names.get(&name).copied() {
            let place = self.sources.place(earlier);
            self.report_at(
                Some(subject),
                span,
                format!("the name is taken: it is defined in {place} already"),
                Some("choose another name".to_owned()),
            );
            return None;
        }
        names.insert(name.clone(), span);
        Some(name)
    }

    fn finish(
        mut self,
        settings: Settings,
        gate: Option<Gate>,
        summaries: Vec<SummaryDefinition>,
        definition_files: Option<usize>,
    ) -> Loaded {
        let problems = self.render();
        order::sort_by(&mut self.checks, |a, b| a.name.cmp(&b.name));
        order::sort_by(&mut self.actions, |a, b| a.name.cmp(&b.name));
        self.checks.shrink_to_fit();
        let host = settings.host.clone().filter(|host| Name::parse(host).is_ok());
        let configuration = Configuration {
            host: host.unwrap_or_else(host_name).into(),
            zone: self.zone.clone(),
            concurrency: settings.concurrency.unwrap_or(DEFAULT_CONCURRENCY).max(1).into(),
            sysroot: settings.sysroot.clone().unwrap_or_else(|| PathBuf::from("/")),
            operators: settings.operators.clone().map(String::into_boxed_str),
            retention: Retention::from(&settings.retention),
            alive: settings.alive.is_some(),
            summaries: summaries.into(),
            self_actions: self.self_actions().into(),
            checks: self.checks,
            actions: self.actions,
            downtimes: self.downtimes,
            gate,
            problems: problems.iter().map(ConfigProblem::from).collect(),
            warnings: self.warnings,
        };
        Loaded {
            configuration,
            problems,
            definition_files,
            log: settings.log,
            alive: settings.alive,
            shown: self.shown,
        }
    }
}

/// Names that users cannot take.
const RESERVED: [&str; 2] = ["self/", "config/"];

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Check,
    Action,
    Downtime,
}

/// Which of a kind and the general settings a key may have meant.
pub(crate) fn unknown_key(key: &Key, general: &[String], kinds: &[&str], elsewhere: Option<String>) -> SettingsError {
    let known: Vec<&str> = general.iter().map(String::as_str).chain(kinds.iter().copied()).collect();
    let help = elsewhere.unwrap_or_else(|| match node::nearest(&key.name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if general.len() == known.len() => suggest(&key.name, &known),
        None => format!("it is neither a kind (see `monchero kinds`) nor one of {}", listed(general)),
    });
    let message = format!("unknown setting `{}`", escape_controls(&key.name));
    SettingsError { span: key.span, path: String::new(), message, help: Some(help) }
}

pub(crate) fn listed<T: AsRef<str>>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The settings that a struct has, from its schema.
fn keys_of<T: schemars::JsonSchema>(more: &[&str]) -> Vec<String> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let properties = schema.get("properties").and_then(Json::as_object).into_iter().flat_map(|map| map.keys().cloned());
    properties.chain(more.iter().map(|&key| key.to_owned())).collect()
}

/// How a kind is written, with one as the example: ``write the kind with its settings: `NAME: EXAMPLE` ``.
pub(crate) fn form(example: Option<(&str, &str)>) -> String {
    let short = example.filter(|(_, example)| !example.trim().contains('\n'));
    let example = short.map_or_else(String::new, |(name, example)| format!(", as in `{name}: {}`", example.trim()));
    format!("write the kind and its settings{example}; `monchero kinds` lists them")
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if Name::parse(&name).is_ok() { name } else { "localhost".to_owned() }
}

fn env_print(env: &[(OsString, OsString)]) -> u64 {
    let mut print = Fingerprint::default();
    for (key, value) in env {
        print.bytes(key.as_bytes());
        print.bytes(value.as_bytes());
    }
    print.finish()
}
