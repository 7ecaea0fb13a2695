//! The gate: what is found while this host may be cut off from the network does not count.

use std::time::Duration;

use jiff::Timestamp;
use monchero_core::hold;
use monchero_core::report::ServiceResult;
use monchero_core::{Hold, Name, State};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::entry::{Entry, Id};

impl Engine {
    /// The checks that say whether this host is cut off from what a check looks at; none if it needs no network.
    pub(crate) fn gates_of(&self, entry: &Entry) -> &[Name] {
        let gate = self.gate.as_ref().filter(|gate| gate.holds.contains(&entry.definition.name));
        gate.map(|gate| &*gate.checks).unwrap_or_default()
    }

    /// Why this host may be cut off from what a check looks at, whose problem began at `since` and which was looked at last at `last`.
    pub(crate) fn cut_off(&self, entry: &Entry, since: Timestamp, last: Timestamp) -> Option<Hold> {
        let gates = self.views(self.gates_of(entry).iter().collect());
        hold::cut_off(since, last, gates, self.gate.as_ref()?.shut)
    }

    /// Whether what a run found does not count. It does for what cannot be looked at again: nobody could find out more.
    pub(crate) fn is_inconclusive(&self, id: Id, result: State, at: Timestamp, duration: Duration) -> bool {
        let (Some(entry), Some(gate)) = (self.entries.get(id).filter(|entry| self.can_run(entry)), &self.gate) else {
            return false;
        };
        let began = at.checked_sub(duration).unwrap_or(at);
        let gates = self.views(self.gates_of(entry).iter().collect());
        hold::inconclusive(&entry.row.status, result, began, at, gates, gate.shut).is_some()
    }

    /// Shows a result that does not count.
    pub(crate) fn set_aside(&mut self, id: Id, result: &ServiceResult, at: Timestamp, duration: Duration) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if !entry.row.status.inconclusive {
            let (check, found) = (&entry.row.name, &result.message);
            tracing::info!(%check, state = result.state.as_str(), %found, "inconclusive: this host may be cut off");
        }
        let row = entry.row_mut();
        row.status.set_aside(result.state, at);
        row.result = result.clone();
        row.result.message = format!("inconclusive: {}", result.message).into();
        row.duration = duration;
        entry.dirty = true;
        self.reconcile(id);
    }

    /// Sees to it that more is found out about a check whose last result did not count: whether the way is open, and then how the check is.
    pub(crate) fn resolve(&mut self, id: Id) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.row.status.inconclusive && !entry.gone) else {
            return;
        };
        let status = &entry.row.status;
        let hold = status.news_since.and_then(|since| self.cut_off(entry, since, status.last_check.unwrap_or(since)));
        match hold {
            Some(hold) => self.see_to_hold(id, &hold),
            None => self.request_run(self.runner(id), Instant::now()),
        }
    }
}
