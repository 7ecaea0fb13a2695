//! How fast mounts grow: a few samples of each, kept from run to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far apart samples are at least, in seconds.
const SPACING: i64 = 30 * 60;
/// How many samples of a mount are kept: six hours.
const MAX_SAMPLES: usize = 12;
/// How long the history must be before it says anything, in seconds.
const SHORTEST: i64 = 60 * 60;
/// What lies further ahead than this is no forecast, in seconds: a year.
const FURTHEST: f64 = 365.0 * 86_400.0;
/// How many mounts are followed, and how long their names may be: together some 60 KiB of memory at the very most.
const MAX_MOUNTS: usize = 100;
const MAX_NAME: usize = 200;

/// The samples of all mounts: when, in seconds, and how many KiB were in use.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Trends(BTreeMap<String, Vec<(i64, u64)>>);

impl Trends {
    /// Forgets mounts that are no longer looked at; says whether there were any.
    pub(super) fn keep(&mut self, mounts: &[&str]) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| mounts.contains(&name.as_str()));
        self.0.len() != before
    }

    /// Takes the use of a mount in bytes; says whether that is worth remembering.
    pub(super) fn add(&mut self, mount: &str, now: i64, used: f64) -> bool {
        let is_new = !self.0.contains_key(mount);
        if is_new && (self.0.len() >= MAX_MOUNTS || mount.len() > MAX_NAME) {
            return false;
        }
        let samples = self.0.entry(mount.to_owned()).or_default();
        // A clock that was set back would make the future part of the history.
        samples.retain(|(at, _)| *at <= now);
        if samples.last().is_some_and(|(at, _)| now - at < SPACING) {
            return false;
        }
        if samples.len() == MAX_SAMPLES {
            samples.remove(0);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes in use are no less than 0")]
        samples.push((now, (used / 1024.0) as u64));
        true
    }

    /// In how many seconds a mount will be full that has `free` bytes left, if it grows and its history tells.
    pub(super) fn full_in(&self, mount: &str, now: i64, used: f64, free: f64) -> Option<f64> {
        let samples = self.0.get(mount)?;
        let (first, _) = samples.first()?;
        if now - first < SHORTEST {
            return None;
        }
        let mut points: Vec<(f64, f64)> =
            samples.iter().map(|(at, kib)| ((at - first) as f64, *kib as f64 * 1024.0)).collect();
        points.push(((now - first) as f64, used));
        let growth = slope(&points);
        // A file system that is full is so now, however slowly it got there.
        let full_in = if growth > 0.0 { free / growth } else { f64::INFINITY };
        (full_in <= FURTHEST).then_some(full_in)
    }
}

/// The slope of the straight line that lies closest to the points (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if spread > 0.0 { together / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    /// A mount of 100 GiB that is looked at every ten minutes and grows by so much an hour.
    fn after(hours: i64, growth: f64) -> (Trends, Option<f64>) {
        let mut trends = Trends::default();
        let mut answer = None;
        for now in (0..=hours * 3600).step_by(600) {
            let used = 50.0 * GIB + growth * now as f64 / 3600.0;
            trends.add("/srv", now, used);
            answer = trends.full_in("/srv", now, used, 100.0 * GIB - used);
        }
        (trends, answer)
    }

    #[test]
    fn steady_growth_is_foretold() {
        let (trends, answer) = after(10, GIB);
        assert!((answer.unwrap() / 3600.0 - 40.0).abs() < 0.1, "{answer:?}");
        assert_eq!(trends.0["/srv"].len(), MAX_SAMPLES);
    }

    #[test]
    fn a_short_history_and_one_without_growth_say_nothing() {
        assert_eq!(after(0, GIB).1, None);
        assert!(after(1, GIB).1.is_some());
        for growth in [0.0, -GIB, 1.0] {
            assert_eq!(after(10, growth).1, None, "{growth}");
        }
    }

    #[test]
    fn memory_is_bounded_and_the_future_forgotten() {
        let mut trends = Trends::default();
        for number in 0..1_000 {
            for sample in 0..100 {
                trends.add(&format!("{number:0200}"), sample * SPACING, 1e18);
            }
        }
        assert!(serde_json::to_string(&trends).unwrap().len() < monchero_core::report::MAX_MEMORY);
        let (mut trends, _) = after(1, GIB);
        trends.add("/srv", 5, 0.0);
        assert_eq!(trends.0["/srv"].len(), 1, "that of second 0");
        assert!(trends.keep(&["/other"]) && trends.0.is_empty());
    }
}
