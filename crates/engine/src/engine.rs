//! The dispatcher: one task that owns all state and takes one thing at a time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::Name;
use monchero_core::check::Peers;
use monchero_core::definition::{ActionDefinition, Configuration, Gate};
use monchero_core::hold::Acknowledgement;
use monchero_core::program::Spawner;
use monchero_core::report::ServiceResult;
use monchero_store::{Committed, Loaded, Record, Urgency, Witness};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::bulletin::Bulletins;
use crate::clock::Clock;
use crate::delivery::{Delivery, DeliveryEnd};
use crate::downtimes::Downtimes;
use crate::entry::Id;
use crate::handle::{Command, Heard};
use crate::journal::Journal;
use crate::left::Left;
use crate::outbox::Outbox;
use crate::runs::{RUN_ENDS, RunEnd, Runs};
use crate::schedule::Schedule;
use crate::scripts::{ScriptEnd, ScriptRun, Scripts};
use crate::selfcheck::SelfChecks;
use crate::table::Table;

/// How many ends of deliveries and scripts may wait for the dispatcher; at most as many as can go on at once.
const ENDS: usize = 256;
/// How many ended runs are taken before the results of all of them go to the store together.
const RUNS_AT_ONCE: usize = 256;
/// The loop turns at least this often, so that its beat can be watched.
const TURN: Duration = Duration::from_secs(1);
/// After a start results may wait until the engine wakes for something else, such as the next tick, if they have had this time to come ..
const SETTLED: Duration = Duration::from_millis(25);
/// .. but no longer than this, and not if somebody waits for one or for a place. Waking for each costs more than taking it.
const REST: Duration = Duration::from_millis(60);
/// How often results that changed no state go to the store.
const PERSIST: Duration = Duration::from_secs(5);
/// What goes there at once, in checks and by weight: an eighth of what the store lets wait, so that it never has to drop any of it ..
const SLICE_CHECKS: usize = 500;
/// See [`SLICE_CHECKS`].
const SLICE_BYTES: usize = 512 * 1024;
/// .. and when the next slice follows. The disk has this time to take one.
const SLICE_PAUSE: Duration = Duration::from_millis(50);
/// How long a stopping engine waits for the store and for scripts.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// How long it waits for deliveries under way, most of which end sooner. A receiver that hangs must not keep whoever stops the daemon; what
/// it did not take is sent again after the next start.
const DELIVERY_PATIENCE: Duration = Duration::from_millis(1500);
/// The wall clock was set if it is this much behind itself; less is the work of NTP and harms nothing.
const CLOCK_STEP: Duration = Duration::from_secs(1);
/// How many runs may count as starting at once, per processor.
const STARTING_PER_CPU: usize = 4;

/// What an engine is made of.
pub struct Parts {
    /// What to run.
    pub configuration: Configuration,
    /// What an earlier daemon left.
    pub loaded: Loaded,
    /// Notes what is worked on while the daemon is young; none if that cannot be noted.
    pub witness: Option<Witness>,
    /// The check that crashed the daemon again and again: it is not run until somebody asks for it.
    pub accused: Option<Name>,
    /// Where everything is written.
    pub journal: Arc<dyn Journal>,
    /// What starts programs.
    pub spawner: Arc<dyn Spawner>,
    /// Where checks run.
    pub checks: Handle,
    /// Where scripts and deliveries run.
    pub runtime: Handle,
    /// The wall clock.
    pub clock: Clock,
    /// What checks may ask about each other: the handle of this engine.
    pub peers: Arc<dyn Peers>,
    /// The engine's end of [`crate::EngineHandle::new`].
    pub commands: mpsc::Receiver<Command>,
    /// Becomes true when the daemon stops.
    pub stop: watch::Receiver<bool>,
}

/// What is to be done when a batch is on disk.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Others may see the entry's new state, and its targets are looked at.
    Publish(Id),
    /// A message goes out.
    Deliver(Box<Delivery>),
    /// A script starts.
    Script(Box<ScriptRun>),
    /// Who sent a signal is told that it will not be forgotten.
    Heard(oneshot::Sender<Heard>, Box<ServiceResult>),
}

