//! What a check is to the engine, and how a kind of check is made from its settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::items::{Field, Tally};
use crate::mask::{Mask, Recorder};
use crate::name::Name;
use crate::node::{Invalid, Node, Secrets, SettingsError};
use crate::program::Spawner;
use crate::report::Report;
use crate::state::{State, StateType};

/// A boxed future, as `async fn` in a trait object needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a run may use. Checks read the host under `sysroot`, start programs through `spawner`, and read no clock but tokio's.
pub struct Context<'a> {
    /// The name of the check.
    pub check: &'a str,
    /// The name of this host.
    pub host: &'a str,
    /// The wall clock when the run began.
    pub now: Timestamp,
    /// How long the run may take.
    pub timeout: Duration,
    /// Where the host's files stand: `/`, or a recorded tree in tests.
    pub sysroot: &'a Path,
    /// Starts programs.
    pub spawner: &'a dyn Spawner,
    /// What environment setters gave, and `env:` of the definition.
    pub env: &'a [(OsString, OsString)],
    /// What the last run of this check asked to be remembered ([`Report::remember`]), over restarts too.
    pub memory: Option<&'a str>,
    /// What is known of all checks.
    pub peers: &'a dyn Peers,
    /// Whether a person wants to see every item with its values.
    pub explain: bool,
}

impl Context<'_> {
    /// An empty report, to be filled.
    pub fn report(&self) -> Report {
        Report { items: Tally { seen: self.explain.then(Vec::new), ..Tally::default() }, ..Report::default() }
    }

    /// What the last run remembered. What cannot be read, because another version wrote it, was never known.
    pub fn recall<T: DeserializeOwned>(&self) -> Option<T> {
        self.memory.and_then(|memory| serde_json::from_str(memory).ok())
    }
}

/// The states of all checks, for checks that judge others.
pub trait Peers: Send + Sync {
    /// What is known now of each check and service; in no particular order.
    fn all(&self) -> BoxFuture<'_, Vec<Peer>>;
}

/// What is known of a check, for others that judge it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// Its kind's key.
    pub kind: &'static str,
    /// Its state as of the last result; none before the first.
    pub state: Option<State>,
    /// Whether that state is confirmed.
    pub state_type: StateType,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Nobody to ask: where no daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn all(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async { Vec::new() })
    }
}

/// Something that a job says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// What it says.
    pub kind: SignalKind,
    /// Which of several runs of the job says it; at most [`MAX_RUN_ID`].
    pub run: Option<String>,
    /// What the job printed; at most [`MAX_SIGNAL_OUTPUT`].
    pub output: String,
    /// How long the run took, if the job says so: what was heard of its beginning may be lost.
    pub took: Option<Duration>,
}

/// The longest name of a run, in bytes.
pub const MAX_RUN_ID: usize = 64;
/// The longest output that a signal brings, in bytes.
pub const MAX_SIGNAL_OUTPUT: usize = 64 * 1024;

/// What a job says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// It began.
    Start,
    /// It is done, and went well.
    Success,
    /// It is done, and failed, with this exit status if it is known.
    Fail(Option<i32>),
    /// It has something to tell; this changes no state.
    Log,
}

/// Why monchero could not find out. What a check found about its object, however bad, is a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The result is `unknown` with this reason, a full sentence fragment: what was done, to what, why it failed.
    #[error("{0}")]
    Unable(String),
    /// It took longer than its timeout.
    #[error("timed out after {}", crate::duration::human(*.0))]
    TimedOut(Duration),
    /// Its process cannot be ended (R6): no further run starts until it is gone.
    #[error("stuck: process {0} hangs in the kernel (state D) and cannot be ended")]
    Stuck(i32),
    /// The daemon stops: the run has no result (R16).
    #[error("called off")]
    Cancelled,
}

impl CheckError {
    /// `doing`, colon, the chain of `source`.
    pub fn new(doing: impl fmt::Display, source: &dyn std::error::Error) -> Self {
        let mut text = format!("{doing}: {source}");
        let mut cause = source.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::Unable(text)
    }
}

/// One configured check, ready to run.
pub trait Check: Send + Sync {
    /// Looks once. A check that finds its object broken answers `Ok` with a report that says so.
    fn run<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Report, CheckError>>;

