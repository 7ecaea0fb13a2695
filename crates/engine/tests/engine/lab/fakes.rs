//! Checks, targets and scripts that do as told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{ActionContext, ActionError, ActionOutcome, Delivered, Event, Message, Script};
use monchero_core::action::{Bulletin, Target};
use monchero_core::check::{BoxFuture, Check, CheckError, Context, Signal, SignalKind};
use monchero_core::program::{Program, RunEnd, RunError, Spawner};
use monchero_core::{DeliveryError, Name, Report, State};

use super::{Answer, Heard};

pub(super) struct FakeCheck {
    pub(super) name: String,
    pub(super) answers: Arc<Mutex<HashMap<String, Answer>>>,
    pub(super) runs: Arc<Mutex<HashMap<String, u32>>>,
}

impl Check for FakeCheck {
    fn run<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Report, CheckError>> {
        Box::pin(async move {
            *self.runs.lock().unwrap().entry(self.name.clone()).or_default() += 1;
            let answer = self.answers.lock().unwrap().get(&self.name).copied().unwrap_or(Answer::State(State::Okay));
            match answer {
                Answer::State(state) => Ok(Report::of(state, format!("{} is {state}", self.name))),
                Answer::TimesOut => {
                    tokio::time::sleep(context.timeout).await;
                    Err(CheckError::TimedOut(context.timeout))
                }
                Answer::Panics => panic!("as told"),
                Answer::Counts => {
                    let count = context.recall().unwrap_or(0) + 1;
                    let mut report = Report::of(State::Okay, format!("number {count}"));
                    report.remember(&count);
                    Ok(report)
                }
                Answer::Again(after) => Ok(Report { again: Some(after), ..Report::of(State::Okay, "soon again") }),
                Answer::Proven => Ok(Report { proven: true, ..Report::of(State::Bad, "beyond doubt") }),
                Answer::LikeWorst => {
                    let peers = context.peers.all().await;
                    let worst = peers.iter().filter(|peer| peer.name.as_str() != context.check && peer.kind == "fake");
                    let worst = worst.filter_map(|peer| peer.state).max().unwrap_or_default();
                    Ok(Report { proven: true, ..Report::of(worst, "like the worst") })
                }
                Answer::Hangs => std::future::pending().await,
                Answer::Every(interval) => {
                    Ok(Report { interval: Some(interval), ..Report::of(State::Okay, "not so often") })
                }
                Answer::Once(state) => {
                    self.answers.lock().unwrap().insert(self.name.clone(), Answer::State(State::Okay));
                    Ok(Report::of(state, format!("{} is {state} for once", self.name)))
                }
                Answer::Alternates => {
                    let is_odd = self.runs.lock().unwrap()[&self.name] % 2 == 1;
                    Ok(Report::of(if is_odd { State::Bad } else { State::Unknown }, "now so, now so"))
                }
                Answer::Part(state) => {
                    let services = vec![("part".to_owned(), Report::of(state, format!("part is {state}")))];
                    Ok(Report { services, ..Report::of(State::Okay, "one part") })
                }
                Answer::Slow => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let last: String = context.recall().unwrap_or_default();
                    let mut report = Report::of(State::Okay, format!("last heard {last:?}"));
                    report.remember(&last);
                    Ok(report)
                }
            }
        })
    }

    fn hear(&self, signal: &Signal, _: Option<&str>, _: Timestamp) -> Option<Report> {
        let state = match signal.kind {
            SignalKind::Log => return None,
            SignalKind::Fail(_) => State::Bad,
            SignalKind::Start | SignalKind::Success => State::Okay,
        };
        assert_ne!(signal.output, "panic", "as told");
        let mut report = Report { proven: true, ..Report::of(state, signal.output.clone()) };
        report.remember(&signal.output);
        Some(report)
    }
}

