//! What every action has besides its kind.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use monchero_core::action::Lifecycle;
use monchero_core::decide::Wants;
use monchero_core::definition::Trigger;
use monchero_core::duration;
use monchero_core::duration::DurationText;
use monchero_core::hold::QuietHours;
use monchero_core::recurrence;
use monchero_core::state::State;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{MIN_INTERVAL, Reminders};

/// As many attempts to mend something are remembered.
const MAX_AFTER: u32 = 10;
/// As many runs of a script for one check are remembered.
const MAX_LIMIT: u32 = 64;
/// The longest that trouble may wait for more of it.
const MAX_GROUP: Duration = Duration::from_secs(3_600);

/// What every action has besides its kind.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionSettings {
    /// For actions that tell somebody: which hard states are told. Recovery follows by itself. `[warning, unknown, bad]` by default.
    #[schemars(with = "Vec<State>")]
    pub states: Option<Vec<State>>,
    /// For actions that tell somebody: how often a standing problem is told again. Never by default.
    /// `{ every: 1h, growth: 2, at_most: 1d }` for more and more rarely: each wait is twice as long as the one before.
    #[schemars(with = "Reminders")]
    pub remind: Option<Reminders>,
    /// For actions that tell somebody: how long before a downtime or an acknowledgement ends over a problem that still stands this one is told
    /// of that, once for each; the end itself then brings no message. Never by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub before_hold_ends: Option<Duration>,
    /// For actions that tell somebody: whether this one is told that somebody acknowledged a problem that it was told of. `true` by default for
    /// services that call people (`pagerduty`, `opsgenie`), which then stop calling, `false` for all others.
    #[schemars(with = "bool")]
    pub acknowledgements: Option<bool>,
    /// For actions that tell somebody: hours of each day in which notices wait: `{ from: "22:00", to: "07:00" }`, in the time zone of
    /// `monchero.yaml` or, with `zone: Europe/Berlin` beside them, in another one.
    #[schemars(with = "Quiet")]
    pub quiet: Option<Quiet>,
    /// For actions that tell somebody: how long a problem must stand before this one is told; if it is over by then, it is not. A second
    /// action with a longer delay is an escalation: whoever acknowledges the problem stops it. At once by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub delay: Option<Duration>,
    /// For actions that tell somebody: how many scripts must have run about a problem that still stands before this one is told, from 1 to 10.
    /// If there are fewer, it is told as soon as none is under way and the next run finds the problem still there. None by default.
    #[schemars(with = "u32")]
    pub after: Option<u32>,
    /// For actions that tell somebody: how long new trouble waits for more, once two messages went out, so that a storm is told in one
    /// message with all names. Recoveries do not wait. `10s` by default, `0s` for a message each.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub group: Option<Duration>,
    /// For actions that tell somebody: how many messages a minute at most; what is more is told together later. `20` by default.
    #[schemars(with = "u32")]
    pub rate: Option<u32>,
    /// For actions that tell somebody: another such action that is told as well while this one cannot be reached. None by default.
    #[schemars(with = "String")]
    pub fallback: Option<String>,
    /// For actions that tell somebody: whether this one is told of all checks that name no such action of their own, and of monchero's own
    /// problems. With `labels` or `checks` beside it, of those among them that fit. `false` by default.
    #[schemars(with = "bool")]
    pub default: Option<bool>,
    /// For actions that tell somebody: the labels of checks that this one is told of though they do not name it: `{ team: web }`. A check
    /// must have all of them; `*` in a value stands for any characters, `?` for one. By default only checks say who is told.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Option<BTreeMap<String, String>>,
    /// For actions that tell somebody: names of checks that this one is told of though they do not name it, with `*` for any characters and
    /// `?` for one: `[db-*, shop]`. A name covers the instances and services of the check; `self/*` stands for monchero's own. If `labels`
    /// are given too, both must fit. By default only checks say who is told.
    #[schemars(with = "Vec<String>")]
    pub checks: Option<Vec<String>>,
    /// For actions that tell somebody: what of monchero's own life this one is told: that it `started`, that its `config` was read anew and is
    /// broken, that it `crashed` (or was killed, or its machine went down), which is told at the next start. Not for actions that open and
    /// close incidents. Nothing by default.
    #[schemars(with = "Vec<Lifecycle>")]
    pub lifecycle: Option<Vec<Lifecycle>>,
    /// For scripts: what sets it off. `[bad]` by default.
    #[schemars(with = "Vec<Trigger>")]
    pub on: Option<Vec<Trigger>>,
    /// How long it may take. At least `100ms`; `30s` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub timeout: Option<Duration>,
    /// For scripts: how long after a run it is not set off again for the same check. No such time by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub cooldown: Option<Duration>,
    /// For scripts: how often at most it is set off in one incident, from 1 to 64. As often as it is triggered by default.
    #[schemars(with = "u32")]
    pub limit: Option<u32>,
}

