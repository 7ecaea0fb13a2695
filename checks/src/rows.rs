//! What the answer of a database to a query means: rows become items, columns become their fields.

use std::collections::BTreeMap;

use monchero_core::items::{Field, Judge, Value};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::{CheckError, Filter, Invalid, Report, State, Thresholds, order};

use crate::settings::excerpt;

/// How many rows are looked at: each may have metrics.
pub(crate) const MAX_ROWS: usize = 200;

/// How many columns are looked at.
pub(crate) const MAX_COLUMNS: usize = 50;

/// How long a query may be, in bytes.
const MAX_QUERY: usize = 64 * 1024;

/// How many columns of a row are shown when nothing is wrong with it.
const MAX_SHOWN: usize = 4;

/// An answer as texts; none is NULL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// Whether there were more than [`MAX_ROWS`].
    pub(crate) is_cut: bool,
}

/// A row by the names of its columns, without those that are NULL.
pub(crate) type Record = BTreeMap<String, String>;

/// What is asked of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) unit: &'a str,
    pub(crate) only: &'a Filter,
    pub(crate) except: &'a Filter,
    pub(crate) warning: &'a Thresholds,
    pub(crate) bad: &'a Thresholds,
}

/// Whether the settings that are about a query belong together. The names of columns are known only when the answer is there.
pub(crate) fn validate(query: Option<&str>, asked: Asked<'_>) -> Result<(), Invalid> {
    if !["", "s", "B", "%"].contains(&asked.unit) {
        return Err(Invalid::at("unit", format!("`{}` is none of `s`, `B` and `%`", asked.unit)));
    }
    match query {
        Some(query) if query.trim().is_empty() || query.len() > MAX_QUERY => {
            Err(Invalid::at("query", format!("a query has 1 to {MAX_QUERY} bytes")))
        }
        Some(_) => Ok(()),
        None => {
            let lone =
                [("unit", asked.unit.is_empty()), ("only", asked.only.is_empty()), ("except", asked.except.is_empty())];
            match lone.iter().find(|(_, is_empty)| !is_empty) {
                Some((setting, _)) => {
                    Err(Invalid::at(*setting, format!("`{setting}` is about the rows of a `query`, and there is none")))
                }
                None => Ok(()),
            }
        }
    }
}

/// Names that fields of rows cannot have, because the answer as a whole has them.
const TAKEN: [&str; 3] = ["name", "rows", "time"];

