//! `updates` with the apt of this host, and with a dnf that answers each question otherwise.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{NoPrograms, PlainSecrets};
use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner};
use monchero_core::report::ServiceResult;
use monchero_core::{BoxFuture, Context, State};
use monchero_exec::Executor;

const TIMEOUT: Duration = Duration::from_secs(120);

async fn run(settings: &str, sysroot: &Path, spawner: &dyn Spawner) -> ServiceResult {
    let check = common::kind("updates").build(&common::yaml(settings), &PlainSecrets).unwrap();
    let base = common::context(sysroot, TIMEOUT, &NoPrograms);
    common::run_in(&*check, &Context { spawner, ..base }).await.result
}

fn value(result: &ServiceResult, label: &str) -> Option<f64> {
    result.metrics.iter().find(|metric| &*metric.label == label)?.value
}

#[tokio::test]
async fn apt_of_this_host() {
    let executor = Executor::start(&monchero_exec::Options::default()).unwrap();
    let words = ["/usr/bin/apt-get", "-s", "-o", "Debug::NoLocking=true", "dist-upgrade"].map(Into::into).to_vec();
    let program = Program { max_output: 1024 * 1024, ..Program::new(words, TIMEOUT) };
    let end = executor.run(program).await.unwrap_or_else(|why| panic!("this test needs apt-get: {why}"));
    let text = String::from_utf8(end.stdout).unwrap();
    let count = text.lines().filter(|line| line.starts_with("Inst ")).count();
    let lists = std::fs::read_dir("/var/lib/apt/lists").unwrap();
    let has_lists = lists.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().contains('_'));

    let result = run("{ warning: { list_age: \"> 10000d\" } }", Path::new("/"), &executor).await;
    executor.stop().await;
    if !has_lists {
        assert_eq!(&*result.message, "there are no package lists on this host: run `apt-get update`");
        return;
    }
    assert_eq!(value(&result, "pending"), Some(count as f64), "{}", result.message);
    assert!(value(&result, "security") <= value(&result, "pending"));
    assert!(value(&result, "list_age") >= Some(0.0));
}

/// What dnf says to `check-update`, and to `check-update --security`.
struct Dnf {
    all: (i32, &'static str),
    security: (i32, &'static str),
    stderr: &'static str,
}

impl Spawner for Dnf {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        let words: Vec<String> = program.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let (status, text) = match words.join(" ").as_str() {
            "/usr/bin/dnf -q --cacheonly check-update" => self.all,
            "/usr/bin/dnf -q --cacheonly check-update --security" => self.security,
            other => panic!("`{other}` is not expected"),
        };
        let end = RunEnd {
            exit: Exit::Status(status),
            stdout: text.as_bytes().to_vec(),
            stderr: self.stderr.as_bytes().to_vec(),
            truncated: false,
            leftovers: 0,
            duration: Duration::from_millis(1),
        };
        Box::pin(async move { Ok(end) })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "played"
    }
}

#[tokio::test]
async fn dnf_is_asked_twice_if_there_is_anything() {
    let root = tempfile::tempdir().unwrap();
    for path in ["usr/bin/dnf", "var/cache/libdnf5/fedora-1/repodata/repomd.xml"] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let dnf = Dnf {
        all: (100, "a.noarch 1.0-1 fedora\nb.x86_64 2.0-1 updates\nb.i686 2.0-1 updates\n"),
        security: (100, "b.x86_64 2.0-1 updates\n"),
        stderr: "",
    };
    let result = run("{ warning: { list_age: \"> 10000d\", security: 0 } }", root.path(), &dnf).await;
    assert_eq!((result.state, value(&result, "pending")), (State::Warning, Some(3.0)), "{}", result.message);
    assert!(
        result.message.starts_with("security is 1, above 0 (3 updates, 1 for security (b.x86_64)"),
        "{}",
        result.message
    );
    assert_eq!(&*result.output, "b.x86_64 2.0-1 (security)\na.noarch 1.0-1\nb.i686 2.0-1");

    let none = Dnf { all: (0, ""), security: (1, "must not be asked"), stderr: "" };
    let result = run("{ warning: { list_age: \"> 10000d\" } }", root.path(), &none).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);

    let broken = Dnf {
        all: (1, ""),
        security: (1, ""),
        stderr: "warning\nError: Cache-only enabled but no cache for 'fedora'\n",
    };
    let result = run("{}", root.path(), &broken).await;
    assert_eq!(
        (result.state, &*result.message),
        (
            State::Unknown,
            "`/usr/bin/dnf -q --cacheonly check-update` failed with the exit status 1: Error: Cache-only enabled but no cache for 'fedora'"
        )
    );
}