pub(super) struct FakeTarget {
    pub(super) name: String,
    pub(super) messages: Arc<Mutex<Vec<String>>>,
    pub(super) works: Arc<Mutex<HashMap<String, bool>>>,
    pub(super) takes: Arc<Mutex<Duration>>,
    pub(super) answers_lost: Arc<Mutex<HashSet<String>>>,
    pub(super) hanging: Arc<Mutex<HashSet<String>>>,
    pub(super) heard: Arc<Mutex<Vec<Heard>>>,
    pub(super) refuses: Arc<Mutex<HashSet<String>>>,
    pub(super) bulletins: Arc<Mutex<Vec<Bulletin>>>,
}

impl FakeTarget {
    fn hear(&self, message: &Message, confirmed: bool) {
        let one = |check: &Name, kind, state| Heard {
            target: self.name.clone(),
            kind,
            check: check.to_string(),
            state,
            delivery_id: message.delivery_id.clone(),
            of: message.digest.len().max(1),
            over: message.missed.len(),
            made: message.event.now,
            at: tokio::time::Instant::now(),
            confirmed,
        };
        let mut heard = self.heard.lock().unwrap();
        if message.digest.is_empty() {
            heard.push(one(&message.event.check.name, message.kind, message.event.state));
        }
        heard.extend(message.digest.iter().map(|line| one(&line.check, line.kind, line.state)));
    }
}

impl Target for FakeTarget {
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        _: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<Delivered, DeliveryError>> {
        Box::pin(async move {
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            if self.refuses.lock().unwrap().contains(&self.name) {
                return Err(DeliveryError::Permanent { why: "wrong token".to_owned() });
            }
            if !self.works.lock().unwrap().get(&self.name).copied().unwrap_or(true) {
                return Err(DeliveryError::Transient { why: "connection refused".to_owned(), after: None });
            }
            let hangs = self.hanging.lock().unwrap().contains(&self.name);
            if hangs {
                std::future::pending::<()>().await;
            }
            let is_lost = self.answers_lost.lock().unwrap().contains(&self.name);
            self.hear(message, !is_lost);
            if is_lost {
                return Err(DeliveryError::Transient { why: "the answer was lost".to_owned(), after: None });
            }
            let missed =
                if message.missed.is_empty() { String::new() } else { format!(" ({} missed)", message.missed.len()) };
            let text = format!(
                "{}: {} {} {}{missed}{}{}",
                self.name,
                message.kind.as_str(),
                message.event.check.name,
                message.event.state,
                if message.event.drill { " [drill]" } else { "" },
                if message.bulletin.is_some() && message.late.is_some() { " (late)" } else { "" },
            );
            self.bulletins.lock().unwrap().extend(message.bulletin.as_deref().cloned());
            let mut messages = self.messages.lock().unwrap();
            let many = message.digest.len();
            for line in &message.digest {
                messages.push(format!(
                    "{}: {} {} {} (of {many})",
                    self.name,
                    line.kind.as_str(),
                    line.check,
                    line.state
                ));
            }
            if many == 0 {
                messages.push(text);
            }
            drop(messages);
            Ok("taken".to_owned().into())
        })
    }
}

pub(super) struct FakeScript {
    pub(super) name: String,
    pub(super) log: Arc<Mutex<Vec<String>>>,
}

impl Script for FakeScript {
    fn run<'a>(
        &'a self,
        event: &'a Event,
        _: Duration,
        _: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<ActionOutcome, ActionError>> {
        Box::pin(async move {
            self.log.lock().unwrap().push(format!("{}: {} {}", self.name, event.check.name, event.reason));
            Ok(ActionOutcome { success: true, message: "exit status 0".to_owned(), output: String::new() })
        })
    }
}

/// The laboratory's checks start no programs.
pub(super) struct NoPrograms;

impl Spawner for NoPrograms {
    fn run(&self, _: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        Box::pin(async { Err(RunError::Start { program: String::new(), why: "no programs here".to_owned() }) })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "none"
    }
}
