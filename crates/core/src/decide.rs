//! The whole of notification: compare what is so with what this target was last *successfully* told.
//!
//! A downtime that ends over a standing problem, a restart between problem and recovery, a failed delivery, a blip, a target that
//! is added later: all of them are differences between the two, and none needs code of its own. `docs/decide.md` has the table; a
//! test reads it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hold::Hold;
use crate::incident::{Incident, IncidentId, stable_hash};
use crate::name::Name;
use crate::state::State;

/// What is so: the confirmed state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hard {
    /// The hard state.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The open incident; there is one exactly while `state` is a problem.
    pub incident: Option<Incident>,
}

/// What one target knows about one check: what it was last successfully told, and what it should have been told but was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// The state that it was told; okay if it was never told anything.
    pub state: State,
    /// The incident that it was told about, if that state is a problem.
    pub incident: Option<IncidentId>,
    /// When.
    pub at: Option<Timestamp>,
    /// How many of the last messages were reminders, one after the other.
    pub reminders: u32,
    /// The end of the hold that it was told of before it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<Timestamp>,
    /// The beginning of the acknowledgement that it was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Timestamp>,
    /// How many messages it has been told about this check: the part of the delivery id that grows.
    pub count: u64,
    /// Whether the last thing that it was told is that the check flaps.
    pub flapping: bool,
    /// Whether something else was sent since, and nobody knows whether it arrived. Then the truth is told even if nothing seems to
    /// have changed: the target may have seen a state that is no longer so.
    pub doubt: bool,
    /// Problems that were to be told and whose end it does not know, oldest first, at most [`MAX_MISSED`]. The one that it was told
    /// of is among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
    /// How many more there were than `missed` holds.
    pub missed_more: u32,
    /// The thread of its last messages, and what the receiver calls it ([`crate::action::Delivered::reference`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Box<(String, String)>>,
}

/// How many missed incidents are remembered one by one, so that a target that is down for a year costs no memory; more are counted.
pub const MAX_MISSED: usize = 20;

/// A problem that was to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Which.
    pub incident: IncidentId,
    /// The state that was to be told.
    pub state: State,
    /// When it began.
    pub since: Timestamp,
    /// When it ended; none while it lasts.
    pub until: Option<Timestamp>,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Something broke.
    Problem,
    /// It is still broken, but differently: better or worse.
    Change,
    /// It is still broken.
    Reminder,
    /// It is still broken, and somebody works on it.
    Acknowledged,
    /// It is still broken, and what holds its messages is about to end.
    HoldEnds,
    /// It is over.
    Recovery,
    /// It was broken and is over, and nothing could be told in between.
    Missed,
    /// It changes too often: nothing more is told until that ends (R44).
    FlappingStarted,
    /// It has stopped changing all the time: this is how it is now, whatever that is (R44).
    FlappingEnded,
    /// About no single check: how everything is, and what happened in a period.
    Summary,
    /// About monchero itself: it has started.
    Started,
    /// About monchero itself: its configuration is broken.
    Config,
    /// About monchero itself: it ended without being told to.
    Crashed,
}

impl NoticeKind {
    /// All kinds of messages that are decided about a check.
    pub const ALL: [Self; 9] = [
        Self::Problem,
        Self::Change,
        Self::Reminder,
        Self::Acknowledged,
        Self::HoldEnds,
        Self::Recovery,
        Self::Missed,
        Self::FlappingStarted,
        Self::FlappingEnded,
    ];

    /// The word as it stands in files, JSON and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Change => "change",
            Self::Reminder => "reminder",
            Self::Acknowledged => "acknowledged",
            Self::HoldEnds => "hold_ends",
            Self::Recovery => "recovery",
            Self::Missed => "missed",
            Self::FlappingStarted => "flapping_started",
            Self::FlappingEnded => "flapping_ended",
            Self::Summary => "summary",
            Self::Started => "started",
            Self::Config => "config",
            Self::Crashed => "crashed",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of message.
    pub kind: NoticeKind,
    /// What is so.
    pub state: State,
    /// What the target was last told.
    pub told: State,
    /// The incident that it is about.
    pub incident: Option<IncidentId>,
    /// Since when what is so is so.
    pub since: Option<Timestamp>,
    /// Other problems that came and went, as far as the target does not know that yet.
    pub missed: Vec<Missed>,
    /// How many more there were than `missed` lists.
    #[serde(default)]
    pub missed_more: u32,
    /// The acknowledgement, or the hold that is about to end, if that is what is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

impl Notice {
    /// The id under which this notice is delivered: the same for the same notice after a crash, another for any other (R37).
    /// `told` is what the target knew when the notice was decided.
    pub fn delivery_id(&self, host: &str, check: &Name, target: &Name, told: &Told) -> String {
        let incident = self.incident.map_or(0, IncidentId::as_u64);
        // A problem that changes to and fro while no delivery succeeds makes notices that differ in nothing else.
        let since = self.since.map_or(0, Timestamp::as_millisecond);
        let hash = stable_hash(&[
            host.as_bytes(),
            check.as_str().as_bytes(),
            target.as_str().as_bytes(),
            self.kind.as_str().as_bytes(),
            self.state.as_str().as_bytes(),
            &incident.to_be_bytes(),
            &since.to_be_bytes(),
            &told.count.to_be_bytes(),
        ]);
        format!("{hash:016x}")
    }

