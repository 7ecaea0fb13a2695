//! A damaged database is mended, and what was lost is said (R26, R27, R33, R34).

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::*;
use monchero_store::record::ActionState;
use monchero_store::{HistoryEntry, HistoryQuery, Loaded, Record, Store, Urgency};

const CHECKS: u64 = 120;

/// A state directory with something of everything.
fn fill(store: &Store) {
    let mut records = Vec::new();
    for i in 0..CHECKS {
        let check = format!("check-{i}");
        records.extend([stored(&check, i), transition(&check, i), told(&check, "ops", i)]);
        records.extend((0..20).map(|k| metrics(&check, at(-100_000 * k), i as f64)));
    }
    for id in 0..20 {
        records.extend([
            acted(id, "check-1", ActionState::Done),
            notice("check-2", "d"),
            Record::Downtime(Box::new(downtime(id, "*", 99))),
        ]);
    }
    records.push(acknowledged("check-3", Some("mine")));
    write(store, records);
}

fn copy(from: &Path, to: &Path) {
    for file in ["monchero.db", "monchero.db-wal", "monchero.db.bak"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

type Content = (Loaded, Vec<HistoryEntry>);

/// Opens it, and what it then holds.
fn open_content(directory: &Path) -> Content {
    let (store, loaded) = open(directory);
    let history = store.reader().history(&HistoryQuery { limit: 2_000, ..HistoryQuery::default() }).unwrap();
    (sorted(loaded), history)
}

fn differs(a: &Content, b: &Content) -> bool {
    let key = |content: &Content| {
        let Loaded { checks, told, acknowledgements, downtimes, interrupted, recent_actions, .. } = content.0.clone();
        (checks, told, acknowledgements, downtimes, interrupted, recent_actions, content.1.clone())
    };
    key(a) != key(b)
}

/// Copies a state directory, damages the copy, opens it; it must open, say what it lost, and then be whole. `hurt` says where.
fn damage<T: std::fmt::Debug>(original: &Path, expected: &Content, what: &str, hurt: impl Fn(&Path) -> T) -> Content {
    let directory = tempfile::tempdir().unwrap();
    copy(original, directory.path());
    let what = format!("{what}: {:?}", hurt(directory.path()));
    let content = open_content(directory.path());
    if differs(&content, expected) {
        assert!(!content.0.repairs.is_empty(), "{what}: something is missing and nothing is said");
    }
    let again = open_content(directory.path());
    assert_eq!(again.0.repairs, Vec::<String>::new(), "{what}: it was not mended");
    assert!(!differs(&again, &content), "{what}: mended, it holds something else");
    content
}

fn flip(path: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(path).unwrap();
    let (at, bit) = (dice.below(bytes.len()), dice.below(8));
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    format!("bit {bit} of byte {at} in {}", path.display())
}

#[test]
fn flipped_bits_in_the_database() {
    let original = tempfile::tempdir().unwrap();
    fill(&open(original.path()).0);
    fs::remove_file(original.path().join("monchero.db.bak")).unwrap();
    let expected = open_content(original.path());
    fs::remove_file(original.path().join("monchero.db.bak")).unwrap();
    let mut dice = Dice(0x5eed_0001);
    let (mut lost, mut kept) = (0, 0);
    for _ in 0..300 {
        let seed = dice.seed();
        let content = damage(original.path(), &expected, "a flipped bit", |directory| {
            flip(&directory.join("monchero.db"), &mut Dice(seed))
        });
        lost += usize::from(differs(&content, &expected));
        kept += content.0.checks.len();
    }
    assert!(lost > 10, "the flips did hit something: {lost}");
    assert!(kept as u64 > 280 * CHECKS, "one bit costs one row or page, not all: {kept} of {}", 300 * CHECKS);
}

#[test]
fn flipped_bits_in_the_journal() {
    let original = tempfile::tempdir().unwrap();
    let (store, _) = open(original.path());
    fill(&store);
    for i in 0..20 {
        write(&store, vec![transition("late", 1_000 + i), stored("late", i)]);
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(original.path(), crashed.path());
    assert!(fs::metadata(crashed.path().join("monchero.db-wal")).unwrap().len() > 100_000);
    drop(store);
    let expected = open_content(original.path());
    let mut dice = Dice(0x5eed_0002);
    for _ in 0..60 {
        let seed = dice.seed();
        damage(crashed.path(), &expected, "a flipped bit in the journal", |directory| {
            flip(&directory.join("monchero.db-wal"), &mut Dice(seed))
        });
    }
}

/// What a power failure leaves: the end of the journal is missing or zero. What is left is a state that there was.
#[test]
fn torn_journals_leave_a_state_that_there_was() {
    let original = tempfile::tempdir().unwrap();
    let (store, _) = open(original.path());
    for i in 1..=30 {
        write(&store, vec![transition("a", i), stored("a", i)]);
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(original.path(), crashed.path());
    drop(store);
    let length = fs::metadata(crashed.path().join("monchero.db-wal")).unwrap().len();
    let mut dice = Dice(0x5eed_0003);
    let mut last = u64::MAX;
    let mut cuts: Vec<u64> = (0..60).map(|_| dice.below(usize::try_from(length).unwrap()) as u64).collect();
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    for (round, cut) in cuts.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        copy(crashed.path(), directory.path());
        let journal = fs::OpenOptions::new().write(true).open(directory.path().join("monchero.db-wal")).unwrap();
        if round % 2 == 0 {
            journal.set_len(cut).unwrap();
        } else {
            journal.write_all_at(&vec![0; usize::try_from(length - cut).unwrap()], cut).unwrap();
        }
        let (loaded, history) = open_content(directory.path());
        let sequence = loaded.checks.first().map_or(0, |check| check.status.sequence);
        assert_eq!(history.len() as u64, sequence, "a batch is there whole or not at all");
        assert!(sequence <= last, "the more is cut, the less is left");
        last = sequence;
    }
}

#[test]
fn torn_databases() {
    let original = tempfile::tempdir().unwrap();
    fill(&open(original.path()).0);
    fs::remove_file(original.path().join("monchero.db.bak")).unwrap();
    let expected = open_content(original.path());
    fs::remove_file(original.path().join("monchero.db.bak")).unwrap();
    let length = fs::metadata(original.path().join("monchero.db")).unwrap().len();
    let mut dice = Dice(0x5eed_0004);
    for round in 0..60 {
        let cut = match round {
            0 => 0,
            1 => 1,
            2 => 100,
            3 => length - 1,
            _ => dice.below(usize::try_from(length).unwrap()) as u64,
        };
        damage(original.path(), &expected, &format!("cut at {cut}, round {round}"), |directory| {
            let file = fs::OpenOptions::new().write(true).open(directory.join("monchero.db")).unwrap();
            if round % 2 == 0 {
                file.set_len(cut).unwrap();
            } else {
                file.write_all_at(&vec![0; usize::try_from(length - cut).unwrap()], cut).unwrap();
            }
        });
    }
}

/// Without its first page nothing can be read of a database; the backup of the last shutdown can.
#[test]
fn a_backup_stands_in_for_what_cannot_be_read() {
    let original = tempfile::tempdir().unwrap();
    fill(&open(original.path()).0);
    assert!(original.path().join("monchero.db.bak").exists(), "it was made when the store was closed");
    let expected = open_content(original.path());
    let content = damage(original.path(), &expected, "no first page", |directory| {
        let file = fs::OpenOptions::new().write(true).open(directory.join("monchero.db")).unwrap();
        file.write_all_at(&[0x55; 4096], 0).unwrap();
    });
    assert!(!differs(&content, &expected));
    assert!(content.0.repairs.iter().any(|line| line.contains("backup of")), "{:?}", content.0.repairs);
    assert!(content.0.repairs[0].contains("monchero.db.corrupt-1"), "{:?}", content.0.repairs);
}

#[test]
fn what_was_removed_does_not_come_back_from_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()).0);
    let (store, _) = open(directory.path());
    write(&store, vec![Record::Forget(name("check-7"))]);
    drop(store);
    // A metric's page is damaged: the states can all be read.
    let path = directory.path().join("monchero.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let page: i64 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'samples'", (), |row| row.get(0)).unwrap();
    db.close().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0xff; 4096], u64::try_from(page - 1).unwrap() * 4096)
        .unwrap();
    let (loaded, _) = open_content(directory.path());
    assert_eq!(loaded.checks.len() as u64, CHECKS - 1);
    assert!(loaded.repairs.iter().any(|line| line.starts_with("metrics (samples)")), "{:?}", loaded.repairs);
}

