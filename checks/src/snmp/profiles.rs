//! Devices that are known: a table of data for each.

mod apc_pdu;
mod apc_ups;
mod host;
mod interfaces;
mod raritan_pdu;
mod sensors;
mod sentry_pdu;
mod ups;

use monchero_core::items::{Field, Limit};
use schemars::JsonSchema;
use serde::Deserialize;

use super::object::ObjectId;
use super::plan::{Column, How, OwnField, Plan, Row, Rows, Table};

/// What is known about a sort of device.
struct Data {
    /// What its items are, in the singular.
    sort: &'static str,
    /// Its fields, the main one first; they are described in [`FIELDS`].
    fields: &'static [&'static str],
    limits: &'static [Limit],
    groups: &'static [Group],
}

/// A table of a MIB, or single objects.
struct Group {
    prefix: &'static str,
    rows: Rows,
    names: &'static [&'static str],
    columns: &'static [Object],
    derive: Option<fn(&mut Row)>,
}

/// A name, where it stands, and how it is read.
type Object = (&'static str, &'static str, Read);

/// As [`How`], but as data.
#[derive(Clone, Copy)]
enum Read {
    Number(f64),
    Unless(i64, f64),
    Text,
    Words(&'static [(i64, &'static str)]),
    Rate(f64),
}

/// A device that is known, or a MIB that many have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Profile {
    /// A UPS with the standard UPS-MIB (RFC 1628): battery, each phase of input, output and bypass, alarms, self test.
    Ups,
    /// A UPS of APC (PowerNet-MIB), with the probes of its card.
    ApcUps,
    /// A power strip of APC (PowerNet-MIB, rPDU and rPDU2): device, phases, banks, outlets, sensors.
    ApcPdu,
    /// A power strip of Raritan, or a newer one of Server Technology (PDU2-MIB): inlets, circuit breakers, outlets, sensors.
    RaritanPdu,
    /// A power strip of Server Technology (Sentry4-MIB and Sentry3-MIB): cords, lines, phases, branches, outlets, sensors.
    SentryPdu,
    /// The ports of a switch, router or host (IF-MIB): status, traffic, errors.
    Interfaces,
    /// A host (HOST-RESOURCES-MIB): file systems, memory, processors.
    Host,
    /// The sensors of any device (ENTITY-SENSOR-MIB).
    Sensors,
}

impl Profile {
    fn data(self) -> &'static Data {
        match self {
            Self::Ups => &ups::DATA,
            Self::ApcUps => &apc_ups::DATA,
            Self::ApcPdu => &apc_pdu::DATA,
            Self::RaritanPdu => &raritan_pdu::DATA,
            Self::SentryPdu => &sentry_pdu::DATA,
            Self::Interfaces => &interfaces::DATA,
            Self::Host => &host::DATA,
            Self::Sensors => &sensors::DATA,
        }
    }

    /// When it alerts as long as the user says nothing.
    pub(super) fn limits(self) -> &'static [Limit] {
        self.data().limits
    }

    /// What is asked for.
    pub(super) fn plan(self) -> Result<Plan, String> {
        let data = self.data();
        let own = |name: &&str| {
            let known =
                FIELDS.iter().find(|field| field.name == *name).ok_or_else(|| format!("`{name}` is not described"))?;
            Ok(OwnField { name: (*name).to_owned(), unit: known.unit.map(str::to_owned) })
        };
        let fields = data.fields.iter().map(own).collect::<Result<_, String>>()?;
        let tables = data.groups.iter().map(Group::table).collect::<Result<_, String>>()?;
        Ok(Plan { sort: data.sort.to_owned(), fields, tables })
    }
}

impl Group {
    fn table(&self) -> Result<Table, String> {
        let column = |(name, id, read): &Object| {
            let how = match read {
                Read::Number(scale) => How::Number(*scale),
                Read::Unless(none, scale) => How::Unless(*none, *scale),
                Read::Text => How::Text,
                Read::Words(words) => {
                    How::Words(words.iter().map(|(number, word)| (*number, (*word).to_owned())).collect())
                }
                Read::Rate(scale) => How::Rate(*scale),
            };
            Ok(Column { name: (*name).to_owned(), id: id.parse::<ObjectId>()?, how })
        };
        Ok(Table {
            prefix: self.prefix.to_owned(),
            rows: self.rows,
            names: self.names.iter().map(|name| (*name).to_owned()).collect(),
            columns: self.columns.iter().map(column).collect::<Result<_, String>>()?,
            derive: self.derive,
        })
    }
}

