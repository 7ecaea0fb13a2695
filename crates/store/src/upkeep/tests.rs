use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::Name;
use proptest::prelude::*;

use super::*;
use crate::place::Place;
use crate::queue::Batch;
use crate::reader::Reader;
use crate::record::{MetricPoint, Record, Urgency};
use crate::recover;
use crate::rollup::{FIVE_MINUTES, HOUR};

/// The beginning of an hour.
const START: i64 = 1_800_000_000_000;

/// A database without the thread around it.
struct Bench {
    _directory: tempfile::TempDir,
    place: Place,
    db: Connection,
    applier: Applier,
    next_id: i64,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::claim(directory.path()).unwrap();
        let mut repairs = Vec::new();
        let db = recover::open(&place, Timestamp::UNIX_EPOCH, &mut repairs).unwrap();
        assert_eq!(repairs, Vec::<String>::new());
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        Self { _directory: directory, place, db, applier: Applier::default(), next_id: 1 }
    }

    fn write(&mut self, records: Vec<Record>) {
        let transaction = self.db.unchecked_transaction().unwrap();
        let count = i64::try_from(records.len()).unwrap();
        let batch = Batch { ticket: 1, urgency: Urgency::Soon, records };
        self.applier.apply(&self.db, &[batch], self.next_id).unwrap();
        transaction.commit().unwrap();
        self.next_id += count;
    }

    fn keep(&mut self, now: i64, retention: &Retention, max_bytes: u64) -> u64 {
        let (mut upkeep, mut evicted) = (Upkeep::new(now), 0);
        while upkeep.step(&self.db, &mut self.applier, retention, max_bytes, &mut evicted).unwrap() == Step::More {}
        evicted
    }

    fn count(&self, table: &str) -> i64 {
        self.db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
    }

    fn metrics(&self, label: &str, since: i64, until: i64, max_points: usize) -> Vec<MetricPoint> {
        Reader::new(self.place.database()).metrics("c", label, time(since), time(until), max_points).unwrap()
    }
}

fn time(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap()
}

fn value(label: &str, at: i64, value: f64) -> Record {
    Record::Metrics { check: Name::new("c"), at: time(at), points: vec![(label.into(), "s".into(), value)] }
}

const FOREVER: Retention = Retention {
    metrics: Duration::from_secs(4_000 * 86_400),
    metrics_5m: Duration::from_secs(4_000 * 86_400),
    metrics_1h: Duration::from_secs(4_000 * 86_400),
    events: Duration::from_secs(4_000 * 86_400),
};

/// What a roll-up is: mean, smallest, largest and number of the values of a window.
fn naive(
    values: &BTreeMap<(i64, u8), f64>,
    series: u8,
    length: i64,
    before: i64,
) -> BTreeMap<i64, (f64, f64, f64, i64)> {
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for ((at, _), value) in values.iter().filter(|((at, of), _)| *of == series && *at < before) {
        windows.entry(rollup::window(*at, length)).or_default().push(*value);
    }
    let sum_up = |values: Vec<f64>| {
        let count = i64::try_from(values.len()).unwrap();
        let mean = values.iter().sum::<f64>() / count as f64;
        (
            mean,
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count,
        )
    };
    windows.into_iter().map(|(at, values)| (at, sum_up(values))).collect()
}

