//! Planned work: when it begins and ends, and whom it covers.

use std::time::Duration;

use jiff::Timestamp;
use monchero_core::hold::{Downtime, Hold, Recurring, Selector};
use monchero_core::node;
use monchero_core::order;
use monchero_store::Record;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::entry::{Entry, Id};
use crate::handle::Refusal;

/// The most downtimes that may be planned at once.
const MAX_DOWNTIMES: usize = 1_000;

/// How long a downtime that is over is kept, in case that the wall clock was ahead.
const KEEP_ENDED: Duration = Duration::from_secs(86_400);

/// All planned work.
#[derive(Debug, Default)]
pub(crate) struct Downtimes {
    /// What people planned; the store has it too.
    planned: Vec<Downtime>,
    /// What is over, and since when: a clock that is ahead for a while is not to take it along.
    ended: Vec<(Downtime, Instant)>,
    /// What the configuration plans again and again.
    recurring: Vec<Recurring>,
    /// Of each of those, the occurrence that goes on or comes next.
    occurrences: Vec<Downtime>,
    /// When something begins or ends next.
    next_turn: Option<Timestamp>,
}

impl Downtimes {
    /// What an earlier daemon left.
    pub(crate) fn new(planned: Vec<Downtime>) -> Self {
        Self { planned, ..Self::default() }
    }

    /// All that have not ended, those that recur with their present or next occurrence.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Downtime> {
        self.planned.iter().chain(&self.occurrences)
    }

    /// The hold on a check, if there is one: of several, the one that ends last.
    pub(crate) fn hold(&self, entry: &Entry, now: Timestamp) -> Option<Hold> {
        let hold = |downtime: &Downtime| downtime.hold(entry.row.name.as_str(), &entry.row.labels, now);
        self.all().filter_map(hold).max_by_key(Hold::until)
    }

    /// A new configuration, or a clock that was set: looks anew what goes on.
    pub(crate) fn look_again(&mut self, recurring: Option<Vec<Recurring>>, now: Timestamp) {
        self.recurring = recurring.unwrap_or_else(|| std::mem::take(&mut self.recurring));
        let back = self.ended.extract_if(.., |(downtime, _)| downtime.over() > now).map(|(downtime, _)| downtime);
        self.planned.extend(back);
        let over = self.planned.extract_if(.., |downtime| downtime.over() <= now);
        self.ended.extend(over.map(|downtime| (downtime, Instant::now())));
        self.occurrences = self.recurring.iter().filter_map(|recurring| recurring.occurrence(now)).collect();
        self.watch(now);
    }

    /// Notes when something begins or ends next.
    fn watch(&mut self, now: Timestamp) {
        let turns = self.all().flat_map(|downtime| [downtime.start, downtime.over()]);
        self.next_turn = turns.filter(|at| *at > now).min();
    }
}

impl Engine {
    pub(crate) fn add_downtime(&mut self, mut downtime: Downtime) -> Result<Downtime, Refusal> {
        let wall = self.wall();
        if downtime.end <= downtime.start || downtime.end <= wall {
            return Err(Refusal::Senseless("a downtime ends after it begins, and not in the past".to_owned()));
        }
        if self.downtimes.planned.len() >= MAX_DOWNTIMES {
            return Err(Refusal::Senseless(format!("{MAX_DOWNTIMES} downtimes are planned already; end some first")));
        }
        let covered = self.covered(&downtime.covers);
        if covered.is_empty() {
            return Err(self.covers_nothing(&downtime.covers));
        }
        downtime.id = self.next_id();
        self.begin_with(&mut downtime, &covered);
        self.downtimes.planned.push(downtime.clone());
        self.downtimes.watch(wall);
        self.write_now(Record::Downtime(Box::new(downtime.clone())));
        for id in covered {
            self.reconcile(id);
        }
        Ok(downtime)
    }