/// Names for the columns that are not empty and tell them apart.
fn names(columns: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in columns.iter().take(MAX_COLUMNS) {
        let wanted = match column.trim() {
            "" | "?column?" => "value".to_owned(),
            other => excerpt(other),
        };
        let is_free = |name: &String| !TAKEN.contains(&name.as_str()) && !names.contains(name);
        let numbered = (2..).map(|number| format!("{wanted}_{number}"));
        names.extend(std::iter::once(wanted.clone()).chain(numbered).find(is_free));
    }
    names
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

impl Table {
    /// The first row.
    pub(crate) fn record(self) -> Record {
        let row = self.rows.into_iter().next().unwrap_or_default();
        order::tree(self.columns.into_iter().zip(row).filter_map(|(name, value)| Some((name, value?))))
    }

    /// Whether the first column is the name of the row. It is if there are others and it holds no number, or if there are several rows.
    fn has_names(&self) -> bool {
        let first = self.rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        self.columns.len() > 1 && (self.rows.len() > 1 || first.is_some_and(|first| number(first).is_none()))
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut values = self.rows.iter().filter_map(|row| row.get(column)?.as_deref()).peekable();
        values.peek().is_some() && values.all(|value| number(value).is_some())
    }

    /// Judges the rows and the answer as a whole.
    pub(crate) fn judge(&self, report: &mut Report, asked: Asked<'_>, time: f64) -> Result<(), CheckError> {
        let names = names(&self.columns);
        let has_names = self.has_names();
        let first = usize::from(has_names);
        let field = |(column, name)| match (self.is_numeric(column) || self.rows.is_empty(), column == first) {
            (true, true) => Field::number(name, asked.unit, ""),
            (true, false) => Field::number(name, "", ""),
            (false, _) => Field::text(name, ""),
        };
        let mut fields: Vec<Field<'_>> = names.iter().map(String::as_str).enumerate().skip(first).map(field).collect();
        fields.extend([Field::number("rows", "", ""), Field::number("time", "s", "")]);
        asked.check(&fields)?;
        let whole = [("rows", Value::Number(self.rows.len() as f64)), ("time", Value::Number(time))];
        let took = || human(time, &Unit::SECONDS);
        let judge = Judge::new(&fields, asked.warning, asked.bad);
        if self.is_cut {
            report.find(
                State::Warning,
                format!("the answer has more than {MAX_ROWS} rows: those behind are not looked at"),
            );
        }
        match self.rows.as_slice() {
            [] => {
                judge.item(report, "", &whole, || format!("no row in {}", took()));
                let is_judged =
                    [asked.warning, asked.bad].iter().any(|limits| limits.names().any(|name| name == "rows"));
                if !is_judged {
                    report.find(State::Unknown, "the query answers no row: set a limit for `rows` if that may be");
                }
            }
            [row] if !has_names => {
                let mut values = values(&fields, row);
                null(report, "", &fields, row);
                let shown = shown(&fields, &values);
                values.extend(whole);
                judge.item(report, "", &values, || format!("{shown} in {}", took()));
            }
            rows => {
                let judge_rows = judge.filtered(asked.only, asked.except);
                for row in rows {
                    let (name, rest) =
                        row.split_first().map_or((None, row.as_slice()), |(name, rest)| (name.as_deref(), rest));
                    let name = excerpt(name.unwrap_or("NULL"));
                    let values = values(&fields, rest);
                    if judge_rows.item(report, &name, &values, || shown(&fields, &values)) {
                        null(report, &name, &fields, rest);
                    }
                }
                judge_rows.end(report, "row");
                judge.item(report, "", &whole, || format!("{} rows in {}", rows.len(), took()));
            }
        }
        Ok(())
    }
}

impl Asked<'_> {
    /// Whether the settings name columns of the answer.
    fn check(self, fields: &[Field<'_>]) -> Result<(), CheckError> {
        let checks = [
            self.warning.validate("warning", fields),
            self.bad.validate("bad", fields),
            self.only.validate("only", fields),
            self.except.validate("except", fields),
        ];
        let wrong = checks.into_iter().find_map(Result::err);
        wrong.map_or(Ok(()), |Invalid { path, why }| Err(CheckError::Unable(format!("`{path}`: {why}"))))
    }
}

/// The values of a row that are there, in the order of the fields.
fn values<'a>(fields: &'a [Field<'a>], row: &'a [Option<String>]) -> Vec<(&'a str, Value<'a>)> {
    let value = |(field, text): (&'a Field<'a>, &'a Option<String>)| {
        let text = text.as_deref()?;
        let value = if field.unit.is_some() { Value::Number(number(text)?) } else { Value::Text(text) };
        Some((field.name, value))
    };
    fields.iter().zip(row).filter_map(value).collect()
}

/// That there is nothing to compare with a limit is not okay.
fn null(report: &mut Report, name: &str, fields: &[Field<'_>], row: &[Option<String>]) {
    if let (Some(field), Some(None)) = (fields.first(), row.first()) {
        let place = if name.is_empty() { String::new() } else { format!("{name}: ") };
        report.find(State::Unknown, format!("{place}{} is NULL", field.name));
    }
}

fn shown(fields: &[Field<'_>], values: &[(&str, Value<'_>)]) -> String {
    let texts = values.iter().take(MAX_SHOWN).map(|(name, value)| {
        let unit = fields.iter().find(|field| field.name == *name).and_then(|field| field.unit).unwrap_or_default();
        match value {
            Value::Number(number) if unit.is_empty() => format!("{name} {}", trim(*number)),
            Value::Number(number) => format!("{name} {}", human(*number, &Unit::new(unit))),
            Value::Text(text) => format!("{name} {}", excerpt(text)),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use monchero_core::report::Finding;
    use proptest::prelude::*;
    use serde::Deserialize as _;

    use super::*;

    fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
        let value = |text: &&str| (*text != "NULL").then(|| (*text).to_owned());
        Table {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(value).collect()).collect(),
            is_cut: false,
        }
    }

    /// One condition for the main column, `column: condition`, or nothing.
    fn thresholds(text: &str) -> Thresholds {
        use serde::de::value::{Error, MapDeserializer, StrDeserializer};
        match text.split_once(": ") {
            None if text.is_empty() => Thresholds::default(),
            None => Thresholds::deserialize(StrDeserializer::<Error>::new(text)).unwrap(),
            Some(pair) => Thresholds::deserialize(MapDeserializer::<_, Error>::new([pair].into_iter())).unwrap(),
        }
    }

    fn judged(table: &Table, warning: &str, bad: &str) -> Result<Report, CheckError> {
        let (none, warning, bad) = (Filter::default(), thresholds(warning), thresholds(bad));
        let mut report = Report::default();
        let asked = Asked { unit: "s", only: &none, except: &none, warning: &warning, bad: &bad };
        table.judge(&mut report, asked, 0.001)?;
        Ok(report)
    }

    fn said(table: &Table, warning: &str, bad: &str) -> String {
        let report = judged(table, warning, bad).unwrap();
        let worst = report.worst();
        let texts = report.findings.into_iter().filter(|Finding { state, .. }| *state == worst);
        format!("{worst}: {}", texts.map(|finding| finding.text).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn a_value() {
        let one = table(&["?column?"], &[&["7"]]);
        assert_eq!(said(&one, "> 5s", "> 10s"), "warning: value is 7 s, above 5 s (value 7 s in 1 ms)");
        let two = table(&["age", "state"], &[&["7", "late"]]);
        assert_eq!(said(&two, "", "state: late"), "bad: state is late (age 7 s, state late in 1 ms)");
        let labels: Vec<_> = judged(&two, "", "").unwrap().metrics.into_iter().map(|metric| metric.label).collect();
        assert_eq!(labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["age", "rows", "time"]);
    }

    #[test]
    fn rows_with_names() {
        let rows = table(&["job", "age", "rows"], &[&["a", "1", "5"], &["b", "9", "6"]]);
        assert_eq!(said(&rows, "> 5s", ""), "warning: b age is 9 s, above 5 s (age 9 s, rows_2 6)");
        assert_eq!(said(&rows, "", "rows_2: > 5"), "bad: b rows_2 is 6, above 5 (age 9 s, rows_2 6)");
        assert_eq!(said(&rows, "", "rows: > 1"), "bad: rows is 2, above 1 (2 rows in 1 ms)");
        let one = table(&["job", "age"], &[&["a", "9"]]);
        assert_eq!(said(&one, "> 5s", ""), "warning: a age is 9 s, above 5 s (age 9 s)", "one row left has a name too");
    }

    #[test]
    fn nothing_to_judge_is_unknown() {
        let none = table(&["job", "age"], &[]);
        assert_eq!(said(&none, "", "> 5"), "unknown: the query answers no row: set a limit for `rows` if that may be");
        assert_eq!(said(&none, "", "rows: > 0"), "okay: no row in 1 ms");
        assert_eq!(said(&table(&["max"], &[&["NULL"]]), "", "> 5"), "unknown: max is NULL");
        let error = judged(&table(&["age"], &[&["1"]]), "agee: > 5", "").unwrap_err().to_string();
        assert!(error.starts_with("`warning.agee`: ") && error.contains("did you mean `age`?"), "{error}");
    }

    proptest! {
        #[test]
        fn any_answer_can_be_judged(
            columns in prop::collection::vec("[a-z?]{0,3}|name|time|rows", 0..5),
            rows in prop::collection::vec(prop::collection::vec(prop::option::of("[0-9a]{0,3}|NaN|inf"), 0..6), 0..4),
        ) {
            let answer = judged(&Table { columns, rows, is_cut: true }, "", "");
            prop_assert!(answer.is_ok());
        }
    }
}
