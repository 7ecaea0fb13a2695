//! Random lives of one check and one target: results, holds that come and go, deliveries that succeed, fail, hang, or arrive without
//! anybody learning of it, and kills between any two steps. What the receiver saw is compared with what is so. Contract 3, 4 and 6;
//! R37, R38, R44-R46; section 4.2 of the test plan.

#[path = "support/random.rs"]
mod random;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::decide::{Remind, Wants};
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::{Acknowledgement, DependencyHold};
use monchero_core::{CheckStatus, Decision, Hold, IncidentId, Name, Notice, NoticeKind, Policy, State, Told, decide};
use random::{Random, for_cases};

/// What the receiver saw.
#[derive(Clone, Debug)]
struct Seen {
    notice: Notice,
    id: String,
    at: i64,
    /// Whether the sender learned that it arrived.
    confirmed: bool,
}

/// How a delivery will end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Arrives,
    Refused,
    AnswerLost,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the scene")]
struct World<'r> {
    random: &'r mut Random,
    second: i64,
    policy: Policy,
    status: CheckStatus,
    told: Told,
    wants: Wants,
    /// From when to when.
    downtime: Option<(i64, i64)>,
    quiet: bool,
    dependency: bool,
    acknowledgement: Option<Acknowledgement>,
    /// A message under way, how it will end, and when.
    under_way: Option<(Notice, String, End, i64)>,
    /// No try before that.
    rests_until: i64,
    faults: bool,
    /// Whether any try ended otherwise than with an answer that the sender got.
    had_faults: bool,
    seen: Vec<Seen>,
    /// Incidents, by id: from when to when.
    incidents: HashMap<IncidentId, (i64, Option<i64>)>,
    /// Incidents that were to be told when they were open.
    due: HashSet<IncidentId>,
    /// Every notice that was tried, by its delivery id.
    tried: HashMap<String, Notice>,
    log: Vec<String>,
}

