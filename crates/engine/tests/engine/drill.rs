//! Drills and rehearsals: what is told then, and that nothing else changes.

use std::time::Duration;

use monchero_core::decide::Wants;
use monchero_core::definition::{ActionDefinition, Trigger};
use monchero_core::hold::Downtime;
use monchero_core::{Decision, Hold, Name, Policy, State};
use monchero_engine::view::Verdict;
use monchero_engine::{Refusal, Rehearsal, Test};

use crate::lab::{Answer, CheckSpec, Lab, ScriptSpec};

const SECOND: Duration = Duration::from_secs(1);

/// A check with these actions, of which those are targets that want to be told of bad only.
fn shop(targets: &[&str], scripts: &[ScriptSpec], adjust: impl FnMut(&mut ActionDefinition)) -> Lab {
    let all = targets.iter().copied().chain(scripts.iter().map(|script| script.name.as_str()));
    let check = CheckSpec {
        name: "shop".to_owned(),
        interval: SECOND,
        retry_interval: SECOND,
        policy: Policy { max_attempts: 3, ..Policy::default() },
        depends_on: Vec::new(),
        actions: all.map(str::to_owned).collect(),
    };
    let wants = Wants { states: vec![State::Bad], ..Wants::default() };
    let targets: Vec<_> = targets.iter().map(|name| ((*name).to_owned(), wants.clone())).collect();
    Lab::adjusted(&[check], &targets, scripts, adjust)
}

fn script(name: &str, on: &[Trigger], limit: Option<u32>, cooldown: Option<Duration>) -> ScriptSpec {
    ScriptSpec { name: name.to_owned(), on: on.to_vec(), limit, cooldown }
}

fn test(target: &str, state: State) -> Test {
    Test { target: Name::new(target), state, about: None }
}

async fn rehearse(lab: &Lab, state: State) -> Box<Rehearsal> {
    lab.handle.rehearse(Name::new("shop"), state).await.unwrap()
}

fn decision<'a>(rehearsal: &'a Rehearsal, target: &str) -> &'a Decision {
    &rehearsal.targets.iter().find(|known| known.view.target.as_str() == target).unwrap().view.decision
}

