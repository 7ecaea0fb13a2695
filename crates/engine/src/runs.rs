//! Runs of checks: who may start, who waits, and what comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::report::{CheckResult, ServiceResult};
use monchero_core::{CheckError, Context, Name, Report, State};
use monchero_store::Witness;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::dispatch::Origin;
use crate::engine::Engine;
use crate::entry::{Id, Phase, Running};
use crate::handle::Refusal;
use crate::lateness::Histogram;
use crate::schedule::{Grid, splay, tick_from, until_next_slot};

/// How many ended runs may wait for the dispatcher. It is always quicker than they are; a full queue only makes tasks wait, which
/// have nothing else to do.
pub(crate) const RUN_ENDS: usize = 1_024;
/// A run counts as starting for this long. Starting is what costs the machine; a run that lasts longer mostly waits for something, and
/// gives its place to the next, so that a few hung checks delay nobody (promise 8).
const YOUNG: Duration = Duration::from_millis(100);
/// A definition's timeout is kept by the check or by `exec`; if both fail, the run is dropped this much later (promise 1).
const BACKSTOP: Duration = Duration::from_millis(2_900);
/// If not even that comes, since the thread of the runs itself hangs, the engine gives the run up this long after its timeout.
const LOST: Duration = Duration::from_secs(5);
/// What is due this soon starts now, together with what is due: one wake for all of them. Far below what a schedule promises (10 ms).
const TOGETHER: Duration = Duration::from_millis(5);
/// A loop that wakes this much too late was stopped or frozen as a whole (SIGSTOP, a paused virtual machine).
const GAP: Duration = Duration::from_secs(5);

/// The end of a run.
#[derive(Debug)]
pub(crate) struct RunEnd {
    pub(crate) id: Id,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) answer: Result<Report, CheckError>,
    pub(crate) panicked: bool,
}

/// Somebody who asked for a run.
pub(crate) type Waiter = oneshot::Sender<Result<ServiceResult, Refusal>>;

/// Who runs and who waits.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Due, in the order in which they became so.
    waiting: VecDeque<(Id, Instant)>,
    /// How many places those take that go on.
    taken: usize,
    /// How many of them count as starting.
    young: usize,
    /// When the youngest stop counting.
    ages: VecDeque<(Instant, Id)>,
    /// When the first run started since results were last taken.
    pub(crate) untaken_since: Option<Instant>,
    /// Who asked for the result of the next or present run.
    pub(crate) waiters: HashMap<Id, Vec<Waiter>>,
    /// How late runs started since the last look of `self/scheduler`.
    pub(crate) lateness: Histogram,
    /// Runs that were started, ever.
    pub(crate) started: u64,
    /// Slots that were skipped because the run before was not over, ever.
    pub(crate) skipped: u64,
    /// Runs that panicked, ever.
    pub(crate) panics: u64,
    /// Times that the daemon stood still as a whole, ever.
    pub(crate) gaps: u64,
}

impl Runs {
    /// How long the one has waited that waits longest for a place.
    pub(crate) fn longest_wait(&self, now: Instant) -> Duration {
        self.waiting.front().map(|(_, due)| now.saturating_duration_since(*due)).unwrap_or_default()
    }

    /// How many wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits for a place or for a result.
    pub(crate) fn are_patient(&self) -> bool {
        self.waiting.is_empty() && self.waiters.is_empty()
    }

    /// When a place will be free although nothing ends.
    pub(crate) fn next_place(&self) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { self.ages.front().map(|(at, _)| *at) }
    }
}

