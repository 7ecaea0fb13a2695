//! A summary: how everything is, and what happened in a period, in lists that fit on a page.
//!
//! The store shows a [`Tally`] what happened, oldest first; with the picture of the moment it becomes a [`Summary`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::order;
use crate::state::State;
use crate::status::{CheckStatus, Transition};

/// The most lines of a list: what is more is counted. A person reads it over a coffee.
pub const MAX_LISTED: usize = 10;
/// How many incidents are kept while they are counted; when there are twice as many, the shorter half goes.
const MAX_INCIDENTS: usize = 1_000;

/// How everything is at `until`, and what happened since `since`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The name of the host.
    pub host: String,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
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
    /// Why the past could not be read, if it could not: what is said of the period is not complete then.
    pub incomplete: Option<String>,
}

impl Summary {
    /// The worst state of any check now.
    pub fn state(&self) -> State {
        self.counts.worst()
    }
}

/// How many checks are how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Counts {
    fn add(&mut self, status: &CheckStatus) {
        let count = match status.state {
            _ if status.is_pending() => &mut self.pending,
            State::Okay => &mut self.okay,
            State::Warning => &mut self.warning,
            State::Unknown => &mut self.unknown,
            State::Bad => &mut self.bad,
        };
        *count += 1;
    }

    /// The worst state that any check has.
    pub fn worst(&self) -> State {
        let all = [(self.bad, State::Bad), (self.unknown, State::Unknown), (self.warning, State::Warning)];
        all.into_iter().find(|(count, _)| *count > 0).map_or(State::Okay, |(_, state)| state)
    }

    /// How many checks there are.
    pub fn all(&self) -> usize {
        self.okay + self.warning + self.unknown + self.bad + self.pending
    }
}

/// The first lines of a list, and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// The lines, at most [`MAX_LISTED`].
    pub lines: Vec<T>,
    /// How many are left out.
    pub more: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), more: 0 }
    }
}

impl<T> Listed<T> {
    fn of(mut lines: Vec<T>) -> Self {
        let more = lines.len().saturating_sub(MAX_LISTED);
        lines.truncate(MAX_LISTED);
        Self { lines, more }
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The check.
    pub check: Name,
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it says.
    pub message: String,
    /// What holds its notices: `acknowledged`, `downtime` ..; none if nothing does.
    pub held: Option<String>,
}

/// How long a check was not okay in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The check.
    pub check: Name,
    /// For so many seconds.
    pub seconds: u64,
    /// In so many incidents.
    pub incidents: u32,
}

/// An incident that goes on or ended in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastIncident {
    /// The check.
    pub check: Name,
    /// The worst state that it had in the period.
    pub state: State,
    /// When it began.
    pub since: Timestamp,
    /// When it ended; none while it goes on.
    pub until: Option<Timestamp>,
}

/// A check that flaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaps {
    /// The check.
    pub check: Name,
    /// Since when.
    pub since: Timestamp,
}

/// How long the last run of a check took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// The check.
    pub check: Name,
    /// So many milliseconds.
    pub milliseconds: u64,
}

/// A downtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDowntime {
    /// Which checks it covers.
    pub covers: String,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Who planned it.
    pub author: String,
    /// What for.
    pub comment: String,
}

/// One check or service as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its name.
    pub check: &'a Name,
    /// The state machine.
    pub status: &'a CheckStatus,
    /// What it said last.
    pub message: &'a str,
    /// How long its last run took; none for what the run of another reports.
    pub took: Option<Duration>,
    /// What holds its notices.
    pub held: Option<&'static str>,
}

/// Counts what happened in a period.
#[derive(Clone, Debug)]
pub struct Tally {
    since: Timestamp,
    until: Timestamp,
    open: BTreeMap<Name, PastIncident>,
    troubles: BTreeMap<Name, (Duration, u32)>,
    incidents: Vec<PastIncident>,
    sent: u64,
    failed: u64,
    incomplete: Option<String>,
}

