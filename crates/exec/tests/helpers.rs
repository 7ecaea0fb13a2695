//! The guard (R9), and the daemon as the first process of a container (R5). No executor may be at work in this process itself: it would
//! adopt the orphans of the daemons that are killed here.

mod common;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{eventually, helper, marked, marker, named};
use rustix::process::{Pid, Signal, kill_process};

const SECOND: Duration = Duration::from_secs(1);

/// A process that does not outlive its test.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process with an executor that runs these shell commands.
fn host(commands: &[String]) -> Host {
    started(Command::new(helper()).args(commands).stdin(Stdio::null()).process_group(0))
}

#[expect(clippy::disallowed_methods, reason = "a daemon of its own, looked at from outside")]
fn started(command: &mut Command) -> Host {
    Host(command.spawn().unwrap())
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// The guards of a host: its children with that argument.
fn guards(host: &Host) -> Vec<i32> {
    let of_host = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.split(' ').nth(1) == Some(&host.0.id().to_string()))
    };
    named("guard").into_iter().filter(of_host).collect()
}

#[test]
fn a_daemon_that_is_killed_takes_its_programs_along() {
    let marker = marker();
    // The marker is exported by the program itself: what it starts has it.
    let commands: Vec<String> = (0..20)
        .map(|number| match number % 4 {
            0 => format!("export EXEC_TEST={marker}; sleep 600"),
            1 => format!("export EXEC_TEST={marker}; trap '' TERM HUP; setsid sleep 600 & sleep 600"),
            2 => format!("export EXEC_TEST={marker}; (setsid setsid sleep 600 &); sleep 600 | sleep 600"),
            _ => format!("export EXEC_TEST={marker}; setsid sh -c 'env -i sleep 600.77; true'"),
        })
        .collect();
    let mut host = host(&commands);
    eventually("all run", || marked(&marker).len() >= 30 && named("600.77").len() == 5 && guards(&host).len() == 1);
    let guard = guards(&host)[0];
    let called = || std::fs::read_to_string(format!("/proc/{guard}/comm")).unwrap_or_default();
    eventually("people see what it is", || called() == "monchero-guard\n");
    host.0.kill().unwrap();
    host.0.wait().unwrap();
    let begin = std::time::Instant::now();
    eventually("all are gone", || marked(&marker).is_empty() && named("600.77").is_empty());
    assert!(begin.elapsed() < 2 * SECOND, "took {:?}", begin.elapsed());
    eventually("the guard ends", || common::gone(guard));
}

#[test]
fn a_guard_that_dies_is_replaced_and_a_daemon_that_ends_takes_it_along() {
    let marker = marker();
    let mut host = host(&[format!("EXEC_TEST={marker} exec sleep 600")]);
    eventually("it runs", || guards(&host).len() == 1 && !marked(&marker).is_empty());
    let first = guards(&host)[0];
    kill(first);
    eventually("there is another one", || guards(&host).iter().any(|guard| *guard != first));
    assert!(!marked(&marker).is_empty(), "the programs are not touched");
    let second = guards(&host)[0];
    // Ends in an orderly way: its program is gone.
    marked(&marker).into_iter().for_each(kill);
    assert_eq!(host.0.wait().unwrap().code(), Some(1));
    eventually("the guard ends", || common::gone(second));
    assert!(marked(&marker).is_empty());
}

#[test]
fn a_daemon_that_is_the_first_process_reaps_what_it_adopts() {
    // A container in small. Needs the right to make one.
    let marker = marker();
    let script = format!("(setsid setsid sleep 0.2 &); export EXEC_TEST={marker}; sleep 600");
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["-pf", "--mount-proc", "--kill-child"]).arg(helper()).arg(script).stderr(Stdio::null());
    let mut container = started(&mut command);
    eventually("it runs, or may not", || !marked(&marker).is_empty() || container.0.try_wait().unwrap().is_some());
    if container.0.try_wait().unwrap().is_some() {
        return;
    }
    let shell = marked(&marker)[0];
    let parent = |pid: i32| -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok()).unwrap_or_default()
    };
    let mut first = shell;
    while !std::fs::read_to_string(format!("/proc/{first}/status")).unwrap_or_default().lines().any(|line| {
        line.strip_prefix("NSpid:").is_some_and(|numbers| numbers.split_ascii_whitespace().last() == Some("1"))
    }) {
        first = parent(first);
        assert_ne!(first, 0, "the first process of the container is above the program");
    }
    // The `sleep` had become an orphan; nobody waits for a run to end.
    let children = || common::pids().filter(|pid| parent(*pid) == first).count();
    eventually("it has the program and the guard as children, nothing else", || children() == 2);
    drop(container);
    eventually("the container is gone", || marked(&marker).is_empty());
}
