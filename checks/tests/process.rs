//! `process` and `cpu` against the real `/proc`, and against one whose files hang.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{NoPrograms, PlainSecrets};
use monchero_core::State;
use monchero_core::report::ServiceResult;

async fn run(settings: &str, sysroot: &Path) -> ServiceResult {
    run_kind("process", settings, sysroot).await
}

async fn run_kind(kind: &str, settings: &str, sysroot: &Path) -> ServiceResult {
    let check = common::kind(kind).build(&common::yaml(settings), &PlainSecrets).unwrap();
    let context = common::context(sysroot, Duration::from_secs(10), &NoPrograms);
    common::run_in(&*check, &context).await.result
}

fn value(result: &ServiceResult, label: &str) -> f64 {
    let metric = result.metrics.iter().find(|metric| &*metric.label == label);
    metric.and_then(|metric| metric.value).unwrap_or_else(|| panic!("no `{label}` in {result:?}"))
}

/// Settings that mean this very process.
fn this(rest: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, std::process::id().to_string()).unwrap();
    let settings = format!("{{ pid_file: {}, {rest} }}", file.path().display());
    (file, settings)
}

#[tokio::test]
async fn this_process_is_found_with_all_that_it_has() {
    let (_file, settings) = this("name: process-*, warning: { total_descriptors: \"< 3\", exe: \"!*/process-*\" }");
    let result = run(&settings, Path::new("/")).await;
    assert_eq!((result.state, value(&result, "count")), (State::Okay, 1.0), "{result:?}");
    assert!(value(&result, "total_rss") > 1e6 && value(&result, "total_rss") < 1e10, "{result:?}");
    assert!(value(&result, "total_threads") >= 2.0 && value(&result, "oldest") < 3600.0, "{result:?}");
}

#[tokio::test]
async fn busy_processes_use_cpu_time() {
    let (_file, settings) = this("bad: { cpu: \"> 20%\" }");
    let _busy = Busy::start();
    let result = run(&settings, Path::new("/")).await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    assert!(result.message.contains("cpu is ") && result.message.contains("above 20%"), "{result:?}");
}

#[tokio::test]
async fn who_uses_the_cpus_is_named() {
    let _busy = Busy::start();
    let result = run_kind("cpu", "{ bad: { use: \"> 1%\", busiest: \"> 30%\" } }", Path::new("/")).await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    assert!(value(&result, "use") <= 100.0 && value(&result, "busiest") <= 100.0, "{result:?}");
    let this = format!("[{}]", std::process::id());
    assert!(result.output.lines().any(|line| line.contains(&this)), "{result:?}");
}

/// A thread that does nothing, as fast as it can.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        std::thread::spawn(move || while !seen.load(Ordering::Relaxed) {});
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Programs that end while they are looked at are no errors, and nothing else is lost because of them (R75).
#[tokio::test]
async fn processes_may_end_while_they_are_looked_at() {
    let (_file, settings) = this("command: process, warning: { exe: \"!*/process-*\" }");
    let ends = Instant::now() + Duration::from_secs(2);
    let short = std::thread::spawn(move || {
        let mut started = 0;
        while Instant::now() < ends {
            #[expect(clippy::disallowed_methods, reason = "it ends at once, and its end is waited for")]
            let status = std::process::Command::new("/bin/true").status().unwrap();
            assert!(status.success());
            started += 1;
        }
        started
    });
    while Instant::now() < ends {
        let result = run(&settings, Path::new("/")).await;
        assert_eq!((result.state, value(&result, "count")), (State::Okay, 1.0), "{result:?}");
        let all = run("{ except: { user: nobody-of-this-name } }", Path::new("/")).await;
        assert_eq!(all.state, State::Okay, "{all:?}");
    }
    assert!(short.join().unwrap() > 20, "too few processes came and went");
}

/// A program that executes another one keeps its number and the file with its name, and both names are found while they hold.
#[tokio::test]
async fn names_are_those_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["mnch-before", "mnch-after-a-long-name"].map(|name| folder.path().join(name));
    std::fs::copy("/bin/sh", &before).unwrap();
    std::fs::copy("/bin/sleep", &after).unwrap();
    let count = async |name: &str| value(&run(&format!("name: {name}"), Path::new("/")).await, "count");
    #[expect(clippy::disallowed_methods, reason = "it is ended below")]
    let mut child = std::process::Command::new(&before)
        .args(["-c", &format!("read line; exec {} 60", after.display())])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..2 {
        assert_eq!((count("mnch-before").await, count("mnch-after-a-long-name").await), (1.0, 0.0));
    }
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while count("mnch-before").await > 0.0 {
        assert!(Instant::now() < deadline, "the old name is still found");
    }
    assert_eq!((count("mnch-after-a-long-*").await, count("mnch-after-a-lon").await), (1.0, 0.0));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(count("mnch-after*").await < 1.0, "it has ended");
}

