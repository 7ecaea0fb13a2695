//! Looks at a write-ahead log before SQLite does.
//!
//! SQLite takes frames up to the first that does not fit its checksum and passes over the rest in silence. That is right after a crash,
//! when the rest was never committed; but if a commit stands behind a damaged frame, something that was acknowledged is lost, and
//! somebody must be told (R27). Layout: "The Write-Ahead Log", section 4 of SQLite's file format.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Whether commits stand in the log that SQLite will not take, and why.
pub(crate) fn lost_commits(path: &Path) -> Option<&'static str> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    match scan(BufReader::with_capacity(64 * 1024, file), length) {
        Ok(lost) => lost,
        Err(_) => Some("it could not be read"),
    }
}

fn scan(mut file: impl Read, length: u64) -> io::Result<Option<&'static str>> {
    let smallest = (HEADER + FRAME_HEADER + 512) as u64;
    if length < smallest {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let big_endian = match word(&header, 0, true) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Ok(Some("its header is damaged")),
    };
    let mut sum = (0, 0);
    checksum(&header[..24], big_endian, &mut sum);
    let page = word(&header, 8, true) as usize;
    if sum != (word(&header, 24, true), word(&header, 28, true)) || !(512..=65_536).contains(&page) {
        return Ok(Some("its header is damaged"));
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut intact = true;
    // Behind the last frame of this round of the log stand frames of earlier rounds, with another salt.
    while read_frame(&mut file, &mut frame)? {
        if intact {
            checksum(&frame[..8], big_endian, &mut sum);
            checksum(&frame[FRAME_HEADER..], big_endian, &mut sum);
        }
        let ours = frame[8..16] == header[16..24];
        intact = intact && ours && sum == (word(&frame, 16, true), word(&frame, 20, true));
        let commits = word(&frame, 4, true) != 0;
        if ours && commits && !intact {
            return Ok(Some("a part of it is damaged, and what was committed after that is lost"));
        }
    }
    Ok(None)
}

/// Whether a whole frame was left; a torn one at the end never was committed.
fn read_frame(file: &mut impl Read, frame: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(frame) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(why) => Err(why),
    }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

fn checksum(bytes: &[u8], big_endian: bool, sum: &mut (u32, u32)) {
    for at in (0..bytes.len()).step_by(8) {
        sum.0 = sum.0.wrapping_add(word(bytes, at, big_endian)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(bytes, at + 4, big_endian)).wrapping_add(sum.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with three commits, and where its frames are.
    fn log() -> (Vec<u8>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        for i in 0..3 {
            connection.execute("INSERT INTO t VALUES (?1)", [i]).unwrap();
        }
        (std::fs::read(directory.path().join("a.db-wal")).unwrap(), FRAME_HEADER + 4096)
    }

    fn judge(log: &[u8]) -> Option<&'static str> {
        scan(log, log.len() as u64).unwrap()
    }

    #[test]
    fn whole_and_torn_logs_are_fine_damaged_ones_are_not() {
        let (log, frame) = log();
        let frames = (log.len() - HEADER) / frame;
        assert!(frames >= 4);
        assert_eq!(judge(&log), None);
        for cut in [0, 20, HEADER, HEADER + frame, HEADER + 2 * frame + 17, log.len() - 1] {
            assert_eq!(judge(&log[..cut]), None, "cut at {cut}");
        }
        for at in [0, 9, 17, 25, HEADER, HEADER + 17, HEADER + FRAME_HEADER + 99, log.len() - 1] {
            let mut damaged = log.clone();
            damaged[at] ^= 4;
            assert!(judge(&damaged).is_some(), "flip at {at}");
        }
    }
}
