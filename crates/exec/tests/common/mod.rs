//! What the tests share: programs to run, and a look at what they left.
#![allow(dead_code, reason = "each test file uses another part of this")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail in the files that use all of it")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner as _};
use monchero_exec::{Executor, Options};

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The binary with the hidden subcommands: cargo builds examples beside the tests.
pub(crate) fn helper() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/host");
    assert!(path.exists(), "`{}` is missing: run `cargo build --examples -p monchero-exec`", path.display());
    path
}

pub(crate) fn executor() -> Executor {
    Executor::start(&Options { helper: Some(helper()), scan: false }).unwrap()
}

/// A value of an environment variable that no other run has, by which its processes are found.
pub(crate) fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A shell program with a marker.
pub(crate) fn shell(script: &str, marker: &str, timeout: Duration) -> Program {
    Program {
        env: vec![("EXEC_TEST".into(), marker.into())],
        kill_grace: Duration::from_millis(300),
        ..program(&["/bin/sh", "-c", script], timeout)
    }
}

/// A program of the host. In a container its path may not be what this crate trusts; that is tested elsewhere.
pub(crate) fn program(argv: &[&str], timeout: Duration) -> Program {
    let argv = argv.iter().map(OsString::from).collect();
    Program { allow_insecure_path: true, ..Program::new(argv, timeout) }
}

pub(crate) async fn end(executor: &Executor, program: Program) -> RunEnd {
    executor.run(program).await.unwrap()
}

pub(crate) fn why(result: Result<RunEnd, RunError>) -> String {
    result.expect_err("it must not run").to_string()
}

/// The numbers of all living processes that have the marker.
pub(crate) fn marked(marker: &str) -> Vec<i32> {
    let wanted = format!("EXEC_TEST={marker}");
    pids().filter(|pid| holds(&format!("/proc/{pid}/environ"), &wanted) && state(*pid) != Some('Z')).collect()
}

/// The numbers of all living processes that have this word on their command line.
pub(crate) fn named(word: &str) -> Vec<i32> {
    pids().filter(|pid| holds(&format!("/proc/{pid}/cmdline"), word) && state(*pid) != Some('Z')).collect()
}

fn holds(file: &str, word: &str) -> bool {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
}

pub(crate) fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub(crate) fn state(pid: i32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// Whether a process has ended, though its parent may not have noticed.
pub(crate) fn gone(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

/// The children of this process that nobody has reaped.
pub(crate) fn zombies() -> usize {
    let me = i32::try_from(std::process::id()).unwrap();
    pids().filter(|pid| stat(*pid) == Some(('Z', me))).count()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nothing with the marker is left, now: an answer is given only when that is so.
pub(crate) fn assert_gone(marker: &str) {
    assert_eq!(marked(marker), [] as [i32; 0], "processes are left");
}

pub(crate) fn text(end: &RunEnd) -> String {
    String::from_utf8_lossy(&end.stdout).into_owned()
}

pub(crate) fn ended(end: &RunEnd, status: i32) -> bool {
    end.exit == Exit::Status(status)
}
