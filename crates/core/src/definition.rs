//! What runs: definitions as the loader of the configuration resolved them, and what makes them wait or act.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::action::{Action, Lifecycle};
use crate::check::Check;
use crate::decide::Wants;
use crate::hold::{QuietHours, Recurring, Shut};
use crate::name::Name;
use crate::recurrence::Recurrence;
use crate::state::{State, StateType};
use crate::status::{Policy, Transition};

/// One check of the running set. Its settings are those of many: they are shared, not copied.
#[derive(Clone)]
pub struct Definition {
    /// Its name.
    pub name: Name,
    /// Its kind's key.
    pub kind: &'static str,
    /// What runs.
    pub check: Arc<dyn Check>,
    /// What it has as every check does; read as fields of the definition itself.
    pub settings: Arc<Settings>,
    /// Where it is written.
    pub source: Place,
    /// Changes when anything about the definition changes: an unchanged check keeps its schedule over a reload (R54).
    pub fingerprint: u64,
}

/// What every check has. Ten thousand checks of one file have mostly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// From slot to slot.
    pub interval: Duration,
    /// From run to run while the state is soft.
    pub retry_interval: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// How results are counted.
    pub policy: Policy,
    /// The state that a timeout means.
    pub on_timeout: State,
    /// How many places a run takes among those that go on at once; at least 1.
    pub weight: u16,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Checks whose hard bad makes this one's notices wait.
    pub depends_on: Arc<[Name]>,
    /// Actions by name; each exists.
    pub actions: Arc<[Name]>,
    /// The environment of its programs.
    pub env: Arc<[(OsString, OsString)]>,
}

impl Deref for Definition {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// Where something is written: `conf.d/web.yaml:12`, or only who says it: `monchero`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line; none if there is none to name.
    pub line: Option<NonZeroU32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// One action of the running set.
#[derive(Clone, Debug)]
pub struct ActionDefinition {
    /// Its name.
    pub name: Name,
    /// Its kind's key.
    pub kind: &'static str,
    /// What is done.
    pub action: Action,
    /// For targets: what it wants to be told.
    pub wants: Wants,
    /// For targets: when it is not to be disturbed.
    pub quiet: Option<QuietHours>,
    /// For targets: the time zone of `quiet`, if it is not that of the daemon.
    pub quiet_zone: Option<TimeZone>,
    /// For targets: how long a problem must stand before it is told of it.
    pub delay: Option<Duration>,
    /// For targets: how many scripts and remedies must have run about a problem that still stands before it is told of it.
    pub after: Option<u32>,
    /// For targets: how long new trouble waits for more of it, so that a storm is one message; zero for never.
    pub group: Duration,
    /// For targets: how many messages a minute; what is more is put together or waits.
    pub rate: u32,
    /// For targets: who is told instead while this one cannot be reached.
    pub fallback: Option<Name>,
    /// For targets: what of monchero's own life it is told.
    pub lifecycle: Vec<Lifecycle>,
    /// For scripts: what sets it off.
    pub on: Vec<Trigger>,
    /// How long it may take.
    pub timeout: Duration,
    /// For scripts: how long after a run it is not set off again for the same check.
    pub cooldown: Option<Duration>,
    /// For scripts: how often at most for one incident.
    pub limit: Option<u32>,
    /// Where it is written.
    pub source: Arc<str>,
    /// Changes when anything about the definition changes.
    pub fingerprint: u64,
}

impl ActionDefinition {
    /// When the quiet hours that reign at `now` end, if they do reign; `usual` is the time zone of the daemon.
    pub fn quiet_until(&self, now: Timestamp, usual: &TimeZone) -> Option<Timestamp> {
        self.quiet?.until(now, self.quiet_zone.as_ref().unwrap_or(usual))
    }
}

/// A summary that is sent again and again.
#[derive(Clone, Debug)]
pub struct SummaryDefinition {
    /// Its name.
    pub name: Name,
    /// When it is due.
    pub schedule: Arc<Recurrence>,
    /// To whom it goes; each exists and is a target.
    pub to: Vec<Name>,
    /// The period that it is about; none for the time since the one before.
    pub period: Option<Duration>,
}

/// What sets a script off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The hard state becomes warning.
    Warning,
    /// The hard state becomes bad.
    Bad,
    /// The hard state becomes unknown.
    Unknown,
    /// A hard problem is over.
    Recovery,
    /// Every soft attempt too, of the states that are named beside it; of warning and bad if none is. Unknown must be named: what is
    /// not known is no reason to mend anything (R95).
    Soft,
}

impl Trigger {
    /// Whether a transition sets off a script with these triggers.
    pub fn matches(triggers: &[Self], transition: &Transition) -> bool {
        if transition.is_recovery() {
            return triggers.contains(&Self::Recovery);
        }
        let of_state = match transition.state {
            State::Okay => return false,
            State::Warning => Self::Warning,
            State::Unknown => Self::Unknown,
            State::Bad => Self::Bad,
        };
        let named = triggers.contains(&of_state);
        match transition.state_type {
            StateType::Hard => named,
            StateType::Soft => {
                let names_any = triggers.iter().any(|t| matches!(t, Self::Warning | Self::Bad | Self::Unknown));
                triggers.contains(&Self::Soft) && (named || !names_any && of_state != Self::Unknown)
            }
        }
    }
}

