//! The process is killed, the disk is full, the disk does not answer.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use monchero_store::{HistoryQuery, Urgency};
use rusqlite::Connection;

/// Names the directory in which this test binary, started again, is to play its part.
const DIRECTORY: &str = "MONCHERO_STORE_TEST_DIRECTORY";

fn child_directory() -> Option<std::path::PathBuf> {
    std::env::var_os(DIRECTORY).map(Into::into)
}

/// This binary again, running one of its tests.
fn again(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(DIRECTORY, directory);
    command
}

/// Writes one batch after the other and says which are on disk, until it is killed. Does nothing when it runs as a test.
#[test]
fn child_that_writes() {
    let Some(directory) = child_directory() else { return };
    let (store, loaded) = open(&directory);
    let mut sequence = loaded.checks.first().map_or(0, |check| check.status.sequence);
    let mut out = std::io::stdout();
    loop {
        sequence += 1;
        for filler in 0..3 {
            store
                .write(vec![metrics("filler", at(i64::try_from(sequence).unwrap()), f64::from(filler))], Urgency::Soon);
        }
        write(&store, vec![transition("a", sequence), stored("a", sequence)]);
        writeln!(out, "written {sequence}").unwrap();
        out.flush().unwrap();
    }
}

/// R26: after a kill at any moment, everything that was acknowledged is there, and batches are whole.
#[test]
#[expect(clippy::disallowed_methods, reason = "a child that is to be killed")]
fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x5eed_0005);
    let mut acknowledged = 0;
    for round in 0..120 {
        let mut child = again("child_that_writes", directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 1 + dice.below(8);
        let mut seen = 0;
        for line in lines {
            if let Some(sequence) = line.unwrap().strip_prefix("written ") {
                acknowledged = sequence.parse().unwrap();
                seen += 1;
            }
            if seen == enough {
                let pause = Instant::now() + Duration::from_micros(dice.below(3_000) as u64);
                while Instant::now() < pause {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
                seen += 1;
            }
        }
        child.wait().unwrap();
        assert!(seen > enough, "round {round}: the child ended by itself");

        let (store, loaded) = open(directory.path());
        assert_eq!(loaded.repairs, Vec::<String>::new(), "round {round}");
        let sequence = loaded.checks[0].status.sequence;
        assert!(sequence >= acknowledged, "round {round}: {acknowledged} was acknowledged, {sequence} is there");
        drop(store);
        let database = Connection::open(directory.path().join("monchero.db")).unwrap();
        let mut bodies = database.prepare("SELECT body FROM events").unwrap();
        let sequence_of = |body: String| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            body["transition"]["sequence"].as_u64().unwrap()
        };
        let bodies = bodies.query_map((), |row| row.get(0)).unwrap();
        let sequences: Vec<u64> = bodies.map(|body| sequence_of(body.unwrap())).collect();
        assert_eq!(
            (sequences.len() as u64, sequences.iter().max()),
            (sequence, Some(&sequence)),
            "round {round}: each transition is there once"
        );
    }
    assert!(acknowledged > 400);
}

