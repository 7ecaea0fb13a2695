//! Scripts and remedies: set off by transitions, at most once, serial per check.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{Action, ActionContext, ActionError, ActionOutcome, CheckFacts, Event, IncidentFacts};
use monchero_core::definition::{ActionDefinition, Trigger};
use monchero_core::hold::DependencyHold;
use monchero_core::incident::IncidentId;
use monchero_core::{Hold, Name, State, StateType, Transition, text};
use monchero_store::record::ActionState;
use monchero_store::{ActionRow, Record};

use crate::engine::{Effect, Engine};
use crate::entry::Id;
use crate::handle::RECENT;
use crate::runs::signed;

/// How many scripts may run at once; more wait.
const RUNNING: usize = 16;
/// How many scripts may wait. Beyond, a script is skipped and its record says so.
const QUEUE: usize = 1_000;
/// How much output of checks waits with them, in bytes. Beyond, a script gets the beginning of it: what it mends does not depend on that.
const QUEUE_OUTPUT: usize = 4 * 1024 * 1024;
/// How much output of scripts is kept in memory for `show`, in bytes: whole for the newest, and the beginning of the others; history has all.
const WHOLE_OUTPUT: usize = 4 * 1024 * 1024;
/// How much of an output is its beginning, in bytes.
const SHORT_OUTPUT: usize = 256;
/// How many runs per check and script are remembered for `limit` and `cooldown`.
const REMEMBERED: usize = 64;
/// The reason of what runs after a problem.
const RECOVERY: &str = "recovery";
/// A script that does not even end by its timeout and grace is given up this much later.
const BACKSTOP: Duration = Duration::from_secs(3);

/// A script that is to run: its intent is on disk.
#[derive(Debug)]
pub(crate) struct ScriptRun {
    id: Id,
    action: Arc<ActionDefinition>,
    row: ActionRow,
    event: Event,
    /// The transition that set it off: if the check has moved on, it does not run (R49).
    sequence: u64,
    state: State,
}

/// The end of a script.
#[derive(Debug)]
pub(crate) struct ScriptEnd {
    id: Id,
    row: ActionRow,
    outcome: Result<ActionOutcome, ActionError>,
}

/// A run of a script: its number, for which incident, and when.
type Ran = (u64, Option<IncidentId>, Timestamp);

/// What was done to mend the last incident of a check about which anything was.
#[derive(Debug)]
struct Attempts {
    incident: IncidentId,
    /// How many scripts have run.
    tried: u32,
    /// How many wait or run.
    under_way: u32,
    /// When the last one ended that ran.
    ended: Option<Timestamp>,
}

/// What runs, what waits, and what ran.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    attempts: HashMap<Id, Attempts>,
    queue: VecDeque<ScriptRun>,
    running: HashSet<Id>,
    history: HashMap<(Id, Name), VecDeque<Ran>>,
    recent: HashMap<Id, VecDeque<ActionRow>>,
    /// The rows in there whose output is whole and longer than its beginning would be, oldest first, and how much that is together.
    whole: VecDeque<(Id, u64, usize)>,
    whole_bytes: usize,
}

