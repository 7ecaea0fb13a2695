//! What is asked for and how it is read: made of the settings or of a profile, alike for both.

use std::collections::{BTreeMap, BTreeSet};

use monchero_core::items::Field;
use monchero_core::quantity::{Unit, human};
use serde::{Deserialize, Serialize};

use super::object::{Datum, ObjectId, dotted};
use super::session::{Agent, Trouble};

/// `sysUpTime`: how long the agent has counted.
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";

/// How many fields of an item its summary says.
const MAX_SUMMARY: usize = 5;

/// What one check asks for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What its items are, in the singular.
    pub(super) sort: String,
    /// All fields, the main one first.
    pub(super) fields: Vec<OwnField>,
    pub(super) tables: Vec<Table>,
}

/// A field, whoever named it.
#[derive(Debug, Clone)]
pub(super) struct OwnField {
    pub(super) name: String,
    /// None for a text, and for what may be either.
    pub(super) unit: Option<String>,
}

impl OwnField {
    pub(super) fn field(&self) -> Field<'_> {
        Field { name: &self.name, unit: self.unit.as_deref(), help: "" }
    }
}

/// Objects that belong together.
#[derive(Debug)]
pub(super) struct Table {
    /// What the names of its items begin with.
    pub(super) prefix: String,
    pub(super) rows: Rows,
    /// The columns whose text names a row, the first that has any; the index if there is none.
    pub(super) names: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// Makes fields of what was read. Values whose names begin with `_` are for it alone.
    pub(super) derive: Option<fn(&mut Row)>,
}

/// What the items of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Single objects: one item, named by the prefix.
    Single,
    /// One item for each row.
    Each,
    /// One item for rows whose indexes begin alike, in so many parts.
    Together(usize),
    /// One item with the means of all rows.
    Mean,
}

/// A column of a table, or a single object.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) id: ObjectId,
    pub(super) how: How,
}

/// How a value is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// As it comes.
    Auto,
    /// As a number, multiplied.
    Number(f64),
    /// The same, but this number says that there is no value.
    Unless(i64, f64),
    /// As a text.
    Text,
    /// As a word for a number.
    Words(BTreeMap<i64, String>),
    /// As a counter: how much it grew in a second, multiplied.
    Rate(f64),
}

/// A value of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    Number(f64),
    Text(String),
}

/// An item.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) index: Vec<u32>,
    pub(super) values: BTreeMap<String, Reading>,
}

impl Row {
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.values.get(name)? {
            Reading::Number(number) => Some(*number),
            Reading::Text(_) => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Reading::Text(text) => Some(text),
            Reading::Number(_) => None,
        }
    }

    pub(super) fn set_number(&mut self, name: &str, number: f64) {
        self.values.insert(name.to_owned(), Reading::Number(number));
    }

    pub(super) fn set_text(&mut self, name: &str, text: &str) {
        self.values.insert(name.to_owned(), Reading::Text(text.to_owned()));
    }
}

/// What an agent said.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// In hundredths of a second.
    uptime: Option<u32>,
    /// For each table the values of each row, in the order of the columns.
    tables: Vec<BTreeMap<Vec<u32>, Vec<Datum>>>,
}

/// The counters of a run, for the next one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    /// In hundredths of a second.
    uptime: u32,
    /// Which objects the counters are.
    columns: Vec<String>,
    /// By table and index.
    values: BTreeMap<String, Vec<Option<u64>>>,
}

impl Counters {
    /// Whether no time lies between them that the agent's clock could tell.
    pub(super) fn is_at_once_with(&self, other: &Self) -> bool {
        self.uptime == other.uptime
    }
}

impl Plan {
    /// Whether something can be read only by comparing.
    pub(super) fn has_rates(&self) -> bool {
        self.tables.iter().flat_map(|table| &table.columns).any(Column::is_rate)
    }

