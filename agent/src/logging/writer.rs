//! The thread that writes the log: whoever logs waits neither for a disk, nor for the journal, nor for a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tracing::Level;

use super::file::LogFile;
use super::flood::Floods;
use super::line::Line;
use super::{Order, Shared, now};
use crate::config::{LogFormat, LogSettings};

/// Where the journal takes entries.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// How long is waited for the next line when nothing else is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Where lines go in any case.
pub(super) enum Console {
    /// To the journal, which standard error leads to as well.
    Journal {
        /// Our end.
        socket: UnixDatagram,
        /// Its end.
        path: PathBuf,
    },
    /// To standard error.
    Stderr {
        /// Whether it may have colour.
        colour: bool,
    },
}

impl Console {
    /// What standard error leads to.
    pub(super) fn of_process() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let stderr = rustix::fs::fstat(std::io::stderr()).ok();
        if stderr.is_some_and(|stderr| is_journal(&stream, stderr.st_dev, stderr.st_ino))
            && let Ok(socket) = UnixDatagram::unbound()
        {
            return Self::Journal { socket, path: JOURNAL.into() };
        }
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self::Stderr { colour }
    }

    fn write(&self, line: &Line, format: LogFormat, zone: &TimeZone) {
        let shown = match self {
            Self::Journal { socket, path } => {
                if socket.send_to(&line.entry(), path).is_ok() {
                    return;
                }
                // It is being restarted, or takes no entry so large: what it reads of standard error is the second best.
                line.with_priority()
            }
            Self::Stderr { .. } if format == LogFormat::Json => line.json(),
            Self::Stderr { colour } => line.text(zone, *colour),
        };
        // Nobody is left to tell if standard error is gone.
        let _ = std::io::stderr().lock().write_all(shown.as_bytes());
    }
}

/// Whether the variable `JOURNAL_STREAM` means this file: a parent may have sent standard error elsewhere and left the variable.
fn is_journal(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// What the thread owns.
pub(super) struct Writer {
    queue: Receiver<Order>,
    shared: Arc<Shared>,
    console: Console,
    settings: LogSettings,
    file: Option<LogFile>,
    /// The trouble with the file that was said last.
    trouble: Option<String>,
    floods: Floods,
    zone: TimeZone,
}

impl Writer {
    /// Takes lines from a queue.
    pub(super) fn new(queue: Receiver<Order>, shared: Arc<Shared>, console: Console) -> Self {
        Self {
            queue,
            shared,
            console,
            settings: LogSettings::default(),
            file: None,
            trouble: None,
            floods: Floods::default(),
            zone: TimeZone::system(),
        }
    }

    /// Writes until it is told to stop and all is written.
    pub(super) fn run(mut self) {
        loop {
            let due = [self.floods.next(), self.file.as_ref().and_then(LogFile::next)].into_iter().flatten().min();
            let patience = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            let order = if self.shared.stopping.load(Ordering::Relaxed) {
                // What is not there yet does not come any more.
                self.queue.try_recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.queue.recv_timeout(patience)
            };
            self.obey();
            match order {
                Ok(Order::Line(line)) => {
                    if let Some(line) = self.floods.admit(*line, Instant::now()) {
                        self.write(&line);
                    }
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(Order::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for line in self.floods.ended(Instant::now()) {
                self.write(&line);
            }
            self.say_lost();
            if let Some(file) = &mut self.file {
                file.ready(Instant::now());
            }
            self.tell_trouble();
        }
        for line in self.floods.all() {
            self.write(&line);
        }
        self.say_lost();
    }

    /// Says how many lines found the queue full.
    fn say_lost(&mut self) {
        let lost = self.shared.take_lost();
        if lost > 0 {
            let lines = monchero_core::text::counted(lost, "line");
            self.say(format!("{lines} of the log could not be written fast enough"));
        }
    }

    /// Does what was asked for meanwhile.
    fn obey(&mut self) {
        let (settings, reopen) = self.shared.take_wishes();
        if let Some(settings) = settings {
            let place = |settings: &LogSettings| (settings.file.clone(), settings.size(), settings.keep);
            if place(&settings) != place(&self.settings) {
                self.file = settings.file.clone().map(|path| LogFile::new(path, settings.size(), settings.keep));
            }
            self.settings = settings;
        }
        if let Some(file) = self.file.as_mut().filter(|_| reopen) {
            file.reopen();
        }
    }

    fn write(&mut self, line: &Line) {
        self.console.write(line, self.settings.format, &self.zone);
        if let Some(file) = &mut self.file {
            let (format, zone) = (self.settings.format, &self.zone);
            let shown = |line: &Line| match format {
                LogFormat::Text => line.text(zone, false),
                LogFormat::Json => line.json(),
            };
            let lack = |count| {
                let message = format!("{count} lines are missing here: the file could not be written");
                shown(&Line::own(now(), Level::WARN, message))
            };
            file.write(&shown(line), lack, Instant::now());
        }
    }

    /// Says something about the log itself.
    fn say(&mut self, message: String) {
        self.write(&Line::own(now(), Level::WARN, message));
    }

    /// Says once that the file cannot be written, and once that it can again.
    fn tell_trouble(&mut self) {
        let trouble = self.file.as_ref().and_then(LogFile::trouble);
        if trouble == self.trouble {
            return;
        }
        self.trouble.clone_from(&trouble);
        self.shared.trouble.send_replace(trouble.clone());
        match trouble {
            Some(trouble) => self.say(format!("{trouble}; it is tried again every half a minute")),
            None => self.say("the log file is written again".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::line::tests::line;

    #[test]
    fn the_journal_is_meant_only_if_standard_error_is_it() {
        assert!(is_journal("8:1234", 8, 1234));
        for other in ["", "8", "8:", "8:1235", "9:1234", "x:y", "8:1234:0"] {
            assert!(!is_journal(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn entries_reach_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let console = Console::Journal { socket: UnixDatagram::unbound().unwrap(), path };
        console.write(&line("no space"), LogFormat::Text, &TimeZone::UTC);
        journal.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 1024];
        let length = journal.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"MESSAGE\n\x08\0\0\0\0\0\0\0no space\nPRIORITY\n"));
    }
}
