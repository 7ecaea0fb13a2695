//! What is written is what is read back, whatever comes in between.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::*;
use monchero_core::State;
use monchero_core::action::Posted;
use monchero_core::incident::{Incident, IncidentId};
use monchero_core::summary::Tally;
use monchero_store::record::ActionState;
use monchero_store::{ActionRow, HistoryKind, HistoryQuery, Loaded, OpenError, Record, Store, Urgency};
use proptest::prelude::*;
use rusqlite::Connection;

/// Everything that a database can hold.
fn fill(store: &Store) {
    write(store, vec![stored("web", 1), stored("web/tls", 2), transition("web", 1), told("web", "ops", 3)]);
    write(
        store,
        vec![notice("web", "d1"), acted(4, "web", ActionState::Intended), acted(5, "web", ActionState::Intended)],
    );
    write(store, vec![acted(4, "web", ActionState::Done), acknowledged("web", Some("mine"))]);
    write(
        store,
        vec![Record::Downtime(Box::new(downtime(9, "db*", 60_000))), Record::Downtime(Box::new(downtime(10, "x", -1)))],
    );
    let posted = |until| Record::Posted {
        topic: name("self/summary/noon"),
        target: name("ops"),
        posted: Some(Posted { until: Some(at(until)), owed: None }),
    };
    let owed = Record::Posted { topic: name("self/started"), target: name("ops"), posted: Some(Posted::default()) };
    write(store, vec![posted(-2_000), owed, posted(-1_000), Record::Running(Some(at(-3_000)))]);
    write(store, vec![metrics("web", at(-500), 1.5), metrics("web", at(-400), f64::NAN)]);
}

#[test]
fn everything_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, loaded) = open(directory.path());
    assert!(loaded.checks.is_empty() && loaded.repairs.is_empty() && loaded.last_id == 0);
    fill(&store);
    assert!(store.close());
    assert_eq!(store.counters().refused, 1, "NaN is no value");
    drop(store);

    let (store, loaded) = open(directory.path());
    assert_eq!(loaded.repairs, Vec::<String>::new());
    assert_eq!(loaded.checks, [check("web", 1), check("web/tls", 2)]);
    assert_eq!(loaded.told.len(), 1);
    assert_eq!((loaded.told[0].1.as_str(), loaded.told[0].2.count), ("ops", 3));
    assert_eq!(loaded.acknowledgements, [(name("web"), acknowledgement("mine"))]);
    assert_eq!(loaded.downtimes, [downtime(9, "db*", 60_000)], "the other one is over");
    assert_eq!(loaded.last_id, 10, "also of what is over");
    let noon = (name("self/summary/noon"), name("ops"), Posted { until: Some(at(-1_000)), owed: None });
    assert_eq!(loaded.posted, [noon.clone(), (name("self/started"), name("ops"), Posted::default())]);
    assert_eq!(loaded.unfinished, Some(at(-3_000)), "nothing said that it stopped");
    let mut tally = Tally::new(at(-100_000), at(100));
    store.reader().tally(&mut tally).unwrap();
    assert_eq!(tally.finish("h", [], Vec::new()).sent, 1, "the past was read");
    assert_eq!(loaded.recent_actions, [action(4, "web", ActionState::Done)]);
    assert_eq!(loaded.interrupted.len(), 1);
    assert_eq!((loaded.interrupted[0].id, loaded.interrupted[0].outcome), (5, ActionState::Interrupted));

    let reader = store.reader();
    let history = reader.history(&HistoryQuery { limit: 100, ..HistoryQuery::default() }).unwrap();
    assert!(history.windows(2).all(|pair| pair[0].at >= pair[1].at));
    let notices = history
        .iter()
        .filter(|entry| matches!(&entry.what, HistoryKind::Notice(notice) if notice.detail == "250 ok"))
        .count();
    let transitions = history.iter().filter(|entry| matches!(&entry.what, HistoryKind::Transition { transition, message } if transition.sequence == 1 && message == "transition 1")).count();
    assert_eq!((history.len(), notices, transitions), (4, 1, 1));
    let points = reader.metrics("web", "time", at(-1_000), at(0), 10).unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!((points[0].at, points[0].mean, points[0].count), (at(-500), 1.5, 1));
    assert_eq!(reader.series("web").unwrap()[0].unit, "s");

    let told = Record::Posted { topic: name("self/started"), target: name("ops"), posted: None };
    write(&store, vec![Record::Forget(name("web")), Record::DowntimeEnded(9), told, Record::Running(None)]);
    drop(store);
    let (store, loaded) = open(directory.path());
    assert_eq!(loaded.checks, [check("web/tls", 2)]);
    assert!(loaded.told.is_empty() && loaded.acknowledgements.is_empty() && loaded.downtimes.is_empty());
    assert_eq!((loaded.posted, loaded.unfinished), (vec![noon], None));
    assert_eq!(loaded.interrupted, [], "it was marked when it was found");
    assert_eq!(loaded.recent_actions.len(), 2);
    assert_eq!(loaded.last_id, 10);
    let history = store.reader().history(&HistoryQuery::from(&name("web"))).unwrap();
    assert_eq!(history.len(), 4, "history outlives the check");
}

