//! From the files to the running set: reads `monchero.yaml` and `conf.d`, and collects every mistake in them.

mod walk;

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
use monchero_core::node::{Key, Node, SettingsError, Span, suggest};
use monchero_core::text::escape_controls;
use monchero_core::{Name, node, order};

use super::checks::Layer;
use super::files::{Source, Sources};
use super::keys::keys_of;
use super::log::LogSettings;
use super::mistakes::Found;
use super::paths::Chosen;
use super::plugins;
use super::pool::{Fingerprint, Pool};
use super::problem::Problem;
use super::read::contains;
use super::routes::Route;
use super::secrets::{Fetcher, SecretStore};
use super::settings::{ActionSettings, CheckSettings, DEFAULT_CONCURRENCY, InsecurePermissions, Settings};
use super::show::Shown;
use super::summaries::SummarySettings;

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
    summary_names: HashMap<Name, Span>,
    /// The summaries of `conf.d` as they are written: whom they name is known when all files are read.
    pub(crate) summary_entries: Vec<(Key, Node, SummarySettings)>,
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
    pub(crate) check_keys: Vec<&'static str>,
    pub(crate) action_keys: Vec<&'static str>,
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
            summary_names: HashMap::new(),
            summary_entries: Vec::new(),
            instances: HashMap::new(),
            wanted_actions: HashMap::new(),
            wanted_checks: HashMap::new(),
            incomplete: false,
            no_yaml: HashSet::new(),
            shown: Vec::new(),
            warnings: Vec::new(),
            check_keys: [&*keys_of::<CheckSettings>(), &["for_each", "enabled"]].concat(),
            action_keys: keys_of::<ActionSettings>(),
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
            Sort::Summary => &mut self.summary_names,
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
    Summary,
}

/// Which of a kind and the general settings a key may have meant.
pub(crate) fn unknown_key(key: &Key, general: &[&str], kinds: &[&str], elsewhere: Option<String>) -> SettingsError {
    let known: Vec<&str> = general.iter().chain(kinds).copied().collect();
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
