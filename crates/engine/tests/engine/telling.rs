//! When targets are told, and how many messages that takes.

use std::time::Duration;

use monchero_core::decide::Wants;
use monchero_core::definition::{ActionDefinition, Configuration, Settings, Trigger};
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::Downtime;
use monchero_core::{Name, Policy, State};

use crate::lab::{Answer, CheckSpec, Lab, ScriptSpec};

const SECOND: Duration = Duration::from_secs(1);

fn check(name: String, actions: &[&str]) -> CheckSpec {
    CheckSpec {
        name,
        interval: SECOND,
        retry_interval: SECOND,
        policy: Policy { max_attempts: 1, ..Policy::default() },
        depends_on: Vec::new(),
        actions: actions.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn target(name: &str) -> (String, Wants) {
    (name.to_owned(), Wants { states: vec![State::Warning, State::Unknown, State::Bad], ..Wants::default() })
}

/// One check and some targets.
fn shop(targets: &[&str], scripts: &[ScriptSpec], adjust: impl FnMut(&mut ActionDefinition)) -> Lab {
    let mut actions: Vec<&str> = targets.to_vec();
    actions.extend(scripts.iter().map(|script| script.name.as_str()));
    let targets: Vec<_> = targets.iter().map(|name| target(name)).collect();
    Lab::adjusted(&[check("shop".to_owned(), &actions)], &targets, scripts, adjust)
}

async fn after(lab: &Lab, seconds: u64) -> Vec<String> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    lab.take_messages()
}

/// How many messages these lines came in: each line of a digest says of how many it is one.
fn messages(told: &[String]) -> usize {
    let of =
        |line: &String| line.rsplit_once("(of ").map_or(1.0, |(_, count)| count.trim_end_matches(')').parse().unwrap());
    let sum: f64 = told.iter().map(|line| 1.0 / of(line)).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most as many as lines")]
    let count = sum.round() as usize;
    count
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_told_in_three_messages_and_so_is_its_end() {
    let names: Vec<String> = (0..500).map(|number| format!("c{number:03}")).collect();
    let checks: Vec<CheckSpec> = names.iter().map(|name| check(name.clone(), &["ops"])).collect();
    let lab = Lab::new(&checks, &[target("ops")], &[]);
    after(&lab, 3).await;
    for name in &names {
        lab.answer(name, Answer::State(State::Bad));
    }
    let told = after(&lab, 15).await;
    assert_eq!(told.len(), 500);
    assert!(messages(&told) <= 3, "{} messages", messages(&told));
    assert!(names.iter().all(|name| told.iter().any(|line| line.contains(&format!("problem {name} bad")))));
    for name in &names {
        lab.answer(name, Answer::State(State::Okay));
    }
    let told = after(&lab, 70).await;
    assert!(names.iter().all(|name| told.iter().any(|line| line.contains(&format!("recovery {name} okay")))));
    assert_eq!(told.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_before_the_window_ends_is_not_told() {
    let checks: Vec<CheckSpec> = ["a", "b", "c", "d"].iter().map(|name| check((*name).to_owned(), &["ops"])).collect();
    let lab = Lab::new(&checks, &[target("ops")], &[]);
    after(&lab, 3).await;
    lab.answer("a", Answer::State(State::Bad));
    after(&lab, 1).await;
    lab.answer("b", Answer::State(State::Bad));
    after(&lab, 1).await;
    lab.answer("c", Answer::State(State::Bad));
    lab.answer("d", Answer::State(State::Bad));
    assert!(after(&lab, 2).await.is_empty(), "the third and fourth wait for more");
    lab.answer("c", Answer::State(State::Okay));
    let told = after(&lab, 10).await;
    assert_eq!(told, ["ops: problem d bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_spares_what_passes_and_tells_what_stands() {
    let lab = shop(&["ops"], &[], |action| action.delay = Some(60 * SECOND));
    after(&lab, 3).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert!(after(&lab, 50).await.is_empty());
    lab.answer("shop", Answer::State(State::Okay));
    assert!(after(&lab, 120).await.is_empty(), "it passed");
    lab.answer("shop", Answer::State(State::Warning));
    after(&lab, 30).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 33).await, ["ops: problem shop bad"], "a change does not begin the delay anew");
    lab.answer("shop", Answer::State(State::Okay));
    assert_eq!(after(&lab, 2).await, ["ops: recovery shop okay"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_stops_an_escalation() {
    let lab = shop(&["ops", "boss"], &[], |action| {
        action.delay = (action.name.as_str() == "boss").then_some(60 * SECOND);
    });
    after(&lab, 3).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 20).await, ["ops: problem shop bad"]);
    lab.handle.acknowledge(Name::new("shop"), "ann".to_owned(), String::new(), None, false).await.unwrap();
    assert!(after(&lab, 120).await.is_empty(), "somebody works on it");
    lab.answer("shop", Answer::State(State::Okay));
    assert_eq!(after(&lab, 2).await, ["ops: recovery shop okay"], "who was told nothing hears of no end");
}

#[tokio::test(start_paused = true)]
async fn some_are_told_only_when_mending_has_failed() {
    let mend =
        ScriptSpec { name: "mend".to_owned(), on: vec![Trigger::Bad, Trigger::Warning], limit: None, cooldown: None };
    let lab = shop(&["ops"], &[mend], |action| action.after = (action.name.as_str() == "ops").then_some(2));
    after(&lab, 3).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(
        after(&lab, 10).await,
        ["ops: problem shop bad"],
        "it was tried once, still stands, and no more is tried"
    );
    assert_eq!(lab.take_scripts().len(), 1);
    lab.answer("shop", Answer::State(State::Okay));
    assert_eq!(after(&lab, 5).await, ["ops: recovery shop okay"]);
    lab.answer("shop", Answer::Once(State::Bad));
    assert!(after(&lab, 5).await.is_empty(), "it was mended");
    assert_eq!(lab.take_scripts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_told_while_the_first_cannot_be_reached_and_hears_the_end() {
    let checks = [check("shop".to_owned(), &["ops"])];
    let lab = Lab::adjusted(&checks, &[target("ops"), target("spare")], &[], |action| {
        action.fallback = (action.name.as_str() == "ops").then(|| Name::new("spare"));
    });
    after(&lab, 3).await;
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    lab.answer("shop", Answer::State(State::Bad));
    assert!(after(&lab, 4).await.is_empty(), "a short failure is nobody else's");
    assert_eq!(after(&lab, 20).await, ["spare: problem shop bad"]);
    lab.target_works.lock().unwrap().insert("ops".to_owned(), true);
    assert_eq!(after(&lab, 60).await, ["ops: problem shop bad"], "the first is told as soon as it can be");
    lab.answer("shop", Answer::State(State::Okay));
    let mut told = after(&lab, 5).await;
    told.sort();
    assert_eq!(told, ["ops: recovery shop okay", "spare: recovery shop okay"]);
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 15).await, ["ops: problem shop bad"], "the spare is not needed any more");
}

#[tokio::test(start_paused = true)]
async fn the_fallback_of_a_fallback_is_told_while_neither_can_be_reached() {
    let checks = [check("shop".to_owned(), &["ops"])];
    let lab = Lab::adjusted(&checks, &[target("ops"), target("spare"), target("last")], &[], |action| {
        action.fallback = match action.name.as_str() {
            "ops" => Some(Name::new("spare")),
            "spare" => Some(Name::new("last")),
            _ => Some(Name::new("ops")),
        };
    });
    after(&lab, 3).await;
    for down in ["ops", "spare"] {
        lab.target_works.lock().unwrap().insert(down.to_owned(), false);
    }
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 40).await, ["last: problem shop bad"]);
    lab.answer("shop", Answer::State(State::Okay));
    assert_eq!(after(&lab, 5).await, ["last: recovery shop okay"]);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_hears_of_all_that_waits_for_a_target_that_refuses() {
    let checks = ["a", "b", "c"].map(|name| check(name.to_owned(), &["ops"]));
    let lab = Lab::adjusted(&checks, &[target("ops"), target("spare")], &[], |action| {
        action.group = Duration::ZERO;
        action.fallback = (action.name.as_str() == "ops").then(|| Name::new("spare"));
    });
    after(&lab, 3).await;
    lab.target_refuses.lock().unwrap().insert("ops".to_owned());
    // All of them are bad before the first is refused.
    *lab.target_takes.lock().unwrap() = 3 * SECOND;
    for name in ["a", "b", "c"] {
        lab.answer(name, Answer::State(State::Bad));
    }
    let mut told = after(&lab, 30).await;
    told.sort();
    assert_eq!(told, ["spare: problem a bad", "spare: problem b bad", "spare: problem c bad"]);
}

/// The first check tells nobody but `ops` any more.
fn only_ops(configuration: &mut Configuration) {
    let check = &mut configuration.checks[0];
    check.settings = Settings { actions: [Name::new("ops")].into(), ..Settings::clone(&check.settings) }.into();
}

/// Who was told of a problem hears of its end, also when it is no longer told of the check otherwise.
#[tokio::test(start_paused = true)]
async fn a_target_that_a_check_no_longer_names_hears_the_end_and_nothing_else() {
    let mut lab = shop(&["ops", "boss"], &[], |action| action.wants.remind = Some((20 * SECOND).into()));
    after(&lab, 3).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 2).await.len(), 2);
    lab.configure(only_ops).await;
    assert_eq!(after(&lab, 30).await, ["ops: reminder shop bad"]);
    lab.restart().await;
    lab.answer("shop", Answer::State(State::Okay));
    let mut told = after(&lab, 3).await;
    told.sort();
    assert_eq!(told, ["boss: recovery shop okay", "ops: recovery shop okay"]);
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 3).await, ["ops: problem shop bad"]);
}

