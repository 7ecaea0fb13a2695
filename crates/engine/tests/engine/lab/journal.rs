//! A journal in memory, which survives restarts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use monchero_core::action::Posted;
use monchero_core::summary::Tally;
use monchero_core::{Name, Transition};
use monchero_engine::Journal;
use monchero_store::record::ActionState;
use monchero_store::{Committed, Loaded, Record, StoredCheck, Urgency};
use tokio::sync::watch;

/// Keeps what the store would keep, and commits at once.
pub(crate) struct MemoryJournal {
    kept: Mutex<Kept>,
    committed: watch::Sender<Committed>,
    pub(crate) notices: Mutex<Vec<monchero_store::NoticeRow>>,
    /// Whether the disk takes its time: nothing counts as committed before [`Self::catch_up`].
    late: AtomicBool,
    /// How many checks the largest batch had that need not be on disk at once.
    pub(crate) largest: Mutex<usize>,
}

#[derive(Default)]
struct Kept {
    ticket: u64,
    checks: BTreeMap<Name, StoredCheck>,
    told: BTreeMap<(Name, Name), monchero_core::Told>,
    acknowledgements: BTreeMap<Name, monchero_core::hold::Acknowledgement>,
    downtimes: BTreeMap<u64, monchero_core::hold::Downtime>,
    posted: BTreeMap<(Name, Name), Posted>,
    running: Option<Timestamp>,
    history: Vec<(Name, Transition)>,
    actions: BTreeMap<u64, monchero_store::ActionRow>,
    last_id: u64,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            committed: watch::channel(Committed::default()).0,
            notices: Mutex::default(),
            late: AtomicBool::default(),
            largest: Mutex::default(),
        }
    }
}

impl MemoryJournal {
    /// The disk takes its time from now on.
    pub(crate) fn fall_behind(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// All that was written is on disk, and the disk is as quick as ever.
    pub(crate) fn catch_up(&self) {
        self.late.store(false, Ordering::Relaxed);
        let ticket = self.kept.lock().unwrap().ticket;
        self.committed.send_replace(Committed { ticket, trouble: None });
    }

    /// All transitions, in their order.
    pub(crate) fn transitions(&self) -> Vec<(Name, Transition)> {
        self.kept.lock().unwrap().history.clone()
    }

    /// When each check that is kept was looked at last.
    pub(crate) fn last_checks(&self) -> Vec<Option<Timestamp>> {
        self.kept.lock().unwrap().checks.values().map(|check| check.status.last_check).collect()
    }

    /// How many downtimes are kept.
    pub(crate) fn downtimes(&self) -> usize {
        self.kept.lock().unwrap().downtimes.len()
    }

    pub(super) fn load(&self) -> Loaded {
        let mut kept = self.kept.lock().unwrap();
        let mut interrupted = Vec::new();
        for row in kept.actions.values_mut().filter(|row| row.outcome == ActionState::Intended) {
            row.outcome = ActionState::Interrupted;
            interrupted.push(row.clone());
        }
        Loaded {
            checks: kept.checks.values().cloned().collect(),
            told: kept
                .told
                .iter()
                .map(|((check, target), told)| (check.clone(), target.clone(), told.clone()))
                .collect(),
            acknowledgements: kept.acknowledgements.iter().map(|(check, ack)| (check.clone(), ack.clone())).collect(),
            downtimes: kept.downtimes.values().cloned().collect(),
            posted: kept
                .posted
                .iter()
                .map(|((topic, target), posted)| (topic.clone(), target.clone(), posted.clone()))
                .collect(),
            unfinished: kept.running,
            interrupted,
            recent_actions: kept
                .actions
                .values()
                .filter(|row| row.outcome != ActionState::Interrupted)
                .cloned()
                .collect(),
            last_id: kept.last_id,
            repairs: Vec::new(),
        }
    }
}

impl Journal for MemoryJournal {
    fn write(&self, records: Vec<Record>, urgency: Urgency) -> u64 {
        if urgency == Urgency::Soon {
            let checks = records.iter().filter(|record| matches!(record, Record::Check(_))).count();
            let mut largest = self.largest.lock().unwrap();
            *largest = checks.max(*largest);
        }
        let mut kept = self.kept.lock().unwrap();
        for record in records {
            match record {
                Record::Check(check) => drop(kept.checks.insert(check.name.clone(), *check)),
                Record::Transition { check, transition, .. } => kept.history.push((check, transition)),
                Record::Posted { topic, target, posted: Some(posted) } => {
                    drop(kept.posted.insert((topic, target), posted));
                }
                Record::Posted { topic, target, posted: None } => drop(kept.posted.remove(&(topic, target))),
                Record::Running(since) => kept.running = since,
                Record::Told { check, target, told } => drop(kept.told.insert((check, target), told)),
                Record::Action(row) => {
                    kept.last_id = kept.last_id.max(row.id);
                    kept.actions.insert(row.id, *row);
                }
                Record::Acknowledgement { check, acknowledgement: Some(ack) } => {
                    drop(kept.acknowledgements.insert(check, ack));
                }
                Record::Acknowledgement { check, acknowledgement: None } => drop(kept.acknowledgements.remove(&check)),
                Record::Downtime(downtime) => {
                    kept.last_id = kept.last_id.max(downtime.id);
                    kept.downtimes.insert(downtime.id, *downtime);
                }
                Record::DowntimeEnded(id) => drop(kept.downtimes.remove(&id)),
                Record::Forget(name) => {
                    kept.checks.remove(&name);
                    kept.told.retain(|(check, _), _| *check != name);
                    kept.acknowledgements.remove(&name);
                }
                Record::Notice(notice) => self.notices.lock().unwrap().push(*notice),
                Record::Metrics { .. } => {}
            }
        }
        kept.ticket += 1;
        let ticket = kept.ticket;
        drop(kept);
        if !self.late.load(Ordering::Relaxed) {
            self.committed.send_replace(Committed { ticket, trouble: None });
        }
        ticket
    }

    fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    fn tally(&self, tally: &mut Tally) -> Result<(), String> {
        let kept = self.kept.lock().unwrap();
        let since = tally.since();
        for (check, transition) in kept.history.iter().filter(|(_, transition)| transition.at >= since) {
            tally.transition(check, transition);
        }
        drop(kept);
        self.notices.lock().unwrap().iter().for_each(|row| tally.notice(row.delivered));
        Ok(())
    }
}
