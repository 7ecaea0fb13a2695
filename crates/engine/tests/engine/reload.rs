//! What a start and a reload make of what is known.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use monchero_core::decide::Wants;
use monchero_core::definition::{ConfigProblem, Configuration, Definition, Settings};
use monchero_core::{Name, Policy, State};

use crate::lab::{Answer, CheckSpec, Lab};

const MINUTE: Duration = Duration::from_secs(60);

fn check(name: &str, depends_on: &[&str]) -> CheckSpec {
    CheckSpec {
        name: name.to_owned(),
        interval: MINUTE,
        retry_interval: MINUTE,
        policy: Policy { max_attempts: 1, flapping: None, ..Policy::default() },
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        actions: vec!["ops".to_owned()],
    }
}

fn lab(checks: &[CheckSpec]) -> Lab {
    let wants = Wants { states: vec![State::Warning, State::Unknown, State::Bad], ..Wants::default() };
    Lab::new(checks, &[("ops".to_owned(), wants)], &[])
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The file of a check is broken: its definition is missing, and that is known.
fn break_file(configuration: &mut Configuration, check: &str) -> Definition {
    let place = configuration.checks.iter().position(|known| known.name.as_str() == check).unwrap();
    configuration.problems.push(ConfigProblem {
        file: format!("conf.d/{check}.yaml"),
        rendered: "a typo".to_owned(),
        line: format!("conf.d/{check}.yaml:1:1: a typo"),
    });
    configuration.checks.remove(place)
}

fn mend_file(configuration: &mut Configuration, definition: Definition) {
    configuration.problems.clear();
    configuration.checks.push(definition);
}

/// A start over a broken file forgets nothing about the checks in it and tells no recovery; the reload of the mended file takes all up.
#[tokio::test(start_paused = true)]
async fn a_start_with_a_broken_file_forgets_nothing() {
    let mut lab = lab(&[check("shop", &[]), check("web", &[])]);
    lab.answer("shop", Answer::Part(State::Bad));
    lab.answer("web", Answer::State(State::Bad));
    pass(MINUTE / 2).await;
    lab.answer("shop", Answer::Part(State::Bad));
    pass(MINUTE).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem shop/part bad", "ops: problem web bad"]);
    lab.handle.acknowledge(Name::new("web"), "ann".to_owned(), "on it".to_owned(), None, false).await.unwrap();
    let since = lab.handle.show("web").await.unwrap().row.status.incident;

    let mut broken = Vec::new();
    lab.restart_with(|configuration| {
        broken.push(break_file(configuration, "shop"));
        broken.push(break_file(configuration, "web"));
    })
    .await;
    pass(5 * MINUTE).await;
    assert_eq!((lab.state("web").await, lab.state("shop/part").await), ("gone".to_owned(), "gone".to_owned()));
    // Once more: what was left is still there.
    lab.kill().await;
    pass(5 * MINUTE).await;
    lab.configure(|configuration| broken.drain(..).for_each(|definition| mend_file(configuration, definition))).await;
    assert_eq!(lab.state("web").await, "bad hard (acknowledged)");
    assert_eq!(lab.state("shop/part").await, "bad hard");
    assert_eq!(lab.handle.show("web").await.unwrap().row.status.incident, since);
    pass(5 * MINUTE).await;
    assert_eq!(lab.take_messages(), [""; 0], "nothing about the checks themselves has changed");

    lab.answer("shop", Answer::Part(State::Okay));
    lab.answer("web", Answer::State(State::Okay));
    pass(2 * MINUTE).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: recovery shop/part okay", "ops: recovery web okay"]);
}

/// What a check depends on as the loader found it: instances of `for_each` in the place of their check, and without what is missing. That is
/// no part of what is written, so the fingerprint of the check stays.
fn depend(configuration: &mut Configuration, check: &str, on: &[&str]) {
    let check = configuration.checks.iter_mut().find(|known| known.name.as_str() == check).unwrap();
    let depends_on = on.iter().map(|name| Name::new(name)).collect();
    check.settings = Arc::new(Settings { depends_on, ..Settings::clone(&check.settings) });
    check.source.line = NonZeroU32::new(7);
}

/// A parent whose file was broken at the start, and an instance that comes later, are parents from the reload on; the check itself is not touched.
#[tokio::test(start_paused = true)]
async fn a_reload_brings_parents_to_unchanged_checks() {
    let mut lab = lab(&[check("gw[a]", &[]), check("gw[b]", &[]), check("shop", &[]), check("raid", &[])]);
    lab.answer("raid", Answer::Part(State::Okay));
    pass(MINUTE / 2).await;
    let before = lab.handle.show("shop").await.unwrap();
    let parents = ["gw[a]", "gw[b]"];
    lab.configure(|configuration| {
        depend(configuration, "shop", &parents);
        depend(configuration, "raid", &parents);
    })
    .await;
    let after = lab.handle.show("shop").await.unwrap();
    assert_eq!(after.depends_on.iter().map(Name::as_str).collect::<Vec<_>>(), parents);
    assert_eq!((after.row.next_check, after.source.line), (before.row.next_check, NonZeroU32::new(7)));
    lab.answer("gw[b]", Answer::State(State::Bad));
    pass(MINUTE).await;
    lab.answer("shop", Answer::State(State::Bad));
    lab.answer("raid", Answer::Part(State::Bad));
    pass(MINUTE + Duration::from_secs(5)).await;
    assert_eq!(lab.state("shop").await, "bad hard (dependency)");
    assert_eq!(lab.state("raid/part").await, "bad hard (dependency)");
    assert_eq!(lab.take_messages(), ["ops: problem gw[b] bad"]);
}

/// What is not in the mended configuration either is let go then, and its targets hear of it.
#[tokio::test(start_paused = true)]
async fn what_the_mended_configuration_lacks_is_let_go() {
    let mut lab = lab(&[check("shop", &[]), check("web", &[])]);
    lab.answer("shop", Answer::State(State::Bad));
    pass(2 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad"]);
    lab.restart_with(|configuration| drop(break_file(configuration, "shop"))).await;
    pass(2 * MINUTE).await;
    assert_eq!(lab.take_messages(), [""; 0]);
    lab.configure(|configuration| configuration.problems.clear()).await;
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: recovery shop okay"]);
}

/// A file that is mended while another is broken is told to be well.
#[tokio::test(start_paused = true)]
async fn a_mended_file_is_told_while_another_is_broken() {
    let mut lab = lab(&[check("shop", &[]), check("web", &[])]);
    lab.configure(|configuration| configuration.self_actions = [Name::new("ops")].into()).await;
    let mut shop = None;
    lab.restart_with(|configuration| shop = Some(break_file(configuration, "shop"))).await;
    pass(MINUTE).await;
    assert_eq!(lab.state("config/conf.d/shop.yaml").await, "bad hard");
    lab.take_messages();
    lab.restart_with(|configuration| {
        mend_file(configuration, shop.take().unwrap());
        break_file(configuration, "web");
    })
    .await;
    pass(MINUTE).await;
    let told = lab.take_messages();
    assert!(told.iter().any(|told| told.contains("recovery config/conf.d/shop.yaml")), "{told:?}");
}

/// A start without any check, as when `conf.d` is not mounted, forgets nothing and says so; a reload says that it is meant.
#[tokio::test(start_paused = true)]
async fn a_start_without_checks_forgets_nothing() {
    let mut lab = lab(&[check("shop", &[])]);
    lab.answer("shop", Answer::State(State::Bad));
    pass(2 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad"]);
    let mut all = Vec::new();
    lab.restart_with(|configuration| all = std::mem::take(&mut configuration.checks)).await;
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), [""; 0]);
    assert!(lab.message("self/config").await.contains("1 were before"), "{}", lab.message("self/config").await);
    lab.restart_with(|configuration| configuration.checks = all).await;
    pass(MINUTE).await;
    assert_eq!((lab.state("shop").await, lab.state("config/conf.d").await), ("bad hard".to_owned(), "gone".to_owned()));
    lab.restart_with(|configuration| configuration.checks.clear()).await;
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), [""; 0]);
    lab.reload().await;
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: recovery shop okay"]);
    assert_eq!(lab.state("self/config").await, "okay hard");
}

