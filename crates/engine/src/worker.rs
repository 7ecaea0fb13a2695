//! One target's worker: whose turn it is, what waits to be told together, and how many messages a minute are enough.
//!
//! Pure: it knows checks by their ids, and the time as an argument.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Id;

/// How many messages about new trouble go out at once before the rest waits to be told together (R43).
pub(crate) const BURST: usize = 2;
/// Once [`BURST`] messages went out within this time, the next one waits for its end, be it good news: the checks of a storm recover one
/// after the other, and are told together all the same. Well below the two seconds within which people are told.
const BREATH: Duration = Duration::from_secs(1);
/// The most checks of which one message speaks: as many lines as a person can still scroll through.
pub(crate) const MAX_DIGEST: usize = 1_000;
/// The time that a rate counts.
const MINUTE: Duration = Duration::from_secs(60);

/// How a target wants many messages to be put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long new trouble waits for more, once [`BURST`] messages went out; zero for never.
    pub(crate) group: Duration,
    /// How many messages a minute; what is more waits.
    pub(crate) rate: usize,
    /// Whether one message may speak of many checks.
    pub(crate) digests: bool,
}

impl Pace {
    /// Whether messages are put together at all.
    fn groups(self) -> bool {
        self.digests && !self.group.is_zero()
    }
}

/// At most one delivery at a time, so the order of messages about a check is kept.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    queue: VecDeque<Id>,
    queued: HashSet<Id>,
    /// Those of `queued` that wait for the end of the window.
    waiting: BTreeSet<Id>,
    /// Since when new trouble waits for more, and how many messages went out in that time.
    window: Option<(Instant, usize)>,
    /// When the messages of the last minute went out.
    sent: VecDeque<Instant>,
    /// Whether a delivery is under way.
    pub(crate) in_flight: bool,
    /// Why deliveries fail at present.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a target's deliveries fail at present.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// How many tries failed in a row.
    pub(crate) tries: u32,
    /// When the next one is due.
    pub(crate) until: Instant,
    /// Whether the receiver refused for good.
    pub(crate) parked: bool,
    /// Whether what it refused for good was a bulletin: that proves nothing about notices, which do not wait for it.
    pub(crate) only_bulletins: bool,
    /// Why.
    pub(crate) why: String,
}

impl Worker {
    /// A check is to be looked at.
    pub(crate) fn enqueue(&mut self, id: Id) {
        // What waits may have become good news meanwhile, which waits for nobody.
        if self.waiting.remove(&id) || self.queued.insert(id) {
            self.queue.push_back(id);
        }
    }

    /// Whether it may begin a delivery now. What waited long enough is to be looked at again.
    pub(crate) fn is_ready(&mut self, pace: Pace, now: Instant) -> bool {
        if self.window.is_some_and(|(since, _)| now >= since + pace.group) {
            self.window = None;
            self.queue.extend(std::mem::take(&mut self.waiting));
        }
        let rests = self.trouble.as_ref().is_some_and(|trouble| trouble.until > now && !trouble.only_bulletins);
        let breathes = self.breath(pace).is_some_and(|until| until > now);
        !self.queue.is_empty() && !rests && !breathes && self.has_turn(pace, now)
    }

    /// Until when the last messages keep the next one back, if they came close together.
    fn breath(&self, pace: Pace) -> Option<Instant> {
        let first = self.sent.iter().rev().nth(BURST - 1).filter(|_| pace.groups())?;
        Some(*first + BREATH)
    }

    /// Whether one more message may go out now.
    fn has_turn(&mut self, pace: Pace, now: Instant) -> bool {
        while self.sent.front().is_some_and(|at| *at + MINUTE <= now) {
            self.sent.pop_front();
        }
        !self.in_flight && self.sent.len() < pace.rate.max(1)
    }

    /// Begins the delivery of a bulletin, if it may begin now.
    pub(crate) fn begin_bulletin(&mut self, pace: Pace, now: Instant) -> bool {
        let rests = self.trouble.as_ref().is_some_and(|trouble| trouble.until > now);
        let begins = !rests && self.has_turn(pace, now);
        if begins {
            self.sent.push_back(now);
            self.in_flight = true;
        }
        begins
    }

