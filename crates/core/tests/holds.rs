//! What makes notices wait: dependencies, downtimes, acknowledgements, quiet hours in every kind of night (R20).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, date, time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use monchero_core::hold::{
    Acknowledgement, DependencyHold, Downtime, ParentView, QuietHours, Recurring, Selector, Shut, ancestors, cut_off,
    dependency, inconclusive, matches,
};
use monchero_core::recurrence::Recurrence;
use monchero_core::{CheckStatus, Hold, Name, Policy, State, StateType};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A stretch of local time, minute by minute.
struct Oracle {
    first: Timestamp,
    locals: Vec<DateTime>,
    dates: Vec<Date>,
}

impl Oracle {
    fn around(day: Date, zone: &TimeZone) -> Self {
        let noon = |days: i32| {
            day.checked_add(days.days()).unwrap().at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap().timestamp()
        };
        let (first, last) = (noon(-4), noon(4));
        let minutes = last.duration_since(first).as_mins();
        let at = |minute: i64| first.checked_add(minute.minutes()).unwrap().to_zoned(zone.clone()).datetime();
        let dates = (-3..=3).map(|days| day.checked_add(days.days()).unwrap()).collect();
        Self { first, locals: (0..minutes).map(at).collect(), dates }
    }

    /// The first minute at which the local clock shows this or something later.
    fn first_at(&self, local: DateTime) -> usize {
        self.locals.iter().position(|shown| *shown >= local).unwrap_or(self.locals.len())
    }

    fn minute(&self, index: usize) -> Timestamp {
        self.first.checked_add(i64::try_from(index).unwrap().minutes()).unwrap()
    }

    /// For each minute, whether it is quiet.
    fn quiet(&self, from: Time, to: Time) -> Vec<bool> {
        let mut quiet = vec![false; self.locals.len()];
        for day in &self.dates {
            let last = if to < from { day.tomorrow().unwrap() } else { *day };
            let (begin, end) = (self.first_at(day.to_datetime(from)), self.first_at(last.to_datetime(to)));
            quiet.iter_mut().take(end).skip(begin).for_each(|minute| *minute = true);
        }
        quiet
    }
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|why| panic!("this system has no time zones (package tzdata): {why}"))
}

#[test]
fn quiet_hours_agree_with_a_walk_through_every_minute() {
    let nights = [
        (zone("Europe/Berlin"), date(2024, 3, 31)),
        (zone("Europe/Berlin"), date(2024, 10, 27)),
        (TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(), date(2031, 3, 30)),
        // Half an hour of summer time.
        (zone("Australia/Lord_Howe"), date(2024, 4, 7)),
        (zone("Australia/Lord_Howe"), date(2024, 10, 6)),
        // A day that did not exist.
        (zone("Pacific/Apia"), date(2011, 12, 30)),
        (zone("America/New_York"), date(2024, 2, 29)),
        (TimeZone::UTC, date(2024, 12, 31)),
    ];
    let times = [
        time(22, 0, 0, 0),
        time(6, 0, 0, 0),
        time(1, 45, 0, 0),
        time(2, 0, 0, 0),
        time(2, 30, 0, 0),
        time(2, 50, 0, 0),
        time(3, 0, 0, 0),
        time(0, 0, 0, 0),
        time(23, 59, 0, 0),
    ];
    for (zone, day) in &nights {
        let oracle = Oracle::around(*day, zone);
        for (from, to) in times.iter().flat_map(|from| times.map(|to| (*from, to))) {
            let quiet = oracle.quiet(from, to);
            let hours = QuietHours { from, to };
            // The dates at the rim are not all in the oracle's list.
            for index in (2 * 1_440..quiet.len() - 3 * 1_440).step_by(11) {
                let end = quiet[index].then(|| index + quiet[index..].iter().position(|quiet| !quiet).unwrap());
                let place = || format!("{from} to {to} at {} in {zone:?}", oracle.locals[index]);
                assert_eq!(hours.until(oracle.minute(index), zone), end.map(|end| oracle.minute(end)), "{}", place());
            }
        }
    }
}