/// What was done about an incident that is still open is known, however old it is: a `limit` begins anew with the next incident only.
#[test]
fn actions_of_an_open_incident_are_known_for_ever() {
    let (directory, day) = (tempfile::tempdir().unwrap(), 86_400_000);
    let (store, _) = open(directory.path());
    let mut shop = check("shop", 1);
    let id = IncidentId::from_u64(5);
    shop.status.incident = Some(Incident { id, since: at(-20 * day), worst: State::Bad });
    let old = |number, days: i64| {
        Record::Action(Box::new(ActionRow { at: at(-days * day), ..action(number, "shop", ActionState::Done) }))
    };
    write(&store, vec![Record::Check(Box::new(shop)), old(1, 30), old(2, 19), old(3, 1)]);
    drop(store);
    let (_store, loaded) = open(directory.path());
    assert_eq!(loaded.recent_actions.iter().map(|row| row.id).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn history_is_asked_by_pattern_time_and_number() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    for (i, check) in ["raid", "raid/md0", "grafana[a:3000]", "raids", "db"].iter().enumerate() {
        write(&store, vec![transition(check, 100 * i as u64)]);
    }
    let ask = |check: Option<&str>, since: Option<i64>, limit| {
        let query = HistoryQuery { check: check.map(str::to_owned), since: since.map(at), limit };
        let entries = store.reader().history(&query).unwrap();
        entries.iter().map(|entry| entry.check.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ask(Some("raid"), None, 9), ["raid/md0", "raid"]);
    assert_eq!(ask(Some("grafana"), None, 9), ["grafana[a:3000]"]);
    assert_eq!(ask(Some("ra*"), None, 9), ["raids", "raid/md0", "raid"]);
    assert_eq!(ask(None, None, 2), ["db", "raids"]);
    assert_eq!(ask(None, Some(200), 9), ["db", "raids", "grafana[a:3000]"]);
    assert_eq!(ask(Some("nothing"), None, 9), Vec::<String>::new());
    assert_eq!(ask(None, None, 0), Vec::<String>::new());
}

#[test]
fn tickets_are_committed_in_order_and_urgent_ones_take_routine_ones_along() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let began = std::time::Instant::now();
    let tickets: Vec<u64> = (0..10).map(|i| store.write(vec![stored(&format!("c{i}"), i)], Urgency::Soon)).collect();
    assert_eq!(tickets, (1..=10).collect::<Vec<_>>());
    let urgent = store.write(vec![transition("c0", 1)], Urgency::Now);
    wait(&store, |committed| committed.ticket == urgent);
    assert!(began.elapsed() < monchero_store::FLUSH_INTERVAL, "it did not wait for the flush");
    drop(store);
    assert_eq!(open(directory.path()).1.checks.len(), 10);
}

#[test]
fn routine_records_are_flushed_by_themselves_and_only_the_last_of_a_check_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    for i in 0..500 {
        store.write(vec![stored("c", i)], Urgency::Soon);
    }
    wait(&store, |committed| committed.ticket == 500);
    let counters = store.counters();
    assert!(counters.rows <= counters.commits, "{counters:?}");
    drop(store);
    assert_eq!(open(directory.path()).1.checks, [check("c", 499)]);
}

#[test]
fn a_second_store_is_refused_and_told_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    match Store::open(directory.path(), options()) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    open(directory.path());
}

/// R31: of fifty that start at once, one gets it.
#[test]
fn of_many_at_once_one_gets_it() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let gate = std::sync::Barrier::new(20);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        Store::open(directory.path(), options())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(OpenError::InUse { .. }))));
    }
}