/// What profiles measure. One word means one thing, whoever made the device.
pub(super) const FIELDS: &[Field<'static>] = &[
    Field::text(
        "status",
        "How it is, in a word: `up`, `down`, `disabled` ... of a port; `normal`, `overload`, `near overload` .. of a power strip; `ok` .. of a sensor.",
    ),
    Field::text(
        "source",
        "Where a UPS takes its power from: `normal`, `battery`, `bypass`, `none` .., with APC `on line`, `on battery`, `off` ..",
    ),
    Field::text("battery", "How the battery is: `normal`, `low`, `depleted`, `fault`, `missing`, `unknown`."),
    Field::number("charge", "%", "What is left in the battery."),
    Field::number("runtime", "s", "For how long the battery carries the present load."),
    Field::number("on_battery", "s", "For how long a UPS has been on battery; 0 on line power."),
    Field::number(
        "load",
        "%",
        "The load, as a share of what can be carried; of a host, the mean load of its processors.",
    ),
    Field::number("power", "W", "The real power."),
    Field::number("apparent_power", "VA", "The apparent power."),
    Field::number("power_factor", "", "The real power as a share of the apparent power, from 0 to 1."),
    Field::number("energy", "kWh", "The energy that was metered so far."),
    Field::number("voltage", "V", "The voltage."),
    Field::number("current", "A", "The current."),
    Field::number("frequency", "Hz", "The frequency."),
    Field::number("battery_voltage", "V", "The voltage of the battery."),
    Field::number("battery_current", "A", "The current of the battery."),
    Field::number("temperature", "C", "The temperature."),
    Field::number("humidity", "%", "The relative humidity."),
    Field::number("alarms", "", "How many alarms a UPS raises."),
    Field::text(
        "alarm",
        "An alarm of a UPS, by its name: `on battery`, `battery bad`, `output overload` ..; each is an item of its own.",
    ),
    Field::text(
        "test",
        "How the last self test ended: `passed`, `warning`, `error`, `aborted`, `in progress`, `none`.",
    ),
    Field::text("replace", "Whether the battery must be replaced: `yes` or `no`."),
    Field::text("switch", "Whether an outlet is `on` or `off`."),
    Field::number("in", "B/s", "What a port receives."),
    Field::number("out", "B/s", "What a port sends."),
    Field::number("in_usage", "%", "What a port receives, as a share of its speed."),
    Field::number("out_usage", "%", "What a port sends, as a share of its speed."),
    Field::number("in_errors", "/s", "Broken packets that a port receives."),
    Field::number("out_errors", "/s", "Packets that a port could not send."),
    Field::number("in_discards", "/s", "Good packets that a port receives and throws away."),
    Field::number("out_discards", "/s", "Packets that a port throws away instead of sending them."),
    Field::number("speed", "bit/s", "The speed of a port."),
    Field::text("alias", "What the operator called a port."),
    Field::number("used", "%", "The share in use of a file system."),
    Field::number("free", "B", "What is free, of a file system or memory."),
    Field::number("size", "B", "The size, of a file system or memory."),
    Field::number("memory", "%", "The share in use of memory or swap; agents count caches as in use."),
    Field::number("uptime", "s", "For how long a host has been up."),
    Field::number("processes", "", "How many processes a host runs."),
    Field::number("users", "", "How many sessions a host has."),
    Field::number("speed_rpm", "rpm", "The speed of a fan."),
    Field::number("air_flow", "m3/min", "The flow of air."),
    Field::text("type", "What a sensor measures or a file system is: `temperature`, `fixed disk` .."),
    Field::text("model", "The model."),
];

#[cfg(test)]
mod tests {
    use monchero_core::Thresholds;

    use super::*;

    const ALL: [Profile; 8] = [
        Profile::Ups,
        Profile::ApcUps,
        Profile::ApcPdu,
        Profile::RaritanPdu,
        Profile::SentryPdu,
        Profile::Interfaces,
        Profile::Host,
        Profile::Sensors,
    ];

    #[test]
    fn every_profile_is_whole() {
        for profile in ALL {
            let plan = profile.plan().unwrap_or_else(|why| panic!("{profile:?}: {why}"));
            let fields: Vec<Field<'_>> = plan.fields.iter().map(OwnField::field).collect();
            for column in plan.tables.iter().flat_map(|table| &table.columns) {
                let is_known = column.name.starts_with('_') || fields.iter().any(|field| field.name == column.name);
                assert!(is_known, "{profile:?} reads `{}` and has no such field", column.name);
            }
            for table in &plan.tables {
                for name in &table.names {
                    assert!(table.columns.iter().any(|column| column.name == *name), "{profile:?}: no column `{name}`");
                }
            }
            let (mut warning, mut bad) = (Thresholds::default(), Thresholds::default());
            for limit in profile.limits() {
                assert!(fields.iter().any(|field| field.name == limit.field), "{profile:?} limits `{}`", limit.field);
            }
            Thresholds::settle(&mut warning, &mut bad, &fields, profile.limits()).unwrap();
            warning.validate("warning", &fields).unwrap();
            bad.validate("bad", &fields).unwrap();
        }
    }
}
