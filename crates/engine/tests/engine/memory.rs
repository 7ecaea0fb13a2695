//! What checks remember, when they want to be looked at again, what they hear and what they know of each other.

use std::sync::Arc;
use std::time::Duration;

use monchero_core::check::{Signal, SignalKind};
use monchero_core::definition::Settings;
use monchero_core::{Name, Policy, State};
use monchero_engine::Refusal;

use crate::lab::{Answer, CheckSpec, Lab};

fn lab(checks: &[(&str, u64, Answer)]) -> Lab {
    let spec = |(name, interval, _): &(&str, u64, Answer)| CheckSpec {
        name: (*name).to_owned(),
        interval: Duration::from_secs(*interval),
        retry_interval: Duration::from_secs(*interval),
        policy: Policy::default(),
        depends_on: Vec::new(),
        actions: Vec::new(),
    };
    let lab = Lab::new(&checks.iter().map(spec).collect::<Vec<_>>(), &[], &[]);
    for (name, _, answer) in checks {
        lab.answer(name, *answer);
    }
    lab
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn runs(lab: &Lab, check: &str) -> u32 {
    lab.runs.lock().unwrap().get(check).copied().unwrap_or_default()
}

async fn say(lab: &Lab, check: &str, kind: SignalKind, output: &str) -> Result<String, Refusal> {
    let signal = Signal { kind, run: None, output: output.to_owned(), took: None };
    Ok(lab.handle.signal(Name::new(check), signal).await?.message.to_string())
}

#[tokio::test(start_paused = true)]
async fn memory_outlives_failures_reloads_and_restarts() {
    let mut lab = lab(&[("a", 10, Answer::Counts)]);
    pass(25_000).await;
    let before = runs(&lab, "a");
    assert_eq!(lab.message("a").await, format!("number {before}"));
    lab.answer("a", Answer::TimesOut);
    pass(20_000).await;
    lab.answer("a", Answer::Counts);
    pass(15_000).await;
    let failed = runs(&lab, "a") - before;
    lab.restart().await;
    pass(25_000).await;
    lab.change("a", "fake").await;
    pass(25_000).await;
    let counted: u32 = lab.message("a").await.strip_prefix("number ").unwrap().parse().unwrap();
    let all = runs(&lab, "a");
    assert!(
        counted < all && counted + failed >= all,
        "{counted} of {all}, {failed} of which failed or came after that"
    );
    assert!(counted > before + 4);
}

#[tokio::test(start_paused = true)]
async fn memory_goes_with_its_kind_and_its_check() {
    let mut lab = lab(&[("a", 10, Answer::Counts), ("b", 10, Answer::Counts)]);
    pass(60_000).await;
    lab.change("a", "other").await;
    pass(11_000).await;
    assert!(["number 1", "number 2"].contains(&&*lab.message("a").await), "{}", lab.message("a").await);
    assert_ne!(lab.message("b").await, "number 1");
    pass(60_000).await;
    lab.change("a", "fake").await;
    lab.kill().await;
    pass(11_000).await;
    assert!(["number 1", "number 2"].contains(&&*lab.message("a").await), "{}", lab.message("a").await);
}

/// A run that asks for the next one leaves the grid as it is, also over a restart.
#[tokio::test(start_paused = true)]
async fn a_check_is_looked_at_again_when_it_asks() {
    let mut lab = lab(&[("a", 3_600, Answer::Again(Duration::from_secs(100)))]);
    pass(31_000).await;
    assert_eq!(runs(&lab, "a"), 1);
    pass(100_000).await;
    assert_eq!(runs(&lab, "a"), 2);
    lab.kill().await;
    pass(100_000).await;
    assert_eq!(runs(&lab, "a"), 3, "what was planned is kept");
    lab.answer("a", Answer::Again(Duration::ZERO));
    pass(100_000).await;
    let quick = runs(&lab, "a");
    pass(1_000).await;
    let quick = runs(&lab, "a") - quick;
    assert!((6..=11).contains(&quick), "{quick} runs in a second: not more often than every 100 ms, and not much less");
    lab.answer("a", Answer::State(State::Okay));
    pass(1_000).await;
    let calm = runs(&lab, "a");
    pass(7_200_000).await;
    assert_eq!(runs(&lab, "a") - calm, 2, "the grid goes on");
}

#[tokio::test(start_paused = true)]
async fn what_is_proven_is_hard_at_once() {
    let lab = lab(&[("a", 10, Answer::Proven), ("b", 10, Answer::State(State::Bad))]);
    pass(11_000).await;
    assert_eq!(lab.state("a").await, "bad hard");
    assert!(lab.state("b").await.starts_with("bad soft"));
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_a_result_that_is_on_disk_when_it_is_answered() {
    let mut lab = lab(&[("a", 3_600, Answer::Slow)]);
    pass(31_000).await;
    assert_eq!(say(&lab, "a", SignalKind::Fail(Some(1)), "no space left").await.unwrap(), "no space left");
    lab.kill().await;
    assert_eq!(lab.state("a").await, "bad hard");
    assert_eq!(say(&lab, "a", SignalKind::Success, "done").await.unwrap(), "done");
    assert_eq!(lab.state("a").await, "okay hard");
    let refused = say(&lab, "a", SignalKind::Log, "?").await.unwrap_err();
    assert_eq!(refused.to_string(), "`a` takes no signals: it looks for itself");
    assert!(matches!(say(&lab, "b", SignalKind::Start, "").await, Err(Refusal::NoSuchCheck { .. })));
    assert!(say(&lab, "self/store", SignalKind::Start, "").await.is_err());
    assert!(say(&lab, "a", SignalKind::Start, "panic").await.is_err(), "it costs the signal only");
    assert_eq!(lab.state("a").await, "okay hard");
}

/// What a run judges that a signal overtook is no longer so.
#[tokio::test(start_paused = true)]
async fn a_signal_overtakes_a_run() {
    let lab = lab(&[("a", 3_600, Answer::Slow)]);
    pass(31_000).await;
    let handle = lab.handle.clone();
    let run = tokio::spawn(async move { handle.run(Name::new("a")).await.unwrap().message.to_string() });
    pass(100).await;
    say(&lab, "a", SignalKind::Success, "meanwhile").await.unwrap();
    assert_eq!(run.await.unwrap(), "last heard \"meanwhile\"");
    assert_eq!(lab.message("a").await, "last heard \"meanwhile\"");
}

#[tokio::test(start_paused = true)]
async fn checks_know_each_other() {
    let lab = lab(&[("group", 10, Answer::LikeWorst), ("a", 10, Answer::State(State::Okay))]);
    pass(11_000).await;
    assert_eq!(lab.state("group").await, "okay hard");
    lab.answer("a", Answer::State(State::Warning));
    pass(60_000).await;
    assert_eq!(lab.state("group").await, "warning hard");
}

/// What was said while the daemon stops is answered once it is on disk, and nothing else is waited for.
#[tokio::test(start_paused = true)]
async fn who_says_something_at_the_end_is_answered() {
    let mut lab = lab(&[("job", 3600, Answer::State(State::Okay))]);
    pass(5_000).await;
    lab.journal.fall_behind();
    let handle = lab.handle.clone();
    let signal = Signal { kind: SignalKind::Success, run: None, output: "done".to_owned(), took: None };
    let said = tokio::spawn(async move { handle.signal(Name::new("job"), signal).await });
    pass(100).await;
    assert!(!said.is_finished(), "it is not on disk");
    let journal = std::sync::Arc::clone(&lab.journal);
    let disk = tokio::spawn(async move {
        pass(100).await;
        journal.catch_up();
    });
    lab.restart().await;
    disk.await.unwrap();
    assert_eq!(&*said.await.unwrap().unwrap().message, "done");
}

/// What is not urgent goes to the store in slices that it can take, and all of it gets there.
#[tokio::test(start_paused = true)]
async fn results_are_stored_in_slices() {
    let names: Vec<String> = (0..1_200).map(|i| format!("check-{i}")).collect();
    let checks: Vec<_> = names.iter().map(|name| (name.as_str(), 5, Answer::State(State::Okay))).collect();
    let lab = lab(&checks);
    pass(30_000).await;
    assert!((400..=500).contains(&*lab.journal.largest.lock().unwrap()), "{:?}", lab.journal.largest);
    let (late, all) = (lab.now() - Duration::from_secs(15), lab.journal.last_checks());
    assert!(all.len() >= 1_200);
    assert_eq!(all.iter().flatten().filter(|last| **last > late).count(), all.len());
}

/// How often a check wants to be run it says by itself: that outlives restarts and failures, and ends when it no longer says so or the
/// configuration has another interval.
#[tokio::test(start_paused = true)]
async fn the_interval_that_a_check_asks_for_outlives_a_restart() {
    let hour = 3_600_000;
    let mut lab = lab(&[("a", 60, Answer::Every(Duration::from_millis(6 * hour)))]);
    pass(2 * 60_000).await;
    assert_eq!(runs(&lab, "a"), 1);
    lab.restart().await;
    pass(hour).await;
    assert_eq!(runs(&lab, "a"), 1);
    lab.kill().await;
    pass(hour).await;
    assert_eq!(runs(&lab, "a"), 1);
    lab.answer("a", Answer::TimesOut);
    lab.handle.run(Name::new("a")).await.unwrap();
    pass(30_000).await;
    assert_eq!(lab.handle.show("a").await.unwrap().interval, Duration::from_millis(6 * hour));
    lab.answer("a", Answer::State(State::Okay));
    lab.handle.run(Name::new("a")).await.unwrap();
    assert_eq!(lab.handle.show("a").await.unwrap().interval, Duration::from_secs(60));
    let before = runs(&lab, "a");
    pass(10 * 60_000 + 1_000).await;
    assert!((before + 9..=before + 11).contains(&runs(&lab, "a")), "{}", runs(&lab, "a") - before);

    lab.answer("a", Answer::Every(Duration::from_millis(6 * hour)));
    pass(2 * 60_000).await;
    let before = runs(&lab, "a");
    lab.restart_with(|configuration| {
        let check = &mut configuration.checks[0];
        check.settings = Arc::new(Settings { interval: Duration::from_secs(30), ..Settings::clone(&check.settings) });
    })
    .await;
    pass(60_000).await;
    assert_eq!(runs(&lab, "a"), before + 1, "it is asked anew");
}