impl Tally {
    /// Of this period, about which nothing is known yet.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Self {
            since: since.min(until),
            until,
            open: BTreeMap::new(),
            troubles: BTreeMap::new(),
            incidents: Vec::new(),
            sent: 0,
            failed: 0,
            incomplete: None,
        }
    }

    /// From when on it wants to be shown what happened.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Until when.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// A check changed. To be shown in the order of time.
    pub fn transition(&mut self, check: &Name, transition: &Transition) {
        if !transition.is_hard_change() {
            return;
        }
        if transition.state.is_problem() {
            let since = transition.incident_since.unwrap_or(transition.at);
            let open = self.open.entry(check.clone()).or_insert_with(|| PastIncident {
                check: check.clone(),
                state: transition.state,
                since,
                until: None,
            });
            open.state = open.state.max(transition.state);
        } else if transition.is_recovery() {
            let begun = || PastIncident {
                check: check.clone(),
                state: transition.previous_state,
                since: transition.incident_since.unwrap_or(self.since),
                until: None,
            };
            let open = self.open.remove(check).unwrap_or_else(begun);
            self.close(PastIncident { until: Some(transition.at), ..open });
        }
    }

    /// A message was delivered, or a try failed.
    pub fn notice(&mut self, delivered: bool) {
        *(if delivered { &mut self.sent } else { &mut self.failed }) += 1;
    }

    /// The past could not be read, or not to its end.
    pub fn fail(&mut self, why: String) {
        self.incomplete = Some(why);
    }

    fn close(&mut self, incident: PastIncident) {
        let within = length(incident.since.max(self.since), incident.until.unwrap_or(self.until));
        let (lasted, count) = self.troubles.entry(incident.check.clone()).or_default();
        *lasted += within;
        *count += 1;
        self.incidents.push(incident);
        if self.incidents.len() >= 2 * MAX_INCIDENTS {
            self.sort_incidents();
            self.incidents.truncate(MAX_INCIDENTS);
        }
    }

    fn sort_incidents(&mut self) {
        let until = self.until;
        order::sort_by_key(&mut self.incidents, |incident| {
            Reverse(length(incident.since, incident.until.unwrap_or(until)))
        });
    }

    /// The summary, with how everything is at its end.
    pub fn finish<'a>(
        mut self,
        host: &str,
        seen: impl IntoIterator<Item = Seen<'a>>,
        works: Vec<PlannedDowntime>,
    ) -> Summary {
        let mut counts = Counts::default();
        let (mut problems, mut flapping, mut slowest) = (Vec::new(), Vec::new(), Vec::new());
        for Seen { check, status, message, took, held } in seen {
            counts.add(status);
            let known = self.open.remove(check);
            if let Some(incident) = status.incident.filter(|_| status.hard_state.is_problem()) {
                let state = known.map_or(status.hard_state, |known| known.state.max(status.hard_state));
                self.close(PastIncident { check: check.clone(), state, since: incident.since, until: None });
            }
            if status.state.is_problem() && !status.is_pending() {
                let since = if status.hard_state.is_problem() { status.hard_since } else { status.since };
                let (message, held) = (message.to_owned(), held.map(str::to_owned));
                problems.push(Problem { check: check.clone(), state: status.state, since, message, held });
            }
            flapping.extend(status.flapping_since().map(|since| Flaps { check: check.clone(), since }));
            let milliseconds = took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            if milliseconds > 0 {
                slowest.push(Slow { check: check.clone(), milliseconds });
            }
        }
        // What is left began in the period and belongs to checks that are gone; its end was not shown.
        for (_, incident) in std::mem::take(&mut self.open) {
            self.close(incident);
        }
        order::sort_by_key(&mut problems, |problem| (Reverse(problem.state), problem.since));
        order::sort_by_key(&mut flapping, |flaps| flaps.since);
        order::sort_by_key(&mut slowest, |slow| Reverse(slow.milliseconds));
        self.sort_incidents();
        let troubles = self.troubles.into_iter();
        let mut worst: Vec<Trouble> = troubles
            .map(|(check, (lasted, incidents))| Trouble { check, seconds: lasted.as_secs(), incidents })
            .collect();
        order::sort_by_key(&mut worst, |trouble| Reverse((trouble.seconds, trouble.incidents)));
        let mut downtimes: Vec<PlannedDowntime> = works.into_iter().filter(|work| work.end > self.until).collect();
        order::sort_by_key(&mut downtimes, |work| (work.start, work.end));
        Summary {
            host: host.to_owned(),
            since: self.since,
            until: self.until,
            counts,
            problems: Listed::of(problems),
            worst: Listed::of(worst),
            incidents: Listed::of(self.incidents),
            flapping: Listed::of(flapping),
            slowest: Listed::of(slowest),
            sent: self.sent,
            failed: self.failed,
            downtimes: Listed::of(downtimes),
            incomplete: self.incomplete,
        }
    }
}

