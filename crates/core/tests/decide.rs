//! The tables of `docs/decide.md`, run row by row (R37, R38, R44, R45, R46).

#[path = "support/table.rs"]
mod table;

use std::collections::HashSet;
use std::time::Duration;

use jiff::{Span, Timestamp, ToSpan};
use monchero_core::decide::{Hard, Missed, Remind, Wants, announcement};
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::{Acknowledgement, DependencyHold, ParentView, dependency};
use monchero_core::{
    CheckStatus, Decision, Hold, Incident, IncidentId, Name, Notice, NoticeKind, Policy, State, StateType, Told, decide,
};

const PAGE: &str = include_str!("../../../docs/decide.md");

fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn ago(span: Span) -> Timestamp {
    start().checked_sub(span).unwrap()
}

fn wants() -> Wants {
    Wants {
        states: vec![State::Bad, State::Unknown],
        remind: Some(Duration::from_hours(4).into()),
        before_hold_ends: Some(Duration::from_mins(15)),
        acknowledgements: true,
    }
}

/// The incident of a letter: `A` began before `B`.
fn incident(letter: &str) -> (IncidentId, Timestamp) {
    let since = ago(if letter == "A" { 8.hours() } else { 6.hours() });
    (IncidentId::new(&Name::new(letter), since), since)
}

/// `okay` or `bad B`.
fn hard(words: &str) -> Hard {
    let Some((state, letter)) = words.split_once(' ') else {
        return Hard { state: State::Okay, since: Some(ago(30.minutes())), incident: None };
    };
    let (id, since) = incident(letter);
    let state = State::from_word(state).unwrap();
    Hard { state, since: Some(since), incident: Some(Incident { id, since, worst: state }) }
}

fn missed(letter: &str, open: bool) -> Missed {
    let (incident, since) = incident(letter);
    Missed { incident, state: State::Bad, since, until: (!open).then(|| since.checked_add(5.minutes()).unwrap()) }
}

/// `nothing`, `flapping`, or `bad A`; then `5h ago`, `missed B`, `in doubt`, `acknowledged`, `the end in 10m`.
fn told(words: &str, hard: &Hard) -> Told {
    let mut told = Told { at: Some(ago(1.hour())), count: 7, ..Told::default() };
    let is_open = |letter: &str| hard.incident.is_some_and(|open| open.id == incident(letter).0);
    for part in words.split(", ") {
        match part.split(' ').collect::<Vec<_>>()[..] {
            ["nothing"] => told = Told::default(),
            ["flapping"] => told.flapping = true,
            ["in", "doubt"] => told.doubt = true,
            ["acknowledged"] => told.acknowledged = Some(ago(7.hours())),
            ["the", "end", "in", span] => {
                told.announced = Some(start().checked_add(span.parse::<Span>().unwrap()).unwrap());
            }
            [span, "ago"] => told.at = Some(ago(span.parse().unwrap())),
            ["missed", letter] => told.missed.push(missed(letter, is_open(letter))),
            [state, letter] => {
                told.state = State::from_word(state).unwrap();
                told.incident = Some(incident(letter).0);
                told.missed.push(missed(letter, is_open(letter)));
            }
            _ => panic!("`{part}` is nothing that a target knows"),
        }
    }
    told
}

/// `downtime`, which goes on for an hour, or `downtime for 10m`; `acknowledged`, `dependency` ..
fn hold(word: &str) -> Hold {
    let (word, left) = word.split_once(" for ").unwrap_or((word, "1h"));
    let (author, comment) = ("ann".to_owned(), "disk swap".to_owned());
    let (since, until) = (ago(7.hours()), start().checked_add(left.parse::<Span>().unwrap()).unwrap());
    match word {
        "downtime" => Hold::Downtime { id: 1, author, comment, since, until },
        "acknowledged" => Hold::Acknowledgement { author, comment, since, until: Some(until) },
        "dependency" => Hold::Dependency { parent: Name::new("uplink"), why: DependencyHold::ParentBad },
        "cut off" => Hold::CutOff { gate: Name::new("uplink"), why: DependencyHold::ParentBad },
        "flapping" => Hold::Flapping { since: ago(5.minutes()), until: Some(until) },
        "quiet hours" => Hold::QuietHours { until },
        _ => panic!("`{word}` is no hold"),
    }
}

