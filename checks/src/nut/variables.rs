//! What the variables of NUT are: numbers in which unit, or texts.

use monchero_core::items::Field;

/// The variables that most UPSes have, and what is derived of them; the main one first.
pub(super) const FIELDS: &[Field<'static>] = &[
    Field::number("battery.charge", "%", "What is left in the battery."),
    Field::number("battery.runtime", "s", "For how long the battery carries the present load."),
    Field::number("ups.load", "%", "The load, as a share of what the UPS can carry."),
    Field::number(
        "watts",
        "W",
        "The real power: `ups.realpower`, else `ups.load` of `ups.realpower.nominal` or of `ups.power.nominal` (that is an upper estimate).",
    ),
    Field::number("on_battery", "s", "For how long the UPS has been seen on battery; 0 on line power."),
    Field::text("ups.status", "The status words, with blanks between them: `OL CHRG`, `OB DISCHRG LB`."),
    Field::number("ups.temperature", "C", "The temperature of the UPS."),
    Field::number("input.voltage", "V", "The voltage that comes in."),
    Field::number("output.voltage", "V", "The voltage that goes out."),
    Field::number("input.frequency", "Hz", "The frequency that comes in."),
    Field::number("output.frequency", "Hz", "The frequency that goes out."),
    Field::number("input.current", "A", "The current that comes in."),
    Field::number("output.current", "A", "The current that goes out."),
    Field::number("battery.voltage", "V", "The voltage of the battery."),
    Field::number("battery.temperature", "C", "The temperature of the battery."),
    Field::number("ambient.temperature", "C", "The temperature of the room, if there is a sensor."),
    Field::number("ambient.humidity", "%", "The humidity of the room, if there is a sensor."),
    Field::number("ups.realpower", "W", "The real power that is drawn."),
    Field::number("ups.power", "VA", "The apparent power that is drawn."),
    Field::text("ups.alarm", "What the UPS raises an alarm about."),
    Field::text(
        "ups.test.result",
        "How the last self test ended: `Done and passed` ..; each driver has its own words.",
    ),
    Field::text("ups.model", "The model."),
    Field::text("ups.mfr", "The manufacturer."),
    Field::text("ups.serial", "The serial number."),
    Field::text("ups.firmware", "The version of the firmware."),
    Field::text("device.type", "What it is: `ups`, `pdu`, `ats` .."),
];

/// The unit of what a name ends in, as NUT's naming scheme has them. What qualifies a quantity stands behind it (`nominal`, `low`,
/// `maximum`), so the last known word counts.
const QUANTITIES: &[(&str, &str)] = &[
    ("voltage", "V"),
    ("transfer", "V"),
    ("current", "A"),
    ("frequency", "Hz"),
    ("realpower", "W"),
    ("power", "VA"),
    ("temperature", "C"),
    ("humidity", "%"),
    ("load", "%"),
    ("charge", "%"),
    ("efficiency", "%"),
    ("runtime", "s"),
    ("delay", "s"),
    ("timer", "s"),
    ("capacity", "Ah"),
];

/// Words that make the value a text although it may look like a number: serial numbers, versions, dates.
const TEXTS: &[&str] = &[
    "serial",
    "firmware",
    "model",
    "mfr",
    "id",
    "date",
    "time",
    "type",
    "status",
    "alarm",
    "alarms",
    "result",
    "version",
    "desc",
    "description",
    "name",
    "productid",
    "vendorid",
    "macaddr",
    "part",
    "location",
    "contact",
    "sensitivity",
    "switch",
    "switchable",
    "state",
    "chemistry",
];

/// The field that a variable is. Of those that nobody has heard of, the value tells whether it is a number.
pub(super) fn field(name: &str) -> Field<'_> {
    if let Some(known) = FIELDS.iter().find(|field| field.name == name) {
        return *known;
    }
    let mut segments = name.rsplit('.');
    let is_text = name.starts_with("driver.") || segments.clone().any(|segment| TEXTS.contains(&segment));
    let unit = segments.find_map(|segment| QUANTITIES.iter().find(|(word, _)| *word == segment)).map(|(_, unit)| *unit);
    match unit {
        Some(unit) if !is_text => Field::number(name, unit, ""),
        _ => Field::text(name, ""),
    }
}

/// The value of a variable as a number, if it is meant as one.
pub(super) fn number(name: &str, value: &str) -> Option<f64> {
    let is_text = || name.starts_with("driver.") || name.rsplit('.').any(|segment| TEXTS.contains(&segment));
    let value = value.trim();
    // Rust reads `inf` and `nan` as well, which are no measurements.
    let looks_so = value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if !looks_so || is_text() { None } else { value.parse().ok().filter(|number: &f64| number.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_units() {
        for (name, unit) in [
            ("input.L1-N.voltage", Some("V")),
            ("input.transfer.low", Some("V")),
            ("input.transfer.delay", Some("s")),
            ("battery.charge.low", Some("%")),
            ("ups.delay.shutdown", Some("s")),
            ("outlet.1.realpower", Some("W")),
            ("ups.power.nominal", Some("VA")),
            ("battery.mfr.date", None),
            ("driver.version", None),
            ("ups.test.date", None),
            ("vendor.gauge", None),
        ] {
            assert_eq!(field(name).unit, unit, "{name}");
        }
    }

    #[test]
    fn only_measurements_are_numbers() {
        assert_eq!(number("battery.charge", " 97.5 "), Some(97.5));
        assert_eq!(number("ups.temperature", "-3"), Some(-3.0));
        assert_eq!(number("vendor.gauge", "7"), Some(7.0));
        for (name, value) in [
            ("ups.serial", "000123"),
            ("driver.version", "2.8"),
            ("battery.runtime", "N/A"),
            ("battery.charge", "nan"),
            ("battery.charge", "1e999"),
            ("battery.charge", ""),
        ] {
            assert_eq!(number(name, value), None, "{name} {value}");
        }
    }
}
