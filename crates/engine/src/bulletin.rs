//! Bulletins: messages about no check. Summaries are due by their schedules; what happened to monchero itself is told to those who want
//! to know it.
//!
//! As with checks there is no queue of messages: what each target was told up to when is compared with what is so whenever its turn
//! comes. So a summary that was due while the daemon was down, or while its target could not be reached, is sent once and says that
//! it is late; several of them are one. Bulletins take the same turns as notices and come behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{Action, Bulletin, Event, Happened, Lifecycle, Message, Occasion, Posted};
use monchero_core::definition::{ActionDefinition, Configuration, SummaryDefinition};
use monchero_core::incident::stable_hash;
use monchero_core::summary::{PlannedDowntime, Seen, Summary, Tally};
use monchero_core::{DeliveryError, Name, NoticeKind, State, order, text};
use monchero_store::{NoticeRow, Record};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::delivery::{Delivery, DeliveryEnd, LATE, MAX_DETAIL};
use crate::drill::Drill;
use crate::engine::{Effect, Engine};
use crate::entry::{Entry, SELF_KIND};
use crate::handle::{Refusal, Tested};
use crate::journal::Journal;
use crate::outbox::pace;
use crate::view::Picture;

/// The version of this program, for those who are told that it started.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What targets know of what is about no check.
#[derive(Debug, Default)]
pub(crate) struct Bulletins {
    summaries: Arc<[SummaryDefinition]>,
    /// By target and topic.
    known: BTreeMap<(Name, Name), Posted>,
    /// What is to be told now, and since when.
    due: BTreeMap<(Name, Name), Timestamp>,
    /// When the next summary is due.
    next: Option<Timestamp>,
}

/// A bulletin on its way.
#[derive(Debug)]
pub(crate) struct Post {
    topic: Name,
    /// When it was due, or when what it tells happened.
    due: Timestamp,
    /// Up to when it tells.
    until: Timestamp,
    state: State,
    kind: NoticeKind,
}

/// What a summary is made of on its way: history is read where that may take its time.
#[derive(Debug)]
pub(crate) struct Unmade {
    picture: Picture,
    tally: Tally,
}

impl Unmade {
    /// The summary. Reads from the disk.
    fn make(mut self, journal: &dyn Journal) -> Bulletin {
        if let Err(why) = journal.tally(&mut self.tally) {
            self.tally.fail(why);
        }
        Bulletin::Summary(Box::new(self.picture.summarize(self.tally)))
    }

    /// The message with the summary in it.
    pub(crate) async fn put_into(self, message: Message, journal: Arc<dyn Journal>) -> Result<Message, DeliveryError> {
        let made = tokio::task::spawn_blocking(move || self.make(&*journal)).await;
        let failed = |error| DeliveryError::Transient { why: format!("making the summary: {error}"), after: None };
        Ok(Message { bulletin: Some(Box::new(made.map_err(failed)?)), ..message })
    }
}

impl Picture {
    /// The summary of a period that the tally was shown.
    pub fn summarize(&self, tally: Tally) -> Summary {
        let seen = self.rows.iter().map(|row| Seen {
            check: &row.name,
            status: &row.status,
            message: &row.result.message,
            took: row.parent.is_none().then_some(row.duration),
            held: row.holds.first().map(monchero_core::Hold::word),
        });
        let works = self.downtimes.iter().map(|downtime| PlannedDowntime {
            covers: downtime.covers.to_string(),
            start: downtime.start,
            end: downtime.end,
            author: downtime.author.clone(),
            comment: downtime.comment.clone(),
        });
        tally.finish(&self.host, seen, works.collect())
    }
}

/// The name under which a sort of occasion stands in history.
fn topic_of(sort: Lifecycle) -> Name {
    Name::new(SELF_KIND).service(sort.kind().as_str())
}

/// The name under which a summary stands in history.
fn topic_of_summary(summary: &SummaryDefinition) -> Name {
    Name::new("self/summary").service(summary.name.as_str())
}

impl Engine {
    /// Takes up what an earlier daemon left, and tells that this one has started.
    pub(crate) fn restore_bulletins(
        &mut self,
        configuration: &Configuration,
        posted: Vec<(Name, Name, Posted)>,
        crashed: Option<Timestamp>,
    ) {
        self.bulletins.known = order::tree(posted.into_iter().map(|(topic, target, posted)| ((target, topic), posted)));
        self.take_bulletins(configuration);
        if let Some(seen) = crashed {
            self.occasion(&Happened::Crashed { seen });
        }
        let mut kinds = BTreeMap::new();
        for entry in self.entries.by_name().filter(|entry| entry.is_scheduled()) {
            *kinds.entry(entry.definition.kind.to_owned()).or_default() += 1;
        }
        self.occasion(&Happened::Started { version: VERSION.to_owned(), kinds });
        let now = self.wall();
        self.write_now(Record::Running(Some(now)));
    }

