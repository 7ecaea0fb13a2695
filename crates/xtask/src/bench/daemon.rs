//! A daemon of the release build on a configuration of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// The kernel counts CPU time in hundredths of a second (`sysconf(_SC_CLK_TCK)` is 100 on every Linux that we ship for).
const TICK: Duration = Duration::from_millis(10);
/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon. It ends when this does.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
    started_after: Duration,
}

impl Daemon {
    /// Starts one and waits until `status` answers.
    #[expect(clippy::disallowed_methods, reason = "the bench starts the daemon itself and ends it by its pid")]
    pub(crate) fn start(config: &str) -> Result<Self> {
        let folder = configured(config)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let start = Instant::now();
        let child = Command::new(binary())
            .args(["agent", "--config"])
            .arg(folder.path())
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        let mut daemon = Self { child, folder, started_after: Duration::ZERO };
        while daemon.command(&["status", "--json"]).is_err() {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap_or_default();
                bail!("the daemon does not answer; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon.started_after = start.elapsed();
        Ok(daemon)
    }

    /// How long it took until `status` answered.
    pub(crate) fn started_after(&self) -> Duration {
        self.started_after
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of the daemon and of the processes that it keeps, without the programs that it runs.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut cpu = own_cpu(self.pid())?;
        for guard in self.guards()? {
            cpu += own_cpu(guard)?;
        }
        Ok(cpu)
    }

    /// Proportional memory of the daemon and of the processes that it keeps, in MiB.
    pub(crate) fn pss(&self) -> Result<f64> {
        let mut total = 0.0;
        for pid in std::iter::once(self.pid()).chain(self.guards()?) {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let kib = text
                .lines()
                .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
            total += kib.context("there is no Pss in smaps_rollup")? / 1_024.0;
        }
        Ok(total)
    }

    /// How many checks it started, ever: exact, from `self/scheduler`.
    pub(crate) fn runs(&self) -> Result<f64> {
        self.command(&["run", "self/scheduler"])?;
        let text = self.command(&["show", "self/scheduler", "--json"])?;
        let detail: serde_json::Value = serde_json::from_str(&text)?;
        let metrics =
            detail.pointer("/check/metrics").or_else(|| detail.pointer("/metrics")).and_then(|m| m.as_array());
        let runs = metrics.into_iter().flatten().find(|metric| metric["label"] == "runs");
        runs.and_then(|metric| metric["value"].as_f64()).context("`self/scheduler` has no metric `runs`")
    }

    /// That every check of a kind is okay before it is measured; a run needs a moment.
    pub(crate) fn all_okay(&self, kind: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let text = self.command(&["status", "--json"])?;
            let status: serde_json::Value = serde_json::from_str(&text)?;
            let checks = status["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut of_kind = checks.iter().filter(|check| check["kind"] == kind).peekable();
            let is_there = of_kind.peek().is_some();
            match of_kind.find(|check| check["state"] != "okay") {
                None if is_there => return Ok(()),
                other if start.elapsed() > PATIENCE => bail!("the checks of kind `{kind}` are not okay: {other:?}"),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Runs a command of the program against this daemon; answers what it printed.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.folder.path().join("socket");
        let output = run(Command::new(binary()).args(arguments).arg("--socket").arg(socket))?;
        if output.1 > 3 {
            bail!("`monchero {}` ended with {}", arguments.join(" "), output.1);
        }
        Ok(output.0)
    }

    /// The processes that belong to the daemon itself: its children of the same program. A child that has not yet become the plugin that
    /// it will be is the daemon once more, which says so itself.
    fn guards(&self) -> Result<Vec<u32>> {
        let mut guards = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
                let is_ours = std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == binary());
                let arguments = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
                if is_ours && arguments.split('\0').nth(1) != Some("agent") {
                    guards.push(child);
                }
            }
        }
        Ok(guards)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let ended = crate::run::succeeds("kill", &["-TERM", &pid], |_| true);
        if !ended || self.child.wait().is_err() {
            eprintln!("xtask: cannot end the daemon {pid}");
        }
    }
}

/// The CPU time that `monchero config check` takes for a configuration, in seconds.
pub(crate) fn validate(config: &str) -> Result<f64> {
    let folder = configured(config)?;
    let before = children_cpu(std::process::id())?;
    for _ in 0..10 {
        let (output, status) = run(Command::new(binary()).args(["config", "check", "--config"]).arg(folder.path()))?;
        if status != 0 {
            bail!("`config check` ended with {status}: {output}");
        }
    }
    Ok((children_cpu(std::process::id())? - before).as_secs_f64() / 10.0)
}

fn configured(config: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("conf.d"))?;
    std::fs::write(folder.path().join("conf.d/bench.yaml"), config)?;
    Ok(folder)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
fn run(command: &mut Command) -> Result<(String, i32)> {
    let output = command.stdin(Stdio::null()).output().context("running monchero")?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(i32::MAX)))
}

fn binary() -> PathBuf {
    std::env::current_dir().unwrap_or_default().join("target/release/monchero")
}

/// User and system time of a process itself.
pub(crate) fn own_cpu(pid: u32) -> Result<Duration> {
    ticks(pid, [13, 14])
}

/// User and system time of the children of a process that it waited for.
pub(crate) fn children_cpu(pid: u32) -> Result<Duration> {
    ticks(pid, [15, 16])
}

/// The sum of two fields of `/proc/PID/stat`, counted from 0 as in proc(5) less one.
fn ticks(pid: u32, fields: [usize; 2]) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("reading /proc/PID/stat")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| words.get(field - 2).and_then(|word| word.parse::<u32>().ok()).unwrap_or_default();
    Ok(TICK * (number(fields[0]) + number(fields[1])))
}
