//! The user's own command on the user's own terminal: no deadline, and its end is ours.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a shell for a command that is not there.
const NOT_THERE: u8 = 127;
/// The exit status of a shell for a command that must not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// What a shell adds to the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;
/// How long is waited for the rest of the output when the command has ended: what it left in the background may hold it open for ever.
const REST: Duration = Duration::from_millis(500);

/// The last bytes of what a command printed, on whichever stream.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    most: usize,
}

impl Tail {
    /// Keeps so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(self.most);
        kept.drain(..excess);
    }

    /// What was kept.
    pub(super) fn text(&self) -> String {
        let kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        // The cut may have gone through a character, whose rest says nothing.
        let cut =
            if bytes.len() < self.most { 0 } else { bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80).count() };
        String::from_utf8_lossy(bytes.get(cut..).unwrap_or_default()).into_owned()
    }

    /// Passes a stream through, and keeps its end.
    fn pass(&self, mut from: impl Read, mut to: impl Write) {
        let mut buffer = [0; 8 * 1024];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some(bytes) = buffer.get(..count) else { return };
            self.push(bytes);
            // Nobody reads it any more: the command is to find out as it would without us.
            if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    }
}

/// Runs a command to its end, with our own standard streams; what it prints goes through our hands if its end is to be kept. Ctrl-C
/// reaches it as it would without us, and what ends us ends it; we stay until it is over.
pub(super) async fn supervise(words: &[OsString], tail: Option<&Tail>) -> io::Result<ExitStatus> {
    // The terminal sends SIGINT to the command as well; who ends us with SIGTERM means both.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = spawn(words, tail.is_some())?;
    let pid = rustix::process::Pid::from_child(&child);
    let mut streams = Vec::new();
    if let Some(tail) = tail {
        if let Some(stdout) = child.stdout.take() {
            let tail = tail.clone();
            streams.push(tokio::task::spawn_blocking(move || tail.pass(stdout, io::stdout())));
        }
        if let Some(stderr) = child.stderr.take() {
            let tail = tail.clone();
            streams.push(tokio::task::spawn_blocking(move || tail.pass(stderr, io::stderr())));
        }
    }
    let ended = tokio::task::spawn_blocking(move || child.wait());
    tokio::pin!(ended);
    let status = loop {
        let pass_on = tokio::select! {
            status = &mut ended => break status.unwrap_or_else(|error| Err(io::Error::other(error)))?,
            _ = interrupt.recv() => continue,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
        };
        // It may have ended a moment ago, which is what was wanted.
        let _ = rustix::process::kill_process(pid, pass_on);
    };
    let rest = async {
        for stream in streams {
            // A reader that failed has kept what it could.
            let _ = stream.await;
        }
    };
    let _ = tokio::time::timeout(REST, rest).await;
    Ok(status)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the user's own command on the user's own terminal: no deadline, and the end of its output is capped"
)]
fn spawn(words: &[OsString], piped: bool) -> io::Result<Child> {
    let Some((program, arguments)) = words.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(arguments);
    if piped {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    command.spawn()
}

/// The exit status as a shell would say it.
pub(super) fn exit_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal)).unwrap_or(BY_SIGNAL);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The exit status of a shell for a command that could not be started.
pub(super) fn not_started(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { NOT_EXECUTABLE } else { NOT_THERE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_of_the_command_counts() {
        let run = async |words: &[&str]| supervise(&words.iter().map(OsString::from).collect::<Vec<_>>(), None).await;
        assert_eq!(exit_status(run(&["sh", "-c", "exit 7"]).await.unwrap()), 7);
        assert_eq!(exit_status(run(&["sh", "-c", "kill -9 $$"]).await.unwrap()), 137);
        assert_eq!(not_started(&run(&["/no/such/program"]).await.unwrap_err()), 127);
        assert_eq!(not_started(&run(&["/etc/passwd"]).await.unwrap_err()), 126);
    }

    #[test]
    fn the_last_bytes_are_kept_and_no_half_characters() {
        let tail = Tail::new(6);
        tail.push(b"abcdef");
        assert_eq!(tail.text(), "abcdef");
        tail.push("gü".as_bytes());
        assert_eq!(tail.text(), "defgü");
        tail.push("xxxx".as_bytes());
        assert_eq!(tail.text(), "üxxxx");
        tail.push(b"y");
        assert_eq!(tail.text(), "xxxxy");
    }

    /// What stays in the background with the command's output in its hands keeps nobody waiting.
    #[tokio::test]
    async fn what_stays_behind_is_not_waited_for() {
        let tail = Tail::new(100);
        let words = ["sh", "-c", "sleep 4 & echo done"].map(OsString::from);
        let began = std::time::Instant::now();
        supervise(&words, Some(&tail)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(3));
        assert_eq!(tail.text(), "done\n");
    }
}
