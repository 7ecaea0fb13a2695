//! What the tests of the store share.
#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(clippy::allow_attributes, reason = "an expectation would be unmet in those that use all of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use monchero_core::decide::{NoticeKind, Told};
use monchero_core::hold::{Acknowledgement, Downtime};
use monchero_core::incident::IncidentId;
use monchero_core::quantity::Unit;
use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Metric, Name, State, StateType, Transition};
use monchero_store::record::ActionState;
use monchero_store::{ActionRow, Loaded, Memory, NoticeRow, Record, Store, StoreOptions, StoredCheck, Urgency};

/// The present of most tests, in milliseconds.
pub(crate) const NOW: i64 = 1_800_000_000_000;
/// How long a test waits for something that takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn at(offset_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(NOW + offset_ms).unwrap()
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions::new(Arc::new(|| at(0)))
}

pub(crate) fn open(directory: &Path) -> (Store, Loaded) {
    Store::open(directory, options()).unwrap_or_else(|why| panic!("{why}"))
}

/// Writes and waits until it is on disk.
pub(crate) fn write(store: &Store, records: Vec<Record>) {
    let ticket = store.write(records, Urgency::Now);
    wait(store, |committed| committed.ticket >= ticket && committed.trouble.is_none());
}

/// Waits until the writer says so.
pub(crate) fn wait(store: &Store, reached: impl Fn(&monchero_store::Committed) -> bool) {
    let receiver = store.committed();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let committed = receiver.borrow().clone();
        if reached(&committed) {
            return;
        }
        assert!(Instant::now() < deadline, "the store got no further than {committed:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A line for whoever reads the output: a parent process, or a person who measures.
#[expect(clippy::print_stdout, reason = "that is what it is for")]
pub(crate) fn say(what: &str) {
    println!("{what}");
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text)
}

pub(crate) fn check(name: &str, sequence: u64) -> StoredCheck {
    let metrics = ["time", "size"].map(|label| Metric::new(label, 0.125 * (sequence % 1000) as f64, Unit::new("ms")));
    StoredCheck {
        name: Name::new(name),
        status: CheckStatus {
            state: State::Bad,
            state_type: StateType::Hard,
            attempt: 3,
            hard_state: State::Bad,
            since: Some(at(-5)),
            last_check: Some(at(i64::try_from(sequence).unwrap())),
            sequence,
            ..CheckStatus::default()
        },
        result: ServiceResult {
            state: State::Bad,
            message: format!("answer {sequence} of {name} came after 3 s").into(),
            output: "further \u{1f600} lines\nand more".into(),
            metrics: metrics.into(),
        },
        duration_ms: 17,
        anchor: Some(at(-60_000)),
        missing_since: None,
        asked: None,
        parent: name.contains('/').then(|| Name::new(name.split('/').next().unwrap())),
        next_check: Some(at(1_000)),
        memory: sequence
            .is_multiple_of(2)
            .then(|| Memory { kind: "disk".into(), text: format!("[{sequence}]").into() }),
    }
}

pub(crate) fn stored(name: &str, sequence: u64) -> Record {
    Record::Check(Box::new(check(name, sequence)))
}

pub(crate) fn transition(check: &str, sequence: u64) -> Record {
    Record::Transition {
        check: Name::new(check),
        transition: Transition {
            at: at(i64::try_from(sequence).unwrap()),
            sequence,
            previous_state: State::Okay,
            previous_type: StateType::Hard,
            state: State::Bad,
            state_type: StateType::Soft,
            attempt: 1,
            max_attempts: 3,
            incident: Some(IncidentId::from_u64(sequence)),
            incident_since: None,
        },
        message: format!("transition {sequence}").into(),
    }
}

pub(crate) fn told(check: &str, target: &str, count: u64) -> Record {
    let told = Told {
        state: State::Warning,
        at: Some(at(1)),
        count,
        incident: Some(IncidentId::from_u64(9)),
        ..Told::default()
    };
    Record::Told { check: Name::new(check), target: Name::new(target), told }
}

pub(crate) fn notice(check: &str, delivery: &str) -> Record {
    Record::Notice(Box::new(NoticeRow {
        at: at(7),
        check: Name::new(check),
        target: Name::new("ops"),
        delivery_id: delivery.to_owned(),
        kind: NoticeKind::Problem,
        state: State::Bad,
        incident: None,
        delivered: true,
        attempt: 2,
        detail: "250 ok".to_owned(),
        drill: false,
    }))
}

pub(crate) fn action(id: u64, check: &str, outcome: ActionState) -> ActionRow {
    ActionRow {
        id,
        at: at(-1000 + i64::try_from(id).unwrap()),
        check: Name::new(check),
        action: Name::new("restart"),
        incident: Some(IncidentId::from_u64(5)),
        reason: "hard bad".to_owned(),
        outcome,
        ended: (outcome != ActionState::Intended).then(|| at(-500)),
        message: String::new(),
        output: "restarting ..\n".to_owned(),
    }
}

pub(crate) fn acted(id: u64, check: &str, outcome: ActionState) -> Record {
    Record::Action(Box::new(action(id, check, outcome)))
}

pub(crate) fn acknowledgement(comment: &str) -> Acknowledgement {
    Acknowledgement {
        at: at(2),
        author: "ann".to_owned(),
        comment: comment.to_owned(),
        until: Some(at(9_000)),
        sticky: true,
        state: State::Bad,
    }
}

pub(crate) fn acknowledged(check: &str, comment: Option<&str>) -> Record {
    Record::Acknowledgement { check: Name::new(check), acknowledgement: comment.map(acknowledgement) }
}

pub(crate) fn downtime(id: u64, pattern: &str, end: i64) -> Downtime {
    Downtime {
        id,
        covers: pattern.into(),
        start: at(-10),
        end: at(end),
        author: "bob".to_owned(),
        comment: "work".to_owned(),
        ..Downtime::default()
    }
}

pub(crate) fn metrics(check: &str, at: Timestamp, value: f64) -> Record {
    Record::Metrics { check: Name::new(check), at, points: vec![("time".into(), "s".into(), value)] }
}

/// Everything that is loaded in an order that does not depend on when it was written.
pub(crate) fn sorted(mut loaded: Loaded) -> Loaded {
    loaded.checks.sort_by(|a, b| a.name.cmp(&b.name));
    loaded.told.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    loaded.acknowledgements.sort_by(|a, b| a.0.cmp(&b.0));
    loaded.downtimes.sort_by_key(|downtime| downtime.id);
    loaded.interrupted.sort_by_key(|action| action.id);
    loaded.recent_actions.sort_by_key(|action| action.id);
    loaded
}

/// A generator of numbers whose seed is printed by the test that fails.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The seed of another one.
    pub(crate) fn seed(&mut self) -> u64 {
        self.below(usize::MAX) as u64 + 1
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // xorshift64*: enough to choose places by.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound.max(1)
    }
}
