//! Flapping: hard changes that come too often to tell each of them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When a check counts as flapping (R44): `enter` or more hard changes within `window`; it is over when at most `exit` are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlappingPolicy {
    /// How far back changes count; ten minutes by default.
    pub window: Duration,
    /// How many changes make it flap, at least 1; 6 by default.
    pub enter: u8,
    /// How few end it, always less than `enter`; 2 by default.
    pub exit: u8,
}

impl FlappingPolicy {
    /// The numbers that make and end flapping; whatever was asked for, they are apart.
    fn limits(&self) -> (usize, usize) {
        let enter = usize::from(self.enter).max(1);
        (enter, usize::from(self.exit).min(enter - 1))
    }
}

impl Default for FlappingPolicy {
    fn default() -> Self {
        Self { window: Duration::from_mins(10), enter: 6, exit: 2 }
    }
}

/// The hard changes of late. Most checks have none, and take no room for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flapping(Option<Box<Changes>>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Changes {
    /// When hard changes happened, oldest first; never more than `enter`.
    #[serde(rename = "changes")]
    times: Vec<Timestamp>,
    /// Since when it flaps, if it does.
    since: Option<Timestamp>,
}

impl Flapping {
    /// Takes note of a hard change, if there was one, and forgets what is too old. Whether that began or ended flapping is seen by
    /// comparing [`Flapping::since`] before and after. To call it without a change, at any time, makes no difference later on.
    pub fn update(&mut self, changed: bool, policy: &FlappingPolicy, now: Timestamp) {
        if self.0.is_none() && !changed {
            return;
        }
        let (enter, exit) = policy.limits();
        self.settle(now);
        let oldest = now.checked_sub(policy.window).unwrap_or(Timestamp::MIN);
        let Changes { times, since } = &mut **self.0.get_or_insert_default();
        times.retain(|at| *at > oldest);
        if times.len() <= exit {
            *since = None;
        }
        if changed {
            times.push(now);
            let excess = times.len().saturating_sub(enter);
            times.drain(..excess);
        }
        if since.is_none() && times.len() >= enter {
            *since = Some(now);
        }
        if times.is_empty() && since.is_none() {
            self.0 = None;
        }
    }

    /// After the wall clock stepped back: nothing lies in the future. That neither begins nor ends flapping (R18).
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if let Some(changes) = &mut self.0 {
            for at in changes.times.iter_mut().chain(&mut changes.since) {
                *at = (*at).min(now);
            }
        }
    }

    /// Forgets everything: flapping was switched off.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.is_none()
    }

    /// Since when it flaps.
    pub fn since(&self) -> Option<Timestamp> {
        self.0.as_ref()?.since
    }

    /// When it will be over if nothing changes any more.
    pub fn ends(&self, policy: &FlappingPolicy) -> Option<Timestamp> {
        let changes = self.0.as_ref().filter(|changes| changes.since.is_some())?;
        let last_counting = changes.times.len().checked_sub(policy.limits().1 + 1)?;
        changes.times.get(last_counting)?.checked_add(policy.window).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn many_changes_flap_and_quiet_ends_it() {
        let policy = FlappingPolicy::default();
        let mut flapping = Flapping::default();
        for i in 0..5 {
            flapping.update(true, &policy, at(i * 10));
            assert_eq!(flapping.since(), None);
        }
        flapping.update(true, &policy, at(50));
        assert_eq!(flapping.since(), Some(at(50)));
        // Changes at 0, 10, .. 50: two are left when the one at 30 leaves the window.
        assert_eq!(flapping.ends(&policy), Some(at(630)));
        flapping.update(false, &policy, at(629));
        assert!(flapping.since().is_some());
        flapping.update(false, &policy, at(630));
        assert_eq!(flapping.since(), None);
    }

    #[test]
    fn looking_more_often_changes_nothing() {
        let policy = FlappingPolicy { window: Duration::from_secs(100), enter: 3, exit: 1 };
        let (mut asked, mut unasked) = (Flapping::default(), Flapping::default());
        for second in [0, 10, 20, 115, 118, 250, 300, 310, 320] {
            unasked.update(true, &policy, at(second));
            asked.update(false, &policy, at(second - 1));
            asked.update(true, &policy, at(second));
            assert_eq!(asked, unasked, "after {second} s");
        }
    }

    #[test]
    fn memory_is_bounded_and_senseless_limits_do_no_harm() {
        let policy = FlappingPolicy::default();
        let mut flapping = Flapping::default();
        for i in 0..1_000 {
            flapping.update(true, &policy, at(i));
        }
        assert!(flapping.0.is_some_and(|changes| changes.times.len() <= 6));
        let policy = FlappingPolicy { enter: 0, exit: 9, window: Duration::from_mins(1) };
        let mut flapping = Flapping::default();
        flapping.update(false, &policy, at(0));
        assert_eq!(flapping.since(), None);
        flapping.update(true, &policy, at(1));
        assert_eq!(flapping.since(), Some(at(1)));
        flapping.update(false, &policy, at(2));
        assert_eq!(flapping.ends(&policy), Some(at(61)));
    }

    #[test]
    fn a_clock_that_steps_back_neither_begins_nor_ends_it() {
        let policy = FlappingPolicy::default();
        let mut flapping = Flapping::default();
        for i in 0..6 {
            flapping.update(true, &policy, at(i));
        }
        flapping.update(false, &policy, at(-86_400));
        assert_eq!(flapping.since(), Some(at(-86_400)));
        assert_eq!(flapping.ends(&policy), Some(at(-86_400 + 600)));
        flapping.update(false, &policy, at(-86_400 + 600));
        assert_eq!(flapping.since(), None);
    }
}