#[test]
fn quiet_hours_begin_and_end_on_the_second() {
    let hours = QuietHours { from: time(22, 0, 0, 0), to: time(6, 30, 0, 0) };
    let zone = zone("Europe/Berlin");
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(hours.until(moment("2024-06-01T19:59:59Z"), &zone), None);
    assert_eq!(hours.until(moment("2024-06-01T20:00:00Z"), &zone), Some(moment("2024-06-02T04:30:00Z")));
    assert_eq!(hours.until(moment("2024-06-02T04:29:59.999Z"), &zone), Some(moment("2024-06-02T04:30:00Z")));
    assert_eq!(hours.until(moment("2024-06-02T04:30:00Z"), &zone), None);
    assert_eq!(
        QuietHours { from: time(8, 0, 0, 0), to: time(8, 0, 0, 0) }.until(moment("2024-06-02T06:00:00Z"), &zone),
        None
    );
    for end_of_time in [Timestamp::MIN, Timestamp::MAX] {
        let _ = hours.until(end_of_time, &zone);
    }
}

/// The obvious way to match, as slow as it may be.
fn naive_glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, _) => text.is_empty(),
        (Some(('*', rest)), _) => (0..=text.len()).any(|skipped| naive_glob(rest, &text[skipped..])),
        (Some((p, rest)), Some((t, others))) => p == t && naive_glob(rest, others),
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn globs_match_as_the_naive_way_does(pattern in "[ab*ü/\\[]{0,8}", name in "[abü/\\[]{0,10}") {
        let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        let parts = (0..n.len()).filter(|i| "/[".contains(n[*i])).map(|i| &n[..i]).chain([&n[..]]);
        prop_assert_eq!(matches(&pattern, &name), parts.into_iter().any(|part| naive_glob(&p, part)));
    }
}

#[test]
fn a_pattern_covers_services_and_instances() {
    for (pattern, name) in [
        ("raid", "raid/md0"),
        ("grafana", "grafana[a:3000]"),
        ("grafana[a:3000]", "grafana[a:3000]/db"),
        ("web-*", "web-1/tls"),
        ("*", "x"),
    ] {
        assert!(matches(pattern, name), "{pattern} covers {name}");
    }
    for (pattern, name) in [("raid", "raid2"), ("raid/md0", "raid"), ("md0", "raid/md0"), ("", "x"), ("RAID", "raid")] {
        assert!(!matches(pattern, name), "{pattern} does not cover {name}");
    }
    // Many stars cost no more than pattern times text.
    assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)));
}

#[test]
fn a_downtime_holds_from_its_first_to_before_its_last_moment() {
    let downtime = Downtime {
        id: 7,
        covers: "web*".into(),
        start: at(0),
        end: at(60),
        author: "ann".to_owned(),
        comment: "x".to_owned(),
        ..Downtime::default()
    };
    let none = BTreeMap::new();
    for (second, covers) in [(-1, false), (0, true), (59, true), (60, false)] {
        assert_eq!(downtime.hold("web-1", &none, at(second)).is_some(), covers, "at {second} s");
    }
    assert_eq!(downtime.hold("db", &none, at(1)), None);
    let hold = downtime.hold("web", &none, at(1)).unwrap();
    assert_eq!((hold.until(), hold.word(), hold.holds_recovery()), (Some(at(60)), "downtime", false));
    assert_eq!(serde_json::from_value::<Hold>(serde_json::to_value(&hold).unwrap()).unwrap(), hold);
    let inverted = Downtime { start: at(60), end: at(0), ..downtime };
    assert!([-1, 0, 30, 60, 61].iter().all(|second| inverted.hold("web", &none, at(*second)).is_none()));
}

#[test]
fn what_is_chosen_by_names_and_labels_must_have_both() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let chooses = |checks: &[&str], wanted: &[(&str, &str)]| Selector {
        checks: checks.iter().map(|check| (*check).to_owned()).collect(),
        labels: labels(wanted),
    };
    let web = labels(&[("team", "web"), ("site", "berlin-2")]);
    for (selector, fits, shown) in [
        (chooses(&[], &[]), true, "*"),
        (chooses(&["db", "shop*"], &[]), true, "db, shop*"),
        (chooses(&["db"], &[]), false, "db"),
        (chooses(&[], &[("team", "web")]), true, "team=web"),
        (chooses(&[], &[("team", "web"), ("site", "berlin-*")]), true, "site=berlin-*, team=web"),
        (chooses(&[], &[("team", "w")]), false, "team=w"),
        (chooses(&[], &[("owner", "*")]), false, "owner=*"),
        (chooses(&["shop"], &[("team", "web")]), true, "shop with team=web"),
        (chooses(&["shop"], &[("team", "db")]), false, "shop with team=db"),
        (chooses(&["db"], &[("team", "web")]), false, "db with team=web"),
    ] {
        assert_eq!(selector.fits("shop/tls", &web), fits, "{selector}");
        assert_eq!(selector.to_string(), shown);
    }
}

