//! `systemd`: whether units are as they should be.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::check::{CheckKind, Context};
use monchero_core::duration;
use monchero_core::items::{Field, Filter, Judge, Value};
use monchero_core::quantity::{Unit as Measure, human};
use monchero_core::text::{escape_controls, glob, quote};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use zbus::Variant;
use zbus::message::Message;

use crate::bus::{Bus, Refusal, SYSTEM, SYSTEMD};
use crate::host;
use crate::net::Deadline;
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "restarts",
        "",
        "How often systemd restarted the service by itself since it was last started by hand.",
    ),
    Field::number("memory", "B", "The memory of its control group; not measured without memory accounting."),
    Field::number("tasks", "", "The processes and threads in its control group."),
    Field::number("age", "s", "How long it has been in its state."),
    Field::number("last", "s", "How long ago a timer last elapsed; not measured before the first time."),
    Field::number("next", "s", "How long until a timer elapses, if it does so by the calendar."),
    Field::text(
        "active",
        "`active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading` or `maintenance`.",
    ),
    Field::text(
        "sub",
        "Its state in detail, which depends on its type: `running`, `exited`, `auto-restart`, `mounted` ..",
    ),
    Field::text("load", "`loaded`, `not-found`, `masked`, `bad-setting` or `error`."),
    Field::text(
        "result",
        "How it last ended: `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, `start-limit-hit` ..",
    ),
];

/// The states that `state` may name.
const STATES: [&str; 8] =
    ["active", "inactive", "failed", "activating", "deactivating", "reloading", "refreshing", "maintenance"];
/// The types of units, and the interface that each has.
const TYPES: [(&str, &str); 11] = [
    ("service", "Service"),
    ("socket", "Socket"),
    ("timer", "Timer"),
    ("mount", "Mount"),
    ("automount", "Automount"),
    ("swap", "Swap"),
    ("path", "Path"),
    ("target", "Target"),
    ("slice", "Slice"),
    ("scope", "Scope"),
    ("device", "Device"),
];
/// How many units one check may name.
const MAX_NAMES: usize = 100;
/// How many units one run looks at: each needs some questions.
const MAX_UNITS: usize = 500;
/// When a unit that is between two states is looked at again.
const CONFIRM: Duration = Duration::from_secs(5);

/// Units of systemd: services, timers, mounts and so on.
///
/// A unit that is named must be `active`, or in one of the states of `state`. One that is not there, that cannot be loaded or that is masked
/// is bad; one that is being started or restarted is a warning until it is done. Without `unit`, each unit of the host that has failed is
/// bad. systemd is asked over the system bus; a bus that does not answer makes the check unknown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Systemd {
    /// The unit, or a list of up to 100. Without an ending such as `.timer`, a service is meant. A glob with `*` and `?`, such as
    /// `postgresql@*`, means all units that fit and are loaded; there must be one.
    unit: Option<OneOrMore<String>>,
    /// The state in which each unit must be, or a list of those: `active`, `inactive`, `failed` .. . `reloading` counts as `active`.
    /// A service that a timer starts is `[active, activating, inactive]` when all is well. Default: `active`.
    state: Option<OneOrMore<String>>,
    /// The socket of the bus. Default: `/run/dbus/system_bus_socket`.
    #[serde(default = "system_bus")]
    bus: PathBuf,
    /// Only units that fit: globs of names, or maps of conditions.
    #[serde(default)]
    only: Filter,
    /// Not the units that fit.
    #[serde(default)]
    except: Filter,
    /// When it is a warning, besides the state. A single range is about `restarts`, a map has conditions by field:
    /// `{ memory: "> 1GiB" }`. Without a word about it, never.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, never.
    #[serde(default)]
    bad: Thresholds,
}

fn system_bus() -> PathBuf {
    PathBuf::from(SYSTEM)
}

