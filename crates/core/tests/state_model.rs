//! The state machine against a second one that shares nothing with it: the reference below keeps no counters, it looks at the list of
//! all results so far and answers from that, following the prose of `docs/state-machine.md`. R25, R44; section 4.2 of the test plan.

#[path = "support/random.rs"]
mod random;

use std::time::Duration;

use jiff::Timestamp;
use monchero_core::flapping::FlappingPolicy;
use monchero_core::{CheckStatus, Name, Policy, State, StateType};
use random::{Random, for_cases};

/// One result, with the policy that was in force when it came.
#[derive(Clone, Copy, Debug)]
struct Given {
    result: State,
    second: i64,
    policy: Policy,
}

/// What the reference says about a check after some results.
#[derive(Clone, Debug, PartialEq)]
struct View {
    state: State,
    hard: bool,
    /// The number of the attempt while soft.
    attempt: Option<u32>,
    /// The result that began the open incident, by its place in the list.
    incident: Option<usize>,
    /// The worst state since then.
    worst: State,
}

/// How many problems in a row end with the result at `last`.
fn problems_up_to(given: &[Given], last: usize) -> u32 {
    given[..=last].iter().rev().take_while(|g| g.result.is_problem()).fold(0, |count, _| count + 1)
}

/// How many okay results in a row end with the result at `last`.
fn okays_up_to(given: &[Given], last: usize) -> u32 {
    given[..=last].iter().rev().take_while(|g| !g.result.is_problem()).fold(0, |count, _| count + 1)
}

/// The results that begin and end incidents: a run of problems grows long enough, then a run of okay results does.
fn incidents(given: &[Given]) -> Vec<(usize, Option<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(begin) = (from..given.len())
        .find(|i| given[*i].result.is_problem() && problems_up_to(given, *i) >= given[*i].policy.max_attempts)
    {
        let end = (begin..given.len())
            .find(|i| !given[*i].result.is_problem() && okays_up_to(given, *i) >= given[*i].policy.recover_after);
        found.push((begin, end));
        let Some(end) = end else { break };
        from = end;
    }
    found
}

fn view(given: &[Given]) -> View {
    let Some(last) = given.len().checked_sub(1) else {
        return View { state: State::Okay, hard: true, attempt: None, incident: None, worst: State::Okay };
    };
    if let Some((begin, None)) = incidents(given).last().copied() {
        let problems = given[begin..].iter().map(|g| g.result).filter(|result| result.is_problem());
        let (state, worst) = (problems.clone().next_back().unwrap(), problems.max().unwrap());
        return View { state, hard: true, attempt: None, incident: Some(begin), worst };
    }
    let result = given[last].result;
    let attempt = result.is_problem().then(|| problems_up_to(given, last));
    View { state: result, hard: attempt.is_none(), attempt, incident: None, worst: State::Okay }
}

/// The confirmed state.
fn hard_state(view: &View) -> State {
    if view.hard { view.state } else { State::Okay }
}

/// Since when it flaps: the moment at which enough changes lay in the window, if never since then only few did.
fn flapping(given: &[Given], changes: &[i64]) -> Option<i64> {
    let last = given.last()?;
    let policy = last.policy.flapping?;
    let window = i64::try_from(policy.window.as_secs()).unwrap();
    let within = |now: i64, and_now: bool| {
        let oldest = now - window;
        let newest = changes.partition_point(|at| *at < now || and_now && *at == now);
        newest - changes.partition_point(|at| *at <= oldest).min(newest)
    };
    let expiries = changes.iter().map(|at| at + window);
    let mut moments: Vec<i64> = changes.iter().copied().chain(expiries).filter(|at| *at <= last.second).collect();
    moments.sort_unstable();
    let mut since = None;
    for moment in moments {
        if within(moment, false) <= usize::from(policy.exit) {
            since = None;
        }
        if since.is_none() && within(moment, true) >= usize::from(policy.enter) {
            since = Some(moment);
        }
    }
    since
}

fn random_policy(random: &mut Random, flapping: Option<FlappingPolicy>) -> Policy {
    Policy {
        max_attempts: u32::try_from(1 + random.below(5)).unwrap(),
        recover_after: u32::try_from(1 + random.below(3)).unwrap(),
        flapping,
    }
}

