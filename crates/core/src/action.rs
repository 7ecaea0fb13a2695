//! What an action is to the engine: something done, or somebody told, when a state changes.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::check::BoxFuture;
use crate::decide::{Missed, NoticeKind};
use crate::incident::IncidentId;
use crate::mask::{Mask, Recorder};
use crate::metric::Metric;
use crate::name::Name;
use crate::node::{Invalid, Node, Secrets, SettingsError};
use crate::program::Spawner;
use crate::state::{State, StateType};
use crate::summary::Summary;

/// Everything about one occasion: what a template can name, what a script reads on standard input. An immutable picture of the moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The name of this host.
    pub host: String,
    /// The check.
    pub check: CheckFacts,
    /// Its labels, also as `check.labels`: `labels.unit`.
    pub labels: BTreeMap<String, String>,
    /// What it is now.
    pub state: State,
    /// What it was before; for a message, what the target was last told.
    pub previous_state: State,
    /// Whether it is confirmed.
    pub state_type: StateType,
    /// The attempt.
    pub attempt: u32,
    /// How many attempts make it hard.
    pub max_attempts: u32,
    /// The first line.
    pub message: String,
    /// Further lines.
    pub output: String,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// The incident, if one is open or just ended.
    pub incident: Option<IncidentFacts>,
    /// Why this happens, in words: `hard problem`, `recovery`, `reminder`, `soft problem (attempt 2/3)` ..
    pub reason: String,
    /// The wall clock.
    pub now: Timestamp,
    /// Whether this is a drill or test: nothing is wrong.
    pub drill: bool,
}

/// The check, as templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The incident, as templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentFacts {
    /// Its id, as text.
    pub id: String,
    /// When it began.
    pub since: Timestamp,
    /// How long it has lasted, for a person: `12m 5s`.
    pub duration: String,
}

impl IncidentFacts {
    /// The facts at `now`.
    pub fn new(id: IncidentId, since: Timestamp, now: Timestamp) -> Self {
        let lasted = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Self { id: id.to_string(), since, duration: crate::duration::human(lasted) }
    }
}

/// A message to one target. The target words it for its medium.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What kind of message.
    pub kind: NoticeKind,
    /// Stable: the same message after a crash has the same one, so that a receiver can drop a duplicate.
    pub delivery_id: String,
    /// Joins the messages of one incident; a new problem starts a new one.
    pub thread: String,
    /// What the receiver called the first messages of this thread ([`Delivered::reference`]); none for the first.
    pub reference: Option<String>,
    /// What it is about.
    pub event: Event,
    /// Other problems that came and went while the target could not be told of them, or not of their end.
    pub missed: Vec<Missed>,
    /// The last script or remedy of this incident and how it went, in one line; none if nothing was tried.
    pub last_action: Option<String>,
    /// What else this message tells, if it speaks of many checks at once: one line each, worst first.
    pub digest: Vec<DigestLine>,
    /// What it tells if it is about no check, but about monchero or everything; `event` has the host, the time and a name for it then.
    pub bulletin: Option<Box<Bulletin>>,
    /// How many more there were than `missed` lists.
    pub missed_more: u32,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How late it is, because the target could not be reached.
    pub late: Option<Duration>,
}

impl Message {
    /// Whether it is about one check, of which its event tells.
    pub fn is_about_one_check(&self) -> bool {
        self.digest.is_empty() && self.bulletin.is_none()
    }

    /// Whether nobody has to come: all is well, or somebody works on it.
    pub fn is_calm(&self) -> bool {
        !self.event.state.is_problem() || self.kind == NoticeKind::Acknowledged
    }
}

/// What a message tells that is about no check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bulletin {
    /// How everything is, and what happened in a period.
    Summary(Box<Summary>),
    /// Something about monchero itself.
    Occasion(Occasion),
}

/// Something that happened to monchero itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened to monchero itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Happened {
    /// It started.
    Started {
        /// Its version.
        version: String,
        /// How many checks of which kind it watches.
        kinds: BTreeMap<String, usize>,
    },
    /// Its configuration could not be put in force.
    Config {
        /// Why, in one line.
        why: String,
    },
    /// It was found at the start that it had ended without being told to.
    Crashed {
        /// When it was last seen at work.
        seen: Timestamp,
    },
}

impl Happened {
    /// Which sort of occasion it is.
    pub fn sort(&self) -> Lifecycle {
        match self {
            Self::Started { .. } => Lifecycle::Started,
            Self::Config { .. } => Lifecycle::Config,
            Self::Crashed { .. } => Lifecycle::Crashed,
        }
    }
}

