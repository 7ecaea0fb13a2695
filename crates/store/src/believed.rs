//! What time it is for what cannot be undone: retention, and the end of downtimes.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A wall clock that jumped ahead is believed when it has stood by that for so long. Somebody will have seen it by then.
const PROBATION: Duration = Duration::from_secs(86_400);
/// A clock that is ahead by less is not in doubt: the work of NTP, a busy machine, a leap second.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// The wall clock, as far as it is believed: it goes on with the monotonic one, back at once, and ahead only after a time of probation.
#[derive(Debug)]
pub(crate) struct Believed {
    at: Timestamp,
    as_of: Instant,
    ahead_since: Option<Instant>,
}

/// The time that is believed at the start, when the newest thing that is known is of `newest`.
pub(crate) fn at_start(wall: Timestamp, newest: Option<Timestamp>) -> Timestamp {
    newest.map_or(wall, |newest| newest.min(wall))
}

impl Believed {
    /// From the start on.
    pub(crate) fn new(at: Timestamp, as_of: Instant) -> Self {
        Self { at, as_of, ahead_since: None }
    }

    /// The time that is believed now.
    pub(crate) fn now(&mut self, wall: Timestamp, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.as_of);
        let expected = self.at.checked_add(passed).unwrap_or(Timestamp::MAX);
        let ahead = wall.duration_since(expected) > SLACK;
        let since = self.ahead_since.filter(|_| ahead).or_else(|| ahead.then_some(now));
        let doubted = since.filter(|since| now.saturating_duration_since(*since) < PROBATION);
        (self.at, self.as_of, self.ahead_since) = (if doubted.is_some() { expected } else { wall }, now, doubted);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn believed() -> (Believed, Timestamp, Instant) {
        let (at, now) = (Timestamp::from_second(1_800_000_000).unwrap(), Instant::now());
        (Believed::new(at, now), at, now)
    }

    #[test]
    fn a_clock_that_is_ahead_for_a_while_is_not_believed() {
        let (mut believed, start, began) = believed();
        let minute = Duration::from_secs(60);
        assert_eq!(believed.now(start + minute, began + minute), start + minute);
        let ahead = start + 3_650 * DAY;
        assert_eq!(believed.now(ahead, began + 2 * minute), start + 2 * minute);
        assert_eq!(believed.now(ahead + DAY / 2, began + DAY / 2), start + DAY / 2);
        assert_eq!(believed.now(start + DAY, began + DAY), start + DAY, "it was set right");
        assert_eq!(believed.now(ahead, began + 2 * DAY), start + 2 * DAY, "probation begins anew");
    }

    #[test]
    fn a_clock_that_stays_ahead_is_believed_after_a_day_and_one_that_went_back_at_once() {
        let (mut believed, start, began) = believed();
        let ahead = start + 30 * DAY;
        assert_eq!(believed.now(ahead, began), start);
        assert_eq!(believed.now(ahead + DAY, began + DAY), ahead + DAY);
        assert_eq!(believed.now(start, began + DAY), start);
        assert_eq!(at_start(ahead, Some(start)), start);
        assert_eq!((at_start(start, Some(ahead)), at_start(ahead, None)), (start, ahead));
    }
}