#[test]
fn what_is_not_a_database_is_set_aside() {
    for (content, word) in [(&b"this is not a database, but long enough to look like one"[..], "text"), (b"", "empty")]
    {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("monchero.db"), content).unwrap();
        let (loaded, _) = open_content(directory.path());
        assert!(loaded.repairs[0].contains("was damaged"), "{word}: {:?}", loaded.repairs);
    }
    let directory = tempfile::tempdir().unwrap();
    rusqlite::Connection::open(directory.path().join("monchero.db"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    let (loaded, _) = open_content(directory.path());
    assert!(loaded.repairs[0].contains("not one of monchero's"), "{:?}", loaded.repairs);
    assert!(directory.path().join("monchero.db.corrupt-1").exists());
}

#[test]
fn a_database_that_vanished_comes_from_the_backup_unless_it_was_reset() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()).0);
    fs::remove_file(directory.path().join("monchero.db")).unwrap();
    let (loaded, _) = open_content(directory.path());
    assert_eq!(loaded.checks.len() as u64, CHECKS);
    assert!(loaded.repairs[0].contains("is missing"), "{:?}", loaded.repairs);
    Store::set_aside(directory.path()).unwrap().unwrap();
    let (loaded, _) = open_content(directory.path());
    assert_eq!((loaded.checks.len(), loaded.repairs), (0, Vec::new()));
}

/// Damage that appears while the daemon runs is mended while it runs.
#[test]
fn damage_is_mended_while_the_store_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    for round in 0..12 {
        write(&store, (0..400).map(|i| stored(&format!("check-{i}"), round)).collect());
        fill(&store);
    }
    drop(store);
    let (store, _) = open(directory.path());
    // From page 2 on; the connection holds only some of them in memory.
    let path = directory.path().join("monchero.db");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 1_000_000);
    file.write_all_at(&vec![0xa5; usize::try_from(length - 4096 * 40).unwrap()], 4096 * 40).unwrap();
    let ticket = store.write((0..400).map(|i| stored(&format!("check-{i}"), 99)).collect(), Urgency::Now);
    wait(&store, |committed| committed.ticket >= ticket && committed.trouble.is_none());
    let repairs = store.counters().repairs;
    assert!(repairs.iter().any(|line| line.contains("was damaged")), "{repairs:?}");
    drop(store);
    drop(file);
    let (loaded, _) = open_content(directory.path());
    assert_eq!(loaded.checks.iter().filter(|check| check.status.sequence == 99).count(), 400);
}
