//! What the tests share: programs that end with the test, free ports, a check that remembers.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use monchero_core::check::{Check, Context};
use monchero_core::report::{CheckResult, Report, ServiceResult};
use monchero_core::{Name, State};

use crate::common;

/// How long a server may take for what it is asked to do; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is killed when the test ends.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it with an environment of these variables.
    pub(crate) fn start(program: &str, args: &[&str], env: &[(&str, &Path)], log: &Path) -> Self {
        assert!(Path::new(program).exists(), "{program} is missing: it is among the packages of `cargo xtask`");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        #[expect(clippy::disallowed_methods, reason = "a server of the test; it is killed when dropped")]
        Self(command.spawn().unwrap_or_else(|why| panic!("{program}: {why}")))
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Who runs the test: servers that would change to a user of their own stay this one.
pub(crate) fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.get(2) == Some(&uid.as_str())).map_or(uid.clone(), |fields| fields[0].to_owned())
}

/// A port of loopback that nobody uses just now.
pub(crate) fn free_tcp_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A check and what its last run remembered.
pub(crate) struct Remembering {
    check: Arc<dyn Check>,
    memory: Option<Box<str>>,
    start: Instant,
    pub(crate) timeout: Duration,
}

impl Remembering {
    pub(crate) fn new(kind: &str, settings: &str) -> Self {
        let check = common::kind(kind).build(&common::yaml(settings), &common::PlainSecrets);
        let check = check.unwrap_or_else(|why| panic!("{why}\n{settings}"));
        Self { check, memory: None, start: Instant::now(), timeout: Duration::from_secs(10) }
    }

    /// Runs it, with a wall clock that goes on.
    pub(crate) async fn run(&mut self) -> (Option<Report>, ServiceResult) {
        let now = common::NOW.parse::<Timestamp>().unwrap() + self.start.elapsed();
        let context = Context {
            now,
            memory: self.memory.as_deref(),
            ..common::context(Path::new("/"), self.timeout, &common::NoPrograms)
        };
        let answer = self.check.run(&context).await;
        let report = answer.as_ref().ok().cloned();
        let judged = CheckResult::new(Name::new("test"), now, Duration::ZERO, answer, State::Unknown).unwrap().result;
        if let Some(memory) = report.as_ref().and_then(|report| report.memory.clone()) {
            self.memory = Some(memory);
        }
        (report, judged)
    }

    /// Runs it until its result is as wanted; a run takes a moment, and servers take theirs.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&ServiceResult) -> bool) -> ServiceResult {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, result) = self.run().await;
            if wanted(&result) {
                return result;
            }
            assert!(Instant::now() < deadline, "it does not come to this: {what}; the last is {result:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The value of a metric.
pub(crate) fn metric(result: &ServiceResult, label: &str) -> f64 {
    let found = result.metrics.iter().find(|metric| &*metric.label == label);
    found.and_then(|metric| metric.value).unwrap_or_else(|| panic!("there is no `{label}`: {:?}", result.metrics))
}
