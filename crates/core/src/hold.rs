//! Holds: why a notice waits. Suppression sits after the state machine and always names its reason.

mod downtime;

use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::state::{State, StateType};
use crate::status::CheckStatus;

pub use downtime::{Downtime, Recurring, Selector};

/// Why a notice waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Hold {
    /// Somebody is working on it.
    Acknowledgement {
        /// Who.
        author: String,
        /// What they said.
        comment: String,
        /// Since when.
        since: Timestamp,
        /// When it lapses by itself.
        until: Option<Timestamp>,
    },
    /// Work is planned.
    Downtime {
        /// Which downtime; 0 for one that recurs.
        id: u64,
        /// Who planned it.
        author: String,
        /// What for.
        comment: String,
        /// Since when.
        since: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// What it depends on is broken, or is being looked at again first.
    Dependency {
        /// The check that it depends on.
        parent: Name,
        /// What is known about that one.
        why: DependencyHold,
    },
    /// This host may be cut off from what the check looks at.
    CutOff {
        /// The check that says so.
        gate: Name,
        /// What is known about that one.
        why: DependencyHold,
    },
    /// It changes too often.
    Flapping {
        /// Since when.
        since: Timestamp,
        /// When that is over if nothing changes.
        until: Option<Timestamp>,
    },
    /// This target is not to be disturbed now.
    QuietHours {
        /// When they end.
        until: Timestamp,
    },
    /// This target is told of problems only that last: it may be over before.
    Delay {
        /// When it has lasted long enough.
        until: Timestamp,
    },
    /// This target is told of problems only that could not be mended.
    Mending {
        /// How many scripts and remedies have run.
        tried: u32,
        /// How many must.
        of: u32,
    },
}

/// What is known about a parent whose child has something to tell. A parent is whatever the child depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyHold {
    /// The parent is hard bad: the child's problem is a consequence.
    ParentBad,
    /// The parent is bad, but that is not confirmed yet.
    ParentSoft,
    /// The parent has not been looked at since the child's problem began: it is rechecked first.
    RecheckParent,
    /// The parent came back: the child is rechecked first.
    RecheckChild,
}

impl Hold {
    /// When it ends by itself, if that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Acknowledgement { until, .. } | Self::Flapping { until, .. } => *until,
            Self::Downtime { until, .. } | Self::QuietHours { until } | Self::Delay { until } => Some(*until),
            Self::Dependency { .. } | Self::CutOff { .. } | Self::Mending { .. } => None,
        }
    }

    /// Whether a recovery waits too. Good news ends the worry that a downtime, an acknowledgement or a dependency is about,
    /// so it passes them; while flapping it may be untrue in a moment, and in quiet hours nobody is to be woken.
    pub fn holds_recovery(&self) -> bool {
        matches!(self, Self::Flapping { .. } | Self::QuietHours { .. })
    }

    /// One word for a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Acknowledgement { .. } => "acknowledged",
            Self::Downtime { .. } => "downtime",
            Self::Dependency { .. } => "dependency",
            Self::CutOff { .. } => "cut off",
            Self::Flapping { .. } => "flapping",
            Self::QuietHours { .. } => "quiet hours",
            Self::Delay { .. } => "delay",
            Self::Mending { .. } => "mending",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledgement { author, comment, .. } => write!(f, "acknowledged by {author}: {comment}"),
            Self::Downtime { author, comment, .. } => write!(f, "downtime by {author}: {comment}"),
            Self::Dependency { parent, why } => match why {
                DependencyHold::ParentBad => write!(f, "`{parent}`, on which it depends, is bad"),
                DependencyHold::ParentSoft => write!(f, "`{parent}`, on which it depends, is being confirmed"),
                DependencyHold::RecheckParent => write!(f, "`{parent}`, on which it depends, is rechecked first"),
                DependencyHold::RecheckChild => {
                    write!(f, "`{parent}`, on which it depends, came back: this check is rechecked first")
                }
            },
            Self::CutOff { gate, why } => match why {
                DependencyHold::ParentBad => write!(f, "this host is cut off: `{gate}` is bad"),
                DependencyHold::ParentSoft => write!(f, "this host may be cut off: `{gate}` is being confirmed"),
                DependencyHold::RecheckParent => write!(f, "this host may be cut off: `{gate}` is rechecked first"),
                DependencyHold::RecheckChild => {
                    write!(f, "this host was cut off, `{gate}` came back: this check is rechecked first")
                }
            },
            Self::Flapping { .. } => f.write_str("flapping"),
            Self::QuietHours { .. } => f.write_str("quiet hours"),
            Self::Delay { .. } => f.write_str("this target is told of problems only that last"),
            Self::Mending { tried, of } => {
                write!(f, "this target is told when it still stands after {of} attempts to mend it; there were {tried}")
            }
        }
    }
}