fn in_words(decision: &Decision) -> String {
    let kind = |notice: &Notice| notice.kind.as_str();
    match decision {
        Decision::Nothing(None) => "nothing".to_owned(),
        Decision::Nothing(Some(at)) => format!("nothing; look again in {:#}", at.duration_since(start())),
        Decision::Held(notice, hold) => format!("hold {}: {}", kind(notice), hold.word()),
        Decision::Tell(notice) => {
            let letter = |missed: &Missed| if missed.incident == incident("A").0 { "A" } else { "B" };
            let listed: Vec<&str> = notice.missed.iter().map(letter).collect();
            let listed = if listed.is_empty() { String::new() } else { format!(", listing {}", listed.join(" ")) };
            format!("tell {}{listed}", kind(notice))
        }
    }
}

#[test]
fn every_comparison_of_the_page_is_true() {
    for row in table::rows(PAGE, &["what is so", "the target knows", "holds", "decision"]) {
        let hard = hard(&row["what is so"]);
        let told = told(&row["the target knows"], &hard);
        let holds: Vec<Hold> = row["holds"].split(", ").filter(|word| *word != "none").map(hold).collect();
        let decision = decide(&hard, &told, &holds, &wants(), start());
        assert_eq!(in_words(&decision), row["decision"], "{row:?}");
        let backwards = decide(&hard, &told, holds.iter().rev(), &wants(), start());
        assert_eq!(in_words(&backwards), row["decision"], "the order of holds matters: {row:?}");
        if let Decision::Tell(notice) | Decision::Held(notice, _) = &decision {
            assert_eq!((notice.state, notice.told, notice.since), (hard.state, told.state, hard.since), "{row:?}");
            assert!(notice.missed.iter().all(|missed| missed.until.is_some()), "what is listed is over: {row:?}");
            if let Some(open) = hard.incident {
                assert_eq!(notice.incident, Some(open.id), "{row:?}");
            }
        }
    }
}

