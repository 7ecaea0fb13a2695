//! The shape of a summary: as targets get it too, under `summary` of `bulletin`.

use jiff::Timestamp;
use monchero_core::summary as core;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::CheckState;

/// How everything is, and what happened in a period. Lists have their first ten lines, and say how many more there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// The name of the host.
    pub host: String,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when: now.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// How many checks are how.
    pub counts: Counts,
    /// What is wrong now: the worst first, then what lasts longest.
    pub problems: Listed<Problem>,
    /// Which checks were not okay longest, of all that was confirmed in the period.
    pub worst: Listed<Trouble>,
    /// Which incidents were longest, each with its whole length.
    pub incidents: Listed<PastIncident>,
    /// Which checks flap now.
    pub flapping: Listed<Flaps>,
    /// Which checks took longest in their last run.
    pub slowest: Listed<Slow>,
    /// How many messages were delivered in the period, drills left out.
    pub sent: u64,
    /// How many tries to deliver one failed.
    pub failed: u64,
    /// Downtimes that are in force or planned, the next first.
    pub downtimes: Listed<PlannedDowntime>,
    /// Why the past could not be read, if it could not.
    pub incomplete: Option<String>,
}

/// How many checks are how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Okay.
    pub okay: usize,
    /// Warning.
    pub warning: usize,
    /// Unknown.
    pub unknown: usize,
    /// Bad.
    pub bad: usize,
    /// Have not run yet.
    pub pending: usize,
}

/// The first lines of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listed<T> {
    /// The lines.
    pub lines: Vec<T>,
    /// How many are left out.
    pub more: usize,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The check.
    pub check: String,
    /// How it is.
    pub state: CheckState,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// What it says.
    pub message: String,
    /// What holds its notices; null if nothing does.
    pub held: Option<String>,
}

/// How long a check was not okay in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// The check.
    pub check: String,
    /// For so many seconds.
    pub seconds: u64,
    /// In so many incidents.
    pub incidents: u32,
}

/// An incident that goes on or ended in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastIncident {
    /// The check.
    pub check: String,
    /// The worst state that it had in the period.
    pub state: CheckState,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ended; null while it goes on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A check that flaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flaps {
    /// The check.
    pub check: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// How long the last run of a check took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Slow {
    /// The check.
    pub check: String,
    /// So many milliseconds.
    pub milliseconds: u64,
}

/// A downtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedDowntime {
    /// Which checks it covers.
    pub covers: String,
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Who planned it.
    pub author: String,
    /// What for.
    pub comment: String,
}

/// A summary for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryRequest {
    /// From when on it looks; a day before now if missing.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

impl<T> Listed<T> {
    fn of<C>(list: core::Listed<C>, line: impl Fn(C) -> T) -> Self {
        Self { lines: list.lines.into_iter().map(line).collect(), more: list.more }
    }
}

impl From<core::Summary> for Summary {
    fn from(summary: core::Summary) -> Self {
        let core::Counts { okay, warning, unknown, bad, pending } = summary.counts;
        Self {
            host: summary.host,
            since: summary.since,
            until: summary.until,
            counts: Counts { okay, warning, unknown, bad, pending },
            problems: Listed::of(summary.problems, |line| Problem {
                check: line.check.to_string(),
                state: line.state.into(),
                since: line.since,
                message: line.message,
                held: line.held,
            }),
            worst: Listed::of(summary.worst, |line| Trouble {
                check: line.check.to_string(),
                seconds: line.seconds,
                incidents: line.incidents,
            }),
            incidents: Listed::of(summary.incidents, |line| PastIncident {
                check: line.check.to_string(),
                state: line.state.into(),
                since: line.since,
                until: line.until,
            }),
            flapping: Listed::of(summary.flapping, |line| Flaps { check: line.check.to_string(), since: line.since }),
            slowest: Listed::of(summary.slowest, |line| Slow {
                check: line.check.to_string(),
                milliseconds: line.milliseconds,
            }),
            sent: summary.sent,
            failed: summary.failed,
            downtimes: Listed::of(summary.downtimes, |line| PlannedDowntime {
                covers: line.covers,
                start: line.start,
                end: line.end,
                author: line.author,
                comment: line.comment,
            }),
            incomplete: summary.incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use monchero_core::{Name, State};

    use super::*;

    /// The command line reads what is served as the summary that targets get.
    #[test]
    fn it_is_what_targets_get() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let check = || Name::new("web");
        let (state, since, until) = (State::Bad, at, Some(at));
        let one = |held: Option<String>| core::Problem {
            check: check(),
            state,
            since: until,
            message: "503".to_owned(),
            held,
        };
        let whole = core::Summary {
            host: "h".to_owned(),
            problems: core::Listed { lines: vec![one(None), one(Some("downtime".to_owned()))], more: 3 },
            worst: core::Listed { lines: vec![core::Trouble { check: check(), seconds: 7, incidents: 2 }], more: 0 },
            incidents: core::Listed {
                lines: vec![core::PastIncident { check: check(), state, since, until }],
                more: 0,
            },
            flapping: core::Listed { lines: vec![core::Flaps { check: check(), since }], more: 0 },
            slowest: core::Listed { lines: vec![core::Slow { check: check(), milliseconds: 9 }], more: 0 },
            downtimes: core::Listed {
                lines: vec![core::PlannedDowntime {
                    covers: "*".to_owned(),
                    start: at,
                    end: at,
                    author: "a".to_owned(),
                    comment: "c".to_owned(),
                }],
                more: 1,
            },
            ..core::Summary::default()
        };
        let served = serde_json::to_value(Summary::from(whole.clone())).unwrap();
        assert_eq!(served, serde_json::to_value(&whole).unwrap());
        assert_eq!(serde_json::from_value::<core::Summary>(served).unwrap(), whole);
    }
}
