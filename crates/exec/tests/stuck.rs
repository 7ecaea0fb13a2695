//! A program that hangs in the kernel and cannot be killed (R6). Needs root and `/dev/fuse`.

mod common;
#[path = "common/hung.rs"]
mod hung;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use common::{end, ended, eventually, executor, marker, program, shell, text, why, zombies};
use hung::Hung;
use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner as _};
use monchero_exec::Executor;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_in_the_kernel_is_given_up_watched_and_reaped() {
    let mut hung = Hung::needed();
    let executor = executor();
    let marker = marker();
    let script = format!("echo asking; stat {}/x; echo answered", hung.path().display());
    let program =
        Program { kill_grace: Duration::from_millis(100), ..shell(&script, &marker, Duration::from_millis(300)) };
    let asked = {
        let executor = executor.clone();
        tokio::spawn(async move { end(&executor, program).await })
    };
    // Nobody else waits.
    for _ in 0..20 {
        assert!(ended(&end(&executor, shell("exit 0", "other", 10 * SECOND)).await, 0));
    }
    let run = asked.await.unwrap();
    let Exit::Stuck { pid } = run.exit else { panic!("{run:?}") };
    assert_eq!(text(&run), "asking\n");
    assert!(run.duration > 5 * SECOND && run.duration < 7 * SECOND, "took {:?}", run.duration);
    assert_eq!(common::state(pid), Some('D'));
    assert!(executor.still_stuck(pid));
    assert_eq!((executor.counts().stuck, executor.counts().running), (1, 0));
    assert!(ended(&end(&executor, shell("exit 0", "other", 10 * SECOND)).await, 0));

    hung.release();
    eventually("it ends", || !executor.still_stuck(pid));
    eventually("all are reaped", || zombies() == 0);
    assert_eq!(executor.counts().stuck, 0);
    common::assert_gone(&marker);
}

/// Runs a program whose start hangs; others start and end meanwhile.
async fn run_beside_others(executor: &Executor, program: Program) -> Result<RunEnd, RunError> {
    let asked = {
        let executor = executor.clone();
        tokio::spawn(async move { executor.run(program).await })
    };
    for _ in 0..20 {
        let other = timeout(5 * SECOND, end(executor, shell("exit 0", "other", 10 * SECOND))).await;
        assert!(ended(&other.expect("the program that cannot be started delays others"), 0));
    }
    timeout(5 * SECOND, asked).await.expect("the run has a deadline").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_on_a_dead_mount_delays_nobody() {
    let mut hung = Hung::needed();
    let executor = executor();
    let mount = hung.path().display().to_string();
    let said = format!("`{mount}`, where it stands, has not answered");
    let short = SECOND / 5;
    let began = std::time::Instant::now();

    let there = format!("{mount}/check");

    // Nobody waits for it when the daemon stops.
    let stopped = self::executor();
    let late = {
        let (executor, program) = (stopped.clone(), program(&[&there], 60 * SECOND));
        tokio::spawn(async move { executor.run(program).await })
    };
    eventually("it is asked for", || stopped.counts().running == 1);
    timeout(5 * SECOND, stopped.stop()).await.expect("the executor stops");
    late.await.unwrap().unwrap_err();

    let found = why(run_beside_others(&executor, program(&[&there], short)).await);
    assert!(found.contains(&said), "{found}");
    // It is known by now: nobody waits for it again.
    let checked = Program { allow_insecure_path: false, ..program(&[&there], 60 * SECOND) };
    let found = why(run_beside_others(&executor, checked).await);
    assert!(found.contains(&said) || found.contains("refused"), "{found}");

    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("check");
    std::os::unix::fs::symlink(&there, &link).unwrap();
    let found = why(run_beside_others(&executor, program(&[link.to_str().unwrap()], short)).await);
    assert!(found.contains(&said), "a link leads there: {found}");

    // The kernel looks for the interpreter while the start waits.
    let script = links.path().join("script");
    std::fs::write(&script, format!("#!{mount}/sh\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = why(run_beside_others(&executor, program(&[script.to_str().unwrap()], short)).await);
    assert!(found.contains(&said), "{found}");

    let inside = Program { directory: Some(mount.clone().into()), ..shell("echo began", "other", short) };
    let found = why(run_beside_others(&executor, inside).await);
    assert!(found.contains(&said), "{found}");

    assert!(began.elapsed() < 30 * SECOND, "took {:?}", began.elapsed());
    hung.release();
}
