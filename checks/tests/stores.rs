//! Kinds that ask servers in the servers' own languages: the real ones, and ones that misbehave.

mod common;
#[path = "stores/daemon.rs"]
mod daemon;
#[path = "stores/dns.rs"]
mod dns;
#[path = "stores/ldap.rs"]
mod ldap;
#[path = "stores/mqtt.rs"]
mod mqtt;
#[path = "stores/mysql.rs"]
mod mysql;
#[path = "stores/ping.rs"]
mod ping;
#[path = "stores/postgres.rs"]
mod postgres;
#[path = "stores/redis.rs"]
mod redis;
#[path = "stores/tls.rs"]
mod tls;

use std::path::Path;
use std::time::{Duration, Instant};

use monchero_core::report::ServiceResult;

/// How long a check of a server that behaves may take, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How much later than its deadline a run may end.
const SLACK: Duration = Duration::from_millis(500);

/// Builds and runs a check of this host once, and sees to it that it ends in time.
async fn run(kind: &str, settings: &str, timeout: Duration) -> ServiceResult {
    let check = common::kind(kind).build(&common::yaml(settings), &common::PlainSecrets);
    let check = check.unwrap_or_else(|why| panic!("{why}\n{settings}"));
    let start = Instant::now();
    let context = common::context(Path::new("/"), timeout, &common::NoPrograms);
    let result = common::run_in(&*check, &context).await.result;
    assert!(start.elapsed() < timeout + SLACK, "it took {:?}: {}", start.elapsed(), result.message);
    result
}

/// The value of a metric.
fn value(result: &ServiceResult, label: &str) -> Option<f64> {
    result.metrics.iter().find(|metric| &*metric.label == label)?.value
}
