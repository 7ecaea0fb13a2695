//! Random results, holds, kills, restarts, a host that is cut off, and receivers that refuse, hang or take a message without saying so, on
//! the real engine: once faults stop, the last message that a target got equals the truth; nobody is told of the end of what they were never
//! told of; what is said about a check comes in the order in which it happened; nothing is said twice unless somebody could not know that it
//! was said; while the host is cut off, what it cannot see grows no worse.
//!
//! `MONCHERO_PROPERTY_CASES`, `MONCHERO_FIRST_SEED` and `MONCHERO_SEED` work as in the tests of `crates/core`: 500,000 cases are for a
//! release. With `--config profile.dev.package.monchero-engine.opt-level=1` they take half the time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monchero_core::decide::Wants;
use monchero_core::definition::Gate;
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::{Downtime, Shut};
use monchero_core::{Name, NoticeKind, Policy, State};

use crate::lab::{Answer, CheckSpec, Heard, Lab};
use crate::random::{Random, for_cases};

const CHECKS: [&str; 3] = ["router", "web", "db"];
const TARGETS: [&str; 2] = ["ops", "boss"];
/// How many stories a plain test run plays: each takes 12 to 18 ms of a processor, so that is two to three minutes on two. The pure
/// model in `crates/core/tests/delivery_model.rs` plays many more of what needs no engine.
const CASES: u64 = 20_000;
/// How often a check runs, and again after a result that is to be confirmed.
const INTERVAL: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// How long before a hold ends the first target wants to know.
const BEFORE_HOLD_ENDS: Duration = Duration::from_secs(60);
/// How long everything is well before the end is judged: longer than any hold, any rest of a target and the window of flapping.
const CALM: Duration = Duration::from_secs(650);

/// What makes one story differ from another besides its steps.
struct Scene {
    flapping: Option<FlappingPolicy>,
    remind: [Option<Duration>; 2],
    group: [Duration; 2],
    rate: [u32; 2],
    delay: Option<Duration>,
    /// Whether the router says that this host is cut off from the database.
    gate: bool,
    /// Whether receivers fail and daemons are killed.
    faults: bool,
    /// Whether the first target is told of acknowledgements.
    acknowledgements: bool,
}

impl Scene {
    fn new(random: &mut Random) -> Self {
        let flapping = FlappingPolicy { window: Duration::from_secs(400), enter: 4, exit: 1 };
        let mut remind = || random.percent(30).then(|| Duration::from_secs(200 + random.below(1_000)));
        let remind = [remind(), remind()];
        let mut group = || *random.pick(&[Duration::ZERO, Duration::from_secs(10), Duration::from_secs(60)]);
        let group = [group(), group()];
        let mut rate = || *random.pick(&[1, 2, 20]);
        let rate = [rate(), rate()];
        let delay = random.percent(30).then(|| Duration::from_secs(30 + random.below(200)));
        Self {
            flapping: random.percent(30).then_some(flapping),
            remind,
            group,
            rate,
            delay,
            gate: random.percent(40),
            faults: random.percent(70),
            acknowledgements: random.percent(50),
        }
    }

    fn wants(&self) -> [Wants; 2] {
        let all = vec![State::Warning, State::Unknown, State::Bad];
        let [first, second] = self.remind.map(|remind| remind.map(Into::into));
        let bad = vec![State::Bad];
        [
            Wants {
                states: all,
                remind: first,
                before_hold_ends: Some(BEFORE_HOLD_ENDS),
                acknowledgements: self.acknowledgements,
            },
            Wants { states: bad, remind: second, ..Wants::default() },
        ]
    }

    async fn lab(&self) -> Lab {
        let targets: Vec<String> = TARGETS.map(str::to_owned).into();
        let check = |(index, name): (usize, &&str)| CheckSpec {
            name: (*name).to_owned(),
            interval: INTERVAL,
            retry_interval: RETRY_INTERVAL,
            policy: Policy {
                max_attempts: 1 + u32::try_from(index).unwrap(),
                recover_after: 1,
                flapping: self.flapping,
            },
            depends_on: if *name == "web" { vec!["router".to_owned()] } else { Vec::new() },
            actions: targets.clone(),
        };
        let checks: Vec<CheckSpec> = CHECKS.iter().enumerate().map(check).collect();
        let [ops, boss] = self.wants();
        let mut lab = Lab::adjusted(&checks, &[(targets[0].clone(), ops), (targets[1].clone(), boss)], &[], |action| {
            let which = usize::from(action.name.as_str() == TARGETS[1]);
            action.group = self.group[which];
            action.rate = self.rate[which];
            action.delay = self.delay.filter(|_| which == 1);
        });
        if self.gate {
            let gate = Gate {
                checks: Arc::from([Name::new("router")]),
                shut: Shut::All,
                holds: HashSet::from([Name::new("db")]),
            };
            lab.configure(|configuration| configuration.gate = Some(gate)).await;
        }
        lab
    }

