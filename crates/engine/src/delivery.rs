//! Deliveries: what is to be told becomes a message to a target, and its end becomes what the target knows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{Action, ActionContext, Delivered, DigestLine, Event, MAX_REFERENCE, Message};
use monchero_core::definition::ActionDefinition;
use monchero_core::incident::{IncidentId, stable_hash};
use monchero_core::{Decision, DeliveryError, Hold, Name, Notice, NoticeKind, StateType, order};
use monchero_store::{NoticeRow, Record};
use tokio::time::Instant;

use crate::bulletin::{Post, Unmade};
use crate::drill::Drill;
use crate::engine::{Effect, Engine};
use crate::entry::Id;
use crate::handle::RECENT;
use crate::outbox::pace;
use crate::worker::Trouble;

/// The first pause after a failed delivery; it doubles up to [`MAX_BACKOFF`] (R39).
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause between tries.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// The longest pause that a receiver may ask for (R40).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// How long a target rests that refused for good: nothing is lost meanwhile, and a reload wakes it (R40).
const PARKED: Duration = Duration::from_secs(900);
/// A message that is delivered this long after it became true says how late it is.
pub(crate) const LATE: Duration = Duration::from_secs(60);
/// A delivery that does not even end by its timeout is given up this much later.
const BACKSTOP: Duration = Duration::from_secs(2);

/// How much of an answer or an error history keeps, in bytes.
pub(crate) const MAX_DETAIL: usize = 1_000;

/// What one message tells: one notice, or those of many checks.
type Notices = Vec<(Id, Notice)>;

/// A message on its way to a target.
#[derive(Debug)]
pub(crate) struct Delivery {
    target: Arc<ActionDefinition>,
    notices: Notices,
    message: Message,
    /// There if it is one; it has no notices.
    drill: Option<Drill>,
    /// There if it is a bulletin; it has no notices.
    post: Option<Post>,
    /// The summary that the message is to hold.
    summary: Option<Unmade>,
}

impl Delivery {
    /// To whom it goes.
    pub(crate) fn target(&self) -> &Name {
        &self.target.name
    }

    /// A bulletin.
    pub(crate) fn post(target: Arc<ActionDefinition>, message: Message, post: Post, summary: Option<Unmade>) -> Self {
        Self { target, notices: Vec::new(), message, drill: None, post: Some(post), summary }
    }

    /// The same for somebody who waits for how it ends.
    pub(crate) fn answered(self, drill: Drill) -> Self {
        Self { drill: Some(drill), ..self }
    }

    /// A drill, which nobody is told by.
    pub(crate) fn drill(target: Arc<ActionDefinition>, message: Message, drill: Drill) -> Self {
        Self { target, notices: Vec::new(), message, drill: Some(drill), post: None, summary: None }
    }

    /// Whether it is to go out: a drill is nothing any more when nobody waits for how it ends.
    pub(crate) fn is_awaited(&self) -> bool {
        self.drill.as_ref().is_none_or(Drill::is_awaited)
    }
}

/// The end of a delivery.
#[derive(Debug)]
pub(crate) struct DeliveryEnd {
    pub(crate) target: Name,
    notices: Notices,
    pub(crate) delivery_id: String,
    thread: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: Result<Delivered, DeliveryError>,
    drill: Option<Drill>,
    post: Option<Post>,
}

impl Engine {
    /// Starts what can be delivered: one message per target at a time, none while the target rests after a failure.
    pub(crate) fn pump_outbox(&mut self, now: Instant) {
        for drill in self.outbox.begin_drills() {
            self.deliver(drill);
        }
        for target in self.outbox.ready(&self.actions, now) {
            self.begin_delivery(&target, now);
        }
        self.pump_bulletins(now);
    }

    /// Decides again about all that is in a target's queue and, if there is something to tell, writes down that it is being told.
    fn begin_delivery(&mut self, target: &Name, now: Instant) {
        let Some(definition) = self.actions.get(target).cloned() else { return };
        let tells = self.decide_queue(&definition);
        let Some(worker) = self.outbox.worker(target) else { return };
        let notices = worker.choose(tells, pace(&definition), now, Notice::is_good_news);
        let Some(message) = self.message(target, &notices) else { return };
        let mut records = Vec::with_capacity(notices.len());
        for (id, notice) in &notices {
            let Some(entry) = self.entries.get(*id) else { continue };
            let (check, hard) = (entry.row.name.clone(), entry.row.status.hard());
            let mut told = self.outbox.told(*id, target);
            told.attempted(notice, &hard);
            self.outbox.restore(*id, target.clone(), told.clone());
            records.push(Record::Told { check, target: target.clone(), told });
        }
        let Some(last) = records.pop() else { return };
        for record in records {
            self.write_now(record);
        }
        let delivery = Delivery { target: definition, notices, message, drill: None, post: None, summary: None };
        self.write_then(last, Effect::Deliver(Box::new(delivery)));
    }

