//! The table of `docs/state-machine.md`, run row by row.

#[path = "support/table.rs"]
mod table;

use jiff::Timestamp;
use monchero_core::{CheckStatus, Name, Policy, State, StateType, Transition};
use table::Row;

const PAGE: &str = include_str!("../../../docs/state-machine.md");
const TITLES: [&str; 6] = ["retries", "now", "result", "becomes", "transition", "incident"];
const PROBLEMS: [State; 3] = [State::Warning, State::Unknown, State::Bad];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A check that results bring to where a row begins.
struct Scene {
    status: CheckStatus,
    policy: Policy,
    second: i64,
}

impl Scene {
    fn take(&mut self, result: State) -> Option<Transition> {
        self.second += 1;
        self.status.apply(&Name::new("x"), result, &self.policy, at(self.second))
    }

    fn set_aside(&mut self, result: State) {
        self.second += 1;
        self.status.set_aside(result, at(self.second));
    }

    fn retries(&mut self, retries: &str) {
        self.policy.max_attempts = retries.parse::<u32>().unwrap() + 1;
    }

    /// Where `pending`, `okay`, `soft P 1/3` or `hard P 3/3` begins.
    fn at(words: &str, retries: &str, p: State) -> Self {
        let policy = Policy { max_attempts: 1, recover_after: 1, flapping: None };
        let mut scene = Self { status: CheckStatus::default(), policy, second: 0 };
        scene.retries(retries);
        match words.split([' ', '/']).collect::<Vec<_>>()[..] {
            ["pending"] => {}
            ["okay"] => assert_eq!(scene.take(State::Okay), None),
            [_, "P", attempts, _] => {
                for _ in 0..attempts.parse().unwrap() {
                    scene.take(p);
                }
            }
            _ => panic!("`{words}` is no state"),
        }
        assert_eq!(scene.words(), words.replace('P', p.as_str()), "where a row begins can be reached");
        scene
    }

    fn words(&self) -> String {
        let CheckStatus { state, state_type, attempt, .. } = self.status;
        if self.status.is_pending() {
            return "pending".to_owned();
        }
        if state == State::Okay {
            assert_eq!((state_type, attempt), (StateType::Hard, 1));
            return "okay".to_owned();
        }
        format!("{state_type} {state} {attempt}/{}", self.policy.max_attempts)
    }
}

/// One reading of a row: `P` and `Q` stand for states, and some okay results may have come before.
fn run(row: &Row, p: State, q: State) {
    let named = |word: &str| word.replace('P', p.as_str()).replace('Q', q.as_str());
    let (first, then) = row["retries"].split_once(", then ").unwrap_or((&row["retries"], &row["retries"]));
    let mut scene = Scene::at(&row["now"], first, p);
    scene.retries(then);
    let (result, counts) = match row["result"].strip_suffix(", inconclusive") {
        Some(result) => (result, false),
        None => (&*row["result"], true),
    };
    let result = match result {
        "okay" | "okay, the last of `recover_after`" => State::Okay,
        "okay, not the last of `recover_after`" => {
            scene.policy.recover_after = 2;
            State::Okay
        }
        problem => State::from_word(&named(problem)).unwrap(),
    };
    let before = scene.status.clone();
    let transition = if counts {
        scene.take(result)
    } else {
        scene.set_aside(result);
        None
    };
    assert_eq!(scene.status.inconclusive, !counts);
    let (now, status) = (at(scene.second), &scene.status);
    assert_eq!(scene.words(), named(&row["becomes"]));

    let changed = (before.state, before.state_type) != (status.state, status.state_type);
    let began = changed || before.is_pending() && counts;
    assert_eq!(status.since, if began { Some(now) } else { before.since });
    let hard_changed = before.hard_state != status.hard_state;
    assert_eq!(status.hard_since, if hard_changed { Some(now) } else { before.hard_since });
    assert_eq!(status.hard_state, if status.state_type == StateType::Hard { status.state } else { State::Okay });
    assert_eq!(status.last_check, (!status.is_pending()).then_some(now));

    let known = match &*row["incident"] {
        "none" => {
            assert!(before.incident.is_none() && status.incident.is_none());
            None
        }
        "begins" => {
            let incident = status.incident.unwrap();
            assert!(before.incident.is_none() && incident.since == now && incident.worst == status.state);
            Some(incident)
        }
        "goes on" => {
            let incident = status.incident.unwrap();
            assert_eq!(incident.id, before.incident.unwrap().id);
            assert_eq!(incident.worst, before.incident.unwrap().worst.max(status.hard_state));
            Some(incident)
        }
        "ends" => {
            assert!(status.incident.is_none() && status.last_incident.as_deref() == before.incident.as_ref());
            before.incident
        }
        other => panic!("`{other}` is nothing that an incident does"),
    };
    match (&*row["transition"], transition) {
        ("no", None) => assert_eq!(status.sequence, before.sequence),
        ("yes", Some(transition)) => {
            let expected = Transition {
                at: now,
                sequence: before.sequence + 1,
                previous_state: before.state,
                previous_type: before.state_type,
                state: status.state,
                state_type: status.state_type,
                attempt: status.attempt,
                max_attempts: scene.policy.max_attempts,
                incident: known.map(|incident| incident.id),
                incident_since: known.map(|incident| incident.since),
            };
            assert_eq!(transition, expected);
            assert_eq!(transition.is_hard_change(), hard_changed);
            assert_eq!(transition.is_recovery(), hard_changed && status.state == State::Okay);
            assert_eq!(
                transition.is_soft_recovery(),
                before.state_type == StateType::Soft && status.state == State::Okay
            );
        }
        (said, transition) => panic!("the page says `{said}`, the machine {transition:?}"),
    }
}

#[test]
fn every_row_of_the_page_is_true() {
    for row in table::rows(PAGE, &TITLES) {
        for (p, q) in PROBLEMS.iter().flat_map(|p| PROBLEMS.map(|q| (*p, q))).filter(|(p, q)| p != q) {
            let reading = format!("{row:?} with P = {p}, Q = {q}");
            std::panic::catch_unwind(|| run(&row, p, q)).unwrap_or_else(|_| panic!("{reading}"));
        }
    }
}

#[test]
fn the_page_leaves_nothing_out() {
    let rows = table::rows(PAGE, &TITLES);
    let results = |now: &str| match now.split(' ').next() {
        Some("hard") => vec![
            "okay, the last of `recover_after`",
            "okay, not the last of `recover_after`",
            "P",
            "Q",
            "Q, inconclusive",
        ],
        Some("soft") => vec!["okay", "P", "Q", "P, inconclusive", "Q, inconclusive"],
        _ => vec!["okay", "P", "P, inconclusive"],
    };
    for now in ["pending", "okay", "soft P 1/3", "soft P 2/3", "hard P 3/3"] {
        for result in results(now) {
            let matching =
                rows.iter().filter(|row| row["retries"] == "2" && row["now"] == now && row["result"] == result);
            assert_eq!(matching.count(), 1, "`{now}` and then `{result}`");
        }
    }
}