    /// Asks for everything.
    pub(super) async fn read(&self, agent: &mut Agent<'_>) -> Result<Raw, Trouble> {
        let mut raw = Raw { uptime: None, tables: vec![BTreeMap::new(); self.tables.len()] };
        let singles = || self.tables.iter().enumerate().filter(|(_, table)| table.rows == Rows::Single);
        let mut ids: Vec<ObjectId> =
            singles().flat_map(|(_, table)| table.columns.iter().map(|column| column.id.clone())).collect();
        ids.extend(UPTIME.parse());
        let mut values = agent.get(&ids).await?.into_iter();
        for (number, table) in singles() {
            let row = values.by_ref().take(table.columns.len()).collect();
            raw.tables.get_mut(number).map(|rows| rows.insert(Vec::new(), row));
        }
        if let Some(Datum::Ticks(ticks)) = values.next() {
            raw.uptime = Some(ticks);
        }
        for (table, rows) in self.tables.iter().zip(&mut raw.tables).filter(|(table, _)| table.rows != Rows::Single) {
            for (number, column) in table.columns.iter().enumerate() {
                for (index, value) in agent.walk(&column.id).await? {
                    let row = rows.entry(index).or_insert_with(|| vec![Datum::Absent; table.columns.len()]);
                    if let Some(slot) = row.get_mut(number) {
                        *slot = value;
                    }
                }
            }
        }
        Ok(raw)
    }

    /// Whether the agent has no single object of this name.
    pub(super) fn is_absent(&self, raw: &Raw, name: &str) -> bool {
        let mut tables = self.tables.iter().zip(&raw.tables).filter(|(table, _)| table.rows == Rows::Single);
        tables.any(|(table, rows)| {
            let column = table.columns.iter().position(|column| column.name == name);
            let value = column.and_then(|column| rows.get::<[u32]>(&[])?.get(column));
            value == Some(&Datum::Absent)
        })
    }

    /// The counters in what was read.
    pub(super) fn counters(&self, raw: &Raw) -> Option<Counters> {
        let uptime = raw.uptime.filter(|_| self.has_rates())?;
        let columns = self.tables.iter().flat_map(|table| &table.columns).filter(|column| column.is_rate());
        let mut counters = Counters {
            uptime,
            columns: columns.map(|column| column.id.to_string()).collect(),
            values: BTreeMap::new(),
        };
        for (number, (table, rows)) in self.tables.iter().zip(&raw.tables).enumerate() {
            for (index, row) in rows.iter().filter(|_| table.columns.iter().any(Column::is_rate)) {
                let pairs = table.columns.iter().zip(row).filter(|(column, _)| column.is_rate());
                let values = pairs.map(|(_, datum)| datum.counter().map(|(value, _)| value)).collect();
                counters.values.insert(key(number, index), values);
            }
        }
        Some(counters)
    }

    /// The items in what was read, each with its name. `before` are earlier counters.
    pub(super) fn items(&self, raw: &Raw, before: Option<&Counters>) -> Vec<(String, Row)> {
        let now = self.counters(raw);
        let span = now.as_ref().zip(before).filter(|(now, before)| now.columns == before.columns);
        // An agent that started anew began to count anew.
        let span = span.and_then(|(now, before)| now.uptime.checked_sub(before.uptime)).filter(|ticks| *ticks > 0);
        let before = span.and_then(|ticks| Some((f64::from(ticks) / 100.0, before?)));
        let mut items: Vec<(String, Row)> = Vec::new();
        for (number, (table, rows)) in self.tables.iter().zip(&raw.tables).enumerate() {
            let read = rows.iter().map(|(index, row)| {
                let earlier = before.map(|(span, counters)| (span, counters.values.get(&key(number, index))));
                table.row(index, row, earlier)
            });
            items.extend(table.items(read.collect()));
        }
        items
    }

    /// `source normal, charge 97%, runtime 32m`: its first fields.
    pub(super) fn summary(&self, row: &Row) -> String {
        let said = self.fields.iter().filter_map(|field| {
            let value = match row.values.get(&field.name)? {
                Reading::Number(number) => human(*number, &Unit::new(field.unit.as_deref().unwrap_or_default())),
                Reading::Text(text) if text.is_empty() => return None,
                Reading::Text(text) => crate::settings::excerpt(text),
            };
            Some(format!("{} {value}", field.name))
        });
        said.take(MAX_SUMMARY).collect::<Vec<_>>().join(", ")
    }
}

fn key(table: usize, index: &[u32]) -> String {
    format!("{table}/{}", dotted(index))
}

impl Column {
    pub(super) fn is_rate(&self) -> bool {
        matches!(self.how, How::Rate(_))
    }