/// One check's life, compared after every result.
fn live(random: &mut Random) {
    let check = Name::new("x");
    let window = Duration::from_secs(20 + random.below(200));
    let enter = u8::try_from(2 + random.below(4)).unwrap();
    let exit = u8::try_from(random.below(u64::from(enter))).unwrap();
    let flaps = random.percent(70).then_some(FlappingPolicy { window, enter, exit });
    let mut policy = random_policy(random, flaps);
    let okay_bias = 20 + random.below(60);
    let mut status = CheckStatus::default();
    let mut given: Vec<Given> = Vec::new();
    let mut now = view(&[]);
    let mut changed_at: Option<i64> = None;
    // Changes since flapping was last switched off.
    let mut changes: Vec<i64> = Vec::new();
    let mut second = 1_700_000_000;
    let mut sequence = 0;
    let mut ids = Vec::new();
    for _ in 0..50 {
        if random.percent(5) {
            let flaps = flaps.filter(|_| random.percent(80));
            policy = random_policy(random, flaps);
        }
        if random.percent(2) {
            // A restart: all that is remembered goes through the disk.
            status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        }
        second += i64::try_from(random.below(30)).unwrap();
        let at = Timestamp::from_second(second).unwrap();
        if random.percent(20) {
            // The reference never hears of a result that does not count: nothing that it knows may differ.
            status.set_aside(*random.pick(&State::ALL), at);
        }
        let result = if random.percent(okay_bias) { State::Okay } else { *random.pick(&State::ALL) };
        given.push(Given { result, second, policy });
        let transition = status.apply(&check, result, &policy, at);

        let before = std::mem::replace(&mut now, view(&given));
        let hard_changed = hard_state(&before) != hard_state(&now);
        changed_at = hard_changed.then_some(second).or(changed_at);
        changes.extend(hard_changed.then_some(second));
        if policy.flapping.is_none() {
            changes.clear();
        }
        let history = || format!("{given:#?}\n{now:?}\n{status:?}\n{transition:?}");
        let last_problem = given.iter().rev().find(|g| g.result.is_problem());
        let shown_attempt = match (now.attempt, now.incident.and(last_problem)) {
            (Some(attempt), _) => attempt,
            (None, Some(problem)) => problem.policy.max_attempts,
            (None, None) => 1,
        };
        assert_eq!((status.state, status.state_type == StateType::Hard), (now.state, now.hard), "{}", history());
        assert_eq!(status.attempt, shown_attempt, "{}", history());
        assert_eq!(status.hard_state, hard_state(&now), "{}", history());
        assert_eq!(status.incident.is_some(), status.hard_state.is_problem(), "{}", history());

        let begun = now.incident.map(|begin| (given[begin].second, now.worst));
        assert_eq!(
            status.incident.map(|incident| (incident.since.as_second(), incident.worst)),
            begun,
            "{}",
            history()
        );
        assert_eq!(status.hard_since.map(Timestamp::as_second), changed_at, "{}", history());
        assert_eq!(status.flapping_since().map(Timestamp::as_second), flapping(&given, &changes), "{}", history());

        let is_transition = (before.state, before.hard, before.attempt) != (now.state, now.hard, now.attempt);
        assert_eq!(transition.is_some(), is_transition, "{}", history());
        sequence += u64::from(is_transition);
        assert_eq!(status.sequence, sequence, "{}", history());
        if let Some(transition) = transition {
            assert_eq!(transition.sequence, sequence);
            assert_eq!((transition.previous_state, transition.state), (before.state, now.state));
            assert_eq!(transition.is_recovery(), before.incident.is_some() && now.incident.is_none());
            assert_eq!(transition.is_hard_change(), hard_changed);
            assert_eq!(transition.incident.is_some(), before.incident.is_some() || now.incident.is_some());
        }
        if before.incident.is_none() {
            ids.extend(status.incident.map(|incident| incident.id));
        }
    }
    let opened = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), opened, "two incidents have one id");
    assert_eq!(opened, incidents(&given).len());
}

#[test]
fn the_machine_does_what_the_prose_says() {
    for_cases(50_000, live);
}

/// R18: whatever the wall clock does, states are counted, and nothing lies in the future.
#[test]
fn a_clock_that_jumps_changes_no_state() {
    for_cases(2_000, |random| {
        let policy = Policy { flapping: None, ..Policy::default() };
        let (mut steady, mut jumping) = (CheckStatus::default(), CheckStatus::default());
        for step in 0..50 {
            let result = *random.pick(&State::ALL);
            let sane = Timestamp::from_second(1_700_000_000 + step).unwrap();
            let wild =
                Timestamp::from_second(*random.pick(&[1_700_000_000, 1_600_000_000, 2_000_000_000]) + step).unwrap();
            if random.percent(20) {
                steady.set_aside(result, sane);
                jumping.set_aside(result, wild);
            }
            let one = steady.apply(&Name::new("x"), result, &policy, sane);
            let other = jumping.apply(&Name::new("x"), result, &policy, wild);
            let told = |transition: monchero_core::Transition| {
                (transition.sequence, transition.state, transition.state_type, transition.attempt)
            };
            assert_eq!(one.map(told), other.map(told));
            assert_eq!(steady.incident.is_some(), jumping.incident.is_some());
            let times = [
                jumping.since,
                jumping.hard_since,
                jumping.last_check,
                jumping.news_since,
                jumping.incident.map(|incident| incident.since),
            ];
            assert!(times.iter().flatten().all(|at| *at <= wild), "{jumping:?}");
        }
    });
}
