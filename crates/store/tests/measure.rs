//! How fast and how large it is. The bounds are for a slow machine that does other things too; the numbers are printed:
//! `cargo test --release -p monchero-store --test measure -- --ignored --nocapture --test-threads 1`.

mod common;

use std::time::{Duration, Instant};

use common::*;
use jiff::Timestamp;
use monchero_store::{Store, StoreOptions, Urgency};
use rusqlite::Connection;

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// Private and shared-by-one memory of this process, in KiB.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
    };
    (field("Pss:").unwrap(), field("Pss_Anon:").unwrap())
}

/// Something urgent is on the disk; the time from the call to the news that it is.
fn urgent(store: &Store, sequence: u64) -> Duration {
    let receiver = store.committed();
    let began = Instant::now();
    let ticket = store.write(vec![transition("a", sequence), stored("a", sequence)], Urgency::Now);
    while receiver.borrow().ticket < ticket {
        std::thread::sleep(Duration::from_micros(20));
    }
    began.elapsed()
}

#[test]
#[ignore = "measures; needs a release build and a machine that does little else"]
fn latency_of_urgent_commits() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let (store, _) = open(directory.path());
    let times: Vec<_> = (0..300).map(|i| urgent(&store, i)).collect();
    say(&format!(
        "urgent commit: median {:?}, 99 % {:?}",
        percentile(times.clone(), 50),
        percentile(times.clone(), 99)
    ));
    assert!(percentile(times, 50) < Duration::from_millis(50));
}

#[test]
#[ignore = "measures; needs a release build and a machine that does little else"]
fn cost_of_routine_records() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let (store, _) = open(directory.path());
    let names: Vec<String> = (0..10_000).map(|i| format!("host-{i}/disk")).collect();
    write(&store, names.iter().map(|name| stored(name, 0)).collect());
    let cpu = || {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(u64::try_from(spent.tv_sec).unwrap(), u32::try_from(spent.tv_nsec).unwrap())
    };
    // Each series once, so that its number is known.
    for chunk in names.chunks(1_000) {
        let points = || vec![("time".into(), "s".into(), 0.5), ("size".into(), "B".into(), 5.0)];
        let records = chunk.iter().map(|name| monchero_store::Record::Metrics {
            check: name.as_str().into(),
            at: at(-500_000),
            points: points(),
        });
        write(&store, records.collect());
    }
    // Four flushes of 1,000 checks with two metrics each, scattered over all pages.
    let mut pushing = Duration::ZERO;
    let mut total = Duration::ZERO;
    for round in 0..4 {
        let batches: Vec<_> = (0..1_000)
            .map(|i| {
                let name = &names[(round * 1_000 + i * 37) % names.len()];
                let at =
                    Timestamp::from_millisecond(NOW - 100_000 + i64::try_from(round * 1_000 + i).unwrap()).unwrap();
                let points = vec![("time".into(), "s".into(), 0.5), ("size".into(), "B".into(), 5.0)];
                vec![stored(name, 7), monchero_store::Record::Metrics { check: name.as_str().into(), at, points }]
            })
            .collect();
        let (began, from) = (Instant::now(), cpu());
        for batch in batches {
            store.write(batch, Urgency::Soon);
        }
        pushing += began.elapsed();
        let ticket = store.write(Vec::new(), Urgency::Now);
        wait(&store, |committed| committed.ticket >= ticket);
        total += cpu().saturating_sub(from);
    }
    say(&format!(
        "routine: {:?} of CPU per check with two metrics, {:?} of it in the caller",
        total / 4_000,
        pushing / 4_000
    ));
    let counters = store.counters();
    say(&format!("routine: {counters:?}"));
    assert!(total / 4_000 < Duration::from_micros(200));
}

