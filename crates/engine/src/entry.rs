//! One check or service in the engine: its definition, its row, its place in the schedule.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::definition::{Definition, Place, Settings};
use monchero_core::{BoxFuture, Check, CheckError, Context, Name, Policy, Report, State};
use monchero_store::{Asked, StoredCheck};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::schedule::Grid;
use crate::view::Row;

/// Which entry, and which of its lives: a message about an earlier life is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    /// The place in the table.
    pub(crate) index: u32,
    /// Differs for every entry that ever had that place.
    pub(crate) life: u32,
}

/// Where a check is between two slots.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Nothing to do until it is due.
    #[default]
    Idle,
    /// Due, waits for a place to run.
    Waiting,
    /// Runs.
    Running(Running),
}

/// A run that goes on.
#[derive(Debug)]
pub(crate) struct Running {
    /// Ends it.
    pub(crate) abort: AbortHandle,
    /// When it started.
    pub(crate) started: Instant,
    /// How many places it takes.
    pub(crate) weight: usize,
    /// Whether it still counts as starting (see `runs::YOUNG`).
    pub(crate) young: bool,
    /// Whether the whole daemon stood still meanwhile: its timeout proves nothing (R19).
    pub(crate) frozen: bool,
    /// Whether a signal came meanwhile, or the run was given up: it judges what is no longer so.
    pub(crate) overtaken: bool,
}

/// A check or service.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that no other field says; none excludes another"
)]
pub(crate) struct Entry {
    /// What runs; of a service, the check that reports it.
    pub(crate) definition: Arc<Definition>,
    /// The truth.
    pub(crate) row: Arc<Row>,
    /// What others see while a transition is on its way to the disk.
    pub(crate) shown: Option<Arc<Row>>,
    /// How many transitions are on their way.
    pub(crate) unpublished: u32,
    /// Which life this is.
    pub(crate) life: u32,
    /// From slot to slot: the definition's, or what a native plugin asks for.
    pub(crate) interval: Duration,
    /// The first slot by the wall clock; none for what is not scheduled.
    pub(crate) anchor: Option<Timestamp>,
    /// The slots on the monotonic clock.
    pub(crate) grid: Grid,
    /// Counts places in the schedule: only the newest is valid.
    pub(crate) place: u32,
    /// Where it is between two slots.
    pub(crate) phase: Phase,
    /// What the next run is to know.
    pub(crate) memory: Option<Arc<str>>,
    /// A process of it that cannot be ended, and since when: no further run until it is gone (R6).
    pub(crate) stuck: Option<(i32, Timestamp)>,
    /// Whether something changed that is not in the store yet.
    pub(crate) dirty: bool,
    /// Whether a notice waits for another look at this check or at one that it depends on.
    pub(crate) awaits_recheck: bool,
    /// Whether its runs ever reported services.
    pub(crate) has_services: bool,
    /// Since when the runs of its check do not report this service.
    pub(crate) missing_since: Option<Timestamp>,
    /// Whether it is not run because it crashed the daemon, until somebody asks for it (R33).
    pub(crate) benched: bool,
    /// Whether it is no longer configured and only waits until its targets were told.
    pub(crate) gone: bool,
}