#[test]
fn a_flexible_downtime_begins_with_a_problem_and_then_lasts() {
    let waiting = Downtime {
        covers: "web".into(),
        start: at(0),
        end: at(100),
        lasts: Some(Duration::from_secs(60)),
        ..Downtime::default()
    };
    let none = BTreeMap::new();
    for (second, awaits) in [(-1, false), (0, true), (99, true), (100, false)] {
        assert_eq!(waiting.awaits_problem(at(second)), awaits, "at {second} s");
        assert_eq!(waiting.hold("web", &none, at(second)), None);
    }
    assert_eq!((waiting.stretch(), waiting.over()), (None, at(100)));
    let begun = Downtime { began: Some(at(90)), ..waiting };
    for (second, holds) in [(89, false), (90, true), (149, true), (150, false)] {
        assert_eq!(begun.hold("web", &none, at(second)).is_some(), holds, "at {second} s");
    }
    assert_eq!((begun.awaits_problem(at(95)), begun.over()), (false, at(150)));
}

/// The oracle walks from occurrence to occurrence.
#[test]
fn a_recurring_downtime_is_in_the_occurrence_that_goes_on_or_before_the_next() {
    let berlin = zone("Europe/Berlin");
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    let recurring = Recurring {
        name: Name::new("nightly"),
        covers: "db*".into(),
        begins: Recurrence::cron("30 2 * * *", berlin).unwrap(),
        lasts: Duration::from_mins(45),
        comment: "backup".to_owned(),
        source: "conf.d/db.yaml:3".into(),
    };
    let none = BTreeMap::new();
    // The night in which 02:00 is 03:00, and the one in which 03:00 is 02:00.
    for (begins, ends, next) in [
        ("2026-03-28T01:30:00Z", "2026-03-28T02:15:00Z", "2026-03-29T01:00:00Z"),
        ("2026-10-25T00:30:00Z", "2026-10-25T01:15:00Z", "2026-10-26T01:30:00Z"),
    ] {
        let (begins, ends, next) = (moment(begins), moment(ends), moment(next));
        let just_before = |at: Timestamp| at.checked_sub(1.nanosecond()).unwrap();
        for now in [just_before(begins), begins, just_before(ends)] {
            let found = recurring.occurrence(now).unwrap();
            assert_eq!((found.start, found.end), (begins, ends), "at {now}");
            assert_eq!(found.hold("db-1", &none, now).is_some(), now >= begins);
        }
        let after = recurring.occurrence(ends).unwrap();
        assert_eq!((after.start, after.hold("db-1", &none, ends)), (next, None));
        assert_eq!(
            (after.name.as_ref().map(Name::as_str), after.author.as_str()),
            (Some("nightly"), "conf.d/db.yaml:3")
        );
    }
    let over = Recurring { begins: Recurrence::calendar("2020-01-01", TimeZone::UTC).unwrap(), ..recurring };
    assert_eq!(over.occurrence(moment("2026-01-01T00:00:00Z")), None);
}

#[test]
fn an_acknowledgement_stands_for_one_problem() {
    let plain = Acknowledgement {
        at: at(0),
        author: "ann".to_owned(),
        comment: String::new(),
        until: Some(at(60)),
        sticky: false,
        state: State::Bad,
    };
    let sticky = Acknowledgement { sticky: true, until: None, ..plain.clone() };
    for (acknowledgement, state, second, stands) in [
        (&plain, State::Bad, 0, true),
        (&plain, State::Bad, 59, true),
        (&plain, State::Bad, 60, false),
        (&plain, State::Unknown, 0, false),
        (&plain, State::Okay, 0, false),
        (&sticky, State::Unknown, 9_999_999, true),
        (&sticky, State::Okay, 0, false),
    ] {
        assert_eq!(acknowledgement.stands(state, at(second)), stands, "{acknowledgement:?} of {state} at {second} s");
    }
}

