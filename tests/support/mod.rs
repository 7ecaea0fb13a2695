//! A daemon of one's own for a test: the real program on a temporary configuration, asked over its real socket.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part of these")]

#[path = "../../crates/exec/tests/common/hung.rs"]
pub(crate) mod hung;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_monchero"))
}

/// A daemon with its own configuration, state and socket.
pub(crate) struct TestAgent {
    pub(crate) folder: TempDir,
    child: Option<Child>,
    env: Vec<(String, String)>,
}

/// Runs the program without a daemon, as a user without a home.
#[expect(clippy::disallowed_methods, reason = "the commands end by themselves")]
pub(crate) fn monchero(config: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(words).arg("--config").arg(config).env("HOME", "/nonexistent").env_remove("SUDO_USER");
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a program wrote.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

impl TestAgent {
    /// A folder with this as its only file of checks; nothing runs yet.
    pub(crate) fn configured(yaml: &str) -> Self {
        let folder = scratch();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        let agent = Self { folder, child: None, env: Vec::new() };
        agent.configure(yaml);
        agent
    }

    /// The same, and the daemon answers.
    pub(crate) fn start(yaml: &str) -> Self {
        let mut agent = Self::configured(yaml);
        agent.launch();
        agent
    }

    /// A variable of the daemon's environment, from its next start on.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces the file of checks; `{dir}` stands for the folder.
    pub(crate) fn configure(&self, yaml: &str) {
        let file = self.path("conf.d/test.yaml");
        let next = self.path("conf.d/.test.yaml.next");
        std::fs::write(&next, yaml.replace("{dir}", &self.folder.path().display().to_string())).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn launch(&mut self) {
        self.spawn();
        self.wait_for("the daemon to answer", |agent| agent.get("/v1/status").is_some());
    }

    /// Starts the daemon and does not wait.
    #[expect(clippy::disallowed_methods, reason = "the test is the parent of the daemon")]
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(program());
        command.args(["agent", "--config"]).arg(self.folder.path());
        command.arg("--state-dir").arg(self.path("state")).arg("--socket").arg(self.path("socket"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(self.env.iter().cloned());
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("it runs").id()).unwrap()
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL; everything that is left is what is on disk.
    pub(crate) fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.child.take().unwrap().wait().unwrap();
    }

    /// SIGTERM; answers how long it took and the exit status.
    pub(crate) fn stop(&mut self) -> (Duration, Option<i32>) {
        self.signal(rustix::process::Signal::TERM);
        self.ended(Duration::from_secs(15))
    }

    /// Waits until the daemon has ended.
    pub(crate) fn ended(&mut self, patience: Duration) -> (Duration, Option<i32>) {
        let start = Instant::now();
        let mut child = self.child.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (start.elapsed(), status.code());
            }
            if start.elapsed() > patience {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the daemon did not end within {patience:?}; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What a GET answers, if it answers with 200.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let mut stream = UnixStream::connect(self.path("socket")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: monchero\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split_whitespace().nth(1).filter(|status| *status == "200")?;
        serde_json::from_str(body).ok()
    }

    /// The rows of `status`.
    pub(crate) fn checks(&self) -> Vec<Value> {
        self.get("/v1/status").and_then(|status| status["checks"].as_array().cloned()).unwrap_or_default()
    }

    /// One row; null if there is none.
    pub(crate) fn check(&self, name: &str) -> Value {
        self.checks().into_iter().find(|check| check["name"] == name).unwrap_or_default()
    }

    /// Waits for a level, with a deadline.
    pub(crate) fn wait_for(&self, what: &str, level: impl Fn(&Self) -> bool) {
        self.wait_within(Duration::from_secs(20), what, level);
    }

    /// Waits for a level, with this deadline.
    pub(crate) fn wait_within(&self, patience: Duration, what: &str, level: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !level(self) {
            assert!(
                start.elapsed() < patience,
                "waited in vain for {what}\nchecks: {:#}\nlog:\n{}",
                Value::from(self.checks()),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a check has this state and confirmation.
    pub(crate) fn wait_for_state(&self, check: &str, state: &str, state_type: &str) -> Value {
        self.wait_for(&format!("`{check}` to be {state} {state_type}"), |agent| {
            let row = agent.check(check);
            row["state"] == state && row["state_type"] == state_type
        });
        self.check(check)
    }

    /// Runs a command of the program against this daemon.
    #[expect(clippy::disallowed_methods, reason = "the commands end by themselves")]
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).arg("--config").arg(self.folder.path());
        command.arg("--state-dir").arg(self.path("state")).arg("--socket").arg(self.path("socket"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// An executable file in the folder.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text.replace("{dir}", &self.folder.path().display().to_string())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The lines of a file in the folder; none if there is no such file yet.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let bytes = std::fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let start = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(8) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A directory of one's own, from which the daemon runs programs.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(trusted_base()).unwrap()
}

/// The longest path of a directory for scratch directories: that of a socket in one has at most 107 bytes, and what the documents show
/// of files in one is to break at the same places on 80 columns wherever the project was built.
const LONGEST_BASE: usize = 24;

/// A directory that only we can change, as the daemon demands of the programs that it runs (`/tmp` is everybody's).
fn trusted_base() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let candidates = [Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))), home, Some(PathBuf::from("/var/lib"))];
    let mut candidates = candidates.into_iter().flatten().filter_map(|path| path.canonicalize().ok());
    let trusted = |path: &Path| {
        path.as_os_str().len() <= LONGEST_BASE
            && path.ancestors().all(|part| part.metadata().is_ok_and(|found| found.permissions().mode() & 0o022 == 0))
    };
    candidates
        .find(|path| trusted(path))
        .expect("some directory is ours alone: neither the target directory nor HOME nor /var/lib is")
}

/// Processes whose environment holds this text.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// Waits until no process holds this text in its environment.
pub(crate) fn wait_until_gone(mark: &str, patience: Duration) {
    let start = Instant::now();
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < patience, "left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Compiles a C program; the compiler is needed to build monchero too.
#[expect(clippy::disallowed_methods, reason = "the compiler ends by itself")]
pub(crate) fn compile(source: &str, output: &Path) {
    let file = output.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let status = Command::new("cc").args(["-O2", "-o"]).arg(output).arg(&file).status().unwrap();
    assert!(status.success());
}

/// A plugin that does what a file says: its first line is the exit status, the rest is printed.
pub(crate) const STEP: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    char buffer[4096];
    FILE *file = fopen(argv[1], "r");
    if (!file || !fgets(buffer, sizeof buffer, file)) return 3;
    int status = atoi(buffer);
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) fwrite(buffer, 1, n, stdout);
    return status;
}
"#;

/// Sets what a step plugin does, in one step.
pub(crate) fn set_step(file: &Path, status: i32, output: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{status}\n{output}\n")).unwrap();
    std::fs::rename(next, file).unwrap();
}