impl CheckKind for Systemd {
    const NAME: &'static str = "systemd";
    const EXAMPLE: &'static str = "{ unit: [nginx, \"postgresql@*\", fstrim.timer], warning: { restarts: \"> 3\" } }";
    const SHORT_FOR: Option<&'static str> = Some("unit");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(OneOrMore(names)) = &mut self.unit {
            if names.is_empty() || names.len() > MAX_NAMES {
                return Err(Invalid::at(
                    "unit",
                    format!("a check names 1 to {MAX_NAMES} units, this one {}", names.len()),
                ));
            }
            for name in names {
                *name = full_name(name).map_err(|why| Invalid::at("unit", why))?;
            }
        }
        for state in self.state.iter().flat_map(|states| &states.0) {
            if !STATES.contains(&state.as_str()) {
                let known = monchero_core::node::suggest(state, &STATES);
                return Err(Invalid::at("state", format!("{} is no state of a unit; {known}", quote(state))));
            }
        }
        if self.state.is_some() && self.unit.is_none() {
            return Err(Invalid::at("state", "without `unit`, units that have failed are looked for".to_owned()));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let path = host::under(context.sysroot, &self.bus);
        let unable = |why: String| {
            let bus = quote(&self.bus.to_string_lossy());
            CheckError::Unable(format!("asking systemd over the bus at {bus}: {why}"))
        };
        let look = async {
            let bus = Bus::connect(&path).await?;
            self.look(context, &bus).await
        };
        match tokio::time::timeout(deadline.left(), look).await {
            Ok(answer) => answer.map_err(unable),
            Err(_) => Err(unable(format!("no answer within {}", duration::human(deadline.limit())))),
        }
    }
}

/// A name with its ending.
fn full_name(name: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(is_allowed) {
        return Err(format!("{} is no name of a unit", quote(name)));
    }
    if is_glob(name) {
        return Ok(name.to_owned());
    }
    let has_ending = name.rsplit_once('.').is_some_and(|(_, end)| TYPES.iter().any(|(kind, _)| *kind == end));
    let full = if has_ending { name.to_owned() } else { format!("{name}.service") };
    if full.contains("@.") {
        let instance = full.replace("@.", "@NAME.");
        return Err(format!("{} is a template: name an instance, as in `{instance}`", quote(&full)));
    }
    Ok(full)
}

fn is_glob(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// As systemd lists a unit: name, description, load, active and sub state, the unit that it follows, its path, and its job.
type Listed =
    (String, String, String, String, String, String, zbus::OwnedObjectPath, u32, String, zbus::OwnedObjectPath);

/// A unit.
#[derive(Debug, Default)]
struct Unit {
    name: String,
    load: String,
    active: String,
    sub: String,
    path: String,
    result: Option<String>,
    numbers: Vec<(&'static str, f64)>,
}

impl Unit {
    fn number(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(label, _)| *label == name).map(|(_, number)| *number)
    }

    fn interface(&self) -> Option<&'static str> {
        let (_, ending) = self.name.rsplit_once('.')?;
        TYPES.iter().find(|(kind, _)| *kind == ending).map(|(_, interface)| *interface)
    }

    fn values(&self) -> Vec<(&'static str, Value<'_>)> {
        let mut values: Vec<(&'static str, Value<'_>)> = vec![
            ("active", Value::Text(&self.active)),
            ("sub", Value::Text(&self.sub)),
            ("load", Value::Text(&self.load)),
        ];
        values.extend(self.result.as_deref().map(|result| ("result", Value::Text(result))));
        values.extend(self.numbers.iter().map(|(name, number)| (*name, Value::Number(*number))));
        values
    }

    /// `failed (exit-code) for 5m`.
    fn shown(&self) -> String {
        let mut details = vec![self.sub.as_str()];
        details.extend(self.result.as_deref().filter(|result| *result != "success"));
        details.retain(|detail| *detail != self.active);
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        let age = self.number("age").map(|age| format!(" for {}", human(age, &Measure::SECONDS))).unwrap_or_default();
        format!("{}{age}", escape_controls(&format!("{}{details}", self.active)))
    }

    fn summary(&self) -> String {
        let bytes = |bytes| format!(", {}", human(bytes, &Measure::BYTES));
        let next = |next| format!(", next in {}", human(next, &Measure::SECONDS));
        let memory = self.number("memory").map(bytes).unwrap_or_default();
        format!("{}{memory}{}", self.shown(), self.number("next").map(next).unwrap_or_default())
    }
}

