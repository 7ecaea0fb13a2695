//! Nothing that a program starts outlives its run (R1 to R4).

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{assert_gone, end, ended, eventually, executor, marked, marker, shell, text, zombies};
use monchero_core::program::{Exit, Program, RunError, Spawner as _};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_with_its_children() {
    let executor = executor();
    for _ in 0..20 {
        let marker = marker();
        let begin = Instant::now();
        let script = r#"trap "" TERM; sleep 600 & sleep 600"#;
        let grace = Duration::from_millis(100);
        let program = Program { kill_grace: grace, ..shell(script, &marker, Duration::from_millis(100)) };
        let run = end(&executor, program).await;
        assert_eq!(run.exit, Exit::TimedOut);
        assert!(begin.elapsed() >= 2 * grace, "kill_grace was not waited for");
        assert!(begin.elapsed() < 2 * SECOND, "took {:?}", begin.elapsed());
        assert_gone(&marker);
    }
    assert_eq!(executor.counts().running, 0);
}

#[tokio::test]
async fn a_program_that_obeys_sigterm_may_say_a_last_word_and_is_not_waited_for() {
    let marker = marker();
    let script = r"trap 'echo bye; kill $!; exit 0' TERM; echo hello; sleep 600 & wait";
    let program = Program { kill_grace: 60 * SECOND, ..shell(script, &marker, Duration::from_millis(200)) };
    let run = end(&executor(), program).await;
    assert_eq!((run.exit.clone(), text(&run).as_str()), (Exit::TimedOut, "hello\nbye\n"));
    assert!(run.duration < 5 * SECOND);
    assert_gone(&marker);
}

#[tokio::test]
async fn children_that_need_time_to_end_get_it_though_their_parent_is_gone() {
    let marker = marker();
    let script =
        r"(trap 'sleep 0.1; echo cleaned up; exit' TERM; while :; do sleep 0.02; done) & trap 'exit' TERM; wait";
    let program = Program { kill_grace: 20 * SECOND, ..shell(script, &marker, Duration::from_millis(200)) };
    let run = end(&executor(), program).await;
    assert_eq!((run.exit.clone(), text(&run).as_str()), (Exit::TimedOut, "cleaned up\n"));
    assert_gone(&marker);
}

#[tokio::test]
async fn a_stopped_program_is_ended_too() {
    let marker = marker();
    let run = end(&executor(), shell("kill -STOP $$", &marker, Duration::from_millis(100))).await;
    assert_eq!(run.exit, Exit::TimedOut);
    assert_gone(&marker);
}

#[tokio::test]
async fn descendants_that_leave_the_group_and_the_session_are_found_at_the_deadline() {
    let executor = executor();
    for _ in 0..5 {
        let marker = marker();
        let script = "setsid sh -c 'sleep 600 & sleep 600' & (setsid setsid sleep 600 &); sleep 600";
        let run = end(&executor, shell(script, &marker, Duration::from_millis(300))).await;
        assert_eq!(run.exit, Exit::TimedOut);
        assert_gone(&marker);
    }
}

#[tokio::test]
async fn descendants_that_leave_the_group_and_the_session_are_found_at_the_end() {
    let executor = executor();
    let marker = marker();
    let script =
        "setsid sh -c 'sleep 600 & sleep 600' >&- 2>&- & (setsid setsid sleep 600 >&- 2>&- &); sleep 0.1; echo done";
    let run = end(&executor, shell(script, &marker, 10 * SECOND)).await;
    assert!(ended(&run, 0), "{run:?}");
    assert!(run.leftovers >= 3, "{run:?}");
    assert_gone(&marker);
    assert_eq!(executor.counts().leftovers, u64::from(run.leftovers));
}

