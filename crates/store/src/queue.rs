//! What waits to be written. Bounded, because the engine never waits for the disk: what does not fit is dropped, the least first.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use monchero_core::Name;

use crate::record::{Record, Urgency};

/// How much of what may be lost (results without a transition, metrics) waits at most, by weight. Ten thousand checks give this in
/// some ten seconds, so only a disk that has stopped taking anything reaches it.
pub(crate) const ROUTINE_BYTES: usize = 4 * 1024 * 1024;
/// How much waits at most in all. What must not be lost may take the space up to here: transitions of ten thousand checks at once.
pub(crate) const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// How many batches wait before they are written without waiting for [`crate::FLUSH_INTERVAL`] to end.
pub(crate) const FLUSH_RECORDS: usize = 2_000;
/// How much may wait by weight before the same: a quarter of what may be lost at most, so that a disk that takes it never loses any.
const FLUSH_BYTES: usize = ROUTINE_BYTES / 4;
/// How many records one transaction takes: it then lasts some ten milliseconds, and what comes meanwhile waits no longer than that.
pub(crate) const COMMIT_RECORDS: usize = 4_000;

/// Records that are written together or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ticket: u64,
    pub(crate) urgency: Urgency,
    pub(crate) records: Vec<Record>,
}

impl Batch {
    fn weight(&self) -> usize {
        self.records.iter().map(Record::weight).sum()
    }
}

/// The waiting batches, in the order of their tickets.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: VecDeque<Batch>,
    last_ticket: u64,
    routine_bytes: usize,
    urgent_bytes: usize,
    urgent: usize,
    records: usize,
    /// When the oldest came.
    since: Option<Instant>,
    /// How many records were dropped since the queue was made.
    pub(crate) dropped: u64,
}

impl Queue {
    /// Takes a batch; its ticket.
    pub(crate) fn push(&mut self, records: Vec<Record>, urgency: Urgency, now: Instant) -> u64 {
        self.last_ticket += 1;
        let batch = Batch { ticket: self.last_ticket, urgency, records };
        self.since.get_or_insert(now);
        self.count(&batch, true);
        self.batches.push_back(batch);
        if self.routine_bytes > ROUTINE_BYTES || self.bytes() > QUEUE_BYTES {
            self.shed();
        }
        self.last_ticket
    }

    fn count(&mut self, batch: &Batch, comes: bool) {
        let weight = batch.weight();
        let apply =
            |number: &mut usize, by: usize| *number = if comes { *number + by } else { number.saturating_sub(by) };
        apply(&mut self.records, batch.records.len());
        match batch.urgency {
            Urgency::Now => {
                apply(&mut self.urgent, 1);
                apply(&mut self.urgent_bytes, weight);
            }
            Urgency::Soon => apply(&mut self.routine_bytes, weight),
        }
    }

    /// The last ticket that was given.
    pub(crate) fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.routine_bytes + self.urgent_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether something must not wait any longer.
    pub(crate) fn is_pressing(&self) -> bool {
        self.urgent > 0 || self.records >= FLUSH_RECORDS || self.bytes() >= FLUSH_BYTES
    }