    /// Whether a check waits for the router while that is bad.
    fn waits(&self, check: &str) -> bool {
        check == "web" || self.gate && check == "db"
    }
}

/// What was done to the daemon and its receivers.
#[derive(Default)]
struct Faults {
    kills: usize,
    log: String,
}

async fn step(lab: &mut Lab, random: &mut Random, faults: &mut Faults, scene: &Scene) {
    let check = *random.pick(&CHECKS);
    let target = (*random.pick(&TARGETS)).to_owned();
    let what = match random.below(if scene.faults { 20 } else { 13 }) {
        0 => {
            let start = lab.now();
            let end = start + Duration::from_secs(30 + random.below(170));
            let downtime =
                Downtime { covers: check.into(), start, end, author: "ann".to_owned(), ..Downtime::default() };
            lab.handle.add_downtime(downtime).await.unwrap();
            format!("downtime of {check}")
        }
        1 => {
            let until = Some(lab.now() + Duration::from_secs(300));
            let sticky = random.percent(50);
            // It is refused when there is nothing to acknowledge: that is as good.
            let done = lab.handle.acknowledge(Name::new(check), "ann".to_owned(), String::new(), until, sticky).await;
            format!("acknowledged {check}: {}", done.is_ok())
        }
        2 => {
            lab.restart().await;
            "restart".to_owned()
        }
        3..=12 => {
            let okay = random.percent(45);
            let state = if okay {
                State::Okay
            } else {
                *random.pick(&[State::Warning, State::Unknown, State::Bad, State::Bad])
            };
            lab.answer(check, Answer::State(state));
            format!("{check} answers {state}")
        }
        13 | 14 => {
            faults.kills += 1;
            lab.kill().await;
            "kill".to_owned()
        }
        15 | 16 => {
            let works = random.percent(40);
            lab.target_works.lock().unwrap().insert(target.clone(), works);
            format!("{target} works: {works}")
        }
        17 | 18 => {
            let lost = random.percent(60) && lab.answers_lost.lock().unwrap().insert(target.clone());
            if !lost {
                lab.answers_lost.lock().unwrap().remove(&target);
            }
            format!("{target} loses answers: {lost}")
        }
        _ => {
            // The last is longer than a delivery may take.
            let takes = *random.pick(&[0, 3, 20]);
            *lab.target_takes.lock().unwrap() = Duration::from_secs(takes);
            format!("deliveries take {takes} s")
        }
    };
    let _ = writeln!(faults.log, "{} {what}", lab.now());
}

async fn play(random: &mut Random) -> Vec<Heard> {
    let scene = Scene::new(random);
    let mut lab = scene.lab().await;
    let mut faults = Faults::default();
    for _ in 0..4 + random.below(14) {
        step(&mut lab, random, &mut faults, &scene).await;
        tokio::time::sleep(Duration::from_millis(1 + random.below(100_000))).await;
    }
    lab.target_works.lock().unwrap().clear();
    lab.answers_lost.lock().unwrap().clear();
    *lab.target_takes.lock().unwrap() = Duration::ZERO;
    tokio::time::sleep(CALM).await;
    let heard = lab.heard.lock().unwrap().clone();
    let story = || {
        let heard: String = heard.iter().map(|one| format!("{one:?}\n")).collect();
        format!("\n{}{heard}", faults.log)
    };
    nothing_out_of_the_blue(&heard, &scene, &story);
    nothing_said_twice(&heard, faults.kills, &story);
    reminders_keep_their_distance(&heard, &scene, &story);
    let snapshot = lab.handle.snapshot().await.unwrap();
    let truth: HashMap<&str, State> =
        snapshot.rows.iter().map(|row| (row.name.as_str(), row.status.hard_state)).collect();
    last_words_are_true(&heard, &truth, &scene, &story);
    states_are_those_of_the_world(&lab, &truth, &scene, &story);
    if scene.gate {
        nothing_unseen_grows_worse(&lab, &story);
    }
    assert_eq!(lab.take_messages().is_empty(), heard.iter().all(|one| !one.confirmed), "{}", story());
    heard
}

/// What one target heard about each check, in the order in which it arrived.
fn by_check<'h>(heard: &'h [Heard], target: &str) -> BTreeMap<&'h str, Vec<&'h Heard>> {
    let mut sorted: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    for one in heard.iter().filter(|one| one.target == target) {
        sorted.entry(&one.check).or_default().push(one);
    }
    sorted
}

