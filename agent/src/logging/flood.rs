//! What is said again and again is counted instead.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::line::Line;

/// How often a line is written within a [`WINDOW`]; the same line is counted from then on.
pub(super) const ALIKE: u64 = 10;
/// How long lines are counted before it is said how many there were.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// How many different lines are watched at a time; what comes beyond is written, since it is no flood of one line.
const WATCHED: usize = 1024;

/// The lines of the last minute.
#[derive(Default)]
pub(super) struct Floods {
    hasher: RandomState,
    seen: HashMap<u64, Seen>,
    /// The windows in the order in which they end.
    windows: VecDeque<(Instant, u64)>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    /// The first line that was not written.
    held: Option<Line>,
}

impl Floods {
    /// Gives the line back if it is to be written.
    pub(super) fn admit(&mut self, line: Line, now: Instant) -> Option<Line> {
        let key = self.hasher.hash_one(line.what());
        if !self.seen.contains_key(&key) {
            if self.seen.len() >= WATCHED {
                return Some(line);
            }
            self.windows.push_back((now + WINDOW, key));
        }
        let seen = self.seen.entry(key).or_default();
        seen.count += 1;
        if seen.count <= ALIKE {
            return Some(line);
        }
        seen.held.get_or_insert(line);
        None
    }

    /// When the next window ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.windows.front().map(|(end, _)| *end)
    }

    /// What is to be said of the windows that have ended by `now`.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some((_, key)) = self.windows.pop_front_if(|(end, _)| *end <= now) {
            if let Some(Seen { count, held: Some(line) }) = self.seen.remove(&key) {
                lines.push(line.and_more(count - ALIKE));
            }
        }
        lines
    }

    /// What is to be said at the end.
    pub(super) fn all(&mut self) -> Vec<Line> {
        self.next().map(|first| self.ended(first + 2 * WINDOW)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::line::tests::line;

    #[test]
    fn a_flood_is_said_once() {
        let (mut floods, start) = (Floods::default(), Instant::now());
        let written = (0..322).filter(|_| floods.admit(line("no space"), start).is_some()).count();
        assert_eq!(written, 10);
        assert!(floods.admit(line("something else"), start).is_some(), "others are not meant");
        assert!(floods.ended(start + WINDOW / 2).is_empty());
        let said = floods.ended(start + WINDOW);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].what(), line("and 312 more like it: no space").what());
        assert!(floods.admit(line("no space"), start + WINDOW).is_some(), "the next minute begins anew");
    }

    #[test]
    fn at_the_end_nothing_is_kept_back() {
        let (mut floods, start) = (Floods::default(), Instant::now());
        for _ in 0..11 {
            floods.admit(line("once more"), start);
        }
        assert_eq!(floods.all().len(), 1);
        assert_eq!(floods.next(), None);
    }

    #[test]
    fn what_is_watched_is_bounded_and_what_is_not_is_written() {
        let (mut floods, start) = (Floods::default(), Instant::now());
        for i in 0..3 * WATCHED {
            assert!(floods.admit(line(&i.to_string()), start).is_some());
        }
        assert!(floods.seen.len() <= WATCHED && floods.windows.len() <= WATCHED);
        floods.ended(start + WINDOW);
        assert!(floods.seen.is_empty() && floods.windows.is_empty());
    }
}