/// What waits for a target that the check no longer names is not told.
#[tokio::test(start_paused = true)]
async fn a_message_for_a_target_that_is_no_longer_named_does_not_go_out() {
    let checks = [check("shop".to_owned(), &["ops", "boss"]), check("mail".to_owned(), &["boss"])];
    let mut lab = Lab::new(&checks, &[target("ops"), target("boss")], &[]);
    after(&lab, 3).await;
    lab.target_works.lock().unwrap().insert("boss".to_owned(), false);
    lab.answer("mail", Answer::State(State::Bad));
    // By then the pauses between tries are long.
    after(&lab, 20).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 2).await, ["ops: problem shop bad"]);
    lab.configure(only_ops).await;
    lab.target_works.lock().unwrap().clear();
    assert_eq!(after(&lab, 60).await, ["boss: problem mail bad"]);
}

/// A clock that is set back makes nobody wait for the end of flapping that it has forgotten.
#[tokio::test(start_paused = true)]
async fn flapping_ends_although_the_clock_was_set_back() {
    let flapping = FlappingPolicy { window: 100 * SECOND, enter: 4, exit: 1 };
    let mut flapper = check("shop".to_owned(), &["ops"]);
    flapper.policy.flapping = Some(flapping);
    let lab = Lab::new(&[flapper], &[target("ops")], &[]);
    after(&lab, 3).await;
    for state in [State::Bad, State::Okay, State::Bad, State::Okay, State::Bad] {
        lab.answer("shop", Answer::State(state));
        after(&lab, 1).await;
    }
    lab.take_messages();
    after(&lab, 20).await;
    lab.step_back(5 * SECOND);
    assert!(after(&lab, 5).await.is_empty());
    assert_eq!(after(&lab, 200).await, ["ops: flapping_ended shop bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_in_the_table_although_the_clock_was_set_back() {
    let lab = shop(&["ops"], &[], |_| {});
    lab.answer("shop", Answer::State(State::Bad));
    after(&lab, 5).await;
    let until = Some(lab.now() + 60 * SECOND);
    lab.handle.acknowledge(Name::new("shop"), "ann".to_owned(), String::new(), until, false).await.unwrap();
    after(&lab, 10).await;
    lab.step_back(20 * SECOND);
    after(&lab, 65).await;
    assert_eq!(lab.state("shop").await, "bad hard (acknowledged)");
    after(&lab, 10).await;
    assert_eq!(lab.state("shop").await, "bad hard");
}

/// A receiver that takes a message and never answers does not keep whoever stops the daemon; it is told after the next start.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_the_end_by_no_more_than_two_seconds() {
    let mut lab = shop(&["ops"], &[], |_| {});
    lab.hanging.lock().unwrap().insert("ops".to_owned());
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 5).await, Vec::<String>::new());
    let began = tokio::time::Instant::now();
    lab.restart().await;
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    lab.hanging.lock().unwrap().clear();
    assert!(!after(&lab, 60).await.is_empty());
}

