//! The settings of what makes messages wait or come again: reminders, downtimes that recur, the gate.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use monchero_core::Invalid;
use monchero_core::decide::Remind;
use monchero_core::duration::{self, DurationText};
use monchero_core::hold::{Selector, Shut};
use monchero_core::recurrence::{self, Recurrence};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::MIN_INTERVAL;

/// How many times longer each wait is than the one before, and the longest, unless said otherwise.
const DEFAULT_GROWTH: f64 = 2.0;
const DEFAULT_AT_MOST: Duration = Duration::from_secs(86_400);
/// The fastest growth: who wants more wants no reminders.
const MAX_GROWTH: f64 = 100.0;

/// How often a standing problem is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminders(pub Remind);

/// How often a standing problem is told again, more and more rarely.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReminderSettings {
    /// How long after the message about the problem the first reminder comes.
    #[serde(with = "duration::text")]
    #[schemars(with = "DurationText")]
    every: Duration,
    /// How many times as long each wait is as the one before, from 1 to 100. `2` by default.
    #[serde(default)]
    #[schemars(with = "f64")]
    growth: Option<f64>,
    /// The longest wait; not shorter than `every`. `1d` by default, or `every` if that is longer.
    #[serde(default, with = "duration::option")]
    #[schemars(with = "DurationText")]
    at_most: Option<Duration>,
}

impl TryFrom<ReminderSettings> for Remind {
    type Error = String;

    fn try_from(settings: ReminderSettings) -> Result<Self, String> {
        let ReminderSettings { every, growth, at_most } = settings;
        let growth = growth.unwrap_or(DEFAULT_GROWTH);
        if !(1.0..=MAX_GROWTH).contains(&growth) {
            return Err(format!("`growth` is from 1 to {MAX_GROWTH}"));
        }
        let at_most = at_most.unwrap_or(DEFAULT_AT_MOST.max(every));
        if at_most < every {
            return Err("`at_most` is shorter than `every`".to_owned());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 100 to 10000")]
        Ok(Self { every, growth: (growth * 100.0).round() as u32, at_most })
    }
}

impl<'de> Deserialize<'de> for Reminders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Reminders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `4h`, or a map of `every`, `growth` and `at_most`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Reminders, E> {
                Ok(Reminders(duration::parse(text).map_err(E::custom)?.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reminders, A::Error> {
                let settings = ReminderSettings::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Reminders(Remind::try_from(settings).map_err(A::Error::custom)?))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Reminders {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reminders".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (every, map) = (generator.subschema_for::<DurationText>(), generator.subschema_for::<ReminderSettings>());
        json_schema!({ "anyOf": [every, map] })
    }
}

/// Planned work that comes again and again: notices about problems wait until it is over, each time. When it begins is said by `cron` or by
/// `calendar`; which checks it is about by `checks`, by `labels`, or by both, which must then both fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DowntimeSettings {
    /// When it begins, as in a crontab: minute, hour, day of the month, month and day of the week. `"0 2 * * 6"` is Saturday at two.
    #[schemars(with = "String")]
    pub cron: Option<String>,
    /// When it begins, as in `OnCalendar=` of a systemd timer: `Sat 02:00`, `*-*-01 03:00`. The time zone stands in `zone`.
    #[schemars(with = "String")]
    pub calendar: Option<String>,
    /// How long it lasts. It must be given.
    #[serde(with = "duration::option")]
    #[schemars(with = "DurationText")]
    pub duration: Option<Duration>,
    /// The time zone of `cron` and `calendar`, such as `Europe/Berlin`. By default that of `monchero.yaml`.
    #[schemars(with = "String")]
    pub zone: Option<String>,
    /// Names of checks, with `*` for any characters and `?` for one: `[db-*, shop]`. A name covers the instances and services of the check.
    #[schemars(with = "Vec<String>")]
    pub checks: Option<Vec<String>>,
    /// The labels that the checks must have: `{ team: web }`; `*` in a value stands for any characters, `?` for one.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Option<BTreeMap<String, String>>,
    /// What for; it stands in `monchero show` and `monchero downtime list`. Its name by default.
    #[schemars(with = "String")]
    pub comment: Option<String>,
}

impl DowntimeSettings {
    /// Judges what the types cannot, and says when it begins. Each mistake names its setting; an empty name is the whole.
    pub fn begins(&self, usual: &jiff::tz::TimeZone) -> Result<Recurrence, Vec<Invalid>> {
        let mut wrong = Vec::new();
        match self.duration {
            None => wrong.push(Invalid::at("", "it is not said how long it lasts: `duration` does")),
            Some(lasts) if lasts < MIN_INTERVAL => {
                wrong.push(Invalid::at("duration", format!("it is at least `{}`", duration::format(MIN_INTERVAL))));
            }
            Some(_) => {}
        }
        if self.selector().is_empty() {
            wrong.push(Invalid::at("", "it is not said which checks: `checks` or `labels` choose them"));
        }
        let zone = recurrence::zone(self.zone.as_deref(), usual).unwrap_or_else(|invalid| {
            wrong.push(invalid);
            usual.clone()
        });
        match Recurrence::of(self.cron.as_deref(), self.calendar.as_deref(), zone) {
            Ok(Some(begins)) if wrong.is_empty() => return Ok(begins),
            Ok(Some(_)) => {}
            Ok(None) => wrong.push(Invalid::at("", "it is not said when it begins: `cron` or `calendar` does")),
            Err(invalid) => wrong.push(invalid),
        }
        Err(wrong)
    }

    /// Which checks it is about.
    pub fn selector(&self) -> Selector {
        Selector { checks: self.checks.clone().unwrap_or_default(), labels: self.labels.clone().unwrap_or_default() }
    }
}

/// The checks by which this host knows whether it is cut off from the network. While they are bad, confirmed or not, problems that are found
/// by checks that need the network are inconclusive: they are shown, count as no attempt, change no state, are told to nobody and set off no
/// scripts. When the way is back, each of these checks is looked at again at once. The checks named here are told as ever.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateSettings {
    /// Names of checks: a `ping` of two addresses outside, for example.
    pub checks: Vec<String>,
    /// How many of them must be bad. `all` by default, since an address outside may be bad by itself.
    #[serde(default)]
    pub shut: Shut,
    /// Checks that need the network too, besides those of built-in kinds that look at another host: plugins, for example. None by default.
    #[serde(default)]
    pub holds: Option<Choice>,
    /// Checks that need no network although their kind and address look like it. None by default; checks of this host itself (`localhost`,
    /// `127.0.0.1`, `::1`, a Unix socket) never do.
    #[serde(default)]
    pub except: Option<Choice>,
}

/// Checks by name or by label; what stands together must fit together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choice {
    /// Names of checks, with `*` for any characters and `?` for one.
    pub checks: Vec<String>,
    /// The labels that the checks must have: `{ network: "yes" }`.
    pub labels: BTreeMap<String, String>,
}

impl Choice {
    /// Whether it chooses a check; one that names nothing chooses none.
    pub fn fits(&self, check: &str, labels: &BTreeMap<String, String>) -> bool {
        let selector = Selector { checks: self.checks.clone(), labels: self.labels.clone() };
        !selector.is_empty() && selector.fits(check, labels)
    }
}