#[test]
#[ignore = "measures; needs a process of its own"]
fn memory_with_ten_thousand_checks() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let before = memory();
    let (store, loaded) = open(directory.path());
    drop(loaded);
    let empty = memory();
    for chunk in 0..10 {
        write(&store, (0..1_000).map(|i| stored(&format!("host-{}/disk", chunk * 1_000 + i), 0)).collect());
    }
    let filled = memory();
    for round in 0..200 {
        let at = Timestamp::from_millisecond(NOW - 100_000 + round).unwrap();
        write(
            &store,
            (0..100).map(|i| metrics(&format!("host-{}/disk", (round * 50 + i) % 10_000), at, 1.0)).collect(),
        );
        write(&store, (0..100).map(|i| stored(&format!("host-{}/disk", (round * 97 + i * 11) % 10_000), 1)).collect());
    }
    let worked = memory();
    let history = store.reader().history(&monchero_store::HistoryQuery { limit: 100, ..Default::default() }).unwrap();
    drop(history);
    let read = memory();
    drop(store);
    say(&format!(
        "PSS, anonymous (KiB): before {before:?}, open {empty:?}, 10,000 checks written {filled:?}, 40,000 updates {worked:?}, after a read {read:?}"
    ));
    let began = Instant::now();
    let (store, loaded) = open(directory.path());
    say(&format!("start with 10,000 checks: {:?}, {} KiB on disk", began.elapsed(), store.counters().bytes / 1024));
    assert_eq!(loaded.checks.len(), 10_000);
    assert!(worked.1 - before.1 < 8 * 1024);
}

/// A million values that wait to be rolled up: what is urgent waits for one step at most.
#[test]
#[ignore = "measures; takes a while"]
fn latency_while_a_million_values_are_rolled_up() {
    let directory = tempfile::tempdir_in(".").unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("monchero.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "BEGIN; INSERT INTO series (id, check_name, label, unit, seen) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
           SELECT i, 'check ' || i, 'time', 's', {NOW} FROM n;
         INSERT INTO samples (at, series, value) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
           SELECT {NOW} - 3600000 * 20 + i * 60000, series.id, i FROM n, series; COMMIT"
    ))
    .unwrap();
    drop(db);
    let (store, _) = open(directory.path());
    let rolled = || {
        let db = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        db.query_row("SELECT count(*) FROM rollups_1h", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    // Upkeep begins some seconds after the start.
    let deadline = Instant::now() + PATIENCE * 4;
    let (mut times, mut sequence) = (Vec::new(), 0_u64);
    let mut began = None;
    while rolled() < 16_000 {
        assert!(Instant::now() < deadline);
        for _ in 0..20 {
            sequence += 1;
            let time = urgent(&store, sequence);
            if rolled_anything(&path) {
                began.get_or_insert_with(Instant::now);
                times.push(time);
            }
        }
    }
    say(&format!(
        "while a million values are rolled up ({:?}): median {:?}, 99 % {:?}, worst {:?} of {}",
        began.unwrap().elapsed(),
        percentile(times.clone(), 50),
        percentile(times.clone(), 99),
        percentile(times.clone(), 100),
        times.len()
    ));
    assert!(percentile(times, 99) < Duration::from_millis(200));
}

fn rolled_anything(path: &std::path::Path) -> bool {
    let db = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    db.query_row("SELECT count(*) FROM meta WHERE key = 'rolled_5m_at'", (), |row| row.get::<_, i64>(0)).unwrap() > 0
}

#[test]
#[ignore = "measures; takes a while"]
fn start_with_a_large_database() {
    for mib in [30_u64, 200] {
        let directory = tempfile::tempdir_in(".").unwrap();
        drop(open(directory.path()));
        let path = directory.path().join("monchero.db");
        let db = Connection::open(&path).unwrap();
        let rows = mib * 1024 * 1024 / 25;
        db.execute_batch(&format!(
            "PRAGMA synchronous = OFF; BEGIN;
             INSERT INTO samples (at, series, value) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
               SELECT {NOW} + i / 100, i % 100, i * 0.1 FROM n; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .unwrap();
        let began = Instant::now();
        let verdict: String = db.query_row("PRAGMA quick_check", (), |row| row.get(0)).unwrap();
        let whole = began.elapsed();
        drop(db);
        let began = Instant::now();
        let (store, loaded) = Store::open(directory.path(), StoreOptions { max_bytes: u64::MAX, ..options() }).unwrap();
        say(&format!("{mib} MiB: a whole check takes {whole:?} ({verdict}), opening {:?}", began.elapsed()));
        assert!(loaded.repairs.is_empty());
        drop(store);
    }
}