/// What of monchero's own life a target is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It started.
    Started,
    /// Its configuration was read anew and is broken, so that the one before stays in force.
    Config,
    /// It ended without being told to: by a crash, by the kernel, or with the whole machine. It is told at the next start.
    Crashed,
}

impl Lifecycle {
    /// The kind of message that tells it.
    pub fn kind(self) -> NoticeKind {
        match self {
            Self::Started => NoticeKind::Started,
            Self::Config => NoticeKind::Config,
            Self::Crashed => NoticeKind::Crashed,
        }
    }
}

/// What one target knows of something that is about no check: a summary, or one sort of occasion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Posted {
    /// Up to when it was told, or does not want to know.
    pub until: Option<Timestamp>,
    /// What it still has to be told.
    pub owed: Option<Occasion>,
}

/// One of many checks of which a message speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestLine {
    /// The check.
    pub check: Name,
    /// What kind of message it would have been.
    pub kind: NoticeKind,
    /// How it is.
    pub state: State,
    /// Its first line.
    pub message: String,
}

/// What became of a message that was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// A word about what the receiver answered.
    pub answer: String,
    /// The receiver's own name for the message or its thread, if the next message about the same incident is to go there: at most
    /// [`MAX_REFERENCE`].
    pub reference: Option<String>,
}

/// The longest name of a thread that is kept, in bytes: those of services have a few dozen.
pub const MAX_REFERENCE: usize = 512;

impl From<String> for Delivered {
    fn from(answer: String) -> Self {
        Self { answer, reference: None }
    }
}

/// Why a delivery failed, and whether trying again can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Trying again may help: no connection, time-out, 5xx, 4yz of SMTP.
    #[error("{why}")]
    Transient {
        /// What was done, to what, why it failed.
        why: String,
        /// When the receiver asks to be tried again.
        after: Option<Duration>,
    },
    /// Trying the same again cannot help: refused credentials, no such recipient.
    #[error("{why}")]
    Permanent {
        /// What was done, to what, why it failed.
        why: String,
    },
}

/// Tells somebody. Delivers once; deadline, backoff, holds and the record of what was told belong to the outbox.
pub trait Target: Send + Sync {
    /// Delivers one message.
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<Delivered, DeliveryError>>;

    /// Whether one message may speak of many checks ([`Message::digest`]). Not where each incident is opened and closed by itself.
    fn takes_digests(&self) -> bool {
        true
    }

    /// Whether it is told of acknowledgements although its settings do not say so: a service that calls people stops calling them.
    fn hears_acknowledgements(&self) -> bool {
        false
    }
}

/// Why an action could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ActionError(pub String);

/// How an action went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionOutcome {
    /// Whether it did what it was to do.
    pub success: bool,
    /// One line: `exit status 0`, `timed out after 30s`.
    pub message: String,
    /// What it printed, cut to a bound.
    pub output: String,
}

/// Does something: a script or a remedy. At most once per trigger.
pub trait Script: Send + Sync {
    /// Does it once. It ends within `timeout` and a little.
    fn run<'a>(
        &'a self,
        event: &'a Event,
        timeout: Duration,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<ActionOutcome, ActionError>>;

    /// The labels that a check must have so that this can run: those that its template names without a default.
    fn needed_labels(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What actions may use.
pub struct ActionContext<'a> {
    /// The name of this host.
    pub host: &'a str,
    /// The time zone in which people read times.
    pub zone: &'a jiff::tz::TimeZone,
    /// Starts programs.
    pub spawner: &'a dyn Spawner,
}

/// A ready action: one that tells, or one that does.
#[derive(Clone)]
pub enum Action {
    /// Tells somebody.
    Target(Arc<dyn Target>),
    /// Does something.
    Script(Arc<dyn Script>),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target(_) => "Target(..)",
            Self::Script(_) => "Script(..)",
        })
    }
}