    /// Whether there is nothing to worry about any more.
    pub fn is_good_news(&self) -> bool {
        self.state == State::Okay && self.kind != NoticeKind::FlappingStarted
    }
}

/// What a target wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Which hard states it is told about. Recovery follows by itself, and so does the truth once it was told of a problem.
    pub states: Vec<State>,
    /// How often it is reminded of a standing problem.
    pub remind: Option<Remind>,
    /// How long before a downtime or an acknowledgement ends over a standing problem it is told of that.
    pub before_hold_ends: Option<Duration>,
    /// Whether it is told that somebody acknowledged a problem that it was told of.
    pub acknowledgements: bool,
}

/// How often a target is reminded of a standing problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remind {
    /// How long after the problem the first reminder comes.
    pub every: Duration,
    /// How much longer each wait is than the one before, in percent of it; 100 for as long.
    pub growth: u32,
    /// The longest wait.
    pub at_most: Duration,
}

/// Always as long.
impl From<Duration> for Remind {
    fn from(every: Duration) -> Self {
        Self { every, growth: 100, at_most: every }
    }
}

impl Remind {
    /// How long the wait is after so many reminders.
    pub fn wait(&self, reminders: u32) -> Duration {
        let mut wait = self.every;
        for _ in 0..reminders {
            if wait >= self.at_most || self.growth <= 100 {
                break;
            }
            wait = (wait / 100).saturating_mul(self.growth);
        }
        wait.min(self.at_most)
    }
}

/// What is to be done about one target and one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It knows the truth; look again at that time, if there is one (a reminder).
    Nothing(Option<Timestamp>),
    /// Tell it.
    Tell(Notice),
    /// It should be told, but not now. Look again when the hold ends or changes.
    Held(Notice, Hold),
}

/// Compares what is so with what the target knows.
///
/// `holds` are all the holds on this check and target, in any order. The answer depends on nothing else, so it may be asked as often
/// as one likes.
pub fn decide<'h>(
    hard: &Hard,
    told: &Told,
    holds: impl IntoIterator<Item = &'h Hold>,
    wants: &Wants,
    now: Timestamp,
) -> Decision {
    let holds = Holds::sort(holds);
    if let Some(hold) = holds.untold_acknowledgement(hard, told, wants) {
        let notice = Notice { hold: Some(hold.clone()), ..notice(NoticeKind::Acknowledged, hard, told) };
        // It ends the worry as good news does, so it passes what that passes.
        return match holds.of_all {
            Some(other) => Decision::Held(notice, other.clone()),
            None => Decision::Tell(notice),
        };
    }
    if let Some((at, hold)) = holds.announcement(hard, told, wants)
        && at <= now
        && hold.until().is_some_and(|until| now < until)
    {
        let notice = Notice { hold: Some(hold.clone()), ..notice(NoticeKind::HoldEnds, hard, told) };
        return match holds.other {
            Some(other) => Decision::Held(notice, other.clone()),
            None => Decision::Tell(notice),
        };
    }
    let Some(kind) = difference(hard, told, holds.flapping.is_some(), wants, now) else {
        return Decision::Nothing(next_reminder(hard, told, wants));
    };
    let notice = notice(kind, hard, told);
    // While it flaps, the only message is the one that says so.
    let flapping = holds.flapping.filter(|_| kind != NoticeKind::FlappingStarted);
    match flapping.or(if notice.is_good_news() { holds.of_all } else { holds.any }) {
        Some(hold) => Decision::Held(notice, hold.clone()),
        None => Decision::Tell(notice),
    }
}

/// When the target is to be told that a hold is about to end over a standing problem, as far as that is known now: whoever asks [`decide`]
/// asks again then.
pub fn announcement<'h>(
    hard: &Hard,
    told: &Told,
    holds: impl IntoIterator<Item = &'h Hold>,
    wants: &Wants,
) -> Option<Timestamp> {
    Some(Holds::sort(holds).announcement(hard, told, wants)?.0)
}