/// An acknowledgement ends with its check, also for a restart after the check came back before its end could be told.
#[tokio::test(start_paused = true)]
async fn an_acknowledgement_ends_with_its_check() {
    let mut lab = lab(&[check("shop", &[]), check("web", &[])]);
    lab.answer("shop", Answer::State(State::Bad));
    pass(2 * MINUTE).await;
    lab.handle.acknowledge(Name::new("shop"), "ann".to_owned(), "on it".to_owned(), None, true).await.unwrap();
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    let mut shop = Vec::new();
    lab.configure(|configuration| {
        shop.extend(configuration.checks.extract_if(.., |check| check.name.as_str() == "shop"));
    })
    .await;
    pass(MINUTE).await;
    lab.configure(|configuration| configuration.checks.append(&mut shop)).await;
    pass(2 * MINUTE).await;
    assert_eq!(lab.state("shop").await, "bad hard");
    lab.kill().await;
    pass(MINUTE).await;
    assert_eq!(lab.state("shop").await, "bad hard");
}

/// Who waits for a run that is called off is told why.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_run_hears_why_there_is_none() {
    let mut lab = lab(&[check("shop", &[]), check("web", &[]), check("raid", &[])]);
    pass(2 * MINUTE).await;
    for name in ["shop", "web", "raid"] {
        lab.answer(name, Answer::TimesOut);
    }
    let ask = |name: &str| {
        let (handle, name) = (lab.handle.clone(), Name::new(name));
        tokio::spawn(async move { handle.run(name).await.unwrap_err().to_string() })
    };
    let asked = [ask("shop"), ask("web"), ask("raid")];
    pass(Duration::from_secs(1)).await;
    lab.change("shop", "other").await;
    lab.remove("web").await;
    lab.restart().await;
    let mut why = Vec::new();
    for asked in asked {
        why.push(asked.await.unwrap());
    }
    let expected = [
        "the run was called off: its definition changed",
        "the run was called off: it is no longer configured",
        "the run was called off: the daemon is stopping",
    ];
    assert_eq!(why, expected);
}

/// The sign of life is no run: whoever asks for one is not left waiting for the next sign.
#[tokio::test(start_paused = true)]
async fn a_sign_of_life_is_not_run() {
    let mut lab = lab(&[check("shop", &[])]);
    lab.configure(|configuration| configuration.alive = true).await;
    let why = lab.handle.run(Name::new("self/alive")).await.unwrap_err().to_string();
    assert!(why.contains("is not run"), "{why}");
    assert!(lab.handle.run(Name::new("self/store")).await.is_ok());
}