    /// A configuration takes force: who is new is told from now on, and what nobody is to be told any more is forgotten.
    pub(crate) fn take_bulletins(&mut self, configuration: &Configuration) {
        let wall = self.wall();
        self.bulletins.summaries = Arc::clone(&configuration.summaries);
        let mut wanted = Vec::new();
        for summary in configuration.summaries.iter() {
            wanted.extend(summary.to.iter().map(|target| (target.clone(), topic_of_summary(summary))));
        }
        for (target, topic) in &wanted {
            let key = (target.clone(), topic.clone());
            if !self.bulletins.known.contains_key(&key) {
                self.know(key, Posted { until: Some(wall), owed: None });
            }
        }
        for action in &configuration.actions {
            wanted.extend(action.lifecycle.iter().map(|sort| (action.name.clone(), topic_of(*sort))));
        }
        let gone: Vec<_> = self.bulletins.known.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        for (target, topic) in gone {
            self.bulletins.known.remove(&(target.clone(), topic.clone()));
            self.write_now(Record::Posted { topic, target, posted: None });
        }
        self.find_due(wall);
    }

    /// Something happened to monchero itself.
    pub(crate) fn occasion(&mut self, what: &Happened) {
        let (at, sort) = (self.wall(), what.sort());
        let wants = self.actions.values().filter(|action| action.lifecycle.contains(&sort));
        let targets: Vec<Name> = wants.map(|action| action.name.clone()).collect();
        for target in targets {
            let key = (target, topic_of(sort));
            let until = self.bulletins.known.get(&key).and_then(|known| known.until);
            self.bulletins.due.insert(key.clone(), at);
            self.know(key, Posted { until, owed: Some(Occasion { at, what: what.clone() }) });
        }
    }

    fn know(&mut self, key: (Name, Name), posted: Posted) {
        self.bulletins.known.insert(key.clone(), posted.clone());
        self.write_now(Record::Posted { topic: key.1, target: key.0, posted: Some(posted) });
    }

    /// Finds out what is due at this time, and when there will be more.
    fn find_due(&mut self, wall: Timestamp) {
        let Bulletins { summaries, known, due, next } = &mut self.bulletins;
        due.clear();
        *next = None;
        due.extend(known.iter().filter_map(|(key, posted)| Some((key.clone(), posted.owed.as_ref()?.at))));
        for summary in summaries.iter() {
            for target in &summary.to {
                let key = (target.clone(), topic_of_summary(summary));
                // An earlier daemon's wall clock, or this one's, may have been ahead.
                let Some(told) = known.get(&key).and_then(|posted| posted.until) else { continue };
                match summary.schedule.next(told.min(wall)) {
                    Some(at) if at <= wall => drop(due.insert(key, at)),
                    Some(at) => *next = Some(next.map_or(at, |next| next.min(at))),
                    None => {}
                }
            }
        }
    }

    /// After the wall clock stepped back: summaries are due by what it shows now.
    pub(crate) fn settle_bulletins(&mut self, wall: Timestamp) {
        for posted in self.bulletins.known.values_mut() {
            posted.until = posted.until.map(|until| until.min(wall));
        }
        self.find_due(wall);
    }

    /// Starts bulletins whose turn it is: behind notices, one message per target at a time.
    pub(crate) fn pump_bulletins(&mut self, now: Instant) {
        let wall = self.wall();
        if self.bulletins.next.is_some_and(|next| next <= wall) {
            self.find_due(wall);
        }
        if self.bulletins.due.is_empty() {
            return;
        }
        let mut first: BTreeMap<Name, (Timestamp, Name)> = BTreeMap::new();
        for ((target, topic), at) in &self.bulletins.due {
            let candidate = (*at, topic.clone());
            let known = first.entry(target.clone()).or_insert_with(|| candidate.clone());
            *known = candidate.min(known.clone());
        }
        for (target, (at, topic)) in first {
            let Some(action) = self.actions.get(&target).cloned() else { continue };
            let is_quiet = action.quiet_until(wall, &self.zone).is_some();
            if !is_quiet && self.outbox.begin_bulletin(&target, pace(&action), now) {
                self.begin_bulletin(action, topic, at, wall);
            }
        }
    }

    fn begin_bulletin(&mut self, target: Arc<ActionDefinition>, topic: Name, due: Timestamp, wall: Timestamp) {
        let key = (target.name.clone(), topic);
        let Some(posted) = self.bulletins.known.get(&key).cloned() else { return };
        let topic = key.1;
        let (message, post, summary) = if let Some(Occasion { at, what }) = posted.owed.clone() {
            let (state, kind) = match what {
                Happened::Started { .. } => (State::Okay, NoticeKind::Started),
                Happened::Config { .. } => (State::Warning, NoticeKind::Config),
                Happened::Crashed { .. } => (State::Warning, NoticeKind::Crashed),
            };
            let message = self.post_message(&target.name, &topic, kind, state, due);
            let message = Message { bulletin: Some(Box::new(Bulletin::Occasion(Occasion { at, what }))), ..message };
            (message, Post { topic: topic.clone(), due, until: wall, state, kind }, None)
        } else {
            let summary = self.bulletins.summaries.iter().find(|known| topic_of_summary(known) == topic);
            let period = summary.and_then(|known| known.period);
            let since = period.map_or_else(|| posted.until, |period| wall.checked_sub(period).ok()).unwrap_or(due);
            let (message, post, unmade) = self.summary_message(&target.name, topic.clone(), since, due);
            (message, post, Some(unmade))
        };
        let record = Record::Posted { topic, target: target.name.clone(), posted: Some(posted) };
        self.write_then(record, Effect::Deliver(Box::new(Delivery::post(target, message, post, summary))));
    }

