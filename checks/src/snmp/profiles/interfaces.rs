//! The ports of a device (IF-MIB, RFC 2863).

use super::Read::{Number, Rate, Text, Words};
use super::{Data, Group, Limit, Row, Rows};

pub(super) const DATA: Data = Data {
    sort: "port",
    fields: &[
        "status",
        "in",
        "out",
        "in_usage",
        "out_usage",
        "in_errors",
        "out_errors",
        "in_discards",
        "out_discards",
        "speed",
        "alias",
    ],
    limits: &[
        Limit { field: "status", warning: "not present", bad: "down|lower layer down" },
        Limit { field: "in_usage", warning: "> 80%", bad: "> 95%" },
        Limit { field: "out_usage", warning: "> 80%", bad: "> 95%" },
        Limit { field: "in_errors", warning: "> 1", bad: "" },
        Limit { field: "out_errors", warning: "> 1", bad: "" },
    ],
    groups: &[Group {
        prefix: "",
        rows: Rows::Each,
        names: &["_name", "_descr"],
        columns: &[
            ("_descr", "1.3.6.1.2.1.2.2.1.2", Text),
            ("_speed", "1.3.6.1.2.1.2.2.1.5", Number(1.0)),
            ("_admin", "1.3.6.1.2.1.2.2.1.7", Words(&[(1, "up"), (2, "disabled"), (3, "testing")])),
            (
                "_oper",
                "1.3.6.1.2.1.2.2.1.8",
                Words(&[
                    (1, "up"),
                    (2, "down"),
                    (3, "testing"),
                    (4, "unknown"),
                    (5, "dormant"),
                    (6, "not present"),
                    (7, "lower layer down"),
                ]),
            ),
            ("_in", "1.3.6.1.2.1.2.2.1.10", Rate(1.0)),
            ("in_discards", "1.3.6.1.2.1.2.2.1.13", Rate(1.0)),
            ("in_errors", "1.3.6.1.2.1.2.2.1.14", Rate(1.0)),
            ("_out", "1.3.6.1.2.1.2.2.1.16", Rate(1.0)),
            ("out_discards", "1.3.6.1.2.1.2.2.1.19", Rate(1.0)),
            ("out_errors", "1.3.6.1.2.1.2.2.1.20", Rate(1.0)),
            ("_name", "1.3.6.1.2.1.31.1.1.1.1", Text),
            ("in", "1.3.6.1.2.1.31.1.1.1.6", Rate(1.0)),
            ("out", "1.3.6.1.2.1.31.1.1.1.10", Rate(1.0)),
            // In millions.
            ("speed", "1.3.6.1.2.1.31.1.1.1.15", Number(1e6)),
            ("alias", "1.3.6.1.2.1.31.1.1.1.18", Text),
        ],
        derive: Some(port),
    }],
};

/// A port that somebody switched off is `disabled`; agents without 64-bit counters have those of 32 bits.
fn port(row: &mut Row) {
    let status = match (row.text("_admin"), row.text("_oper")) {
        (Some(admin @ ("disabled" | "testing")), _) => Some(admin.to_owned()),
        (_, oper) => oper.map(str::to_owned),
    };
    if let Some(status) = status {
        row.set_text("status", &status);
    }
    for (wide, narrow) in [("in", "_in"), ("out", "_out")] {
        if let (None, Some(rate)) = (row.number(wide), row.number(narrow)) {
            row.set_number(wide, rate);
        }
    }
    if let (None | Some(0.0), Some(speed)) = (row.number("speed"), row.number("_speed")) {
        row.set_number("speed", speed);
    }
    let Some(speed) = row.number("speed").filter(|speed| *speed > 0.0) else {
        row.values.remove("speed");
        return;
    };
    for (usage, rate) in [("in_usage", "in"), ("out_usage", "out")] {
        if let Some(rate) = row.number(rate) {
            row.set_number(usage, rate * 8.0 / speed * 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[(&str, &str)], numbers: &[(&str, f64)]) -> Row {
        let mut row = Row::default();
        for (name, text) in texts {
            row.set_text(name, text);
        }
        for (name, number) in numbers {
            row.set_number(name, *number);
        }
        port(&mut row);
        row
    }

    #[test]
    fn what_is_switched_off_is_not_down() {
        for (admin, oper, status) in [
            ("up", "up", "up"),
            ("up", "down", "down"),
            ("disabled", "down", "disabled"),
            ("testing", "up", "testing"),
            ("up", "lower layer down", "lower layer down"),
        ] {
            let row = read(&[("_admin", admin), ("_oper", oper)], &[]);
            assert_eq!(row.text("status"), Some(status), "{admin} {oper}");
        }
    }

    #[test]
    fn usage_is_a_share_of_the_speed() {
        let row = read(&[], &[("in", 12.5e6), ("_in", 1.0), ("_out", 62.5e6), ("speed", 1e9), ("_speed", 4e9)]);
        assert_eq!((row.number("in_usage"), row.number("out_usage")), (Some(10.0), Some(50.0)));
        let row = read(&[], &[("in", 12.5e6), ("speed", 0.0), ("_speed", 1e8)]);
        assert_eq!((row.number("in_usage"), row.number("speed")), (Some(100.0), Some(1e8)));
        let row = read(&[], &[("in", 12.5e6), ("speed", 0.0)]);
        assert_eq!((row.number("in_usage"), row.number("speed")), (None, None), "a tunnel has no speed");
    }
}
