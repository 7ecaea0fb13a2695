//! A laboratory for the real engine: a paused clock, a journal in memory that survives restarts, checks and targets that do as told.

mod fakes;
mod journal;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{Action, Bulletin};
use monchero_core::decide::Wants;
use monchero_core::definition::{
    ActionDefinition, Configuration, Definition, Place, Retention, Settings, SummaryDefinition, Trigger,
};
use monchero_core::{Name, NoticeKind, Policy, State};
use monchero_engine::{Clock, Engine, EngineHandle, Journal, Parts};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use fakes::{FakeCheck, FakeScript, FakeTarget, NoPrograms};
pub(crate) use journal::MemoryJournal;

/// How far the wall clock may be set back.
const AHEAD: Duration = Duration::from_secs(86_400);

/// What a check answers from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    State(State),
    TimesOut,
    Panics,
    /// One more than what it remembers.
    Counts,
    /// Okay, and again after this.
    Again(Duration),
    /// A problem that needs no confirmation.
    Proven,
    /// Like its worst peer.
    LikeWorst,
    /// Like what it remembers, after half a second.
    Slow,
    /// Not before its timeout.
    Hangs,
    /// Okay, and from now on as often as this.
    Every(Duration),
    /// In this state, and then okay.
    Once(State),
    /// Bad and unknown by turns.
    Alternates,
    /// Okay, with a service `part` in this state.
    Part(State),
}

/// Everything that outlives an engine.
pub(crate) struct Lab {
    pub(crate) answers: Arc<Mutex<HashMap<String, Answer>>>,
    pub(crate) runs: Arc<Mutex<HashMap<String, u32>>>,
    pub(crate) messages: Arc<Mutex<Vec<String>>>,
    pub(crate) target_works: Arc<Mutex<HashMap<String, bool>>>,
    pub(crate) target_takes: Arc<Mutex<Duration>>,
    /// Targets that take messages while nobody learns of it.
    pub(crate) answers_lost: Arc<Mutex<HashSet<String>>>,
    /// Targets that never answer.
    pub(crate) hanging: Arc<Mutex<HashSet<String>>>,
    /// What was heard, message by message.
    pub(crate) heard: Arc<Mutex<Vec<Heard>>>,
    /// Targets that refuse for good.
    pub(crate) target_refuses: Arc<Mutex<HashSet<String>>>,
    /// What was told that is about no check.
    pub(crate) bulletins: Arc<Mutex<Vec<Bulletin>>>,
    pub(crate) scripts: Arc<Mutex<Vec<String>>>,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) handle: EngineHandle,
    configuration: Configuration,
    clock: Clock,
    asleep: Arc<Mutex<Duration>>,
    /// How far the wall clock is ahead of what it will be set to.
    ahead: Arc<Mutex<Duration>>,
    accused: Option<Name>,
    /// Where checks run, if not beside everything else.
    checks: Option<tokio::runtime::Handle>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// What a target heard about one check, by itself or in a digest.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) target: String,
    pub(crate) kind: NoticeKind,
    pub(crate) check: String,
    pub(crate) state: State,
    pub(crate) delivery_id: String,
    /// How many checks the message spoke of.
    pub(crate) of: usize,
    /// How many other problems it says are over; a digest does not say.
    pub(crate) over: usize,
    /// When the message was made.
    pub(crate) made: Timestamp,
    /// When it arrived.
    pub(crate) at: tokio::time::Instant,
    /// Whether the sender was told that it arrived.
    pub(crate) confirmed: bool,
}

/// A check as the laboratory makes it.
pub(crate) struct CheckSpec {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) retry_interval: Duration,
    pub(crate) policy: Policy,
    pub(crate) depends_on: Vec<String>,
    pub(crate) actions: Vec<String>,
}

/// A script as the laboratory makes it.
pub(crate) struct ScriptSpec {
    pub(crate) name: String,
    pub(crate) on: Vec<Trigger>,
    pub(crate) limit: Option<u32>,
    pub(crate) cooldown: Option<Duration>,
}

impl Lab {
    pub(crate) fn new(checks: &[CheckSpec], targets: &[(String, Wants)], scripts: &[ScriptSpec]) -> Self {
        Self::adjusted(checks, targets, scripts, |_| {})
    }

