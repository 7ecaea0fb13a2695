//! Which check the daemon was working on when it crashed (R33).
//!
//! A check that takes the daemon down whenever it runs would do so for ever, since the daemon is started again and runs it again. While
//! the daemon is young it therefore notes in a file what it works on. What stands there at the next start was at work when the daemon
//! died; three times within a minute is no accident any more, and that check is not run until somebody asks for it.
//!
//! The note is not synced: it is to survive the death of the process, not of the machine. After the first minute nothing is noted, since
//! what crashes the daemon later cannot do it three times within one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use monchero_core::Name;
use monchero_core::name::MAX_NAME;

/// The file in the state directory: a line that says what is worked on, as long as the longest name, then a line per crash.
const FILE: &str = "monchero.witness";
/// Where the crashes begin.
const CRASHES: u64 = MAX_NAME as u64 + 1;
/// So many crashes in a row accuse a check ..
const CRASHES_THAT_ACCUSE: usize = 3;
/// .. if they came within this time, the present start included.
const WINDOW: Duration = Duration::from_secs(60);
/// The most that is read of the file: what it can hold, and some more.
const MAX_BYTES: u64 = 4_096;

/// Notes what the daemon works on.
#[derive(Debug)]
pub struct Witness {
    file: File,
    until: Instant,
}

/// A crash, and what was worked on.
#[derive(Debug, PartialEq, Eq)]
struct Crash {
    at: Timestamp,
    check: String,
}

impl Witness {
    /// Reads what an earlier daemon left in the state directory, and begins anew. The check that is accused, if there is one.
    pub fn take_up(directory: &Path, now: Timestamp) -> io::Result<(Self, Option<Name>)> {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(FILE))?;
        let mut bytes = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let crashes = crashes(&bytes, now);
        let mut text = "\n".repeat(MAX_NAME + 1);
        for crash in &crashes {
            text.push_str(&format!("{} {}\n", crash.at, crash.check));
        }
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        Ok((Self { file, until: Instant::now() + WINDOW }, accused(&crashes)))
    }

    /// Whether it still notes anything.
    pub fn is_watching(&self) -> bool {
        Instant::now() < self.until
    }

    /// Does the work of a check, and has its name on the file whenever it does.
    pub fn watch<F: Future + Unpin>(&self, check: &str, work: F) -> Watched<'_, F> {
        Watched { witness: self, note: format!("{check}\n").into(), work }
    }

    // A note that cannot be written accuses nobody, which is all that is lost.
    fn note(&self, note: &[u8]) {
        let _ = self.file.write_all_at(note, 0);
    }
}

/// See [`Witness::watch`].
#[derive(Debug)]
pub struct Watched<'a, F> {
    witness: &'a Witness,
    note: Box<str>,
    work: F,
}

impl<F: Future + Unpin> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.witness.note(self.note.as_bytes());
        let answer = Pin::new(&mut self.work).poll(context);
        self.witness.note(b"\n");
        answer
    }
}

/// The last crashes, with the one that the file is the first to tell of.
fn crashes(bytes: &[u8], now: Timestamp) -> Vec<Crash> {
    let text = String::from_utf8_lossy(bytes);
    let at_work = text.lines().next().unwrap_or_default();
    let earlier = bytes.get(usize::try_from(CRASHES).unwrap_or(usize::MAX)..).unwrap_or_default();
    let earlier = String::from_utf8_lossy(earlier);
    let mut crashes: Vec<Crash> = earlier.lines().filter_map(parse).collect();
    if !at_work.is_empty() {
        crashes.push(Crash { at: now, check: at_work.to_owned() });
    }
    crashes.retain(|crash| crash.at <= now && now.duration_since(crash.at).unsigned_abs() <= WINDOW);
    crashes.split_off(crashes.len().saturating_sub(CRASHES_THAT_ACCUSE))
}

fn parse(line: &str) -> Option<Crash> {
    let (at, check) = line.split_once(' ')?;
    Some(Crash { at: at.parse().ok()?, check: check.to_owned() })
}

fn accused(crashes: &[Crash]) -> Option<Name> {
    let [first, rest @ ..] = crashes else { return None };
    let alike = crashes.len() == CRASHES_THAT_ACCUSE && rest.iter().all(|crash| crash.check == first.check);
    alike.then(|| Name::new(&first.check))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A daemon that starts at `second`, and dies while it works on `check`.
    fn dies(directory: &Path, second: i64, check: &str) -> Option<Name> {
        let (witness, accused) = Witness::take_up(directory, at(second)).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let file = directory.join(FILE);
        let mut left = Vec::new();
        let work = pin!(poll_fn(|_| {
            left = fs::read(&file).unwrap();
            Poll::Ready(())
        }));
        assert_eq!(pin!(witness.watch(check, work)).poll(&mut context), Poll::Ready(()));
        fs::write(file, left).unwrap();
        accused
    }

    #[test]
    fn three_crashes_within_a_minute_accuse_a_check() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(dies(directory.path(), 0, "shop"), None);
        assert_eq!(dies(directory.path(), 10, "shop"), None);
        assert_eq!(dies(directory.path(), 20, "shop"), None);
        assert_eq!(dies(directory.path(), 30, "shop"), Some(Name::new("shop")), "as long as it goes on");
        let (_, accused) = Witness::take_up(directory.path(), at(31)).unwrap();
        assert_eq!(accused, Some(Name::new("shop")), "a quick restart does not forgive");
        let (_, accused) = Witness::take_up(directory.path(), at(120)).unwrap();
        assert_eq!(accused, None, "a start after a minute tries again");
    }

    #[test]
    fn different_checks_and_slow_crashes_accuse_nobody() {
        let directory = tempfile::tempdir().unwrap();
        for (second, check) in [(0, "a"), (5, "b"), (10, "a"), (15, "a"), (90, "a"), (160, "a"), (230, "a")] {
            assert_eq!(dies(directory.path(), second, check), None, "{check} at {second}");
        }
    }

    #[test]
    fn work_that_ended_leaves_no_note() {
        let directory = tempfile::tempdir().unwrap();
        for second in 0..5 {
            let (witness, accused) = Witness::take_up(directory.path(), at(second)).unwrap();
            assert_eq!(accused, None);
            let mut context = Context::from_waker(Waker::noop());
            let waits = pin!(poll_fn(|_| Poll::<()>::Pending));
            assert!(pin!(witness.watch("waits", waits)).poll(&mut context).is_pending());
        }
    }

    #[test]
    fn any_file_is_taken_up() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(FILE), &bytes).unwrap();
            let (_, accused) = Witness::take_up(directory.path(), at(0)).unwrap();
            proptest::prop_assert_eq!(accused, None);
        });
    }
}
