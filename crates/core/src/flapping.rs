//! Flapping: hard changes that come too often to tell each of them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When a check counts as flapping (R44): `enter` or more hard changes within `window`; it is over when at most `exit` are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlappingPolicy {
    /// How far back changes count.
    pub window: Duration,
    /// How many changes make it flap.
    pub enter: u8,
    /// How few end it.
    pub exit: u8,
}

impl Default for FlappingPolicy {
    fn default() -> Self {
        Self { window: Duration::from_secs(600), enter: 6, exit: 2 }
    }
}

/// The hard changes of late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    /// When hard changes happened, oldest first; never more than `enter`.
    changes: Vec<Timestamp>,
    /// Since when it flaps, if it does.
    since: Option<Timestamp>,
}

impl Flapping {
    /// Takes note of a hard change, if there was one, and forgets what is too old. Whether that began or ended flapping is seen by
    /// comparing [`Flapping::since`] before and after.
    pub fn update(&mut self, changed: bool, policy: &FlappingPolicy, now: Timestamp) {
        let oldest = now.checked_sub(policy.window).unwrap_or(Timestamp::MIN);
        self.changes.retain(|at| *at > oldest && *at <= now);
        if changed {
            self.changes.push(now);
            let excess = self.changes.len().saturating_sub(usize::from(policy.enter).max(1));
            self.changes.drain(..excess);
        }
        if self.since.is_none() && self.changes.len() >= usize::from(policy.enter) {
            self.since = Some(now);
        } else if self.since.is_some() && self.changes.len() <= usize::from(policy.exit) {
            self.since = None;
        }
    }

    /// Forgets everything: flapping was switched off.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Since when it flaps.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// When it will be over if nothing changes any more.
    pub fn ends(&self, policy: &FlappingPolicy) -> Option<Timestamp> {
        self.since?;
        let last_counting = self.changes.len().checked_sub(usize::from(policy.exit) + 1)?;
        self.changes.get(last_counting)?.checked_add(policy.window).ok()
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
    fn memory_is_bounded_and_a_clock_that_steps_back_forgets() {
        let policy = FlappingPolicy::default();
        let mut flapping = Flapping::default();
        for i in 0..1_000 {
            flapping.update(true, &policy, at(i));
        }
        assert!(flapping.changes.len() <= 6);
        flapping.update(false, &policy, at(-10_000));
        assert_eq!(flapping.since(), None);
    }
}
