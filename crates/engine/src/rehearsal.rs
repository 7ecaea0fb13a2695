//! Rehearsals: who would be told what, and which scripts would run, if a check became something now. Decided by what decides it when
//! it is real, on a copy of the status; nothing changes.

use monchero_core::action::Action;
use monchero_core::definition::{ActionDefinition, Trigger};
use monchero_core::{CheckStatus, Hold, Name, Policy, State, Transition};

use crate::engine::Engine;
use crate::entry::Id;
use crate::handle::Refusal;
use crate::view::{Rehearsal, RehearsedScript, RehearsedTarget, Verdict};

impl Engine {
    /// What would be told and done if a check became hard `state` now.
    pub(crate) fn rehearse(&self, name: &Name, state: State) -> Result<Box<Rehearsal>, Refusal> {
        let id = self.lookup(name.as_str())?;
        let Some(entry) = self.entries.get(id) else {
            return Err(Refusal::NoSuchCheck { name: name.to_string(), near: None });
        };
        let policy = Policy { max_attempts: 1, recover_after: 1, ..entry.definition.policy };
        let mut status = entry.row.status.clone();
        let transition = status.apply(&entry.row.name, state, &policy, self.wall());
        let targets = self.targets_of(id).into_iter().map(|target| RehearsedTarget {
            view: self.target_view(id, &target, &status),
            wants: target.wants.states.clone(),
        });
        Ok(Box::new(Rehearsal {
            check: entry.row.name.clone(),
            state,
            hard_state: entry.row.status.hard_state,
            targets: targets.collect(),
            scripts: self.rehearse_scripts(id, &status, transition.as_ref()),
        }))
    }

    fn rehearse_scripts(&self, id: Id, status: &CheckStatus, transition: Option<&Transition>) -> Vec<RehearsedScript> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        let holds = self.holds_on(id, status);
        let actions = entry.definition.actions.iter().filter_map(|name| self.actions.get(name));
        let scripts = actions.filter(|action| matches!(action.action, Action::Script(_)));
        let rehearsed = scripts.map(|script| RehearsedScript {
            script: script.name.clone(),
            verdict: self.verdict(id, script, transition, &holds),
            on: script.on.clone(),
            cooldown: script.cooldown,
            limit: script.limit,
        });
        rehearsed.collect()
    }

    fn verdict(&self, id: Id, script: &ActionDefinition, transition: Option<&Transition>, holds: &[Hold]) -> Verdict {
        match transition {
            None => Verdict::NothingChanges,
            Some(transition) if !Trigger::matches(&script.on, transition) => Verdict::NotSetOff,
            Some(transition) => match self.why_not(id, script, transition, holds) {
                Some(why) => Verdict::Skipped(why),
                None => Verdict::Runs,
            },
        }
    }
}