    fn reading(&self, datum: &Datum) -> Option<Reading> {
        Some(match &self.how {
            How::Auto => match datum {
                Datum::Absent => return None,
                Datum::Bytes(_) | Datum::Id(_) | Datum::Address(_) => Reading::Text(datum.text()),
                other => Reading::Number(other.number()?),
            },
            How::Number(scale) => Reading::Number(scaled(datum.number()?, *scale)),
            How::Unless(none, scale) => {
                let number = datum.number()?;
                #[expect(clippy::float_cmp, reason = "a whole number that stands for nothing is exactly that")]
                if number == *none as f64 {
                    return None;
                }
                Reading::Number(scaled(number, *scale))
            }
            How::Text if *datum == Datum::Absent => return None,
            How::Text => Reading::Text(datum.text()),
            How::Words(words) => match datum {
                Datum::Absent => return None,
                Datum::Integer(number) => {
                    Reading::Text(words.get(number).cloned().unwrap_or_else(|| number.to_string()))
                }
                other => Reading::Text(other.text()),
            },
            How::Rate(_) => return None,
        })
    }
}

/// A multiple. Tenths are divided by ten, since a tenth has no exact form: 3 of them are 0.3, not 0.30000000000000004.
fn scaled(number: f64, scale: f64) -> f64 {
    let parts = (1.0 / scale).round();
    if scale.abs() < 1.0 && (parts * scale - 1.0).abs() < 1e-9 { number / parts } else { number * scale }
}

impl Table {
    /// Reads a row. `earlier` is how many seconds ago its counters were which.
    fn row(&self, index: &[u32], row: &[Datum], earlier: Option<(f64, Option<&Vec<Option<u64>>>)>) -> Row {
        let mut read = Row { index: index.to_vec(), values: BTreeMap::new() };
        let mut counters = earlier.and_then(|(span, values)| Some((span, values?.iter())));
        for (column, datum) in self.columns.iter().zip(row) {
            let reading = match &column.how {
                How::Rate(scale) => counters.as_mut().and_then(|(span, values)| {
                    let before = *values.next()?;
                    let (now, modulus) = datum.counter()?;
                    Some(Reading::Number(grown(before?, now, modulus)? / *span * scale))
                }),
                _ => column.reading(datum),
            };
            read.values.extend(reading.map(|reading| (column.name.clone(), reading)));
        }
        if let Some(derive) = self.derive {
            derive(&mut read);
        }
        read
    }

    /// The items that rows make, with their names. What shows nothing but its name is none.
    fn items(&self, rows: Vec<Row>) -> Vec<(String, Row)> {
        let rows = match self.rows {
            Rows::Single | Rows::Each => rows,
            Rows::Together(parts) => together(rows, parts),
            Rows::Mean => mean(&rows).into_iter().collect(),
        };
        let (mut items, mut taken) = (Vec::new(), BTreeSet::new());
        for row in rows {
            if row.values.keys().all(|name| name.starts_with('_')) {
                continue;
            }
            let own = self.names.iter().find_map(|name| row.text(name).filter(|text| !text.is_empty()));
            let own = own.map_or_else(|| dotted(&row.index), str::to_owned);
            let name = if own.is_empty() { self.prefix.clone() } else { format!("{} {own}", self.prefix) };
            let mut name = name.trim().to_owned();
            // Nothing keeps two ports of a switch from having one name.
            if !taken.insert(name.clone()) {
                name = format!("{name} #{}", dotted(&row.index));
            }
            items.push((name, row));
        }
        items
    }
}

/// By how much a counter grew, if that can be told: a 64-bit counter never comes to its end, so one that went back was set anew.
fn grown(before: u64, now: u64, modulus: u128) -> Option<f64> {
    match now.checked_sub(before) {
        Some(grown) => Some(grown as f64),
        None if modulus == 1 << 32 && before < 1 << 32 => Some((u128::from(now) + modulus - u128::from(before)) as f64),
        None => None,
    }
}

fn together(rows: Vec<Row>, parts: usize) -> Vec<Row> {
    let mut entities: BTreeMap<Vec<u32>, Row> = BTreeMap::new();
    for row in rows {
        let index: Vec<u32> = row.index.iter().copied().take(parts).collect();
        let entity = entities.entry(index.clone()).or_insert_with(|| Row { index, values: BTreeMap::new() });
        entity.values.extend(row.values);
    }
    entities.into_values().collect()
}

