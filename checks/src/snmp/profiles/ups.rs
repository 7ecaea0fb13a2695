//! The standard MIB of UPSes (RFC 1628).

use super::Read::{Number, Text, Words};
use super::{Data, Group, Limit, Row, Rows};

/// What one more name than this is, is an alarm that the standard knows.
const ALARMS: &str = "1.3.6.1.2.1.33.1.6.3.";

/// The alarms of the standard, from 1.
const NAMES: [&str; 24] = [
    "battery bad",
    "on battery",
    "low battery",
    "depleted battery",
    "temperature bad",
    "input bad",
    "output bad",
    "output overload",
    "on bypass",
    "bypass bad",
    "output off as requested",
    "off as requested",
    "charger failed",
    "output off",
    "system off",
    "fan failure",
    "fuse failure",
    "general fault",
    "diagnostic test failed",
    "communications lost",
    "awaiting power",
    "shutdown pending",
    "shutdown imminent",
    "test in progress",
];

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
        "voltage",
        "current",
        "frequency",
        "battery_voltage",
        "battery_current",
        "temperature",
        "test",
        "alarms",
        "alarm",
        "model",
    ],
    limits: &[
        Limit { field: "source", warning: "battery|bypass|other", bad: "none" },
        Limit { field: "battery", warning: "", bad: "low|depleted" },
        Limit { field: "charge", warning: "< 50%", bad: "< 20%" },
        Limit { field: "load", warning: "> 90%", bad: "> 100%" },
        Limit { field: "temperature", warning: "> 50", bad: "" },
        Limit { field: "test", warning: "warning", bad: "error" },
        Limit {
            field: "alarm",
            warning: "!test in progress",
            bad: "battery bad|low battery|depleted battery|output bad|output overload|charger failed|fuse failure|general fault|shutdown imminent",
        },
    ],
    groups: &[
        Group {
            prefix: "",
            rows: Rows::Single,
            names: &[],
            columns: &[
                ("model", "1.3.6.1.2.1.33.1.1.2.0", Text),
                (
                    "battery",
                    "1.3.6.1.2.1.33.1.2.1.0",
                    Words(&[(1, "unknown"), (2, "normal"), (3, "low"), (4, "depleted")]),
                ),
                ("on_battery", "1.3.6.1.2.1.33.1.2.2.0", Number(1.0)),
                ("runtime", "1.3.6.1.2.1.33.1.2.3.0", Number(60.0)),
                ("charge", "1.3.6.1.2.1.33.1.2.4.0", Number(1.0)),
                ("battery_voltage", "1.3.6.1.2.1.33.1.2.5.0", Number(0.1)),
                ("battery_current", "1.3.6.1.2.1.33.1.2.6.0", Number(0.1)),
                ("temperature", "1.3.6.1.2.1.33.1.2.7.0", Number(1.0)),
                (
                    "source",
                    "1.3.6.1.2.1.33.1.4.1.0",
                    Words(&[
                        (1, "other"),
                        (2, "none"),
                        (3, "normal"),
                        (4, "bypass"),
                        (5, "battery"),
                        (6, "booster"),
                        (7, "reducer"),
                    ]),
                ),
                ("frequency", "1.3.6.1.2.1.33.1.4.2.0", Number(0.1)),
                ("alarms", "1.3.6.1.2.1.33.1.6.1.0", Number(1.0)),
                (
                    "test",
                    "1.3.6.1.2.1.33.1.7.3.0",
                    Words(&[
                        (1, "passed"),
                        (2, "warning"),
                        (3, "error"),
                        (4, "aborted"),
                        (5, "in progress"),
                        (6, "none"),
                    ]),
                ),
            ],
            derive: None,
        },
        Group {
            prefix: "input",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("frequency", "1.3.6.1.2.1.33.1.3.3.1.2", Number(0.1)),
                ("voltage", "1.3.6.1.2.1.33.1.3.3.1.3", Number(1.0)),
                ("current", "1.3.6.1.2.1.33.1.3.3.1.4", Number(0.1)),
                ("power", "1.3.6.1.2.1.33.1.3.3.1.5", Number(1.0)),
            ],
            derive: None,
        },
        Group {
            prefix: "output",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("voltage", "1.3.6.1.2.1.33.1.4.4.1.2", Number(1.0)),
                ("current", "1.3.6.1.2.1.33.1.4.4.1.3", Number(0.1)),
                ("power", "1.3.6.1.2.1.33.1.4.4.1.4", Number(1.0)),
                ("load", "1.3.6.1.2.1.33.1.4.4.1.5", Number(1.0)),
            ],
            derive: None,
        },
        Group {
            prefix: "bypass",
            rows: Rows::Single,
            names: &[],
            columns: &[("frequency", "1.3.6.1.2.1.33.1.5.1.0", Number(0.1))],
            derive: None,
        },
        Group {
            prefix: "bypass",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("voltage", "1.3.6.1.2.1.33.1.5.3.1.2", Number(1.0)),
                ("current", "1.3.6.1.2.1.33.1.5.3.1.3", Number(0.1)),
                ("power", "1.3.6.1.2.1.33.1.5.3.1.4", Number(1.0)),
            ],
            derive: None,
        },
        Group {
            prefix: "alarm",
            rows: Rows::Each,
            names: &[],
            columns: &[("alarm", "1.3.6.1.2.1.33.1.6.2.1.2", Text)],
            derive: Some(name_alarm),
        },
    ],
};

/// Says an alarm by its name; a maker's own stays the number that it is.
fn name_alarm(row: &mut Row) {
    let number =
        row.text("alarm").and_then(|id| id.strip_prefix(ALARMS)).and_then(|number| number.parse::<usize>().ok());
    if let Some(name) = number.and_then(|number| NAMES.get(number.checked_sub(1)?)) {
        row.set_text("alarm", name);
    }
}
