//! Kinds on the host that runs the tests: what the kernel really writes can be read.

use std::path::Path;
use std::time::Duration;

use monchero_core::report::ServiceResult;

use crate::common::{NoPrograms, PlainSecrets, context, kind, run_in, yaml};

async fn run(name: &str, settings: &str) -> ServiceResult {
    let check = kind(name).build(&yaml(settings), &PlainSecrets).unwrap_or_else(|why| panic!("{why}\n{settings}"));
    run_in(&*check, &context(Path::new("/"), Duration::from_secs(20), &NoPrograms)).await.result
}

fn labels(result: &ServiceResult) -> Vec<&str> {
    result.metrics.iter().map(|metric| &*metric.label).collect()
}

#[tokio::test]
async fn mounts_interfaces_and_disks() {
    let disk = run("disk", "{ only: /, warning: { used: \"~:\", inodes: \"~:\" } }").await;
    assert!(labels(&disk).contains(&"/ used"), "{disk:?}");
    let network = run("network", "lo").await;
    assert!(network.message.starts_with("lo: up"), "{network:?}");
    assert!(labels(&network).contains(&"lo in"), "{network:?}");
    // A container may have no disks; then there is nothing to be seen, which is said.
    let diskio = run("diskio", "{}").await;
    assert!(!diskio.metrics.is_empty() || diskio.message.starts_with("there is no disk"), "{diskio:?}");
}