impl Systemd {
    async fn look(&self, context: &Context<'_>, bus: &Bus) -> Result<Report, String> {
        let mut report = context.report();
        let mut units = match &self.unit {
            Some(OneOrMore(names)) => named(bus, names).await?,
            None => listed(bus.manager("ListUnitsByPatterns", &(["failed"].as_slice(), NONE)).await)?,
        };
        let surplus = units.len().saturating_sub(MAX_UNITS);
        if surplus > 0 {
            units.truncate(MAX_UNITS);
            report.find(State::Warning, format!("{surplus} more units fit, of which none was looked at"));
        }
        for unit in &mut units {
            ask(bus, unit, context.now).await?;
        }
        match &self.unit {
            Some(OneOrMore(names)) => self.judge_named(&mut report, names, &units),
            None => self.judge_failed(&mut report, &units),
        }
        Ok(report)
    }

    fn judge_named(&self, report: &mut Report, names: &[String], units: &[Unit]) {
        for pattern in names.iter().filter(|name| !units.iter().any(|unit| glob(name, &unit.name))) {
            // Names that are no globs are always answered, except that an alias is answered under the true name.
            if is_glob(pattern) {
                report.find(State::Bad, format!("no unit that is loaded fits {}", quote(pattern)));
            }
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for unit in units {
            if judge.item(report, &unit.name, &unit.values(), || unit.summary())
                && let Some((state, why)) = self.verdict(unit)
            {
                report.find(state, format!("{} {why}", escape_controls(&unit.name)));
                report.again = (state == State::Warning).then_some(CONFIRM).or(report.again);
            }
        }
        judge.end(report, "unit");
    }

    fn judge_failed(&self, report: &mut Report, units: &[Unit]) {
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except).without_metrics();
        for unit in units {
            if judge.item(report, &unit.name, &unit.values(), || unit.summary()) {
                let name = escape_controls(&unit.name);
                report.find(State::Bad, format!("{name} is {}: see `systemctl status {name}`", unit.shown()));
            }
        }
        if report.items.kept == 0 {
            report.find(State::Okay, "no unit has failed");
        }
    }

    /// What is wrong with the state of a unit, if anything is.
    fn verdict(&self, unit: &Unit) -> Option<(State, String)> {
        let name = escape_controls(&unit.name);
        let wanted: Vec<&str> = match &self.state {
            Some(OneOrMore(states)) => states.iter().map(String::as_str).collect(),
            None => vec!["active"],
        };
        let active = match unit.active.as_str() {
            "reloading" | "refreshing" if wanted.contains(&"active") => "active",
            active => active,
        };
        let is_fine = wanted.contains(&active);
        match unit.load.as_str() {
            "not-found" => return Some((State::Bad, "does not exist: systemd knows no unit of this name".to_owned())),
            "masked" if !is_fine => {
                return Some((State::Bad, format!("is masked, so it cannot be started: `systemctl unmask {name}`")));
            }
            "loaded" | "masked" => {}
            load => {
                let load = escape_controls(load);
                return Some((State::Bad, format!("cannot be loaded ({load}): see `systemctl status {name}`")));
            }
        }
        if is_fine {
            return None;
        }
        let is_between = matches!(active, "activating" | "deactivating") && wanted.contains(&"active");
        let wanted = wanted.join(" or ");
        let restarts = unit.number("restarts").filter(|restarts| is_between && *restarts > 0.0);
        let restarts = restarts.map(|restarts| format!(", restarted {restarts} times")).unwrap_or_default();
        let why = format!("is {}{restarts}, not {wanted}: see `journalctl -u {name}`", unit.shown());
        Some((if is_between { State::Warning } else { State::Bad }, why))
    }
}

const NONE: &[&str] = &[];