impl Engine {
    /// Puts a scheduled entry on its grid: where it was before a restart, or at its own offset if it is new.
    pub(crate) fn place(&mut self, id: Id, now: Instant) {
        let wall = self.clock.now();
        let host = Arc::clone(&self.host);
        let Some(entry) = self.entries.get_mut(id) else { return };
        if !entry.is_scheduled() {
            return;
        }
        let interval = entry.interval;
        let offset = splay(&host, entry.row.name.as_str(), interval);
        let first = if let Some(anchor) = entry.anchor {
            let next = now + until_next_slot(anchor, interval, wall);
            entry.grid = Grid::new(next, interval);
            let last = entry.row.status.last_check;
            let missed = last.is_none_or(|last| last > wall || wall.duration_since(last) > signed(interval));
            // What an earlier daemon had planned off the grid: a retry, the end of a deadline. What has passed meanwhile is spread.
            let planned = entry.row.next_check.map(|at| Duration::try_from(at.duration_since(wall)).unwrap_or(offset));
            let next = planned.map_or(next, |planned| next.min(now + planned));
            if missed { next.min(now + offset) } else { next }
        } else {
            let anchor = tick_from(wall.checked_add(offset).unwrap_or(wall));
            let first = now + Duration::try_from(anchor.duration_since(wall)).unwrap_or_default();
            entry.anchor = Some(anchor);
            entry.grid = Grid::new(first, interval);
            entry.dirty = true;
            first
        };
        self.schedule_at(id, first, now);
    }