    /// What is to be told of all that is in a target's queue.
    fn decide_queue(&mut self, target: &ActionDefinition) -> Notices {
        let Some(worker) = self.outbox.worker(&target.name) else { return Vec::new() };
        let mut tells = Vec::new();
        for id in worker.take() {
            let is_settled = self.entries.get(id).is_some_and(|entry| entry.unpublished == 0);
            match self.decide_for(id, target) {
                Some(Decision::Tell(notice)) if is_settled => tells.push((id, notice)),
                _ => {
                    if let Some(worker) = self.outbox.worker(&target.name) {
                        worker.done(id);
                    }
                    // Since it was queued something may have come up that holds it and that nobody has seen to.
                    if is_settled {
                        self.reconcile(id);
                    }
                }
            }
        }
        tells
    }

    /// The message that tells these notices: about one check, or a digest whose event is the worst of them.
    fn message(&self, target: &Name, notices: &[(Id, Notice)]) -> Option<Message> {
        let [(id, notice)] = notices else { return self.digest(target, notices) };
        self.single(*id, target, notice)
    }

    fn digest(&self, target: &Name, notices: &[(Id, Notice)]) -> Option<Message> {
        let worst = |(_, notice): &&(Id, Notice)| notice.state;
        let (id, notice) = notices.iter().rev().max_by_key(worst)?;
        let mut message = self.single(*id, target, notice)?;
        let mut lines: Vec<DigestLine> = notices
            .iter()
            .filter_map(|(id, notice)| {
                let row = &self.entries.get(*id)?.row;
                let check = row.name.clone();
                Some(DigestLine {
                    check,
                    kind: notice.kind,
                    state: notice.state,
                    message: row.result.message.to_string(),
                })
            })
            .collect();
        order::sort_by(&mut lines, |a, b| b.state.cmp(&a.state).then_with(|| a.check.cmp(&b.check)));
        let ids = notices.iter().filter_map(|(id, notice)| {
            let told = self.outbox.told(*id, target);
            Some(notice.delivery_id(&self.host, &self.entries.get(*id)?.row.name, target, &told))
        });
        let mut all: Vec<String> = ids.collect();
        // In an order that does not depend on how they came: it is another one after a start.
        order::sort(&mut all);
        let parts: Vec<&[u8]> = all.iter().map(String::as_bytes).collect();
        message.delivery_id = format!("{:016x}", stable_hash(&parts));
        message.thread = format!("digest-{}", message.delivery_id);
        message.reference = None;
        (message.missed, message.missed_more) = (Vec::new(), 0);
        message.last_action = None;
        "several checks changed".clone_into(&mut message.event.reason);
        message.digest = lines;
        Some(message)
    }

    fn single(&self, id: Id, target: &Name, notice: &Notice) -> Option<Message> {
        let entry = self.entries.get(id)?;
        let told = self.outbox.told(id, target);
        let wall = self.wall();
        let tries = self.outbox.trouble(target).map_or(0, |trouble| trouble.tries);
        let since = notice.since.unwrap_or(wall);
        let waited = Duration::try_from(wall.duration_since(since)).unwrap_or_default();
        let reason = match notice.kind {
            NoticeKind::Problem => "hard problem",
            NoticeKind::Change => "the problem changed",
            NoticeKind::Reminder => "reminder: the problem stands",
            NoticeKind::Acknowledged => &notice.hold.as_ref().map(Hold::to_string).unwrap_or_default(),
            NoticeKind::HoldEnds => &hold_ends(notice, wall),
            NoticeKind::Recovery => "recovery",
            NoticeKind::Missed => "a problem came and went while this target could not be told",
            NoticeKind::FlappingStarted => "it changes too often: nothing more is told until that ends",
            NoticeKind::FlappingEnded => "it has stopped changing all the time",
            // These are told of no check.
            NoticeKind::Summary | NoticeKind::Started | NoticeKind::Config | NoticeKind::Crashed => "",
        };
        let thread = format!(
            "{}-{:016x}",
            notice.incident.map_or(0, IncidentId::as_u64),
            stable_hash(&[entry.row.name.as_str().as_bytes()])
        );
        let reference = told.reference.as_deref().filter(|(of, _)| *of == thread).map(|(_, name)| name.clone());
        Some(Message {
            kind: notice.kind,
            delivery_id: notice.delivery_id(&self.host, &entry.row.name, target, &told),
            thread,
            reference,
            event: self.confirmed_event(id, notice, reason)?,
            missed: notice.missed.clone(),
            missed_more: notice.missed_more,
            bulletin: None,
            last_action: self.last_action(id, notice.incident),
            digest: Vec::new(),
            attempt: tries + 1,
            late: (tries > 0 && waited > LATE).then_some(waited),
        })
    }