/// The units that are named and those that fit a glob, each once.
async fn named(bus: &Bus, names: &[String]) -> Result<Vec<Unit>, String> {
    let (globs, names): (Vec<&str>, Vec<&str>) = names.iter().map(String::as_str).partition(|name| is_glob(name));
    let mut units = Vec::new();
    if !names.is_empty() {
        units.extend(listed(bus.manager("ListUnitsByNames", &(names.as_slice(),)).await)?);
    }
    if !globs.is_empty() {
        units.extend(listed(bus.manager("ListUnitsByPatterns", &(NONE, globs.as_slice())).await)?);
    }
    let mut seen = BTreeSet::new();
    units.retain(|unit: &Unit| seen.insert(unit.name.clone()));
    Ok(units)
}

fn listed(reply: Result<Message, String>) -> Result<Vec<Unit>, String> {
    let body = reply?.body();
    let units: Vec<Listed> =
        body.deserialize().map_err(|error| format!("its list of units cannot be read: {error}"))?;
    let unit = |(name, _, load, active, sub, _, path, ..): Listed| Unit {
        name,
        load,
        active,
        sub,
        path: path.as_str().to_owned(),
        ..Unit::default()
    };
    Ok(units.into_iter().map(unit).collect())
}

/// Asks for what the list does not say.
async fn ask(bus: &Bus, unit: &mut Unit, now: Timestamp) -> Result<(), String> {
    let Some(kind) = unit.interface().filter(|_| unit.load == "loaded") else { return Ok(()) };
    let interface = format!("org.freedesktop.systemd1.{kind}");
    let has_group = matches!(kind, "Service" | "Socket" | "Mount" | "Swap" | "Slice" | "Scope");
    let mut numbers = Vec::new();
    let now = now.as_duration().as_secs_f64();
    if let Some(since) = number(bus, unit, "org.freedesktop.systemd1.Unit", "StateChangeTimestamp").await? {
        numbers.push(("age", (now - since / 1e6).max(0.0)));
    }
    if kind == "Service" {
        numbers.extend(number(bus, unit, &interface, "NRestarts").await?.map(|count| ("restarts", count)));
    }
    if has_group && unit.active == "active" {
        numbers.extend(number(bus, unit, &interface, "MemoryCurrent").await?.map(|bytes| ("memory", bytes)));
        numbers.extend(number(bus, unit, &interface, "TasksCurrent").await?.map(|count| ("tasks", count)));
    }
    if kind == "Timer" {
        let last = number(bus, unit, &interface, "LastTriggerUSec").await?;
        numbers.extend(last.map(|last| ("last", (now - last / 1e6).max(0.0))));
        let next = number(bus, unit, &interface, "NextElapseUSecRealtime").await?;
        numbers.extend(next.map(|next| ("next", (next / 1e6 - now).max(0.0))));
    }
    if let Some(reply) = property(bus, unit, &interface, "Result").await? {
        unit.result = match reply.body().deserialize::<Variant<'_>>() {
            Ok(Variant::Str(text)) => Some(text.as_str().to_owned()),
            _ => None,
        };
    }
    unit.numbers = numbers;
    Ok(())
}

/// A property of a unit; none if it has no such property, or is not there any more.
async fn property(bus: &Bus, unit: &Unit, interface: &str, name: &str) -> Result<Option<Message>, String> {
    match bus.property(SYSTEMD, &unit.path, interface, name).await {
        Ok(reply) => Ok(Some(reply)),
        Err(Refusal::Refused(_)) => Ok(None),
        Err(Refusal::Broken(why)) => Err(why),
    }
}

/// A property that is a number. Zero times and the largest number mean that there is none.
async fn number(bus: &Bus, unit: &Unit, interface: &str, name: &str) -> Result<Option<f64>, String> {
    let Some(reply) = property(bus, unit, interface, name).await? else { return Ok(None) };
    let body = reply.body();
    Ok(match body.deserialize::<Variant<'_>>() {
        Ok(Variant::U32(number)) => Some(f64::from(number)),
        Ok(Variant::U64(number))
            if number != u64::MAX && (number > 0 || !name.contains("USec") && !name.ends_with("Timestamp")) =>
        {
            Some(number as f64)
        }
        _ => None,
    })
}
