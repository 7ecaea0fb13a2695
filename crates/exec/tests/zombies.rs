//! Every program is reaped (R5). In a file of its own: it counts the children of this process.

mod common;

use std::time::Duration;

use common::{assert_gone, end, eventually, executor, marker, shell, zombies};
use monchero_core::program::Exit;
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_runs_leave_no_zombie() {
    const AT_ONCE: usize = 16;
    let executor = executor();
    let marker = marker();
    let mut runs = JoinSet::new();
    let mut most = 0;
    for number in 0..2000 {
        let (script, timeout, exit) = match number % 20 {
            0 | 1 => ("sleep 600", Duration::from_millis(30), Exit::TimedOut),
            2 => ("kill -SEGV $$", 30 * SECOND, Exit::Signal(11)),
            3 => ("kill -KILL $$", 30 * SECOND, Exit::Signal(9)),
            4 => ("setsid sleep 600 >/dev/null 2>&1 & exit 3", 30 * SECOND, Exit::Status(3)),
            _ => ("exit 1", 30 * SECOND, Exit::Status(1)),
        };
        let program = shell(script, &marker, timeout);
        let executor = executor.clone();
        runs.spawn(async move { assert_eq!(end(&executor, program).await.exit, exit, "{script}") });
        if runs.len() == AT_ONCE {
            runs.join_next().await.unwrap().unwrap();
        }
        if number % 50 == 0 {
            most = most.max(zombies());
        }
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
    // A leader is reaped last, so each run can have one; and orphans that were just killed.
    assert!(most <= 3 * AT_ONCE, "{most} zombies at once");
    eventually("no zombie is left", || zombies() == 0);
    assert_gone(&marker);
    let counts = executor.counts();
    assert_eq!((counts.runs, counts.running, counts.stuck), (2000, 0, 0));
    assert_eq!(counts.cancelled, 0);
}
