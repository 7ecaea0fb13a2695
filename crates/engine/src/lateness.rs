//! How late runs start: a histogram of fixed size.

use std::time::Duration;

/// Buckets of a quarter of a power of two, from 16 us to beyond an hour.
const BUCKETS: usize = 128;

/// Counts durations; answers quantiles with an error of at most 19 %.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, duration: Duration) {
        let bucket = &mut self.counts[bucket_of(duration)];
        *bucket = bucket.saturating_add(1);
        self.total += 1;
        self.max = self.max.max(duration);
    }

    /// The upper bound of the bucket in which the quantile lies; zero if nothing was counted.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a quantile of a count is a count")]
        let wanted = (self.total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted && seen > 0 {
                return upper_bound(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Starts anew.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn bucket_of(duration: Duration) -> usize {
    let quarters = (duration.as_secs_f64() * 1e6 / 16.0).max(1.0).log2() * 4.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0 and clamped to the table")]
    let bucket = quarters.ceil() as usize;
    bucket.min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    Duration::from_secs_f64(16e-6 * (bucket as f64 / 4.0).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        for ms in 1..=1_000 {
            histogram.record(Duration::from_millis(ms));
        }
        let p50 = histogram.quantile(0.5).as_secs_f64();
        let p99 = histogram.quantile(0.99).as_secs_f64();
        assert!((0.5..0.6).contains(&p50), "{p50}");
        assert!((0.99..=1.0).contains(&p99), "{p99}");
        assert_eq!(histogram.quantile(1.0), Duration::from_secs(1));
    }

    #[test]
    fn extremes_have_a_place() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.quantile(1.0), upper_bound(BUCKETS - 1));
    }
}