/// A digest that is sent again after a kill has the id that it had, in whatever order its checks came.
#[tokio::test(start_paused = true)]
async fn a_digest_keeps_its_id_over_a_kill() {
    let names = ["a", "b", "c", "z", "y", "x"];
    let checks: Vec<CheckSpec> = names.iter().map(|name| check((*name).to_owned(), &["ops"])).collect();
    let mut lab = Lab::new(&checks, &[target("ops")], &[]);
    after(&lab, 3).await;
    lab.target_refuses.lock().unwrap().insert("ops".to_owned());
    lab.answer("a", Answer::State(State::Bad));
    after(&lab, 3).await;
    // While the target rests, these come in an order that is not that of their names.
    for name in ["z", "b", "y", "c", "x"] {
        lab.answer(name, Answer::State(State::Bad));
        after(&lab, 3).await;
    }
    lab.target_refuses.lock().unwrap().clear();
    lab.answers_lost.lock().unwrap().insert("ops".to_owned());
    lab.reload().await;
    after(&lab, 1).await;
    lab.kill().await;
    after(&lab, 30).await;
    let heard = lab.heard.lock().unwrap().clone();
    let ids: std::collections::BTreeSet<(usize, &str)> =
        heard.iter().map(|heard| (heard.of, heard.delivery_id.as_str())).collect();
    assert!(heard.len() > 6 && ids.len() == 1, "it was sent again: {ids:?}");
}

