//! Power strips of APC (PowerNet-MIB): the newer ones (rPDU2), and the load of the older ones (rPDU).

use super::Read::{Number, Text, Unless, Words};
use super::{Data, Group, Limit, Read, Row, Rows};

/// `rPDU2..LoadState`.
const LOAD: Read = Words(&[(1, "low"), (2, "normal"), (3, "near overload"), (4, "overload"), (5, "not supported")]);

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
        "switch",
        "temperature",
        "humidity",
    ],
    limits: &[Limit {
        field: "status",
        warning: "near overload|below low|above high",
        bad: "overload|below minimum|above maximum|lost",
    }],
    groups: &[
        Group {
            prefix: "",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.318.1.1.26.4.3.1.3", Text),
                ("status", "1.3.6.1.4.1.318.1.1.26.4.3.1.4", LOAD),
                ("power", "1.3.6.1.4.1.318.1.1.26.4.3.1.5", Unless(-1, 10.0)),
                ("energy", "1.3.6.1.4.1.318.1.1.26.4.3.1.9", Unless(-1, 0.1)),
                ("apparent_power", "1.3.6.1.4.1.318.1.1.26.4.3.1.16", Unless(-1, 10.0)),
                ("power_factor", "1.3.6.1.4.1.318.1.1.26.4.3.1.17", Unless(-1, 0.01)),
            ],
            derive: None,
        },
        Group {
            prefix: "phase",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("status", "1.3.6.1.4.1.318.1.1.26.6.3.1.4", LOAD),
                ("current", "1.3.6.1.4.1.318.1.1.26.6.3.1.5", Unless(-1, 0.1)),
                ("voltage", "1.3.6.1.4.1.318.1.1.26.6.3.1.6", Unless(-1, 1.0)),
                ("power", "1.3.6.1.4.1.318.1.1.26.6.3.1.7", Unless(-1, 10.0)),
            ],
            derive: None,
        },
        Group {
            prefix: "bank",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("status", "1.3.6.1.4.1.318.1.1.26.8.3.1.4", LOAD),
                ("current", "1.3.6.1.4.1.318.1.1.26.8.3.1.5", Unless(-1, 0.1)),
            ],
            derive: None,
        },
        Group {
            prefix: "outlet",
            rows: Rows::Each,
            names: &["_name", "_metered"],
            columns: &[
                ("_name", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.3", Text),
                ("switch", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5", Words(&[(1, "off"), (2, "on")])),
                ("_metered", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.3", Text),
                ("current", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.6", Unless(-1, 0.1)),
                ("power", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7", Unless(-1, 1.0)),
                ("energy", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.11", Unless(-1, 0.1)),
            ],
            derive: None,
        },
        Group {
            prefix: "sensor",
            rows: Rows::Each,
            names: &["_name"],
            columns: &[
                ("_name", "1.3.6.1.4.1.318.1.1.26.10.2.2.1.3", Text),
                ("_connected", "1.3.6.1.4.1.318.1.1.26.10.2.2.1.6", Number(1.0)),
                ("temperature", "1.3.6.1.4.1.318.1.1.26.10.2.2.1.8", Unless(-1, 0.1)),
                (
                    "status",
                    "1.3.6.1.4.1.318.1.1.26.10.2.2.1.9",
                    Words(&[
                        (1, "not present"),
                        (2, "below minimum"),
                        (3, "below low"),
                        (4, "normal"),
                        (5, "above high"),
                        (6, "above maximum"),
                    ]),
                ),
                ("humidity", "1.3.6.1.4.1.318.1.1.26.10.2.2.1.10", Unless(-1, 1.0)),
            ],
            derive: Some(sensor),
        },
        Group {
            prefix: "load",
            rows: Rows::Each,
            names: &[],
            columns: &[
                ("current", "1.3.6.1.4.1.318.1.1.12.2.3.1.1.2", Unless(-1, 0.1)),
                (
                    "status",
                    "1.3.6.1.4.1.318.1.1.12.2.3.1.1.3",
                    Words(&[(1, "normal"), (2, "low"), (3, "near overload"), (4, "overload")]),
                ),
            ],
            derive: None,
        },
    ],
};

/// A socket without a sensor is nothing, and one whose sensor was lost says no values.
fn sensor(row: &mut Row) {
    let connected = row.number("_connected");
    if connected.is_some_and(|state| state < 1.5) {
        row.values.clear();
    } else if connected.is_some_and(|state| state > 2.5) {
        row.values.retain(|name, _| name.starts_with('_'));
        row.set_text("status", "lost");
    }
}
