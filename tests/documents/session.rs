//! A shell, a host to itself and a real daemon for the commands of a document.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;
use tempfile::TempDir;

use crate::support;

/// How long a command may take. Those of the documents take seconds at most, on a machine that does nothing else.
const PATIENCE: &str = "120";
/// How long something that is waited for may take to become so.
const UNTIL: Duration = Duration::from_secs(60);
/// The host of all documents.
const HOST: &str = "myhost";

/// Everything that the commands of one document share: variables, the working directory, the last exit status, files, a daemon.
pub(crate) struct Session {
    root: TempDir,
    daemon: Option<Child>,
}

impl Session {
    pub(crate) fn new() -> Self {
        let root = support::scratch();
        let session = Self { root, daemon: None };
        for name in ["home", "bin", "run", "etc", "srv", "plugins"] {
            std::fs::create_dir(session.path(name)).unwrap();
        }
        std::os::unix::fs::symlink(support::program(), session.path("bin/monchero")).unwrap();
        session
    }

    /// What the documents call it, and where it is.
    fn names(&self) -> [(&'static str, PathBuf); 5] {
        [
            ("/usr/local/bin", self.path("bin")),
            ("/usr/local/lib/monchero", self.path("plugins")),
            ("/etc/monchero", self.path("etc")),
            ("/home/you", self.path("home")),
            ("/srv", self.path("srv")),
        ]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn to_real(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, real)| text.replace(name, &real.display().to_string()))
    }

    fn to_shown(&self, text: &str) -> String {
        let text = self
            .names()
            .iter()
            .fold(text.to_owned(), |text, (name, real)| text.replace(&real.display().to_string(), name));
        text.replace(rustix::system::uname().nodename().to_string_lossy().as_ref(), HOST)
    }

    /// Writes a file of the document; a script can be executed.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = PathBuf::from(self.to_real(&path.replace("~/", "/home/you/")));
        assert!(path.starts_with(self.root.path()), "`{}` is not a place of the documents' own", path.display());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.to_real(text)).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o640 };
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    /// A shell that goes on where the last one was.
    fn shell(&self, mut shell: Command, command: &str) -> Command {
        let state = self.root.path().display();
        let script = format!(
            "exec 2>&1; [ -f {state}/variables ] && . {state}/variables; cd \"$(cat {state}/directory 2>/dev/null || echo ~)\"\n\
             (exit $(cat {state}/status 2>/dev/null || echo 0))\n{}\n\
             status=$?; export -p > {state}/variables; pwd > {state}/directory; echo $status > {state}/status; exit $status",
            self.to_real(command)
        );
        shell.args(["-c", &script]).env_clear();
        shell.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display()));
        shell.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("run"));
        shell.env("MONCHERO_CONFIG", self.path("etc")).env("MONCHERO_STATE_DIR", self.path("state"));
        shell.env("MONCHERO_SOCKET", self.path("run/monchero.sock"));
        // What the test was started with may have descriptors open of which commands would warn.
        shell.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").env("MONCHERO_LOG", "error").stdin(Stdio::null());
        shell
    }

    /// Runs a command: its exit status, and what it printed.
    #[expect(clippy::disallowed_methods, reason = "`timeout` ends it")]
    pub(crate) fn run(&self, command: &str) -> (Option<i32>, String) {
        let mut timeout = Command::new("timeout");
        timeout.args([PATIENCE, "sh"]);
        let output = self.shell(timeout, command).output().unwrap();
        (output.status.code(), self.to_shown(&String::from_utf8(output.stdout).unwrap()))
    }

    /// Runs a command again and again until it shows this; what it showed last.
    pub(crate) fn run_until(&self, command: &str, expected: &str) -> String {
        let start = Instant::now();
        loop {
            let (_, output) = self.run(command);
            if same(expected, &output) || start.elapsed() > UNTIL {
                return output;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a daemon by its command, and waits until it answers.
    #[expect(clippy::disallowed_methods, reason = "the test is the parent of the daemon")]
    pub(crate) fn start(&mut self, command: &str) -> Result<(), String> {
        if let Some(child) = self.daemon.take() {
            end(child);
        }
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut shell = self.shell(Command::new("sh"), &format!("exec {command}"));
        self.daemon = Some(shell.stdout(log).stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while self.run("monchero status --json >/dev/null 2>&1").0 == Some(4) {
            if start.elapsed() > UNTIL {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                return Err(format!("`{command}` does not answer; its log:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(child) = self.daemon.take() {
            end(child);
        }
    }
}

fn end(mut child: Child) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
    let _ = child.wait();
}

/// What differs from run to run and from host to host: moments, spans, versions, identifiers, who we are; and how many blanks there are.
static VARYING: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    let me = format!(r"\b({}|you)\b", regex::escape(&user()));
    [
        (me.as_str(), "USER"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "MOMENT"),
        (r"\b\d+(\.\d+)? ?(d|h|m|s|ms|us)( \d+(h|m|s))?\b", "SPAN"),
        (r"\b\d+\.\d+\.\d+\b", "VERSION"),
        (r"\b[0-9a-f]{12,}\b", "ID"),
    ]
    .map(|(pattern, word)| (Regex::new(pattern).unwrap(), word))
});

/// The name of the user that runs this.
#[expect(clippy::disallowed_methods, reason = "`id` ends by itself")]
fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn lines(text: &str) -> Vec<String> {
    let masked =
        VARYING.iter().fold(text.to_owned(), |text, (pattern, word)| pattern.replace_all(&text, *word).into_owned());
    masked.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Whether an output is what a document shows. A line `...` in the document stands for any lines.
pub(crate) fn same(expected: &str, output: &str) -> bool {
    fits(&lines(expected), &lines(output))
}

fn fits(expected: &[String], output: &[String]) -> bool {
    match expected.split_first() {
        None => output.is_empty(),
        Some((first, rest)) if first == "..." => (0..=output.len()).any(|skipped| fits(rest, &output[skipped..])),
        Some((first, rest)) => output.split_first().is_some_and(|(line, more)| line == first && fits(rest, more)),
    }
}

#[test]
fn what_differs_from_run_to_run_is_not_compared() {
    assert!(same("a  bad  3s\n...\nend 2026-01-01 10:00:00\n", "a bad 1m 5s\nx\ny\nend 2026-02-02 11:11:11\n"));
    assert!(same("...\n", "") && !same("", "x\n") && !same("a\n...\nb\n", "a\nc\n") && !same("bad\n", "okay\n"));
}
