//! Who waits for another look at something, and for how long.

use std::time::Duration;

use monchero_core::decide::Wants;
use monchero_core::definition::Gate;
use monchero_core::hold::Shut;
use monchero_core::{Name, Policy, State};

use crate::lab::{Answer, CheckSpec, Lab};

const MINUTE: Duration = Duration::from_secs(60);

fn check(name: &str, interval: Duration, depends_on: &[&str]) -> CheckSpec {
    CheckSpec {
        name: name.to_owned(),
        interval,
        retry_interval: interval,
        policy: Policy { max_attempts: 1, flapping: None, ..Policy::default() },
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        actions: vec!["ops".to_owned()],
    }
}

fn lab(checks: &[CheckSpec]) -> Lab {
    let wants = Wants { states: vec![State::Warning, State::Unknown, State::Bad], ..Wants::default() };
    Lab::new(checks, &[("ops".to_owned(), wants)], &[])
}

/// These checks say whether the host is cut off from what those look at.
async fn shut_by(lab: &mut Lab, gates: &[&str], holds: &[&str]) {
    let names = |names: &[&str]| names.iter().map(|name| Name::new(name)).collect::<Vec<_>>();
    let (checks, holds) = (names(gates), names(holds).into_iter().collect());
    lab.configure(|configuration| configuration.gate = Some(Gate { checks: checks.into(), shut: Shut::All, holds }))
        .await;
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn runs(lab: &Lab, check: &str) -> u32 {
    lab.runs.lock().unwrap().get(check).copied().unwrap_or_default()
}

/// A parent that is not run, since it crashed the daemon, is no reason to wait for a look at it.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_parent_that_is_left_out() {
    let mut lab = lab(&[check("router", MINUTE, &[]), check("web", MINUTE, &["router"])]);
    pass(MINUTE / 2).await;
    lab.crash_by("router").await;
    pass(MINUTE).await;
    lab.take_messages();
    lab.answer("web", Answer::State(State::Bad));
    pass(2 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem web bad"]);
}

/// A check that is not run, since it crashed the daemon, waits for its parent and for no look at itself.
#[tokio::test(start_paused = true)]
async fn what_is_left_out_is_told_when_its_parent_is_back() {
    let mut lab = lab(&[check("router", MINUTE, &[]), check("web", MINUTE, &["router"])]);
    pass(MINUTE / 2).await;
    lab.answer("router", Answer::State(State::Bad));
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem router bad"]);
    lab.crash_by("web").await;
    pass(MINUTE).await;
    assert_eq!(lab.state("web").await, "unknown hard (dependency)");
    lab.answer("router", Answer::State(State::Okay));
    pass(2 * MINUTE).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem web unknown", "ops: recovery router okay"]);
}

/// A service that came up after the configuration waits for its check's parents, and no longer than for the look at them.
#[tokio::test(start_paused = true)]
async fn a_service_is_told_when_the_parent_was_looked_at() {
    let lab = lab(&[check("router", 20 * MINUTE, &[]), check("raid", 10 * MINUTE, &["router"])]);
    lab.answer("raid", Answer::Part(State::Okay));
    pass(MINUTE).await;
    assert_eq!(lab.state("raid/part").await, "okay hard");
    lab.answer("raid", Answer::Part(State::Bad));
    pass(10 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem raid/part bad"]);
}

/// What is never twice the same behind an open gate counts all the same, and does not make its check run all the time.
#[tokio::test(start_paused = true)]
async fn news_that_change_are_looked_into_once() {
    let mut lab = lab(&[check("outside", 10 * MINUTE, &[]), check("web", MINUTE, &[])]);
    shut_by(&mut lab, &["outside"], &["web"]).await;
    pass(MINUTE / 2).await;
    let (outside, web) = (runs(&lab, "outside"), runs(&lab, "web"));
    lab.answer("web", Answer::Alternates);
    pass(MINUTE).await;
    let told = lab.take_messages();
    assert!(told.len() == 1 && told[0].starts_with("ops: problem web "), "{told:?}");
    // Once before the problem counts, and once before it is told.
    assert!(runs(&lab, "outside") <= outside + 2, "{}", runs(&lab, "outside") - outside);
    assert!(runs(&lab, "web") <= web + 3, "{}", runs(&lab, "web") - web);
}

/// A result that does not count is shown with its reason, and what somebody says about a check counts as ever.
#[tokio::test(start_paused = true)]
async fn an_inconclusive_result_says_so() {
    let mut lab = lab(&[check("outside", MINUTE, &[]), check("web", MINUTE, &[])]);
    shut_by(&mut lab, &["outside"], &["web"]).await;
    pass(MINUTE / 2).await;
    lab.answer("outside", Answer::State(State::Bad));
    lab.answer("web", Answer::Part(State::Bad));
    pass(MINUTE).await;
    lab.answer("web", Answer::TimesOut);
    pass(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem outside bad"]);
    assert_eq!(lab.message("web").await, "inconclusive: timed out after 5.0s");
    assert_eq!(lab.state("web/part").await, "pending");
    let detail = lab.handle.show("web").await.unwrap();
    let holds: Vec<String> = detail.row.holds.iter().map(ToString::to_string).collect();
    assert_eq!(holds, ["this host is cut off: `outside` is bad"]);
    assert_eq!(detail.row.status.incident, None);

    lab.handle.submit(Name::new("web"), monchero_core::Report::of(State::Bad, "I see it")).await.unwrap();
    assert_eq!(lab.state("web").await, "bad hard (cut off)");
    assert_eq!(lab.state("web/part").await, "pending", "nothing was said about that");
    // A gate that is gone shuts nothing.
    lab.answer("web", Answer::Part(State::Bad));
    lab.configure(|configuration| configuration.gate = None).await;
    pass(MINUTE / 4).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem web bad", "ops: problem web/part bad", "ops: recovery web okay"]);
}

/// Passes time, a quarter of an hour at most, until a problem of a check is hard.
async fn until_bad(lab: &Lab, check: &str) {
    for _ in 0..900 {
        if lab.state(check).await.starts_with("bad hard") {
            return;
        }
        pass(Duration::from_secs(1)).await;
    }
    panic!("{check} is {}", lab.state(check).await);
}

/// What depends on a service is told as soon as the check that reports the service was looked at, and not only after its own next run.
#[tokio::test(start_paused = true)]
async fn a_service_is_a_parent_that_is_looked_at_once() {
    let lab = lab(&[check("raid", 20 * MINUTE, &[]), check("shop", 10 * MINUTE, &["raid/part"])]);
    lab.answer("raid", Answer::Part(State::Okay));
    pass(MINUTE).await;
    let looks = runs(&lab, "raid");
    lab.answer("shop", Answer::State(State::Bad));
    until_bad(&lab, "shop").await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad"]);
    assert_eq!(runs(&lab, "raid"), looks + 1);
}

/// A look that finds out nothing ends the wait for a service too: nobody can find out more.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_service_whose_check_fails() {
    let lab = lab(&[check("raid", MINUTE, &[]), check("shop", 10 * MINUTE, &["raid/part"])]);
    lab.answer("raid", Answer::Part(State::Okay));
    pass(MINUTE).await;
    lab.answer("raid", Answer::TimesOut);
    lab.answer("shop", Answer::State(State::Bad));
    until_bad(&lab, "shop").await;
    pass(MINUTE / 4).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem raid unknown", "ops: problem shop bad"]);
}

/// What is said about a service by hand counts as a look at it, and so does its coming back.
#[tokio::test(start_paused = true)]
async fn what_depends_on_a_service_hears_of_its_end() {
    let lab = lab(&[check("raid", 10 * MINUTE, &[]), check("shop", 10 * MINUTE, &["raid/part"])]);
    lab.answer("raid", Answer::Part(State::Bad));
    pass(MINUTE).await;
    lab.answer("shop", Answer::State(State::Bad));
    until_bad(&lab, "shop").await;
    assert_eq!(lab.state("shop").await, "bad hard (dependency)");
    lab.take_messages();
    lab.handle.submit(Name::new("raid/part"), monchero_core::Report::of(State::Okay, "mended")).await.unwrap();
    pass(Duration::from_secs(5)).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem shop bad", "ops: recovery raid/part okay"]);
}

/// A service that comes up after what depends on it is a parent from then on.
#[tokio::test(start_paused = true)]
async fn a_service_that_comes_later_is_a_parent_too() {
    let lab = lab(&[check("raid", MINUTE, &[]), check("shop", 10 * MINUTE, &["raid/part"])]);
    pass(2 * MINUTE).await;
    lab.answer("raid", Answer::Part(State::Bad));
    pass(2 * MINUTE).await;
    lab.answer("shop", Answer::State(State::Bad));
    until_bad(&lab, "shop").await;
    lab.take_messages();
    assert_eq!(lab.state("shop").await, "bad hard (dependency)");
    lab.answer("raid", Answer::Part(State::Okay));
    pass(MINUTE + Duration::from_secs(5)).await;
    let mut told = lab.take_messages();
    told.sort();
    assert_eq!(told, ["ops: problem shop bad", "ops: recovery raid/part okay"]);
}

/// A service that its check reports no more is unknown for a week, over restarts too, and then it is gone and its end is told. It may come back.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_reported_no_more_goes_after_a_week() {
    let (hour, day) = (60 * MINUTE, 1_440 * MINUTE);
    let mut lab = lab(&[check("docker", hour, &[]), check("shop", hour, &["docker/part"])]);
    lab.answer("docker", Answer::Part(State::Okay));
    pass(hour).await;
    lab.answer("docker", Answer::State(State::Okay));
    pass(2 * hour).await;
    assert_eq!(lab.take_messages(), ["ops: problem docker/part unknown"]);
    lab.suspend(3 * day);
    pass(2 * hour).await;
    lab.kill().await;
    lab.suspend(3 * day);
    pass(2 * hour).await;
    assert_eq!(lab.state("docker/part").await, "unknown hard");
    assert_eq!(lab.take_messages(), [""; 0]);
    lab.suspend(day);
    pass(2 * hour).await;
    assert_eq!(lab.take_messages(), ["ops: recovery docker/part okay"]);
    assert_eq!(lab.state("docker/part").await, "gone");
    lab.restart().await;
    pass(2 * hour).await;
    assert_eq!(lab.state("docker/part").await, "gone");

    lab.answer("docker", Answer::Part(State::Bad));
    pass(hour).await;
    lab.answer("shop", Answer::State(State::Bad));
    pass(2 * hour).await;
    assert_eq!(lab.take_messages(), ["ops: problem docker/part bad"]);
    assert_eq!(lab.state("shop").await, "bad hard (dependency)");
}

/// One that comes back before the target that was told of its problem could be told of the end is itself again.
#[tokio::test(start_paused = true)]
async fn a_service_comes_back_before_its_end_could_be_told() {
    let hour = 60 * MINUTE;
    let lab = lab(&[check("docker", hour, &[])]);
    lab.answer("docker", Answer::Part(State::Bad));
    pass(hour).await;
    assert_eq!(lab.take_messages(), ["ops: problem docker/part bad"]);
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    lab.answer("docker", Answer::State(State::Okay));
    pass(2 * hour).await;
    lab.suspend(200 * hour);
    pass(2 * hour).await;
    assert_eq!(lab.state("docker/part").await, "gone");
    lab.answer("docker", Answer::Part(State::Bad));
    pass(hour).await;
    lab.target_works.lock().unwrap().insert("ops".to_owned(), true);
    pass(2 * hour).await;
    assert_eq!(lab.state("docker/part").await, "bad hard");
    let told = lab.take_messages();
    assert!(told.len() == 1 && told[0].contains("docker/part bad"), "{told:?}");
}
