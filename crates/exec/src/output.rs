//! The three pipes of a program: what it says, kept up to a limit, and what it is told.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How much is read at once: what a pipe holds unless somebody widened it, so that one read empties it. All runs share one buffer.
const CHUNK: usize = 64 * 1024;
/// How often a pipe is read after its program has ended: something that lives on may fill it for ever, and it holds at most 1 MiB.
const LAST_READS: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(CHUNK));
}

/// Makes the event loop watch a descriptor.
pub(crate) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "what takes its place is unsafe, for types whose descriptor can change or close behind tokio's back; an `OwnedFd` can do neither"
    )]
    AsyncFd::with_interest(fd, interest)
}

/// Our end of a pipe: nonblocking, and known to the event loop only once we have to wait for it. Most programs end before that.
enum End {
    Plain(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
}

impl End {
    fn watch(self, interest: Interest) -> io::Result<Self> {
        match self {
            Self::Plain(fd) => Ok(Self::Watched(watched(fd, interest)?)),
            Self::Watched(_) => Ok(self),
        }
    }
}

/// What a program writes to one of its descriptors.
pub(crate) struct Output {
    /// Nothing when everybody has closed the other end.
    end: Option<End>,
    kept: Kept,
}

struct Kept {
    bytes: Vec<u8>,
    max: usize,
    seen: u64,
}

impl Kept {
    /// Reads once and returns how much there was; 0 at the end.
    fn read(&mut self, fd: impl AsFd) -> io::Result<usize> {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&fd, spare_capacity(buffer)))?;
            let room = self.max - self.bytes.len();
            self.bytes.extend(buffer.iter().take(room));
            self.seen += read as u64;
            Ok(read)
        })
    }
}

impl Output {
    /// A pipe, of which the first `max` bytes will be kept, and the end that the program gets.
    pub(crate) fn new(max: usize) -> rustix::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only ours: the program expects that its writes wait.
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        Ok((Self { end: Some(End::Plain(ours)), kept: Kept { bytes: Vec::new(), max, seen: 0 } }, theirs))
    }

    /// Makes the event loop tell when there is something to read. Without it a full pipe stops the program.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        self.end = self.end.take().map(|end| end.watch(Interest::READABLE)).transpose()?;
        Ok(())
    }

    /// Waits until there is something, and reads once. Waits for ever when there will be nothing more. Needs [`Self::watch`].
    pub(crate) async fn read(&mut self) {
        let Some(End::Watched(end)) = &self.end else { return pending().await };
        let Ok(mut ready) = end.readable().await else { return pending().await };
        match ready.try_io(|end| self.kept.read(end.get_ref())) {
            Ok(Ok(CHUNK..)) | Err(_) => {}
            // Less than was asked for: the pipe is empty, there is no need to try.
            Ok(Ok(1..CHUNK)) => ready.clear_ready(),
            Ok(Ok(0) | Err(_)) => {
                drop(ready);
                self.end = None;
            }
        }
    }

    /// Reads what is there, without waiting.
    pub(crate) fn drain(&mut self) {
        for _ in 0..LAST_READS {
            let read = match &self.end {
                None => return,
                Some(End::Plain(end)) => self.kept.read(end),
                Some(End::Watched(end)) => self.kept.read(end.get_ref()),
            };
            // Less than was asked for: the pipe is empty.
            if !read.is_ok_and(|read| read == CHUNK) {
                return;
            }
        }
    }

    /// Whether everybody has closed the other end.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_none()
    }

    /// How many bytes were written in all.
    pub(crate) fn seen(&self) -> u64 {
        self.kept.seen
    }

    /// Reads what is there and closes our end; what was kept, and whether more was written. A character that the limit cut in two is left out.
    pub(crate) fn finish(&mut self) -> (Vec<u8>, bool) {
        self.drain();
        self.end = None;
        let mut bytes = std::mem::take(&mut self.kept.bytes);
        let truncated = self.kept.seen > bytes.len() as u64;
        if truncated {
            drop_half_character(&mut bytes);
        }
        (bytes, truncated)
    }
}

