//! `log`: how long lines alert, and what becomes of them over runs and rotations.

use std::io::Write as _;
use std::time::Duration;

use monchero_core::State;

use crate::{Runs, problems, value};

fn append(runs: &Runs, path: &str, text: &str) {
    let mut file = std::fs::File::options().create(true).append(true).open(runs.path(path)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

const RULES: &str = "match: [{ regex: ERROR, except: harmless, name: errors }, { regex: WARN, state: warning }]";

#[tokio::test]
async fn a_line_alerts_until_its_time_is_over() {
    let mut runs = Runs::new("log", &format!("{{ path: /app.log, {RULES}, hold: 10m }}"));
    append(&runs, "/app.log", "ERROR of yesterday\n");
    assert_eq!(runs.state().await, State::Okay);
    append(&runs, "/app.log", "ERROR harmless\nfine\nWARN: low\nERROR one\nERROR two\n");
    let report = runs.run().await;
    assert_eq!(problems(&report), ["errors: 2 lines, the last one: ERROR two", "WARN: 1 line: WARN: low"]);
    assert_eq!(report.output, "WARN: low\nERROR one\nERROR two");
    assert_eq!((value(&report, "matches"), value(&report, "lines")), (Some(3.0), Some(5.0)));
    assert_eq!((value(&report, "errors matches"), value(&report, "WARN matches")), (Some(2.0), Some(1.0)));
    runs.pass(Duration::from_secs(300));
    append(&runs, "/app.log", "ERROR three\n");
    let report = runs.run().await;
    assert_eq!(problems(&report), ["errors: 3 lines, the last one: ERROR three", "WARN: 1 line 5m ago: WARN: low"]);
    runs.pass(Duration::from_secs(599));
    let report = runs.run().await;
    assert_eq!(problems(&report), ["errors: 3 lines, the last one 9m 59s ago: ERROR three"]);
    assert_eq!(value(&report, "matches"), Some(0.0));
    runs.pass(Duration::from_secs(1));
    let report = runs.run().await;
    assert_eq!((report.worst(), &*report.output), (State::Okay, ""));
}

#[tokio::test]
async fn without_a_hold_a_line_alerts_for_one_run() {
    let mut runs = Runs::new("log", &format!("{{ path: /app.log, {RULES}, hold: 0s }}"));
    append(&runs, "/app.log", "");
    runs.run().await;
    append(&runs, "/app.log", "ERROR\n");
    assert_eq!(runs.state().await, State::Bad);
    assert_eq!(runs.state().await, State::Bad, "no time has passed, so it is the same moment");
    runs.pass(Duration::from_secs(1));
    assert_eq!(runs.state().await, State::Okay);
}

#[tokio::test]
async fn a_rotation_between_runs_loses_nothing() {
    let mut runs = Runs::new("log", &format!("{{ path: /app.log, {RULES}, missing: okay }}"));
    append(&runs, "/app.log", "start\n");
    runs.run().await;
    append(&runs, "/app.log", "ERROR before\n");
    std::fs::rename(runs.path("/app.log"), runs.path("/app.log-20260601")).unwrap();
    assert_eq!(problems(&runs.run().await), ["errors: 1 line: ERROR before"]);
    append(&runs, "/app.log", "ERROR after\n");
    append(&runs, "/app.log-20260601", "ERROR late\n");
    let report = runs.run().await;
    assert_eq!(value(&report, "matches"), Some(2.0));
}

#[tokio::test]
async fn a_flood_is_bounded_and_told() {
    let mut runs = Runs::new("log", &format!("{{ path: /app.log, {RULES}, max_read: 64KiB }}"));
    append(&runs, "/app.log", "");
    runs.run().await;
    append(&runs, "/app.log", &"ERROR and more of it\n".repeat(100_000));
    let report = runs.run().await;
    assert!(problems(&report).iter().any(|text| text.starts_with("skipped is 1.94 MiB, above 0 B")), "{report:?}");
    assert_eq!(report.output.lines().count(), 10);
    assert_eq!(report.worst(), State::Bad);
    append(&runs, "/app.log", "fine\n");
    assert_eq!(value(&runs.run().await, "lines"), Some(1.0));
}

#[tokio::test]
async fn silence_and_hostile_lines() {
    let settings = "{ path: /app.log, start: beginning, match: [{ regex: \"(a+)+$\" }], bad: { silence: \"> 1h\" } }";
    let mut runs = Runs::new("log", settings);
    append(&runs, "/app.log", &format!("\u{1b}[2J\u{202e}aaa\n{}!\n", "a".repeat(1_000_000)));
    let file = std::fs::File::options().append(true).open(runs.path("/app.log")).unwrap();
    file.set_modified(std::time::SystemTime::from(runs.now)).unwrap();
    let report = runs.run().await;
    assert_eq!(report.output.lines().next(), Some("\\e[2J\\u{202e}aaa"));
    runs.pass(Duration::from_secs(7200));
    let report = runs.run().await;
    assert!(problems(&report)[0].starts_with("silence is 2h, above 1h"), "{:?}", problems(&report));
}
