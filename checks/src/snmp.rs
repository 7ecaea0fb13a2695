//! `snmp`: what SNMP agents say: UPSes, power strips, ports, sensors, single objects, tables.

mod object;
mod plan;
mod profiles;
mod session;
mod settings;
mod usm;

use std::collections::BTreeSet;
use std::time::Duration;

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Filter, Judge, Value};
use monchero_core::metric::MAX_METRICS;
use monchero_core::report::MAX_MEMORY;
use monchero_core::{CheckError, Invalid, Metric, Report, Secret, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use snmp2::Version;

use self::object::ObjectId;
use self::plan::{Counters, OwnField, Plan, Raw, Reading, Row};
use self::profiles::{FIELDS, Profile};
use self::session::{Access, Agent, Trouble};
use self::settings::{Objects, TableSettings};
use self::usm::{Keys, User};
use crate::counters::APART;
use crate::net::{Address, Deadline, Failure, Family, resolve};

/// What an SNMP agent says: of a UPS, a power strip, the ports of a switch, sensors, a host, or whatever objects are named.
///
/// One of `profile`, `get`, `table` and `walk` says what is asked for. Profiles know what the numbers of a sort of device mean, in which
/// unit they are, and which of them are bad:
///
/// - `ups`, `apc-ups`: on battery or bypass: warning; off, battery low, depleted, broken or missing, self test failed, no communication: bad; `charge` below 50% and 20%, `load` above 90% and 100%, `temperature` above 50: warning; each alarm that is present: warning, the grave ones bad; a battery that must be replaced: warning
/// - `apc-pdu`: near overload, a sensor above high or below low: warning; overload, above maximum or below minimum, a sensor that was lost: bad
/// - `raritan-pdu`: states of its sensors: `above upper warning` .. : warning; `above upper critical`, `alarmed`, `fault`, a tripped breaker .. : bad
/// - `sentry-pdu`: `low warning`, `high warning`, `over limit`, `no communication` .. : warning; `low alarm`, `high alarm`, `overload`, `breaker tripped`, `fuse blown`, `lost` .. : bad
/// - `interfaces`: a port that is down though it is enabled: bad; usage above 80% and 95%; more than one error a second: warning
/// - `host`: file systems above 80% and 90%; processors above 90%: warning
/// - `sensors`: a sensor that failed: bad, that is unavailable: warning
///
/// An agent that does not answer is unknown: that says nothing about what it watches. Agents keep silent to a wrong community too. A user
/// or password of version 3 that the agent refuses is unknown at once and named. An object in `get` that the agent does not have is bad.
/// Counters become rates by comparing with the last run, whether they have 32 or 64 bits; an agent that started anew gives none for
/// one run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snmp {
    /// The host that the agent runs on, and the port (UDP) if it is not the usual one, 161: `ups.example.org`, `10.0.0.1:1161`.
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// The version: `1`, `2c` or `3`. Version 1 has no 64-bit counters. Default: `3` with `v3`, else `2c`.
    version: Option<ProtocolVersion>,
    /// The community, for versions 1 and 2c. Default: `public`.
    community: Option<Secret>,
    /// The user, for version 3.
    v3: Option<User>,
    /// How long one request is waited for. Default: `2s`.
    #[serde(default = "two_seconds", with = "monchero_core::duration::text")]
    #[schemars(with = "String")]
    request_timeout: Duration,
    /// How often a request is repeated that is not answered, `0` to `10`. Default: `2`.
    #[serde(default = "two")]
    retries: u8,
    /// What sort of device it is: its objects are known.
    profile: Option<Profile>,
    /// Single objects: a map from the names that they shall have to what they are, either the object (`1.3.6.1.2.1.1.3.0`) or a map of
    /// `oid`, `unit`, `scale`, `values`, `rate` and `text`.
    get: Option<Objects>,
    /// A table of objects, of which each row is an item.
    table: Option<TableSettings>,
    /// All objects below this one, each an item with the field `value`.
    walk: Option<ObjectId>,
    /// Which items are looked at, by name or by any of their fields: `[uplink*, { alias: "core *" }]`. Default: all.
    #[serde(default)]
    only: Filter,
    /// Which items are left out, written as `only` is.
    #[serde(default)]
    except: Filter,
    /// When it is a warning: a map of ranges or texts by field, or one for the first field of the profile. Numbers are in the unit of
    /// the field, after `scale`.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is.
    #[serde(default)]
    bad: Thresholds,
    /// What is asked for: made by `validate`.
    #[serde(skip)]
    plan: Plan,
    /// The fields for which the user wrote a limit: made by `validate`.
    #[serde(skip)]
    named: BTreeSet<String>,
    /// What was learnt about the agent by earlier runs.
    #[serde(skip)]
    keys: Keys,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum ProtocolVersion {
    /// Version 1.
    #[serde(rename = "1")]
    One,
    /// Version 2 with communities.
    #[serde(rename = "2c", alias = "2")]
    Two,
    /// Version 3.
    #[serde(rename = "3")]
    Three,
}

/// The port that IANA gave to it.
const PORT: u16 = 161;

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn two() -> u8 {
    2
}

impl CheckKind for Snmp {
    const NAME: &'static str = "snmp";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str =
        "{ address: ups.example.org, community: { env: UPS_COMMUNITY }, profile: ups, bad: { runtime: \"< 5m\" } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.validate_access()?;
        if self.request_timeout.is_zero() || self.request_timeout > Duration::from_secs(60) {
            return Err(Invalid::at("request_timeout", "a request is waited for from 1ms to 60s"));
        }
        if self.retries > 10 {
            return Err(Invalid::at("retries", "a request is repeated at most 10 times"));
        }
        self.plan = self.make_plan()?;
        let fields: Vec<Field<'_>> = self.plan.fields.iter().map(OwnField::field).collect();
        self.only.validate("only", &fields)?;
        self.except.validate("except", &fields)?;
        self.named = order::tree(self.warning.names().chain(self.bad.names()).map(str::to_owned));
        let limits = self.profile.map_or(&[][..], Profile::limits);
        Thresholds::settle(&mut self.warning, &mut self.bad, &fields, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let peer = &self.address.peer(PORT);
        let deadline = Deadline::of(context);
        let found = resolve(peer, self.family, deadline).await;
        let found = found.map_err(|(Failure::Bad(why) | Failure::Unable(why))| CheckError::Unable(why))?;
        // The one that the system prefers: nothing tells at once that an address does not answer.
        let Some(address) = found.first().copied() else {
            return Err(CheckError::Unable(format!("{peer} has no address")));
        };
        let mut agent = Agent {
            peer,
            address,
            access: self.access(),
            deadline,
            patience: self.request_timeout,
            retries: self.retries,
            session: None,
            objects: 0,
        };
        match self.look(&mut agent, context).await {
            Ok(report) => Ok(report),
            Err(trouble) => Err(CheckError::Unable(agent.explain(trouble))),
        }
    }
}

impl Snmp {
    fn validate_access(&self) -> Result<(), Invalid> {
        match (&self.v3, self.version) {
            (Some(_), Some(ProtocolVersion::One | ProtocolVersion::Two)) => {
                return Err(Invalid::at("version", "`v3` is for version 3"));
            }
            (None, Some(ProtocolVersion::Three)) => {
                return Err(Invalid::at("version", "version 3 needs a user: see `v3`"));
            }
            (Some(_), _) if self.community.is_some() => {
                return Err(Invalid::at("community", "version 3 has users (`v3`) instead of communities"));
            }
            _ => {}
        }
        self.v3.as_ref().map_or(Ok(()), User::validate)
    }

    fn access(&self) -> Access<'_> {
        static PUBLIC: std::sync::LazyLock<Secret> = std::sync::LazyLock::new(|| Secret::new("public".to_owned()));
        let version = if self.version == Some(ProtocolVersion::One) { Version::V1 } else { Version::V2C };
        match &self.v3 {
            Some(user) => Access::User(user, &self.keys),
            None => Access::Community(version, self.community.as_ref().unwrap_or(&PUBLIC)),
        }
    }

    fn make_plan(&self) -> Result<Plan, Invalid> {
        match (self.profile, &self.get, &self.table, &self.walk) {
            (Some(profile), None, None, None) => profile.plan().map_err(|why| Invalid::at("profile", why)),
            (None, Some(objects), None, None) => objects.plan(),
            (None, None, Some(table), None) => table.plan(),
            (None, None, None, Some(root)) => Ok(settings::walk(root)),
            _ => Err(Invalid::at(
                "profile",
                "exactly one of `profile`, `get`, `table` and `walk` says what is asked for",
            )),
        }
    }

    async fn look(&self, agent: &mut Agent<'_>, context: &Context<'_>) -> Result<Report, Trouble> {
        let mut before: Option<Counters> = context.recall();
        let mut raw = self.plan.read(agent).await?;
        if before.is_none() && self.plan.has_rates() && agent.deadline.left() > 2 * APART {
            before = self.plan.counters(&raw);
            tokio::time::sleep(APART).await;
            agent.objects = 0;
            raw = self.plan.read(agent).await?;
        }
        let items = self.plan.items(&raw, before.as_ref());
        let mut report = self.report(context, &raw, &items);
        let counters = self.plan.counters(&raw);
        // What grew since a run that was but just now, is left to the next one.
        let is_new = |counters: &Counters| before.as_ref().is_none_or(|before| !counters.is_at_once_with(before));
        if let Some(counters) = counters.filter(is_new) {
            // What is too large to be remembered, is read twice in each run.
            let text = serde_json::to_string(&counters).ok().filter(|text| text.len() <= MAX_MEMORY);
            report.memory = Some(text.unwrap_or_else(|| "null".to_owned()).into_boxed_str());
        }
        Ok(report)
    }

    fn report(&self, context: &Context<'_>, raw: &Raw, items: &[(String, Row)]) -> Report {
        let mut report = context.report();
        let fields: Vec<Field<'_>> = self.plan.fields.iter().map(OwnField::field).collect();
        let judge = Judge::new(&fields, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for (name, row) in items {
            let values = self.plan.fields.iter().filter_map(|field| {
                let value = match row.values.get(&field.name)? {
                    Reading::Number(number) => Value::Number(*number),
                    Reading::Text(text) => Value::Text(text),
                };
                Some((field.name.as_str(), value))
            });
            judge.item(&mut report, name, &values.collect::<Vec<_>>(), || self.plan.summary(row));
        }
        let has = |name: &str| items.iter().any(|(_, row)| row.values.contains_key(name));
        if let Some(objects) = &self.get {
            for (name, id) in objects.ids() {
                if self.plan.is_absent(raw, name) {
                    report.find(State::Bad, format!("{name}: the agent has no object {id}"));
                } else if !has(name) && !self.is_rate(name) {
                    report.find(State::Bad, format!("{name}: what the agent says of {id} is no number"));
                }
            }
        } else {
            for name in self.named.iter().filter(|name| !items.is_empty() && !has(name) && !self.is_rate(name)) {
                // What is not there now, such as an alarm, may well be missing.
                if name != "alarm" {
                    report.find(State::Unknown, format!("the agent says no {name}, for which there is a limit"));
                }
            }
        }
        judge.end(&mut report, &self.plan.sort);
        if items.is_empty() && self.get.is_none() {
            report.findings.clear();
            let what = self.profile.map_or("such objects", |_| "objects of this profile");
            report.find(
                State::Unknown,
                format!("the agent has no {what}, or does not show them to this community or user"),
            );
        }
        if report.metrics.len() > MAX_METRICS {
            let rank = |metric: &Metric| {
                fields
                    .iter()
                    .position(|field| metric.label.rsplit(' ').next() == Some(field.name))
                    .unwrap_or(fields.len())
            };
            order::sort_by_key(&mut report.metrics, rank);
        }
        report
    }

    /// Whether a field comes of comparing counters, so that it may be missing for once.
    fn is_rate(&self, name: &str) -> bool {
        let columns = || self.plan.tables.iter().flat_map(|table| &table.columns);
        columns().any(|column| column.is_rate() && (column.name == name || self.profile == Some(Profile::Interfaces)))
    }
}