/// What nobody is to be told of stops flapping in the table too, although the end moved meanwhile.
#[tokio::test(start_paused = true)]
async fn flapping_ends_for_a_check_without_targets() {
    let policy = Policy { max_attempts: 1, flapping: Some(FlappingPolicy::default()), ..Policy::default() };
    let spec = CheckSpec { policy, interval: 3_600 * SECOND, ..check("shop".to_owned(), &[]) };
    let lab = Lab::new(&[spec], &[], &[]);
    let submit = async |state| {
        lab.handle.submit(Name::new("shop"), monchero_core::Report::of(state, "said")).await.unwrap();
        tokio::time::sleep(60 * SECOND).await;
    };
    for _ in 0..10 {
        submit(State::Bad).await;
        submit(State::Okay).await;
    }
    assert_eq!(lab.state("shop").await, "okay hard (flapping)");
    // From here on the table says when it will be over; then it is.
    let until = lab.handle.show("shop").await.unwrap().row.holds[0].until().unwrap();
    let left = Duration::try_from(until.duration_since(lab.now())).unwrap();
    tokio::time::sleep(left + 5 * SECOND).await;
    assert_eq!(lab.state("shop").await, "okay hard");
}

/// R18: a clock that is ahead for two minutes brings no reminder and takes no planned work along, neither at once nor over a start.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_has_done_nothing() {
    let (names, wants) =
        (["ops"], Wants { states: vec![State::Bad], remind: Some((3_600 * SECOND).into()), ..Wants::default() });
    let mut lab = Lab::new(&[check("shop".to_owned(), &names)], &[("ops".to_owned(), wants)], &[]);
    after(&lab, 3).await;
    lab.answer("shop", Answer::State(State::Bad));
    assert_eq!(after(&lab, 60).await, ["ops: problem shop bad"]);
    let start = lab.now() + 2 * 3_600 * SECOND;
    let (end, comment) = (start + 3_600 * SECOND, "new switch".to_owned());
    let planned = Downtime { covers: "shop".into(), start, end, comment, ..Downtime::default() };
    lab.handle.add_downtime(planned).await.unwrap();
    let decade = 3_650 * 86_400 * SECOND;
    for restarts in [false, true] {
        lab.step_ahead(decade);
        if restarts {
            lab.restart().await;
        }
        assert_eq!(after(&lab, 120).await, [""; 0], "restarts: {restarts}");
        assert_eq!(lab.handle.downtimes().await.unwrap().len(), 0);
        lab.step_back(decade);
        assert_eq!(after(&lab, 120).await, [""; 0], "restarts: {restarts}");
        assert_eq!(lab.handle.downtimes().await.unwrap().len(), 1, "restarts: {restarts}");
    }
    assert_eq!(after(&lab, 3_600).await, ["ops: reminder shop bad"]);
    // What is over is kept for a day, and then forgotten.
    after(&lab, 3 * 3_600).await;
    assert_eq!(lab.handle.downtimes().await.unwrap().len(), 0);
    assert_eq!(lab.journal.downtimes(), 1);
    after(&lab, 86_400).await;
    assert_eq!(lab.journal.downtimes(), 0);
}
