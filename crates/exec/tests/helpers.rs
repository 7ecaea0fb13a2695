//! The guard (R9), other users, and the daemon as the first process of a container (R5).

mod common;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{end, ended, eventually, executor, helper, marked, marker, named, program, shell, text, why};
use monchero_core::program::{Program, Spawner as _};
use rustix::process::{Pid, Signal, geteuid, kill_process};

const SECOND: Duration = Duration::from_secs(1);

/// A process with an executor that runs these shell commands.
#[expect(clippy::disallowed_methods, reason = "a daemon of its own, to be killed; each test waits for it")]
fn host(commands: &[String], marker: &str) -> Child {
    Command::new(helper()).args(commands).env("EXEC_HOST", marker).stdin(Stdio::null()).process_group(0).spawn().unwrap()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// The guards of a host: its children with that argument.
fn guards(host: &Child) -> Vec<i32> {
    let of_host = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.split(' ').nth(1) == Some(&host.id().to_string()))
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
    let mut host = host(&commands, &marker);
    eventually("all run", || marked(&marker).len() >= 30 && named("600.77").len() == 5 && guards(&host).len() == 1);
    let guard = guards(&host)[0];
    host.kill().unwrap();
    host.wait().unwrap();
    let begin = std::time::Instant::now();
    eventually("all are gone", || marked(&marker).is_empty() && named("600.77").is_empty());
    assert!(begin.elapsed() < 2 * SECOND, "took {:?}", begin.elapsed());
    eventually("the guard ends", || common::state(guard).is_none());
}

#[test]
fn a_guard_that_dies_is_replaced_and_a_daemon_that_ends_takes_it_along() {
    let marker = marker();
    let mut host = host(&[format!("export EXEC_TEST={marker}; while [ ! -e /proc/$PPID/cwd/nowhere ]; do sleep 0.05; done")], &marker);
    eventually("it runs", || guards(&host).len() == 1 && !marked(&marker).is_empty());
    let first = guards(&host)[0];
    kill(first);
    eventually("there is another one", || guards(&host).iter().any(|guard| *guard != first));
    assert!(!marked(&marker).is_empty(), "the programs are not touched");
    let second = guards(&host)[0];
    // Ends in an orderly way: its program is gone.
    marked(&marker).into_iter().for_each(|pid| drop(kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL)));
    assert_eq!(host.wait().unwrap().code(), Some(1));
    eventually("the guard ends", || common::state(second).is_none());
    assert!(marked(&marker).is_empty());
}

#[test]
fn a_daemon_that_is_the_first_process_reaps_what_it_adopts() {
    // A container in small. Needs the right to make one.
    let marker = marker();
    let script = format!("(setsid setsid sleep 0.2 &); export EXEC_TEST={marker}; sleep 600");
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["-pf", "--mount-proc", "--kill-child"]).arg(helper()).arg(script).stderr(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "a container of its own; killed and waited for below")]
    let Ok(mut container) = command.spawn() else { return };
    eventually("it runs, or may not", || !marked(&marker).is_empty() || container.try_wait().unwrap().is_some());
    if container.try_wait().unwrap().is_some() {
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
    container.kill().unwrap();
    container.wait().unwrap();
    eventually("the container is gone", || marked(&marker).is_empty());
}

#[tokio::test]
async fn a_program_runs_as_another_user_with_that_users_groups_and_nothing_of_ours() {
    if !geteuid().is_root() {
        return;
    }
    let executor = executor();
    let script = "id -un; id -u; id -G; echo $HOME; grep -E '^(Uid|Gid|SigIgn|CapEff)' /proc/self/status; ls /proc/self/fd | wc -l";
    let marker = marker();
    let as_user = |name: &str, script: &str| Program { run_as: Some(name.into()), ..shell(script, &marker, 10 * SECOND) };
    let run = end(&executor, as_user("nobody", script)).await;
    assert!(ended(&run, 0), "{run:?}");
    let text = text(&run);
    let lines: Vec<&str> = text.lines().collect();
    let (uid, gid) = (lines[1], lines[2]);
    assert_eq!((lines[0], lines[3]), ("nobody", "/nonexistent"));
    assert_ne!(uid, "0");
    assert!(!gid.split(' ').any(|group| group == "0"), "no group of root is left: {gid}");
    assert_eq!(lines[4], format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(lines[5], format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}"));
    assert!(lines[6].ends_with(&"0".repeat(16)) && lines[7].ends_with(&"0".repeat(16)), "{text}");

    // It is ended like any other, with what it started.
    let escaped = as_user("nobody", "trap '' TERM; (setsid sleep 600 &); sleep 600");
    let run = end(&executor, Program { timeout: SECOND / 5, ..escaped }).await;
    assert_eq!(run.exit, monchero_core::program::Exit::TimedOut);
    common::assert_gone(&marker);

    // To root is no change.
    assert_eq!(common::text(&end(&executor, as_user("root", "id -un")).await), "root\n");
    assert!(why(executor.run(as_user("no-such-user", "id")).await).contains("no user `no-such-user` in /etc/passwd"));
    let run = end(&executor, Program { argv: vec!["/etc/passwd".into()], ..as_user("nobody", "") }).await;
    assert!(ended(&run, 126), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stderr).contains("cannot execute `/etc/passwd` as user `nobody`"), "{run:?}");
}

#[test]
fn only_root_can_run_programs_as_others() {
    if !geteuid().is_root() || !std::path::Path::new("/usr/bin/setpriv").exists() {
        return;
    }
    // The helper itself, as an ordinary user.
    #[expect(clippy::disallowed_methods, reason = "the hidden subcommand from outside")]
    let output = Command::new("/usr/bin/setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c", "exec \"$0\" exec-as root -- /usr/bin/id"])
        .arg("/proc/self/exe")
        .output()
        .unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let _ = program(&["/bin/true"], SECOND);
}
