//! The schedule on the real engine: phase, overlap, concurrency, gaps.

use std::sync::Arc;
use std::time::Duration;

use monchero_core::definition::Settings;
use monchero_core::{Policy, State};

use crate::lab::{Answer, CheckSpec, Lab};

fn spec(name: &str, interval: Duration) -> CheckSpec {
    CheckSpec {
        name: name.to_owned(),
        interval,
        retry_interval: interval,
        policy: Policy::default(),
        depends_on: Vec::new(),
        actions: Vec::new(),
    }
}

fn runs(lab: &Lab, check: &str) -> u32 {
    lab.runs.lock().unwrap().get(check).copied().unwrap_or_default()
}

/// R21: the phase does not drift with the time that runs take, and restarts cost no run (R23).
#[tokio::test(start_paused = true)]
async fn intervals_do_not_drift() {
    let mut lab = Lab::new(&[spec("a", Duration::from_secs(1)), spec("rare", Duration::from_secs(3_600))], &[], &[]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!((299..=301).contains(&runs(&lab, "a")), "{}", runs(&lab, "a"));
    assert_eq!(runs(&lab, "rare"), 1);
    for _ in 0..10 {
        lab.restart().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(runs(&lab, "rare"), 1, "a restart is no reason to run");
    assert!((895..=905).contains(&runs(&lab, "a")), "{}", runs(&lab, "a"));
}

/// R8: a run that outlasts its interval is not overtaken; the slots are skipped and counted.
#[tokio::test(start_paused = true)]
async fn runs_do_not_overlap() {
    let lab = Lab::new(&[spec("slow", Duration::from_secs(1))], &[], &[]);
    // It takes its whole timeout of 5 s.
    lab.answer("slow", Answer::TimesOut);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!((9..=12).contains(&runs(&lab, "slow")), "{}", runs(&lab, "slow"));
    let snapshot = lab.handle.snapshot().await.unwrap();
    let row = snapshot.rows.iter().find(|row| row.name.as_str() == "slow").unwrap();
    assert!((40..=55).contains(&row.skipped), "{}", row.skipped);
    assert_eq!(row.status.state, State::Unknown);
    assert!(row.result.message.contains("timed out after 5.0s"), "{}", row.result.message);
}

/// Promise 8: checks that hang to their timeout delay nothing else.
#[tokio::test(start_paused = true)]
async fn hung_checks_delay_nobody() {
    let mut specs: Vec<CheckSpec> = (0..20).map(|i| spec(&format!("hung{i}"), Duration::from_secs(10))).collect();
    specs.push(spec("quick", Duration::from_secs(1)));
    let lab = Lab::new(&specs, &[], &[]);
    for i in 0..20 {
        lab.answer(&format!("hung{i}"), Answer::TimesOut);
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(runs(&lab, "quick") >= 118, "{}", runs(&lab, "quick"));
}

/// R24: when the thread on which checks run hangs, their checks say so, also to who asked for a run, and the engine goes on; when it comes
/// back, they run as ever.
#[tokio::test(start_paused = true)]
async fn runs_whose_thread_hangs_are_given_up() {
    let mut lab = Lab::new(&[spec("a", Duration::from_secs(10))], &[], &[]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    // Nobody drives it.
    let hung = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    lab.restart_on(hung.handle().clone()).await;
    let before = runs(&lab, "a");
    let asked = lab.handle.run("a".into()).await;
    assert!(asked.unwrap().state == State::Unknown);
    let message = lab.message("a").await;
    assert!(message.contains("the thread on which checks run hangs"), "{message}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let snapshot = lab.handle.snapshot().await.unwrap();
    assert!(snapshot.rows[0].skipped >= 3, "slots go by: {}", snapshot.rows[0].skipped);
    assert_eq!(runs(&lab, "a"), before);

    let thread = std::thread::spawn(move || {
        // What was waiting is done, and the thread waits for more.
        hung.block_on(async { tokio::time::sleep(Duration::from_millis(200)).await });
    });
    thread.join().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(runs(&lab, "a"), before + 1, "it ran late, and what it found is no longer so");
}

/// R59: a check that panics is unknown; everything else goes on.
#[tokio::test(start_paused = true)]
async fn a_panic_is_a_result() {
    let lab = Lab::new(&[spec("bomb", Duration::from_secs(1)), spec("calm", Duration::from_secs(1))], &[], &[]);
    lab.answer("bomb", Answer::Panics);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(lab.state("bomb").await, "unknown hard");
    assert_eq!(lab.state("calm").await, "okay hard");
    assert!(runs(&lab, "calm") >= 28);
}

/// R17: what weighs much runs beside few others, and neither waits for ever.
#[tokio::test(start_paused = true)]
async fn heavy_checks_run_one_after_another() {
    let names = ["heavy-a", "heavy-b", "heavy-c"];
    let mut specs: Vec<_> = names.iter().map(|name| spec(name, Duration::from_secs(1))).collect();
    specs.push(spec("light", Duration::from_secs(1)));
    let mut lab = Lab::new(&specs, &[], &[]);
    for name in names {
        lab.answer(name, Answer::Slow);
        // Of 64 places: two of them do not fit side by side, and the last takes all.
        lab.weigh(name, if name == "heavy-c" { 1_000 } else { 40 }).await;
    }
    let before: Vec<u32> = names.iter().map(|name| runs(&lab, name)).collect();
    let light = runs(&lab, "light");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let heavy: Vec<u32> = names.iter().zip(before).map(|(name, before)| runs(&lab, name) - before).collect();
    // Each lasts half a second, so 120 follow each other in a minute; side by side it would be 180.
    assert!((100..=121).contains(&heavy.iter().sum::<u32>()), "{heavy:?}");
    assert!(heavy.iter().all(|count| *count >= 30), "{heavy:?}");
    assert!(runs(&lab, "light") - light >= 30, "{}", runs(&lab, "light") - light);
}

/// R33: a check that crashed the daemon again and again is left out until somebody asks for it; all others run.
#[tokio::test(start_paused = true)]
async fn a_check_that_crashes_the_daemon_is_left_out() {
    let mut lab = Lab::new(&[spec("bomb", Duration::from_secs(1)), spec("calm", Duration::from_secs(1))], &[], &[]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    lab.crash_by("bomb").await;
    let (bombs, calms) = (runs(&lab, "bomb"), runs(&lab, "calm"));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(runs(&lab, "bomb"), bombs);
    assert!(runs(&lab, "calm") >= calms + 3_500);
    assert_eq!(lab.state("bomb").await, "unknown hard");
    let message = lab.message("bomb").await;
    assert!(message.contains("crashed") && message.contains("`monchero run bomb`"), "{message}");
    assert!(lab.message("self/scheduler").await.contains("`bomb` is not run"));

    lab.handle.run(monchero_core::Name::new("bomb")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(runs(&lab, "bomb") >= bombs + 10, "it keeps its schedule again");
    assert_eq!(lab.state("bomb").await, "okay hard");

    lab.crash_by("bomb").await;
    lab.change("bomb", "another").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(lab.state("bomb").await, "okay hard", "another definition is another attempt");
}

/// R16: stopping and starting makes no results, and so no transitions.
#[tokio::test(start_paused = true)]
async fn a_restart_makes_no_transition() {
    let mut lab = Lab::new(&[spec("slow", Duration::from_secs(7)), spec("quick", Duration::from_secs(1))], &[], &[]);
    lab.answer("slow", Answer::State(State::Okay));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = lab.journal.transitions().len();
    lab.answer("slow", Answer::TimesOut);
    for _ in 0..100 {
        lab.restart().await;
        // Shorter than the timeout: each restart finds a run under way and calls it off.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    assert_eq!(lab.journal.transitions().len(), before);
}

/// R19: what came due while the machine slept runs once, spread, and what did not keeps its time.
#[tokio::test(start_paused = true)]
async fn after_a_suspend_what_is_overdue_runs_once_and_soon() {
    let lab = Lab::new(&[spec("daily", Duration::from_hours(24)), spec("weekly", Duration::from_hours(168))], &[], &[]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((runs(&lab, "daily"), runs(&lab, "weekly")), (1, 1));
    lab.suspend(Duration::from_hours(30));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((runs(&lab, "daily"), runs(&lab, "weekly")), (2, 1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((runs(&lab, "daily"), runs(&lab, "weekly")), (2, 1));
    // Of three slots one is made up for, and the others are counted.
    lab.suspend(Duration::from_hours(72));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(runs(&lab, "daily"), 3);
    let snapshot = lab.handle.snapshot().await.unwrap();
    let skipped = |name: &str| snapshot.rows.iter().find(|row| row.name.as_str() == name).unwrap().skipped;
    assert_eq!((skipped("daily"), skipped("weekly")), (2, 0));
}

/// R19: the same after the daemon stood still as a whole.
#[tokio::test(start_paused = true)]
async fn slots_that_passed_while_the_daemon_stood_still_are_counted() {
    let lab = Lab::new(&[spec("a", Duration::from_secs(10))], &[], &[]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = runs(&lab, "a");
    // Nothing else gets its turn while the clock jumps.
    tokio::time::advance(Duration::from_secs(600)).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let snapshot = lab.handle.snapshot().await.unwrap();
    let row = snapshot.rows.iter().find(|row| row.name.as_str() == "a").unwrap();
    assert!((before + 1..=before + 3).contains(&runs(&lab, "a")), "{}", runs(&lab, "a"));
    assert!((58..=60).contains(&row.skipped), "{}", row.skipped);
}

/// Results wait for the next tick at most, however closely starts follow each other.
#[tokio::test(start_paused = true)]
async fn a_result_is_soon_known_while_others_start() {
    let names: Vec<String> = (0..40).map(|number| format!("check-{number}")).collect();
    let specs: Vec<CheckSpec> = names.iter().map(|name| spec(name, Duration::from_secs(1))).collect();
    let lab = Lab::new(&specs, &[], &[]);
    for name in &names {
        lab.answer(name, Answer::Counts);
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    for _ in 0..20 {
        let before: Vec<u32> = names.iter().map(|name| runs(&lab, name)).collect();
        tokio::time::sleep(Duration::from_millis(70)).await;
        for (name, before) in names.iter().zip(before) {
            let message = lab.message(name).await;
            let known: u32 = message.strip_prefix("number ").unwrap().parse().unwrap();
            assert!(known >= before, "of {before} runs of `{name}` the result of number {known} is the last one known");
        }
    }
}

/// Who asks for the sign of life is told what it is, and does not wait for the next one.
#[tokio::test(start_paused = true)]
async fn signs_of_life_are_not_run() {
    let mut lab = Lab::new(&[], &[], &[]);
    lab.configure(|configuration| configuration.alive = true).await;
    let asked = tokio::time::timeout(Duration::from_secs(1), lab.handle.run(monchero_engine::ALIVE.into())).await;
    let why = asked.expect("it is answered at once").unwrap_err().to_string();
    assert!(why.contains("how the last sign of life was taken"), "{why}");
}

/// When nothing starts any more nobody is late by having started late, and `self/scheduler` says so all the same.
#[tokio::test(start_paused = true)]
async fn the_scheduler_is_late_when_nothing_starts() {
    let minute = Duration::from_secs(60);
    let mut lab = Lab::new(&[spec("hangs", minute), spec("hangs-too", minute)], &[], &[]);
    lab.answer("hangs", Answer::Hangs);
    lab.answer("hangs-too", Answer::Hangs);
    lab.configure(|configuration| {
        configuration.concurrency = 1;
        for check in &mut configuration.checks {
            let timeout = Duration::from_secs(3_600);
            check.settings = Arc::new(Settings { timeout, ..Settings::clone(&check.settings) });
            check.fingerprint += 1;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(lab.state("self/scheduler").await, "warning hard", "{}", lab.message("self/scheduler").await);
    assert!(lab.message("self/scheduler").await.starts_with("checks start late: 1 wait"));
}
