//! Kinds against a hostile world: servers that misbehave, certificates that are wrong, a mount that never answers.

mod common;
#[path = "world/hang.rs"]
mod hang;
#[path = "world/hostile.rs"]
mod hostile;
#[path = "world/server.rs"]
mod server;
#[path = "world/starttls.rs"]
mod starttls;
#[path = "world/tls.rs"]
mod tls;
#[path = "world/udp.rs"]
mod udp;

use std::path::Path;
use std::time::{Duration, Instant};

use monchero_core::report::ServiceResult;

/// How much later than its deadline a run may end.
const SLACK: Duration = Duration::from_millis(500);

/// Builds and runs a check of this host once, and sees to it that it ends in time.
async fn run(kind: &str, settings: &str, timeout: Duration) -> ServiceResult {
    let check = common::kind(kind).build(&common::yaml(settings), &common::PlainSecrets);
    let check = check.unwrap_or_else(|why| panic!("{why}\n{settings}"));
    let start = Instant::now();
    let result = common::run_in(&*check, &common::context(Path::new("/"), timeout, &common::NoPrograms)).await.result;
    assert!(start.elapsed() < timeout + SLACK, "it took {:?}: {}", start.elapsed(), result.message);
    result
}

/// The value of a metric.
fn value(result: &ServiceResult, label: &str) -> Option<f64> {
    result.metrics.iter().find(|metric| &*metric.label == label)?.value
}
