//! Drills: messages that say that they are drills, through the same worker and the same delivery as real ones. What a target was told
//! stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use monchero_core::action::{Action, CheckFacts, Event, IncidentFacts, Message};
use monchero_core::definition::ActionDefinition;
use monchero_core::incident::{IncidentId, stable_hash};
use monchero_core::{DeliveryError, Name, NoticeKind, State, StateType, node, text};
use monchero_store::{NoticeRow, Record};
use tokio::sync::oneshot;

use crate::delivery::{Delivery, DeliveryEnd, MAX_DETAIL};
use crate::engine::Engine;
use crate::handle::{Refusal, Test, Tested};

/// How many drills may wait for one target: real messages wait for them, so it is few.
pub(crate) const WAITING: usize = 4;
/// The check that the test of a target is about; no such check has to be there.
const INVENTED: &str = "drill";

/// What is kept of a drill until its message has been delivered or not.
#[derive(Debug)]
pub(crate) struct Drill {
    /// What will stand in history.
    row: NoticeRow,
    answer: oneshot::Sender<Tested>,
}

impl Drill {
    /// What will stand in history when the message has gone out or not, and who waits for that.
    pub(crate) fn new(row: NoticeRow, answer: oneshot::Sender<Tested>) -> Self {
        Self { row, answer }
    }

    /// Whether somebody still waits for how it ends.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl Engine {
    /// Puts a drill in front of its target's worker; it goes out when the message under way has ended.
    pub(crate) fn test_target(&mut self, test: &Test, answer: oneshot::Sender<Tested>) {
        let found = self.drillable(&test.target).and_then(|target| Ok((self.drill_message(&target, test)?, target)));
        let (message, target) = match found {
            Ok(found) => found,
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        let row = NoticeRow {
            at: message.event.now,
            check: message.event.check.name.clone(),
            target: target.name.clone(),
            delivery_id: message.delivery_id.clone(),
            kind: message.kind,
            state: message.event.state,
            incident: None,
            delivered: false,
            attempt: message.attempt,
            detail: String::new(),
            drill: true,
        };
        self.outbox.await_drill(target.name.clone(), Delivery::drill(target, message, Drill { row, answer }));
    }

    /// The target of that name if it can take a drill now.
    pub(crate) fn drillable(&self, name: &Name) -> Result<Arc<ActionDefinition>, Refusal> {
        match self.actions.get(name) {
            Some(action) if matches!(action.action, Action::Target(_)) && self.outbox.has_room_for_drill(name) => {
                Ok(Arc::clone(action))
            }
            Some(action) if matches!(action.action, Action::Target(_)) => Err(Refusal::Senseless(format!(
                "{WAITING} drills wait for `{name}` already; `monchero notify log` shows how they end"
            ))),
            Some(_) => Err(Refusal::Senseless(format!("`{name}` is a script: it is run, and tells nobody"))),
            None => {
                let targets = self.actions.values().filter(|action| matches!(action.action, Action::Target(_)));
                let near = node::nearest(name.as_str(), targets.map(|target| target.name.as_str()));
                Err(Refusal::NoSuchTarget { name: name.to_string(), near: near.map(str::to_owned) })
            }
        }
    }

    fn drill_message(&mut self, target: &ActionDefinition, test: &Test) -> Result<Message, Refusal> {
        let event = match &test.about {
            Some((check, notice)) => {
                let mut event = self.drill_about(check)?;
                event.previous_state = notice.told;
                event
            }
            None => self.drill_about_nothing(test.state),
        };
        let usual = if test.state.is_problem() { NoticeKind::Problem } else { NoticeKind::Recovery };
        let kind = test.about.as_ref().map_or(usual, |(_, notice)| notice.kind);
        let (now, check) = (event.now, event.check.name.clone());
        let number = self.next_id();
        let incident = IncidentId::opened(&check, now, number);
        let said = match &test.about {
            Some(_) => format!("this is what you would be told if `{check}` were {}", test.state),
            None => format!("a test of `{}`, nothing is wrong", target.name),
        };
        let event = Event {
            state: test.state,
            state_type: StateType::Hard,
            attempt: event.max_attempts,
            message: said,
            output: String::new(),
            incident: Some(IncidentFacts::new(incident, now, now)),
            reason: "drill".to_owned(),
            drill: true,
            ..event
        };
        let parts = [self.host.as_bytes(), target.name.as_str().as_bytes()];
        // Receivers that open and close incidents keep one for all drills: a test with `okay` closes what the ones before opened.
        let thread = format!("drill-{:016x}", stable_hash(&parts));
        let at = now.as_nanosecond().to_be_bytes();
        let delivery_id = format!("{:016x}", stable_hash(&[thread.as_bytes(), &number.to_be_bytes(), &at]));
        Ok(Message {
            kind,
            delivery_id,
            thread,
            reference: None,
            event,
            missed: Vec::new(),
            missed_more: 0,
            bulletin: None,
            last_action: None,
            digest: Vec::new(),
            attempt: 1,
            late: None,
        })
    }

    /// The picture of a check that is there.
    fn drill_about(&self, check: &Name) -> Result<Event, Refusal> {
        let gone = || Refusal::NoSuchCheck { name: check.to_string(), near: None };
        self.event(self.lookup(check.as_str())?, State::Okay, None, String::new()).ok_or_else(gone)
    }

    /// The picture of a check that is not there.
    fn drill_about_nothing(&self, state: State) -> Event {
        let previous_state = if state.is_problem() { State::Okay } else { State::Bad };
        Event { previous_state, drill: true, ..self.event_of_no_check(Name::new(INVENTED), INVENTED, state) }
    }

    /// What a message tells that is about no check.
    pub(crate) fn event_of_no_check(&self, name: Name, kind: &str, state: State) -> Event {
        Event {
            host: self.host.to_string(),
            check: CheckFacts { name, kind: kind.to_owned(), labels: BTreeMap::new() },
            labels: BTreeMap::new(),
            state,
            previous_state: state,
            state_type: StateType::Hard,
            attempt: 1,
            max_attempts: 1,
            message: String::new(),
            output: String::new(),
            metrics: Vec::new(),
            incident: None,
            reason: String::new(),
            now: self.wall(),
            drill: false,
        }
    }

    /// Says how a drill went: to who asked, to history and to the log.
    pub(crate) fn drill_ended(&mut self, drill: Drill, end: &DeliveryEnd) {
        let Drill { mut row, answer } = drill;
        let outcome = end.outcome.as_ref().map(|taken| taken.answer.clone()).map_err(DeliveryError::to_string);
        row.at = self.wall();
        row.delivered = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = &outcome;
        row.detail = text::shorten(detail, MAX_DETAIL);
        tracing::info!(check = %row.check, target = %row.target, state = row.state.as_str(), delivered = row.delivered,
            detail = %text::escape_controls(&row.detail), "drill");
        // Who has the answer looks at the log next.
        self.write_now(Record::Notice(Box::new(row)));
        // Who went away needs no answer; history has it.
        drop(answer.send(Ok(outcome)));
    }
}