fn mean(rows: &[Row]) -> Option<Row> {
    let mut sums: BTreeMap<&String, (f64, f64)> = BTreeMap::new();
    for (name, reading) in rows.iter().flat_map(|row| &row.values) {
        if let Reading::Number(number) = reading {
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + number, sum.1 + 1.0);
        }
    }
    let values = sums.into_iter().map(|(name, (sum, count))| (name.clone(), Reading::Number(sum / count)));
    (!rows.is_empty()).then(|| Row { index: Vec::new(), values: values.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let column = |name: &str, id: &str, how| Column { name: name.to_owned(), id: id.parse().unwrap(), how };
        let columns = vec![
            column("_name", "1.3.1", How::Text),
            column("in", "1.3.2", How::Rate(2.0)),
            column("out", "1.3.3", How::Rate(1.0)),
        ];
        let table = Table {
            prefix: "port".to_owned(),
            rows: Rows::Each,
            names: vec!["_name".to_owned()],
            columns,
            derive: None,
        };
        Plan { sort: "port".to_owned(), fields: Vec::new(), tables: vec![table] }
    }

    fn raw(uptime: u32, rows: &[(&str, Datum, Datum)]) -> Raw {
        let rows = rows.iter().enumerate().map(|(i, (name, a, b))| {
            (vec![u32::try_from(i).unwrap()], vec![Datum::Bytes(name.as_bytes().into()), a.clone(), b.clone()])
        });
        Raw { uptime: Some(uptime), tables: vec![rows.collect()] }
    }

    fn rates(before: &Raw, now: &Raw) -> Vec<(String, Option<f64>, Option<f64>)> {
        let plan = plan();
        let counters = plan.counters(before).unwrap();
        let counters: Counters = serde_json::from_str(&serde_json::to_string(&counters).unwrap()).unwrap();
        let items = plan.items(now, Some(&counters)).into_iter();
        items.map(|(name, row)| (name, row.number("in"), row.number("out"))).collect()
    }

    #[test]
    fn counters_become_rates() {
        use Datum::{Counter32, Counter64};
        let before = raw(1_000, &[("a", Counter64(100), Counter32(u32::MAX)), ("b", Counter64(9), Counter32(5))]);
        let now = raw(1_200, &[("a", Counter64(300), Counter32(9)), ("b", Counter64(3), Counter32(5))]);
        let expected = [("port a".to_owned(), Some(200.0), Some(5.0)), ("port b".to_owned(), None, Some(0.0))];
        assert_eq!(rates(&before, &now), expected, "32 bits come to their end, 64 do not");
    }

    #[test]
    fn an_agent_that_began_anew_gives_no_rates() {
        let before = raw(1_000, &[("a", Datum::Counter64(100), Datum::Counter32(1))]);
        for uptime in [999, 1_000] {
            let now = raw(uptime, &[("a", Datum::Counter64(300), Datum::Counter32(2))]);
            assert!(rates(&before, &now).is_empty(), "nothing but a name is left of it");
        }
    }

    #[test]
    fn two_of_one_name_are_told_apart() {
        let before =
            raw(1_000, &[("a", Datum::Counter64(1), Datum::Absent), ("a", Datum::Counter64(1), Datum::Absent)]);
        let now = raw(1_100, &[("a", Datum::Counter64(1), Datum::Absent), ("a", Datum::Counter64(1), Datum::Absent)]);
        let names: Vec<String> = rates(&before, &now).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["port a", "port a #1"]);
    }

    #[test]
    fn words_scales_and_what_is_no_value() {
        let read =
            |how: How, datum: Datum| Column { name: String::new(), id: "1.3".parse().unwrap(), how }.reading(&datum);
        let words = How::Words(BTreeMap::from([(2, "normal".to_owned())]));
        assert_eq!(read(words.clone(), Datum::Integer(2)), Some(Reading::Text("normal".to_owned())));
        assert_eq!(read(words.clone(), Datum::Integer(9)), Some(Reading::Text("9".to_owned())));
        assert_eq!(read(words, Datum::Absent), None);
        assert_eq!(read(How::Unless(-1, 0.5), Datum::Integer(-1)), None);
        assert_eq!(read(How::Unless(-1, 0.5), Datum::Integer(5)), Some(Reading::Number(2.5)));
        assert_eq!(read(How::Number(1.0), Datum::Bytes(b"n/a"[..].into())), None);
        assert_eq!(read(How::Number(0.1), Datum::Integer(3)), Some(Reading::Number(0.3)));
        assert_eq!(read(How::Number(60.0), Datum::Integer(3)), Some(Reading::Number(180.0)));
        assert_eq!(read(How::Number(0.3), Datum::Integer(2)), Some(Reading::Number(0.6)));
    }
}