fn stored(bench: &Bench, table: &str, label: &str) -> BTreeMap<i64, (f64, f64, f64, i64)> {
    bench
        .db
        .prepare(&format!(
            "SELECT at, mean, min, max, count FROM {table} JOIN series ON series.id = {table}.series WHERE label = ?1"
        ))
        .unwrap()
        .query_map([label], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn same(a: &BTreeMap<i64, (f64, f64, f64, i64)>, b: &BTreeMap<i64, (f64, f64, f64, i64)>) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((at_a, a), (at_b, b))| {
            at_a == at_b && (a.0 - b.0).abs() <= 1e-9 * a.0.abs().max(1.0) && (a.1, a.2, a.3) == (b.1, b.2, b.3)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Values that come in any order, late ones too, with upkeep at any time in between: roll-ups equal those of a model that keeps
    /// all values. A value that is written twice counts once.
    #[test]
    fn rollups_equal_a_naive_model(
        rounds in prop::collection::vec((prop::collection::vec((0..30_000i64, 0..3u8, -1e6..1e6f64), 0..60), 0..40_000i64), 1..6),
    ) {
        let mut bench = Bench::new();
        let mut values = BTreeMap::new();
        let mut now = START;
        for (round, wait) in rounds {
            for (second, series, number) in round {
                let at = START + second * 1_000;
                let number = *values.entry((at, series)).or_insert(number);
                bench.write(vec![value(&series.to_string(), at, number)]);
                bench.write(vec![value(&series.to_string(), at, number)]);
            }
            now = now.max(START + wait * 1_000);
            bench.keep(now, &FOREVER, u64::MAX);
            let (fine, coarse) = bench.applier.marks.whole();
            prop_assert!(now - fine < FIVE_MINUTES + 10_001 && now - coarse < HOUR + 10_001);
            for series in 0..3 {
                let label = series.to_string();
                let (expected, found) = (naive(&values, series, FIVE_MINUTES, fine), stored(&bench, "rollups_5m", &label));
                prop_assert!(same(&found, &expected), "{:?} != {:?}", found, expected);
                let (expected, found) = (naive(&values, series, HOUR, coarse), stored(&bench, "rollups_1h", &label));
                prop_assert!(same(&found, &expected), "{:?} != {:?}", found, expected);
            }
        }
        // A restart takes the marks from the database.
        let marks = bench.applier.marks;
        bench.applier.reset(&bench.db).unwrap();
        prop_assert_eq!(bench.applier.marks, marks);
    }

    /// Whatever is asked for, the points cover all values of the range once, in order, and are not more than wanted.
    #[test]
    fn points_cover_the_range(hours in 1..200i64, max_points in 1..400usize, kept_minutes in 0..600i64) {
        let mut bench = Bench::new();
        let now = START + hours * HOUR;
        let minutes = hours * 60;
        bench.write((0..minutes).map(|minute| value("x", START + minute * 60_000, minute as f64)).collect());
        let retention = Retention { metrics: Duration::from_secs(u64::try_from(kept_minutes * 60).unwrap()), ..FOREVER };
        bench.keep(now, &retention, u64::MAX);
        let points = bench.metrics("x", START, now, max_points);
        prop_assert!(points.len() <= max_points);
        prop_assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        prop_assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), u64::try_from(minutes).unwrap());
        let total: f64 = points.iter().map(|point| point.mean * point.count as f64).sum();
        let expected = (minutes * (minutes - 1) / 2) as f64;
        prop_assert!((total - expected).abs() < 1e-6 * expected.max(1.0), "{} {}", total, expected);
        prop_assert!(points[0].min.abs() < 0.5 && (points.last().unwrap().max - (minutes - 1) as f64).abs() < 0.5);
    }
}

