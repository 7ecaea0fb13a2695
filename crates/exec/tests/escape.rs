//! A descendant that hides everything by which it could be known. In a file of its own: it is judged by the runs that are alive, so no
//! other executor may be at work in this process.

mod common;

use std::time::Duration;

use common::{end, ended, eventually, marker, named, shell, zombies};
use monchero_core::program::{Exit, Spawner as _};
use monchero_exec::{Executor, Options};

const SECOND: Duration = Duration::from_secs(1);

/// Starts a `sleep` without an environment, in a session of its own, whose parent is gone.
fn escape(length: &str, then: &str) -> String {
    format!("(env -i setsid sleep {length} >/dev/null 2>&1 &); {then}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_without_a_name_ends_with_the_runs_that_may_have_left_it() {
    let executor = Executor::start(&Options::default()).unwrap();
    assert_eq!(executor.containment(), "subreaper");
    check(&executor).await;
    executor.stop().await;
    drop(executor);

    let scanning = Executor::start(&Options { scan: true, ..Options::default() }).unwrap();
    assert_eq!(scanning.containment(), "subreaper (scanning)");
    check(&scanning).await;
}

async fn check(executor: &Executor) {
    // Alone, it can only belong to that run.
    let run = end(executor, shell(&escape("600.11", "sleep 0.1; exit 0"), &marker(), 10 * SECOND)).await;
    assert!(ended(&run, 0) && run.leftovers == 1, "{run:?}");
    assert!(named("600.11").is_empty());

    // At a deadline too.
    let run = end(executor, shell(&escape("600.12", "sleep 600"), &marker(), SECOND / 5)).await;
    assert_eq!(run.exit, Exit::TimedOut);
    assert!(named("600.12").is_empty());

    // Beside another run, it may be that run's, and goes when that one goes.
    let other = {
        let (executor, program) = (executor.clone(), shell("sleep 1.2", &marker(), 10 * SECOND));
        tokio::spawn(async move { end(&executor, program).await })
    };
    let run = end(executor, shell(&escape("600.13", "sleep 0.3; exit 0"), &marker(), 10 * SECOND)).await;
    assert!(ended(&run, 0) && run.leftovers == 0, "{run:?}");
    assert_eq!(named("600.13").len(), 1, "the other run may need it");
    assert_eq!(other.await.unwrap().leftovers, 1);
    assert!(named("600.13").is_empty());
    eventually("all are reaped", || zombies() == 0);
}
