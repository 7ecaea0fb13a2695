//! When what is due: slots on a grid that never drifts, and a heap of the next ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::incident::stable_hash;
use tokio::time::Instant;

/// First runs and runs that were missed are spread over at most this long (R22, R23).
pub(crate) const MAX_SPLAY: Duration = Duration::from_secs(30);
/// First slots lie on multiples of this by the wall clock, and with them all slots of the usual intervals: what is due in the same tick
/// starts together and is taken together. Waking a sleeping machine costs more than starting a program.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A check's offset within its interval: the same after every restart, different on every host (R22).
pub(crate) fn splay(host: &str, check: &str, interval: Duration) -> Duration {
    let span = interval.min(MAX_SPLAY).as_micros().max(1);
    let hash = u128::from(stable_hash(&[host.as_bytes(), check.as_bytes()]));
    Duration::from_micros(u64::try_from(hash % span).unwrap_or(0))
}

/// The first tick that is not before `at`.
pub(crate) fn tick_from(at: Timestamp) -> Timestamp {
    let ahead = at.as_nanosecond().checked_neg().unwrap_or_default().rem_euclid(nanos(TICK));
    at.checked_add(jiff::SignedDuration::from_nanos_i128(ahead)).unwrap_or(at)
}

/// The first slot after `now` of the grid `anchor + k * interval`. The anchor may lie in the past or, after the wall clock was set
/// back, in the future; the answer is never further away than one interval (R18).
pub(crate) fn until_next_slot(anchor: Timestamp, interval: Duration, now: Timestamp) -> Duration {
    let interval = nanos(interval).max(1);
    let phase = (now.as_nanosecond() - anchor.as_nanosecond()).rem_euclid(interval);
    u64::try_from(interval - phase).map_or(Duration::MAX, Duration::from_nanos)
}

fn nanos(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

/// The grid of one check on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    origin: Instant,
    interval: Duration,
}

impl Grid {
    /// Slots at `origin + k * interval`.
    pub(crate) fn new(origin: Instant, interval: Duration) -> Self {
        Self { origin, interval }
    }

    /// The first slot after `now`, and how many slots after `previous` were passed over to get there.
    pub(crate) fn next_after(&self, previous: Instant, now: Instant) -> (Instant, u64) {
        let step = self.interval.as_nanos().max(1);
        let index = |at: Instant| at.saturating_duration_since(self.origin).as_nanos() / step;
        if now < self.origin {
            return (self.origin, 0);
        }
        let next = index(now) + 1;
        let skipped = next.saturating_sub(index(previous) + 1);
        let offset = u64::try_from(step * next).map_or(Duration::MAX, Duration::from_nanos);
        (self.origin + offset, u64::try_from(skipped).unwrap_or(u64::MAX))
    }
}

/// What is due when. An entry that was rescheduled leaves its old place in the heap behind; `epoch` tells which one counts.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, u32, u32)>>,
}

impl Schedule {
    /// Makes room for so many more, and a few retries: a heap that doubles would keep half of itself empty.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.heap.reserve_exact(more + more / 8);
    }

    /// Puts `id` at `due`.
    pub(crate) fn push(&mut self, due: Instant, id: u32, epoch: u32) {
        self.heap.push(Reverse((due, id, epoch)));
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }

    /// The next one that is due by `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, u32, u32)> {
        let Reverse((due, ..)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// How many places there are, stale ones included.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops stale places: called when they outnumber the entries.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32, u32) -> bool) {
        self.heap.retain(|Reverse((_, id, epoch))| keep(*id, *epoch));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offsets_are_stable_and_spread() {
        let interval = Duration::from_secs(60);
        assert_eq!(splay("web1", "disk", interval), splay("web1", "disk", interval));
        assert_ne!(splay("web1", "disk", interval), splay("web2", "disk", interval));
        // 300 checks over 30 s: no 100 ms holds more than five times the mean (R22).
        let mut buckets = [0u32; 300];
        for i in 0..300 {
            let offset = splay("web1", &format!("check-{i}"), interval);
            assert!(offset < MAX_SPLAY);
            buckets[usize::try_from(offset.as_millis() / 100).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|n| *n <= 5), "{buckets:?}");
    }

    #[test]
    fn a_slot_is_never_further_than_one_interval() {
        let at = |ms: i64| Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap();
        let interval = Duration::from_secs(10);
        assert_eq!(until_next_slot(at(0), interval, at(25_000)), Duration::from_secs(5));
        assert_eq!(until_next_slot(at(0), interval, at(20_000)), Duration::from_secs(10));
        // The wall clock was a year ahead when the anchor was stored.
        assert!(until_next_slot(at(365 * 86_400_000), interval, at(3)) <= interval);
    }

    #[test]
    fn a_tick_is_never_before_and_never_far() {
        let at = |nanos: i128| Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanos).unwrap();
        assert_eq!(tick_from(at(0)), at(0));
        assert_eq!(tick_from(at(1)), at(50_000_000));
        assert_eq!(tick_from(at(50_000_000)), at(50_000_000));
        assert_eq!(tick_from(at(50_000_001)), at(100_000_000));
    }

    proptest! {
        #[test]
        fn the_grid_keeps_its_phase(interval_ms in 100u64..100_000, late_ms in 0u64..1_000_000) {
            let origin = Instant::now();
            let interval = Duration::from_millis(interval_ms);
            let grid = Grid::new(origin, interval);
            let now = origin + Duration::from_millis(late_ms);
            let (next, skipped) = grid.next_after(origin, now);
            prop_assert!(next > now && next - now <= interval);
            prop_assert_eq!((next - origin).as_nanos() % interval.as_nanos(), 0);
            prop_assert_eq!(u128::from(skipped) , (next - origin).as_nanos() / interval.as_nanos() - 1);
        }

        #[test]
        fn what_is_due_comes_in_order(dues in proptest::collection::vec(0u64..10_000, 1..50)) {
            let start = Instant::now();
            let mut schedule = Schedule::default();
            for (id, due) in dues.iter().enumerate() {
                schedule.push(start + Duration::from_millis(*due), u32::try_from(id).unwrap(), 0);
            }
            let mut last = start;
            let mut count = 0;
            while let Some((due, ..)) = schedule.pop_due(start + Duration::from_secs(10)) {
                prop_assert!(due >= last);
                last = due;
                count += 1;
            }
            prop_assert_eq!(count, dues.len());
        }
    }
}
