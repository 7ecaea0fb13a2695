//! The settings that are not those of a kind: what every check and every action has, and `monchero.yaml`. These structs are the only source of
//! their YAML, errors, defaults, reference and schema; their comments are the manual.

mod actions;
mod holds;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use monchero_actions::Alive;
use monchero_core::definition::Retention;
use monchero_core::duration;
use monchero_core::duration::DurationText;
use monchero_core::flapping::FlappingPolicy;
use monchero_core::state::State;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::log::LogSettings;
use super::summaries::SummarySettings;
pub use actions::{ActionSettings, Quiet};
pub use holds::{Choice, DowntimeSettings, GateSettings, Reminders};

/// The shortest interval, retry interval and timeout.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How often a check runs unless it says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a run may take unless the check says otherwise; the same for actions.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many further bad results make a problem hard unless the check says otherwise.
pub const DEFAULT_RETRIES: u32 = 2;
/// The longest retry interval that is assumed.
pub const MAX_DEFAULT_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How many runs may go on at once unless `concurrency` says otherwise: enough that a hundred hung checks delay no other, and fewer than the
/// processes that the service may have (`TasksMax=`).
pub const DEFAULT_CONCURRENCY: u16 = 512;
/// The most that `retries` and `recover_after` can be: what counts longer is meant to be off.
const MAX_COUNT: u32 = 10_000;
/// The most that `concurrency` can be: each run may be a process with two pipes.
const MAX_CONCURRENCY: u16 = 10_000;

/// What every check has besides its kind. `defaults:` of `monchero.yaml` and of a file in `conf.d` set the same for all checks; what stands
/// nearer to the check counts. Labels are merged, everything else is replaced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSettings {
    /// How long it is from the start of one run to the start of the next. At least `100ms`; `1m` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub interval: Option<Duration>,
    /// How long a run may take before it is ended. At least `100ms`; `30s` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub timeout: Option<Duration>,
    /// How many further bad results it takes before a problem counts (becomes hard); `0` means that the first one counts. `2` by default.
    #[schemars(with = "u32")]
    pub retries: Option<u32>,
    /// How long it is to the next run while a problem is not confirmed. By default the interval, but at most `30s`.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub retry_interval: Option<Duration>,
    /// How many okay results in a row end a problem. `1` by default.
    #[schemars(with = "u32")]
    pub recover_after: Option<u32>,
    /// When the check counts as flapping, so that its notices wait: `{ window: 10m, enter: 6, exit: 2 }` by default, `false` for never.
    #[schemars(with = "Flapping")]
    pub flapping: Option<Flapping>,
    /// The state that it means when a run takes longer than its timeout. `unknown` by default.
    #[schemars(with = "State")]
    pub on_timeout: Option<State>,
    /// How many of the places for runs that go on at once (`concurrency`) a run takes: more than one for a check that needs much of the host,
    /// so that few of them run side by side. One that weighs more than there are places runs alone. `1` by default.
    #[schemars(with = "u16")]
    pub weight: Option<u16>,
    /// Words about the check, for templates, filters and exporters: `{ team: web }`. Labels of `defaults` are kept unless the check has the same.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Checks that this one cannot be okay without. While one of them is bad, notices about this check wait. The name of a check with
    /// `for_each` stands for all of its instances. In `defaults`, the checks that are named here are not themselves meant.
    #[schemars(with = "Vec<String>")]
    pub depends_on: Option<Vec<String>>,
    /// The actions that are done when this check changes its state, by name. None by default.
    #[schemars(with = "Vec<String>")]
    pub actions: Option<Vec<String>>,
}