/// Writes a script that others cannot change while it runs.
fn script(directory: &tempfile::TempDir, text: &str) -> String {
    let path = directory.path().join("script");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[tokio::test]
async fn forking_is_not_faster_than_killing() {
    let executor = executor();
    let directory = tempfile::tempdir().unwrap();
    // Each process starts its successor in a session of its own and ends: there is never one that stays to be killed.
    let comet = script(&directory, "#!/bin/sh\ntrap '' TERM\nsetsid \"$0\" &\n");
    for round in 0..30 {
        let marker = marker();
        let crowd = format!(
            "trap '' TERM; {comet} & {comet} & {comet} & i=0; while [ $i -lt 50 ]; do sleep 600 & i=$((i+1)); done; sleep 600"
        );
        let program =
            Program { kill_grace: Duration::from_millis(20), ..shell(&crowd, &marker, Duration::from_millis(150)) };
        let run = end(&executor, program).await;
        assert_eq!(run.exit, Exit::TimedOut, "round {round}");
        assert_gone(&marker);
    }
    assert_eq!(executor.counts().stuck, 0);
    eventually("all are reaped", || zombies() == 0);
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_does_not_delay_the_result() {
    let executor = executor();
    for script in ["(setsid sleep 30 &); echo OK; exit 0", "sleep 30 & echo OK; exit 0"] {
        let marker = marker();
        let run = end(&executor, shell(script, &marker, 10 * SECOND)).await;
        assert!(ended(&run, 0) && text(&run) == "OK\n" && run.leftovers == 1, "{run:?}");
        assert!(run.duration < SECOND, "took {:?}", run.duration);
        assert_gone(&marker);
    }
}

#[tokio::test]
async fn the_last_line_of_a_filter_behind_the_program_is_not_lost() {
    let executor = executor();
    for _ in 0..10 {
        // The shell ends before the filter has written anything.
        let script = "{ sleep 0.05; echo late; } & exit 0";
        let run = end(&executor, shell(script, &marker(), 10 * SECOND)).await;
        assert!(ended(&run, 0) && text(&run) == "late\n", "{run:?}");
        assert!(run.duration < Duration::from_millis(240), "the end of the output ends the wait: {:?}", run.duration);
    }
}

#[tokio::test]
async fn what_may_stay_in_the_background_stays() {
    let executor = executor();
    let marker = marker();
    let script = "(setsid sleep 600 &); sleep 601 & echo OK";
    let program = Program { allow_background: true, ..shell(script, &marker, 10 * SECOND) };
    let run = end(&executor, program).await;
    assert!(ended(&run, 0) && text(&run) == "OK\n" && run.leftovers == 0, "{run:?}");
    assert!(run.duration < SECOND, "took {:?}", run.duration);
    // Other runs do not take them for their own.
    assert_eq!(end(&executor, shell("sleep 0.05", "another", SECOND)).await.leftovers, 0);
    let left = marked(&marker);
    assert_eq!(left.len(), 2);
    for pid in left {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    eventually("they are reaped when they end", || zombies() == 0 && marked(&marker).is_empty());
}

#[tokio::test]
async fn what_may_stay_in_the_background_does_not_outlive_a_timeout() {
    let marker = marker();
    let program = Program { allow_background: true, ..shell("(setsid sleep 600 &); sleep 600", &marker, SECOND / 5) };
    assert_eq!(end(&executor(), program).await.exit, Exit::TimedOut);
    assert_gone(&marker);
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_ended() {
    let executor = executor();
    let marker = marker();
    let script = r#"trap "" TERM; (setsid sleep 600 &); sleep 600"#;
    let run = tokio::time::timeout(Duration::from_millis(200), end(&executor, shell(script, &marker, 600 * SECOND)));
    assert!(run.await.is_err());
    eventually("it is killed", || executor.counts().running == 0);
    assert_gone(&marker);
    assert_eq!(executor.counts().cancelled, 1);
}

#[tokio::test]
async fn stopping_calls_everything_off() {
    let executor = executor();
    let marker = marker();
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let (executor, marker) = (executor.clone(), marker.clone());
            tokio::spawn(async move {
                let script = r#"trap "" TERM; (setsid sleep 600 &); sleep 600"#;
                executor.run(shell(script, &marker, 600 * SECOND)).await
            })
        })
        .collect();
    tokio::task::spawn_blocking({
        let marker = marker.clone();
        move || eventually("all run", || marked(&marker).len() >= 24)
    })
    .await
    .unwrap();
    let begin = Instant::now();
    executor.stop().await;
    assert!(begin.elapsed() < 2 * SECOND, "took {:?}", begin.elapsed());
    assert_gone(&marker);
    for run in runs {
        assert!(matches!(run.await.unwrap(), Err(RunError::Cancelled)));
    }
    assert!(matches!(executor.run(shell("exit 0", &marker, SECOND)).await, Err(RunError::Cancelled)));
    assert_eq!(executor.counts().running, 0);
}

#[tokio::test]
async fn the_last_handle_takes_its_programs_along() {
    let executor = executor();
    let marker = marker();
    let run = end(&executor, shell("sleep 600", &marker, 600 * SECOND));
    assert!(tokio::time::timeout(Duration::from_millis(100), run).await.is_err());
    drop(executor);
    eventually("it is killed", || marked(&marker).is_empty());
}
