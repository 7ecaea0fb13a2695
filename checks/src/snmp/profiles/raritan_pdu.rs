//! Power strips of Raritan and Server Technology (PDU2-MIB). Each value is a sensor with a type, decimal digits and a state.

use super::Read::{Number, Text, Words};
use super::{Data, Group, Limit, Read, Row, Rows};

/// `SensorStateEnumeration`.
const STATE: Read = Words(&[
    (-1, "unavailable"),
    (0, "open"),
    (1, "closed"),
    (2, "below lower critical"),
    (3, "below lower warning"),
    (4, "normal"),
    (5, "above upper warning"),
    (6, "above upper critical"),
    (7, "on"),
    (8, "off"),
    (9, "detected"),
    (10, "not detected"),
    (11, "alarmed"),
    (12, "ok"),
    (13, "marginal"),
    (14, "fail"),
    (15, "yes"),
    (16, "no"),
    (17, "standby"),
    (18, "one"),
    (19, "two"),
    (20, "in sync"),
    (21, "out of sync"),
    (26, "fault"),
    (27, "warning"),
    (28, "critical"),
    (29, "self test"),
]);

/// `SensorTypeEnumeration`: a number, the field, and by how much its unit is to be multiplied.
const TYPES: [(u32, &str, f64); 11] = [
    (1, "current", 1.0),
    (4, "voltage", 1.0),
    (5, "power", 1.0),
    (6, "apparent_power", 1.0),
    (7, "power_factor", 1.0),
    // In watt hours.
    (8, "energy", 0.001),
    (10, "temperature", 1.0),
    (11, "humidity", 1.0),
    (21, "speed_rpm", 1.0),
    (23, "frequency", 1.0),
    (12, "air_flow", 1.0),
];
const ON_OFF: u32 = 14;
const TRIP: u32 = 15;

pub(super) const DATA: Data = Data {
    sort: "part of a power strip",
    fields: &[
        "status",
        "power",
        "current",
        "voltage",
        "energy",
        "apparent_power",
        "power_factor",
        "frequency",
        "switch",
        "temperature",
        "humidity",
        "speed_rpm",
        "air_flow",
    ],
    limits: &[Limit {
        field: "status",
        warning: "below lower warning|above upper warning|marginal|warning",
        bad: "below lower critical|above upper critical|alarmed|fail|fault|critical|tripped",
    }],
    groups: &[
        Group {
            prefix: "inlet",
            rows: Rows::Together(2),
            names: &["_name", "_label"],
            columns: &[
                ("_label", "1.3.6.1.4.1.13742.6.3.3.3.1.2", Text),
                ("_name", "1.3.6.1.4.1.13742.6.3.3.3.1.3", Text),
                ("_digits", "1.3.6.1.4.1.13742.6.3.3.4.1.7", Number(1.0)),
                ("_state", "1.3.6.1.4.1.13742.6.5.2.3.1.3", STATE),
                ("_value", "1.3.6.1.4.1.13742.6.5.2.3.1.4", Number(1.0)),
            ],
            derive: Some(sensor),
        },
        Group {
            prefix: "breaker",
            rows: Rows::Together(2),
            names: &["_name", "_label"],
            columns: &[
                ("_label", "1.3.6.1.4.1.13742.6.3.4.3.1.2", Text),
                ("_name", "1.3.6.1.4.1.13742.6.3.4.3.1.3", Text),
                ("_digits", "1.3.6.1.4.1.13742.6.3.4.4.1.7", Number(1.0)),
                ("_state", "1.3.6.1.4.1.13742.6.5.3.3.1.3", STATE),
                ("_value", "1.3.6.1.4.1.13742.6.5.3.3.1.4", Number(1.0)),
            ],
            derive: Some(sensor),
        },
        Group {
            prefix: "outlet",
            rows: Rows::Together(2),
            names: &["_name", "_label"],
            columns: &[
                ("_label", "1.3.6.1.4.1.13742.6.3.5.3.1.2", Text),
                ("_name", "1.3.6.1.4.1.13742.6.3.5.3.1.3", Text),
                ("_digits", "1.3.6.1.4.1.13742.6.3.5.4.1.7", Number(1.0)),
                ("_state", "1.3.6.1.4.1.13742.6.5.4.3.1.3", STATE),
                ("_value", "1.3.6.1.4.1.13742.6.5.4.3.1.4", Number(1.0)),
            ],
            derive: Some(sensor),
        },
        Group {
            prefix: "sensor",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_type", "1.3.6.1.4.1.13742.6.3.6.3.1.2", Number(1.0)),
                ("_name", "1.3.6.1.4.1.13742.6.3.6.3.1.4", Text),
                ("_digits", "1.3.6.1.4.1.13742.6.3.6.3.1.17", Number(1.0)),
                ("_state", "1.3.6.1.4.1.13742.6.5.5.3.1.3", STATE),
                ("_value", "1.3.6.1.4.1.13742.6.5.5.3.1.4", Number(1.0)),
            ],
            derive: Some(external),
        },
    ],
};

/// A sensor of an inlet, breaker or outlet: the last part of its index is its type.
fn sensor(row: &mut Row) {
    if let [.., kind] = *row.index
        && row.index.len() > 2
    {
        measured(row, kind);
    }
}

/// A sensor that is plugged in.
fn external(row: &mut Row) {
    let kind = row.number("_type");
    let known = TYPES.iter().map(|(number, ..)| *number).find(|number| kind == Some(f64::from(*number)));
    measured(row, known.unwrap_or(0));
}

fn measured(row: &mut Row, kind: u32) {
    let Some(state) = row.text("_state").map(str::to_owned) else { return };
    // What belongs to one entity comes together: only a state that says something may stand for all.
    match (kind, state.as_str()) {
        (_, "unavailable") => return,
        (ON_OFF, _) => row.set_text("switch", &state),
        (TRIP, "open") => row.set_text("status", "tripped"),
        (0, _) => row.set_text("status", &state),
        (_, "normal" | "closed" | "ok" | "on" | "off") => {}
        _ => row.set_text("status", &state),
    }
    let Some((_, field, scale)) = TYPES.iter().find(|(number, ..)| *number == kind) else { return };
    if let Some(value) = row.number("_value") {
        let digits = row.number("_digits").unwrap_or(0.0).clamp(0.0, 9.0);
        row.set_number(field, value / 10_f64.powf(digits) * scale);
    }
}