fn length(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::Policy;

    const POLICY: Policy = Policy { max_attempts: 1, recover_after: 1, flapping: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Applies a story of results to a check, and shows the tally what happened within its period.
    fn live(tally: &mut Tally, check: &Name, story: &[(i64, State)]) -> CheckStatus {
        let mut status = CheckStatus::default();
        for (second, state) in story {
            let transition = status.apply(check, *state, &POLICY, at(*second));
            if let Some(transition) = transition.filter(|transition| transition.at >= tally.since()) {
                tally.transition(check, &transition);
            }
        }
        status
    }

    fn seen<'a>(check: &'a Name, status: &'a CheckStatus) -> Seen<'a> {
        Seen { check, status, message: "said", took: Some(Duration::from_millis(7)), held: None }
    }

    #[test]
    fn time_not_okay_counts_within_the_period_and_incidents_as_a_whole() {
        use State::{Bad, Okay, Warning};
        let (web, disk, lasting) = (Name::new("web"), Name::new("disk"), Name::new("lasting"));
        let mut tally = Tally::new(at(100), at(200));
        // Broken before the period, mended in it, and broken once more.
        let web_now = live(&mut tally, &web, &[(40, Bad), (120, Okay), (150, Warning), (160, Bad), (165, Okay)]);
        let disk_now = live(&mut tally, &disk, &[(0, Okay), (195, Bad)]);
        // Nothing happened about it within the period, and it is bad all the same.
        let lasting_now = live(&mut tally, &lasting, &[(10, Warning)]);
        tally.notice(true);
        tally.notice(false);
        let summary =
            tally.finish("h", [seen(&web, &web_now), seen(&disk, &disk_now), seen(&lasting, &lasting_now)], Vec::new());
        let worst: Vec<_> =
            summary.worst.lines.iter().map(|line| (line.check.as_str(), line.seconds, line.incidents)).collect();
        assert_eq!(worst, [("lasting", 100, 1), ("web", 35, 2), ("disk", 5, 1)]);
        let incidents: Vec<_> = summary
            .incidents
            .lines
            .iter()
            .map(|line| (line.check.as_str(), line.state, line.since, line.until))
            .collect();
        assert_eq!(
            incidents,
            [
                ("lasting", Warning, at(10), None),
                ("web", Bad, at(40), Some(at(120))),
                ("web", Bad, at(150), Some(at(165))),
                ("disk", Bad, at(195), None),
            ]
        );
        let problems: Vec<_> = summary.problems.lines.iter().map(|line| (line.check.as_str(), line.since)).collect();
        assert_eq!(problems, [("disk", Some(at(195))), ("lasting", Some(at(10)))], "the worst first");
        assert_eq!((summary.counts.okay, summary.counts.warning, summary.counts.bad), (1, 1, 1));
        assert_eq!((summary.state(), summary.sent, summary.failed), (Bad, 1, 1));
        assert_eq!(summary.slowest.lines.len(), 3);
    }

    #[test]
    fn lists_are_bounded_and_say_how_many_more_there_are() {
        let names: Vec<Name> = (0..25).map(|number| Name::new(&format!("check-{number:02}"))).collect();
        let mut tally = Tally::new(at(0), at(100));
        let now: Vec<CheckStatus> = names.iter().map(|name| live(&mut tally, name, &[(1, State::Bad)])).collect();
        let works = [(300, 400), (-50, 50), (50, 150)].map(|(start, end)| PlannedDowntime {
            covers: "*".to_owned(),
            start: at(start),
            end: at(end),
            author: String::new(),
            comment: String::new(),
        });
        let summary = tally.finish("h", names.iter().zip(&now).map(|(name, now)| seen(name, now)), works.to_vec());
        assert_eq!((summary.problems.lines.len(), summary.problems.more), (MAX_LISTED, 15));
        assert_eq!((summary.incidents.lines.len(), summary.incidents.more), (MAX_LISTED, 15));
        assert_eq!((summary.counts.all(), summary.counts.bad), (25, 25));
        let downtimes: Vec<_> = summary.downtimes.lines.iter().map(|work| work.start).collect();
        assert_eq!(downtimes, [at(50), at(300)], "what is over is left out, the next comes first");
    }

    proptest! {
        /// Whatever happened: no check is not okay for longer than the period, and the counts add up.
        #[test]
        fn no_more_than_the_period(
            story in proptest::collection::vec((0_i64..300, 0_usize..4), 0..40),
            since in 0_i64..200,
        ) {
            let states = [State::Okay, State::Warning, State::Unknown, State::Bad];
            let mut story: Vec<_> = story.into_iter().map(|(second, state)| (second, states[state])).collect();
            story.sort_by_key(|(second, _)| *second);
            let name = Name::new("x");
            let mut tally = Tally::new(at(since), at(300));
            let status = live(&mut tally, &name, &story);
            // The time in which the last result was a problem, second by second.
            let is_bad = |second: i64| {
                story.iter().rev().find(|(when, _)| *when <= second).is_some_and(|(_, state)| state.is_problem())
            };
            let expected = (since..300).filter(|second| is_bad(*second)).count() as u64;
            let summary = tally.finish("h", [seen(&name, &status)], Vec::new());
            let found: u64 = summary.worst.lines.iter().map(|line| line.seconds).sum();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(summary.counts.all(), 1);
        }
    }
}
