//! Scripts as the daemon runs them, by `monchero-exec`: whatever they do, they end, they leave nothing behind, and the next one runs (R48).

mod common;

use std::time::{Duration, Instant};

use common::{context, event, script, wait};
use jiff::tz::TimeZone;
use monchero_core::action::{ActionError, ActionOutcome};
use monchero_exec::{Executor, Options};
use serde_json::json;

/// How long anything may take beyond its timeout and grace (promise 1).
const SLACK: Duration = Duration::from_secs(5);

fn run(text: &str, timeout: Duration) -> Result<ActionOutcome, ActionError> {
    let executor = Executor::start(&Options::default()).expect("an executor");
    let settings = json!({ "run": text, "kill_grace": "200ms", "insecure_permissions": "allow" });
    wait(script(&settings).run(&event(), timeout, &context(&executor, &TimeZone::UTC)))
}

#[test]
fn values_reach_a_script_as_text() {
    let mut poisoned = event();
    poisoned.message = "\"; touch /tmp/canary-4711; $(touch /tmp/canary-4711) '".to_owned();
    let executor = Executor::start(&Options::default()).expect("an executor");
    let action = script(
        &json!({ "run": "printf '%s|%s' {{ message }} \"$MONCHERO_CHECK\"; wc -c", "insecure_permissions": "allow" }),
    );
    let outcome = wait(action.run(&poisoned, SLACK, &context(&executor, &TimeZone::UTC))).expect("it runs");
    let size = serde_json::to_vec(&poisoned).expect("JSON").len();
    assert_eq!(outcome.output, format!("{}|shop{size}\n", poisoned.message));
    assert!(!std::path::Path::new("/tmp/canary-4711").exists());
}

#[test]
fn a_script_that_hangs_is_ended() {
    let begun = Instant::now();
    let outcome =
        run("trap '' TERM; echo begun; while :; do sleep 100; done", Duration::from_millis(300)).expect("it runs");
    assert_eq!((outcome.success, outcome.message.split(';').next()), (false, Some("timed out after 300ms")));
    assert_eq!(outcome.output, "begun\n");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

#[test]
fn what_a_script_leaves_behind_is_ended() {
    let begun = Instant::now();
    let outcome =
        run("(sleep 100 & sleep 100) & setsid sleep 100 & echo done", Duration::from_secs(20)).expect("it runs");
    assert!(outcome.success && outcome.message.contains("left behind"), "{outcome:?}");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

#[test]
fn a_script_that_prints_without_end_is_ended() {
    let outcome = run("yes", Duration::from_secs(20)).expect("it runs");
    assert!(!outcome.success && outcome.message.contains("too much output"), "{}", outcome.message);
    assert!(outcome.output.len() < 100 * 1024, "{}", outcome.output.len());
}

#[test]
fn a_script_that_does_not_read_its_input_is_not_harmed_by_it() {
    let mut long = event();
    long.output = "x".repeat(1024 * 1024);
    let executor = Executor::start(&Options::default()).expect("an executor");
    let action = script(&json!({ "run": "exec <&-; echo ok", "insecure_permissions": "allow" }));
    let outcome = wait(action.run(&long, SLACK, &context(&executor, &TimeZone::UTC))).expect("it runs");
    assert_eq!(outcome.output, "ok\n");
}
