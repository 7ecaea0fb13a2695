//! `monchero once --explain`: every item that a run saw, with all that is known of it and what alerts.

use std::fmt::Write as _;

use monchero_core::items::{Explained, Tally};
use monchero_core::order;
use monchero_core::report::CheckResult;
use serde_json::{Value as Json, json};

use super::screen::{self, Screen};
use super::table::{Cell, Column, Narrow, Table};
use crate::reference;

/// How wide a text for reading is where the terminal does not say.
const PAGE: usize = 80;
/// What stands between columns.
const GAP: usize = 2;
/// What is left for the last column at least.
const LAST: usize = 20;

/// What a run said and saw.
#[derive(Debug)]
pub(super) struct Explanation {
    /// What came of it.
    pub(super) result: CheckResult,
    /// The check's kind.
    pub(super) kind: &'static str,
    /// What it saw.
    pub(super) items: Tally,
}

/// All of it for a person.
pub(super) fn page(screen: &Screen, explanations: &[Explanation]) -> String {
    explanations.iter().map(|one| block(screen, one)).collect::<Vec<_>>().join("\n")
}

fn block(screen: &Screen, explanation: &Explanation) -> String {
    let Explanation { result: CheckResult { check, result, .. }, kind, items } = explanation;
    let state = screen.paint(result.state.as_str(), screen::style(result.state.into()));
    let mut out = format!("{}  {kind}  {state}\n", screen::line(check.as_str()));
    let width = screen.width.unwrap_or(PAGE);
    for line in wrapped(&screen::line(&result.message), width.saturating_sub(GAP)) {
        let _ = writeln!(out, "  {line}");
    }
    for line in screen::block(&result.output).lines() {
        let _ = writeln!(out, "  {line}");
    }
    if items.fields.is_empty() {
        out.push_str("\nit looks at no items\n");
        return out;
    }
    let _ = write!(out, "\n{}\n{}", fields(screen, &items.fields, width), seen(screen, items));
    let listed = items.seen.as_ref().map_or(0, Vec::len);
    let _ = write!(out, "\n{} judged, {} left out by `only` and `except`", items.kept, items.left_out);
    if listed < items.kept + items.left_out {
        let _ = write!(out, "; the first {listed} are shown");
    }
    out.push('\n');
    out
}

/// What each field means, and when it alerts.
fn fields(screen: &Screen, fields: &[Explained], width: usize) -> String {
    let mut table = Table::new([
        Column::new("FIELD"),
        Column::new("UNIT"),
        Column::narrow("WARNING", Narrow::Shrinks),
        Column::narrow("BAD", Narrow::Shrinks),
        Column::new("MEANING"),
    ]);
    let limit = |limit: &Option<String>| limit.clone().unwrap_or_else(|| "-".to_owned());
    let unit = |field: &Explained| reference::unit_name(field.unit.as_deref());
    let widest = |title: &str, texts: &mut dyn Iterator<Item = String>| {
        texts.map(|text| super::table::width(&text)).chain([title.len()]).max().unwrap_or(0) + GAP
    };
    let used = widest("FIELD", &mut fields.iter().map(|field| field.name.clone()))
        + widest("UNIT", &mut fields.iter().map(unit))
        + widest("WARNING", &mut fields.iter().map(|field| limit(&field.warning)))
        + widest("BAD", &mut fields.iter().map(|field| limit(&field.bad)));
    for field in fields {
        let mut help = wrapped(&field.help, width.saturating_sub(used).max(LAST)).into_iter();
        table.push([
            Cell::made(field.name.clone()),
            Cell::made(unit(field)),
            Cell::made(limit(&field.warning)),
            Cell::made(limit(&field.bad)),
            Cell::made(help.next().unwrap_or_default()),
        ]);
        for line in help {
            table.push([Cell::new(""), Cell::new(""), Cell::new(""), Cell::new(""), Cell::made(line)]);
        }
    }
    table.render(screen)
}