impl ActionSettings {
    /// The settings that only make sense for actions that tell somebody, and those only for scripts.
    const FOR_TARGETS: [&'static str; 14] = [
        "states",
        "remind",
        "before_hold_ends",
        "acknowledgements",
        "quiet",
        "delay",
        "after",
        "group",
        "rate",
        "fallback",
        "default",
        "labels",
        "checks",
        "lifecycle",
    ];
    const FOR_SCRIPTS: [&'static str; 3] = ["on", "cooldown", "limit"];

    /// The settings that an action of this sort cannot have.
    pub fn foreign(tells: bool) -> &'static [&'static str] {
        if tells { &Self::FOR_SCRIPTS } else { &Self::FOR_TARGETS }
    }

    /// Judges what the types cannot. The text names the setting.
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if let Some(states) = &self.states {
            if states.is_empty() {
                wrong.push(("states", "it names no state, so nobody would ever be told".to_owned()));
            } else if states.contains(&State::Okay) {
                wrong.push((
                    "states",
                    "`okay` cannot be chosen: recovery is told by itself to who was told of the problem".to_owned(),
                ));
            }
        }
        if self.on.as_ref().is_some_and(Vec::is_empty) {
            wrong.push(("on", "it names no trigger, so it would never be done".to_owned()));
        }
        let remind = self.remind.map(|Reminders(remind)| remind.every);
        for (name, value) in
            [("timeout", self.timeout), ("remind", remind), ("before_hold_ends", self.before_hold_ends)]
        {
            if value.is_some_and(|value| value < MIN_INTERVAL) {
                wrong.push((name, format!("it is at least `{}`", duration::format(MIN_INTERVAL))));
            }
        }
        for (name, value) in [("limit", self.limit), ("rate", self.rate)] {
            if value == Some(0) {
                wrong.push((name, "it is at least 1".to_owned()));
            }
        }
        if self.limit.is_some_and(|limit| limit > MAX_LIMIT) {
            wrong.push(("limit", format!("it is at most {MAX_LIMIT}")));
        }
        if self.after.is_some_and(|count| !(1..=MAX_AFTER).contains(&count)) {
            wrong.push(("after", format!("it is from 1 to {MAX_AFTER}")));
        }
        if self.group.is_some_and(|group| group > MAX_GROUP) {
            wrong.push(("group", format!("it is at most `{}`", duration::format(MAX_GROUP))));
        }
        if self.labels.as_ref().is_some_and(BTreeMap::is_empty) {
            wrong.push(("labels", "it names no label; for all checks, write `checks: [\"*\"]`".to_owned()));
        }
        if self.checks.as_ref().is_some_and(Vec::is_empty) {
            wrong.push(("checks", "it names no check, so it would never be told of any".to_owned()));
        }
        if self.quiet.as_ref().is_some_and(|quiet| quiet.from == quiet.to) {
            wrong.push(("quiet", "`from` and `to` are the same time".to_owned()));
        }
        wrong
    }

    /// What a target wants to be told. `hears_acknowledgements` is what its kind does unless told otherwise.
    pub fn wants(&self, hears_acknowledgements: bool) -> Wants {
        let states = self.states.clone().unwrap_or_else(|| vec![State::Warning, State::Unknown, State::Bad]);
        let remind = self.remind.map(|Reminders(remind)| remind);
        let acknowledgements = self.acknowledgements.unwrap_or(hears_acknowledgements);
        Wants { states, remind, before_hold_ends: self.before_hold_ends, acknowledgements }
    }
}

/// Hours of each day in which notices wait.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// When they begin: `"22:00"`.
    #[serde(deserialize_with = "time_of_day")]
    #[schemars(with = "String")]
    pub from: jiff::civil::Time,
    /// When they end; on the next day if that is earlier than the beginning: `"07:00"`.
    #[serde(deserialize_with = "time_of_day")]
    #[schemars(with = "String")]
    pub to: jiff::civil::Time,
    /// The time zone of these times, such as `Europe/Berlin`. Default: that of `monchero.yaml`.
    #[serde(default, deserialize_with = "time_zone")]
    #[schemars(with = "Option<String>")]
    pub zone: Option<TimeZone>,
}

impl From<&Quiet> for QuietHours {
    fn from(quiet: &Quiet) -> Self {
        Self { from: quiet.from, to: quiet.to }
    }
}

fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeZone>, D::Error> {
    let name = String::deserialize(deserializer)?;
    recurrence::zone(Some(&name), &TimeZone::UTC).map(Some).map_err(|invalid| D::Error::custom(invalid.why))
}

fn time_of_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<jiff::civil::Time, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || D::Error::custom(format!("`{text}` is no time of the day: write it as in `07:30`"));
    let mut parts = text.split(':').map(|part| if part.len() == 2 { part.parse::<i8>().ok() } else { None });
    let (Some(Some(hour)), Some(Some(minute)), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    jiff::civil::Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}