    /// What a notice says: what is confirmed. A result that is not may have come since, as long as the message waited for its turn.
    fn confirmed_event(&self, id: Id, notice: &Notice, reason: &str) -> Option<Event> {
        let mut event = self.event(id, notice.told, notice.incident, reason.to_owned())?;
        if event.state != notice.state {
            event.reason = format!(
                "{reason}; the last result, {} (attempt {}/{}), is not confirmed",
                event.state, event.attempt, event.max_attempts
            );
        }
        (event.state, event.state_type) = (notice.state, StateType::Hard);
        Some(event)
    }

    /// Sends a message; what it needs goes with it.
    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { target, notices, message, drill, post, summary } = delivery;
        let (ends, spawner, host, zone) =
            (self.delivery_ends.clone(), Arc::clone(&self.spawner), Arc::clone(&self.host), self.zone.clone());
        let journal = self.journal();
        self.runtime.spawn(async move {
            let context = ActionContext { host: &host, spawner: &*spawner, zone: &zone };
            let (delivery_id, thread, tries) = (message.delivery_id.clone(), message.thread.clone(), message.attempt);
            let delivering = async {
                let message = match summary {
                    Some(unmade) => unmade.put_into(message, journal).await?,
                    None => message,
                };
                attempt(&target, &message, &context).await
            };
            let outcome = tokio::select! {
                outcome = delivering => outcome,
                // The engine is gone only when everything stops: the message is then sent again after the next start.
                () = ends.closed() => return,
            };
            let target = target.name.clone();
            let end = DeliveryEnd { target, notices, delivery_id, thread, attempt: tries, outcome, drill, post };
            let _ = ends.send(end).await;
        });
    }

    /// Writes down how a delivery went, and looks again.
    pub(crate) fn delivery_ended(&mut self, mut end: DeliveryEnd, now: Instant) {
        let Some(worker) = self.outbox.worker(&end.target) else { return };
        worker.in_flight = false;
        if let Some(drill) = end.drill.take() {
            if end.outcome.is_ok() {
                self.outbox.unpark(&end.target);
            }
            return self.drill_ended(drill, &end);
        }
        let DeliveryEnd { notices, outcome, .. } = &end;
        let was_unreachable = self.outbox.is_unreachable(&end.target);
        let Some(worker) = self.outbox.worker(&end.target) else { return };
        let taken = match outcome {
            Ok(taken) => {
                worker.trouble = None;
                Some(taken)
            }
            Err(error) => {
                let tries = worker.trouble.as_ref().map_or(0, |trouble| trouble.tries) + 1;
                let (pause, parked) = pause_after(error, tries, &end.delivery_id);
                let only_bulletins = parked && end.post.is_some();
                worker.trouble =
                    Some(Trouble { tries, until: now + pause, parked, only_bulletins, why: error.to_string() });
                None
            }
        };
        if !was_unreachable && self.outbox.is_unreachable(&end.target) {
            // Who stands in for the target is to be told of all that waits for it.
            for id in self.outbox.queued(&end.target) {
                self.reconcile(id);
            }
        }
        let detail = match outcome {
            Ok(taken) => taken.answer.clone(),
            Err(error) => error.to_string(),
        };
        self.outbox.delivered += u64::from(taken.is_some());
        self.outbox.failed += u64::from(taken.is_none());
        if let Some(post) = &end.post {
            return self.post_ended(post, &end, &detail, taken.is_some());
        }
        let reference = taken.and_then(|taken| taken.reference.clone()).filter(|_| notices.len() == 1);
        let reference = reference.filter(|name| name.len() <= MAX_REFERENCE).map(|name| (end.thread.clone(), name));
        for (id, notice) in notices {
            self.notice_ended(*id, notice, &end, &detail, taken.is_some(), reference.as_ref());
        }
    }

    /// What became of one of the notices of a delivery.
    fn notice_ended(
        &mut self,
        id: Id,
        notice: &Notice,
        end: &DeliveryEnd,
        detail: &str,
        delivered: bool,
        reference: Option<&(String, String)>,
    ) {
        let wall = self.wall();
        let Some(entry) = self.entries.get(id) else { return };
        let check = entry.row.name.clone();
        let row = NoticeRow {
            at: wall,
            check: check.clone(),
            target: end.target.clone(),
            delivery_id: end.delivery_id.clone(),
            kind: notice.kind,
            state: notice.state,
            incident: notice.incident,
            delivered,
            attempt: end.attempt,
            detail: monchero_core::text::shorten(detail, MAX_DETAIL),
            drill: false,
        };
        self.log_notice(id, &row);
        self.records.push(Record::Notice(Box::new(row)));
        if !delivered {
            self.outbox.enqueue(&end.target, id);
            // Who stands in for the target is to be told now.
            self.reconcile(id);
            return;
        }
        let mut told = self.outbox.told(id, &end.target);
        told.delivered(notice, wall);
        if let Some(reference) = reference {
            told.reference = Some(Box::new(reference.clone()));
        }
        self.outbox.restore(id, end.target.clone(), told.clone());
        self.write_now(Record::Told { check, target: end.target.clone(), told });
        self.reconcile(id);
    }

    fn log_notice(&mut self, id: Id, row: &NoticeRow) {
        if row.delivered {
            tracing::info!(check = %row.check, target = %row.target, kind = row.kind.as_str(), delivery = %row.delivery_id, "delivered");
        } else {
            tracing::warn!(check = %row.check, target = %row.target, kind = row.kind.as_str(), attempt = row.attempt,
                error = %monchero_core::text::escape_controls(&row.detail), "delivery failed");
        }
        let recent = self.outbox.recent.entry(id).or_default();
        recent.push_back(row.clone());
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }
}