/// A parent: its state, when it was last looked at, since when it is as it is.
type Parent = (&'static str, State, StateType, Option<i64>, i64);

fn why(problem_since: i64, child_looked: i64, parents: &[Parent]) -> Option<(String, DependencyHold)> {
    let names: Vec<Name> = parents.iter().map(|parent| Name::new(parent.0)).collect();
    let views = parents.iter().zip(&names).map(|((_, state, state_type, looked, since), name)| ParentView {
        name,
        state: *state,
        state_type: *state_type,
        last_check: looked.map(at),
        since: looked.and(Some(at(*since))),
    });
    match dependency(at(problem_since), at(child_looked), views)? {
        Hold::Dependency { parent, why } => Some((parent.to_string(), why)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dependency_says_what_is_still_to_be_found_out() {
    use DependencyHold::{ParentBad, ParentSoft, RecheckChild, RecheckParent};
    use State::{Bad, Okay, Unknown, Warning};
    use StateType::{Hard, Soft};
    // The child has a problem since second 100 and was last looked at in second 110.
    for (parent, expected) in [
        (("never run", Okay, Hard, None, 0), Some(RecheckParent)),
        (("not looked at since", Okay, Hard, Some(99), 0), Some(RecheckParent)),
        (("looked at in that moment", Okay, Hard, Some(100), 0), None),
        (("looked at since", Okay, Hard, Some(105), 0), None),
        (("bad long before", Bad, Hard, Some(50), 40), Some(ParentBad)),
        (("bad since", Bad, Hard, Some(105), 105), Some(ParentBad)),
        (("being confirmed", Bad, Soft, Some(105), 105), Some(ParentSoft)),
        (("being confirmed, seen long before", Bad, Soft, Some(50), 50), Some(ParentSoft)),
        (("back, child looked at before", Okay, Hard, Some(115), 115), Some(RecheckChild)),
        (("back in the moment of the look", Okay, Hard, Some(110), 110), None),
        (("back, child looked at since", Okay, Hard, Some(115), 105), None),
        (("no longer bad, but a warning", Warning, Hard, Some(115), 115), Some(RecheckChild)),
        (("unknown explains nothing", Unknown, Hard, Some(105), 0), None),
        (("a warning explains nothing", Warning, Soft, Some(115), 115), None),
        (("a warning, not looked at since", Warning, Soft, Some(90), 90), Some(RecheckParent)),
    ] {
        assert_eq!(why(100, 110, &[parent]).map(|(_, why)| why), expected, "{parent:?}");
    }
    assert_eq!(why(100, 110, &[]), None);
}

#[test]
fn of_several_parents_the_bad_one_is_named() {
    let okay = ("okay", State::Okay, StateType::Hard, Some(105), 0);
    let stale = ("stale", State::Okay, StateType::Hard, Some(50), 0);
    let soft = ("soft", State::Bad, StateType::Soft, Some(105), 105);
    let bad = ("bad", State::Bad, StateType::Hard, Some(105), 105);
    let named = |parents: &[Parent]| why(100, 110, parents).map(|(parent, _)| parent);
    assert_eq!(named(&[okay, stale, soft]).as_deref(), Some("stale"));
    assert_eq!(named(&[okay, soft, stale]).as_deref(), Some("soft"));
    assert_eq!(named(&[stale, okay, soft, bad]).as_deref(), Some("bad"));
    assert_eq!(named(&[okay, okay]), None);
}

/// Whatever the order of events, a child that is looked at after its parents is told of, or its parent is bad.
#[test]
fn each_reason_ends_when_the_engine_does_what_it_says() {
    let states = [
        (State::Okay, StateType::Hard),
        (State::Bad, StateType::Soft),
        (State::Bad, StateType::Hard),
        (State::Unknown, StateType::Hard),
    ];
    for (state, state_type) in states {
        for looked in [None, Some(50), Some(100), Some(150)] {
            for since in [0, 50, 100, 150] {
                let (mut child_looked, mut parent) = (110, ("p", state, state_type, looked, since));
                let mut now = 200;
                let end = loop {
                    now += 1;
                    match why(100, child_looked, &[parent]).map(|(_, why)| why) {
                        Some(DependencyHold::RecheckParent) => parent.3 = Some(now),
                        Some(DependencyHold::RecheckChild) => child_looked = now,
                        end => break end,
                    }
                    assert!(now < 204, "it goes on and on: {parent:?}");
                };
                assert_eq!(end.is_some(), state == State::Bad, "{parent:?}");
            }
        }
    }
}

#[test]
fn ancestors_are_found_once_each_in_any_graph() {
    let names: HashMap<&str, Vec<Name>> = [
        ("shop", vec!["web", "db"]),
        ("web", vec!["switch"]),
        ("db", vec!["switch", "san"]),
        ("switch", vec!["router"]),
        ("ring-a", vec!["ring-b"]),
        ("ring-b", vec!["ring-a", "ring-b", "router"]),
    ]
    .into_iter()
    .map(|(name, parents)| (name, parents.into_iter().map(Name::new).collect()))
    .collect();
    let of = |name: &str| {
        let name = Name::new(name);
        let found = ancestors(&name, |check| names.get(check.as_str()).map_or(&[][..], Vec::as_slice));
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("shop"), "web db switch san router");
    assert_eq!(of("router"), "");
    assert_eq!(of("ring-a"), "ring-b router");
    assert_eq!(of("ring-b"), "ring-a router");
}

/// Each gate by itself says what a parent says; together they say whether the way is open.
#[test]
fn a_host_is_cut_off_when_all_or_one_of_its_gates_are_bad() {
    use DependencyHold::{ParentBad, ParentSoft, RecheckChild, RecheckParent};
    use State::{Bad, Okay};
    use StateType::{Hard, Soft};
    let (near, far) = (Name::new("near"), Name::new("far"));
    let view = |name, (state, state_type, looked, since): (State, StateType, i64, i64)| ParentView {
        name,
        state,
        state_type,
        last_check: Some(at(looked)),
        since: Some(at(since)),
    };
    let (bad, soft, open) = ((Bad, Hard, 50, 5), (Bad, Soft, 50, 45), (Okay, Hard, 50, 1));
    let (stale, back) = ((Okay, Hard, 5, 1), (Okay, Hard, 50, 40));
    // The problem began at 10 s and was seen last at 30 s.
    for (one, other, all, any) in [
        (open, open, None, None),
        (bad, bad, Some(ParentBad), Some(ParentBad)),
        (bad, open, None, Some(ParentBad)),
        (soft, bad, Some(ParentSoft), Some(ParentBad)),
        (soft, open, None, Some(ParentSoft)),
        (bad, stale, Some(RecheckParent), Some(ParentBad)),
        (stale, open, None, Some(RecheckParent)),
        (back, bad, Some(RecheckChild), Some(ParentBad)),
        (back, stale, Some(RecheckChild), Some(RecheckChild)),
        (back, open, None, Some(RecheckChild)),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let held = |shut| cut_off(at(10), at(30), [view(&near, first), view(&far, second)].into_iter(), shut);
            let why = |hold| match hold {
                None => None,
                Some(Hold::CutOff { why, .. }) => Some(why),
                other => panic!("{other:?}"),
            };
            assert_eq!(why(held(Shut::All)), all, "all of {first:?} and {second:?}");
            if (first, second) == (one, other) || any.is_none() {
                assert_eq!(why(held(Shut::Any)), any, "any of {first:?} and {second:?}");
            }
            assert_eq!(held(Shut::Any).is_some(), any.is_some());
        }
    }
    assert_eq!(cut_off(at(10), at(30), std::iter::empty(), Shut::All), None);
}

/// What counts although nobody knows whether the way is open, and what does not.
#[test]
fn a_problem_counts_once_the_way_was_found_open_after_it_began() {
    let gate = Name::new("outside");
    let check = Name::new("x");
    let policy = Policy { max_attempts: 1, flapping: None, ..Policy::default() };
    let view = |state, looked, since| {
        let (name, state_type) = (&gate, StateType::Hard);
        ParentView { name, state, state_type, last_check: Some(at(looked)), since: Some(at(since)) }
    };
    let (open, shut) = (view(State::Okay, 15, 1), view(State::Bad, 15, 12));
    let why = |status: &CheckStatus, result, began, ended, gate| {
        let held = inconclusive(status, result, at(began), at(ended), [gate].into_iter(), Shut::All);
        held.map(|hold| match hold {
            Hold::CutOff { why, .. } => why,
            other => panic!("{other:?}"),
        })
    };
    let mut status = CheckStatus::default();
    status.apply(&check, State::Okay, &policy, at(5));
    for result in [State::Warning, State::Unknown, State::Bad] {
        assert_eq!(why(&status, result, 9, 10, shut), Some(DependencyHold::ParentBad), "{result}");
        assert_eq!(why(&status, result, 9, 15, open), None, "the gate was looked at when it was found");
        assert_eq!(why(&status, result, 19, 20, open), Some(DependencyHold::RecheckParent), "{result}");
        let back = view(State::Okay, 15, 13);
        assert_eq!(why(&status, result, 12, 15, back), Some(DependencyHold::RecheckChild), "its run began before that");
    }
    assert_eq!(why(&status, State::Okay, 9, 10, shut), None, "what answers is not cut off");
    // The news began at 12 s, of whatever state; the look at 15 s came after that.
    status.set_aside(State::Unknown, at(12));
    assert_eq!(why(&status, State::Bad, 19, 20, open), None);
    // What is confirmed is no news, what differs from it is.
    status.apply(&check, State::Bad, &policy, at(21));
    assert_eq!(why(&status, State::Bad, 29, 30, shut), None);
    status.apply(&check, State::Bad, &policy, at(22));
    assert_eq!(why(&status, State::Warning, 29, 30, shut), Some(DependencyHold::ParentBad));
}