/// Each message follows from what the target heard before, and comes after it.
fn nothing_out_of_the_blue(heard: &[Heard], scene: &Scene, story: &dyn Fn() -> String) {
    for (target, wants) in TARGETS.iter().zip(scene.wants()) {
        for messages in by_check(heard, target).into_values() {
            let (mut knows, mut flaps, mut made, mut last_id) = (State::Okay, false, None, "");
            // Whether a problem was heard of whose end was not, as far as the sender can know.
            let mut owed = false;
            for one in messages {
                assert!(made <= Some(one.made), "{one:?} comes too late{}", story());
                let news = one.delivery_id != last_id;
                let is_sure = !scene.faults;
                // A message whose fate nobody knows is sent again as it was, or followed by the truth, whatever that is by then.
                match one.kind {
                    NoticeKind::Problem => {
                        assert!(one.state.is_problem(), "{one:?}{}", story());
                        // Of a problem whose end had to wait for its turn it says that it is over.
                        let is_new = !knows.is_problem() || flaps || one.over > 0 || one.of > 1;
                        assert!(!is_sure || is_new, "{one:?} is known already{}", story());
                        // Who knows of an older problem hears the truth, whatever that is by now.
                        let is_wanted = wants.states.contains(&one.state) || knows.is_problem();
                        assert!(!is_sure || is_wanted, "{one:?} is not wanted{}", story());
                    }
                    NoticeKind::Change => {
                        assert!(one.state.is_problem(), "{one:?}{}", story());
                        assert!(!is_sure || knows.is_problem() && knows != one.state, "{one:?} is no news{}", story());
                    }
                    NoticeKind::Reminder => assert!(!is_sure || knows == one.state, "{one:?}{}", story()),
                    NoticeKind::HoldEnds => {
                        assert!(one.state.is_problem() && wants.before_hold_ends.is_some(), "{one:?}{}", story());
                    }
                    NoticeKind::Acknowledged => {
                        assert!(one.state.is_problem() && wants.acknowledgements, "{one:?}{}", story());
                        assert!(!is_sure || knows.is_problem(), "{one:?} of what is not known{}", story());
                    }
                    NoticeKind::Recovery => {
                        let ends = knows.is_problem() || owed || !news;
                        assert!(ends && one.state == State::Okay, "{one:?} from nothing{}", story());
                    }
                    NoticeKind::Missed => {
                        assert!(one.state == State::Okay && (!is_sure || !knows.is_problem()), "{one:?}{}", story());
                    }
                    NoticeKind::FlappingStarted => assert!(!is_sure || !flaps, "{one:?}{}", story()),
                    NoticeKind::FlappingEnded => assert!(!is_sure || flaps, "{one:?}{}", story()),
                    NoticeKind::Summary | NoticeKind::Started | NoticeKind::Config | NoticeKind::Crashed => {
                        panic!("{one:?} was not asked for{}", story());
                    }
                }
                owed = one.state.is_problem() || owed && !one.confirmed;
                (knows, flaps, made) = (one.state, one.kind == NoticeKind::FlappingStarted, Some(one.made));
                last_id = &one.delivery_id;
            }
        }
    }
}

/// What a target took and said so is not sent again, unless a kill came before that was on disk; then it has the same id.
fn nothing_said_twice(heard: &[Heard], kills: usize, story: &dyn Fn() -> String) {
    let mut confirmed: HashSet<(&str, &str, &str)> = HashSet::new();
    let again = heard
        .iter()
        .filter(|one| one.confirmed && !confirmed.insert((&one.target, &one.delivery_id, &one.check)))
        .map(|one| (&one.target, &one.delivery_id))
        .collect::<HashSet<_>>();
    assert!(again.len() <= kills * TARGETS.len(), "{again:?} were sent again after {kills} kills{}", story());
}

fn reminders_keep_their_distance(heard: &[Heard], scene: &Scene, story: &dyn Fn() -> String) {
    for (target, remind) in TARGETS.iter().zip(scene.remind) {
        for messages in by_check(heard, target).into_values() {
            // What nobody knows to have arrived is tried again, and that is no reminder more.
            let counts = |pair: &&[&Heard]| pair[0].confirmed && pair[1].delivery_id != pair[0].delivery_id;
            let reminders = messages.windows(2).filter(|pair| pair[1].kind == NoticeKind::Reminder);
            for pair in reminders.filter(counts) {
                let apart = pair[1].at - pair[0].at;
                assert!(remind.is_some_and(|remind| apart >= remind), "{pair:?} are {apart:?} apart{}", story());
            }
        }
    }
}

