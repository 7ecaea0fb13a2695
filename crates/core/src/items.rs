//! Items: what kinds that look at many things of a sort have in common. Which items count (`only`, `except`), when their numbers and
//! texts alert (`warning`, `bad`), what is said about them and which metrics they give is decided here, for every kind alike.

mod condition;
mod filter;

pub use condition::{Condition, Limit, Thresholds};
pub use filter::Filter;

use crate::metric::Metric;
use crate::order;
use crate::quantity::{Unit, human};
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
        if kept {
            self.judge(report, name, &values, &summary());
        }
        kept
    }

    /// Judges an item that is meant. Apart from [`Self::item`], which is compiled for each summary of each kind.
    fn judge(&self, report: &mut Report, name: &str, values: &[(&str, Value<'_>)], summary: &str) {
        let name = crate::text::escape_controls(name);
        let mut alerts = Vec::new();
        for (label, value) in values {
            let Some((index, field)) = self.fields.iter().enumerate().find(|(_, field)| field.name == *label) else {
                debug_assert!(*label == NAME, "`{label}` is not among the fields of this kind");
                continue;
            };
            alerts.extend(self.value(report, &name, index, field, *value));
        }
        order::sort_by_key(&mut alerts, |finding| std::cmp::Reverse(finding.state));
        match alerts.last_mut() {
            Some(last) => last.text = format!("{} ({summary})", last.text),
            None => report.find(State::Okay, join(&name, ": ", summary)),
        }
        report.findings.append(&mut alerts);
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
    use super::filter::Rule;
    use super::*;
    use crate::range::Range;

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
