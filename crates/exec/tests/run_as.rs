//! Programs as other users.

mod common;

use std::process::Command;
use std::time::Duration;

use common::{end, ended, executor, shell, text, why};
use monchero_core::program::{Exit, Program, Spawner as _};
use rustix::process::geteuid;

const SECOND: Duration = Duration::from_secs(1);

fn needs_root() {
    assert!(geteuid().is_root(), "only root can become somebody else: run this test as root");
}

#[tokio::test]
async fn a_program_runs_as_another_user_with_that_users_groups_and_nothing_of_ours() {
    needs_root();
    let executor = executor();
    let script = "id -un; id -u; id -G; echo $HOME; grep -E '^(Uid|Gid|CapEff)' /proc/self/status";
    let marker = common::marker();
    let as_user =
        |name: &str, script: &str| Program { run_as: Some(name.into()), ..shell(script, &marker, 10 * SECOND) };
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
    assert_eq!(lines[6], "CapEff:\t0000000000000000");

    // It is ended like any other, with what it started.
    let escaped = as_user("nobody", "trap '' TERM; (setsid sleep 600 &); sleep 600");
    let run = end(&executor, Program { timeout: SECOND / 5, ..escaped }).await;
    assert_eq!(run.exit, Exit::TimedOut);
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
    needs_root();
    // The helper itself, as an ordinary user.
    #[expect(clippy::disallowed_methods, reason = "the hidden subcommand from outside")]
    let output = Command::new("/usr/bin/setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/bin/sh",
            "-c",
            "exec \"$0\" exec-as root -- /usr/bin/id",
        ])
        .arg("/proc/self/exe")
        .output()
        .expect("this test needs `setpriv` (of util-linux)");
    assert!(!output.status.success() && output.stdout.is_empty());
}
