//! What programs say and are told (R12, R13).

mod common;

use std::time::Duration;

use common::{assert_gone, end, ended, executor, marker, program, shell, text};
use monchero_core::program::{Exit, MAX_DRAINED, MAX_OUTPUT, MAX_STDERR, Program};

const SECOND: Duration = Duration::from_secs(1);

/// The resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn both_outputs_are_kept_apart_and_byte_for_byte() {
    let executor = executor();
    let run = end(&executor, shell("echo out; echo err >&2", &marker(), 10 * SECOND)).await;
    assert_eq!((run.stdout, run.stderr, run.truncated), (b"out\n".to_vec(), b"err\n".to_vec(), false));
    let run = end(&executor, shell(r"printf '\000\377\n\n\342\202'", &marker(), 10 * SECOND)).await;
    assert_eq!((run.stdout.as_slice(), run.truncated), (&b"\0\xff\n\n\xe2\x82"[..], false));
    let run = end(&executor, shell("exit 0", &marker(), 10 * SECOND)).await;
    assert_eq!((run.stdout, run.stderr, run.truncated), (Vec::new(), Vec::new(), false));
}

#[tokio::test]
async fn output_beyond_the_limit_is_read_and_dropped() {
    let executor = executor();
    let run = end(&executor, shell("head -c 3000000 /dev/zero; echo end >&2", &marker(), 20 * SECOND)).await;
    assert!(ended(&run, 0) && run.truncated, "{:?}", run.exit);
    assert_eq!((run.stdout.len(), run.stderr.as_slice()), (MAX_OUTPUT, &b"end\n"[..]));
    let run = end(&executor, shell("head -c 100000 /dev/zero >&2", &marker(), 20 * SECOND)).await;
    assert!(ended(&run, 0) && run.truncated && run.stdout.is_empty());
    assert_eq!(run.stderr.len(), MAX_STDERR);
    let short = Program { max_output: 4, ..program(&["/bin/echo", "abcüd"], 20 * SECOND) };
    let run = end(&executor, short).await;
    assert!(ended(&run, 0) && run.truncated);
    assert_eq!(text(&run), "abc", "a character is not cut in two");
}

#[tokio::test]
async fn exactly_as_much_as_a_pipe_holds_needs_no_special_luck() {
    let executor = executor();
    for size in [65_535, 65_536, 65_537, 131_072] {
        let run = end(&executor, shell(&format!("head -c {size} /dev/zero"), &marker(), 20 * SECOND)).await;
        assert!(ended(&run, 0), "{:?}", run.exit);
        assert_eq!((run.stdout.len(), run.truncated), (size.min(MAX_OUTPUT), size > MAX_OUTPUT));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_output_is_ended_and_costs_no_memory() {
    let executor = executor();
    let marker = marker();
    // Warm up: allocator, buffers, event loop.
    end(&executor, shell("head -c 1000000 /dev/zero", &marker, 20 * SECOND)).await;
    let before = resident();
    let mut runs = Vec::new();
    for _ in 0..4 {
        for script in ["exec yes", "exec cat /dev/zero", "exec head -c 64M /dev/urandom", "yes >&2"] {
            let (executor, program) = (executor.clone(), shell(script, &marker, 60 * SECOND));
            runs.push(tokio::spawn(async move { end(&executor, program).await }));
        }
    }
    // Others are served meanwhile.
    let quick = end(&executor, shell("echo quick", &marker, 20 * SECOND)).await;
    assert!(ended(&quick, 0) && text(&quick) == "quick\n");
    let mut ends = Vec::new();
    for run in runs {
        ends.push(run.await.unwrap());
    }
    let grown = resident().saturating_sub(before);
    for run in &ends {
        assert_eq!(run.exit, Exit::TooMuchOutput);
        assert!(run.truncated && run.stdout.len() <= MAX_OUTPUT && run.stderr.len() <= MAX_STDERR);
    }
    assert!(grown < 8 << 20, "grew by {grown} bytes over {} runs of {MAX_DRAINED} bytes each", ends.len());
    assert_gone(&marker);
}

#[tokio::test]
async fn a_program_reads_what_it_is_told() {
    let executor = executor();
    for size in [0, 1, 65_536, 1_000_000] {
        let told = vec![b'x'; size];
        let program = Program { stdin: Some(told), ..shell("wc -c", &marker(), 20 * SECOND) };
        let run = end(&executor, program).await;
        assert!(ended(&run, 0));
        assert_eq!(text(&run).trim(), size.to_string());
    }
}

#[tokio::test]
async fn a_program_that_does_not_listen_ends_all_the_same() {
    let executor = executor();
    for script in ["echo deaf", "exec <&-; sleep 0.1; echo deaf", "sleep 0.1; head -c 10 >/dev/null; echo deaf"] {
        let program = Program { stdin: Some(vec![b'x'; 4 << 20]), ..shell(script, &marker(), 20 * SECOND) };
        let run = end(&executor, program).await;
        assert!(ended(&run, 0) && text(&run) == "deaf\n", "{script}: {run:?}");
        assert!(run.duration < 5 * SECOND);
    }
    let marker = marker();
    let program = Program { stdin: Some(vec![b'x'; 4 << 20]), ..shell("sleep 600", &marker, SECOND / 5) };
    assert_eq!(end(&executor, program).await.exit, Exit::TimedOut);
    assert_gone(&marker);
}
