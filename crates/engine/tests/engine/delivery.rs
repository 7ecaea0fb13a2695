//! Random results, holds, kills, restarts and dead targets on the real engine: once faults stop, the last message that a target got
//! equals the truth, and nobody is told of the end of what they were never told of.

use std::collections::HashMap;
use std::time::Duration;

use crate::lab::{Answer, CheckSpec, Lab};
use monchero_core::decide::Wants;
use monchero_core::hold::Downtime;
use monchero_core::{Name, Policy, State};
use proptest::prelude::*;

const CHECKS: [&str; 3] = ["router", "web", "db"];
/// How many random stories a plain test run plays; `MONCHERO_CASES` asks for more.
const CASES: u32 = 60;

#[derive(Clone, Debug)]
enum Step {
    Answer(usize, State),
    TargetWorks(bool),
    Kill,
    Restart,
    Downtime(usize, u64),
    Acknowledge(usize, bool),
}

fn step() -> impl Strategy<Value = (Step, u64)> {
    let state = prop_oneof![3 => Just(State::Okay), 1 => Just(State::Warning), 1 => Just(State::Unknown), 3 => Just(State::Bad)];
    let step = prop_oneof![
        8 => (0..CHECKS.len(), state).prop_map(|(check, state)| Step::Answer(check, state)),
        2 => any::<bool>().prop_map(Step::TargetWorks),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => (0..CHECKS.len(), 30u64..400).prop_map(|(check, secs)| Step::Downtime(check, secs)),
        1 => (0..CHECKS.len(), any::<bool>()).prop_map(|(check, sticky)| Step::Acknowledge(check, sticky)),
    ];
    (step, 1u64..150_000)
}

async fn play(story: Vec<(Step, u64)>) -> Result<(), TestCaseError> {
    let specs: Vec<CheckSpec> = CHECKS
        .iter()
        .enumerate()
        .map(|(index, name)| CheckSpec {
            name: (*name).to_owned(),
            interval: Duration::from_secs(20),
            retry_interval: Duration::from_secs(5),
            policy: Policy { max_attempts: 1 + u32::try_from(index).unwrap(), ..Policy::default() },
            depends_on: if *name == "web" { vec!["router".to_owned()] } else { Vec::new() },
            actions: vec!["ops".to_owned()],
        })
        .collect();
    let wants = Wants {
        states: vec![State::Warning, State::Unknown, State::Bad],
        remind: Some(Duration::from_secs(3_600).into()),
        before_hold_ends: Some(Duration::from_secs(60)),
    };
    let mut lab = Lab::new(&specs, &[("ops".to_owned(), wants)], &[]);
    let mut heard: Vec<String> = Vec::new();
    let mut faults = 0;
    let mut outages = 0;
    for (step, millis) in story {
        match step {
            Step::Answer(check, state) => lab.answer(CHECKS[check], Answer::State(state)),
            Step::TargetWorks(works) => {
                outages += usize::from(!works);
                lab.target_works.lock().unwrap().insert("ops".to_owned(), works);
            }
            Step::Kill => {
                faults += 1;
                lab.kill().await;
            }
            Step::Restart => lab.restart().await,
            Step::Downtime(check, length) => {
                let (start, pattern) = (lab.now(), CHECKS[check].to_owned());
                let end = start + Duration::from_secs(length);
                let downtime = Downtime {
                    covers: pattern.as_str().into(),
                    start,
                    end,
                    author: "ann".to_owned(),
                    ..Downtime::default()
                };
                lab.handle.add_downtime(downtime).await.unwrap();
            }
            // It is refused when there is nothing to acknowledge: that is as good.
            Step::Acknowledge(check, sticky) => {
                let until = Some(lab.now() + Duration::from_secs(600));
                drop(
                    lab.handle
                        .acknowledge(Name::new(CHECKS[check]), "ann".to_owned(), String::new(), until, sticky)
                        .await,
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        heard.extend(lab.take_messages());
    }
    // Faults stop: the target works, holds run out, nothing changes any more.
    lab.target_works.lock().unwrap().insert("ops".to_owned(), true);
    tokio::time::sleep(Duration::from_secs(1_500)).await;
    heard.extend(lab.take_messages());

    let mut last: HashMap<&str, &str> = HashMap::new();
    let mut repeated = 0;
    for message in &heard {
        let words: Vec<&str> = message.split_whitespace().collect();
        let [_, kind, check, state, ..] = words.as_slice() else { panic!("{message}") };
        let before = last.insert(check, state);
        match *kind {
            "recovery" => {
                prop_assert!(before.is_some_and(|state| state != "okay"), "a recovery from nothing: {heard:?}");
            }
            "problem" | "change" => repeated += i32::from(before == Some(state)),
            _ => {}
        }
    }
    // After a try that failed nobody knows what the target saw: it is told the truth again, once for each check.
    let doubts = i32::try_from(outages * CHECKS.len()).unwrap();
    prop_assert!(repeated <= faults + 1 + doubts, "{repeated} repeated messages over {faults} kills: {heard:?}");
    let snapshot = lab.handle.snapshot().await.unwrap();
    let router_is_bad =
        snapshot.rows.iter().any(|row| row.name.as_str() == "router" && row.status.hard_state == State::Bad);
    for row in snapshot.rows.iter().filter(|row| CHECKS.contains(&row.name.as_str())) {
        if row.name.as_str() == "web" && router_is_bad && row.status.hard_state.is_problem() {
            continue;
        }
        let told = last.get(row.name.as_str()).copied().unwrap_or("okay");
        prop_assert_eq!(told, row.status.hard_state.as_str(), "{}: {:?}", row.name, heard);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MONCHERO_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_last_message_is_the_truth(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps))?;
    }
}