/// Removes the beginning of a UTF-8 character from the end of the bytes, if its rest is missing.
fn drop_half_character(bytes: &mut Vec<u8>) {
    let tail = bytes.iter().rev().take_while(|byte| **byte & 0xc0 == 0x80).take(3).count();
    let Some(start) = bytes.len().checked_sub(tail + 1) else { return };
    let length = match bytes.get(start) {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return,
    };
    if start + length > bytes.len() {
        bytes.truncate(start);
    }
}

/// What a program reads on its standard input.
pub(crate) struct Input {
    end: End,
    bytes: Vec<u8>,
    sent: usize,
}

impl Input {
    /// A pipe that will carry the bytes, and the end that the program gets.
    pub(crate) fn new(bytes: Vec<u8>) -> rustix::io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        Ok((Self { end: End::Plain(ours), bytes, sent: 0 }, theirs))
    }

    /// Writes what fits into the pipe, without waiting; nothing is returned if that was all, or nobody reads it.
    pub(crate) fn feed(mut self) -> Option<Self> {
        let fd = match &self.end {
            End::Plain(fd) => fd,
            End::Watched(fd) => fd.get_ref(),
        };
        while let Some(rest @ [_, ..]) = self.bytes.get(self.sent..) {
            match rustix::io::retry_on_intr(|| rustix::io::write(fd, rest)) {
                Ok(written) => self.sent += written,
                Err(rustix::io::Errno::AGAIN) => return Some(self),
                Err(_) => return None,
            }
        }
        None
    }

    /// Makes the event loop tell when more fits.
    pub(crate) fn watch(mut self) -> io::Result<Self> {
        self.end = self.end.watch(Interest::WRITABLE)?;
        Ok(self)
    }

    /// Waits until more fits, and writes once; true when all is written or nobody reads it. Needs [`Self::watch`].
    pub(crate) async fn write(&mut self) -> bool {
        let End::Watched(end) = &self.end else { return pending().await };
        let Ok(mut ready) = end.writable().await else { return pending().await };
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        match ready.try_io(|end| Ok(rustix::io::write(end.get_ref(), rest)?)) {
            Ok(Ok(written)) => {
                self.sent += written;
                self.sent >= self.bytes.len()
            }
            Ok(Err(error)) => error.kind() != io::ErrorKind::Interrupted,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_was_cut_is_dropped_and_nothing_else() {
        for (given, left) in [
            (&b"ab"[..], &b"ab"[..]),
            (b"a\xc3", b"a"),
            (b"a\xc3\xbc", b"a\xc3\xbc"),
            (b"a\xe2\x82", b"a"),
            (b"\xf0\x9f\x98", b""),
            (b"\xf0\x9f\x98\x80", b"\xf0\x9f\x98\x80"),
            (b"a\xff", b"a\xff"),
            (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80"),
            (b"", b""),
        ] {
            let mut bytes = given.to_vec();
            drop_half_character(&mut bytes);
            assert_eq!(bytes, left);
        }
    }

    #[test]
    fn a_pipe_is_kept_up_to_its_limit_and_drained_beyond_it() {
        let (mut output, theirs) = Output::new(5).unwrap();
        rustix::io::write(&theirs, b"hello world").unwrap();
        output.drain();
        assert!(!output.ended());
        assert_eq!(output.seen(), 11);
        assert_eq!(output.finish(), (b"hello".to_vec(), true));
    }

    #[test]
    fn more_input_than_a_pipe_holds_is_not_waited_for() {
        let (input, theirs) = Input::new(vec![b'x'; 1 << 20]).unwrap();
        let input = input.feed().expect("does not fit");
        assert!(input.sent > 0 && input.sent < 1 << 20);
        drop(theirs);
        assert!(input.feed().is_none(), "nobody reads any more");
        let (input, _theirs) = Input::new(b"short".to_vec()).unwrap();
        assert!(input.feed().is_none());
    }
}