impl CheckSettings {
    /// Judges what the types cannot. The text names the setting.
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for (name, value) in
            [("interval", self.interval), ("timeout", self.timeout), ("retry_interval", self.retry_interval)]
        {
            if value.is_some_and(|value| value < MIN_INTERVAL) {
                wrong.push((name, format!("it is at least `{}`", duration::format(MIN_INTERVAL))));
            }
        }
        if self.retries.is_some_and(|retries| retries > MAX_COUNT) {
            wrong.push(("retries", format!("it is at most {MAX_COUNT}")));
        }
        match self.recover_after {
            Some(0) => wrong.push(("recover_after", "it is at least 1".to_owned())),
            Some(n) if n > MAX_COUNT => wrong.push(("recover_after", format!("it is at most {MAX_COUNT}"))),
            _ => {}
        }
        match self.weight {
            Some(0) => wrong.push(("weight", "it is at least 1".to_owned())),
            Some(n) if n > MAX_CONCURRENCY => wrong.push(("weight", format!("it is at most {MAX_CONCURRENCY}"))),
            _ => {}
        }
        if let Some(Flapping(Some(policy))) = &self.flapping {
            if policy.enter < 2 {
                wrong.push(("flapping.enter", "it is at least 2: one change is no flapping".to_owned()));
            } else if policy.exit >= policy.enter {
                wrong.push(("flapping.exit", format!("it is less than `enter`, which is {}", policy.enter)));
            }
            if policy.window.is_zero() {
                wrong.push(("flapping.window", "it is longer than nothing".to_owned()));
            }
        }
        wrong
    }
}

/// When a check flaps; never if none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flapping(pub Option<FlappingPolicy>);

/// When a check counts as flapping.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct FlappingSettings {
    /// How far back changes count. `10m` by default.
    #[serde(with = "duration::text")]
    #[schemars(with = "DurationText")]
    window: Duration,
    /// How many changes of the hard state within the window make it flap. `6` by default.
    enter: u8,
    /// How few changes end it. `2` by default.
    exit: u8,
}

impl Default for FlappingSettings {
    fn default() -> Self {
        let FlappingPolicy { window, enter, exit } = FlappingPolicy::default();
        Self { window, enter, exit }
    }
}

impl<'de> Deserialize<'de> for Flapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Flapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`false` or a map of `window`, `enter` and `exit`")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Flapping, E> {
                Ok(Flapping(on.then(FlappingPolicy::default)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flapping, A::Error> {
                let FlappingSettings { window, enter, exit } =
                    FlappingSettings::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Flapping(Some(FlappingPolicy { window, enter, exit })))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Flapping {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flapping".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<FlappingSettings>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, map] })
    }
}

/// `monchero.yaml`: the settings of the daemon. The file is optional, and so is everything in it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The name of this host in notices, metrics and on a hub. The name that the system knows by default.
    #[schemars(with = "String")]
    pub host: Option<String>,
    /// The time zone of quiet hours and of what people see: `Europe/Berlin`. The system's by default.
    #[schemars(with = "String")]
    pub time_zone: Option<String>,
    /// How many runs of checks may go on at once, from 1 to 10000. `512` by default.
    #[schemars(with = "u16")]
    pub concurrency: Option<u16>,
    /// What all checks have unless their file or they themselves say otherwise.
    pub defaults: CheckSettings,
    /// Directories whose programs are checks. By default `plugins.d` beside this file, if it exists.
    #[schemars(with = "Vec<PluginDirectory>")]
    pub plugin_directories: Option<Vec<PluginDirectory>>,
    /// A directory whose programs are run once at start and at reload, and print `MONCHERO_NAME=value` lines for the environment of all
    /// programs that checks start. If one fails, a reload is refused; at a start the others count, and `self/config` says so. None by default.
    #[schemars(with = "String")]
    pub environment_setters: Option<PathBuf>,
    /// The checks by which this host knows whether it is cut off from the network. None by default: then every problem is told.
    #[schemars(with = "GateSettings")]
    pub gate: Option<GateSettings>,
    /// Summaries that are sent again and again, by name: `{ morning: { calendar: "Mon..Fri 08:00", to: [ops] } }`. They may stand
    /// in a file of `conf.d` too. None by default.
    pub summaries: BTreeMap<String, SummarySettings>,
    /// A sign of life that is sent again and again to a service that notices when it stops. None by default.
    #[schemars(with = "Alive")]
    pub alive: Option<Alive>,
    /// How long history is kept.
    pub retention: RetentionSettings,
    /// The daemon's own log: `{ file: /var/log/monchero/monchero.log, size: 10MiB, keep: 5, format: text, level: info }`.
    pub log: LogSettings,
    /// Where the files of the host stand that is looked at, as seen from here. `/` by default; in a container, where the host is mounted.
    #[schemars(with = "String")]
    pub sysroot: Option<PathBuf>,
    /// The group whose members may change something through the control socket, as root and the daemon's own user may: acknowledge, plan
    /// downtimes, run checks, reload. It stands in `/etc/group`. By default `monchero` for the socket of the system, if there is such a group,
    /// and nobody for any other, whose directory has to let the group in. In force from the start of the daemon.
    #[schemars(with = "String")]
    pub operators: Option<String>,
    /// What to do about files of the configuration that other users could write: `refuse` them (default) or `allow` them, with a warning that
    /// stays. `monchero.yaml` itself must be safe, or this is not believed.
    pub insecure_permissions: InsecurePermissions,
}

