//! What the list knows of the checks: read of an answer, counted, filtered and sorted.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use monchero_api::types::{CheckState, Confirmation};
use monchero_core::order;
use serde::Deserialize;

/// All checks at one moment: the part of an answer that is shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::cli) struct Picture {
    /// The host that the daemon runs on.
    pub(super) host: String,
    /// The checks.
    #[serde(rename = "checks")]
    pub(super) rows: Vec<Row>,
}

/// One check.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    kind: String,
    pub(super) state: CheckState,
    state_type: Confirmation,
    attempt: u32,
    max_attempts: u32,
    pub(super) since: Option<Timestamp>,
    message: String,
    holds: Vec<Held>,
    labels: BTreeMap<String, String>,
}

/// Why notices wait, in a word.
#[derive(Clone, Debug, Deserialize)]
struct Held {
    kind: String,
}

impl Row {
    fn soft(&self) -> bool {
        self.state_type == Confirmation::Soft && self.state > CheckState::Okay
    }

    /// The state in words.
    pub(super) fn state_words(&self) -> String {
        format!("{}{}", self.state.as_str(), if self.soft() { " soft" } else { "" })
    }

    /// The attempt, if that says anything.
    pub(super) fn attempt_words(&self) -> String {
        if self.state > CheckState::Okay { format!("{}/{}", self.attempt, self.max_attempts) } else { String::new() }
    }

    /// The message, after why its notices wait.
    pub(super) fn message_words(&self) -> String {
        if self.holds.is_empty() {
            return self.message.clone();
        }
        let holds: Vec<&str> = self.holds.iter().map(|hold| hold.kind.as_str()).collect();
        format!("[{}] {}", holds.join(", "), self.message)
    }

    /// Whether a word of the filter, in small letters, occurs in anything that is shown, or in its kind or labels.
    fn has(&self, word: &str) -> bool {
        let within = |text: &str| text.to_lowercase().contains(word);
        within(&self.name)
            || within(&self.kind)
            || within(&self.state_words())
            || within(&self.message)
            || self.holds.iter().any(|hold| within(&hold.kind))
            || self.labels.iter().any(|(key, value)| within(&format!("{key}={value}")))
    }
}

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The worst first, confirmed before soft, then by name.
    #[default]
    Worst,
    /// What changed last first.
    Newest,
    /// By name.
    Name,
}

impl Sort {
    /// The next one, and after the last the first.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Worst => Self::Newest,
            Self::Newest => Self::Name,
            Self::Name => Self::Worst,
        }
    }

    /// What it does, in words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Worst => "worst first",
            Self::Newest => "newest change first",
            Self::Name => "by name",
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let first = match self {
            Self::Worst => b.state.cmp(&a.state).then(a.soft().cmp(&b.soft())),
            Self::Newest => b.since.cmp(&a.since),
            Self::Name => Ordering::Equal,
        };
        first.then_with(|| a.name.cmp(&b.name))
    }
}

impl Picture {
    /// The rows to show, by their places, in order.
    pub(super) fn chosen(&self, filter: &str, problems: bool, sort: Sort) -> Vec<usize> {
        let filter = filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let wanted = |row: &Row| (!problems || row.state > CheckState::Okay) && words.iter().all(|word| row.has(word));
        let mut chosen: Vec<usize> = (0..self.rows.len()).filter(|i| wanted(&self.rows[*i])).collect();
        order::sort_by(&mut chosen, |a, b| sort.compare(&self.rows[*a], &self.rows[*b]));
        chosen
    }

    /// How many checks there are of each state, the worst first, without those that there are none of.
    pub(super) fn counts(&self) -> Vec<(CheckState, usize)> {
        const ORDER: [CheckState; 5] =
            [CheckState::Bad, CheckState::Unknown, CheckState::Warning, CheckState::Okay, CheckState::Pending];
        let mut counts = ORDER.map(|state| (state, 0));
        for row in &self.rows {
            for (state, count) in &mut counts {
                *count += usize::from(*state == row.state);
            }
        }
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::*;

    fn names(filter: &str, problems: bool, sort: Sort) -> Vec<String> {
        let picture = picture();
        picture.chosen(filter, problems, sort).into_iter().map(|i| picture.rows[i].name.clone()).collect()
    }

    #[test]
    fn every_order_is_total() {
        assert_eq!(names("", false, Sort::Worst), ["shop", "api", "dns", "raid/md0", "root-disk", "backup"]);
        assert_eq!(names("", false, Sort::Newest), ["api", "dns", "shop", "raid/md0", "root-disk", "backup"]);
        assert_eq!(names("", false, Sort::Name), ["api", "backup", "dns", "raid/md0", "root-disk", "shop"]);
        assert_eq!(names("", true, Sort::Name), ["api", "dns", "raid/md0", "shop"]);
    }

    #[test]
    fn a_filter_finds_what_is_seen_and_labels() {
        for (filter, found) in [
            ("SHOP", &["shop"][..]),
            ("bad soft", &["api"]),
            ("team=web", &["api", "shop"]),
            ("downtime", &["raid/md0"]),
            ("503", &["shop"]),
            ("team=web nowhere", &[]),
        ] {
            assert_eq!(names(filter, false, Sort::Name), found, "{filter}");
        }
    }
}
