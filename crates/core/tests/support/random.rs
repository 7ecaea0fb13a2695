//! Random choices that can be repeated, and the loop of a property test. A failure names its seed; `MONCHERO_SEED=<it>` repeats that
//! case alone. `MONCHERO_PROPERTY_CASES=<n>` says how many cases run, `MONCHERO_FIRST_SEED=<n>` from which one on; a release runs a million.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A stream of numbers that its seed decides (`SplitMix64`).
pub(crate) struct Random(u64);

impl Random {
    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Yes, in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Runs a property on `default` random cases, or as many as the environment says, on all processors.
pub(crate) fn for_cases(default: u64, property: impl Fn(&mut Random) + Sync) {
    let first = number("MONCHERO_FIRST_SEED").unwrap_or(0);
    for_seeds(first..first + number("MONCHERO_PROPERTY_CASES").unwrap_or(default), || false, property);
}

/// A number that the environment says.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a property on a case of each seed until it is enough, or on that of the environment alone.
pub(crate) fn for_seeds(
    seeds: std::ops::Range<u64>,
    is_enough: impl Fn() -> bool + Sync,
    property: impl Fn(&mut Random) + Sync,
) {
    if let Some(seed) = number("MONCHERO_SEED") {
        property(&mut Random(seed));
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (property, failed, is_enough) = (&property, &failed, &is_enough);
            let own = (seeds.start + thread..seeds.end).step_by(usize::try_from(threads).unwrap());
            scope.spawn(move || {
                for seed in own {
                    if failed.load(Relaxed) || is_enough() {
                        return;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| property(&mut Random(seed)))) {
                        failed.store(true, Relaxed);
                        let why = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or(panic.downcast_ref::<&str>().copied());
                        panic!("MONCHERO_SEED={seed}: {}", why.unwrap_or("the property panicked"));
                    }
                }
            });
        }
    });
}