    /// With actions that have more than the usual settings.
    pub(crate) fn adjusted(
        checks: &[CheckSpec],
        targets: &[(String, Wants)],
        scripts: &[ScriptSpec],
        adjust: impl FnMut(&mut ActionDefinition),
    ) -> Self {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let answers: Arc<Mutex<HashMap<String, Answer>>> = Arc::default();
        let runs: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
        let messages: Arc<Mutex<Vec<String>>> = Arc::default();
        let target_works: Arc<Mutex<HashMap<String, bool>>> = Arc::default();
        let target_takes: Arc<Mutex<Duration>> = Arc::default();
        let answers_lost: Arc<Mutex<HashSet<String>>> = Arc::default();
        let hanging: Arc<Mutex<HashSet<String>>> = Arc::default();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let target_refuses: Arc<Mutex<HashSet<String>>> = Arc::default();
        let bulletins: Arc<Mutex<Vec<Bulletin>>> = Arc::default();
        let script_log: Arc<Mutex<Vec<String>>> = Arc::default();
        let definitions = checks.iter().map(|spec| definition(spec, &answers, &runs)).collect();
        let mut actions: Vec<ActionDefinition> = Vec::new();
        for (name, wants) in targets {
            let target = FakeTarget {
                name: name.clone(),
                messages: Arc::clone(&messages),
                works: Arc::clone(&target_works),
                takes: Arc::clone(&target_takes),
                answers_lost: Arc::clone(&answers_lost),
                hanging: Arc::clone(&hanging),
                heard: Arc::clone(&heard),
                refuses: Arc::clone(&target_refuses),
                bulletins: Arc::clone(&bulletins),
            };
            actions.push(action(name, Action::Target(Arc::new(target)), wants.clone()));
        }
        for ScriptSpec { name, on, limit, cooldown } in scripts {
            let script = FakeScript { name: name.clone(), log: Arc::clone(&script_log) };
            let mut made = action(name, Action::Script(Arc::new(script)), Wants::default());
            made.on.clone_from(on);
            made.limit = *limit;
            made.cooldown = *cooldown;
            actions.push(made);
        }
        actions.iter_mut().for_each(adjust);
        let configuration = Configuration {
            host: Arc::from("lab"),
            zone: jiff::tz::TimeZone::UTC,
            concurrency: 64,
            sysroot: PathBuf::from("/"),
            operators: None,
            retention: Retention::default(),
            checks: definitions,
            actions,
            alive: false,
            summaries: Arc::from([]),
            self_actions: Arc::from([]),
            downtimes: Vec::new(),
            gate: None,
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let asleep: Arc<Mutex<Duration>> = Arc::default();
        let slept = Arc::clone(&asleep);
        let ahead = Arc::new(Mutex::new(AHEAD));
        let wrong = Arc::clone(&ahead);
        let clock = Clock::following_tokio(start)
            .on_a_machine_that_sleeps(Arc::new(move || *wrong.lock().unwrap()))
            .on_a_machine_that_sleeps(Arc::new(move || *slept.lock().unwrap()));
        let mut lab = Self {
            answers,
            runs,
            messages,
            target_works,
            target_takes,
            answers_lost,
            hanging,
            heard,
            target_refuses,
            bulletins,
            scripts: script_log,
            journal: Arc::new(MemoryJournal::default()),
            handle: EngineHandle::new().0,
            configuration,
            clock,
            asleep,
            ahead,
            accused: None,
            checks: None,
            stop: watch::channel(false).0,
            task: None,
        };
        lab.start();
        lab
    }

    fn start(&mut self) {
        let (handle, commands) = EngineHandle::new();
        let (stop, stopping) = watch::channel(false);
        let engine = Engine::new(Parts {
            configuration: self.configuration.clone(),
            loaded: self.journal.load(),
            witness: None,
            accused: self.accused.take(),
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            spawner: Arc::new(NoPrograms),
            checks: self.checks.clone().unwrap_or_else(tokio::runtime::Handle::current),
            runtime: tokio::runtime::Handle::current(),
            clock: self.clock.clone(),
            peers: Arc::new(handle.clone()),
            commands,
            stop: stopping,
        });
        self.handle = handle;
        self.stop = stop;
        self.task = Some(tokio::spawn(engine.run()));
    }

    /// A clean stop and start.
    pub(crate) async fn restart(&mut self) {
        self.stop.send(true).unwrap();
        self.task.take().unwrap().await.unwrap();
        self.start();
    }

    /// A clean stop, and a start with another configuration.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Configuration)) {
        change(&mut self.configuration);
        self.restart().await;
    }

    /// As if by SIGKILL: what is in the journal is all that is left.
    pub(crate) async fn kill(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
        self.start();
    }

    /// A start with another thread for checks.
    pub(crate) async fn restart_on(&mut self, checks: tokio::runtime::Handle) {
        self.checks = Some(checks);
        self.restart().await;
    }

    /// As if by a crash that is the fault of a check, once more.
    pub(crate) async fn crash_by(&mut self, check: &str) {
        self.accused = Some(Name::new(check));
        self.kill().await;
    }

