//! Power strips of Server Technology: the newer ones (Sentry4-MIB), and the older ones (Sentry3-MIB).

use super::Read::{Number, Text, Unless, Words};
use super::{Data, Group, Limit, Read, Row, Rows};

/// `DeviceStatus` of Sentry4-MIB.
const STATUS: Read = Words(&[
    (0, "normal"),
    (1, "disabled"),
    (2, "purged"),
    (5, "reading"),
    (6, "settling"),
    (7, "not found"),
    (8, "lost"),
    (9, "read error"),
    (10, "no communication"),
    (11, "power error"),
    (12, "breaker tripped"),
    (13, "fuse blown"),
    (14, "low alarm"),
    (15, "low warning"),
    (16, "high warning"),
    (17, "high alarm"),
    (18, "alarm"),
    (19, "under limit"),
    (20, "over limit"),
    (21, "memory failed"),
    (22, "profile error"),
    (23, "conflict"),
]);
/// `DeviceState` of Sentry4-MIB.
const STATE: Read = Words(&[(0, "unknown"), (1, "on"), (2, "off")]);

/// `infeedStatus` and `outletStatus` of Sentry3-MIB.
const SWITCHED: Read = Words(&[
    (0, "off"),
    (1, "on"),
    (2, "will be off"),
    (3, "will be on"),
    (4, "off by error"),
    (5, "on by error"),
    (6, "no communication"),
    (7, "reading"),
    (8, "fuse blown, off"),
    (9, "fuse blown, on"),
]);
/// `infeedLoadStatus` and `outletLoadStatus` of Sentry3-MIB.
const LOAD: Read = Words(&[
    (0, "normal"),
    (1, "not on"),
    (2, "reading"),
    (3, "low warning"),
    (4, "high warning"),
    (5, "overload"),
    (6, "read error"),
    (7, "no communication"),
]);

