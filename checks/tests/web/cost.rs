//! What a run costs, beside the plugin that does the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use monchero_core::State;

use crate::nginx::Nginx;
use crate::{TIMEOUT, common};

const RUNS: u32 = 300;

/// The time on the processor of this process, and of those that it has waited for.
fn used() -> (Duration, Duration) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(')').unwrap().1.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // proc(5): utime and stime, cutime and cstime, in hundredths of a second.
    let time = |first: usize| Duration::from_millis(10 * (fields[first] + fields[first + 1]));
    (time(10), time(12))
}

/// Budget: a quarter of the plugin, when optimised: `cargo test --release -p monchero-checks --test web cost -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures, and other work on the machine disturbs it"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
#[expect(clippy::disallowed_methods, reason = "the plugin is measured as a bare program")]
async fn cost_of_a_run() {
    let nginx = Nginx::start();
    for (port, scheme) in [(nginx.plain, "http"), (nginx.good, "https")] {
        let settings = format!("url: \"{scheme}://127.0.0.1:{port}/\"\ntls: {{ {} }}", nginx.trust());
        let check = common::kind("http").build(&common::yaml(&settings), &common::PlainSecrets).unwrap();
        let before = used().0;
        for _ in 0..RUNS {
            let context = common::context(Path::new("/"), TIMEOUT, &common::NoPrograms);
            let result = common::run_in(&*check, &context).await.result;
            assert_eq!(result.state, State::Okay, "{}", result.message);
        }
        let ours = used().0.saturating_sub(before);
        let before = used().1;
        for _ in 0..RUNS {
            let mut plugin = Command::new("/usr/lib/nagios/plugins/check_http");
            plugin.args(["-I", "127.0.0.1", "-p", &port.to_string()]);
            if scheme == "https" {
                // It verifies nothing, which we do.
                plugin.arg("-S");
            }
            let output = plugin.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        let theirs = used().1.saturating_sub(before);
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        eprintln!("{scheme}: {:?} a run, check_http {:?}: {ratio:.1} times as much", ours / RUNS, theirs / RUNS);
        assert!(cfg!(debug_assertions) || ratio >= 4.0, "more than a quarter of the plugin");
    }
}