    /// A check becomes one of another kind, or one with another definition.
    pub(crate) async fn change(&mut self, name: &str, kind: &'static str) {
        for check in self.configuration.checks.iter_mut().filter(|check| check.name.as_str() == name) {
            check.kind = kind;
            check.fingerprint += 1;
        }
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// A check takes so many places from now on.
    pub(crate) async fn weigh(&mut self, name: &str, weight: u16) {
        for check in self.configuration.checks.iter_mut().filter(|check| check.name.as_str() == name) {
            check.settings = Arc::new(Settings { weight, ..Settings::clone(&check.settings) });
            check.fingerprint += 1;
        }
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// These summaries take force.
    pub(crate) async fn summarize(&mut self, summaries: &[SummaryDefinition]) {
        self.configuration.summaries = Arc::from(summaries);
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// The same configuration is read again.
    pub(crate) async fn reload(&self) {
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// The daemon stops as it was told to, and starts again after so long.
    pub(crate) async fn stop_for(&mut self, length: Duration) {
        self.stop.send(true).unwrap();
        self.task.take().unwrap().await.unwrap();
        tokio::time::sleep(length).await;
        self.start();
    }

    /// The message of its last result.
    pub(crate) async fn message(&self, check: &str) -> String {
        self.handle.show(check).await.unwrap().row.result.message.to_string()
    }

    /// Another configuration takes force.
    pub(crate) async fn configure(&mut self, change: impl FnOnce(&mut Configuration)) {
        change(&mut self.configuration);
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// A configuration without these checks takes force.
    pub(crate) async fn remove(&mut self, name: &str) {
        self.configuration.checks.retain(|check| check.name.as_str() != name);
        self.handle.configure(self.configuration.clone()).await.unwrap();
    }

    /// The machine sleeps for so long: the wall clock goes on, the monotonic one does not.
    pub(crate) fn suspend(&self, length: Duration) {
        *self.asleep.lock().unwrap() += length;
    }

    /// The wall clock is set back by so much, [`AHEAD`] at most over all.
    pub(crate) fn step_back(&self, length: Duration) {
        *self.ahead.lock().unwrap() -= length;
    }

    /// The wall clock is set ahead by so much.
    pub(crate) fn step_ahead(&self, length: Duration) {
        *self.ahead.lock().unwrap() += length;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn answer(&self, check: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(check.to_owned(), answer);
    }

    /// `bad soft 2/3`, `okay hard`, `pending`.
    pub(crate) async fn state(&self, check: &str) -> String {
        let snapshot = self.handle.snapshot().await.unwrap();
        let row = snapshot.rows.iter().find(|row| row.name.as_str() == check);
        let Some(row) = row else { return "gone".to_owned() };
        if row.status.is_pending() {
            return "pending".to_owned();
        }
        let held = if row.holds.is_empty() { String::new() } else { format!(" ({})", row.holds[0].word()) };
        match row.status.state_type {
            monchero_core::StateType::Soft => {
                format!("{} soft {}/{}{held}", row.status.state, row.status.attempt, row.max_attempts)
            }
            monchero_core::StateType::Hard => format!("{} hard{held}", row.status.state),
        }
    }

    pub(crate) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }

    pub(crate) fn take_scripts(&self) -> Vec<String> {
        std::mem::take(&mut self.scripts.lock().unwrap())
    }
}

fn definition(
    spec: &CheckSpec,
    answers: &Arc<Mutex<HashMap<String, Answer>>>,
    runs: &Arc<Mutex<HashMap<String, u32>>>,
) -> Definition {
    let check = FakeCheck { name: spec.name.clone(), answers: Arc::clone(answers), runs: Arc::clone(runs) };
    Definition {
        name: Name::new(&spec.name),
        kind: "fake",
        check: Arc::new(check),
        settings: Arc::new(Settings {
            interval: spec.interval,
            retry_interval: spec.retry_interval,
            timeout: Duration::from_secs(5),
            policy: spec.policy,
            on_timeout: State::Unknown,
            weight: 1,
            labels: Arc::default(),
            depends_on: spec.depends_on.iter().map(|name| Name::new(name)).collect(),
            actions: spec.actions.iter().map(|name| Name::new(name)).collect(),
            env: Arc::from([]),
        }),
        source: Place { file: Arc::from("lab"), line: None },
        fingerprint: 1,
    }
}

fn action(name: &str, action: Action, wants: Wants) -> ActionDefinition {
    ActionDefinition {
        name: Name::new(name),
        kind: "fake",
        action,
        wants,
        quiet: None,
        quiet_zone: None,
        delay: None,
        after: None,
        group: Duration::from_secs(10),
        rate: 20,
        fallback: None,
        lifecycle: Vec::new(),
        on: Vec::new(),
        timeout: Duration::from_secs(10),
        cooldown: None,
        limit: None,
        source: Arc::from("lab"),
        fingerprint: 1,
    }
}
