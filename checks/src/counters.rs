//! Rates from counters that only grow: two readings, the earlier one from the last run.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::{CheckError, Context, order};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::proc;

/// How far two readings of one run are apart: long enough to see some traffic, short enough to wait for.
pub(crate) const APART: Duration = Duration::from_millis(500);

/// What is counted.
pub(crate) trait Counted {
    /// Whether this may be what `earlier` became. Not if whoever counts was started anew in between.
    fn continues(&self, earlier: &Self) -> bool;
}

/// Of several devices, each is looked at by itself: one may have been replaced while the others count on.
impl<T> Counted for BTreeMap<String, T> {
    fn continues(&self, _: &Self) -> bool {
        true
    }
}

/// What counters said at one moment; it is remembered as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reading<T> {
    /// The wall clock, in milliseconds.
    at: i64,
    /// Which boot of the host it was, since its counters begin anew with each.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    boot: String,
    pub(crate) counters: T,
}

impl<T: Counted> Reading<T> {
    fn follows(&self, earlier: &Self) -> bool {
        self.boot == earlier.boot && self.at > earlier.at && self.counters.continues(&earlier.counters)
    }

    /// The span from this reading to a later one of the same run.
    pub(crate) fn until(self, later: Self) -> Span<T> {
        Span::between(self, later)
    }
}

/// Two readings, and how many seconds lie between them.
#[derive(Debug)]
pub(crate) struct Span<T> {
    pub(crate) earlier: T,
    pub(crate) now: Reading<T>,
    pub(crate) seconds: f64,
}

/// When counters are read within a run, and whose they are.
pub(crate) struct Clock {
    now: Timestamp,
    start: Instant,
    timeout: Duration,
    boot: String,
}

impl Clock {
    /// For counters of this host, the first of which were just read, as the run began.
    fn of_host(context: &Context<'_>) -> Self {
        Self { boot: proc::boot_id(context.sysroot), ..Self::of_server(context, Instant::now()) }
    }

    /// For counters of a server, in a run that began at `start`.
    pub(crate) fn of_server(context: &Context<'_>, start: Instant) -> Self {
        Self { now: context.now, start, timeout: context.timeout, boot: String::new() }
    }

    /// What was read just now.
    pub(crate) fn reading<T>(&self, counters: T) -> Reading<T> {
        Reading { at: (self.now + self.start.elapsed()).as_millisecond(), boot: self.boot.clone(), counters }
    }

    /// The span from the reading of the last run to this one. If there is none that this one follows, it is given back a moment later:
    /// then a second one must be made.
    pub(crate) async fn span<T: Counted>(
        &self,
        last: Option<Reading<T>>,
        reading: Reading<T>,
    ) -> Result<Span<T>, Reading<T>> {
        if let Some(last) = last.filter(|last| reading.follows(last)) {
            return Ok(Span::between(last, reading));
        }
        sleep(APART.min(self.timeout.saturating_sub(self.start.elapsed()) / 4)).await;
        Err(reading)
    }
}

/// Reads counters of this host, twice if that is needed.
pub(crate) async fn of_host<T: Counted, F>(
    context: &Context<'_>,
    last: Option<Reading<T>>,
    mut read: impl FnMut() -> F,
) -> Result<Span<T>, CheckError>
where
    F: Future<Output = Result<T, CheckError>>,
{
    let counters = read().await?;
    let clock = Clock::of_host(context);
    let first = clock.reading(counters);
    match clock.span(last, first).await {
        Ok(span) => Ok(span),
        Err(first) => Ok(first.until(clock.reading(read().await?))),
    }
}

impl<T> Span<T> {
    fn between(earlier: Reading<T>, now: Reading<T>) -> Self {
        // The clock counts in milliseconds.
        let seconds = now.at.saturating_sub(earlier.at).max(1) as f64 / 1e3;
        Self { earlier: earlier.counters, now, seconds }
    }
}

/// How much a counter grew; nothing if it went backwards, because what counts was replaced or started anew, or the counter ran over.
pub(crate) fn growth(earlier: u64, now: u64) -> Option<f64> {
    now.checked_sub(earlier).map(|growth| growth as f64)
}

/// Counters of one server, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named(BTreeMap<String, u64>);

impl Named {
    /// These of those that the server names.
    pub(crate) fn of(values: &BTreeMap<String, String>, names: &[&str]) -> Self {
        let number = |name: &&str| Some(((*name).to_owned(), values.get(*name)?.parse().ok()?));
        Self(order::tree(names.iter().filter_map(number)))
    }
}

/// If one of them went backwards, the server was started anew.
impl Counted for Named {
    fn continues(&self, earlier: &Self) -> bool {
        self.0.iter().all(|(name, now)| earlier.0.get(name).is_none_or(|earlier| now >= earlier))
    }
}

impl Span<Named> {
    /// By how much one has grown.
    pub(crate) fn by(&self, name: &str) -> Option<f64> {
        growth(*self.earlier.0.get(name)?, *self.now.counters.0.get(name)?)
    }

    /// By how much per second.
    pub(crate) fn rate(&self, name: &str) -> Option<f64> {
        self.by(name).map(|by| by / self.seconds)
    }

    /// The share of `part` in `part` and `rest`, in percent, if there was any of both.
    pub(crate) fn share(&self, part: &str, rest: &str) -> Option<f64> {
        let (part, rest) = (self.by(part)?, self.by(rest)?);
        (part + rest > 0.0).then(|| 100.0 * part / (part + rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hits: u64, misses: u64) -> Named {
        Named(BTreeMap::from([("hits".to_owned(), hits), ("misses".to_owned(), misses)]))
    }

    /// What comes of a run at second 100 in which a server says these in turn, and how often it is asked. The clock stands still but for
    /// what is waited.
    async fn run(boot: &str, last: Option<(i64, &str, Named)>, says: &[Named]) -> (Span<Named>, usize) {
        let last = last.map(|(at, boot, counters)| Reading { at: at * 1000, boot: boot.to_owned(), counters });
        let clock = Clock {
            now: Timestamp::from_second(100).unwrap(),
            start: Instant::now(),
            timeout: Duration::from_secs(10),
            boot: boot.to_owned(),
        };
        match clock.span(last, clock.reading(says[0].clone())).await {
            Ok(span) => (span, 1),
            Err(first) => (first.until(clock.reading(says[1].clone())), 2),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_run_is_compared_with() {
        let (span, asked) = run("", Some((90, "", named(10, 5))), &[named(40, 15)]).await;
        assert_eq!(
            (asked, span.by("hits"), span.rate("misses"), span.share("hits", "misses")),
            (1, Some(30.0), Some(1.0), Some(75.0))
        );
        assert_eq!((span.by("others"), span.now.at), (None, 100_000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_follow_is_read_twice() {
        let says = [named(40, 15), named(42, 15)];
        for (boot, last) in [
            ("", None),
            ("b", Some((90, "a", named(10, 5)))),
            ("", Some((100, "", named(10, 5)))),
            ("", Some((110, "", named(10, 5)))),
            ("", Some((90, "", named(41, 5)))),
        ] {
            let (span, asked) = run(boot, last, &says).await;
            assert_eq!((asked, span.seconds, span.rate("hits")), (2, 0.5, Some(4.0)), "{boot}");
            assert_eq!((span.now.at, span.share("misses", "misses")), (100_500, None));
        }
        let (span, _) = run("", None, &[named(40, 15), named(1, 16)]).await;
        assert_eq!((span.by("hits"), span.by("misses")), (None, Some(1.0)), "it was started anew in between");
    }
}