/// The engine. [`Engine::run`] ends when it is told to stop.
pub struct Engine {
    pub(crate) host: Arc<str>,
    pub(crate) zone: jiff::tz::TimeZone,
    pub(crate) sysroot: Arc<Path>,
    pub(crate) concurrency: usize,
    pub(crate) starting: usize,
    pub(crate) clock: Clock,
    pub(crate) checks: Handle,
    pub(crate) runtime: Handle,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) witness: Option<Arc<Witness>>,
    journal: Arc<dyn Journal>,
    pub(crate) committed: watch::Receiver<Committed>,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
    beat: Arc<AtomicU64>,

    pub(crate) entries: Table,
    pub(crate) left: Left,
    pub(crate) schedule: Schedule,
    pub(crate) runs: Runs,
    pub(crate) actions: BTreeMap<Name, Arc<ActionDefinition>>,
    pub(crate) dependents: HashMap<Id, Vec<Id>>,
    /// Services that checks depend on and that nobody has reported yet.
    pub(crate) awaited_parents: HashSet<Name>,
    pub(crate) acknowledgements: HashMap<Id, Acknowledgement>,
    pub(crate) downtimes: Downtimes,
    pub(crate) gate: Option<Gate>,
    pub(crate) outbox: Outbox,
    pub(crate) bulletins: Bulletins,
    pub(crate) scripts: Scripts,
    pub(crate) selfchecks: SelfChecks,
    pub(crate) last_id: u64,

    /// What goes to the store at the end of this turn.
    pub(crate) records: Vec<Record>,
    /// Whether any of it must be on disk at once.
    pub(crate) urgent: bool,
    /// What is to be done when it is.
    pub(crate) effects: Vec<Effect>,
    /// What waits for its ticket.
    pending: VecDeque<(u64, Vec<Effect>)>,
    next_persist: Instant,
    /// How many entries the last slice passed, if it did not reach the end.
    persisted: usize,
    /// The wall time and the monotonic time of the last turn, to see when the wall clock steps.
    last_wall: Timestamp,
    last_turn: Instant,
    /// How long the machine had been suspended by then.
    pub(crate) last_asleep: Duration,

    pub(crate) run_ends: mpsc::Sender<RunEnd>,
    run_ends_in: mpsc::Receiver<RunEnd>,
    pub(crate) delivery_ends: mpsc::Sender<DeliveryEnd>,
    delivery_ends_in: mpsc::Receiver<DeliveryEnd>,
    pub(crate) script_ends: mpsc::Sender<ScriptEnd>,
    script_ends_in: mpsc::Receiver<ScriptEnd>,
}

impl Engine {
    /// Puts the parts together and takes up what an earlier daemon left.
    pub fn new(parts: Parts) -> Self {
        let (run_ends, run_ends_in) = mpsc::channel(RUN_ENDS);
        let (delivery_ends, delivery_ends_in) = mpsc::channel(ENDS);
        let (script_ends, script_ends_in) = mpsc::channel(ENDS);
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        let now = Instant::now();
        let mut engine = Self {
            host: Arc::clone(&parts.configuration.host),
            zone: parts.configuration.zone.clone(),
            sysroot: Arc::from(parts.configuration.sysroot.as_path()),
            concurrency: parts.configuration.concurrency.max(1),
            starting: STARTING_PER_CPU * cpus,
            last_asleep: parts.clock.asleep(),
            clock: parts.clock,
            checks: parts.checks,
            runtime: parts.runtime,
            spawner: parts.spawner,
            peers: parts.peers,
            witness: parts.witness.map(Arc::new),
            committed: parts.journal.committed(),
            journal: parts.journal,
            commands: parts.commands,
            stop: parts.stop,
            beat: Arc::default(),
            entries: Table::default(),
            left: Left::default(),
            schedule: Schedule::default(),
            runs: Runs::default(),
            actions: BTreeMap::new(),
            dependents: HashMap::new(),
            awaited_parents: HashSet::new(),
            acknowledgements: HashMap::new(),
            downtimes: Downtimes::new(parts.loaded.downtimes.clone()),
            gate: None,
            outbox: Outbox::default(),
            bulletins: Bulletins::default(),
            scripts: Scripts::default(),
            selfchecks: SelfChecks::new(now),
            last_id: parts.loaded.last_id,
            records: Vec::new(),
            urgent: false,
            effects: Vec::new(),
            pending: VecDeque::new(),
            next_persist: now + PERSIST,
            persisted: 0,
            last_wall: Timestamp::MIN,
            last_turn: now,
            run_ends,
            run_ends_in,
            delivery_ends,
            delivery_ends_in,
            script_ends,
            script_ends_in,
        };
        engine.restore(parts.configuration, parts.loaded, now);
        if let Some(accused) = parts.accused {
            engine.bench(&accused, now);
        }
        engine
    }

