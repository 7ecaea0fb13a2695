//! How programs end, and with what they begin (R10, R11, R16, R61, R64).

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{end, ended, executor, helper, marker, program, shell, text, why};
use monchero_core::program::{Exit, Program, RunError, Spawner as _};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn every_exit_status_and_every_fatal_signal_is_told() {
    let executor = executor();
    for status in 0..=255 {
        let run = end(&executor, program(&["/bin/sh", "-c", &format!("exit {status}")], 10 * SECOND)).await;
        assert_eq!(run.exit, Exit::Status(status));
    }
    for signal in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 31] {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 5");
        let run = end(&executor, program(&["/bin/sh", "-c", &script], 10 * SECOND)).await;
        assert_eq!(run.exit, Exit::Signal(signal));
    }
}

fn file(directory: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_what_to_do() {
    let executor = executor();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &[u8], mode| file(directory.path(), name, text, mode);
    let cases = [
        (directory.path().join("missing"), "does not exist"),
        (at("plain", b"#!/bin/sh\n", 0o644), "it is not executable; `chmod +x "),
        (at("python", b"#! /usr/bin/no-such-python -u\n", 0o755), "its interpreter `/usr/bin/no-such-python`"),
        (at("windows", b"#!/bin/sh\r\nexit 0\r\n", 0o755), "carriage return"),
        (at("text", b"exit 0\n", 0o755), "whose first line begins with `#!`"),
        (directory.path().to_owned(), "is a directory"),
        ("no-such-plugin".into(), "there is no `no-such-plugin` in /usr/local/sbin:"),
        ("plugins/check".into(), "is a relative path"),
        ("".into(), "no program is named"),
    ];
    for (path, part) in cases {
        let result = executor.run(program(&[path.to_str().unwrap()], SECOND)).await;
        assert!(matches!(result, Err(RunError::Start { .. })), "{result:?}");
        let text = why(result);
        assert!(text.contains(part), "{text}");
        assert!(text.starts_with("cannot start `"), "{text}");
    }
    let elsewhere = Program { directory: Some("/no/such/place".into()), ..program(&["/bin/true"], SECOND) };
    assert!(why(executor.run(elsewhere).await).contains("working directory `/no/such/place` does not exist"));
    assert!(why(executor.run(program(&["/bin/echo", "a\0b"], SECOND)).await).contains("NUL"));
    let long = "x".repeat(4 << 20);
    assert!(why(executor.run(program(&["/bin/echo", &long], SECOND)).await).contains("too long"));
    assert_eq!(executor.counts().running, 0);
}

#[tokio::test]
async fn a_program_that_is_being_written_is_tried_again() {
    let executor = executor();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("true");
    std::fs::copy("/bin/true", &path).unwrap();
    let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let busy = executor.run(program(&[path.to_str().unwrap()], SECOND)).await;
    assert!(why(busy).contains("somebody is writing to it"));
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(60));
        drop(writer);
    });
    assert!(ended(&end(&executor, program(&[path.to_str().unwrap()], SECOND)).await, 0));
    later.join().unwrap();
}