impl Settings {
    /// The time zone that is in force.
    pub fn zone(&self) -> jiff::tz::TimeZone {
        let named = self.time_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
        named.unwrap_or_else(jiff::tz::TimeZone::system)
    }

    /// Judges what the types cannot. The text names the setting.
    pub fn validate(&self) -> Vec<(String, String)> {
        let own = |(name, why): (&str, String)| (format!("defaults.{name}"), why);
        let mut wrong: Vec<(String, String)> = self.defaults.validate().into_iter().map(own).collect();
        wrong.extend(self.log.validate().into_iter().map(|(name, why)| (format!("log.{name}"), why)));
        if self.concurrency.is_some_and(|n| !(1..=MAX_CONCURRENCY).contains(&n)) {
            wrong.push(("concurrency".to_owned(), format!("it is from 1 to {MAX_CONCURRENCY}")));
        }
        if let Some(Err(why)) = self.host.as_deref().map(monchero_core::Name::parse) {
            wrong.push(("host".to_owned(), why));
        }
        if let Some(name) = self.time_zone.as_deref().filter(|name| jiff::tz::TimeZone::get(name).is_err()) {
            let shown = monchero_core::text::escape_controls(name);
            wrong.push((
                "time_zone".to_owned(),
                format!("`{shown}` is no time zone of this system: write it as in `Europe/Berlin`"),
            ));
        }
        for (i, directory) in self.plugin_directories.iter().flatten().enumerate() {
            let place = |name: &str| format!("plugin_directories.{}.{name}", i + 1);
            wrong.extend(
                directory.defaults.validate().into_iter().map(|(name, why)| (place(&format!("defaults.{name}")), why)),
            );
            if !directory.path.is_absolute() {
                wrong.push((place("path"), "the path is not absolute".to_owned()));
            }
        }
        for (name, path) in [("sysroot", &self.sysroot), ("environment_setters", &self.environment_setters)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                wrong.push((name.to_owned(), "the path is not absolute".to_owned()));
            }
        }
        wrong
    }
}

/// What to do about files that other users could write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InsecurePermissions {
    /// They are not read.
    #[default]
    Refuse,
    /// They are read, and a warning says so.
    Allow,
}

/// A directory whose programs are checks, each named by its file name. Programs in a sub-directory that is named by a span of time (`5m`) or by
/// a number of seconds (`300`) run that often.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginDirectory {
    /// The directory; an absolute path.
    pub path: PathBuf,
    /// What the programs print, as in the setting `format` of the kind `plugin`. `nagios` by default.
    #[serde(default)]
    #[schemars(with = "String")]
    pub format: Option<String>,
    /// What the checks of this directory have, as in `defaults` of a file.
    #[serde(default)]
    pub defaults: CheckSettings,
}

/// How long history is kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Every measured value. `2d` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub metrics: Option<Duration>,
    /// Roll-ups of five minutes. `30d` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub metrics_5m: Option<Duration>,
    /// Roll-ups of one hour. `400d` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub metrics_1h: Option<Duration>,
    /// Transitions, notices and what actions did. `400d` by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub events: Option<Duration>,
}

impl From<&RetentionSettings> for Retention {
    fn from(settings: &RetentionSettings) -> Self {
        let usual = Self::default();
        Self {
            metrics: settings.metrics.unwrap_or(usual.metrics),
            metrics_5m: settings.metrics_5m.unwrap_or(usual.metrics_5m),
            metrics_1h: settings.metrics_1h.unwrap_or(usual.metrics_1h),
            events: settings.events.unwrap_or(usual.events),
        }
    }
}