    /// Grows with every turn of the loop, at least once a second: the watchdog looks at it (R60).
    pub fn beat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.beat)
    }

    /// Runs until it is told to stop; then runs are called off, what is known is written, and deliveries under way get a moment.
    pub async fn run(mut self) {
        let mut ended = Vec::with_capacity(RUNS_AT_ONCE);
        loop {
            self.finish_turn();
            let rests = self.rests();
            let wake = self.next_wake(rests);
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                _ = self.committed.changed() => {}
                Some(end) = self.delivery_ends_in.recv() => self.delivery_ended(end, Instant::now()),
                Some(end) = self.script_ends_in.recv() => self.script_ended(end),
                _ = self.run_ends_in.recv_many(&mut ended, RUNS_AT_ONCE), if !rests => {}
                Some(command) = self.commands.recv() => self.command(command, Instant::now()),
                () = tokio::time::sleep_until(wake) => {}
            }
            let now = Instant::now();
            self.take_settled(&mut ended, now);
            for end in ended.drain(..) {
                self.run_ended(end, now);
            }
            self.settle_clock(now);
            self.notice_suspend(now);
            self.apply_committed();
            self.run_due(now);
            self.wake_targets();
            self.watch_self(now);
            self.persist(now);
            self.beat.fetch_add(1, Ordering::Relaxed);
        }
        self.shut_down().await;
    }

    /// Whether results may wait.
    fn rests(&self) -> bool {
        self.runs.are_patient() && self.runs.untaken_since.is_some_and(|start| start.elapsed() < REST)
    }

    /// Takes what has ended meanwhile, whatever the engine woke for.
    fn take_settled(&mut self, ended: &mut Vec<RunEnd>, now: Instant) {
        if self.runs.untaken_since.is_some_and(|start| now.saturating_duration_since(start) >= SETTLED) {
            while ended.len() < RUNS_AT_ONCE {
                let Ok(end) = self.run_ends_in.try_recv() else { break };
                ended.push(end);
            }
            self.runs.untaken_since = None;
        }
    }

    fn next_wake(&self, rests: bool) -> Instant {
        let now = Instant::now();
        let rested = self.runs.untaken_since.filter(|_| rests).map(|start| start + REST);
        let candidates = [
            self.schedule.next_due(),
            self.runs.next_place(),
            self.outbox.next_wake(&self.clock, now, &self.actions),
            rested,
            (self.persisted > 0).then_some(self.next_persist),
        ];
        candidates.into_iter().flatten().min().unwrap_or(now + TURN).min(now + TURN)
    }

    /// When the wall clock has stepped back, nothing that is known may lie in the future: it would be waited for. When it has stepped
    /// ahead, no reminder is due for that (R18).
    fn settle_clock(&mut self, now: Instant) {
        let wall = self.wall();
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.last_turn, now));
        let passed = passed + self.clock.asleep().saturating_sub(self.last_asleep);
        let ahead = Duration::try_from(wall.duration_since(self.last_wall)).unwrap_or_default().saturating_sub(passed);
        if ahead > CLOCK_STEP && self.last_wall != Timestamp::MIN {
            tracing::warn!("the wall clock stepped ahead by {}", monchero_core::duration::human(ahead));
            self.outbox.step_ahead(ahead);
        }
        if wall.checked_add(CLOCK_STEP).is_ok_and(|ahead| ahead < self.last_wall) {
            tracing::warn!("the wall clock stepped back");
            for entry in self.entries.iter_mut() {
                entry.row_mut().status.settle(wall);
            }
            self.outbox.settle(wall);
            self.downtimes.look_again(None, wall);
            self.settle_bulletins(wall);
            self.reconcile_all();
        }
        self.last_wall = wall;
    }

    /// Looks at every check and all of its targets.
    pub(crate) fn reconcile_all(&mut self) {
        let all: Vec<Id> = self.entries.names().map(|(_, id)| id).collect();
        for id in all {
            self.reconcile(id);
        }
    }

    /// Hands what this turn produced to the store; effects wait for the ticket.
    fn finish_turn(&mut self) {
        self.pump_outbox(Instant::now());
        if self.records.is_empty() {
            debug_assert!(self.effects.is_empty(), "every effect has a record that must be on disk before it");
            return;
        }
        let urgency = if std::mem::take(&mut self.urgent) { Urgency::Now } else { Urgency::Soon };
        let ticket = self.journal.write(std::mem::take(&mut self.records), urgency);
        if !self.effects.is_empty() {
            self.pending.push_back((ticket, std::mem::take(&mut self.effects)));
        }
    }

    /// Does what waited for batches that are on disk now.
    fn apply_committed(&mut self) {
        let ticket = self.committed.borrow_and_update().ticket;
        while self.pending.front().is_some_and(|(wanted, _)| *wanted <= ticket) {
            let Some((_, effects)) = self.pending.pop_front() else { break };
            for effect in effects {
                match effect {
                    Effect::Publish(id) => self.publish(id),
                    Effect::Deliver(delivery) => self.deliver(*delivery),
                    Effect::Script(run) => self.queue_script(*run),
                    // Who went away needs no answer.
                    Effect::Heard(answer, result) => drop(answer.send(Ok(*result))),
                }
            }
        }
        self.start_scripts();
    }

    /// Something that must be on disk before `effect`.
    pub(crate) fn write_then(&mut self, record: Record, effect: Effect) {
        self.write_now(record);
        self.effects.push(effect);
    }

    /// Something that must be on disk at once.
    pub(crate) fn write_now(&mut self, record: Record) {
        self.records.push(record);
        self.urgent = true;
    }

    /// Where everything is written.
    pub(crate) fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(&self.journal)
    }

    /// A number that was never given before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Results that changed no state go to the store from time to time, in slices.
    fn persist(&mut self, now: Instant) {
        if now < self.next_persist {
            return;
        }
        if self.persisted == 0 {
            self.give_up_lost_runs(now);
        }
        let is_whole = self.persist_dirty(SLICE_CHECKS, SLICE_BYTES);
        self.next_persist = now + if is_whole { PERSIST } else { SLICE_PAUSE };
    }

    /// Writes so many entries that changed, from where the last slice ended; whether the end was reached.
    fn persist_dirty(&mut self, mut checks: usize, mut bytes: usize) -> bool {
        for (passed, entry) in self.entries.iter_mut().skip(self.persisted).enumerate() {
            if checks == 0 || bytes == 0 {
                self.persisted += passed;
                return false;
            }
            if std::mem::take(&mut entry.dirty) {
                let record = Record::Check(Box::new(entry.stored()));
                checks -= 1;
                bytes = bytes.saturating_sub(record.weight());
                self.records.push(record);
            }
        }
        self.persisted = 0;
        true
    }

    async fn shut_down(mut self) {
        self.call_off_all();
        self.persisted = 0;
        self.persist_dirty(usize::MAX, usize::MAX);
        self.records.push(Record::Running(None));
        self.urgent = true;
        self.finish_turn();
        let began = Instant::now();
        loop {
            let patience = if !self.pending.is_empty() || self.scripts.running() > 0 {
                STOP_PATIENCE
            } else if self.outbox.in_flight() > 0 {
                DELIVERY_PATIENCE
            } else {
                break;
            };
            tokio::select! {
                () = tokio::time::sleep_until(began + patience) => {
                    tracing::warn!("stopped with deliveries or scripts under way; messages are sent again after the next start");
                    break;
                }
                changed = self.committed.changed() => if changed.is_err() { break },
                Some(end) = self.delivery_ends_in.recv() => self.delivery_ended(end, Instant::now()),
                Some(end) = self.script_ends_in.recv() => self.script_ended(end),
            }
            self.settle_last_turn();
        }
    }

    /// While stopping nothing new goes out, but what ended is written, and who said something that is on disk by now is told so.
    fn settle_last_turn(&mut self) {
        let ticket = self.committed.borrow_and_update().ticket;
        let mut dropped = std::mem::take(&mut self.effects);
        while self.pending.front().is_some_and(|(wanted, _)| *wanted <= ticket) {
            dropped.extend(self.pending.pop_front().into_iter().flat_map(|(_, effects)| effects));
        }
        for effect in dropped {
            match effect {
                // Who went away needs no answer.
                Effect::Heard(answer, result) => drop(answer.send(Ok(*result))),
                // It goes out after the next start, so nobody waits for its end now.
                Effect::Deliver(delivery) => {
                    if let Some(worker) = self.outbox.worker(delivery.target()) {
                        worker.in_flight = false;
                    }
                }
                Effect::Publish(_) | Effect::Script(_) => {}
            }
        }
        if !self.records.is_empty() {
            self.journal.write(std::mem::take(&mut self.records), Urgency::Now);
        }
    }

    /// The wall time.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Ends when the daemon stops, or when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