/// The settings of a kind of action that tells somebody: what stands under its key in `conf.d`.
pub trait TargetKind: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The key in `conf.d`.
    const NAME: &'static str;
    /// Settings that work, as YAML.
    const EXAMPLE: &'static str;
    /// The setting that a bare scalar is short for, if any.
    const SHORT_FOR: Option<&'static str> = None;

    /// Whether one message may speak of many checks ([`Target::takes_digests`]).
    const TAKES_DIGESTS: bool = true;
    /// Whether it is told of acknowledgements unless its settings say otherwise ([`Target::hears_acknowledgements`]).
    const HEARS_ACKNOWLEDGEMENTS: bool = false;

    /// Judges what serde cannot and compiles templates. The path names the setting.
    fn validate(&mut self) -> Result<(), Invalid> {
        Ok(())
    }

    /// Delivers one message.
    fn deliver(
        &self,
        message: &Message,
        context: &ActionContext<'_>,
    ) -> impl Future<Output = Result<Delivered, DeliveryError>> + Send;
}

/// The settings of a kind of action that does something.
pub trait ScriptKind: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The key in `conf.d`.
    const NAME: &'static str;
    /// Settings that work, as YAML.
    const EXAMPLE: &'static str;
    /// The setting that a bare scalar is short for, if any.
    const SHORT_FOR: Option<&'static str> = None;

    /// Judges what serde cannot and compiles templates. The path names the setting.
    fn validate(&mut self) -> Result<(), Invalid> {
        Ok(())
    }

    /// The labels that a check must have so that this can run: those that its template names without a default.
    fn needed_labels(&self) -> Vec<String> {
        Vec::new()
    }

    /// Does it once.
    fn run(
        &self,
        event: &Event,
        timeout: Duration,
        context: &ActionContext<'_>,
    ) -> impl Future<Output = Result<ActionOutcome, ActionError>> + Send;
}

/// The settings, and what hides their secrets in what comes back.
struct Running<T>(T, Mask);

impl<T: TargetKind> Target for Running<T> {
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<Delivered, DeliveryError>> {
        Box::pin(async move { self.1.delivered(self.0.deliver(message, context).await) })
    }

    fn takes_digests(&self) -> bool {
        T::TAKES_DIGESTS
    }

    fn hears_acknowledgements(&self) -> bool {
        T::HEARS_ACKNOWLEDGEMENTS
    }
}

impl<T: ScriptKind> Script for Running<T> {
    fn run<'a>(
        &'a self,
        event: &'a Event,
        timeout: Duration,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<ActionOutcome, ActionError>> {
        Box::pin(async move { self.1.outcome(self.0.run(event, timeout, context).await) })
    }

    fn needed_labels(&self) -> Vec<String> {
        self.0.needed_labels()
    }
}

/// A kind of action, as the table of kinds lists it.
#[derive(Clone, Copy)]
pub struct ActionKind {
    /// The key in `conf.d`.
    pub name: &'static str,
    /// Settings that work, as YAML.
    pub example: &'static str,
    /// The setting that a bare scalar is short for.
    pub short_for: Option<&'static str>,
    /// Whether it tells somebody; otherwise it does something.
    pub tells: bool,
    build: fn(&Node, &dyn Secrets) -> Result<Action, SettingsError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl ActionKind {
    /// The kind of target whose settings are `T`.
    pub const fn target<T: TargetKind>() -> Self {
        Self {
            name: T::NAME,
            example: T::EXAMPLE,
            short_for: T::SHORT_FOR,
            tells: true,
            build: |node, secrets| {
                let secrets = Recorder::new(secrets);
                let mut settings: T = node.read(T::SHORT_FOR, &secrets)?;
                settings.validate().map_err(|invalid| node.error_at(&invalid.path, invalid.why))?;
                Ok(Action::Target(Arc::new(Running(settings, secrets.mask()))))
            },
            schema: |generator| T::json_schema(generator),
        }
    }

    /// The kind of script whose settings are `T`.
    pub const fn script<T: ScriptKind>() -> Self {
        Self {
            name: T::NAME,
            example: T::EXAMPLE,
            short_for: T::SHORT_FOR,
            tells: false,
            build: |node, secrets| {
                let secrets = Recorder::new(secrets);
                let mut settings: T = node.read(T::SHORT_FOR, &secrets)?;
                settings.validate().map_err(|invalid| node.error_at(&invalid.path, invalid.why))?;
                Ok(Action::Script(Arc::new(Running(settings, secrets.mask()))))
            },
            schema: |generator| T::json_schema(generator),
        }
    }

    /// Reads settings into an action.
    pub fn build(&self, settings: &Node, secrets: &dyn Secrets) -> Result<Action, SettingsError> {
        (self.build)(settings, secrets)
    }

    /// The JSON schema of the settings, with their descriptions.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl fmt::Debug for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActionKind").field(&self.name).finish()
    }
}