    /// A summary that is still to be made, since `since` until now.
    fn summary_message(&self, target: &Name, topic: Name, since: Timestamp, due: Timestamp) -> (Message, Post, Unmade) {
        let picture = self.picture();
        let until = picture.now;
        let worst = picture.rows.iter().filter(|row| !row.status.is_pending()).map(|row| row.status.state).max();
        // A summary is no alarm: nobody is woken up by it.
        let state = worst.unwrap_or_default().min(State::Warning);
        let message = self.post_message(target, &topic, NoticeKind::Summary, state, due);
        let unmade = Unmade { picture, tally: Tally::new(since, until) };
        (message, Post { topic, due, until, state, kind: NoticeKind::Summary }, unmade)
    }

    fn post_message(&self, target: &Name, topic: &Name, kind: NoticeKind, state: State, due: Timestamp) -> Message {
        let wall = self.wall();
        let parts = [
            self.host.as_bytes(),
            target.as_str().as_bytes(),
            topic.as_str().as_bytes(),
            &due.as_millisecond().to_be_bytes(),
        ];
        let delivery_id = format!("{:016x}", stable_hash(&parts));
        let late = Duration::try_from(wall.duration_since(due)).unwrap_or_default();
        Message {
            kind,
            thread: format!("bulletin-{delivery_id}"),
            delivery_id,
            reference: None,
            event: Event {
                reason: kind.as_str().to_owned(),
                ..self.event_of_no_check(topic.clone(), SELF_KIND, state)
            },
            missed: Vec::new(),
            missed_more: 0,
            bulletin: None,
            last_action: None,
            digest: Vec::new(),
            attempt: self.outbox.trouble(target).map_or(0, |trouble| trouble.tries) + 1,
            late: (late > LATE).then_some(late),
        }
    }

    /// Writes down how a bulletin went.
    pub(crate) fn post_ended(&mut self, post: &Post, end: &DeliveryEnd, detail: &str, delivered: bool) {
        let row = self.post_row(post, end.target.clone(), end.delivery_id.clone());
        let row = NoticeRow { delivered, attempt: end.attempt, detail: text::shorten(detail, MAX_DETAIL), ..row };
        if delivered {
            tracing::info!(target = %row.target, topic = %row.check, delivery = %row.delivery_id, "delivered");
        } else {
            tracing::warn!(target = %row.target, topic = %row.check, attempt = row.attempt,
                error = %text::escape_controls(&row.detail), "delivery failed");
        }
        self.records.push(Record::Notice(Box::new(row)));
        let key = (end.target.clone(), post.topic.clone());
        if !delivered {
            return;
        }
        // Whoever is no longer to be told has been forgotten meanwhile.
        let Some(known) = self.bulletins.known.get(&key) else { return };
        let owed = known.owed.clone().filter(|owed| owed.at != post.due);
        self.know(key, Posted { until: Some(post.until), owed });
        self.find_due(self.wall());
    }

    fn post_row(&self, post: &Post, target: Name, delivery_id: String) -> NoticeRow {
        NoticeRow {
            at: self.wall(),
            check: post.topic.clone(),
            target,
            delivery_id,
            kind: post.kind,
            state: post.state,
            incident: None,
            delivered: false,
            attempt: 1,
            detail: String::new(),
            drill: false,
        }
    }

    /// Sends a summary because somebody asks for it, as a test is sent: at its target's next turn, once.
    pub(crate) fn send_summary(&mut self, target: &Name, since: Timestamp, answer: oneshot::Sender<Tested>) {
        let target = match self.drillable(target) {
            Ok(target) if takes_bulletins(&target) => target,
            Ok(target) => {
                let why = format!("`{}` opens and closes incidents, and takes no summaries", target.name);
                return drop(answer.send(Err(Refusal::Senseless(why))));
            }
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        let wall = self.wall();
        let (message, post, unmade) = self.summary_message(&target.name, Name::new("self/summary"), since, wall);
        let row = self.post_row(&post, target.name.clone(), message.delivery_id.clone());
        let name = target.name.clone();
        let delivery = Delivery::post(target, message, post, Some(unmade)).answered(Drill::new(row, answer));
        self.outbox.await_drill(name, delivery);
    }

    /// How everything is now.
    pub(crate) fn picture(&self) -> Picture {
        let rows = self.entries.by_name().filter(|entry| !entry.gone).map(Entry::visible).cloned().collect();
        Picture {
            host: Arc::clone(&self.host),
            now: self.wall(),
            rows,
            downtimes: self.downtimes.all().cloned().collect(),
        }
    }
}

/// Whether an action is a target that can be told what is about no check: not where each incident is opened and closed by itself.
fn takes_bulletins(action: &ActionDefinition) -> bool {
    matches!(&action.action, Action::Target(target) if target.takes_digests())
}