    /// The names of the checks that it judges, as far as it names them in full. Two checks must not judge each other, by whatever way:
    /// a problem would keep itself alive.
    fn judges(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Takes a signal at `now`, knowing what it remembers; none if this check takes no signals.
    fn hear(&self, signal: &Signal, memory: Option<&str>, now: Timestamp) -> Option<Report> {
        let _ = (signal, memory, now);
        None
    }
}

/// The settings of a kind of check: what stands under its key in `conf.d`. The struct is the only source of the kind's YAML, errors,
/// reference and schema, so each field has a doc comment that a user can read.
pub trait CheckKind: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The key in `conf.d`.
    const NAME: &'static str;
    /// Settings that work, as YAML: what stands behind `NAME:`. A test parses them.
    const EXAMPLE: &'static str;
    /// The setting that a bare scalar is short for, if any: `plugin: CMD` is `plugin: { command: CMD }`.
    const SHORT_FOR: Option<&'static str> = None;

    /// What is known of each of its items, the main field first: what `only`, `except`, `warning` and `bad` may name. Empty for kinds that
    /// measure nothing.
    const FIELDS: &'static [Field<'static>] = &[];

    /// Where it looks, for those who ask whether it needs the network.
    const LOOKS: Looks = Looks::Here;

    /// Whether its runs start programs that get what environment setters gave ([`Context::env`]). To others it is not shown, so that it
    /// may change without them.
    const TAKES_ENV: bool = false;

    /// Judges what serde cannot: names of fields, ranges that contradict each other, texts that must compile.
    fn validate(&mut self) -> Result<(), Invalid> {
        Ok(())
    }

    /// Looks once.
    fn run(&self, context: &Context<'_>) -> impl Future<Output = Result<Report, CheckError>> + Send;

    /// The names of the checks that it judges ([`Check::judges`]).
    fn judges(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Takes a signal ([`Check::hear`]).
    fn hear(&self, signal: &Signal, memory: Option<&str>, now: Timestamp) -> Option<Report> {
        let _ = (signal, memory, now);
        None
    }
}

/// Where a kind of check looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// At this host.
    Here,
    /// At the host that this setting names; at this one if it is not given.
    At(&'static str),
    /// At the host that this setting names; at others if it is not given.
    Out(&'static str),
}

/// The settings, and what hides their secrets in what comes back.
struct Running<T>(T, Mask);

impl<T: CheckKind> Check for Running<T> {
    fn run<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Report, CheckError>> {
        Box::pin(async move { self.1.report(self.0.run(context).await) })
    }

    fn judges(&self) -> Vec<&str> {
        self.0.judges()
    }

    fn hear(&self, signal: &Signal, memory: Option<&str>, now: Timestamp) -> Option<Report> {
        let mut report = self.0.hear(signal, memory, now)?;
        self.1.hide_in_report(&mut report);
        Some(report)
    }
}

/// Makes a check of its settings.
type Build = fn(&Node, &dyn Secrets) -> Result<Arc<dyn Check>, SettingsError>;

/// A kind of check, as the table of kinds lists it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The key in `conf.d`.
    pub name: &'static str,
    /// Settings that work, as YAML.
    pub example: &'static str,
    /// The setting that a bare scalar is short for.
    pub short_for: Option<&'static str>,
    /// What is known of each item, the main field first.
    pub fields: &'static [Field<'static>],
    /// Where it looks.
    pub looks: Looks,
    /// Whether its runs get what environment setters gave.
    pub takes_env: bool,
    build: Build,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Kind {
    /// The kind whose settings are `T`.
    pub const fn of<T: CheckKind>() -> Self {
        Self {
            name: T::NAME,
            example: T::EXAMPLE,
            short_for: T::SHORT_FOR,
            fields: T::FIELDS,
            looks: T::LOOKS,
            takes_env: T::TAKES_ENV,
            build: |node, secrets| {
                let secrets = Recorder::new(secrets);
                let mut settings: T = node.read(T::SHORT_FOR, &secrets)?;
                settings.validate().map_err(|invalid| node.error_at(&invalid.path, invalid.why))?;
                Ok(Arc::new(Running(settings, secrets.mask())))
            },
            schema: |generator| T::json_schema(generator),
        }
    }

    /// Reads settings into a check that can run.
    pub fn build(&self, settings: &Node, secrets: &dyn Secrets) -> Result<Arc<dyn Check>, SettingsError> {
        (self.build)(settings, secrets)
    }

    /// The JSON schema of the settings, with their descriptions.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}
