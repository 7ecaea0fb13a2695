//! UPSes of APC (PowerNet-MIB).

use super::Read::{Number, Text, Unless, Words};
use super::{Data, Group, Limit, Row, Rows};

pub(super) const DATA: Data = Data {
    sort: "UPS",
    fields: &[
        "source",
        "battery",
        "charge",
        "runtime",
        "load",
        "on_battery",
        "power",
        "apparent_power",
        "voltage",
        "current",
        "frequency",
        "energy",
        "battery_voltage",
        "temperature",
        "humidity",
        "status",
        "test",
        "replace",
        "model",
    ],
    limits: &[
        Limit {
            field: "source",
            warning: "on battery|software bypass|switched bypass|static bypass standby|hardware failure bypass|emergency static bypass|rebooting|unknown",
            bad: "off|timed sleeping|sleeping until power returns",
        },
        Limit { field: "battery", warning: "", bad: "low|fault|missing" },
        Limit { field: "charge", warning: "< 50%", bad: "< 20%" },
        Limit { field: "load", warning: "> 90%", bad: "> 100%" },
        Limit { field: "temperature", warning: "> 50", bad: "" },
        Limit { field: "status", warning: "warning", bad: "critical|no communication" },
        Limit { field: "test", warning: "", bad: "error" },
        Limit { field: "replace", warning: "yes", bad: "" },
    ],
    groups: &[
        Group {
            prefix: "",
            rows: Rows::Single,
            names: &[],
            columns: &[
                ("model", "1.3.6.1.4.1.318.1.1.1.1.1.1.0", Text),
                (
                    "battery",
                    "1.3.6.1.4.1.318.1.1.1.2.1.1.0",
                    Words(&[(1, "unknown"), (2, "normal"), (3, "low"), (4, "fault"), (5, "missing")]),
                ),
                ("on_battery", "1.3.6.1.4.1.318.1.1.1.2.1.2.0", Number(1.0)),
                ("charge", "1.3.6.1.4.1.318.1.1.1.2.2.1.0", Number(1.0)),
                ("temperature", "1.3.6.1.4.1.318.1.1.1.2.2.2.0", Number(1.0)),
                ("runtime", "1.3.6.1.4.1.318.1.1.1.2.2.3.0", Number(1.0)),
                ("replace", "1.3.6.1.4.1.318.1.1.1.2.2.4.0", Words(&[(1, "no"), (2, "yes")])),
                ("battery_voltage", "1.3.6.1.4.1.318.1.1.1.2.2.8.0", Unless(-1, 1.0)),
                ("_battery_voltage", "1.3.6.1.4.1.318.1.1.1.2.3.4.0", Unless(-1, 0.1)),
                (
                    "source",
                    "1.3.6.1.4.1.318.1.1.1.4.1.1.0",
                    Words(&[
                        (1, "unknown"),
                        (2, "on line"),
                        (3, "on battery"),
                        (4, "boosting"),
                        (5, "timed sleeping"),
                        (6, "software bypass"),
                        (7, "off"),
                        (8, "rebooting"),
                        (9, "switched bypass"),
                        (10, "hardware failure bypass"),
                        (11, "sleeping until power returns"),
                        (12, "trimming"),
                        (13, "economy"),
                        (14, "hot standby"),
                        (15, "battery test"),
                        (16, "emergency static bypass"),
                        (17, "static bypass standby"),
                        (18, "power saving"),
                        (19, "spot mode"),
                        (20, "e conversion"),
                        (21, "charger spot mode"),
                        (22, "inverter spot mode"),
                        (23, "active load"),
                        (24, "battery discharge spot mode"),
                        (25, "inverter standby"),
                        (26, "charger only"),
                        (27, "distributed energy reserve"),
                        (28, "self test"),
                    ]),
                ),
                (
                    "test",
                    "1.3.6.1.4.1.318.1.1.1.7.2.3.0",
                    Words(&[(1, "passed"), (2, "error"), (3, "invalid"), (4, "in progress")]),
                ),
                ("status", "1.3.6.1.4.1.318.1.1.1.8.1.0", Words(&[(1, "ok"), (2, "no communication")])),
            ],
            derive: Some(precise),
        },
        Group {
            prefix: "input",
            rows: Rows::Single,
            names: &[],
            columns: &[
                ("voltage", "1.3.6.1.4.1.318.1.1.1.3.2.1.0", Unless(-1, 1.0)),
                ("frequency", "1.3.6.1.4.1.318.1.1.1.3.2.4.0", Unless(-1, 1.0)),
                ("_voltage", "1.3.6.1.4.1.318.1.1.1.3.3.1.0", Unless(-1, 0.1)),
                ("_frequency", "1.3.6.1.4.1.318.1.1.1.3.3.4.0", Unless(-1, 0.1)),
            ],
            derive: Some(precise),
        },
        Group {
            prefix: "output",
            rows: Rows::Single,
            names: &[],
            columns: &[
                ("voltage", "1.3.6.1.4.1.318.1.1.1.4.2.1.0", Unless(-1, 1.0)),
                ("frequency", "1.3.6.1.4.1.318.1.1.1.4.2.2.0", Unless(-1, 1.0)),
                ("load", "1.3.6.1.4.1.318.1.1.1.4.2.3.0", Unless(-1, 1.0)),
                ("current", "1.3.6.1.4.1.318.1.1.1.4.2.4.0", Unless(-1, 1.0)),
                ("power", "1.3.6.1.4.1.318.1.1.1.4.2.8.0", Unless(-1, 1.0)),
                ("apparent_power", "1.3.6.1.4.1.318.1.1.1.4.2.9.0", Unless(-1, 1.0)),
                ("_voltage", "1.3.6.1.4.1.318.1.1.1.4.3.1.0", Unless(-1, 0.1)),
                ("_frequency", "1.3.6.1.4.1.318.1.1.1.4.3.2.0", Unless(-1, 0.1)),
                ("_load", "1.3.6.1.4.1.318.1.1.1.4.3.3.0", Unless(-1, 0.1)),
                ("_current", "1.3.6.1.4.1.318.1.1.1.4.3.4.0", Unless(-1, 0.1)),
                ("energy", "1.3.6.1.4.1.318.1.1.1.4.3.6.0", Unless(-1, 0.01)),
            ],
            derive: Some(precise),
        },
        Group {
            prefix: "probe",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.318.1.1.25.1.2.1.3", Text),
                ("temperature", "1.3.6.1.4.1.318.1.1.25.1.2.1.6", Unless(-1, 1.0)),
                ("humidity", "1.3.6.1.4.1.318.1.1.25.1.2.1.7", Unless(-1, 1.0)),
                ("_status", "1.3.6.1.4.1.318.1.1.25.1.2.1.9", Words(&[(1, "ok"), (2, "warning"), (3, "critical")])),
                ("_connected", "1.3.6.1.4.1.318.1.1.25.1.2.1.10", Number(1.0)),
            ],
            derive: Some(probe),
        },
    ],
};

/// Cards that measure in tenths are believed rather than those that do not.
fn precise(row: &mut Row) {
    for name in ["voltage", "frequency", "load", "current", "battery_voltage"] {
        if let Some(number) = row.number(&format!("_{name}")) {
            row.set_number(name, number);
        }
    }
}

/// What is plugged in, shows nothing as long as it cannot be read.
fn probe(row: &mut Row) {
    const NOT_INSTALLED: f64 = 1.0;
    let is_there = row.number("_connected").is_none_or(|state| state > NOT_INSTALLED);
    if !is_there {
        row.values.retain(|name, _| name.starts_with('_'));
    } else if let Some(status) = row.text("_status").map(str::to_owned) {
        row.set_text("status", &status);
    }
}