impl World<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second).unwrap()
    }

    fn holds(&self) -> Vec<Hold> {
        let (author, comment) = ("ann".to_owned(), String::new());
        let mut holds = Vec::new();
        holds.extend(
            self.acknowledgement
                .iter()
                .filter(|ack| ack.stands(self.status.hard_state, self.now()))
                .map(Acknowledgement::hold),
        );
        let moment = |second| Timestamp::from_second(second).unwrap();
        let downtime = self.downtime.filter(|(_, until)| self.second < *until);
        holds.extend(downtime.map(|(since, until)| Hold::Downtime {
            id: 1,
            author,
            comment,
            since: moment(since),
            until: moment(until),
        }));
        holds.extend(self.status.flapping_since().map(|since| Hold::Flapping { since, until: None }));
        holds.extend(
            self.dependency.then(|| Hold::Dependency { parent: Name::new("uplink"), why: DependencyHold::ParentBad }),
        );
        holds.extend(self.quiet.then_some(Hold::QuietHours { until: Timestamp::MAX }));
        holds
    }

    fn result(&mut self, result: State) {
        let now = self.now();
        let Some(transition) = self.status.apply(&Name::new("x"), result, &self.policy, now) else { return };
        self.log.push(format!("{} {} {}", self.second, transition.state_type, transition.state));
        self.acknowledgement = self.acknowledgement.take().filter(|ack| ack.stands(self.status.hard_state, now));
        let Some(incident) = transition.incident else { return };
        let known = self.incidents.entry(incident).or_insert((self.second, None));
        if transition.is_recovery() {
            known.1 = Some(self.second);
            // A kill may come before the outbox takes note.
            if self.faults && self.random.percent(5) {
                self.had_faults = true;
            } else {
                self.told.ended(incident, now);
            }
        }
    }

    fn step(&mut self) {
        self.second += i64::try_from(1 + self.random.below(40)).unwrap();
        match self.random.below(24) {
            0 => {
                let until = self.second + 20 + i64::try_from(self.random.below(400)).unwrap();
                self.downtime = if self.downtime.is_none() { Some((self.second, until)) } else { None };
            }
            1 => self.quiet = !self.quiet,
            2 => self.dependency = !self.dependency,
            3 if self.status.hard_state.is_problem() => {
                let until = self.random.percent(50).then(|| Timestamp::from_second(self.second + 90).unwrap());
                let (sticky, state) = (self.random.percent(50), self.status.hard_state);
                let ack = Acknowledgement {
                    at: self.now(),
                    author: "ann".to_owned(),
                    comment: String::new(),
                    until,
                    sticky,
                    state,
                };
                self.acknowledgement = Some(ack);
            }
            4 => self.wants = wants(self.random),
            5 => {
                self.status = serde_json::from_str(&serde_json::to_string(&self.status).unwrap()).unwrap();
                self.told = serde_json::from_str(&serde_json::to_string(&self.told).unwrap()).unwrap();
                // What was under way when the daemon was killed may have arrived.
                if let Some((.., end, due)) = &mut self.under_way {
                    *end = if *end == End::Arrives { End::AnswerLost } else { *end };
                    *due = self.second;
                }
                self.had_faults = true;
            }
            6..=8 => {}
            _ => {
                let result = if self.random.percent(50) { State::Okay } else { *self.random.pick(&State::ALL) };
                self.result(result);
            }
        }
        if let Some(flapping) = &self.policy.flapping {
            self.status.flapping.update(false, flapping, Timestamp::from_second(self.second).unwrap());
        }
        self.land();
        self.look();
    }

    /// The end of what is under way, if it is time.
    fn land(&mut self) {
        if self.under_way.as_ref().is_none_or(|(.., due)| *due > self.second) {
            return;
        }
        let Some((notice, id, end, _)) = self.under_way.take() else { return };
        self.log.push(format!("{} {end:?} {:?} {}", self.second, notice.kind, notice.state));
        if end != End::Refused {
            self.seen.push(Seen { notice: notice.clone(), id, at: self.second, confirmed: end == End::Arrives });
        }
        if end == End::Arrives {
            self.told.delivered(&notice, self.now());
        } else {
            self.had_faults = true;
            self.rests_until = self.second + i64::try_from(self.random.below(60)).unwrap();
        }
    }

    fn look(&mut self) {
        let Decision::Tell(notice) = decide(&self.status.hard(), &self.told, &self.holds(), &self.wants, self.now())
        else {
            return;
        };
        let hard = self.status.hard();
        if matches!(notice.kind, NoticeKind::Problem | NoticeKind::HoldEnds) {
            self.due.extend(notice.incident);
        }
        if self.under_way.is_some() || self.second < self.rests_until {
            self.told.postponed(&notice, &hard);
            return;
        }
        self.told.attempted(&notice, &hard);
        self.check_held(&notice);
        let id = notice.delivery_id("host", &Name::new("x"), &Name::new("ops"), &self.told);
        self.check_id(&notice, &id);
        let end = if self.faults {
            *self.random.pick(&[End::Arrives, End::Arrives, End::Refused, End::AnswerLost])
        } else {
            End::Arrives
        };
        let slow = self.faults && self.random.percent(30);
        let due = self.second + if slow { i64::try_from(self.random.below(100)).unwrap() } else { 0 };
        self.under_way = Some((notice, id, end, due));
        self.land();
    }

    /// Nothing is told that a hold holds.
    fn check_held(&self, notice: &Notice) {
        let good_news = notice.state == State::Okay && notice.kind != NoticeKind::FlappingStarted;
        for hold in self.holds() {
            let passes = match hold {
                Hold::Flapping { .. } => notice.kind == NoticeKind::FlappingStarted,
                Hold::QuietHours { .. } => false,
                Hold::Delay { .. } | Hold::Mending { .. } => unreachable!("the engine makes them, target by target"),
                Hold::Acknowledgement { .. } | Hold::Downtime { .. } => {
                    good_news || matches!(notice.kind, NoticeKind::HoldEnds | NoticeKind::Acknowledged)
                }
                Hold::Dependency { .. } | Hold::CutOff { .. } => good_news || notice.kind == NoticeKind::Acknowledged,
            };
            assert!(passes, "{notice:?} in spite of {hold:?}");
        }
        assert_eq!(notice.state, self.status.hard_state);
    }

    /// One notice, one id; one id, one notice; and what arrived for sure is not sent again.
    fn check_id(&mut self, notice: &Notice, id: &str) {
        let same =
            |a: &Notice, b: &Notice| (a.kind, a.state, a.incident, a.since) == (b.kind, b.state, b.incident, b.since);
        if let Some(before) = self.tried.insert(id.to_owned(), notice.clone()) {
            assert!(same(&before, notice), "one id for {before:?} and {notice:?}");
        } else {
            let unconfirmed = self.seen.last().filter(|seen| !seen.confirmed);
            assert!(unconfirmed.is_none_or(|seen| !same(&seen.notice, notice)), "a second id for {notice:?}");
        }
        assert!(!self.seen.iter().any(|seen| seen.confirmed && seen.id == id), "{notice:?} was delivered before");
    }

    /// Everything is mended, and time passes.
    fn calm_down(&mut self) {
        self.faults = false;
        (self.downtime, self.quiet, self.dependency, self.acknowledgement) = (None, false, false, None);
        self.rests_until = 0;
        self.second += 100;
        self.land();
        let last = if self.random.percent(50) { State::Okay } else { *self.random.pick(&State::ALL) };
        for _ in 0..40 {
            self.second += 30;
            self.result(last);
            self.look();
        }
        assert_eq!((self.status.hard_state, self.status.flapping_since()), (last, None));
    }
}