    /// When the oldest came.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes the oldest batches, whole ones, for one transaction.
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        let mut taken = Vec::new();
        let mut records = 0;
        while records < COMMIT_RECORDS {
            let Some(batch) = self.batches.pop_front() else { break };
            records += batch.records.len();
            self.count(&batch, false);
            taken.push(batch);
        }
        if self.batches.is_empty() {
            self.since = None;
            self.batches.shrink_to(64);
        }
        taken
    }

    /// Makes room: first what is replaced by something later, then what may be lost, then history, then whatever is oldest. Goes well
    /// below the bound, so that the work is spread over many batches.
    fn shed(&mut self) {
        self.drop_replaced();
        let routine = ROUTINE_BYTES / 4 * 3;
        self.drop_oldest(
            |queue| queue.routine_bytes > routine,
            |batch, record| batch == Urgency::Soon && is_routine(record),
        );
        let all = QUEUE_BYTES / 4 * 3;
        self.drop_oldest(|queue| queue.bytes() > all, |_, record| is_history(record));
        self.drop_oldest(|queue| queue.bytes() > all, |_, _| true);
        let last = self.last_ticket;
        let urgent = &mut self.urgent;
        self.batches.retain(|batch| {
            let stays = !batch.records.is_empty() || batch.ticket == last;
            *urgent -= usize::from(!stays && batch.urgency == Urgency::Now);
            stays
        });
    }

    /// Every record with a key replaces the one before with the same key, so the last of them is enough.
    fn drop_replaced(&mut self) {
        let mut seen = HashSet::new();
        let mut batches = std::mem::take(&mut self.batches);
        for batch in batches.iter_mut().rev() {
            self.count(batch, false);
            let mut keep: Vec<bool> =
                batch.records.iter().rev().map(|record| Key::of(record).is_none_or(|key| seen.insert(key))).collect();
            batch.records.retain(|_| keep.pop().unwrap_or(true));
            self.count(batch, true);
        }
        self.batches = batches;
    }

    fn drop_oldest(&mut self, too_much: impl Fn(&Self) -> bool, may: impl Fn(Urgency, &Record) -> bool) {
        let mut batches = std::mem::take(&mut self.batches);
        for batch in &mut batches {
            let urgency = batch.urgency;
            batch.records.retain(|record| {
                if !(too_much(self) && may(urgency, record)) {
                    return true;
                }
                let bytes = if urgency == Urgency::Now { &mut self.urgent_bytes } else { &mut self.routine_bytes };
                *bytes = bytes.saturating_sub(record.weight());
                self.records = self.records.saturating_sub(1);
                self.dropped += 1;
                false
            });
        }
        self.batches = batches;
    }
}

/// What may be lost: the next result brings it again.
pub(crate) fn is_routine(record: &Record) -> bool {
    matches!(record, Record::Check(_) | Record::Metrics { .. })
}

fn is_history(record: &Record) -> bool {
    matches!(record, Record::Transition { .. } | Record::Notice(_) | Record::Metrics { .. })
}

/// What a record replaces.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Check(Name),
    Told(Name, Name),
    Acknowledgement(Name),
    Downtime(u64),
    Action(u64),
}

impl Key {
    fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Check(check) => Some(Self::Check(check.name.clone())),
            Record::Told { check, target, .. } => Some(Self::Told(check.clone(), target.clone())),
            Record::Acknowledgement { check, .. } => Some(Self::Acknowledgement(check.clone())),
            Record::Downtime(downtime) => Some(Self::Downtime(downtime.id)),
            Record::Action(action) => Some(Self::Action(action.id)),
            Record::Transition { .. }
            | Record::Metrics { .. }
            | Record::Notice(_)
            | Record::DowntimeEnded(_)
            | Record::Posted { .. }
            | Record::Running(_)
            | Record::Forget(_) => None,
        }
    }
}

impl Record {
    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Check(check) => {
                    let metrics: usize = check.result.metrics.iter().map(|metric| 160 + metric.label.len()).sum();
                    // The memory is shared with the check, and still it is here alone when the check has another one.
                    let memory = check.memory.as_ref().map_or(0, |memory| memory.text.len());
                    480 + check.result.message.len() + check.result.output.len() + metrics + memory
                }
                Self::Transition { message, .. } => message.len(),
                Self::Metrics { points, .. } => {
                    points.iter().map(|(label, unit, _)| 56 + label.len() + unit.len()).sum()
                }
                Self::Told { told, .. } => told.missed.len() * 64,
                Self::Notice(notice) => 240 + notice.detail.len(),
                Self::Action(action) => 240 + action.message.len() + action.output.len() + action.reason.len(),
                Self::Acknowledgement { acknowledgement, .. } => {
                    acknowledgement.as_ref().map_or(0, |ack| ack.author.len() + ack.comment.len())
                }
                Self::Downtime(downtime) => {
                    160 + downtime.comment.len() + downtime.author.len() + downtime.covers.len()
                }
                // What is owed is one line at most, a few hundred bytes.
                Self::Posted { .. } => 512,
                Self::DowntimeEnded(_) | Self::Forget(_) | Self::Running(_) => 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use monchero_core::decide::Told;

    use super::*;

    fn metrics(check: &str) -> Record {
        Record::Metrics {
            check: Name::new(check),
            at: Timestamp::UNIX_EPOCH,
            points: vec![("a".into(), "".into(), 1.0); 8],
        }
    }