/// Whether a name fits a pattern: `*` stands for any characters, `?` for one, everything else for itself. A check's pattern also covers its
/// services (`raid` covers `raid/md0`) and instances (`grafana` covers `grafana[a:3000]`).
pub fn matches(pattern: &str, name: &str) -> bool {
    if crate::text::glob(pattern, name) {
        return true;
    }
    name.match_indices(['/', '[']).any(|(i, _)| crate::text::glob(pattern, &name[..i]))
}

/// Somebody said that they are working on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// What they said.
    pub comment: String,
    /// When it lapses.
    pub until: Option<Timestamp>,
    /// Whether it outlives a change from one problem state to another; it never outlives a recovery.
    pub sticky: bool,
    /// The state that was acknowledged.
    pub state: State,
}

impl Acknowledgement {
    /// Whether it still stands for a check whose hard state is `hard`. Who keeps it asks at every transition and drops it when it
    /// does not, so it never stands for an incident that it was not made for.
    pub fn stands(&self, hard: State, now: Timestamp) -> bool {
        hard.is_problem() && (self.sticky || hard == self.state) && self.until.is_none_or(|until| now < until)
    }

    /// The hold that it is.
    pub fn hold(&self) -> Hold {
        Hold::Acknowledgement {
            author: self.author.clone(),
            comment: self.comment.clone(),
            since: self.at,
            until: self.until,
        }
    }
}

/// Daily hours in which a target is not to be disturbed. The same time for both means never.
///
/// They begin and end when the local clock first shows the time, or something later where a clock change skips it. So a doubled hour
/// neither begins nor ends them twice (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin, each day.
    pub from: Time,
    /// When they end; on the next day if that is earlier than the beginning.
    pub to: Time,
}

impl QuietHours {
    /// When the quiet that reigns at `now` ends, if it does reign.
    pub fn until(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Local clocks have been set by up to a day, so hours that began two dates ago may still go on.
        let today = now.to_zoned(zone.clone()).date();
        let mut date = today.yesterday().ok()?.yesterday().ok()?;
        let mut until = None;
        for _ in 0..4 {
            let (from, to) = self.on(date, zone)?;
            // Where a clock change makes one night's hours end in the next one's, the quiet goes on.
            if from < to && from <= until.unwrap_or(now) && until.unwrap_or(now) < to {
                until = Some(to);
            }
            date = date.tomorrow().ok()?;
        }
        until
    }

    /// When the hours that belong to a date begin and end.
    fn on(&self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let last = if self.to < self.from { date.tomorrow().ok()? } else { date };
        Some((first_at(date.to_datetime(self.from), zone)?, first_at(last.to_datetime(self.to), zone)?))
    }
}

/// When the local clock first shows `local`, or something later if a change skips it.
fn first_at(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // By the old offset it would be after the change.
            let after = before.to_timestamp(local).ok()?;
            let change = zone.preceding(after.checked_add(jiff::Span::new().nanoseconds(1)).ok()?).next();
            Some(change.map_or(after, |change| change.timestamp()))
        }
    }
}

/// What a child needs to know about a check that it depends on.
#[derive(Clone, Copy, Debug)]
pub struct ParentView<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its state.
    pub state: State,
    /// Whether that is confirmed.
    pub state_type: StateType,
    /// When it was last looked at. For one that cannot be looked at again now (passive, or its last run hangs), this is now: nobody
    /// waits for a look that does not come.
    pub last_check: Option<Timestamp>,
    /// Since when it is so: a problem that went away before it was confirmed counts as coming back too.
    pub since: Option<Timestamp>,
}

