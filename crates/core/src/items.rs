//! Items: what kinds that look at many things of a sort have in common. Which items count (`only`, `except`), when their numbers and
//! texts alert (`warning`, `bad`), what is said about them and which metrics they give is decided here, for every kind alike.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};

use crate::metric::Metric;
use crate::node::{self, Invalid};
use crate::quantity::{self, Unit, human};
use crate::range::Range;
use crate::report::{Finding, Report, describe_metric};
use crate::state::State;

/// The field by which filters address the name of an item; every item has it.
pub const NAME: &str = "name";
/// The most items whose values `--explain` keeps.
const MAX_EXPLAINED: usize = 2_000;

/// What a kind knows of each of its items, under the name by which `only`, `except`, `warning` and `bad` address it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The name, also in the label of the metric and in the message.
    pub name: &'a str,
    /// The unit of its values; none for a text.
    pub unit: Option<&'a str>,
    /// What it is, for the reference.
    pub help: &'a str,
}

impl<'a> Field<'a> {
    /// A number, which becomes a metric. The unit is empty for a plain count.
    pub const fn number(name: &'a str, unit: &'a str, help: &'a str) -> Self {
        Self { name, unit: Some(unit), help }
    }

    /// A text, such as a type or a status.
    pub const fn text(name: &'a str, help: &'a str) -> Self {
        Self { name, unit: None, help }
    }
}

/// The value of a field of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// In the unit of the field.
    Number(f64),
    /// As it came; it is escaped where it is shown.
    Text(&'a str),
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl Value<'_> {
    fn shown(self, field: &Field<'_>) -> String {
        match self {
            Self::Number(number) => human(number, &Unit::new(field.unit.unwrap_or_default())),
            Self::Text(text) => crate::text::escape_controls(text),
        }
    }
}

/// What a value is compared with: a range for a number; for a text one glob or several, any of which must fit. `*` stands for any
/// characters, `?` for one, and a `!` in front means all that do not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    words: Box<[Box<str>]>,
    range: Option<Range>,
}

impl Condition {
    fn new(words: Vec<String>) -> Result<Self, String> {
        if words.iter().any(|word| word.trim_start_matches('!').is_empty()) || words.is_empty() {
            return Err("an empty text fits nothing".to_owned());
        }
        let range = match words.as_slice() {
            [word] => Range::parse(word).ok(),
            _ => None,
        };
        Ok(Self { words: words.into_iter().map(String::into_boxed_str).collect(), range })
    }

    /// Whether a value is one of those that are meant.
    pub fn fits(&self, value: Value<'_>, unit: &Unit) -> bool {
        match value {
            Value::Number(number) => self.range.is_some_and(|range| match range.dimension() {
                quantity::Dimension::Plain => range.alerts(number),
                _ => range.alerts(unit.to_base(number)),
            }),
            Value::Text(text) => fits_globs(&self.words, text),
        }
    }

    /// Whether it can be compared with the values of a field.
    fn judge(&self, field: &Field<'_>) -> Result<(), String> {
        let Some(unit) = field.unit else { return Ok(()) };
        let Some(range) = &self.range else {
            return Err(match &*self.words {
                [word] => Range::parse(word).err().unwrap_or_default(),
                _ => format!("`{}` is a number: it is compared with one range, not with a list", field.name),
            });
        };
        let (wanted, given) = (Unit::new(unit).dimension(), range.dimension());
        if given == quantity::Dimension::Plain || given == wanted {
            return Ok(());
        }
        Err(format!("`{}` is measured as {wanted}, the limit is {given}", field.name))
    }
}

