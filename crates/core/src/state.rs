//! The four states and their order of badness.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a check found. Ordered by badness: `okay < warning < unknown < bad`, so the worst of several is their maximum.
///
/// `unknown` stands above `warning`, because not knowing may hide anything, and below `bad`, because it proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is as it should be.
    #[default]
    Okay,
    /// Worth a look.
    Warning,
    /// monchero could not find out.
    Unknown,
    /// Broken.
    Bad,
}

impl State {
    /// All states, from best to worst.
    pub const ALL: [Self; 4] = [Self::Okay, Self::Warning, Self::Unknown, Self::Bad];

    /// The state that an exit status means in the Nagios plugin convention (monitoring-plugins guidelines, "Plugin Return Codes").
    pub fn from_exit_status(status: i32) -> Option<Self> {
        match status {
            0 => Some(Self::Okay),
            1 => Some(Self::Warning),
            2 => Some(Self::Bad),
            3 => Some(Self::Unknown),
            _ => None,
        }
    }

    /// The exit status that means this state in the Nagios plugin convention.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Okay => 0,
            Self::Warning => 1,
            Self::Bad => 2,
            Self::Unknown => 3,
        }
    }

    /// Reads the words of a plugin author: our own, Nagios's, and their numbers, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.trim();
        let is = |known: &[&str]| known.iter().any(|k| word.eq_ignore_ascii_case(k));
        if is(&["okay", "ok", "0"]) {
            Some(Self::Okay)
        } else if is(&["warning", "warn", "1"]) {
            Some(Self::Warning)
        } else if is(&["bad", "critical", "crit", "2"]) {
            Some(Self::Bad)
        } else if is(&["unknown", "3"]) {
            Some(Self::Unknown)
        } else {
            None
        }
    }

    /// The word as it stands in files, JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Okay => "okay",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }

    /// Whether this is anything but okay.
    pub fn is_problem(self) -> bool {
        self != Self::Okay
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a state is confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateType {
    /// A problem that further attempts have yet to confirm.
    Soft,
    /// Confirmed. `okay` is always hard.
    #[default]
    Hard,
}

impl StateType {
    /// The word as it stands in files, JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_maximum() {
        assert_eq!(State::ALL.iter().max(), Some(&State::Bad));
        assert!(State::Warning < State::Unknown);
    }

    #[test]
    fn exit_statuses_and_words_round_trip() {
        for state in State::ALL {
            assert_eq!(State::from_exit_status(i32::from(state.exit_status())), Some(state));
            assert_eq!(State::from_word(state.as_str()), Some(state));
        }
        assert_eq!(State::from_exit_status(4), None);
        assert_eq!(State::from_word(" CRITICAL "), Some(State::Bad));
        assert_eq!(State::from_word("fine"), None);
    }
}