fn edit(directory: &Path, sql: &str) {
    Connection::open(directory.join("monchero.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_newer_database_is_refused_until_it_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()).0);
    edit(directory.path(), "PRAGMA user_version = 7; UPDATE meta SET value = 7 WHERE key = 'version'");
    let error = Store::open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 7, .. }), "{error:?}");
    assert!(error.to_string().contains("--reset-state"), "{error}");
    let aside = Store::set_aside(directory.path()).unwrap().unwrap();
    assert!(aside.exists() && aside.to_string_lossy().contains("reset"));
    let (_store, loaded) = open(directory.path());
    assert!(loaded.checks.is_empty());
}

/// R33: one bad row costs that row.
#[test]
fn a_row_that_cannot_be_read_is_quarantined_and_named() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()).0);
    edit(
        directory.path(),
        "UPDATE state SET body = replace(body, 'hard', 'hart') WHERE kind = 'check' AND name = 'web'",
    );
    edit(
        directory.path(),
        "UPDATE state SET body = x'ff00' WHERE kind = 'told'; UPDATE events SET body = '{}' WHERE number = 4",
    );
    let (store, loaded) = open(directory.path());
    assert_eq!(loaded.checks, [check("web/tls", 2)]);
    assert_eq!(loaded.repairs.len(), 3, "{:?}", loaded.repairs);
    assert!(loaded.repairs.iter().all(|line| line.starts_with("`web`:")), "{:?}", loaded.repairs);
    assert_eq!(loaded.acknowledgements.len(), 1);
    drop(store);
    let rows: i64 = Connection::open(directory.path().join("monchero.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM quarantine", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
    assert!(open(directory.path()).1.repairs.is_empty(), "it is said once");
}

/// What the store should hold after a series of records, kept the simplest way.
#[derive(Debug, Default)]
struct Model {
    checks: BTreeMap<String, u64>,
    told: BTreeMap<(String, String), u64>,
    acknowledgements: BTreeMap<String, String>,
    downtimes: BTreeMap<u64, i64>,
    actions: BTreeMap<u64, ActionState>,
    events: usize,
    last_id: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Check(u8, u16),
    Transition(u8, u16),
    Told(u8, u8, u16),
    Notice(u8),
    Acknowledge(u8, Option<u8>),
    Downtime(u8, i16),
    DowntimeEnded(u8),
    Action(u8, ActionState),
    Forget(u8),
}

fn ops() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        Just(ActionState::Intended),
        Just(ActionState::Done),
        Just(ActionState::Failed),
        Just(ActionState::Skipped),
        Just(ActionState::Superseded)
    ];
    prop_oneof![
        4 => (0..6u8, any::<u16>()).prop_map(|(check, n)| Op::Check(check, n)),
        2 => (0..6u8, any::<u16>()).prop_map(|(check, n)| Op::Transition(check, n)),
        2 => (0..6u8, 0..3u8, any::<u16>()).prop_map(|(check, target, n)| Op::Told(check, target, n)),
        1 => (0..6u8).prop_map(Op::Notice),
        1 => (0..6u8, any::<Option<u8>>()).prop_map(|(check, comment)| Op::Acknowledge(check, comment)),
        1 => (0..8u8, any::<i16>()).prop_map(|(id, end)| Op::Downtime(id, end)),
        1 => (0..8u8).prop_map(Op::DowntimeEnded),
        2 => (0..20u8, outcome).prop_map(|(id, outcome)| Op::Action(id, outcome)),
        1 => (0..6u8).prop_map(Op::Forget),
    ]
}