/// Whether a text fits any of the globs that are not negated, or all that are there are negated, and none of the negated ones.
fn fits_globs(words: &[Box<str>], text: &str) -> bool {
    let mut positive = words.iter().filter(|word| !word.starts_with('!')).peekable();
    let wanted = positive.peek().is_none() || positive.any(|word| crate::text::glob(word, text));
    wanted && !words.iter().filter_map(|word| word.strip_prefix('!')).any(|word| crate::text::glob(word, text))
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Condition;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a range such as `80%`, a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Condition::new(vec![text.to_owned()]).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Condition, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                Condition::new(words).map_err(de::Error::custom)
            }
        }
        // As a text, so that a scalar is taken as it is written; lists come all the same.
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let range = generator.subschema_for::<Range>();
        json_schema!({
            "description": "What a value is compared with: a number with a range (`> 90%`), a text with a glob (`nfs*`, `!running`) or a list of them.",
            "anyOf": [range, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

/// When the values of a kind alert: one condition for its main field, or a map of conditions by field.
///
/// ```yaml
/// warning: 80%                         # the main field
/// bad: { used: "> 90%", inodes: 95% }  # by field
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// For the kind's main field.
    main: Option<Condition>,
    /// By name of the field.
    fields: BTreeMap<Box<str>, Condition>,
}

/// What a kind alerts about as long as the user says nothing about the field.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The field.
    pub field: &'static str,
    /// When it is a warning, as a user would write it, several texts with `|` between them; empty for never.
    pub warning: &'static str,
    /// When it is bad, written as `warning` is; empty for never.
    pub bad: &'static str,
}

impl Thresholds {
    /// Judges both settings of a kind as [`Thresholds::validate`] does, then fills in the kind's own limits, field by field: only where
    /// neither `warning` nor `bad` says anything about that field, so that a user's `warning: 95%` never meets a `bad` of 90%.
    pub fn settle(warning: &mut Self, bad: &mut Self, fields: &[Field<'_>], limits: &[Limit]) -> Result<(), Invalid> {
        warning.validate("warning", fields)?;
        bad.validate("bad", fields)?;
        for limit in limits {
            let is_main = fields.first().is_some_and(|field| field.name == limit.field);
            let says = |thresholds: &Self| {
                thresholds.fields.contains_key(limit.field) || (is_main && thresholds.main.is_some())
            };
            if says(warning) || says(bad) {
                continue;
            }
            for (thresholds, setting, text) in
                [(&mut *warning, "warning", limit.warning), (&mut *bad, "bad", limit.bad)]
            {
                if !text.is_empty() {
                    let words = text.split('|').map(str::to_owned).collect();
                    let condition = Condition::new(words).map_err(|why| Invalid::at(setting, why))?;
                    thresholds.fields.insert(limit.field.into(), condition);
                }
            }
        }
        Ok(())
    }

    /// The condition for a field of a kind whose main field is the first one.
    fn condition(&self, field: &Field<'_>, is_main: bool) -> Option<&Condition> {
        self.fields.get(field.name).or(if is_main { self.main.as_ref() } else { None })
    }

    /// The range for a field of a kind whose main field is the first one.
    pub fn range(&self, field: &Field<'_>, is_main: bool) -> Option<Range> {
        self.condition(field, is_main).and_then(|condition| condition.range)
    }

    /// The fields that are named, for kinds whose fields are known only when they look.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(|name| &**name)
    }

    /// The same, but silent about some fields: while something is so that makes their values no matter.
    #[must_use]
    pub fn without(&self, fields: &[Field<'_>], silent: impl Fn(&str) -> bool) -> Self {
        let is_main_silent = fields.first().is_some_and(|field| silent(field.name));
        Self {
            main: self.main.clone().filter(|_| !is_main_silent),
            fields: self.fields.iter().filter(|(name, _)| !silent(name)).map(|(n, c)| (n.clone(), c.clone())).collect(),
        }
    }

    /// Whether each name is a field of the kind and each condition fits it. `setting` is `warning` or `bad`.
    pub fn validate(&self, setting: &str, fields: &[Field<'_>]) -> Result<(), Invalid> {
        for (name, condition) in &self.fields {
            let Some(field) = fields.iter().find(|field| field.name == &**name) else {
                return Err(Invalid::at(format!("{setting}.{name}"), no_such_field(name, fields)));
            };
            condition.judge(field).map_err(|why| Invalid::at(format!("{setting}.{name}"), why))?;
        }
        match (&self.main, fields.first()) {
            (Some(condition), Some(field)) => {
                condition.judge(field).map_err(|why| Invalid::at(setting.to_owned(), why))
            }
            _ => Ok(()),
        }
    }
}

fn no_such_field(name: &str, fields: &[Field<'_>]) -> String {
    let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
    format!("`{name}` is nothing that this kind measures; {}", node::suggest(name, &known))
}

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Thresholds;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a range such as `80%`, or a map of ranges by field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Thresholds, E> {
                let main = Condition::new(vec![text.to_owned()]).map_err(E::custom)?;
                Ok(Thresholds { main: Some(main), fields: BTreeMap::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Thresholds, A::Error> {
                let main = Condition::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Thresholds { main: Some(main), fields: BTreeMap::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Thresholds, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, condition)) = map.next_entry::<Box<str>, Condition>()? {
                    fields.insert(name, condition);
                }
                Ok(Thresholds { main: None, fields })
            }
        }
        // As a text, so that a scalar is taken as it is written; lists and maps come all the same.
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Thresholds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Thresholds".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let condition = generator.subschema_for::<Condition>();
        json_schema!({
            "description": "When what is measured alerts: one condition for the main field (`80%`), or a map of conditions by field (`{ used: 80%, inodes: 90% }`).",
            "anyOf": [condition, { "type": "object", "additionalProperties": condition }],
        })
    }
}

/// Which items are meant: globs on their names, maps of conditions by field (all of which must hold), or a list of those (any of which
/// is enough).
///
/// ```yaml
/// only: [/srv/*, { type: ext4, used: "> 5%" }]
/// except: { type: [tmpfs, overlay] }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(Vec<Rule>);

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Name(Box<str>),
    Fields(BTreeMap<Box<str>, Condition>),
}

/// The value of a field, if the item has it.
fn value_of<'v>(name: &'v str, values: &[(&str, Value<'v>)], field: &str) -> Option<Value<'v>> {
    let found = values.iter().find(|(label, _)| *label == field).map(|(_, value)| *value);
    found.or(if field == NAME { Some(Value::Text(name)) } else { None })
}

impl Rule {
    /// Whether an item fits; `missing` is the answer for a field that it does not have.
    fn fits(&self, fields: &[Field<'_>], name: &str, values: &[(&str, Value<'_>)], missing: bool) -> bool {
        match self {
            Self::Name(pattern) => fits_globs(std::slice::from_ref(pattern), name),
            Self::Fields(conditions) => conditions.iter().all(|(field, condition)| {
                let unit = fields.iter().find(|f| f.name == &**field).and_then(|f| f.unit).unwrap_or_default();
                value_of(name, values, field).map_or(missing, |value| condition.fits(value, &Unit::new(unit)))
            }),
        }
    }
}

impl Filter {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that are named, for kinds whose fields are known only when they look.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.0.iter().filter_map(|rule| match rule {
            Rule::Name(_) => None,
            Rule::Fields(conditions) => Some(conditions.keys().map(|name| &**name)),
        });
        fields.flatten()
    }

    /// Whether each name is a field of the kind and each condition fits it. `setting` is `only` or `except`.
    pub fn validate(&self, setting: &str, fields: &[Field<'_>]) -> Result<(), Invalid> {
        for (index, rule) in self.0.iter().enumerate() {
            let Rule::Fields(conditions) = rule else { continue };
            for (name, condition) in conditions {
                let place = if self.0.len() > 1 {
                    format!("{setting}.{}.{name}", index + 1)
                } else {
                    format!("{setting}.{name}")
                };
                if &**name == NAME {
                    continue;
                }
                let Some(field) = fields.iter().find(|field| field.name == &**name) else {
                    return Err(Invalid::at(place, no_such_field(name, fields)));
                };
                condition.judge(field).map_err(|why| Invalid::at(place, why))?;
            }
        }
        Ok(())
    }

    /// Whether an item is one of those that are meant; `missing` is the answer for a field that it does not have.
    fn fits(&self, fields: &[Field<'_>], name: &str, values: &[(&str, Value<'_>)], missing: bool) -> bool {
        self.0.iter().any(|rule| rule.fits(fields, name, values, missing))
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Rule;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as `/srv/*`, or a map of conditions by field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rule, E> {
                if text.trim_start_matches('!').is_empty() {
                    return Err(E::custom("an empty name fits nothing"));
                }
                Ok(Rule::Name(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
                let mut conditions = BTreeMap::new();
                while let Some((name, condition)) = map.next_entry::<Box<str>, Condition>()? {
                    conditions.insert(name, condition);
                }
                Ok(Rule::Fields(conditions))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Filter;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as `/srv/*`, a map of conditions by field, or a list of those")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Filter, E> {
                let rule = Rule::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(Filter(vec![rule]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
                Ok(Filter(vec![Rule::deserialize(de::value::MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filter, A::Error> {
                let mut rules = Vec::new();
                while let Some(rule) = list.next_element()? {
                    rules.push(rule);
                }
                Ok(Filter(rules))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let condition = generator.subschema_for::<Condition>();
        let rule = json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "object", "additionalProperties": condition, "minProperties": 1 }]
        });
        json_schema!({
            "description": "Which items are meant: a glob on the name (`/srv/*`), a map of conditions by field that must all hold (`{ type: nfs*, used: \"> 5%\" }`), or a list of those, any of which is enough.",
            "anyOf": [rule, { "type": "array", "items": rule, "minItems": 1 }],
        })
    }
}

/// An item with all that was seen of it, for `monchero once --explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name; empty for the only one of a kind that looks at one thing.
    pub name: String,
    /// Whether `only` and `except` keep it.
    pub kept: bool,
    /// Its fields and their values, as a person would write them.
    pub values: Vec<(String, String)>,
}

/// A field with what alerts, for `monchero once --explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// Its unit; none for a text.
    pub unit: Option<String>,
    /// What it is.
    pub help: String,
    /// When it is a warning.
    pub warning: Option<String>,
    /// When it is bad.
    pub bad: Option<String>,
}

/// Which items a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were judged.
    pub kept: usize,
    /// How many `only` and `except` left out.
    pub left_out: usize,
    /// All of them, if the run was asked to explain itself.
    pub seen: Option<Vec<Seen>>,
    /// Then also what is known of each of them.
    pub fields: Vec<Explained>,
}

/// How a kind deals with its items: the one place where they are filtered and judged, and where their texts and metrics are made.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    fields: &'a [Field<'a>],
    warning: &'a Thresholds,
    bad: &'a Thresholds,
    filters: Option<(&'a Filter, &'a Filter)>,
    metrics: bool,
}

impl<'a> Judge<'a> {
    /// A judge of items of which these fields are known; the first one is the main field.
    pub fn new(fields: &'a [Field<'a>], warning: &'a Thresholds, bad: &'a Thresholds) -> Self {
        Self { fields, warning, bad, filters: None, metrics: true }
    }

    /// Only items that fit `only`, if it says anything, and that do not fit `except`.
    #[must_use]
    pub fn filtered(self, only: &'a Filter, except: &'a Filter) -> Self {
        Self { filters: Some((only, except)), ..self }
    }

    /// Items give no metrics: for kinds that see hundreds of them and measure them together.
    #[must_use]
    pub fn without_metrics(self) -> Self {
        Self { metrics: false, ..self }
    }

    /// Whether an item may be one of those that are meant, as far as these values tell: to spare looking closer. [`Judge::item`] decides.
    pub fn wants(&self, name: &str, values: &[(&str, Value<'_>)]) -> bool {
        self.keeps(name, values, true)
    }

    fn keeps(&self, name: &str, values: &[(&str, Value<'_>)], unknown_may_fit: bool) -> bool {
        self.filters.is_none_or(|(only, except)| {
            (only.is_empty() || only.fits(self.fields, name, values, unknown_may_fit))
                && !except.fits(self.fields, name, values, false)
        })
    }

    /// Adds an item to a report, if it is one of those that are meant; says whether it is. There is a metric for each number, a finding
    /// for each value that alerts, worst first and followed by `summary` in brackets, and an okay finding with `summary` if none
    /// does. The item's name stands before its texts and labels if it has one.
    pub fn item<'v, V: Into<Value<'v>> + Copy>(
        &self,
        report: &mut Report,
        name: &str,
        values: &[(&str, V)],
        summary: impl FnOnce() -> String,
    ) -> bool {
        let values: Vec<(&str, Value<'_>)> = values.iter().map(|(label, value)| (*label, (*value).into())).collect();
        let kept = self.keeps(name, &values, false);
        self.note(report, name, &values, kept);
        if !kept {
            return false;
        }
        let name = crate::text::escape_controls(name);
        let mut alerts = Vec::new();
        for (label, value) in &values {
            let Some((index, field)) = self.fields.iter().enumerate().find(|(_, field)| field.name == *label) else {
                debug_assert!(*label == NAME, "`{label}` is not among the fields of this kind");
                continue;
            };
            alerts.extend(self.value(report, &name, index, field, *value));
        }
        alerts.sort_by_key(|finding| std::cmp::Reverse(finding.state));
        match alerts.last_mut() {
            Some(last) => last.text = format!("{} ({})", last.text, summary()),
            None => report.find(State::Okay, join(&name, ": ", &summary())),
        }
        report.findings.append(&mut alerts);
        true
    }

    /// Judges one value; its metric goes to the report.
    fn value(
        &self,
        report: &mut Report,
        name: &str,
        index: usize,
        field: &Field<'_>,
        value: Value<'_>,
    ) -> Option<Finding> {
        let label = join(name, " ", field.name);
        match value {
            Value::Number(number) => {
                let mut metric = Metric::new(&label, number, Unit::new(field.unit.unwrap_or_default()));
                metric.warning = self.warning.range(field, index == 0);
                metric.bad = self.bad.range(field, index == 0);
                let state = metric.state();
                let finding = state.is_problem().then(|| Finding { state, text: describe_metric(&metric) });
                if self.metrics {
                    report.metrics.push(metric);
                }
                finding
            }
            Value::Text(text) => {
                let alerts = |thresholds: &Thresholds| {
                    thresholds.condition(field, index == 0).is_some_and(|condition| condition.fits(value, &Unit::NONE))
                };
                let state = [(self.bad, State::Bad), (self.warning, State::Warning)]
                    .into_iter()
                    .find_map(|(thresholds, state)| alerts(thresholds).then_some(state))?;
                Some(Finding { state, text: format!("{label} is {}", crate::text::escape_controls(text)) })
            }
        }
    }

    fn note(&self, report: &mut Report, name: &str, values: &[(&str, Value<'_>)], kept: bool) {
        let tally = &mut report.items;
        if kept {
            tally.kept += 1;
        } else {
            tally.left_out += 1;
        }
        if tally.seen.is_some() && tally.fields.is_empty() {
            tally.fields = self.fields.iter().enumerate().map(|(index, field)| self.explain(index, field)).collect();
        }
        if let Some(seen) = tally.seen.as_mut().filter(|seen| seen.len() < MAX_EXPLAINED) {
            let field = |name: &str| self.fields.iter().find(|field| field.name == name);
            let values =
                values.iter().filter_map(|(label, value)| Some(((*label).to_owned(), value.shown(field(label)?))));
            seen.push(Seen { name: crate::text::escape_controls(name), kept, values: values.collect() });
        }
    }

    fn explain(&self, index: usize, field: &Field<'_>) -> Explained {
        let limit = |thresholds: &Thresholds| {
            thresholds
                .condition(field, index == 0)
                .map(|condition| crate::text::escape_controls(&condition.words.join(", ")))
        };
        Explained {
            name: field.name.to_owned(),
            unit: field.unit.map(str::to_owned),
            help: field.help.to_owned(),
            warning: limit(self.warning),
            bad: limit(self.bad),
        }
    }

    /// To be called behind the last item: that there was none at all, or none that is meant, is unknown rather than okay. `sort` is what
    /// the items are, in the singular: `mount`.
    pub fn end(&self, report: &mut Report, sort: &str) {
        let Tally { kept, left_out, .. } = report.items;
        if kept == 0 && report.findings.is_empty() {
            report.find(
                State::Unknown,
                match left_out {
                    0 => format!("there is no {sort}"),
                    1 => format!("the only {sort} that there is does not fit `only` and `except`"),
                    _ => format!("none of {left_out} {sort}s fits `only` and `except`"),
                },
            );
        }
    }
}

fn join(name: &str, separator: &str, text: &str) -> String {
    if name.is_empty() { text.to_owned() } else { format!("{name}{separator}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field<'_>] =
        &[Field::number("used", "%", "space"), Field::number("inodes", "%", "inodes"), Field::text("type", "the type")];
    const LIMITS: &[Limit] =
        &[Limit { field: "used", warning: "80%", bad: "90%" }, Limit { field: "inodes", warning: "70%", bad: "75%" }];

    fn condition(text: &str) -> Condition {
        Condition::new(vec![text.to_owned()]).unwrap()
    }

    fn thresholds(main: Option<&str>, fields: &[(&str, &str)]) -> Thresholds {
        Thresholds {
            main: main.map(condition),
            fields: fields.iter().map(|(name, text)| ((*name).into(), condition(text))).collect(),
        }
    }

    fn rule(fields: &[(&str, &str)]) -> Rule {
        Rule::Fields(fields.iter().map(|(name, text)| ((*name).into(), condition(text))).collect())
    }

    #[test]
    fn own_limits_count_only_where_the_user_says_nothing() {
        let (mut warning, mut bad) = (thresholds(Some("95%"), &[]), Thresholds::default());
        Thresholds::settle(&mut warning, &mut bad, FIELDS, LIMITS).unwrap();
        assert_eq!(warning.range(&FIELDS[0], true), Some(Range::parse("95%").unwrap()));
        assert_eq!(bad.range(&FIELDS[0], true), None);
        assert_eq!(warning.range(&FIELDS[1], false), Some(Range::parse("70%").unwrap()));
        assert_eq!(bad.range(&FIELDS[1], false), Some(Range::parse("75%").unwrap()));
    }

    #[test]
    fn own_limits_may_name_several_texts_and_can_be_silenced() {
        let (mut warning, mut bad) = (thresholds(Some("95%"), &[]), Thresholds::default());
        let limits = [Limit { field: "type", warning: "", bad: "nfs|cifs" }];
        Thresholds::settle(&mut warning, &mut bad, FIELDS, &limits).unwrap();
        let fits = |bad: &Thresholds, text| {
            bad.condition(&FIELDS[2], false).is_some_and(|condition| condition.fits(Value::Text(text), &Unit::NONE))
        };
        assert!(fits(&bad, "nfs") && fits(&bad, "cifs") && !fits(&bad, "ext4"));
        assert!(!fits(&bad.without(FIELDS, |name| name == "type"), "nfs"));
        assert_eq!(warning.without(FIELDS, |name| name == "used").range(&FIELDS[0], true), None);
        assert!(warning.without(FIELDS, |name| name == "type").range(&FIELDS[0], true).is_some());
    }

    #[test]
    fn limits_of_unknown_fields_and_wrong_units_are_refused() {
        let settle =
            |mut warning: Thresholds| Thresholds::settle(&mut warning, &mut Thresholds::default(), FIELDS, LIMITS);
        let error = settle(thresholds(None, &[("usd", "80%")])).unwrap_err();
        assert_eq!(error.path, "warning.usd");
        assert!(error.why.contains("`usd`") && error.why.contains("did you mean `used`?"), "{error:?}");
        assert!(settle(thresholds(Some("> 10GiB"), &[])).unwrap_err().why.contains("a percentage"));
        let error = settle(thresholds(None, &[("used", "eighty")])).unwrap_err();
        assert!(error.path == "warning.used" && error.why.contains("eighty"), "{error:?}");
        assert!(settle(thresholds(None, &[("type", "nfs*")])).is_ok(), "a text is compared with a glob");
    }

    #[test]
    fn an_alerting_item_names_value_and_limit_and_every_item_gives_its_summary() {
        let (warning, bad) = (thresholds(Some("80%"), &[]), thresholds(Some("90%"), &[]));
        let judge = Judge::new(FIELDS, &warning, &bad);
        let mut report = Report::default();
        judge.item(&mut report, "/", &[("used", 93.0), ("inodes", 5.0)], || "93% used, 1 GiB free".to_owned());
        judge.item(&mut report, "/srv", &[("used", 10.0), ("inodes", 5.0)], || "10% used".to_owned());
        assert_eq!(report.worst(), State::Bad);
        let texts: Vec<&str> = report.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["/ used is 93%, above 90% (93% used, 1 GiB free)", "/srv: 10% used"]);
        assert_eq!(report.metrics.len(), 4);
        assert_eq!(&*report.metrics[2].label, "/srv used");
    }

    #[test]
    fn texts_alert_by_globs_and_give_no_metric() {
        let (warning, bad) = (Thresholds::default(), thresholds(None, &[("type", "!ext4")]));
        let judge = Judge::new(FIELDS, &warning, &bad);
        let mut report = Report::default();
        judge.item(&mut report, "/", &[("type", Value::Text("ext4"))], || "fine".to_owned());
        judge.item(&mut report, "/x", &[("type", Value::Text("v\u{1b}fat"))], || "seen".to_owned());
        let texts: Vec<&str> = report.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["/: fine", "/x type is v\\efat (seen)"]);
        assert!(report.metrics.is_empty());
    }

    #[test]
    fn only_and_except_choose_items() {
        let none = Thresholds::default();
        let kept = |only: Vec<Rule>, except: Vec<Rule>| {
            let (only, except) = (Filter(only), Filter(except));
            let judge = Judge::new(FIELDS, &none, &none).filtered(&only, &except);
            let mut report = Report::default();
            report.items.seen = Some(Vec::new());
            for (name, used, kind) in [("/", 50.0, "ext4"), ("/srv/a", 3.0, "nfs4"), ("/srv/b", 70.0, "nfs4")] {
                let values = [("used", Value::Number(used)), ("type", Value::Text(kind))];
                judge.item(&mut report, name, &values, String::new);
            }
            judge.end(&mut report, "mount");
            let seen = report.items.seen.unwrap();
            assert_eq!(seen.len(), 3, "what is left out is explained too");
            assert_eq!(seen.iter().filter(|item| item.kept).count(), report.items.kept);
            let names: Vec<String> = seen.into_iter().filter(|item| item.kept).map(|item| item.name).collect();
            (names.join(" "), report.findings.last().unwrap().clone())
        };
        assert_eq!(kept(vec![], vec![]).0, "/ /srv/a /srv/b");
        assert_eq!(kept(vec![Rule::Name("/srv/*".into())], vec![]).0, "/srv/a /srv/b");
        assert_eq!(kept(vec![], vec![Rule::Name("/srv/*".into())]).0, "/");
        assert_eq!(kept(vec![rule(&[("type", "nfs?"), ("used", "> 5%")])], vec![]).0, "/srv/b");
        assert_eq!(kept(vec![rule(&[("type", "ext*")]), Rule::Name("*/a".into())], vec![]).0, "/ /srv/a");
        assert_eq!(kept(vec![rule(&[("name", "!/")])], vec![rule(&[("used", "> 60%")])]).0, "/srv/a");
        let (names, finding) = kept(vec![Rule::Name("/home".into())], vec![]);
        assert_eq!(names, "");
        assert_eq!((finding.state, &*finding.text), (State::Unknown, "none of 3 mounts fits `only` and `except`"));
    }
}