#[test]
fn retention_keeps_what_is_wanted_and_no_more() {
    let mut bench = Bench::new();
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let retention = Retention { metrics: days(2), metrics_5m: days(10), metrics_1h: days(100), events: days(30) };
    let day = 24 * HOUR;
    for n in 0..120 {
        let at = START + n * day;
        let mut records: Vec<Record> = (0..24).map(|hour| value("x", at + hour * HOUR, 1.0)).collect();
        let transition = monchero_core::Transition { at: time(at), ..transition() };
        records.push(Record::Transition { check: Name::new("c"), transition, message: "m".into() });
        bench.write(records);
        bench.keep(at + day, &retention, u64::MAX);
    }
    let now = START + 120 * day;
    let oldest = |table: &str| -> i64 {
        bench.db.query_row(&format!("SELECT min(at) FROM {table}"), (), |row| row.get(0)).unwrap()
    };
    assert_eq!(oldest("samples"), now - 2 * day);
    assert_eq!(oldest("rollups_5m"), now - 10 * day);
    assert_eq!(oldest("rollups_1h"), now - 100 * day);
    assert_eq!(oldest("events"), now - 30 * day);
    // The last hour has just ended: its values may still be on their way.
    assert_eq!((bench.count("samples"), bench.count("rollups_1h"), bench.count("events")), (48, 2_399, 30));
    let points = bench.metrics("x", START, now, 10_000);
    assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 2_400, "each value once, from three tables");
    // A series of which nothing is left goes too.
    bench.keep(now + 101 * day, &retention, u64::MAX);
    assert_eq!((bench.count("series"), bench.count("rollups_1h")), (0, 0));
    bench.write(vec![value("x", now + 101 * day, 1.0)]);
    assert_eq!(bench.count("series"), 1, "the cache does not remember it");
}

fn transition() -> monchero_core::Transition {
    use monchero_core::{State, StateType};
    monchero_core::Transition {
        at: Timestamp::UNIX_EPOCH,
        sequence: 1,
        previous_state: State::Okay,
        previous_type: StateType::Hard,
        state: State::Bad,
        state_type: StateType::Hard,
        attempt: 1,
        max_attempts: 1,
        incident: None,
        incident_since: None,
    }
}

#[test]
fn the_largest_size_is_kept_and_state_stays() {
    const MAX: u64 = 2 * 1024 * 1024;
    let mut bench = Bench::new();
    let check = crate::StoredCheck {
        name: Name::new("c"),
        status: monchero_core::CheckStatus::default(),
        result: monchero_core::ServiceResult::default(),
        duration_ms: 1,
        anchor: None,
        parent: None,
        missing_since: None,
        asked: None,
        next_check: None,
        memory: None,
    };
    bench.write(vec![Record::Check(Box::new(check))]);
    for n in 0..40 {
        let at = START + n * HOUR;
        let point = |i: i64| (format!("label {i}").into(), "s".into(), 1.0);
        let points = (0..100).map(point).collect::<Vec<_>>();
        bench.write(
            (0..60)
                .map(|minute| Record::Metrics {
                    check: Name::new("c"),
                    at: time(at + minute * 60_000),
                    points: points.clone(),
                })
                .collect(),
        );
        let message: Box<str> = "m".repeat(400).into();
        let events = (0..100).map(|i| Record::Transition {
            check: Name::new("c"),
            transition: monchero_core::Transition { at: time(at + i), ..transition() },
            message: message.clone(),
        });
        bench.write(events.collect());
        bench.keep(at + HOUR, &FOREVER, MAX);
        assert!(used_bytes(&bench.db).unwrap() <= MAX);
    }
    assert_eq!(bench.count("state"), 1);
    assert!(bench.count("samples") < 6_000 && bench.count("rollups_5m") < 100 * 12, "metrics go first");
    assert!(bench.count("events") > 1_000, "events go last: {}", bench.count("events"));
    let newest: i64 = bench.db.query_row("SELECT max(at) FROM events", (), |row| row.get(0)).unwrap();
    assert_eq!(newest, START + 39 * HOUR + 99);
    let busy: i64 = bench.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    assert!(bench.place.bytes() < MAX * 3 / 2 + 1024 * 1024, "free pages are given back: {}", bench.place.bytes());
}

/// A label that is new each time fills neither memory nor the table of series.
#[test]
fn labels_without_end_are_bounded() {
    let mut bench = Bench::new();
    bench
        .db
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99990)
         INSERT INTO series (check_name, label, unit, seen) SELECT 'other', i, '', 0 FROM n",
        )
        .unwrap();
    for i in 0..30 {
        bench.write(vec![value(&format!("label {i}"), START, 1.0)]);
    }
    assert_eq!(bench.count("series"), crate::apply::MAX_SERIES);
    assert_eq!(bench.count("samples"), 10);
}