    fn covers_nothing(&self, covers: &Selector) -> Refusal {
        match covers.checks.as_slice() {
            [name] if covers.labels.is_empty() => {
                let near = node::nearest(name, self.entries.names().map(|(name, _)| name.as_str())).map(str::to_owned);
                Refusal::NoSuchCheck { name: name.clone(), near }
            }
            _ => Refusal::Senseless(format!("no check fits `{covers}`")),
        }
    }

    pub(crate) fn end_downtime(&mut self, number: u64) -> Result<Downtime, Refusal> {
        let Some(place) = self.downtimes.planned.iter().position(|downtime| downtime.id == number) else {
            return Err(Refusal::Senseless(format!(
                "there is no downtime {number}; `monchero downtime list` shows all"
            )));
        };
        let downtime = self.downtimes.planned.remove(place);
        self.write_now(Record::DowntimeEnded(number));
        for id in self.covered(&downtime.covers) {
            self.reconcile(id);
        }
        Ok(downtime)
    }

    fn covered(&self, covers: &Selector) -> Vec<Id> {
        let fits = |id: &Id| {
            self.entries.get(*id).is_some_and(|entry| covers.fits(entry.row.name.as_str(), &entry.row.labels))
        };
        self.entries.names().map(|(_, id)| id).filter(fits).collect()
    }

    /// Downtimes that began or ended since the last look change what holds notices.
    pub(crate) fn turn_downtimes(&mut self) {
        let wall = self.wall();
        if self.downtimes.next_turn.is_none_or(|at| wall < at) {
            return;
        }
        let covers: Vec<Selector> = self.downtimes.all().map(|downtime| downtime.covers.clone()).collect();
        let mut ids: Vec<Id> = covers.iter().flat_map(|covers| self.covered(covers)).collect();
        order::sort(&mut ids);
        ids.dedup();
        self.begin_flexible(None);
        self.downtimes.look_again(None, wall);
        for id in ids {
            self.reconcile(id);
        }
    }

    /// Forgets what has been over for so long that the clock is believed, and the oldest of what is too much.
    pub(crate) fn forget_downtimes(&mut self, now: Instant) {
        let mut excess = self.downtimes.ended.len().saturating_sub(MAX_DOWNTIMES);
        let old = self.downtimes.ended.extract_if(.., |(_, since)| {
            let is_excess = excess > 0;
            excess = excess.saturating_sub(1);
            is_excess || now.saturating_duration_since(*since) >= KEEP_ENDED
        });
        let old: Vec<u64> = old.map(|(downtime, _)| downtime.id).collect();
        for id in old {
            self.write_now(Record::DowntimeEnded(id));
        }
    }

    /// Begins the flexible downtimes that wait for a problem and have one: of this check, or of any if none is named.
    pub(crate) fn begin_flexible(&mut self, of: Option<Id>) {
        let wall = self.wall();
        if !self.downtimes.planned.iter().any(|downtime| downtime.awaits_problem(wall)) {
            return;
        }
        let mut planned = std::mem::take(&mut self.downtimes.planned);
        let mut held = Vec::new();
        for downtime in planned.iter_mut().filter(|downtime| downtime.awaits_problem(wall)) {
            let covered = self.covered(&downtime.covers);
            if self.begin_with(downtime, of.as_ref().map_or(&covered, std::slice::from_ref)) {
                self.write_now(Record::Downtime(Box::new(downtime.clone())));
                held.extend(covered);
            }
        }
        self.downtimes.planned = planned;
        self.downtimes.watch(wall);
        for id in held {
            self.reconcile(id);
        }
    }

    /// Whether one of these checks has a problem with which a flexible downtime begins, which it then does.
    fn begin_with(&self, downtime: &mut Downtime, checks: &[Id]) -> bool {
        let wall = self.wall();
        let has_problem = |id: &Id| {
            let Some(entry) = self.entries.get(*id) else { return false };
            entry.row.status.state.is_problem() && downtime.covers.fits(entry.row.name.as_str(), &entry.row.labels)
        };
        let begins = downtime.awaits_problem(wall) && checks.iter().any(has_problem);
        if begins {
            downtime.began = Some(wall);
        }
        begins
    }
}