/// A tree with processes of which one has a command line that nobody ever writes to.
fn tree(hangs: u32) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: String, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/uptime".to_owned(), "1000.00 1000.00\n");
    for pid in [100, 200, 300] {
        let stat = format!("{pid} (shop) S 1 {pid} {pid} 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 500 1 10 0\n");
        write(format!("proc/{pid}/stat"), &stat);
        if pid == hangs {
            let path = root.path().join(format!("proc/{pid}/cmdline"));
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        } else {
            write(format!("proc/{pid}/cmdline"), "shop\0--port\0");
        }
    }
    root
}

#[tokio::test]
async fn a_command_line_that_hangs_costs_only_its_own_process() {
    let root = tree(200);
    for _ in 0..3 {
        let result = run("{ command: --port }", root.path()).await;
        assert_eq!((result.state, value(&result, "count")), (State::Warning, 2.0), "{result:?}");
        assert!(result.message.contains("shop[200] cannot be looked at"), "{result:?}");
    }
    // Nobody asks a second time while it hangs: that would cost a thread each time.
    let start = Instant::now();
    run("{ command: --port }", root.path()).await;
    assert!(start.elapsed() < Duration::from_millis(1400), "the process that hangs was waited for again");
    // Whoever does not need the command line has all of them.
    let result = run("{ name: shop }", root.path()).await;
    assert_eq!((result.state, value(&result, "count")), (State::Okay, 3.0), "{result:?}");
    // When it answers at last, it counts again.
    std::fs::write(root.path().join("proc/200/cmdline"), "shop\0--port\0").unwrap();
    std::fs::remove_file(root.path().join("proc/200/cmdline")).unwrap();
    std::fs::write(root.path().join("proc/200/cmdline"), "shop\0--port\0").unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while value(&run("{ command: --port }", root.path()).await, "count") < 3.0 {
        assert!(Instant::now() < deadline, "what hung once is lost for ever");
    }
}

/// What kinds of this host need on the processor, beside the plugin of the same job:
/// `cargo test --release -p monchero-checks --test process cost -- --ignored --nocapture`.
#[test]
#[ignore = "it measures, and other work on the machine disturbs it"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
#[expect(clippy::disallowed_methods, reason = "the plugin is measured as a bare program")]
fn cost_of_a_run() {
    const RUNS: u32 = 400;
    const SERIES: usize = 7;
    let used = |words: [usize; 2]| {
        // proc(5): `utime` and `stime`, `cutime` and `cstime`, in hundredths of a second.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        words.map(|word| fields[word].parse::<f64>().unwrap() / 100.0).iter().sum::<f64>()
    };
    let own = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()));
    eprintln!("{} processes", processes.count());
    for (kind, settings, plugin) in [
        ("load", "{}", "check_load -w 900 -c 1000"),
        ("memory", "{}", "check_swap -w 0 -c 0"),
        ("disk", "path: /", "check_disk -w 1% -c 1% -p /"),
        ("process", "name: nginx", "check_procs -C nginx"),
        ("process", "{}", "check_procs -s Z"),
    ] {
        let check = common::kind(kind).build(&common::yaml(settings), &PlainSecrets).unwrap();
        let mut memory: Option<Box<str>> = None;
        let mut ours = f64::MAX;
        for _ in 0..SERIES {
            let before = own();
            for _ in 0..RUNS {
                let mut context = common::context(Path::new("/"), Duration::from_secs(10), &NoPrograms);
                context.memory = memory.as_deref();
                let run = runtime.block_on(common::run_in(&*check, &context));
                memory = run.memory.or(memory);
            }
            ours = ours.min((own() - before) / f64::from(RUNS));
        }
        let before = used([13, 14]);
        let mut words = plugin.split(' ');
        let program = format!("/usr/lib/nagios/plugins/{}", words.next().unwrap());
        let arguments: Vec<&str> = words.collect();
        for _ in 0..RUNS {
            std::process::Command::new(&program).args(&arguments).output().unwrap();
        }
        let theirs = (used([13, 14]) - before) / f64::from(RUNS);
        let (ours, theirs) = (ours * 1e6, theirs * 1e6);
        eprintln!("{kind} {settings}: {ours:.1} us, `{plugin}` {theirs:.0} us: 1/{:.0}", theirs / ours);
    }
}