    /// When it has to be looked at although nothing happens.
    pub(crate) fn next_wake(&self, pace: Pace) -> Option<Instant> {
        if self.in_flight {
            return None;
        }
        let queued = (!self.queue.is_empty()).then(|| {
            let rest = self.trouble.as_ref().filter(|trouble| !trouble.only_bulletins).map(|trouble| trouble.until);
            let full =
                (self.sent.len() >= pace.rate.max(1)).then(|| self.sent.front().map(|at| *at + MINUTE)).flatten();
            rest.max(full).max(self.breath(pace))
        });
        let waiting = if self.waiting.is_empty() { None } else { self.window.map(|(since, _)| since + pace.group) };
        queued.flatten().into_iter().chain(waiting).min()
    }

    /// All that is to be looked at sooner or later.
    pub(crate) fn queued(&self) -> Vec<Id> {
        let mut all: Vec<Id> = self.queued.iter().copied().collect();
        all.sort_unstable();
        all
    }

    /// All that is to be looked at, in its order.
    pub(crate) fn take(&mut self) -> Vec<Id> {
        self.queue.drain(..).collect()
    }

    /// These have nothing to tell.
    pub(crate) fn done(&mut self, id: Id) {
        self.queued.remove(&id);
    }

    /// Chooses of all that is to be told, in its order, what the next message tells; `good` says whether it is good news. The rest
    /// waits for its turn or for the window.
    pub(crate) fn choose<T>(
        &mut self,
        tells: Vec<(Id, T)>,
        pace: Pace,
        now: Instant,
        good: impl Fn(&T) -> bool,
    ) -> Vec<(Id, T)> {
        let groups = pace.groups();
        let is_open = groups && self.window.is_some_and(|(_, sent)| sent >= BURST);
        let (mut chosen, held): (Vec<_>, Vec<_>) = tells.into_iter().partition(|(_, tell)| !is_open || good(tell));
        self.waiting.extend(held.into_iter().map(|(id, _)| id));
        let count = if groups && chosen.len() > BURST { chosen.len().min(MAX_DIGEST) } else { chosen.len().min(1) };
        let rest = chosen.split_off(count);
        self.queue.extend(rest.into_iter().map(|(id, _)| id));
        if chosen.is_empty() {
            return chosen;
        }
        for (id, _) in &chosen {
            self.queued.remove(id);
        }
        if chosen.iter().any(|(_, tell)| !good(tell)) {
            let sent = if chosen.len() > 1 { BURST } else { 1 };
            let (since, before) = self.window.unwrap_or((now, 0));
            self.window = Some((since, before + sent));
        }
        self.sent.push_back(now);
        self.in_flight = true;
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace { group: Duration::from_secs(10), rate: 20, digests: true };

    fn id(index: u32) -> Id {
        Id { index, life: 0 }
    }

    /// What the worker tells next, if anything: `bad` says of which checks it is bad news.
    fn turn(worker: &mut Worker, pace: Pace, now: Instant, bad: impl Fn(u32) -> bool) -> Vec<u32> {
        if !worker.is_ready(pace, now) {
            return Vec::new();
        }
        let tells = worker.take().into_iter().map(|id| (id, bad(id.index))).collect();
        let chosen = worker.choose(tells, pace, now, |is_bad| !is_bad);
        worker.in_flight = false;
        chosen.into_iter().map(|(id, _)| id.index).collect()
    }

    #[test]
    fn a_storm_is_three_messages() {
        let (mut worker, start) = (Worker::default(), Instant::now());
        let mut told = Vec::new();
        for check in 0..500 {
            worker.enqueue(id(check));
            told.push(turn(&mut worker, PACE, start + Duration::from_millis(u64::from(check) * 2), |_| true));
        }
        told.retain(|message| !message.is_empty());
        assert_eq!(told, [vec![0], vec![1]]);
        let looked_at = worker.next_wake(PACE).unwrap();
        assert!(turn(&mut worker, PACE, looked_at, |_| true).is_empty());
        let end = worker.next_wake(PACE).unwrap();
        assert_eq!(end, start + PACE.group);
        assert!(turn(&mut worker, PACE, end - Duration::from_millis(1), |_| true).is_empty());
        let digest = turn(&mut worker, PACE, end, |_| true);
        assert_eq!(digest, (2..500).collect::<Vec<_>>());
        assert_eq!(worker.next_wake(PACE), None);
    }

    #[test]
    fn the_end_of_a_storm_that_drips_is_three_messages_too() {
        let (mut worker, start) = (Worker::default(), Instant::now());
        let mut told = Vec::new();
        for check in 0..500 {
            worker.enqueue(id(check));
            told.push(turn(&mut worker, PACE, start + Duration::from_millis(u64::from(check) * 2), |_| false));
        }
        told.retain(|message| !message.is_empty());
        assert_eq!(told, [vec![0], vec![1]]);
        let end = worker.next_wake(PACE).unwrap();
        assert_eq!(end, start + BREATH);
        assert_eq!(turn(&mut worker, PACE, end, |_| false), (2..500).collect::<Vec<_>>());
    }

    #[test]
    fn good_news_waits_for_no_window() {
        let (mut worker, mut now) = (Worker::default(), Instant::now());
        for check in 0..4 {
            worker.enqueue(id(check));
        }
        assert_eq!(turn(&mut worker, PACE, now, |_| true), [0, 1, 2, 3], "what is there at once is told together");
        worker.enqueue(id(9));
        assert!(turn(&mut worker, PACE, now, |_| true).is_empty());
        worker.enqueue(id(0));
        assert_eq!(turn(&mut worker, PACE, now, |check| check == 9), [0]);
        now += BREATH;
        // The one that waits turns good itself.
        worker.enqueue(id(9));
        assert_eq!(turn(&mut worker, PACE, now, |_| false), [9]);
    }

    #[test]
    fn without_groups_each_is_told_alone_and_no_faster_than_the_rate() {
        let pace = Pace { digests: false, rate: 3, ..PACE };
        let (mut worker, start) = (Worker::default(), Instant::now());
        for check in 0..5 {
            worker.enqueue(id(check));
        }
        let told: Vec<_> = (0..5).map(|_| turn(&mut worker, pace, start, |_| true)).collect();
        assert_eq!(told, [vec![0], vec![1], vec![2], vec![], vec![]]);
        let wake = worker.next_wake(pace).unwrap();
        assert_eq!(wake, start + MINUTE);
        assert_eq!(turn(&mut worker, pace, wake, |_| true), [3]);
    }

    proptest! {
        /// Whatever comes in whatever order: everything is told in the end, nothing twice, and there is always something that wakes it.
        #[test]
        fn nothing_is_lost(
            steps in proptest::collection::vec((0_u32..40, any::<bool>(), 0_u64..4_000), 1..200),
            group in 0_u64..20,
            rate in 1_usize..30,
            digests in any::<bool>(),
        ) {
            let pace = Pace { group: Duration::from_secs(group), rate, digests };
            let (mut worker, mut now) = (Worker::default(), Instant::now());
            let mut open = std::collections::BTreeMap::new();
            let told = |worker: &mut Worker, now, open: &mut std::collections::BTreeMap<u32, bool>| {
                let bad: std::collections::BTreeMap<u32, bool> = open.clone();
                let message = turn(worker, pace, now, |check| bad.get(&check).copied().unwrap_or(false));
                message.iter().all(|check| open.remove(check).is_some())
            };
            for (check, bad, pause) in steps {
                open.insert(check, bad);
                worker.enqueue(id(check));
                prop_assert!(told(&mut worker, now, &mut open), "told although nothing is to be told");
                now += Duration::from_millis(pause);
            }
            for _ in 0..1_000 {
                if open.is_empty() {
                    break;
                }
                prop_assert!(told(&mut worker, now, &mut open));
                now = worker.next_wake(pace).unwrap_or(now).max(now);
            }
            prop_assert!(open.is_empty(), "{open:?} was never told: {worker:?}");
        }
    }
}