/// Which hold is about to end, and when.
fn hold_ends(notice: &Notice, now: Timestamp) -> String {
    let Some((hold, until)) = notice.hold.as_ref().and_then(|hold| Some((hold, hold.until()?))) else {
        return "what holds messages is about to end".to_owned();
    };
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    format!("what holds messages ends in {}: {hold}", monchero_core::duration::human(left))
}

/// Tries to deliver a message, for no longer than the target may take.
async fn attempt(
    target: &ActionDefinition,
    message: &Message,
    context: &ActionContext<'_>,
) -> Result<Delivered, DeliveryError> {
    let Action::Target(deliver) = &target.action else {
        return Err(DeliveryError::Permanent { why: "this action tells nobody".to_owned() });
    };
    let limit = target.timeout + BACKSTOP;
    match tokio::time::timeout(limit, crate::guarded(deliver.deliver(message, context))).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(DeliveryError::Transient { why: format!("the target panicked: {panic}"), after: None }),
        Err(_) => {
            let why = format!("no answer within {}", monchero_core::duration::human(limit));
            Err(DeliveryError::Transient { why, after: None })
        }
    }
}

/// How long to wait after a failure, and whether the receiver refused for good. The pause is jittered by a quarter.
fn pause_after(error: &DeliveryError, tries: u32, salt: &str) -> (Duration, bool) {
    match error {
        DeliveryError::Permanent { .. } => (PARKED, true),
        DeliveryError::Transient { after, .. } => {
            let doubled = FIRST_BACKOFF.saturating_mul(1 << (tries - 1).min(16)).min(MAX_BACKOFF);
            let jitter = stable_hash(&[salt.as_bytes(), &tries.to_be_bytes()]) % 250;
            let pause = doubled.mul_f64(1.0 - jitter as f64 / 1_000.0);
            (pause.max(after.unwrap_or_default().min(MAX_RETRY_AFTER)), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_keep_what_the_receiver_asks() {
        let error = DeliveryError::Transient { why: String::new(), after: None };
        let mut last = Duration::ZERO;
        for tries in 1..=9 {
            let (pause, parked) = pause_after(&error, tries, "x");
            assert!(!parked && pause <= MAX_BACKOFF);
            assert!(pause > last, "try {tries}: {pause:?} after {last:?}");
            last = pause;
        }
        assert!(pause_after(&error, 40, "x").0 >= MAX_BACKOFF.mul_f64(0.75));
        let asked = DeliveryError::Transient { why: String::new(), after: Some(Duration::from_secs(7)) };
        assert_eq!(pause_after(&asked, 1, "x").0, Duration::from_secs(7));
        assert_eq!(pause_after(&DeliveryError::Permanent { why: String::new() }, 1, "x"), (PARKED, true));
    }
}