impl Entry {
    /// A new entry, with what was stored about it if anything was.
    pub(crate) fn new(
        definition: Arc<Definition>,
        name: &Name,
        parent: Option<Name>,
        stored: Option<StoredCheck>,
        life: u32,
        now: Instant,
    ) -> Self {
        let stored_anchor = stored.as_ref().and_then(|stored| stored.anchor);
        let next_check = stored.as_ref().and_then(|stored| stored.next_check);
        let asked =
            stored.as_ref().and_then(|stored| stored.asked.as_ref()).and_then(|asked| asked_of(&definition, asked));
        let missing_since = stored.as_ref().and_then(|stored| stored.missing_since);
        let memory = stored.as_ref().and_then(|stored| stored.memory.clone());
        let memory = memory.filter(|memory| *memory.kind == *definition.kind).map(|memory| memory.text);
        let (status, result, duration) =
            stored.map_or_else(Default::default, |s| (s.status, s.result, Duration::from_millis(s.duration_ms)));
        let interval = asked.unwrap_or(definition.interval);
        let row = Row {
            name: name.clone(),
            kind: definition.kind,
            status,
            max_attempts: definition.policy.max_attempts,
            result,
            duration,
            next_check,
            running: false,
            skipped: 0,
            holds: Vec::new(),
            labels: Arc::clone(&definition.labels),
            parent,
        };
        Self {
            definition,
            row: Arc::new(row),
            shown: None,
            unpublished: 0,
            life,
            interval,
            anchor: stored_anchor,
            grid: Grid::new(now, interval),
            place: 0,
            phase: Phase::Idle,
            memory,
            stuck: None,
            dirty: false,
            awaits_recheck: false,
            has_services: false,
            missing_since,
            benched: false,
            gone: false,
        }
    }

    /// The row, to change it. Pictures that others hold keep what they show.
    pub(crate) fn row_mut(&mut self) -> &mut Row {
        Arc::make_mut(&mut self.row)
    }

    /// The row as others may see it.
    pub(crate) fn visible(&self) -> &Arc<Row> {
        self.shown.as_ref().unwrap_or(&self.row)
    }

    /// Whether it has a schedule of its own.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.row.parent.is_none() && !self.is_internal() && !self.gone
    }

    /// Whether the engine itself makes its results.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self.definition.kind, SELF_KIND | CONFIG_KIND)
    }

    /// What the store keeps.
    pub(crate) fn stored(&self) -> StoredCheck {
        StoredCheck {
            name: self.row.name.clone(),
            status: self.row.status.clone(),
            result: self.row.result.clone(),
            duration_ms: millis(self.row.duration),
            anchor: self.anchor,
            parent: self.row.parent.clone(),
            missing_since: self.missing_since,
            asked: (self.row.parent.is_none() && self.interval != self.definition.interval).then(|| Asked {
                kind: self.definition.kind.into(),
                configured_ms: millis(self.definition.interval),
                interval_ms: millis(self.interval),
            }),
            next_check: self.row.next_check,
            memory: self.memory.clone().map(|text| monchero_store::Memory { kind: self.definition.kind.into(), text }),
        }
    }
}

/// The interval that a check asked for under an earlier daemon, if it is still the same check.
fn asked_of(definition: &Definition, asked: &Asked) -> Option<Duration> {
    let is_same = *asked.kind == *definition.kind && asked.configured_ms == millis(definition.interval);
    is_same.then(|| Duration::from_millis(asked.interval_ms))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The kind of the checks by which monchero watches itself.
pub(crate) const SELF_KIND: &str = "self";
/// The kind of the checks that show broken configuration files.
pub(crate) const CONFIG_KIND: &str = "config";

/// A check whose results do not come from running it.
struct Never;

impl Check for Never {
    fn run<'a>(&'a self, _: &'a Context<'a>) -> BoxFuture<'a, Result<Report, CheckError>> {
        Box::pin(async { Err(CheckError::Unable("this check is not run: its results come from elsewhere".to_owned())) })
    }
}

/// The definition of a check that the engine itself reports, or of one that is gone.
pub(crate) fn never_run(name: Name, kind: &'static str, actions: Arc<[Name]>) -> Definition {
    Definition {
        name,
        kind,
        check: Arc::new(Never),
        settings: Arc::new(Settings {
            interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            policy: Policy { max_attempts: 1, recover_after: 1, flapping: None },
            on_timeout: State::Unknown,
            weight: 1,
            labels: Arc::default(),
            depends_on: Arc::from([]),
            actions,
            env: Arc::from([]),
        }),
        source: Place { file: Arc::from("monchero"), line: None },
        fingerprint: 0,
    }
}
