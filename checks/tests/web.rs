//! `http`, `tls`, `smtp`, `imap` and `ssh` against the servers that people run.

mod common;
#[path = "web/cost.rs"]
mod cost;
#[path = "web/http.rs"]
mod http;
#[path = "web/mail.rs"]
mod mail;
#[path = "web/nginx.rs"]
mod nginx;
#[path = "web/pki.rs"]
mod pki;
#[path = "web/process.rs"]
mod process;
#[path = "web/proxy.rs"]
mod proxy;
#[path = "web/ssh.rs"]
mod ssh;
#[path = "web/tls.rs"]
mod tls;

use std::path::Path;
use std::time::Duration;

use monchero_core::report::ServiceResult;

/// How long a run may take; nothing here is meant to need it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Builds and runs a check of this host once.
async fn run(kind: &str, settings: &str) -> ServiceResult {
    let check = common::kind(kind).build(&common::yaml(settings), &common::PlainSecrets);
    let check = check.unwrap_or_else(|why| panic!("{why}\n{settings}"));
    common::run_in(&*check, &common::context(Path::new("/"), TIMEOUT, &common::NoPrograms)).await.result
}

/// The value of a metric.
fn value(result: &ServiceResult, label: &str) -> Option<f64> {
    result.metrics.iter().find(|metric| &*metric.label == label)?.value
}
