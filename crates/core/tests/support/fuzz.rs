//! A mutation fuzzer in one file, for stable Rust. Tests of other crates use it with `#[path]`.
//!
//! It takes inputs from a corpus directory (one file each) and alters them; the check panics if something is wrong with an answer. An
//! input that makes it panic, or takes longer than [`SLOWEST`], is written beside the corpus as `failed-<target>-<seed>`, and the
//! message names the seed: `MONCHERO_SEED=<it>` repeats it. `MONCHERO_PROPERTY_CASES` says how many inputs are tried. With
//! `FUZZ_SECONDS` each target gets so much time instead, and other inputs each time.

#[path = "random.rs"]
mod random;

use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use random::{Random, for_cases, for_seeds, number};

/// How long one input may take. Parsers need microseconds; the rest is room for a machine that is busy with something else.
const SLOWEST: Duration = Duration::from_millis(250);
/// The longest input, in bytes: what the daemon keeps of a plugin's output.
const LONGEST: usize = 64 * 1024;

/// Pieces of what our parsers read, the numbers at which types end, and characters that terminals and encodings trip over.
const PIECES: &[&str] = &[
    "0",
    "-0",
    "1e999",
    "-1e-999",
    "18446744073709551616",
    "9223372036854775808",
    "1e308",
    "4294967296",
    ".",
    ",",
    "NaN",
    "inf",
    "U",
    "~",
    "@",
    ":",
    ";",
    "|",
    "=",
    "'",
    "''",
    "\"",
    "\\",
    "%",
    "ms",
    "GiB",
    "TiB",
    "d",
    "w",
    "y",
    ">=",
    "<",
    "!=",
    "==",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[2J",
    "\u{9b}",
    "\u{202e}",
    "\u{fffd}",
    "ü",
    "漢",
    "/",
    "[",
    "]",
    "*",
    "..",
    "-",
    "+",
    "#",
    "{",
    "}",
];

/// Alters inputs of a corpus and hands them to a check.
pub(crate) fn fuzz(target: &str, corpus: &Path, inputs: u64, check: impl Fn(&[u8]) + Sync) {
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap_or_else(|why| panic!("{}: {why}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!seeds.is_empty(), "the corpus {} is empty", corpus.display());
    for (file, seed) in files.iter().zip(&seeds) {
        try_one(seed, &check).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    }
    let one = |random: &mut Random| {
        let input = mutate(random, &seeds);
        if let Err(why) = try_one(&input, &check) {
            let kept = corpus.with_file_name(format!("failed-{target}-{:016x}", random.below(u64::MAX)));
            let _ = std::fs::write(&kept, &input);
            panic!("{target}: {why}; the input is kept as {}", kept.display());
        }
    };
    let Some(seconds) = number("FUZZ_SECONDS") else { return for_cases(inputs, one) };
    // Seeds that no run before had.
    let first = RandomState::new().hash_one(target) >> 1;
    let begin = Instant::now();
    for_seeds(first..u64::MAX, || begin.elapsed() >= Duration::from_secs(seconds), one);
}

/// The time that this thread has had a CPU: on a busy machine the clock says nothing about an input.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number stands first"))
}

fn try_one(input: &[u8], check: &impl Fn(&[u8])) -> Result<(), String> {
    let run = || {
        let begin = spent();
        catch_unwind(AssertUnwindSafe(|| check(input))).map(|()| spent().saturating_sub(begin))
    };
    let mut fastest = Duration::MAX;
    // Only what is slow whenever it is tried is slow.
    for _ in 0..3 {
        let took = run().map_err(|panic| match panic.downcast::<String>() {
            Ok(why) => *why,
            Err(other) => other.downcast::<&str>().map_or_else(|other| resume_unwind(other), |why| (*why).to_owned()),
        })?;
        fastest = fastest.min(took);
        if fastest <= SLOWEST {
            return Ok(());
        }
    }
    Err(format!("{} bytes took {fastest:?}", input.len()))
}

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = random.pick(seeds).clone();
    for _ in 0..=random.below(6) {
        let at = place(random, &input);
        match random.below(9) {
            0 => input.insert(at, u8::try_from(random.below(256)).unwrap()),
            1 | 2 => drop(input.splice(at..at, random.pick(PIECES).bytes())),
            3 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            4 => {
                let end = at + place(random, &input[at..]);
                input.drain(at..end);
            }
            5 => {
                let part = input[at..].to_vec();
                let times =
                    usize::try_from(if random.percent(2) { random.below(2_000) } else { random.below(3) }).unwrap();
                (0..times).for_each(|_| input.extend_from_slice(&part));
            }
            6 => input.truncate(at),
            7 => {
                let other = random.pick(seeds);
                let from = place(random, other);
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let piece = random.pick(PIECES).as_bytes();
                let end = (at + piece.len()).min(input.len());
                input.splice(at..end, piece.iter().copied());
            }
        }
        input.truncate(LONGEST);
    }
    input
}

fn place(random: &mut Random, input: &[u8]) -> usize {
    usize::try_from(random.below(input.len() as u64 + 1)).unwrap()
}