fn wants(random: &mut Random) -> Wants {
    let states: Vec<State> = State::ALL.into_iter().filter(|state| state.is_problem() && random.percent(60)).collect();
    let every = Duration::from_secs(30 + random.below(300));
    let growth = u32::try_from(100 + random.below(200)).unwrap();
    let remind = Remind { every, growth, at_most: every * u32::try_from(1 + random.below(5)).unwrap() };
    let before = Duration::from_secs(10 + random.below(200));
    Wants {
        states,
        remind: random.percent(50).then_some(remind),
        before_hold_ends: random.percent(50).then_some(before),
        acknowledgements: random.percent(50),
    }
}

fn live(random: &mut Random) {
    let flapping = FlappingPolicy { window: Duration::from_secs(240), enter: 4, exit: 1 };
    let policy = Policy {
        max_attempts: u32::try_from(1 + random.below(2)).unwrap(),
        recover_after: u32::try_from(1 + random.below(2)).unwrap(),
        flapping: random.percent(50).then_some(flapping),
    };
    let faults = random.percent(70);
    let wants = wants(random);
    let mut world = World {
        random,
        second: 1_700_000_000,
        policy,
        status: CheckStatus::default(),
        told: Told::default(),
        wants,
        downtime: None,
        quiet: false,
        dependency: false,
        acknowledgement: None,
        under_way: None,
        rests_until: 0,
        faults,
        had_faults: false,
        seen: Vec::new(),
        incidents: HashMap::new(),
        due: HashSet::new(),
        tried: HashMap::new(),
        log: Vec::new(),
    };
    for _ in 0..60 {
        world.step();
    }
    world.calm_down();
    judge(&world);
}

fn judge(world: &World<'_>) {
    let story = || format!("{}\nseen: {:#?}\n{:?}", world.log.join("\n"), world.seen, world.told);
    last_word_is_the_truth(world, &story);
    no_good_news_out_of_the_blue(world, &story);
    listed_incidents_are_true_and_told_once(world, &story);
    reminders_keep_their_distance(world, &story);
    no_hold_is_told_twice(world, &story);
    if !world.had_faults {
        nothing_is_said_twice(world, &story);
    }
}

/// Contract 6, as far as the target wants to know.
fn last_word_is_the_truth(world: &World<'_>, story: &dyn Fn() -> String) {
    let hard = world.status.hard();
    let decision = decide(&hard, &world.told, None, &world.wants, world.now());
    assert!(matches!(decision, Decision::Nothing(_)), "{decision:?} is still to be told\n{}", story());
    let last = world.seen.last().map_or((State::Okay, None), |seen| (seen.notice.state, seen.notice.incident));
    let is_true = match hard.incident {
        None => last.0 == State::Okay,
        Some(open) => {
            last == (hard.state, Some(open.id)) || (last.0 == State::Okay && !world.wants.states.contains(&hard.state))
        }
    };
    assert!(is_true, "the last word was {last:?}, the truth is {hard:?}\n{}", story());
    assert!(hard.state.is_problem() || !world.told.is_owed(), "{}", story());
    let flaps = world.seen.last().is_some_and(|seen| seen.notice.kind == NoticeKind::FlappingStarted);
    assert!(!flaps, "nobody said that it is over\n{}", story());
}

fn no_good_news_out_of_the_blue(world: &World<'_>, story: &dyn Fn() -> String) {
    for (i, seen) in world.seen.iter().enumerate() {
        let before = &world.seen[..i];
        let heard_of =
            |id: IncidentId| before.iter().any(|b| b.notice.incident == Some(id) && b.notice.state.is_problem());
        match seen.notice.kind {
            NoticeKind::Recovery => assert!(seen.notice.incident.is_some_and(heard_of), "{seen:?}\n{}", story()),
            NoticeKind::Missed => assert!(!seen.notice.missed.is_empty(), "{seen:?}\n{}", story()),
            NoticeKind::FlappingEnded => {
                assert!(
                    before.iter().any(|b| b.notice.kind == NoticeKind::FlappingStarted) || world.had_faults,
                    "{seen:?}\n{}",
                    story()
                );
            }
            NoticeKind::Problem | NoticeKind::Change | NoticeKind::Reminder | NoticeKind::HoldEnds => {
                assert!(seen.notice.state.is_problem(), "{seen:?}");
            }
            NoticeKind::Acknowledged => {
                let is_known = seen.notice.incident.is_some_and(heard_of);
                assert!(is_known && seen.notice.state.is_problem(), "{seen:?}\n{}", story());
            }
            NoticeKind::FlappingStarted => {}
            NoticeKind::Summary | NoticeKind::Started | NoticeKind::Config | NoticeKind::Crashed => {
                panic!("{seen:?} is about no check\n{}", story());
            }
        }
    }
}

