//! A host (HOST-RESOURCES-MIB, RFC 2790).

use super::Read::{Number, Text};
use super::{Data, Group, Limit, Row, Rows};

/// `hrStorageTypes`, from 1.
const TYPES: [&str; 10] = [
    "other",
    "memory",
    "virtual memory",
    "fixed disk",
    "removable disk",
    "floppy disk",
    "compact disc",
    "ram disk",
    "flash memory",
    "network disk",
];

pub(super) const DATA: Data = Data {
    sort: "storage",
    fields: &["used", "free", "size", "memory", "type", "load", "uptime", "processes", "users"],
    limits: &[
        Limit { field: "used", warning: "> 80%", bad: "> 90%" },
        Limit { field: "load", warning: "> 90%", bad: "" },
    ],
    groups: &[
        Group {
            prefix: "",
            rows: Rows::Single,
            names: &[],
            columns: &[
                ("uptime", "1.3.6.1.2.1.25.1.1.0", Number(1.0)),
                ("users", "1.3.6.1.2.1.25.1.5.0", Number(1.0)),
                ("processes", "1.3.6.1.2.1.25.1.6.0", Number(1.0)),
            ],
            derive: None,
        },
        Group {
            prefix: "processors",
            rows: Rows::Mean,
            names: &[],
            columns: &[("load", "1.3.6.1.2.1.25.3.3.1.2", Number(1.0))],
            derive: None,
        },
        Group {
            prefix: "",
            rows: Rows::Each,
            names: &["_descr"],
            columns: &[
                ("_type", "1.3.6.1.2.1.25.2.3.1.2", Text),
                ("_descr", "1.3.6.1.2.1.25.2.3.1.3", Text),
                ("_unit", "1.3.6.1.2.1.25.2.3.1.4", Number(1.0)),
                ("_size", "1.3.6.1.2.1.25.2.3.1.5", Number(1.0)),
                ("_used", "1.3.6.1.2.1.25.2.3.1.6", Number(1.0)),
            ],
            derive: Some(storage),
        },
    ],
};

/// Blocks become bytes. What is neither disk nor memory, such as a cache, has no share that could alert.
fn storage(row: &mut Row) {
    let number = row.text("_type").and_then(|id| id.rsplit('.').next()).and_then(|last| last.parse::<usize>().ok());
    let kind = number.and_then(|number| TYPES.get(number.checked_sub(1)?)).copied().unwrap_or("other");
    let (Some(unit), Some(size), Some(used)) = (row.number("_unit"), row.number("_size"), row.number("_used")) else {
        return;
    };
    if size <= 0.0 {
        return;
    }
    row.set_text("type", kind);
    row.set_number("size", size * unit);
    row.set_number("free", (size - used) * unit);
    match kind {
        "other" => {}
        "memory" | "virtual memory" => row.set_number("memory", used / size * 100.0),
        _ => row.set_number("used", used / size * 100.0),
    }
}