/// Holds by what they hold.
struct Holds<'h> {
    flapping: Option<&'h Hold>,
    /// The first other one that holds good news too.
    of_all: Option<&'h Hold>,
    /// The first other one.
    any: Option<&'h Hold>,
    /// The first one that nobody made to work on the check.
    other: Option<&'h Hold>,
    /// What people hold it by, the one that ends last at the end.
    made: Option<&'h Hold>,
    acknowledgement: Option<&'h Hold>,
}

impl<'h> Holds<'h> {
    fn sort(holds: impl IntoIterator<Item = &'h Hold>) -> Self {
        let mut sorted =
            Self { flapping: None, of_all: None, any: None, other: None, made: None, acknowledgement: None };
        // What never ends by itself ends last.
        let end = |hold: &Hold| hold.until().unwrap_or(Timestamp::MAX);
        for hold in holds {
            if matches!(hold, Hold::Acknowledgement { .. }) {
                sorted.acknowledgement = Some(hold);
            }
            if matches!(hold, Hold::Downtime { .. } | Hold::Acknowledgement { .. }) {
                sorted.made = Some(sorted.made.filter(|made| end(made) >= end(hold)).unwrap_or(hold));
            } else {
                sorted.other = sorted.other.or(Some(hold));
            }
            if matches!(hold, Hold::Flapping { .. }) {
                sorted.flapping = Some(hold);
                continue;
            }
            sorted.any = sorted.any.or(Some(hold));
            if hold.holds_recovery() {
                sorted.of_all = sorted.of_all.or(Some(hold));
            }
        }
        sorted
    }

    /// The acknowledgement of the problem that the target was told of, if it wants to know of that and does not yet.
    fn untold_acknowledgement(&self, hard: &Hard, told: &Told, wants: &Wants) -> Option<&'h Hold> {
        let (hold, incident) = (self.acknowledgement?, hard.incident?);
        let Hold::Acknowledgement { since, .. } = hold else { return None };
        let knows = told.incident == Some(incident.id) && !told.flapping && self.flapping.is_none();
        (wants.acknowledgements && knows && told.acknowledged != Some(*since)).then_some(hold)
    }

    /// The hold that is the last to end over a standing problem, and when that is to be told. Not one that is shorter than the time before its
    /// end, nor a problem that began after that: who is told at the end anyway needs no notice of it.
    fn announcement(&self, hard: &Hard, told: &Told, wants: &Wants) -> Option<(Timestamp, &'h Hold)> {
        let (incident, hold) = (hard.incident?, self.made?);
        let (Hold::Downtime { since, .. } | Hold::Acknowledgement { since, .. }) = hold else { return None };
        let until = hold.until()?;
        let at = until.checked_sub(wants.before_hold_ends?).ok()?;
        let concerned = wants.states.contains(&hard.state) || told.incident == Some(incident.id);
        let stood = *since <= at && incident.since <= at;
        let is_news = told.announced != Some(until) && !told.flapping;
        (concerned && stood && is_news).then_some((at, hold))
    }
}

fn difference(hard: &Hard, told: &Told, flapping: bool, wants: &Wants, now: Timestamp) -> Option<NoticeKind> {
    if told.flapping {
        return Some(NoticeKind::FlappingEnded);
    }
    let otherwise = difference_of_states(hard, told, wants, now);
    if flapping {
        // Who would hear of it anyway, or knows of a problem, is told that it flaps; nobody else is concerned.
        return (otherwise.is_some() || told.state.is_problem()).then_some(NoticeKind::FlappingStarted);
    }
    otherwise
}

fn difference_of_states(hard: &Hard, told: &Told, wants: &Wants, now: Timestamp) -> Option<NoticeKind> {
    let told_of_problem = told.state.is_problem();
    let Some(incident) = hard.incident else {
        return if told_of_problem {
            Some(NoticeKind::Recovery)
        } else if !told.missed.is_empty() {
            Some(NoticeKind::Missed)
        } else {
            // All that can have been sent without being told of or missing a problem is that it flaps.
            told.doubt.then_some(NoticeKind::FlappingEnded)
        };
    };
    if !told_of_problem {
        return (wants.states.contains(&hard.state) || told.doubt).then_some(NoticeKind::Problem);
    }
    if told.incident != Some(incident.id) {
        // It knows of an older problem whose end it was never told; the new one is a problem of its own.
        return Some(NoticeKind::Problem);
    }
    if told.state != hard.state || told.doubt {
        return Some(NoticeKind::Change);
    }
    let due = next_reminder(hard, told, wants)?;
    (due <= now).then_some(NoticeKind::Reminder)
}

