//! Counters of servers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far apart two readings of counters are if none is remembered.
pub(crate) const SECOND_READING: Duration = Duration::from_millis(500);

/// Counters of a server at a moment, to be remembered from run to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// In seconds, from wherever both readings count.
    pub(crate) at: f64,
    pub(crate) values: BTreeMap<String, f64>,
}

impl Counters {
    /// These counters of those that the server names, now.
    pub(crate) fn of(now: jiff::Timestamp, values: &BTreeMap<String, String>, names: &[&str]) -> Self {
        let number = |name: &&str| Some(((*name).to_owned(), values.get(*name)?.parse().ok()?));
        Self { at: now.as_millisecond() as f64 / 1000.0, values: names.iter().filter_map(number).collect() }
    }

    /// How much each has grown since `earlier`, and in how many seconds. Nothing if time or a counter went backwards: the server was
    /// started anew.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Growth> {
        let seconds = self.at - earlier.at;
        let grown = |(name, now): (&String, &f64)| {
            let by = now - earlier.values.get(name)?;
            (by >= 0.0).then(|| (name.clone(), by))
        };
        let values = self.values.iter().map(grown).collect::<Option<_>>()?;
        (seconds > 0.0).then_some(Growth { seconds, values })
    }
}

/// How much counters have grown.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) seconds: f64,
    values: BTreeMap<String, f64>,
}

impl Growth {
    /// By how much in all.
    pub(crate) fn by(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
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

    fn counters(at: f64, hits: f64) -> Counters {
        Counters { at, values: BTreeMap::from([("hits".to_owned(), hits)]) }
    }

    #[test]
    fn growth_of_counters() {
        let growth = counters(20.0, 50.0).since(&counters(10.0, 30.0)).unwrap();
        assert_eq!((growth.by("hits"), growth.rate("hits"), growth.rate("other")), (Some(20.0), Some(2.0), None));
        assert!(counters(20.0, 5.0).since(&counters(10.0, 30.0)).is_none(), "the server was started anew");
        assert!(counters(10.0, 50.0).since(&counters(10.0, 30.0)).is_none(), "no time has passed");
        assert!(counters(20.0, 5.0).since(&Counters { at: 1.0, values: BTreeMap::new() }).is_none());
    }
}
