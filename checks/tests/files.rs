//! Kinds that look at files and at this host, from run to run, on what is really there.

mod common;
#[path = "files/directory.rs"]
mod directory;
#[path = "files/file.rs"]
mod file;
#[path = "files/host.rs"]
mod host;
#[path = "files/log.rs"]
mod log;

use std::path::Path;
use std::time::Duration;

use common::{PlainSecrets, context, kind, yaml};
use monchero_core::check::Check;
use monchero_core::{Context, Report, State};

/// A check of a directory, run again and again with what it remembers.
struct Runs {
    root: tempfile::TempDir,
    check: std::sync::Arc<dyn Check>,
    memory: Option<Box<str>>,
    now: jiff::Timestamp,
    timeout: Duration,
}

impl Runs {
    fn new(name: &str, settings: &str) -> Self {
        let check = kind(name).build(&yaml(settings), &PlainSecrets).unwrap_or_else(|why| panic!("{why}\n{settings}"));
        let root = tempfile::tempdir().unwrap();
        Self { root, check, memory: None, now: common::NOW.parse().unwrap(), timeout: Duration::from_secs(10) }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now += jiff::SignedDuration::try_from(time).unwrap();
    }

    async fn run(&mut self) -> Report {
        let root: &Path = self.root.path();
        let context = Context {
            memory: self.memory.as_deref(),
            now: self.now,
            ..context(root, self.timeout, &common::NoPrograms)
        };
        let report = self.check.run(&context).await.unwrap_or_else(|why| panic!("{why}"));
        if report.memory.is_some() {
            self.memory.clone_from(&report.memory);
        }
        report
    }

    /// What a run that is not remembered says in one line.
    async fn message(&self) -> String {
        let context = context(self.root.path(), Duration::from_secs(10), &common::NoPrograms);
        common::run_in(&*self.check, &context).await.result.message.into_string()
    }

    async fn state(&mut self) -> State {
        self.run().await.worst()
    }
}

/// What a report says that is not okay.
fn problems(report: &Report) -> Vec<&str> {
    report.findings.iter().filter(|finding| finding.state.is_problem()).map(|finding| &*finding.text).collect()
}

/// The value of a metric.
fn value(report: &Report, label: &str) -> Option<f64> {
    report.metrics.iter().find(|metric| &*metric.label == label)?.value
}
