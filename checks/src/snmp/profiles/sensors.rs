//! The sensors of any device (ENTITY-SENSOR-MIB, RFC 3433), by the names of ENTITY-MIB.

use super::Read::{Number, Text, Words};
use super::{Data, Group, Limit, Row, Rows};

/// `EntitySensorDataType`: a number, the field and what it is.
const TYPES: [(f64, &str, &str); 9] = [
    (3.0, "voltage", "voltage AC"),
    (4.0, "voltage", "voltage DC"),
    (5.0, "current", "current"),
    (6.0, "power", "power"),
    (7.0, "frequency", "frequency"),
    (8.0, "temperature", "temperature"),
    (9.0, "humidity", "humidity"),
    (10.0, "speed_rpm", "fan"),
    (11.0, "air_flow", "air flow"),
];

pub(super) const DATA: Data = Data {
    sort: "sensor",
    fields: &[
        "status",
        "temperature",
        "humidity",
        "speed_rpm",
        "voltage",
        "current",
        "power",
        "frequency",
        "air_flow",
        "type",
    ],
    limits: &[Limit { field: "status", warning: "unavailable", bad: "failed" }],
    groups: &[Group {
        prefix: "",
        rows: Rows::Each,
        names: &["_name", "_descr"],
        columns: &[
            ("_type", "1.3.6.1.2.1.99.1.1.1.1", Number(1.0)),
            ("_scale", "1.3.6.1.2.1.99.1.1.1.2", Number(1.0)),
            ("_precision", "1.3.6.1.2.1.99.1.1.1.3", Number(1.0)),
            ("_value", "1.3.6.1.2.1.99.1.1.1.4", Number(1.0)),
            ("status", "1.3.6.1.2.1.99.1.1.1.5", Words(&[(1, "ok"), (2, "unavailable"), (3, "failed")])),
            ("_descr", "1.3.6.1.2.1.47.1.1.1.1.2", Text),
            ("_name", "1.3.6.1.2.1.47.1.1.1.1.7", Text),
        ],
        derive: Some(sensor),
    }],
};

/// The scale is a power of a thousand of which 9 means 1, the precision the number of decimal digits. What cannot be read has no value.
fn sensor(row: &mut Row) {
    let kind = row.number("_type");
    let Some((_, field, says)) = TYPES.iter().find(|(number, ..)| kind == Some(*number)) else { return };
    row.set_text("type", says);
    if row.text("status").is_some_and(|status| status != "ok") {
        return;
    }
    if let Some(value) = row.number("_value") {
        let scale = row.number("_scale").unwrap_or(9.0).clamp(1.0, 17.0);
        let precision = row.number("_precision").unwrap_or(0.0).clamp(-8.0, 9.0).max(0.0);
        row.set_number(field, value * 10_f64.powf(3.0 * (scale - 9.0) - precision));
    }
}