    /// Makes `due` the one time at which the entry runs next.
    pub(crate) fn schedule_at(&mut self, id: Id, due: Instant, now: Instant) {
        let wall = self.clock.now();
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.benched) else { return };
        entry.place = entry.place.wrapping_add(1);
        let place = entry.place;
        entry.row_mut().next_check = wall.checked_add(due.saturating_duration_since(now)).ok();
        self.schedule.push(due, id.index, place);
        if self.schedule.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.schedule.retain(|index, place| entries.at(index).is_some_and(|entry| entry.place == place));
        }
    }

    /// Queues all that is due, and starts what may.
    pub(crate) fn run_due(&mut self, now: Instant) {
        let late = self.schedule.next_due().map(|due| now.saturating_duration_since(due)).unwrap_or_default();
        if late > GAP {
            self.after_gap(now, late);
        }
        while let Some((due, index, place)) = self.schedule.pop_due(now + TOGETHER) {
            let Some(entry) = self.entries.at_mut(index) else { continue };
            if entry.place != place {
                continue;
            }
            let id = Id { index, life: entry.life };
            let (next, passed) = entry.grid.next_after(due, now.max(due));
            if matches!(entry.phase, Phase::Idle) {
                entry.phase = Phase::Waiting;
                self.runs.waiting.push_back((id, due));
            } else {
                self.runs.skipped += 1 + passed;
                entry.row_mut().skipped += 1 + passed;
            }
            self.schedule_at(id, next, now);
        }
        self.start_waiting(now);
    }

    /// After the whole daemon stood still: one run per check, spread, and no verdict over runs that were frozen with it (R19).
    fn after_gap(&mut self, now: Instant, gap: Duration) {
        self.note_gap("the daemon stood still", gap);
        let host = Arc::clone(&self.host);
        let mut overdue = Vec::new();
        while let Some((due, index, place)) = self.schedule.pop_due(now) {
            if let Some(entry) = self.entries.at_mut(index).filter(|entry| entry.place == place) {
                // One of them is made up for.
                let (_, passed) = entry.grid.next_after(due, now);
                self.runs.skipped += passed;
                entry.row_mut().skipped += passed;
                let offset = splay(&host, entry.row.name.as_str(), entry.interval);
                overdue.push((Id { index, life: entry.life }, now + offset));
            }
        }
        for (id, due) in overdue {
            self.schedule_at(id, due, now);
        }
    }

    /// When the machine was suspended, the clock of the schedule stood still with it: what was due meanwhile by the wall clock is overdue.
    pub(crate) fn notice_suspend(&mut self, now: Instant) {
        let asleep = self.clock.asleep();
        let gap = asleep.saturating_sub(std::mem::replace(&mut self.last_asleep, asleep));
        if gap <= GAP {
            return;
        }
        self.note_gap("the machine was suspended", gap);
        let wall = self.wall();
        let overdue: Vec<(Id, Instant)> = self
            .entries
            .names()
            .filter_map(|(name, id)| Some((name, id, self.entries.get(id)?)))
            .filter(|(_, _, entry)| entry.is_scheduled() && entry.row.next_check.is_some_and(|next| next <= wall))
            .map(|(name, id, entry)| (id, now + splay(&self.host, name.as_str(), entry.interval)))
            .collect();
        for (id, due) in overdue {
            if let Some(entry) = self.entries.get_mut(id) {
                let late =
                    entry.row.next_check.map(|next| Duration::try_from(wall.duration_since(next)).unwrap_or_default());
                // One of them is made up for.
                let passed = late.unwrap_or_default().as_nanos() / entry.interval.as_nanos().max(1);
                let passed = u64::try_from(passed).unwrap_or(u64::MAX);
                self.runs.skipped = self.runs.skipped.saturating_add(passed);
                entry.row_mut().skipped = entry.row.skipped.saturating_add(passed);
            }
            self.schedule_at(id, due, now);
        }
    }

    /// Runs that were frozen are not judged by their timeout.
    fn note_gap(&mut self, what: &str, gap: Duration) {
        self.runs.gaps += 1;
        let gap = monchero_core::duration::human(gap);
        tracing::warn!("clock gap {gap}: {what}; overdue checks are spread and frozen runs are not judged");
        for entry in self.entries.iter_mut() {
            if let Phase::Running(running) = &mut entry.phase {
                running.frozen = true;
            }
        }
    }

    /// Leaves out a check that crashed the daemon again and again, and says so (R33).
    pub(crate) fn bench(&mut self, name: &Name, now: Instant) {
        let Some(id) = self.entries.find(name.as_str()) else { return };
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.is_scheduled()) else { return };
        entry.benched = true;
        // Its place in the schedule is void.
        entry.place = entry.place.wrapping_add(1);
        entry.row_mut().next_check = None;
        tracing::error!(check = %name, "not run: monchero crashed three times within a minute while it worked on this check");
        let why = format!(
            "monchero crashed three times within a minute while it worked on this check, so it is not run; \
             `monchero run {name}` tries it again, and so does the next start"
        );
        let answer = Err(CheckError::Unable(why));
        let result = CheckResult::new(name.clone(), self.wall(), Duration::ZERO, answer, State::Unknown);
        if let Some(result) = result {
            // No further run could confirm it.
            self.take_result(id, CheckResult { proven: true, ..result }, Origin::Word, now);
        }
    }

    /// A check that was left out is to run again.
    pub(crate) fn unbench(&mut self, id: Id, now: Instant) {
        if self.entries.get_mut(id).is_some_and(|entry| std::mem::take(&mut entry.benched)) {
            self.place(id, now);
        }
    }

    /// Asks for a run as soon as there is a place; nothing if one waits or goes on.
    pub(crate) fn request_run(&mut self, id: Id, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.is_scheduled() && !entry.benched && matches!(entry.phase, Phase::Idle) {
            entry.phase = Phase::Waiting;
            self.runs.waiting.push_back((id, now));
        }
    }

    /// Starts as many as may start.
    pub(crate) fn start_waiting(&mut self, now: Instant) {
        while let Some((at, _)) = self.runs.ages.front()
            && *at <= now
        {
            let Some((_, id)) = self.runs.ages.pop_front() else { break };
            if let Some(Phase::Running(running)) = self.entries.get_mut(id).map(|entry| &mut entry.phase)
                && running.young
                && now.saturating_duration_since(running.started) >= YOUNG
            {
                running.young = false;
                self.runs.young -= 1;
            }
        }
        // In the order in which they became due: whoever weighs much is not passed by those who weigh little.
        while self.runs.young < self.starting
            && let Some((id, due)) = self.runs.waiting.front().copied()
        {
            let weight = self.entries.get(id).map_or(0, |entry| usize::from(entry.definition.weight));
            let weight = weight.min(self.concurrency);
            if self.runs.taken + weight > self.concurrency {
                break;
            }
            self.runs.waiting.pop_front();
            self.start(id, due, weight, now);
        }
    }

    fn start(&mut self, id: Id, due: Instant, weight: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some((pid, since)) = entry.stuck {
            if self.spawner.still_stuck(pid) {
                entry.phase = Phase::Idle;
                self.runs.skipped += 1;
                entry.row_mut().skipped += 1;
                let since = self.shown(since);
                self.answer_waiters(id, || {
                    Err(Refusal::Senseless(format!(
                        "process {pid} of its last run hangs in the kernel since {since}, and a second one is not started"
                    )))
                });
                return;
            }
            entry.stuck = None;
        }
        self.runs.lateness.record(now.saturating_duration_since(due));
        self.witness.take_if(|witness| !witness.is_watching());
        let run = Run {
            definition: Arc::clone(&entry.definition),
            host: Arc::clone(&self.host),
            sysroot: Arc::clone(&self.sysroot),
            spawner: Arc::clone(&self.spawner),
            peers: Arc::clone(&self.peers),
            now: self.clock.now(),
            memory: entry.memory.clone(),
            witness: self.witness.clone(),
        };
        let ends = self.run_ends.clone();
        let task = async move {
            let (answer, panicked) = run.to_end().await;
            // The engine is gone only when everything stops: then nobody needs the result.
            let _ = ends.send(RunEnd { id, started: now, ended: Instant::now(), answer, panicked }).await;
        };
        let abort = self.checks.spawn(task).abort_handle();
        entry.phase =
            Phase::Running(Running { abort, started: now, weight, young: true, frozen: false, overtaken: false });
        entry.row_mut().running = true;
        self.runs.taken += weight;
        self.runs.young += 1;
        self.runs.started += 1;
        self.runs.untaken_since.get_or_insert(now);
        self.runs.ages.push_back((now + YOUNG, id));
    }

    /// Takes the end of a run: judges it, unless it proves nothing.
    pub(crate) fn run_ended(&mut self, mut end: RunEnd, now: Instant) {
        let Some(entry) = self.entries.get_mut(end.id) else { return };
        let Phase::Running(running) = &entry.phase else { return };
        if running.started != end.started {
            return;
        }
        let proves_nothing =
            running.overtaken || (running.frozen && matches!(end.answer, Err(CheckError::TimedOut(_))));
        self.leave_run(end.id);
        if end.panicked {
            self.runs.panics += 1;
        }
        if let Err(CheckError::Stuck(pid)) = end.answer {
            let at = self.clock.now();
            let since = self.shown(at);
            if let Some(entry) = self.entries.get_mut(end.id) {
                entry.stuck = Some((pid, at));
            }
            end.answer = Err(CheckError::Unable(format!(
                "stuck: process {pid} hangs in the kernel (state D) since {since} and cannot be ended; no second one is started"
            )));
        }
        if proves_nothing {
            self.request_run(end.id, now);
            return;
        }
        let Some(entry) = self.entries.get(end.id) else { return };
        let duration = end.ended.saturating_duration_since(end.started);
        let (name, on_timeout) = (entry.row.name.clone(), entry.definition.on_timeout);
        let at = self.clock.before(now.saturating_duration_since(end.ended));
        match CheckResult::new(name, at, duration, end.answer, on_timeout) {
            Some(result) => self.take_result(end.id, result, Origin::Run, now),
            None => self.answer_waiters(end.id, || Err(Refusal::Senseless("the run was called off".to_owned()))),
        }
    }

    /// Gives up runs whose thread keeps no time any more (R24). Such a check does not run again before the thread has come back.
    pub(crate) fn give_up_lost_runs(&mut self, now: Instant) {
        let is_lost = |running: &Running, timeout: Duration| {
            !running.overtaken && !running.frozen && now.saturating_duration_since(running.started) > timeout + LOST
        };
        let mut lost = Vec::new();
        for (_, id) in self.entries.names() {
            let Some(entry) = self.entries.get(id) else { continue };
            if matches!(&entry.phase, Phase::Running(running) if is_lost(running, entry.definition.timeout)) {
                lost.push(id);
            }
        }
        for id in lost {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let Phase::Running(running) = &mut entry.phase else { continue };
            running.overtaken = true;
            let duration = now.saturating_duration_since(running.started);
            let timeout = monchero_core::duration::human(entry.definition.timeout);
            let name = entry.row.name.clone();
            tracing::error!(check = %name, "its run does not end: the thread on which checks run hangs");
            let why = format!(
                "the run did not end with its timeout of {timeout}: the thread on which checks run hangs in the kernel, and the check is not \
                 run again before that comes back; if it does not, restart monchero"
            );
            let answer = Err(CheckError::Unable(why));
            let result = CheckResult::new(name, self.wall(), duration, answer, State::Unknown);
            if let Some(result) = result {
                // No further run could confirm it.
                self.take_result(id, CheckResult { proven: true, ..result }, Origin::Word, now);
            }
        }
    }

    fn shown(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    /// The entry no longer runs: its place is free.
    fn leave_run(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Phase::Running(running) = std::mem::take(&mut entry.phase) {
            entry.row_mut().running = false;
            self.runs.taken -= running.weight;
            if running.young {
                self.runs.young -= 1;
            }
        }
    }

    /// Ends a run without a result, for this reason.
    pub(crate) fn call_off(&mut self, id: Id, why: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        match &entry.phase {
            Phase::Running(running) => {
                running.abort.abort();
                self.leave_run(id);
            }
            Phase::Waiting => {
                entry.phase = Phase::Idle;
                self.runs.waiting.retain(|(waiting, _)| *waiting != id);
            }
            Phase::Idle => {}
        }
        self.answer_waiters(id, || Err(Refusal::Senseless(format!("the run was called off: {why}"))));
    }

    /// Answers all who asked for the result of this run.
    pub(crate) fn answer_waiters(&mut self, id: Id, answer: impl Fn() -> Result<ServiceResult, Refusal>) {
        for waiter in self.runs.waiters.remove(&id).unwrap_or_default() {
            // Somebody who went away needs no answer.
            let _ = waiter.send(answer());
        }
    }
}

