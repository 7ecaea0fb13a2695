//! The fuzz driver for the parsers of this crate: the tests of each hand it what it says of any input.

#[path = "../../crates/core/tests/support/fuzz.rs"]
mod driver;

use std::path::Path;

/// How many inputs each target gets, unless the environment says otherwise.
const INPUTS: u64 = 3_000;

/// Alters the inputs in `tests/corpus/TARGET` and hands them to a check.
pub(crate) fn on_bytes(target: &str, check: impl Fn(&[u8]) + Sync) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    driver::fuzz(target, &corpus, INPUTS, check);
}

/// The same for what reads text.
pub(crate) fn on_text(target: &str, check: impl Fn(&str) + Sync) {
    on_bytes(target, |bytes| check(&String::from_utf8_lossy(bytes)));
}
