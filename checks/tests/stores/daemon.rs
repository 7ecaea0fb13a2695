//! Real servers on free ports of loopback.

use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it answers: a database initialises itself on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends when the test does.
pub(crate) struct Daemon {
    child: Child,
    command: Command,
    /// Its files; `log` is what it says.
    pub(crate) folder: TempDir,
}

impl Daemon {
    /// Starts a program that stays in the foreground.
    pub(crate) fn start(program: &str, arguments: &[&str], folder: TempDir) -> Self {
        Self::start_as(None, program, arguments, folder)
    }

    /// The same as another user, for servers that refuse root.
    #[expect(clippy::disallowed_methods, reason = "a server of the test; it is ended when the test is")]
    pub(crate) fn start_as(user: Option<(u32, u32)>, program: &str, arguments: &[&str], folder: TempDir) -> Self {
        assert!(Path::new(program).exists(), "the tests need {program}: `cargo xtask test` installs it");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        if let Some((user, group)) = user {
            use std::os::unix::process::CommandExt as _;
            command.uid(user).gid(group);
        }
        let said = (log.try_clone().unwrap(), log);
        let child =
            command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).stdout(said.0).stderr(said.1);
        let child = child.spawn().unwrap_or_else(|why| panic!("{program}: {why}"));
        Self { child, command, folder }
    }

    /// Ends it and starts it anew.
    #[expect(clippy::disallowed_methods, reason = "a server of the test; it is ended when the test is")]
    pub(crate) fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = self.command.spawn().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until the server is as the test needs it.
    pub(crate) async fn until<F: Future<Output = bool>>(&mut self, mut is_so: impl FnMut() -> F) {
        let start = Instant::now();
        while !is_so().await {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {}: {}", ended.unwrap(), self.log());
            assert!(start.elapsed() < PATIENCE, "the server is not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the server accepts connections.
    pub(crate) async fn listens_on(mut self, port: u16) -> Self {
        self.until(|| async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
        self
    }
}

impl Drop for Daemon {
    /// Asks it to end, so that it leaves no shared memory behind, and does not wait for ever.
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A user for servers that refuse root, if that is who runs the tests.
pub(crate) fn server_user() -> Option<(u32, u32)> {
    let is_root = rustix::process::geteuid().is_root();
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let nobody = users.lines().find(|line| line.starts_with("nobody:")).expect("there is a user `nobody`");
    let number = |place: usize| nobody.split(':').nth(place).and_then(|id| id.parse().ok()).expect("a number");
    is_root.then(|| (number(2), number(3)))
}

/// Gives a folder with its files to a user, and to nobody else.
pub(crate) fn give(folder: &Path, user: Option<(u32, u32)>) {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (user, group) = user.unzip();
        chown(path, user, group).unwrap();
    }
    let (user, group) = user.unzip();
    chown(folder, user, group).unwrap();
}