#[test]
fn each_kind_of_message_and_hold_stands_on_the_page() {
    let rows = table::rows(PAGE, &["what is so", "the target knows", "holds", "decision"]);
    for kind in NoticeKind::ALL {
        assert!(
            rows.iter().any(|row| row["decision"].starts_with(&format!("tell {}", kind.as_str()))),
            "{kind:?} is never told"
        );
        assert!(
            rows.iter().any(|row| row["decision"].starts_with(&format!("hold {}", kind.as_str()))),
            "{kind:?} is never held"
        );
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

/// One check and one target, with everything that can come between them.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the scene")]
struct Story {
    now: Timestamp,
    status: CheckStatus,
    policy: Policy,
    told: Told,
    downtime: bool,
    quiet: bool,
    acknowledgement: Option<Acknowledgement>,
    parent: CheckStatus,
    down: bool,
    answer_lost: bool,
    killed: bool,
    heard: Vec<String>,
    ids: HashSet<String>,
}

impl Story {
    fn new() -> Self {
        let policy = Policy { max_attempts: 1, recover_after: 1, flapping: Some(FlappingPolicy::default()) };
        let (name, mut status, mut parent) = (Name::new("x"), CheckStatus::default(), CheckStatus::default());
        parent.apply(&Name::new("uplink"), State::Okay, &policy, ago(2.minutes()));
        status.apply(&name, State::Okay, &policy, ago(1.minute()));
        let (told, heard, ids) = (Told::default(), Vec::new(), HashSet::new());
        let acknowledgement = None;
        let (downtime, quiet, down, answer_lost, killed) = (false, false, false, false, false);
        Self {
            now: start(),
            status,
            policy,
            told,
            downtime,
            quiet,
            acknowledgement,
            parent,
            down,
            answer_lost,
            killed,
            heard,
            ids,
        }
    }

    fn happens(&mut self, what: &str) {
        self.now = self.now.checked_add(1.minute()).unwrap();
        match what {
            "downtime" => self.downtime = true,
            "downtime ends" => self.downtime = false,
            "quiet hours" => self.quiet = true,
            "quiet hours end" => self.quiet = false,
            "target down" => self.down = true,
            "target up" => self.down = false,
            "the answer is lost" => self.answer_lost = true,
            "killed while telling" => self.killed = true,
            "4h pass" | "5h pass" | "20m pass" => {
                self.now = self.now.checked_add(what.split(' ').next().unwrap().parse::<Span>().unwrap()).unwrap();
            }
            "acknowledged" => {
                let state = self.status.hard_state;
                let (author, comment) = ("ann".to_owned(), String::new());
                self.acknowledgement =
                    Some(Acknowledgement { at: self.now, author, comment, until: None, sticky: false, state });
            }
            "acknowledgement lapses" => self.acknowledgement.as_mut().unwrap().until = Some(self.now),
            "restart" => {
                self.status = serde_json::from_value(serde_json::to_value(&self.status).unwrap()).unwrap();
                self.told = serde_json::from_value(serde_json::to_value(&self.told).unwrap()).unwrap();
            }
            _ => match what.strip_prefix("parent ") {
                Some(state) => drop(self.parent.apply(
                    &Name::new("uplink"),
                    State::from_word(state).unwrap(),
                    &self.policy,
                    self.now,
                )),
                None => self.result(State::from_word(what).unwrap_or_else(|| panic!("`{what}` does not happen"))),
            },
        }
        self.status.flapping.update(false, &FlappingPolicy::default(), self.now);
        self.look();
    }

    fn result(&mut self, result: State) {
        let transition = self.status.apply(&Name::new("x"), result, &self.policy, self.now);
        self.acknowledgement = self.acknowledgement.take().filter(|ack| ack.stands(self.status.hard_state, self.now));
        if let Some(ended) =
            transition.filter(monchero_core::Transition::is_recovery).and_then(|transition| transition.incident)
        {
            self.told.ended(ended, self.now);
        }
    }

    fn holds(&self) -> Vec<Hold> {
        let mut holds = Vec::new();
        holds.extend(self.downtime.then(|| hold("downtime")));
        holds.extend(self.quiet.then(|| hold("quiet hours")));
        holds.extend(
            self.acknowledgement
                .iter()
                .filter(|ack| ack.stands(self.status.hard_state, self.now))
                .map(Acknowledgement::hold),
        );
        holds.extend(self.status.flapping_since().map(|since| Hold::Flapping { since, until: None }));
        let uplink = Name::new("uplink");
        let CheckStatus { state, state_type, last_check, since, .. } = self.parent;
        // The engine looks at it again as soon as somebody asks.
        let last_check = last_check.max(self.status.last_check);
        let parent = ParentView { name: &uplink, state, state_type, last_check, since };
        if let (Some(since), Some(looked)) = (self.status.hard_since, self.status.last_check) {
            holds.extend(dependency(since, looked, std::iter::once(parent)));
        }
        holds
    }

    /// What the engine does: tells until there is nothing to tell or a try failed.
    fn look(&mut self) {
        while let Decision::Tell(notice) = decide(&self.status.hard(), &self.told, &self.holds(), &wants(), self.now) {
            self.told.attempted(&notice, &self.status.hard());
            let id = notice.delivery_id("host", &Name::new("x"), &Name::new("ops"), &self.told);
            if self.down {
                return;
            }
            assert!(self.heard.len() < 100, "it is told without end: {notice:?}");
            let again = if self.ids.insert(id) { "" } else { " again" };
            let listed = if notice.missed.is_empty() { String::new() } else { format!(" {}", notice.missed.len()) };
            self.heard.push(format!("{} {}{listed}{again}", notice.kind.as_str(), notice.state));
            if std::mem::take(&mut self.killed) {
                return;
            }
            if !std::mem::take(&mut self.answer_lost) {
                self.told.delivered(&notice, self.now);
            }
        }
    }
}

#[test]
fn every_story_of_the_page_is_true() {
    for row in table::rows(PAGE, &["what happens", "what the target hears"]) {
        let mut story = Story::new();
        for what in row["what happens"].split(", ") {
            story.happens(what);
        }
        let heard = if story.heard.is_empty() { "-".to_owned() } else { story.heard.join("; ") };
        assert_eq!(heard, row["what the target hears"], "{}", row["what happens"]);
    }
}

#[test]
fn hundreds_of_missed_problems_are_counted_and_cost_no_memory() {
    let mut story = Story::new();
    story.policy.flapping = None;
    story.happens("target down");
    for _ in 0..100 {
        story.happens("bad");
        story.happens("okay");
    }
    let Decision::Tell(notice) = decide(&story.status.hard(), &story.told, None, &wants(), story.now) else {
        panic!("{:?}", story.told)
    };
    assert_eq!((notice.kind, notice.missed.len(), notice.missed_more), (NoticeKind::Missed, 20, 80));
    assert!(notice.missed.windows(2).all(|pair| pair[0].since < pair[1].since && pair[0].until <= Some(pair[1].since)));
    // More of them while that message is under way.
    let mut told = story.told.clone();
    for minute in 0..30 {
        story.status.apply(
            &Name::new("x"),
            State::Bad,
            &story.policy,
            start().checked_add((500 + minute).minutes()).unwrap(),
        );
        let hard = story.status.hard();
        let Decision::Tell(problem) = decide(&hard, &told, None, &wants(), story.now) else { panic!("{told:?}") };
        told.postponed(&problem, &hard);
        story.happens("okay");
    }
    told.delivered(&notice, story.now);
    assert!(told.missed.len() == 20 && (10..=30).contains(&told.missed_more), "{told:?}");
    story.happens("target up");
    assert_eq!(
        (story.heard, story.told.is_owed(), story.told.missed_more),
        (vec!["missed okay 20".to_owned()], false, 0)
    );
}

/// The end of an incident may be lost with a crash; what is listed has one all the same, not later than what came next.
#[test]
fn an_end_that_was_never_noted_is_told_as_well_as_it_is_known() {
    let okay = hard("okay");
    let told = Told { missed: vec![missed("A", true)], ..Told::default() };
    let Decision::Tell(notice) = decide(&okay, &told, None, &wants(), start()) else { panic!("nothing to tell") };
    assert_eq!(notice.missed[0].until, okay.since);
    let bad = hard("bad B");
    let Decision::Tell(notice) = decide(&bad, &told, None, &wants(), start()) else { panic!("nothing to tell") };
    assert_eq!(notice.missed[0].until, bad.incident.map(|incident| incident.since));
}

/// What begins and ends while a slow delivery is under way is told after it; what only changes to and fro is not.
#[test]
fn a_slow_delivery_forgets_nothing_that_happened_meanwhile() {
    let policy = Policy { max_attempts: 1, ..Policy::default() };
    let (mut status, mut told) = (CheckStatus::default(), Told::default());
    let at = |minute: i64| start().checked_add(minute.minutes()).unwrap();
    let result = |status: &mut CheckStatus, state, minute| {
        status.apply(&Name::new("x"), state, &policy, at(minute));
        status.incident.map(|incident| incident.id)
    };
    let notice =
        |status: &CheckStatus, told: &Told, minute| match decide(&status.hard(), told, None, &wants(), at(minute)) {
            Decision::Tell(notice) => notice,
            other => panic!("{other:?}"),
        };
    let one = result(&mut status, State::Bad, 0).unwrap();
    let first = notice(&status, &told, 0);
    assert!(told.attempted(&first, &status.hard()) && !told.attempted(&first, &status.hard()));
    result(&mut status, State::Okay, 1);
    assert!(told.ended(one, at(1)) && !told.ended(one, at(1)));
    let two = result(&mut status, State::Unknown, 2).unwrap();
    let second = notice(&status, &told, 2);
    assert!(told.postponed(&second, &status.hard()) && !told.postponed(&second, &status.hard()));
    result(&mut status, State::Okay, 3);
    told.ended(two, at(3));
    told.delivered(&first, at(4));

    let last = notice(&status, &told, 4);
    assert_eq!((last.kind, last.incident), (NoticeKind::Recovery, Some(one)));
    let listed: Vec<_> = last.missed.iter().map(|missed| (missed.incident, missed.until)).collect();
    assert_eq!(listed, [(two, Some(at(3)))]);
    told.delivered(&last, at(5));
    assert!(!told.is_owed(), "{told:?}");

    result(&mut status, State::Bad, 6);
    let problem = notice(&status, &told, 6);
    told.attempted(&problem, &status.hard());
    told.delivered(&problem, at(6));
    result(&mut status, State::Unknown, 7);
    let change = notice(&status, &told, 7);
    assert!(!told.postponed(&change, &status.hard()));
    result(&mut status, State::Bad, 8);
    assert!(matches!(decide(&status.hard(), &told, None, &wants(), at(8)), Decision::Nothing(Some(_))));
}

#[test]
fn a_target_that_is_added_or_wants_more_hears_of_what_stands() {
    let bad = hard("bad B");
    assert_eq!(in_words(&decide(&bad, &Told::default(), None, &wants(), start())), "tell problem");
    let warning = hard("warning B");
    let all = Wants { states: vec![State::Warning], ..Wants::default() };
    assert_eq!(in_words(&decide(&warning, &Told::default(), None, &all, start())), "tell problem");
    // One that wants less still hears the end of what it was told of.
    let none = Wants::default();
    let told = told("bad A", &hard("okay"));
    assert_eq!(in_words(&decide(&hard("okay"), &told, None, &none, start())), "tell recovery");
}

/// R18: what was told in a future that is over does not keep reminders back.
#[test]
fn a_clock_that_steps_back_delays_a_reminder_by_one_interval_at_most() {
    let bad = hard("bad B");
    let mut told = told("bad B", &bad);
    told.at = Some(start().checked_add(48.hours()).unwrap());
    assert!(told.settle(start()) && !told.settle(start()));
    assert_eq!(in_words(&decide(&bad, &told, None, &wants(), start())), "nothing; look again in 4h");
}

/// `{ every: 1h, growth: 2, at_most: 6h }`: each wait is twice as long as the one before, and a change begins anew.
#[test]
fn reminders_come_more_and_more_rarely() {
    let remind = Remind { every: Duration::from_hours(1), growth: 200, at_most: Duration::from_hours(6) };
    let wants = Wants { states: vec![State::Bad, State::Warning], remind: Some(remind), ..Wants::default() };
    let (mut bad, mut told, mut now) = (hard("bad B"), Told::default(), start());
    let mut tell = |hard: &Hard, told: &mut Told| {
        for minute in 0.. {
            if let Decision::Tell(notice) = decide(hard, told, None, &wants, now) {
                told.delivered(&notice, now);
                // A restart between any two messages changes nothing.
                *told = serde_json::from_str(&serde_json::to_string(told).unwrap()).unwrap();
                return format!("{} after {}h", notice.kind.as_str(), minute / 60);
            }
            now = now.checked_add(1.minute()).unwrap();
        }
        unreachable!("a target that is reminded is told for ever")
    };
    let mut heard: Vec<String> = (0..6).map(|_| tell(&bad, &mut told)).collect();
    bad.state = State::Warning;
    heard.extend((0..3).map(|_| tell(&bad, &mut told)));
    let reminders = ["reminder after 1h", "reminder after 2h", "reminder after 4h", "reminder after 6h"];
    let mut expected = vec!["problem after 0h"];
    expected.extend(reminders);
    expected.extend(["reminder after 6h", "change after 0h", "reminder after 1h", "reminder after 2h"]);
    assert_eq!(heard, expected);
}

#[test]
fn waits_never_shrink_and_have_an_end() {
    for (growth, at_most) in [(100, 3_600), (101, 7_200), (150, 86_400), (u32::MAX, 86_400)] {
        let remind = Remind { every: Duration::from_secs(3_600), growth, at_most: Duration::from_secs(at_most) };
        let waits: Vec<Duration> = [0, 1, 2, 10, 1_000, u32::MAX].map(|count| remind.wait(count)).to_vec();
        assert!(waits.is_sorted() && waits[0] == remind.every, "{waits:?}");
        assert_eq!(waits[5], if growth == 100 { remind.every } else { remind.at_most });
    }
}

/// What is told before a hold ends depends on the one that ends last, and on nothing that is shorter than the time before its end.
#[test]
fn only_the_end_that_matters_is_told() {
    let (bad, nobody) = (hard("bad B"), Told::default());
    let left = |word: &str| hold(word);
    let decided = |holds: &[Hold]| in_words(&decide(&bad, &nobody, holds, &wants(), start()));
    assert_eq!(decided(&[left("downtime for 10m")]), "tell hold_ends");
    assert_eq!(decided(&[left("downtime for 10m"), left("acknowledged for 40m")]), "hold problem: downtime");
    let endless =
        Hold::Acknowledgement { author: String::new(), comment: String::new(), since: ago(1.hour()), until: None };
    assert_eq!(decided(&[left("downtime for 10m"), endless]), "hold problem: downtime");
    let Hold::Downtime { id, author, comment, until, .. } = left("downtime for 10m") else { unreachable!() };
    let short = Hold::Downtime { id, author, comment, since: ago(1.minute()), until };
    assert_eq!(decided(&[short]), "hold problem: downtime");
    assert_eq!(
        announcement(&bad, &nobody, &[left("downtime")], &wants()),
        Some(start().checked_add(45.minutes()).unwrap())
    );
    let young = Hard { incident: bad.incident.map(|open| Incident { since: ago(1.minute()), ..open }), ..bad };
    assert_eq!(
        in_words(&decide(&young, &nobody, &[left("downtime for 10m")], &wants(), start())),
        "hold problem: downtime"
    );
}

#[test]
fn states_that_are_not_confirmed_are_told_to_nobody() {
    let mut status = CheckStatus::default();
    status.apply(&Name::new("x"), State::Bad, &Policy::default(), start());
    assert_eq!(status.state_type, StateType::Soft);
    assert_eq!(decide(&status.hard(), &Told::default(), None, &wants(), start()), Decision::Nothing(None));
}