impl Model {
    fn apply(&mut self, op: &Op) -> Record {
        let check_name = |check: &u8| format!("check {check}");
        match op {
            Op::Check(check, n) => {
                self.checks.insert(check_name(check), (*n).into());
                stored(&check_name(check), (*n).into())
            }
            Op::Transition(check, n) => {
                self.events += 1;
                transition(&check_name(check), (*n).into())
            }
            Op::Told(check, target, n) => {
                self.told.insert((check_name(check), target.to_string()), (*n).into());
                told(&check_name(check), &target.to_string(), (*n).into())
            }
            Op::Notice(check) => {
                self.events += 1;
                notice(&check_name(check), "d")
            }
            Op::Acknowledge(check, comment) => {
                let comment = comment.map(|comment| comment.to_string());
                match &comment {
                    Some(comment) => self.acknowledgements.insert(check_name(check), comment.clone()),
                    None => self.acknowledgements.remove(&check_name(check)),
                };
                acknowledged(&check_name(check), comment.as_deref())
            }
            Op::Downtime(id, end) => {
                self.last_id = self.last_id.max((*id).into());
                self.downtimes.insert((*id).into(), (*end).into());
                Record::Downtime(Box::new(downtime((*id).into(), "*", (*end).into())))
            }
            Op::DowntimeEnded(id) => {
                self.downtimes.remove(&(*id).into());
                Record::DowntimeEnded((*id).into())
            }
            Op::Action(id, outcome) => {
                self.last_id = self.last_id.max((*id).into());
                self.events += usize::from(self.actions.insert((*id).into(), *outcome).is_none());
                acted((*id).into(), "a", *outcome)
            }
            Op::Forget(check) => {
                self.checks.remove(&check_name(check));
                self.told.retain(|(name, _), _| *name != check_name(check));
                self.acknowledgements.remove(&check_name(check));
                Record::Forget(name(&check_name(check)))
            }
        }
    }

    /// The daemon has ended: what was intended is interrupted, what is over is gone.
    fn restart(&mut self) -> Vec<u64> {
        self.downtimes.retain(|_, end| *end > 0);
        let intended =
            self.actions.iter().filter(|(_, outcome)| **outcome == ActionState::Intended).map(|(id, _)| *id).collect();
        for outcome in self.actions.values_mut().filter(|outcome| **outcome == ActionState::Intended) {
            *outcome = ActionState::Interrupted;
        }
        intended
    }

    fn expect(&mut self, loaded: Loaded) -> Result<(), TestCaseError> {
        let before = self.actions.clone();
        let intended = self.restart();
        let loaded = sorted(loaded);
        prop_assert_eq!(loaded.checks, self.checks.iter().map(|(name, n)| check(name, *n)).collect::<Vec<_>>());
        let told: Vec<_> = loaded
            .told
            .iter()
            .map(|(check, target, told)| ((check.to_string(), target.to_string()), told.count))
            .collect();
        prop_assert_eq!(told, self.told.clone().into_iter().collect::<Vec<_>>());
        let acks: Vec<_> =
            loaded.acknowledgements.iter().map(|(check, ack)| (check.to_string(), ack.comment.clone())).collect();
        prop_assert_eq!(acks, self.acknowledgements.clone().into_iter().collect::<Vec<_>>());
        prop_assert_eq!(
            loaded.downtimes,
            self.downtimes.iter().map(|(id, end)| downtime(*id, "*", *end)).collect::<Vec<_>>()
        );
        prop_assert_eq!(loaded.interrupted.iter().map(|action| action.id).collect::<Vec<_>>(), intended);
        let counts = |outcome: &ActionState| {
            matches!(outcome, ActionState::Done | ActionState::Failed | ActionState::Interrupted)
        };
        let recent: Vec<_> = before.iter().filter(|(_, outcome)| counts(outcome)).map(|(id, _)| *id).collect();
        prop_assert_eq!(loaded.recent_actions.iter().map(|action| action.id).collect::<Vec<_>>(), recent);
        prop_assert_eq!(loaded.last_id, self.last_id);
        prop_assert_eq!(loaded.repairs, Vec::<String>::new());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is written in whatever batches, the state that is read back is that of a model that keeps maps.
    #[test]
    fn state_equals_a_model(rounds in prop::collection::vec(prop::collection::vec((ops(), any::<bool>(), any::<bool>()), 0..40), 1..4)) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        for round in rounds {
            let (store, loaded) = open(directory.path());
            model.expect(loaded)?;
            let mut batch = Vec::new();
            for (op, urgent, ends) in round {
                batch.push(model.apply(&op));
                if ends {
                    store.write(std::mem::take(&mut batch), if urgent { Urgency::Now } else { Urgency::Soon });
                }
            }
            store.write(batch, Urgency::Soon);
            prop_assert!(store.close());
            let history = store.reader().history(&HistoryQuery { limit: 1_000, ..HistoryQuery::default() }).unwrap();
            prop_assert_eq!(history.len(), model.events);
        }
        model.expect(open(directory.path()).1)?;
    }
}