/// Why a child's problem waits because of what it depends on. Level-based: it says what is missing now, and the engine makes the
/// recheck that it names, so no order of events can lose it.
///
/// `parents` are all checks that the child depends on, directly or not ([`ancestors`]): what a parent depends on explains the
/// child's problem too. Only bad parents explain it; warning and unknown prove nothing. Of several reasons a confirmed bad parent
/// is named before what is still to be found out.
///
/// Equal times count as looked at: they come from one run that reported both.
pub fn dependency<'a>(
    problem_since: Timestamp,
    child_last_check: Timestamp,
    parents: impl Iterator<Item = ParentView<'a>>,
) -> Option<Hold> {
    let mut found = None;
    for parent in parents {
        let Some(why) = holds_child(problem_since, child_last_check, &parent) else { continue };
        if why == DependencyHold::ParentBad || found.is_none() {
            found = Some(Hold::Dependency { parent: parent.name.clone(), why });
        }
        if why == DependencyHold::ParentBad {
            break;
        }
    }
    found
}

/// Why a child waits for this parent, if it does.
fn holds_child(
    problem_since: Timestamp,
    child_last_check: Timestamp,
    parent: &ParentView<'_>,
) -> Option<DependencyHold> {
    match (parent.state, parent.state_type) {
        (State::Bad, StateType::Hard) => Some(DependencyHold::ParentBad),
        (State::Bad, StateType::Soft) => Some(DependencyHold::ParentSoft),
        _ if parent.last_check.is_none_or(|at| at < problem_since) => Some(DependencyHold::RecheckParent),
        (_, StateType::Hard) if parent.since.is_some_and(|came_back| came_back > child_last_check) => {
            Some(DependencyHold::RecheckChild)
        }
        _ => None,
    }
}

/// How many of the checks of the gate must be bad for this host to count as cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shut {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
}

/// Why the problem of a check that needs the network waits: this host may be cut off. As [`dependency`], whose reasons these are: a gate that
/// is bad and not confirmed yet holds too, since a host that waited for the confirmation would have told everything by then.
pub fn cut_off<'a>(
    problem_since: Timestamp,
    child_last_check: Timestamp,
    gates: impl Iterator<Item = ParentView<'a>>,
    shut: Shut,
) -> Option<Hold> {
    let hold = |gate: &Name, why| Some(Hold::CutOff { gate: gate.clone(), why });
    if shut == Shut::Any {
        let Some(Hold::Dependency { parent, why }) = dependency(problem_since, child_last_check, gates) else {
            return None;
        };
        return hold(&parent, why);
    }
    let mut found: Option<(&Name, DependencyHold)> = None;
    // One that is known to be open is enough; until then, what is to be found out comes before what is known.
    let urgency = |why| match why {
        DependencyHold::RecheckChild => 3,
        DependencyHold::RecheckParent => 2,
        DependencyHold::ParentSoft => 1,
        DependencyHold::ParentBad => 0,
    };
    for gate in gates {
        let why = holds_child(problem_since, child_last_check, &gate)?;
        if found.is_none_or(|(_, known)| urgency(why) > urgency(known)) {
            found = Some((gate.name, why));
        }
    }
    found.and_then(|(gate, why)| hold(gate, why))
}

/// Why a result of a check that needs the network does not count, if it does not: it is a problem that is not confirmed already, and nobody
/// knows that the way was open since results have been so. `began` is when the run began that found it, `at` when it ended. Whoever asks sees
/// to what the hold names, and has the check looked at again when nothing is left to be found out.
pub fn inconclusive<'a>(
    status: &CheckStatus,
    result: State,
    began: Timestamp,
    at: Timestamp,
    gates: impl Iterator<Item = ParentView<'a>>,
    shut: Shut,
) -> Option<Hold> {
    if !status.is_news(result) {
        return None;
    }
    cut_off(status.news_since.unwrap_or(at), began, gates, shut)
}

/// All that a check depends on, directly or not, nearest first, each once, never the check itself.
pub fn ancestors<'a>(check: &'a Name, parents_of: impl Fn(&Name) -> &'a [Name]) -> Vec<&'a Name> {
    let mut found: Vec<&Name> = Vec::new();
    let mut seen = HashSet::from([check]);
    let mut next = 0;
    let mut current = check;
    loop {
        found.extend(parents_of(current).iter().filter(|parent| seen.insert(parent)));
        let Some(name) = found.get(next) else { return found };
        current = name;
        next += 1;
    }
}