/// R46: whatever was to be told is told in the end, be it in a list, and a list is right.
fn listed_incidents_are_true_and_told_once(world: &World<'_>, story: &dyn Fn() -> String) {
    let mut known_over = HashSet::new();
    let mut mentioned: HashSet<IncidentId> = HashSet::new();
    let mut more = 0;
    for seen in &world.seen {
        for missed in &seen.notice.missed {
            let (since, until) = world.incidents[&missed.incident];
            assert_eq!(missed.since.as_second(), since, "{}", story());
            let (until, listed) =
                (until.expect("what is listed is over"), missed.until.expect("it says when").as_second());
            assert!(
                listed == until || (world.had_faults && listed >= until),
                "{missed:?} ended at {until}\n{}",
                story()
            );
            assert!(!known_over.contains(&missed.incident), "{missed:?} is told for the second time\n{}", story());
            mentioned.insert(missed.incident);
        }
        mentioned.extend(seen.notice.incident);
        if seen.confirmed {
            more += seen.notice.missed_more;
            known_over.extend(seen.notice.missed.iter().map(|missed| missed.incident));
            known_over.extend(seen.notice.incident.filter(|_| seen.notice.state == State::Okay));
        }
    }
    if world.status.hard_state.is_problem() && !world.wants.states.contains(&world.status.hard_state) {
        // What it has missed waits for the end of a problem that it does not want to hear of.
        mentioned.extend(world.told.missed.iter().map(|missed| missed.incident));
    }
    let forgotten = world.due.difference(&mentioned).count();
    assert!(forgotten <= more as usize, "{forgotten} incidents were never told\n{}", story());
}

/// R38: not closer than asked for, whatever was told before.
fn reminders_keep_their_distance(world: &World<'_>, story: &dyn Fn() -> String) {
    let shortest = 30;
    let mut told_at = None;
    for seen in &world.seen {
        if seen.notice.kind == NoticeKind::Reminder {
            assert!(told_at.is_some_and(|at| seen.at - at >= shortest), "{seen:?}\n{}", story());
        }
        if seen.confirmed {
            told_at = Some(seen.at);
        }
    }
}

/// One notice for each acknowledgement and for each end of a hold, unless nobody knows whether it arrived.
fn no_hold_is_told_twice(world: &World<'_>, story: &dyn Fn() -> String) {
    let mut told = HashSet::new();
    for seen in &world.seen {
        let about = match (seen.notice.kind, &seen.notice.hold) {
            (NoticeKind::Acknowledged, Some(Hold::Acknowledgement { since, .. })) => (seen.notice.kind, *since),
            (NoticeKind::HoldEnds, Some(hold)) => (seen.notice.kind, hold.until().expect("a known end")),
            (NoticeKind::Acknowledged | NoticeKind::HoldEnds, _) => panic!("{seen:?} is about no hold\n{}", story()),
            _ => continue,
        };
        assert!(!told.contains(&about), "{seen:?} for the second time\n{}", story());
        if seen.confirmed {
            told.insert(about);
        }
    }
}

/// R38: without a fault, each message says something that the one before did not.
fn nothing_is_said_twice(world: &World<'_>, story: &dyn Fn() -> String) {
    let says = |notice: &Notice| {
        (
            notice.state,
            notice.incident.filter(|_| notice.state.is_problem()),
            notice.kind == NoticeKind::FlappingStarted,
        )
    };
    let mut knows = (State::Okay, None, false);
    for seen in &world.seen {
        let news = says(&seen.notice) != knows
            || matches!(
                seen.notice.kind,
                NoticeKind::Reminder | NoticeKind::Missed | NoticeKind::Acknowledged | NoticeKind::HoldEnds
            );
        assert!(news, "{seen:?} says nothing new\n{}", story());
        knows = says(&seen.notice);
    }
    let ids: HashSet<&String> = world.seen.iter().map(|seen| &seen.id).collect();
    assert_eq!(ids.len(), world.seen.len(), "{}", story());
}

#[test]
fn the_receiver_ends_up_with_the_truth() {
    for_cases(20_000, live);
}