    fn told(check: &str, count: u64) -> Record {
        Record::Told { check: Name::new(check), target: Name::new("ops"), told: Told { count, ..Told::default() } }
    }

    fn drain(queue: &mut Queue) -> Vec<Batch> {
        let mut all = Vec::new();
        while !queue.is_empty() {
            all.extend(queue.take());
        }
        all
    }

    #[test]
    fn metrics_go_first_and_the_bound_holds() {
        let mut queue = Queue::default();
        for i in 0..30_000 {
            queue.push(vec![metrics(&format!("check-{i}"))], Urgency::Soon, Instant::now());
            if i % 10 == 0 {
                queue.push(vec![told(&format!("check-{i}"), 1)], Urgency::Now, Instant::now());
            }
            assert!(queue.routine_bytes <= ROUTINE_BYTES && queue.bytes() <= QUEUE_BYTES);
        }
        let dropped = queue.dropped;
        let batches = drain(&mut queue);
        assert_eq!(
            batches.iter().filter(|batch| batch.urgency == Urgency::Now).count(),
            3_000,
            "nothing urgent was dropped"
        );
        let left = batches.iter().flat_map(|batch| &batch.records).filter(|record| is_routine(record)).count();
        assert_eq!(left as u64 + dropped, 30_000);
        assert!(batches.windows(2).all(|pair| pair[0].ticket < pair[1].ticket));
        assert_eq!(batches.last().unwrap().ticket, 33_000);
        assert_eq!((queue.routine_bytes, queue.urgent_bytes, queue.urgent, queue.records), (0, 0, 0, 0));
    }

    /// One batch that is too large loses what is too much, and not all of it.
    #[test]
    fn a_batch_loses_no_more_than_it_must() {
        let mut queue = Queue::default();
        let record = metrics("check");
        let count = ROUTINE_BYTES / record.weight() + 100;
        queue.push(vec![record.clone(); count], Urgency::Soon, Instant::now());
        assert!(queue.routine_bytes <= ROUTINE_BYTES);
        assert!(queue.routine_bytes > ROUTINE_BYTES / 4 * 3 - 2 * record.weight(), "{}", queue.routine_bytes);
        let left: usize = drain(&mut queue).iter().map(|batch| batch.records.len()).sum();
        assert_eq!(left as u64 + queue.dropped, count as u64);
        assert_eq!((queue.routine_bytes, queue.records), (0, 0));
    }

    /// Much that waits is written before it is too much.
    #[test]
    fn much_is_pressing_long_before_it_is_too_much() {
        let mut queue = Queue::default();
        let record = metrics("check");
        while queue.bytes() < FLUSH_BYTES {
            assert!(!queue.is_pressing());
            queue.push(vec![record.clone(); 100], Urgency::Soon, Instant::now());
            if queue.records >= FLUSH_RECORDS {
                break;
            }
        }
        assert!(queue.is_pressing() && queue.bytes() < ROUTINE_BYTES / 2);
    }

    /// Urgent batches that others replace leave nothing behind that presses.
    #[test]
    fn nothing_presses_when_all_is_taken() {
        let mut queue = Queue::default();
        for i in 0..2 * QUEUE_BYTES as u64 / 200 {
            queue.push(vec![told("check", i)], Urgency::Now, Instant::now());
        }
        drain(&mut queue);
        assert!(!queue.is_pressing());
    }

    #[test]
    fn what_is_replaced_costs_nothing() {
        let mut queue = Queue::default();
        let rounds = 2 * QUEUE_BYTES as u64 / 200;
        for i in 0..rounds {
            queue.push(vec![told(&format!("check-{}", i % 100), i)], Urgency::Now, Instant::now());
        }
        assert_eq!(queue.dropped, 0, "only the last of each key counts");
        let batches = drain(&mut queue);
        let last = batches.iter().flat_map(|batch| &batch.records).last().unwrap();
        assert_eq!(last, &told(&format!("check-{}", (rounds - 1) % 100), rounds - 1));
    }

    #[test]
    fn batches_are_never_cut() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.push(vec![Record::DowntimeEnded(1); COMMIT_RECORDS - 1], Urgency::Soon, Instant::now());
        }
        assert_eq!(queue.take().len(), 2);
        assert_eq!(queue.take().len(), 1);
    }
}