impl Scripts {
    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The last actions about a check, newest first.
    pub(crate) fn recent(&self, id: Id) -> Vec<ActionRow> {
        self.recent.get(&id).map(|rows| rows.iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// The last action of an incident, in one line for who is told about it.
    fn last_of(&self, id: Id, incident: IncidentId) -> Option<String> {
        let row = self.recent.get(&id)?.iter().rev().find(|row| row.incident == Some(incident))?;
        let word = match row.outcome {
            ActionState::Intended => return Some(format!("{}: still running", row.action)),
            ActionState::Done => "done",
            ActionState::Failed => "failed",
            ActionState::Interrupted => "interrupted",
            ActionState::Superseded => "superseded",
            ActionState::Skipped => "skipped",
        };
        let why = if row.message.is_empty() { String::new() } else { format!(" ({})", row.message) };
        Some(format!("{}: {word}{why}", row.action))
    }

    /// Why who waits for `of` attempts to mend an incident is not told yet. The wait is over when there were as many, and when there will
    /// be no more as far as anybody knows: none is under way, and the check was looked at (`last_check`) since the last one ended.
    pub(crate) fn mending(
        &self,
        id: Id,
        incident: IncidentId,
        of: u32,
        last_check: Option<Timestamp>,
        wall: Timestamp,
    ) -> Option<Hold> {
        let attempts = self.attempts.get(&id).filter(|attempts| attempts.incident == incident)?;
        // What ended in the future did so by a clock that was ahead: nobody waits for that.
        let is_news = |ended: Timestamp| ended <= wall && last_check.is_none_or(|last| last <= ended);
        let may_help = attempts.under_way > 0 || attempts.ended.is_some_and(is_news);
        (may_help && attempts.tried < of).then_some(Hold::Mending { tried: attempts.tried, of })
    }

    /// What was done about an incident; of a check, only the last incident is known.
    fn attempts(&mut self, id: Id, incident: IncidentId) -> &mut Attempts {
        let new = Attempts { incident, tried: 0, under_way: 0, ended: None };
        let attempts = self.attempts.entry(id).or_insert_with(|| Attempts { ..new });
        if attempts.incident != incident {
            *attempts = new;
        }
        attempts
    }

    /// A script waits or runs.
    fn begin(&mut self, id: Id, row: &ActionRow) {
        if let Some(incident) = row.incident {
            self.attempts(id, incident).under_way += 1;
        }
    }

    /// A script that waited or ran is over, or one of an earlier daemon was.
    fn end(&mut self, id: Id, row: &ActionRow) {
        if let Some(runs) = self.history.get_mut(&(id, row.action.clone())).filter(|_| !has_run(row)) {
            // What never ran counts for nothing.
            runs.retain(|(number, ..)| *number != row.id);
        }
        let Some(attempts) = self.attempts.get_mut(&id).filter(|known| Some(known.incident) == row.incident) else {
            return;
        };
        attempts.under_way = attempts.under_way.saturating_sub(1);
        if has_run(row) {
            attempts.tried += 1;
            attempts.ended = row.ended.or(Some(row.at)).max(attempts.ended);
        }
    }

    /// Takes up what an earlier daemon did.
    pub(crate) fn restore(&mut self, id: Id, row: ActionRow) {
        if has_run(&row) {
            self.remember(id, &row);
            self.begin(id, &row);
            self.end(id, &row);
        }
        self.show(id, row);
    }

    /// Forgets a check.
    pub(crate) fn forget(&mut self, id: Id) {
        self.history.retain(|(of, _), _| *of != id);
        self.recent.remove(&id);
        self.attempts.remove(&id);
    }

    /// Counts a run for `limit` and `cooldown`; what runs after a recovery is no attempt to mend anything.
    fn remember(&mut self, id: Id, row: &ActionRow) {
        if row.reason == RECOVERY {
            return;
        }
        let runs = self.history.entry((id, row.action.clone())).or_default();
        runs.push_back((row.id, row.incident, row.at));
        if runs.len() > REMEMBERED {
            runs.pop_front();
        }
    }

    fn show(&mut self, id: Id, row: ActionRow) {
        let output = row.output.len();
        if output > SHORT_OUTPUT {
            self.whole.push_back((id, row.id, output));
            self.whole_bytes += output;
        }
        let rows = self.recent.entry(id).or_default();
        match rows.iter_mut().find(|known| known.id == row.id) {
            Some(known) => *known = row,
            None => rows.push_back(row),
        }
        if rows.len() > RECENT {
            rows.pop_front();
        }
        while self.whole_bytes > WHOLE_OUTPUT
            && let Some((id, number, bytes)) = self.whole.pop_front()
        {
            self.whole_bytes -= bytes;
            let row = self.recent.get_mut(&id).and_then(|rows| rows.iter_mut().find(|row| row.id == number));
            if let Some(row) = row {
                row.output = text::shorten(&row.output, SHORT_OUTPUT);
            }
        }
    }

    /// A script waits for its turn, with as much of the check's output as there is room for. It comes back if too many wait.
    fn queue(&mut self, mut run: ScriptRun) -> Option<ScriptRun> {
        if self.queue.len() >= QUEUE {
            return Some(run);
        }
        let waiting: usize = self.queue.iter().map(|run| run.event.output.len()).sum();
        if waiting + run.event.output.len() > QUEUE_OUTPUT {
            run.event.output = text::shorten(&run.event.output, SHORT_OUTPUT);
        }
        self.queue.push_back(run);
        None
    }
}

impl Engine {
    /// What was last done about an incident, if anything was.
    pub(crate) fn last_action(&self, id: Id, incident: Option<IncidentId>) -> Option<String> {
        self.scripts.last_of(id, incident?)
    }

    /// Writes down the intent to run each script that a transition sets off, or why it is not run.
    pub(crate) fn trigger_scripts(&mut self, id: Id, transition: &Transition) {
        let Some(entry) = self.entries.get(id) else { return };
        let actions: Vec<Arc<ActionDefinition>> = entry
            .definition
            .actions
            .iter()
            .filter_map(|name| self.actions.get(name))
            .filter(|action| matches!(action.action, Action::Script(_)) && Trigger::matches(&action.on, transition))
            .cloned()
            .collect();
        for action in actions {
            self.trigger(id, &action, transition);
        }
    }

    fn trigger(&mut self, id: Id, action: &Arc<ActionDefinition>, transition: &Transition) {
        let reason = reason_of(transition);
        let Some(event) = self.event(id, transition.previous_state, transition.incident, reason.clone()) else {
            return;
        };
        let refused = self.why_not(id, action, transition, &self.holds_of(id));
        let mut row = ActionRow {
            id: self.next_id(),
            at: transition.at,
            check: event.check.name.clone(),
            action: action.name.clone(),
            incident: transition.incident,
            reason,
            outcome: ActionState::Intended,
            ended: None,
            message: String::new(),
            output: String::new(),
        };
        if let Some(why) = refused {
            row.outcome = ActionState::Skipped;
            row.ended = Some(transition.at);
            row.message = why;
            self.note_action(id, row);
            return;
        }
        self.scripts.remember(id, &row);
        self.scripts.begin(id, &row);
        self.scripts.show(id, row.clone());
        let run = ScriptRun {
            id,
            action: Arc::clone(action),
            row: row.clone(),
            event,
            sequence: transition.sequence,
            state: transition.state,
        };
        self.write_then(Record::Action(Box::new(row)), Effect::Script(Box::new(run)));
    }

    /// Why a script that is set off is not run, if there is a reason.
    pub(crate) fn why_not(
        &self,
        id: Id,
        action: &ActionDefinition,
        transition: &Transition,
        holds: &[Hold],
    ) -> Option<String> {
        if transition.is_recovery() {
            return None;
        }
        let stops = |hold: &&Hold| match hold {
            Hold::Downtime { .. } | Hold::Acknowledgement { .. } => true,
            // What cannot be reached from here may be well.
            Hold::CutOff { why, .. } => matches!(why, DependencyHold::ParentBad | DependencyHold::ParentSoft),
            _ => false,
        };
        if let Some(hold) = holds.iter().find(stops) {
            return Some(hold.to_string());
        }
        let runs = self.scripts.history.get(&(id, action.name.clone()));
        if let (Some(cooldown), Some((.., last))) = (action.cooldown, runs.and_then(|runs| runs.back()))
            && transition.at.duration_since(*last) < signed(cooldown)
        {
            return Some(format!("cooldown: it ran less than {} ago", monchero_core::duration::human(cooldown)));
        }
        let of_incident = |incident: IncidentId| {
            runs.map_or(0, |runs| runs.iter().filter(|(_, of, _)| *of == Some(incident)).count())
        };
        match (action.limit, transition.incident) {
            (Some(limit), Some(incident)) if of_incident(incident) >= limit as usize => {
                Some(format!("limit: it ran {limit} times for this incident"))
            }
            _ => None,
        }
    }

    /// The intent is on disk.
    pub(crate) fn queue_script(&mut self, run: ScriptRun) {
        let Some(mut run) = self.scripts.queue(run) else { return };
        run.row.outcome = ActionState::Skipped;
        run.row.ended = Some(self.wall());
        run.row.message = format!("{QUEUE} scripts wait already");
        self.settle_action(run.id, run.row);
    }

    /// Starts what may start: in order, one per check.
    pub(crate) fn start_scripts(&mut self) {
        let mut waiting = std::mem::take(&mut self.scripts.queue);
        let mut still_waiting = VecDeque::new();
        while let Some(run) = waiting.pop_front() {
            if self.scripts.running.len() >= RUNNING {
                still_waiting.push_back(run);
                still_waiting.append(&mut waiting);
                break;
            }
            if self.scripts.running.contains(&run.id) {
                still_waiting.push_back(run);
            } else {
                self.start_script(run);
            }
        }
        self.scripts.queue = still_waiting;
    }

    fn start_script(&mut self, run: ScriptRun) {
        let ScriptRun { id, action, mut row, event, sequence, state } = run;
        // A soft attempt more, or a confirmation of the same state, leaves the occasion standing; another state does not.
        let current = self.entries.get(id).map(|entry| (entry.row.status.sequence, entry.row.status.state));
        if current.is_none_or(|(now_sequence, now_state)| now_sequence != sequence && now_state != state) {
            row.outcome = ActionState::Superseded;
            row.ended = Some(self.wall());
            "what set it off was over before it could start".clone_into(&mut row.message);
            self.settle_action(id, row);
            return;
        }
        self.scripts.running.insert(id);
        let (ends, spawner, host, zone) =
            (self.script_ends.clone(), Arc::clone(&self.spawner), Arc::clone(&self.host), self.zone.clone());
        self.runtime.spawn(async move {
            let context = ActionContext { host: &host, spawner: &*spawner, zone: &zone };
            let outcome = match &action.action {
                Action::Script(script) => {
                    let limit = action.timeout + monchero_core::program::KILL_GRACE + BACKSTOP;
                    match tokio::time::timeout(limit, crate::guarded(script.run(&event, action.timeout, &context)))
                        .await
                    {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(panic)) => Err(ActionError(format!("the action panicked: {panic}"))),
                        Err(_) => {
                            Err(ActionError(format!("it did not end within {}", monchero_core::duration::human(limit))))
                        }
                    }
                }
                Action::Target(_) => Err(ActionError("this action is told, not run".to_owned())),
            };
            // The engine is gone only when everything stops: the next start finds the intent and calls it interrupted.
            let _ = ends.send(ScriptEnd { id, row, outcome }).await;
        });
    }

    /// Writes down how a script went.
    pub(crate) fn script_ended(&mut self, end: ScriptEnd) {
        let ScriptEnd { id, mut row, outcome } = end;
        self.scripts.running.remove(&id);
        row.ended = Some(self.wall());
        match outcome {
            Ok(outcome) => {
                row.outcome = if outcome.success { ActionState::Done } else { ActionState::Failed };
                row.message = outcome.message;
                row.output = outcome.output;
            }
            Err(error) => {
                row.outcome = ActionState::Failed;
                row.message = error.to_string();
            }
        }
        self.settle_action(id, row);
    }

    /// What was intended is over, whether it ran or not.
    fn settle_action(&mut self, id: Id, row: ActionRow) {
        self.scripts.end(id, &row);
        self.note_action(id, row);
        // Some targets are told only when mending has failed.
        self.reconcile(id);
    }

    fn note_action(&mut self, id: Id, row: ActionRow) {
        tracing::info!(check = %row.check, action = %row.action, outcome = ?row.outcome, reason = %row.reason,
            detail = %monchero_core::text::escape_controls(&row.message), "action");
        self.scripts.show(id, row.clone());
        self.write_now(Record::Action(Box::new(row)));
    }

    /// The picture of the moment that scripts and messages are made of.
    pub(crate) fn event(&self, id: Id, previous: State, incident: Option<IncidentId>, reason: String) -> Option<Event> {
        let entry = self.entries.get(id)?;
        let row = &entry.row;
        let now = self.wall();
        let known = [row.status.incident, row.status.last_incident.as_deref().copied()];
        let about = known.into_iter().flatten().find(|known| Some(known.id) == incident);
        Some(Event {
            host: self.host.to_string(),
            check: CheckFacts { name: row.name.clone(), kind: row.kind.to_owned(), labels: (*row.labels).clone() },
            labels: (*row.labels).clone(),
            state: row.status.state,
            previous_state: previous,
            state_type: row.status.state_type,
            attempt: row.status.attempt,
            max_attempts: row.max_attempts,
            message: row.result.message.to_string(),
            output: row.result.output.to_string(),
            metrics: row.result.metrics.to_vec(),
            incident: about.map(|about| IncidentFacts::new(about.id, about.since, now)),
            reason,
            now,
            drill: false,
        })
    }
}

fn has_run(row: &ActionRow) -> bool {
    matches!(row.outcome, ActionState::Done | ActionState::Failed | ActionState::Interrupted)
}

/// Why a transition sets something off, in words.
fn reason_of(transition: &Transition) -> String {
    if transition.is_recovery() {
        return RECOVERY.to_owned();
    }
    match transition.state_type {
        StateType::Hard => format!("hard {}", transition.state),
        StateType::Soft => {
            format!("soft {} (attempt {}/{})", transition.state, transition.attempt, transition.max_attempts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, outcome: ActionState) -> ActionRow {
        ActionRow {
            id,
            at: Timestamp::UNIX_EPOCH,
            check: Name::new("shop"),
            action: Name::new("restart"),
            incident: Some(IncidentId::from_u64(5)),
            reason: "hard bad".to_owned(),
            outcome,
            ended: None,
            message: String::new(),
            output: String::new(),
        }
    }

    /// However many scripts say however much, memory is bounded; what was said last is whole.
    #[test]
    fn output_in_memory_is_bounded() {
        let mut scripts = Scripts::default();
        let output = "x".repeat(64 * 1024);
        for number in 0..2_000_u32 {
            let id = Id { index: number % 500, life: 1 };
            scripts.show(id, ActionRow { output: output.clone(), ..row(number.into(), ActionState::Done) });
        }
        let kept: usize = scripts.recent.values().flatten().map(|row| row.output.capacity()).sum();
        assert!(kept <= WHOLE_OUTPUT + 2_000 * SHORT_OUTPUT, "{kept}");
        assert_eq!(scripts.recent[&Id { index: 499, life: 1 }].back().unwrap().output, output);
        assert!(scripts.whole.len() * output.len() <= WHOLE_OUTPUT);
    }

    /// What counted before it could start and then never ran counts no more, just as after a restart.
    #[test]
    fn what_never_ran_counts_for_nothing() {
        let id = Id { index: 0, life: 1 };
        let mut scripts = Scripts::default();
        for (number, outcome) in [(1, ActionState::Done), (2, ActionState::Superseded), (3, ActionState::Skipped)] {
            let intent = row(number, ActionState::Intended);
            scripts.remember(id, &intent);
            scripts.begin(id, &intent);
            scripts.end(id, &row(number, outcome));
        }
        let key = (id, Name::new("restart"));
        assert_eq!(scripts.history[&key].iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [1]);
        assert_eq!((scripts.attempts[&id].tried, scripts.attempts[&id].under_way), (1, 0));
    }
}
