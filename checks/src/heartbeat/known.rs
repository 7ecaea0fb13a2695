//! What a heartbeat remembers of its job.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::check::{Signal, SignalKind};
use monchero_core::text;
use serde::{Deserialize, Serialize};

/// How many runs at once are watched. Of more the oldest is forgotten: a job that starts over and over and never ends is seen by then.
const MAX_RUNS: usize = 40;
/// How many signals are kept for people.
const MAX_RECENT: usize = 8;
/// How much output of each of them is kept, in bytes.
const MAX_OUTPUT: usize = 2 * 1024;
/// How much output of the last failure is kept, in bytes: what a person needs to see why. All of it together, with what JSON adds,
/// stays below [`monchero_core::report::MAX_MEMORY`].
const MAX_FAILURE: usize = 8 * 1024;

/// A signal that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) at: Timestamp,
    pub(super) kind: SignalKind,
    pub(super) run: Option<Box<str>>,
    pub(super) took: Option<Duration>,
    pub(super) output: Box<str>,
}

/// A run that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) name: Option<Box<str>>,
    /// When it began; of those without a name, which cannot be told apart, the first.
    pub(super) began: Timestamp,
    /// Of those without a name, when the last began.
    pub(super) last: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    /// Since when anything is waited for.
    pub(super) since: Timestamp,
    /// When the last run began or ended.
    pub(super) sign: Option<Timestamp>,
    /// When the last run that went well ended.
    pub(super) success: Option<Timestamp>,
    /// How the last run ended.
    pub(super) end: Option<Heard>,
    /// The last failure, with more of its output than the others have.
    pub(super) failure: Option<Heard>,
    /// Runs that have not ended.
    pub(super) runs: Vec<Run>,
    /// The last signals, newest first.
    pub(super) recent: VecDeque<Heard>,
}

impl Known {
    /// Nothing was heard yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// From when on the next sign of life is waited for.
    pub(super) fn reference(&self) -> Timestamp {
        self.sign.unwrap_or(self.since)
    }

    /// Takes a signal. `forgiven` says which runs are given up when a later one has gone well.
    pub(super) fn take(&mut self, signal: &Signal, now: Timestamp, forgiven: impl Fn(&Run) -> bool) {
        let name = signal.run.as_deref();
        let mut heard = Heard {
            at: now,
            kind: signal.kind,
            run: name.map(Box::from),
            took: signal.took,
            output: end_of(&signal.output, MAX_FAILURE).into(),
        };
        match signal.kind {
            SignalKind::Log => {}
            SignalKind::Start => {
                self.sign = Some(now);
                self.begin(name, now);
            }
            SignalKind::Success | SignalKind::Fail(_) => {
                self.sign = Some(now);
                let ended = self.runs.iter().position(|run| run.name.as_deref() == name).map(|at| self.runs.remove(at));
                let since_start = ended.as_ref().and_then(|run| Duration::try_from(now.duration_since(run.last)).ok());
                heard.took = signal.took.or(since_start);
                if signal.kind == SignalKind::Success {
                    self.success = Some(now);
                    let began = ended.map_or(now, |run| run.last);
                    self.runs.retain(|run| run.last > began || !forgiven(run));
                } else {
                    self.failure = Some(heard.clone());
                }
                heard.output = end_of(&heard.output, MAX_OUTPUT).into();
                self.end = Some(heard.clone());
            }
        }
        heard.output = end_of(&heard.output, MAX_OUTPUT).into();
        self.recent.push_front(heard);
        self.recent.truncate(MAX_RECENT);
    }

    fn begin(&mut self, name: Option<&str>, now: Timestamp) {
        if let Some(known) = self.runs.iter_mut().find(|run| run.name.as_deref() == name) {
            known.last = now;
            return;
        }
        if self.runs.len() >= MAX_RUNS {
            self.runs.remove(0);
        }
        self.runs.push(Run { name: name.map(Box::from), began: now, last: now });
    }

    /// Every moment that is remembered.
    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let heard = self.end.iter_mut().chain(&mut self.failure).chain(&mut self.recent).map(|heard| &mut heard.at);
        let runs = self.runs.iter_mut().flat_map(|run| [&mut run.began, &mut run.last]);
        [&mut self.since].into_iter().chain(&mut self.sign).chain(&mut self.success).chain(heard).chain(runs)
    }

    /// The wall clock was set: what is remembered keeps its distance from now.
    pub(super) fn shift(&mut self, step: jiff::SignedDuration) {
        self.times().for_each(|at| *at = at.saturating_add(step).unwrap_or(*at));
    }

    /// Nothing that is remembered lies in the future (R18).
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.times().for_each(|at| *at = (*at).min(now));
    }
}

/// The end of a text: what went wrong is said last.
fn end_of(text: &str, most: usize) -> String {
    let text = text::clean(text.trim_end().as_bytes());
    let cut = text.len().saturating_sub(most);
    text.get(text.ceil_char_boundary(cut)..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use monchero_core::report::MAX_MEMORY;

    use super::*;

    #[test]
    fn whatever_is_heard_fits_into_memory() {
        let now = Timestamp::UNIX_EPOCH;
        let mut known = Known::new(now);
        for kind in [SignalKind::Start, SignalKind::Fail(Some(i32::MIN)), SignalKind::Start] {
            for number in 0..100 {
                let run = Some(format!("{number}{}", "\\".repeat(60)));
                let output = "\"\n\\".repeat(20_000);
                known.take(&Signal { kind, run, output, took: Some(Duration::MAX) }, now, |_| false);
            }
        }
        assert_eq!(known.runs.len(), MAX_RUNS);
        let size = serde_json::to_string(&known).unwrap().len();
        assert!(size < MAX_MEMORY, "{size}");
    }

    #[test]
    fn the_end_of_the_output_is_kept() {
        assert_eq!(end_of("abcü\n", 3), "cü");
        assert_eq!(end_of("abü", 1), "");
    }
}