/// All that a run needs, so that it needs nothing of the engine.
struct Run {
    definition: Arc<monchero_core::definition::Definition>,
    host: Arc<str>,
    sysroot: Arc<std::path::Path>,
    spawner: Arc<dyn monchero_core::program::Spawner>,
    peers: Arc<dyn monchero_core::check::Peers>,
    now: Timestamp,
    memory: Option<Arc<str>>,
    witness: Option<Arc<Witness>>,
}

impl Run {
    /// Runs the check to its end, whatever it does; says whether it panicked.
    async fn to_end(&self) -> (Result<Report, CheckError>, bool) {
        let timeout = self.definition.timeout;
        let context = Context {
            check: self.definition.name.as_str(),
            host: &self.host,
            now: self.now,
            timeout,
            sysroot: &self.sysroot,
            spawner: &*self.spawner,
            env: &self.definition.env,
            memory: self.memory.as_deref(),
            peers: &*self.peers,
            explain: false,
        };
        let work = self.definition.check.run(&context);
        let run = async {
            match &self.witness {
                Some(witness) => tokio::time::timeout(timeout + BACKSTOP, witness.watch(context.check, work)).await,
                None => tokio::time::timeout(timeout + BACKSTOP, work).await,
            }
        };
        match crate::guarded(run).await {
            Ok(Ok(answer)) => (answer, false),
            Ok(Err(_)) => (Err(CheckError::TimedOut(timeout)), false),
            Err(panic) => (Err(CheckError::Unable(format!("the check panicked: {panic}"))), true),
        }
    }
}

/// A span of the wall clock.
pub(crate) fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}
