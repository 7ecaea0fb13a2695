//! What others ask of the engine.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use monchero_core::check::Signal;
use monchero_core::definition::ActionDefinition;
use monchero_core::hold::{Acknowledgement, Downtime};
use monchero_core::report::CheckResult;
use monchero_core::{CheckStatus, Name, Report, State, node};
use monchero_store::Record;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::dispatch::Origin;
use crate::engine::{Effect, Engine};
use crate::entry::{Id, Phase, SELF_KIND};
use crate::handle::{Command, Heard, Refusal};
use crate::runs::Waiter;
use crate::selfcheck::ALIVE;
use crate::view::{Detail, Snapshot, TargetView};

impl Engine {
    /// Carries out one command. A caller that went away needs no answer, so failed sends are nothing.
    pub(crate) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Snapshot(answer) => drop(answer.send(self.snapshot())),
            Command::Show(name, answer) => drop(answer.send(self.show(&name))),
            Command::Run(name, answer) => self.run_for(&name, answer, now),
            Command::Submit(name, report, answer) => drop(answer.send(self.submit(&name, *report, now))),
            Command::Signal(name, signal, answer) => self.signal(&name, &signal, answer, now),
            Command::TestTarget(test, answer) => self.test_target(&test, answer),
            Command::SendSummary(target, since, answer) => self.send_summary(&target, since, answer),
            Command::Picture(answer) => drop(answer.send(self.picture())),
            Command::Rehearse(name, state, answer) => drop(answer.send(self.rehearse(&name, state))),
            Command::Acknowledge { check, author, comment, until, sticky, answer } => {
                let at = self.wall();
                let acknowledgement = Acknowledgement { at, author, comment, until, sticky, state: State::Okay };
                drop(answer.send(self.acknowledge(&check, acknowledgement)));
            }
            Command::Unacknowledge(check, answer) => drop(answer.send(self.unacknowledge(&check))),
            Command::AddDowntime(downtime, answer) => drop(answer.send(self.add_downtime(*downtime))),
            Command::Downtimes(answer) => drop(answer.send(self.downtimes.all().cloned().collect())),
            Command::EndDowntime(id, answer) => drop(answer.send(self.end_downtime(id))),
            Command::Configure(configuration, answer) => drop(answer.send(self.configure(*configuration, now))),
            Command::Alive(report) => self.alive(*report, now),
            Command::ConfigTrouble(trouble) => self.config_trouble(trouble, now),
            Command::LogTrouble(trouble) => self.log_trouble(trouble, now),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let rows =
            self.entries.by_name().filter(|entry| !entry.gone).map(|entry| Arc::clone(entry.visible())).collect();
        Snapshot { host: Arc::clone(&self.host), now: self.wall(), rows }
    }

    /// The entry of that name, or the nearest name.
    pub(crate) fn lookup(&self, name: &str) -> Result<Id, Refusal> {
        if let Some(id) = self.entries.find(name).filter(|id| self.entries.get(*id).is_some_and(|entry| !entry.gone)) {
            return Ok(id);
        }
        let near = node::nearest(name, self.entries.names().map(|(name, _)| name.as_str())).map(str::to_owned);
        Err(Refusal::NoSuchCheck { name: name.to_owned(), near })
    }

    fn show(&self, name: &str) -> Result<Box<Detail>, Refusal> {
        let id = self.lookup(name)?;
        let Some(entry) = self.entries.get(id) else {
            return Err(Refusal::NoSuchCheck { name: name.to_owned(), near: None });
        };
        let wall = self.wall();
        let targets = self.targets_of(id);
        let targets = targets.iter().map(|target| self.target_view(id, target, &entry.row.status));
        let covers = |downtime: &&Downtime| {
            downtime.over() > wall && downtime.covers.fits(entry.row.name.as_str(), &entry.row.labels)
        };
        Ok(Box::new(Detail {
            row: Arc::clone(entry.visible()),
            interval: entry.interval,
            retry_interval: entry.definition.retry_interval,
            timeout: entry.definition.timeout,
            source: entry.definition.source.clone(),
            depends_on: Arc::clone(&entry.definition.depends_on),
            actions: Arc::clone(&entry.definition.actions),
            targets: targets.collect(),
            acknowledgement: self.acknowledgements.get(&id).cloned(),
            downtimes: self.downtimes.all().filter(covers).cloned().collect(),
            recent_actions: self.scripts.recent(id),
            recent_notices: self.outbox.recent(id),
        }))
    }

    /// What a target knows about a check, and what is to be done about it if this is the status of the check.
    pub(crate) fn target_view(&self, id: Id, target: &ActionDefinition, status: &CheckStatus) -> TargetView {
        let (wall, now) = (self.wall(), Instant::now());
        let trouble = self.outbox.trouble(&target.name);
        TargetView {
            told: self.outbox.told(id, &target.name),
            decision: self.decide_on(id, target, status),
            retry: trouble
                .and_then(|t| Some((t.tries, wall.checked_add(t.until.saturating_duration_since(now)).ok()?))),
            last_error: trouble.map(|trouble| trouble.why.clone()),
            target: target.name.clone(),
        }
    }

    fn run_for(&mut self, name: &Name, answer: Waiter, now: Instant) {
        let found = self.lookup(name.as_str()).and_then(|id| self.runner_of(id, name));
        match found {
            Ok(id) => {
                self.runs.waiters.entry(id).or_default().push(answer);
                if self.entries.get(id).is_some_and(|entry| entry.definition.kind == SELF_KIND) {
                    self.look_at_self(now);
                } else {
                    self.unbench(id, now);
                    self.request_run(id, now);
                }
            }
            Err(refusal) => drop(answer.send(Err(refusal))),
        }
    }

    /// The entry whose run makes the results of this one.
    fn runner_of(&self, id: Id, name: &Name) -> Result<Id, Refusal> {
        let Some(entry) = self.entries.get(id) else {
            return Err(Refusal::NoSuchCheck { name: name.to_string(), near: None });
        };
        if entry.row.parent.is_some() {
            return Ok(self.runner(id));
        }
        if name.as_str() == ALIVE {
            return Err(Refusal::Senseless(format!(
                "`{name}` is not run: it tells how the last sign of life was taken"
            )));
        }
        if entry.is_scheduled() || entry.definition.kind == SELF_KIND {
            return Ok(id);
        }
        Err(Refusal::Senseless(format!("`{name}` is not run: monchero itself reports it")))
    }

    fn submit(&mut self, name: &Name, report: Report, now: Instant) -> Result<(), Refusal> {
        let id = self.lookup(name.as_str())?;
        let Some(entry) = self.entries.get(id) else {
            return Err(Refusal::NoSuchCheck { name: name.to_string(), near: None });
        };
        if entry.is_internal() {
            return Err(Refusal::Senseless(format!(
                "`{name}` takes no results from outside: monchero itself reports it"
            )));
        }
        let on_timeout = entry.definition.on_timeout;
        let result = CheckResult::new(name.clone(), self.wall(), Duration::ZERO, Ok(report), on_timeout);
        let Some(result) = result else { return Ok(()) };
        if entry.row.parent.is_some() {
            self.apply(id, &result.result, result.at, Duration::ZERO, false, Origin::Word);
            self.recheck_dependents(id);
        } else {
            self.take_from_outside(id, result, now);
        }
        Ok(())
    }

    /// Takes a result that no run made. Who waits for a run goes on waiting for it.
    fn take_from_outside(&mut self, id: Id, result: CheckResult, now: Instant) {
        let running = self.entries.get(id).is_some_and(|entry| matches!(entry.phase, Phase::Running(_)));
        let waiters = if running { self.runs.waiters.remove(&id) } else { None };
        self.take_result(id, result, Origin::Word, now);
        if let Some(waiters) = waiters {
            self.runs.waiters.insert(id, waiters);
        }
    }

    fn signal(&mut self, name: &Name, signal: &Signal, answer: oneshot::Sender<Heard>, now: Instant) {
        let heard = self.lookup(name.as_str()).and_then(|id| Ok((id, self.hear(id, name, signal)?)));
        let (id, result) = match heard {
            Ok(heard) => heard,
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        if let Some(Phase::Running(running)) = self.entries.get_mut(id).map(|entry| &mut entry.phase) {
            running.overtaken = true;
        }
        let told = Box::new(result.result.clone());
        self.take_from_outside(id, result, now);
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.dirty = false;
        let stored = Record::Check(Box::new(entry.stored()));
        self.write_then(stored, Effect::Heard(answer, told));
    }

    /// What a check makes of a signal.
    fn hear(&self, id: Id, name: &Name, signal: &Signal) -> Result<CheckResult, Refusal> {
        let at = self.wall();
        let heard = self.entries.get(id).filter(|entry| entry.is_scheduled()).and_then(|entry| {
            let hear = || entry.definition.check.hear(signal, entry.memory.as_deref(), at);
            // A kind that panics costs its own signal only (R59).
            let report = std::panic::catch_unwind(AssertUnwindSafe(hear)).ok().flatten()?;
            CheckResult::new(name.clone(), at, Duration::ZERO, Ok(report), entry.definition.on_timeout)
        });
        heard.ok_or_else(|| Refusal::TakesNoSignals(name.clone()))
    }

    fn acknowledge(&mut self, check: &Name, mut acknowledgement: Acknowledgement) -> Result<(), Refusal> {
        let id = self.lookup(check.as_str())?;
        let hard = self.entries.get(id).map(|entry| entry.row.status.hard_state).unwrap_or_default();
        if !hard.is_problem() {
            return Err(Refusal::Senseless(format!("`{check}` has no confirmed problem that could be acknowledged")));
        }
        acknowledgement.state = hard;
        if !acknowledgement.stands(hard, acknowledgement.at) {
            return Err(Refusal::Senseless("the acknowledgement would lapse before it begins".to_owned()));
        }
        self.acknowledgements.insert(id, acknowledgement.clone());
        self.write_now(Record::Acknowledgement { check: check.clone(), acknowledgement: Some(acknowledgement) });
        self.reconcile(id);
        Ok(())
    }

    fn unacknowledge(&mut self, check: &Name) -> Result<(), Refusal> {
        let id = self.lookup(check.as_str())?;
        if self.acknowledgements.remove(&id).is_none() {
            return Err(Refusal::Senseless(format!("`{check}` is not acknowledged")));
        }
        self.write_now(Record::Acknowledgement { check: check.clone(), acknowledgement: None });
        self.reconcile(id);
        Ok(())
    }
}