/// Runs a test of this binary with a small tmpfs of its own over a directory.
#[expect(clippy::disallowed_methods, reason = "a mount namespace can only be entered by starting a program")]
fn on_a_small_disk(test: &str, size: &str) {
    let directory = tempfile::tempdir().unwrap();
    let space = if rustix::process::getuid().is_root() { "-m" } else { "-Urm" };
    let script = format!("mount -t tmpfs -o size={size} tmpfs \"${DIRECTORY}\" && exec \"$@\"");
    let inner = again(test, directory.path());
    let output = Command::new("unshare")
        .args([space, "sh", "-c", &script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap_or_else(|why| panic!("this test needs `unshare` of util-linux for a small disk of its own: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "a small disk could not be mounted, or the test on it failed:\n{said}");
    assert!(said.contains("played its part"), "the test on the small disk did not run:\n{said}");
}

fn fill_the_disk(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut block = vec![0x5a; 64 * 1024];
    while block.len() > 16 {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn child_on_a_full_disk() {
    let Some(directory) = child_directory() else { return };
    let state = directory.join("state");
    let (store, loaded) = open(&state);
    assert_eq!(loaded.repairs, Vec::<String>::new());
    write(&store, vec![stored("a", 0)]);
    assert!(state.join("monchero.reserve").exists());
    let filler = directory.join("filler");
    fill_the_disk(&filler);

    // Enough to use up whatever the journal has left.
    let mut sequence = 0;
    let deadline = Instant::now() + PATIENCE;
    while store.committed().borrow().trouble.is_none() {
        sequence += 1;
        let ticket = store.write(vec![transition("a", sequence), stored("a", sequence)], Urgency::Now);
        wait(&store, |committed| committed.ticket >= ticket);
        assert!(Instant::now() < deadline, "the disk did not become full");
    }
    assert!(!state.join("monchero.reserve").exists(), "the reserve was given back");
    for _ in 0..50 {
        sequence += 1;
        let began = Instant::now();
        let ticket = store.write(vec![transition("a", sequence), stored("a", sequence)], Urgency::Now);
        store.write(vec![metrics("a", at(0), 1.0)], Urgency::Soon);
        wait(&store, |committed| committed.ticket >= ticket && committed.trouble.is_some());
        assert!(began.elapsed() < Duration::from_secs(2), "the daemon goes on");
    }
    assert!(store.committed().borrow().trouble.as_ref().unwrap().contains("full"), "{:?}", store.committed().borrow());
    drop(store);

    // Still full: it starts, and the transitions are there thanks to the reserve.
    let (store, loaded) = open(&state);
    assert_eq!(loaded.checks[0].status.sequence, sequence, "{:?}", loaded.repairs);
    wait(&store, |committed| committed.trouble.is_some());
    std::fs::remove_file(&filler).unwrap();
    sequence += 1;
    let ticket = store.write(vec![transition("a", sequence), stored("a", sequence)], Urgency::Now);
    wait(&store, |committed| committed.ticket >= ticket && committed.trouble.is_none());
    assert!(store.close());
    drop(store);
    let (store, loaded) = open(&state);
    assert_eq!(loaded.checks[0].status.sequence, sequence);
    let history = store.reader().history(&HistoryQuery { limit: 2_000, ..HistoryQuery::default() }).unwrap();
    assert_eq!(history.len() as u64, sequence.min(2_000), "every transition is there");
    say("played its part");
}

/// R28: a full disk stops nothing, and what happened while it was full is not lost.
#[test]
fn a_full_disk_stops_nothing() {
    if child_directory().is_none() {
        on_a_small_disk("child_on_a_full_disk", "4m");
    }
}

#[test]
fn child_on_a_disk_that_is_full_from_the_start() {
    let Some(directory) = child_directory() else { return };
    let filler = directory.join("filler");
    fill_the_disk(&filler);
    let state = directory.join("state");
    let (store, loaded) = open(&state);
    assert_eq!(loaded.repairs.len(), 1, "{:?}", loaded.repairs);
    let ticket = store.write(vec![transition("a", 1), stored("a", 1)], Urgency::Now);
    wait(&store, |committed| committed.ticket >= ticket && committed.trouble.is_some());
    std::fs::remove_file(&filler).unwrap();
    wait(&store, |committed| committed.ticket >= ticket && committed.trouble.is_none());
    drop(store);
    assert_eq!(open(&state).1.checks.len(), 1);
    say("played its part");
}

#[test]
fn a_disk_that_is_full_from_the_start_stops_nothing() {
    if child_directory().is_none() {
        on_a_small_disk("child_on_a_disk_that_is_full_from_the_start", "512k");
    }
}

/// A disk that does not answer for a while: here somebody else holds the database.
#[test]
fn a_disk_that_does_not_answer_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    write(&store, vec![stored("a", 1)]);
    let other = Connection::open(directory.path().join("monchero.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let ticket = store.write(vec![transition("a", 1), stored("a", 2)], Urgency::Now);
    assert!(began.elapsed() < Duration::from_millis(100), "writing never waits");
    wait(&store, |committed| committed.ticket >= ticket);
    let trouble = store.committed().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("not answered"), "{trouble}");
    let later = store.write(vec![transition("a", 2)], Urgency::Now);
    assert!(store.committed().borrow().ticket >= later, "what comes now does not wait either");
    wait(&store, |committed| committed.trouble.as_ref().is_some_and(|trouble| trouble.contains("another program")));
    other.execute_batch("COMMIT").unwrap();
    wait(&store, |committed| committed.ticket >= later && committed.trouble.is_none());
    drop(store);
    let (store, loaded) = open(directory.path());
    assert_eq!(loaded.checks[0].status.sequence, 2);
    assert_eq!(store.reader().history(&HistoryQuery { limit: 9, ..HistoryQuery::default() }).unwrap().len(), 2);
}

/// R29: a sync that fails is not taken for done: the journal is opened anew and written again. `strace` makes it fail.
#[test]
#[expect(clippy::disallowed_methods, reason = "the sync of this process itself cannot be made to fail")]
fn a_sync_that_fails_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for when in ["5", "8..9", "6..9", "4+11"] {
        let inner = again("child_whose_syncs_fail", directory.path());
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &inject])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap_or_else(|why| panic!("this test needs `strace`: {why}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("played its part"), "{when}:\n{said}");
    }
}

#[test]
fn child_whose_syncs_fail() {
    let Some(directory) = child_directory() else { return };
    let state = directory.join("state");
    let (store, loaded) = open(&state);
    let mut sequence = loaded.checks.first().map_or(0, |check| check.status.sequence);
    for _ in 0..20 {
        sequence += 1;
        let ticket = store.write(vec![transition("a", sequence), stored("a", sequence)], Urgency::Now);
        wait(&store, |committed| committed.ticket >= ticket);
    }
    wait(&store, |committed| committed.trouble.is_none());
    assert!(store.counters().failures > 0, "no sync failed");
    drop(store);
    let (store, loaded) = open(&state);
    assert_eq!(loaded.checks[0].status.sequence, sequence);
    let history = store.reader().history(&HistoryQuery { limit: 2_000, ..HistoryQuery::default() }).unwrap();
    assert_eq!(history.len() as u64, sequence, "every transition is there, once");
    say("played its part");
}