fn verdicts(rehearsal: &Rehearsal) -> Vec<(&str, &Verdict)> {
    rehearsal.scripts.iter().map(|script| (script.script.as_str(), &script.verdict)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_test_reaches_its_target_and_nobody_takes_it_for_the_truth() {
    let lab = shop(&["ops"], &[], |_| {});
    tokio::time::sleep(3 * SECOND).await;
    let before = lab.handle.show("shop").await.unwrap().targets[0].told.clone();
    assert_eq!(lab.handle.test_target(test("ops", State::Bad)).await, Ok(Ok("taken".to_owned())));
    assert_eq!(lab.handle.test_target(test("ops", State::Okay)).await, Ok(Ok("taken".to_owned())));
    assert_eq!(lab.take_messages(), ["ops: problem drill bad [drill]", "ops: recovery drill okay [drill]"]);
    let detail = lab.handle.show("shop").await.unwrap();
    assert_eq!((&detail.targets[0].told, detail.recent_notices.len()), (&before, 0));
    assert_eq!(lab.state("drill").await, "gone", "no such check comes to be");
    tokio::time::sleep(SECOND).await;
    let kept: Vec<_> = lab.journal.notices.lock().unwrap().iter().map(|row| (row.drill, row.delivered)).collect();
    assert_eq!(kept, [(true, true), (true, true)]);
    // The truth is told as ever.
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_says_why_and_delays_no_real_message() {
    let lab = shop(&["ops"], &[], |_| {});
    tokio::time::sleep(3 * SECOND).await;
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    assert_eq!(lab.handle.test_target(test("ops", State::Bad)).await, Ok(Err("connection refused".to_owned())));
    assert!(lab.handle.show("shop").await.unwrap().targets[0].retry.is_none(), "a drill makes no target rest");
    // A target that rests is tried all the same.
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(30 * SECOND).await;
    assert!(lab.handle.show("shop").await.unwrap().targets[0].retry.is_some());
    lab.target_works.lock().unwrap().insert("ops".to_owned(), true);
    let told = lab.handle.test_target(test("ops", State::Bad)).await;
    assert_eq!(told, Ok(Ok("taken".to_owned())));
    // It works again, so what waited for the end of its rest goes out.
    tokio::time::sleep(SECOND).await;
    assert_eq!(lab.take_messages(), ["ops: problem drill bad [drill]", "ops: problem shop bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_test_waits_for_the_message_under_way_and_few_may_wait() {
    let lab = shop(&["ops"], &[], |_| {});
    tokio::time::sleep(3 * SECOND).await;
    *lab.target_takes.lock().unwrap() = 4 * SECOND;
    let sent = |_| {
        let handle = lab.handle.clone();
        tokio::spawn(async move { handle.test_target(test("ops", State::Bad)).await })
    };
    lab.answer("shop", Answer::State(State::Bad));
    while lab.handle.show("shop").await.unwrap().row.status.hard_state != State::Bad {
        tokio::time::sleep(SECOND / 10).await;
    }
    let drills: Vec<_> = (0..6).map(sent).collect();
    let mut ends = Vec::new();
    for drill in drills {
        ends.push(drill.await.unwrap());
    }
    let refused = ends.iter().filter(|end| matches!(end, Err(Refusal::Senseless(why)) if why.contains("wait"))).count();
    let taken = ends.iter().filter(|end| matches!(end, Ok(Ok(_)))).count();
    assert_eq!((taken, refused), (4, 2), "{ends:?}");
    let told = lab.take_messages();
    assert_eq!((told.len(), told[0].as_str()), (5, "ops: problem shop bad"), "one after the other: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_no_target_is_refused_with_the_nearest_that_is() {
    let lab = shop(&["ops"], &[script("mend", &[Trigger::Bad], None, None)], |_| {});
    let refused = lab.handle.test_target(test("opps", State::Bad)).await.unwrap_err();
    assert_eq!(refused, Refusal::NoSuchTarget { name: "opps".to_owned(), near: Some("ops".to_owned()) });
    let refused = lab.handle.test_target(test("mend", State::Bad)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Senseless(why) if why.contains("script")));
    let refused = lab.handle.rehearse(Name::new("shap"), State::Bad).await.unwrap_err();
    assert_eq!(refused, Refusal::NoSuchCheck { name: "shap".to_owned(), near: Some("shop".to_owned()) });
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_tells_who_would_be_told_and_changes_nothing() {
    let scripts = [script("mend", &[Trigger::Bad], Some(1), None), script("note", &[Trigger::Recovery], None, None)];
    let lab = shop(&["ops", "boss"], &scripts, |action| {
        action.delay = (action.name.as_str() == "boss").then_some(60 * SECOND);
    });
    tokio::time::sleep(3 * SECOND).await;
    let bad = rehearse(&lab, State::Bad).await;
    assert!(matches!(decision(&bad, "ops"), Decision::Tell(notice) if notice.state == State::Bad));
    let until = lab.now() + 60 * SECOND;
    assert!(matches!(decision(&bad, "boss"), Decision::Held(_, Hold::Delay { until: at }) if *at == until));
    assert_eq!(verdicts(&bad), [("mend", &Verdict::Runs), ("note", &Verdict::NotSetOff)]);
    let warning = rehearse(&lab, State::Warning).await;
    assert!(matches!(decision(&warning, "ops"), Decision::Nothing(None)), "it does not want warnings");
    let okay = rehearse(&lab, State::Okay).await;
    assert_eq!(verdicts(&okay), [("mend", &Verdict::NothingChanges), ("note", &Verdict::NothingChanges)]);
    tokio::time::sleep(90 * SECOND).await;
    assert!(lab.take_messages().is_empty() && lab.take_scripts().is_empty());
    assert_eq!(lab.state("shop").await, "okay hard");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_foretells_what_happens() {
    let scripts =
        [script("mend", &[Trigger::Bad], None, Some(600 * SECOND)), script("note", &[Trigger::Recovery], None, None)];
    let lab = shop(&["ops"], &scripts, |_| {});
    tokio::time::sleep(3 * SECOND).await;
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(5 * SECOND).await;
    lab.take_messages();
    let okay = rehearse(&lab, State::Okay).await;
    assert!(matches!(decision(&okay, "ops"), Decision::Tell(notice) if notice.state == State::Okay));
    assert_eq!(verdicts(&okay), [("mend", &Verdict::NotSetOff), ("note", &Verdict::Runs)]);
    lab.answer("shop", Answer::State(State::Okay));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(lab.take_messages(), ["ops: recovery shop okay"]);
    // Again bad soon after: told as ever, and the script has its cooldown.
    let bad = rehearse(&lab, State::Bad).await;
    assert!(matches!(decision(&bad, "ops"), Decision::Tell(_)));
    assert!(matches!(verdicts(&bad)[0].1, Verdict::Skipped(why) if why.contains("cooldown")), "{bad:?}");
    let end = lab.now() + 3_600 * SECOND;
    let downtime =
        Downtime { covers: "shop".into(), start: lab.now(), end, author: "ann".to_owned(), ..Downtime::default() };
    lab.handle.add_downtime(downtime).await.unwrap();
    let bad = rehearse(&lab, State::Bad).await;
    let Decision::Held(_, hold) = decision(&bad, "ops") else { panic!("{bad:?}") };
    assert_eq!((hold.word(), hold.until()), ("downtime", Some(end)));
    assert!(matches!(verdicts(&bad)[0].1, Verdict::Skipped(why) if why.contains("downtime")), "{bad:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drill_about_a_check_speaks_of_it() {
    let lab = shop(&["ops"], &[], |_| {});
    tokio::time::sleep(3 * SECOND).await;
    let bad = rehearse(&lab, State::Bad).await;
    let Decision::Tell(notice) = decision(&bad, "ops") else { panic!("{bad:?}") };
    let about = Some((Name::new("shop"), notice.clone()));
    let told = lab.handle.test_target(Test { about, ..test("ops", State::Bad) }).await;
    assert_eq!(told, Ok(Ok("taken".to_owned())));
    assert_eq!(lab.take_messages(), ["ops: problem shop bad [drill]"]);
    assert_eq!(lab.state("shop").await, "okay hard");
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad"], "the real problem is told although there was a drill");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_names_what_a_check_depends_on() {
    let check = |name: &str, depends_on: &[&str]| CheckSpec {
        name: name.to_owned(),
        interval: SECOND,
        retry_interval: SECOND,
        policy: Policy { max_attempts: 1, ..Policy::default() },
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        actions: vec!["ops".to_owned()],
    };
    let wants = Wants { states: vec![State::Bad], ..Wants::default() };
    let lab = Lab::new(&[check("uplink", &[]), check("shop", &["uplink"])], &[("ops".to_owned(), wants)], &[]);
    lab.answer("uplink", Answer::State(State::Bad));
    tokio::time::sleep(3 * SECOND).await;
    let bad = rehearse(&lab, State::Bad).await;
    let Decision::Held(_, Hold::Dependency { parent, .. }) = decision(&bad, "ops") else { panic!("{bad:?}") };
    assert_eq!(parent.as_str(), "uplink");
    let uplink = lab.handle.rehearse(Name::new("uplink"), State::Bad).await.unwrap();
    assert_eq!(uplink.hard_state, State::Bad);
    assert_eq!(decision(&uplink, "ops"), &Decision::Nothing(None), "it knows that");
}