/// Every item with every value. Each value has a line of its own, so that none is cut whatever there is.
fn seen(screen: &Screen, items: &Tally) -> String {
    let mut table = Table::new([
        Column::narrow("ITEM", Narrow::Shrinks),
        Column::new(""),
        Column::new("FIELD"),
        Column::new("VALUE"),
    ]);
    for item in items.seen.iter().flatten() {
        let name = if item.name.is_empty() { "-" } else { &item.name };
        let mut first = [Cell::made(name.to_owned()), Cell::new(if item.kept { "" } else { "left out" })];
        if item.values.is_empty() {
            let [name, mark] = first;
            table.push([name, mark, Cell::new(""), Cell::new("")]);
            continue;
        }
        for (field, value) in &item.values {
            let [name, mark] = std::mem::replace(&mut first, [Cell::new(""), Cell::new("")]);
            let cells = [name, mark, Cell::made(field.clone()), Cell::made(value.clone())];
            table.push(cells);
        }
    }
    table.render(screen)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    reference::wrap_text(text, width).lines().map(str::to_owned).collect()
}

/// All of it for programs.
pub(super) fn json(host: &str, explanations: &[Explanation]) -> Json {
    let field = |field: &Explained| json!({ "name": field.name, "unit": field.unit, "help": field.help, "warning": field.warning, "bad": field.bad });
    let one = |explanation: &Explanation| {
        let Explanation { result, kind, items } = explanation;
        let seen = items.seen.iter().flatten().map(|item| {
            let values: serde_json::Map<String, Json> =
                order::tree(item.values.iter().map(|(field, value)| (field.clone(), value.as_str().into())));
            json!({ "name": item.name, "kept": item.kept, "values": values })
        });
        json!({
            "name": result.check.as_str(),
            "kind": kind,
            "state": result.result.state.as_str(),
            "message": &*result.result.message,
            "fields": items.fields.iter().map(field).collect::<Vec<_>>(),
            "items": seen.collect::<Vec<_>>(),
            "judged": items.kept,
            "left_out": items.left_out,
        })
    };
    json!({ "host": host, "checks": explanations.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use monchero_core::items::{Field, Judge, Value};
    use monchero_core::{Name, Report, State, Thresholds};

    use super::*;
    use crate::cli::status::tests::screen;

    const FIELDS: &[Field<'static>] = &[
        Field::number(
            "used",
            "%",
            "The share in use, of what ordinary users can use: as `df` counts, which leaves out what is reserved.",
        ),
        Field::text("type", "The type of the file system."),
    ];

    fn explanation() -> Explanation {
        let warning: Thresholds = serde_json::from_str("\"> 80%\"").unwrap();
        let only = serde_json::from_str("\"/*\"").unwrap();
        let (bad, except) = (Thresholds::default(), serde_json::from_str("\"/tmp\"").unwrap());
        let mut report = Report::default();
        report.items.seen = Some(Vec::new());
        let judge = Judge::new(FIELDS, &warning, &bad).filtered(&only, &except);
        for (name, used, kind) in [("/", 93.0, "ext4"), ("/tmp", 5.0, "tmp\u{1b}fs")] {
            let values = [("used", Value::Number(used)), ("type", Value::Text(kind))];
            judge.item(&mut report, name, &values, || "fine".to_owned());
        }
        let items = std::mem::take(&mut report.items);
        let now = Timestamp::UNIX_EPOCH;
        let result = CheckResult::new(Name::new("root"), now, Duration::ZERO, Ok(report), State::Unknown).unwrap();
        Explanation { result, kind: "disk", items }
    }

    #[test]
    fn items_are_shown_with_all_that_is_known() {
        let expected = "\
root  disk  warning
  / used is 93%, above 80% (fine)

FIELD  UNIT     WARNING  BAD  MEANING
used   percent  > 80%    -    The share in use, of what ordinary users can use:
                              as `df` counts, which leaves out what is reserved.
type   text     -        -    The type of the file system.

ITEM            FIELD  VALUE
/               used   93%
                type   ext4
/tmp  left out  used   5%
                type   tmp\\efs

1 judged, 1 left out by `only` and `except`
";
        assert_eq!(page(&screen(Some(80)), &[explanation()]), expected);
        let none = Explanation { items: Tally::default(), ..explanation() };
        assert!(page(&screen(None), &[none]).ends_with("\nit looks at no items\n"));
        let json = json("here", &[explanation()]);
        assert_eq!(json["checks"][0]["fields"][0]["warning"], "> 80%");
        assert_eq!(
            json["checks"][0]["items"][1],
            json!({ "name": "/tmp", "kept": false, "values": { "used": "5%", "type": "tmp\\efs" } })
        );
    }
}