pub(super) const DATA: Data = Data {
    sort: "part of a power strip",
    fields: &[
        "status",
        "power",
        "current",
        "load",
        "voltage",
        "energy",
        "apparent_power",
        "power_factor",
        "frequency",
        "switch",
        "temperature",
        "humidity",
    ],
    limits: &[Limit {
        field: "status",
        warning: "low warning|high warning|under limit|over limit|read error|no communication|not found|profile error|conflict",
        bad: "low alarm|high alarm|alarm|overload|breaker tripped|fuse blown|power error|lost|memory failed|on by error|off by error",
    }],
    groups: &[
        Group {
            prefix: "cord",
            rows: Rows::Each,
            names: &["_name", "_id"],
            columns: &[
                ("_id", "1.3.6.1.4.1.1718.4.1.3.2.1.2", Text),
                ("_name", "1.3.6.1.4.1.1718.4.1.3.2.1.3", Text),
                ("status", "1.3.6.1.4.1.1718.4.1.3.3.1.2", STATUS),
                ("power", "1.3.6.1.4.1.1718.4.1.3.3.1.3", Unless(-1, 1.0)),
                ("_power_status", "1.3.6.1.4.1.1718.4.1.3.3.1.4", STATUS),
                ("apparent_power", "1.3.6.1.4.1.1718.4.1.3.3.1.5", Unless(-1, 1.0)),
                ("power_factor", "1.3.6.1.4.1.1718.4.1.3.3.1.8", Unless(-1, 0.01)),
                ("_factor_status", "1.3.6.1.4.1.1718.4.1.3.3.1.9", STATUS),
                ("energy", "1.3.6.1.4.1.1718.4.1.3.3.1.10", Unless(-1, 0.1)),
                ("frequency", "1.3.6.1.4.1.1718.4.1.3.3.1.11", Unless(-1, 0.1)),
                ("_balance_status", "1.3.6.1.4.1.1718.4.1.3.3.1.13", STATUS),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "line",
            rows: Rows::Each,
            names: &["_id"],
            columns: &[
                ("_id", "1.3.6.1.4.1.1718.4.1.4.2.1.2", Text),
                ("status", "1.3.6.1.4.1.1718.4.1.4.3.1.2", STATUS),
                ("current", "1.3.6.1.4.1.1718.4.1.4.3.1.3", Unless(-1, 0.01)),
                ("_current_status", "1.3.6.1.4.1.1718.4.1.4.3.1.4", STATUS),
                ("load", "1.3.6.1.4.1.1718.4.1.4.3.1.5", Unless(-1, 0.1)),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "phase",
            rows: Rows::Each,
            names: &["_id"],
            columns: &[
                ("_id", "1.3.6.1.4.1.1718.4.1.5.2.1.2", Text),
                ("status", "1.3.6.1.4.1.1718.4.1.5.3.1.2", STATUS),
                ("voltage", "1.3.6.1.4.1.1718.4.1.5.3.1.3", Unless(-1, 0.1)),
                ("_voltage_status", "1.3.6.1.4.1.1718.4.1.5.3.1.4", STATUS),
                ("apparent_power", "1.3.6.1.4.1.1718.4.1.5.3.1.9", Unless(-1, 1.0)),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "branch",
            rows: Rows::Each,
            names: &["_id"],
            columns: &[
                ("_id", "1.3.6.1.4.1.1718.4.1.7.2.1.2", Text),
                ("status", "1.3.6.1.4.1.1718.4.1.7.3.1.2", STATUS),
                ("current", "1.3.6.1.4.1.1718.4.1.7.3.1.3", Unless(-1, 0.01)),
                ("_current_status", "1.3.6.1.4.1.1718.4.1.7.3.1.4", STATUS),
                ("load", "1.3.6.1.4.1.1718.4.1.7.3.1.5", Unless(-1, 0.1)),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "outlet",
            rows: Rows::Each,
            names: &["_name", "_id"],
            columns: &[
                ("_id", "1.3.6.1.4.1.1718.4.1.8.2.1.2", Text),
                ("_name", "1.3.6.1.4.1.1718.4.1.8.2.1.3", Text),
                ("switch", "1.3.6.1.4.1.1718.4.1.8.3.1.1", STATE),
                ("status", "1.3.6.1.4.1.1718.4.1.8.3.1.2", STATUS),
                ("current", "1.3.6.1.4.1.1718.4.1.8.3.1.3", Unless(-1, 0.01)),
                ("_current_status", "1.3.6.1.4.1.1718.4.1.8.3.1.4", STATUS),
                ("load", "1.3.6.1.4.1.1718.4.1.8.3.1.5", Unless(-1, 0.1)),
                ("voltage", "1.3.6.1.4.1.1718.4.1.8.3.1.6", Unless(-1, 0.1)),
                ("power", "1.3.6.1.4.1.1718.4.1.8.3.1.7", Unless(-1, 1.0)),
                ("_power_status", "1.3.6.1.4.1.1718.4.1.8.3.1.8", STATUS),
                ("apparent_power", "1.3.6.1.4.1.1718.4.1.8.3.1.9", Unless(-1, 1.0)),
                ("power_factor", "1.3.6.1.4.1.1718.4.1.8.3.1.10", Unless(-1, 0.01)),
                // In watt hours.
                ("energy", "1.3.6.1.4.1.1718.4.1.8.3.1.14", Unless(-1, 0.001)),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "humidity",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.1718.4.1.10.2.1.3", Text),
                ("humidity", "1.3.6.1.4.1.1718.4.1.10.3.1.1", Unless(-1, 1.0)),
                ("status", "1.3.6.1.4.1.1718.4.1.10.3.1.2", STATUS),
            ],
            derive: Some(part),
        },
        Group {
            prefix: "infeed",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.1718.3.2.2.1.3", Text),
                ("_switched", "1.3.6.1.4.1.1718.3.2.2.1.5", SWITCHED),
                ("status", "1.3.6.1.4.1.1718.3.2.2.1.6", LOAD),
                ("current", "1.3.6.1.4.1.1718.3.2.2.1.7", Unless(-1, 0.01)),
                ("_capacity", "1.3.6.1.4.1.1718.3.2.2.1.10", Unless(-1, 1.0)),
                ("voltage", "1.3.6.1.4.1.1718.3.2.2.1.11", Unless(-1, 0.1)),
                ("power", "1.3.6.1.4.1.1718.3.2.2.1.12", Unless(-1, 1.0)),
                ("energy", "1.3.6.1.4.1.1718.3.2.2.1.16", Unless(-1, 0.1)),
            ],
            derive: Some(older),
        },
        Group {
            prefix: "outlet",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.1718.3.2.3.1.3", Text),
                ("_switched", "1.3.6.1.4.1.1718.3.2.3.1.5", SWITCHED),
                ("current", "1.3.6.1.4.1.1718.3.2.3.1.7", Unless(-1, 0.01)),
                ("power", "1.3.6.1.4.1.1718.3.2.3.1.14", Unless(-1, 1.0)),
                ("energy", "1.3.6.1.4.1.1718.3.2.3.1.18", Unless(-1, 0.001)),
            ],
            derive: Some(older),
        },
        Group {
            prefix: "sensor",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.1718.3.2.5.1.3", Text),
                ("temperature", "1.3.6.1.4.1.1718.3.2.5.1.6", Unless(-1, 0.1)),
                ("humidity", "1.3.6.1.4.1.1718.3.2.5.1.10", Unless(-1, 1.0)),
                ("_scale", "1.3.6.1.4.1.1718.3.2.5.1.13", Number(1.0)),
            ],
            derive: Some(in_celsius),
        },
    ],
};

/// A part has one status, and one for each thing that is measured: the first that says something stands for all.
fn part(row: &mut Row) {
    let is_calm = |status: &str| matches!(status, "normal" | "reading" | "settling" | "disabled");
    if row.text("status").is_some_and(|status| !is_calm(status)) {
        return;
    }
    let others = ["_current_status", "_power_status", "_voltage_status", "_factor_status", "_balance_status"];
    let worse = others.iter().filter_map(|name| row.text(name)).find(|status| !is_calm(status)).map(str::to_owned);
    if let Some(worse) = worse {
        row.set_text("status", &worse);
    }
}

/// The older ones say with the switch what is wrong with it, and how much an infeed can carry.
fn older(row: &mut Row) {
    match row.text("_switched").map(str::to_owned).as_deref() {
        Some(switch @ ("on" | "off")) => row.set_text("switch", switch),
        Some("fuse blown, on" | "fuse blown, off") => row.set_text("status", "fuse blown"),
        Some(wrong @ ("on by error" | "off by error" | "no communication")) => row.set_text("status", wrong),
        _ => {}
    }
    if let (Some(current), Some(capacity)) = (row.number("current"), row.number("_capacity"))
        && capacity > 0.0
    {
        row.set_number("load", current / capacity * 100.0);
    }
}

/// Each sensor has a scale: 0 is Celsius, 1 is Fahrenheit.
fn in_celsius(row: &mut Row) {
    if let (Some(degrees), Some(scale)) = (row.number("temperature"), row.number("_scale"))
        && scale > 0.5
    {
        row.set_number("temperature", (degrees - 32.0) / 1.8);
    }
}