fn next_reminder(hard: &Hard, told: &Told, wants: &Wants) -> Option<Timestamp> {
    if hard.incident.is_none() || !wants.states.contains(&hard.state) {
        return None;
    }
    told.at?.checked_add(wants.remind?.wait(told.reminders)).ok()
}

fn notice(kind: NoticeKind, hard: &Hard, told: &Told) -> Notice {
    let (about, over_by) = match hard.incident {
        Some(incident) => (Some(incident.id), Some(incident.since)),
        None => (told.incident, hard.since),
    };
    let missed = told.missed.iter().filter(|missed| Some(missed.incident) != about);
    Notice {
        kind,
        state: hard.state,
        told: told.state,
        incident: about.or(told.missed.last().map(|missed| missed.incident)),
        since: hard.since,
        // An end that a crash kept from being noted was not later than what came next.
        missed: missed.map(|missed| Missed { until: missed.until.or(over_by), ..*missed }).collect(),
        missed_more: told.missed_more,
        hold: None,
    }
}

impl Told {
    /// After a delivery of `notice` succeeded.
    pub fn delivered(&mut self, notice: &Notice, now: Timestamp) {
        let is_problem = notice.state.is_problem();
        // What came while the message was under way is still to be told, and so is the end of the problem that it told of.
        self.missed.retain(|missed| {
            let listed = notice.missed.iter().any(|listed| listed.incident == missed.incident);
            let over = !is_problem && Some(missed.incident) == notice.incident;
            !listed && !over
        });
        self.missed_more = self.missed_more.saturating_sub(notice.missed_more);
        self.state = notice.state;
        self.incident = if is_problem { notice.incident } else { None };
        self.at = Some(now);
        self.reminders = if notice.kind == NoticeKind::Reminder { self.reminders.saturating_add(1) } else { 0 };
        match (notice.kind, &notice.hold) {
            (NoticeKind::Acknowledged, Some(Hold::Acknowledgement { since, .. })) => self.acknowledged = Some(*since),
            (_, Some(hold)) => self.announced = hold.until(),
            (_, None) => {}
        }
        self.count += 1;
        self.flapping = notice.kind == NoticeKind::FlappingStarted;
        self.doubt = false;
    }

    /// Before each try to deliver `notice`, and on disk before it: a try whose end nobody sees may have been seen by the target.
    /// Answers whether that changed anything.
    pub fn attempted(&mut self, notice: &Notice, hard: &Hard) -> bool {
        let is_news = notice.state != self.state
            || notice.incident.filter(|_| notice.state.is_problem()) != self.incident
            || matches!(notice.kind, NoticeKind::FlappingStarted | NoticeKind::FlappingEnded);
        let begins_doubt = is_news && !self.doubt;
        self.doubt |= is_news;
        self.postponed(notice, hard) || begins_doubt
    }

    /// When [`decide`] says `Tell` and the try has to wait, for its turn or after a failure: a problem that is over before a delivery
    /// succeeds was missed, not untold (R46). Answers whether that changed anything.
    pub fn postponed(&mut self, notice: &Notice, hard: &Hard) -> bool {
        let is_first = match notice.kind {
            NoticeKind::Problem => true,
            NoticeKind::HoldEnds => notice.incident != self.incident,
            _ => false,
        };
        let Some(incident) = hard.incident.filter(|_| is_first) else { return false };
        if self.missed.iter().any(|missed| missed.incident == incident.id) {
            return false;
        }
        if self.missed.len() >= MAX_MISSED {
            self.missed.remove(0);
            self.missed_more = self.missed_more.saturating_add(1);
        }
        self.missed.push(Missed { incident: incident.id, state: hard.state, since: incident.since, until: None });
        true
    }

    /// When an incident ended: takes note of the end of what was told or missed. Answers whether that changed anything.
    pub fn ended(&mut self, incident: IncidentId, now: Timestamp) -> bool {
        match self.missed.iter_mut().find(|missed| missed.incident == incident && missed.until.is_none()) {
            Some(missed) => {
                missed.until = Some(now);
                true
            }
            None => false,
        }
    }

    /// Whether the target is to hear something once the check is okay, or gone.
    pub fn is_owed(&self) -> bool {
        self.state.is_problem() || self.flapping || self.doubt || !self.missed.is_empty()
    }

    /// After the wall clock stepped back: nothing that is remembered lies in the future, or reminders would wait for it (R18).
    /// Answers whether that changed anything.
    pub fn settle(&mut self, now: Timestamp) -> bool {
        let ahead = self.at.is_some_and(|at| at > now);
        if ahead {
            self.at = Some(now);
        }
        ahead
    }
}
