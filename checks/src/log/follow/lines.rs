//! Lines of a file between two places, in bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use tokio::time::Instant;

/// How much of a line is looked at; the rest of a longer one is passed over.
pub(super) const MAX_LINE: usize = 16 * 1024;
const CHUNK: usize = 64 * 1024;

pub(super) struct Lines<'a> {
    pub(super) file: &'a File,
    /// Where the file ended when it was opened; what comes later is read in the next run.
    pub(super) end: u64,
    /// Whether the end of the file ends the last line.
    pub(super) is_ended: bool,
    pub(super) deadline: Instant,
}

impl Lines<'_> {
    /// Gives out all lines from `offset` on, and moves it behind the last one. `within` tells that it stands in a line that is to be passed
    /// over. When the time is over, it stops.
    pub(super) fn read(
        &self,
        offset: &mut u64,
        within: &mut bool,
        judge: &mut dyn FnMut(&[u8]),
    ) -> std::io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut line: Vec<u8> = Vec::new();
        let mut at = *offset;
        while at < self.end && Instant::now() < self.deadline {
            let wanted = usize::try_from(self.end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let count = self.file.read_at(chunk.get_mut(..wanted).unwrap_or_default(), at)?;
            if count == 0 {
                // It was truncated a moment ago; the next run sees that.
                return Ok(());
            }
            for piece in chunk.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                at += piece.len() as u64;
                let ended = piece.ends_with(b"\n");
                if *within {
                    (*offset, *within) = (at, !ended);
                    continue;
                }
                let room = MAX_LINE.saturating_sub(line.len());
                line.extend_from_slice(piece.get(..room).unwrap_or(piece));
                if ended || line.len() >= MAX_LINE {
                    give(&line, judge);
                    line.clear();
                    (*offset, *within) = (at, !ended);
                }
            }
        }
        if self.is_ended && at >= self.end && !line.is_empty() {
            give(&line, judge);
            *offset = at;
        }
        Ok(())
    }
}

fn give(line: &[u8], judge: &mut dyn FnMut(&[u8])) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    judge(line.strip_suffix(b"\r").unwrap_or(line));
}

/// The place behind the last end of a line; none if there is none in the last [`MAX_LINE`] bytes.
pub(super) fn last_end(file: &File, size: u64) -> Option<u64> {
    let start = size.saturating_sub(MAX_LINE as u64);
    let mut bytes = vec![0; usize::try_from(size - start).ok()?];
    file.read_exact_at(&mut bytes, start).ok()?;
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(place) => Some(start + place as u64 + 1),
        None if start == 0 => Some(0),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    /// All lines up to `end`, read from `offset` on.
    fn read(file: &File, end: usize, is_ended: bool, offset: &mut u64, within: &mut bool) -> Vec<Vec<u8>> {
        let lines = Lines { file, end: end as u64, is_ended, deadline: Instant::now() + Duration::from_secs(3_600) };
        let mut found = Vec::new();
        lines.read(offset, within, &mut |line| found.push(line.to_vec())).unwrap();
        found
    }

    #[test]
    fn fuzzed_lines_are_the_same_however_the_file_grows() {
        crate::fuzz::on_bytes("log_lines", |bytes| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let (mut offset, mut within) = (0, false);
            let whole = read(&file, bytes.len(), true, &mut offset, &mut within);
            assert_eq!(offset, bytes.len() as u64);
            assert!(whole.iter().all(|line| line.len() <= MAX_LINE));
            let pieces: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            assert_eq!(whole.len(), pieces.len(), "each line is given out once");
            // It grew in three steps, of which the last ended it.
            let (mut offset, mut within, mut grown) = (0, false, Vec::new());
            for end in [bytes.len() / 3, bytes.len() / 2, bytes.len()] {
                grown.extend(read(&file, end, end == bytes.len(), &mut offset, &mut within));
            }
            assert_eq!(grown, whole);
            let last = last_end(&file, bytes.len() as u64).map(|last| usize::try_from(last).unwrap());
            assert!(last.is_none_or(|last| last == 0 || bytes.get(last - 1) == Some(&b'\n')), "{last:?}");
        });
    }
}