fn last_words_are_true(heard: &[Heard], truth: &HashMap<&str, State>, scene: &Scene, story: &dyn Fn() -> String) {
    for (target, wants) in TARGETS.iter().zip(scene.wants()) {
        let by_check = by_check(heard, target);
        for check in CHECKS {
            let is = truth[check];
            if scene.waits(check) && truth["router"] == State::Bad && is.is_problem() {
                continue;
            }
            let last = by_check.get(check).and_then(|messages| messages.last());
            let said = last.map_or(State::Okay, |last| last.state);
            let never_wanted = said == State::Okay && is.is_problem() && !wants.states.contains(&is);
            assert!(said == is || never_wanted, "`{target}` thinks that `{check}` is {said}, it is {is}{}", story());
            let flaps = last.is_some_and(|last| last.kind == NoticeKind::FlappingStarted);
            assert!(!flaps, "`{target}` thinks that `{check}` still flaps{}", story());
        }
    }
}

/// In the end each check is known to be as it is, unless nobody can see that.
fn states_are_those_of_the_world(lab: &Lab, truth: &HashMap<&str, State>, scene: &Scene, story: &dyn Fn() -> String) {
    let answers = lab.answers.lock().unwrap();
    for check in CHECKS {
        let answer = match answers.get(check) {
            Some(Answer::State(state)) => *state,
            other => other.map_or(State::Okay, |other| panic!("no state: {other:?}")),
        };
        let unseen = scene.gate && check == "db" && truth["router"] == State::Bad;
        assert!(truth[check] == answer || unseen, "`{check}` is {answer} and not {}{}", truth[check], story());
    }
}

/// While the router is bad, confirmed or not, no problem of the database counts.
fn nothing_unseen_grows_worse(lab: &Lab, story: &dyn Fn() -> String) {
    let mut shut = false;
    for (check, transition) in lab.journal.transitions() {
        match check.as_str() {
            "router" => shut = transition.state == State::Bad,
            "db" => assert!(!shut || transition.state == State::Okay, "{transition:?} was not seen{}", story()),
            _ => {}
        }
    }
}

/// What occurred in all stories.
#[derive(Default)]
struct Seen {
    stories: usize,
    kinds: HashSet<NoticeKind>,
    digested: usize,
    lost: usize,
}

#[test]
fn the_last_message_is_the_truth() {
    let seen = Mutex::new(Seen::default());
    for_cases(CASES, |random| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let heard = runtime.block_on(play(random));
        let mut seen = seen.lock().unwrap();
        seen.stories += 1;
        seen.kinds.extend(heard.iter().map(|one| one.kind));
        seen.digested += heard.iter().filter(|one| one.of > 1).count();
        seen.lost += heard.iter().filter(|one| !one.confirmed).count();
    });
    // Stories are worth something only if everything occurs in them.
    let seen = seen.into_inner().unwrap();
    if seen.stories >= 1_000 {
        assert_eq!(seen.kinds.len(), NoticeKind::ALL.len(), "{:?}", seen.kinds);
        assert!(seen.digested > 100 && seen.lost > 100, "{} in digests, {} lost", seen.digested, seen.lost);
    }
}

/// Every result of a quarter of an hour and every message of one target, in a world in which another target hangs or not.
async fn quarter_of_an_hour(hangs: bool) -> (BTreeMap<String, u32>, Vec<(String, State, Duration)>) {
    let start = tokio::time::Instant::now();
    let scene = Scene {
        flapping: None,
        remind: [None; 2],
        group: [Duration::ZERO; 2],
        rate: [1_000; 2],
        delay: None,
        gate: false,
        faults: false,
        acknowledgements: false,
    };
    let lab = scene.lab().await;
    if hangs {
        lab.hanging.lock().unwrap().insert(TARGETS[0].to_owned());
    }
    for round in 0..15 {
        for check in CHECKS {
            lab.answer(check, Answer::State(if round % 2 == 0 { State::Bad } else { State::Okay }));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let runs = lab.runs.lock().unwrap().clone().into_iter().collect();
    let heard = lab.heard.lock().unwrap().clone();
    assert_eq!(hangs, heard.iter().all(|one| one.target != TARGETS[0]));
    let of_boss = heard.into_iter().filter(|one| one.target == TARGETS[1]);
    (runs, of_boss.map(|one| (one.check, one.state, one.at - start)).collect())
}

/// R41: on a clock that only waits move, not a single run and not a single message of another target is later by anything.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_nothing_else() {
    let (runs, heard) = quarter_of_an_hour(false).await;
    assert!(heard.len() > 20 && runs.values().all(|count| *count >= 15), "{runs:?} {heard:?}");
    assert_eq!(quarter_of_an_hour(true).await, (runs, heard));
}