#[tokio::test]
async fn the_environment_is_exactly_what_the_definition_says() {
    let executor = executor();
    let own = Program {
        env: vec![("LD_DEBUG_OUTPUT".into(), "listed".into()), ("LANG".into(), "C".into()), ("X".into(), "a b".into())],
        ..program(&["/usr/bin/env"], 10 * SECOND)
    };
    for (program, more) in [(program(&["env"], 10 * SECOND), &[][..]), (own, &["LD_DEBUG_OUTPUT=listed", "X=a b"])] {
        let lang = if more.is_empty() { "LANG=C.UTF-8" } else { "LANG=C" };
        let run = end(&executor, program).await;
        let text = text(&run);
        let mut found: BTreeSet<&str> = text.lines().collect();
        let mark = *found.iter().find(|line| line.starts_with("MONCHERO_RUN=")).expect("the mark");
        assert!(found.remove(mark));
        let home = found.iter().find(|line| line.starts_with("HOME=/")).copied().expect("a home directory");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let expected: BTreeSet<&str> = more.iter().copied().chain([lang, home, path]).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_program_has_three_descriptors_and_no_signal_is_blocked_or_ignored() {
    // What cargo or a terminal left open in this process is not our doing.
    let inherited = |number: &str| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_some_and(|flags| flags & 0o2_000_000 == 0)
    };
    let run = end(&executor(), program(&["/bin/ls", "-l", "/proc/self/fd"], 10 * SECOND)).await;
    let text = text(&run);
    let open: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' ')?.0.rsplit_once(' ')?.0.rsplit_once(' ').map(|(_, n)| (n, line)))
        .collect();
    assert!(open.len() >= 4, "{text}");
    for (number, line) in &open {
        let directory = line.ends_with("/fd");
        assert!(["0", "1", "2"].contains(number) || directory || inherited(number), "{line}");
    }
    assert!(open.iter().any(|(number, line)| *number == "0" && line.ends_with("/dev/null")), "{text}");
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ps -o pgid= -p $$; echo $$; pwd";
    let run = end(&executor(), shell(script, &marker(), 10 * SECOND)).await;
    let text = common::text(&run);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    let ignored = u64::from_str_radix(lines[1].trim_start_matches("SigIgn:").trim(), 16).unwrap();
    // 32 and 33 are the C library's own: it ignores them in what it spawns.
    assert_eq!(ignored & !(1 << 31 | 1 << 32), 0, "{}", lines[1]);
    assert_eq!(lines[2], lines[3], "it leads a group of its own");
    assert_eq!(lines[4], "/");
}

#[tokio::test]
async fn a_program_that_asks_gets_no_answer_and_does_not_wait() {
    let run = end(&executor(), shell("read x; echo \"got $?\"; exit 2", &marker(), 10 * SECOND)).await;
    assert!(ended(&run, 2) && text(&run) == "got 1\n", "{run:?}");
    assert!(run.duration < SECOND / 2);
}

#[tokio::test]
async fn the_working_directory_and_the_arguments_arrive_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let odd = "$(id) `id` ; | \\ \" ' \n ü \u{1b}[2J";
    let program = Program {
        directory: Some(directory.path().to_owned()),
        ..program(&["/bin/sh", "-c", r#"pwd; printf %s "$1""#, "sh", odd], 10 * SECOND)
    };
    let run = end(&executor(), program).await;
    let here = directory.path().canonicalize().unwrap();
    assert_eq!(text(&run), format!("{}\n{odd}", here.display()));
}

#[tokio::test]
async fn a_program_that_takes_a_while_is_the_first_to_go_when_memory_runs_out() {
    // A child that is older than the change is told too.
    let script = "sh -c 'sleep 0.6; cat /proc/self/oom_score_adj' & sleep 0.3; cat /proc/$$/oom_score_adj; wait";
    let run = end(&executor(), shell(script, &marker(), 10 * SECOND)).await;
    assert_eq!(text(&run), "500\n500\n");
}

#[tokio::test]
async fn no_time_at_all_is_a_timeout_and_a_lot_of_time_is_no_error() {
    let executor = executor();
    let marker = marker();
    let run = end(&executor, shell("sleep 600", &marker, Duration::ZERO)).await;
    assert_eq!(run.exit, Exit::TimedOut);
    common::assert_gone(&marker);
    let patient = Program { kill_grace: Duration::MAX, ..shell("exit 0", &marker, Duration::MAX) };
    assert!(ended(&end(&executor, patient).await, 0));
}

#[test]
fn the_posix_spawn_path_is_taken() {
    // A fork copies the page tables of a large daemon: 150 times as slow. Only strace can tell the difference from outside.
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        return;
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test that looks at the executor from outside")]
    let status = std::process::Command::new(strace)
        .args(["-f", "-qq", "-e", "trace=clone,clone3,fork,vfork", "-o"])
        .arg(trace.path())
        .arg(helper())
        .arg("exec true")
        .status()
        .unwrap();
    if !status.success() {
        // Tracing is forbidden in some containers.
        return;
    }
    let text = std::fs::read_to_string(trace.path()).unwrap();
    let starts: Vec<&str> =
        text.lines().filter(|line| line.contains("clone") && !line.contains("CLONE_THREAD")).collect();
    assert!(!starts.is_empty(), "{text}");
    for line in starts.iter().filter(|line| !line.contains("resumed")) {
        assert!(line.contains("CLONE_VM|CLONE_VFORK") || line.contains("vfork"), "{line}");
    }
}