/// Something in the configuration that cannot be used. The rest runs; this is shown as the check `config/<file>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file, relative to the configuration directory.
    pub file: String,
    /// What is wrong, rendered with file, line, column and the line itself.
    pub rendered: String,
    /// The same in one line: `conf.d/web.yaml:4:5: check `shop`: unknown setting `intervall`; did you mean `interval`?`.
    pub line: String,
}

/// All that was configured, at one moment.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The name of this host.
    pub host: Arc<str>,
    /// The time zone of quiet hours and of what people see.
    pub zone: jiff::tz::TimeZone,
    /// How many runs of checks may go on at once.
    pub concurrency: usize,
    /// Where the host's files stand.
    pub sysroot: PathBuf,
    /// The group whose members may operate; none if the settings name none.
    pub operators: Option<Box<str>>,
    /// How long history is kept.
    pub retention: Retention,
    /// The checks, by name.
    pub checks: Vec<Definition>,
    /// The actions, by name.
    pub actions: Vec<ActionDefinition>,
    /// Whether signs of life are sent to somebody: then there is a check `self/alive`.
    pub alive: bool,
    /// The summaries, by name.
    pub summaries: Arc<[SummaryDefinition]>,
    /// What is done about `self/..` and `config/..`: the actions of the global defaults (`defaults:` in `monchero.yaml`).
    pub self_actions: Arc<[Name]>,
    /// Planned work that comes again and again.
    pub downtimes: Vec<Recurring>,
    /// The checks by which this host knows whether it is cut off; none if nobody says so.
    pub gate: Option<Gate>,
    /// What could not be used.
    pub problems: Vec<ConfigProblem>,
    /// What is worth a look but works: `insecure_permissions: allow` ..
    pub warnings: Vec<String>,
}

/// The checks by which this host knows whether it is cut off from the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// These checks.
    pub checks: Arc<[Name]>,
    /// How many of them must be bad.
    pub shut: Shut,
    /// The checks whose problems are inconclusive while it is.
    pub holds: HashSet<Name>,
}

/// How long history is kept; the database stays bounded whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Every measured value.
    pub metrics: Duration,
    /// Five-minute roll-ups.
    pub metrics_5m: Duration,
    /// Hourly roll-ups.
    pub metrics_1h: Duration,
    /// Transitions, notices, actions.
    pub events: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self { metrics: days(2), metrics_5m: days(30), metrics_1h: days(400), events: days(400) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::status::CheckStatus;

    /// What sets off a script with these triggers while a check with one retry takes these results.
    fn set_off(triggers: &[Trigger], results: &[State]) -> Vec<(StateType, State)> {
        let policy = Policy { max_attempts: 2, recover_after: 1, flapping: None };
        let mut status = CheckStatus::default();
        let transitions =
            results.iter().filter_map(|result| status.apply(&Name::new("x"), *result, &policy, Timestamp::UNIX_EPOCH));
        transitions.filter(|t| Trigger::matches(triggers, t)).map(|t| (t.state_type, t.state)).collect()
    }

    #[test]
    fn hard_states_and_recovery_set_off_what_names_them() {
        use State::{Bad, Okay, Unknown, Warning};
        use StateType::Hard;
        let story = [Bad, Bad, Bad, Warning, Unknown, Okay, Bad, Okay];
        assert_eq!(set_off(&[Trigger::Bad], &story), [(Hard, Bad)]);
        assert_eq!(set_off(&[Trigger::Warning, Trigger::Bad], &story), [(Hard, Bad), (Hard, Warning)]);
        assert_eq!(set_off(&[Trigger::Unknown], &story), [(Hard, Unknown)]);
        // The blip at the end was never confirmed, so its end is no recovery.
        assert_eq!(set_off(&[Trigger::Recovery], &story), [(Hard, Okay)]);
        assert_eq!(set_off(&[], &story), []);
    }

    #[test]
    fn soft_attempts_set_off_what_asks_for_them() {
        use State::{Bad, Okay, Warning};
        use StateType::{Hard, Soft};
        let story = [Warning, Bad, Okay, Bad, Okay];
        assert_eq!(set_off(&[Trigger::Soft], &story), [(Soft, Warning), (Soft, Bad)]);
        assert_eq!(set_off(&[Trigger::Soft, Trigger::Bad], &story), [(Hard, Bad), (Soft, Bad)]);
    }

    /// R95: what is not known mends nothing, unless somebody asks for it by name.
    #[test]
    fn unknown_sets_off_nothing_that_does_not_name_it() {
        let story = [State::Unknown; 5];
        for triggers in
            [&[Trigger::Soft][..], &[Trigger::Soft, Trigger::Bad], &[Trigger::Warning, Trigger::Bad, Trigger::Recovery]]
        {
            assert_eq!(set_off(triggers, &story), [], "{triggers:?}");
        }
        assert_eq!(set_off(&[Trigger::Soft, Trigger::Unknown], &story).len(), 2);
    }
}
