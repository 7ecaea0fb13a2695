//! Threshold ranges: when a number is not okay.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quantity::{self, Dimension};
use crate::text::quote;

/// When a number alerts. Written in the syntax of the monitoring-plugins guidelines ("Threshold and Ranges"):
///
/// | text | alerts when the value is |
/// | --- | --- |
/// | `10` | below 0 or above 10 |
/// | `10:` | below 10 |
/// | `~:10` | above 10 |
/// | `10:20` | below 10 or above 20 |
/// | `@10:20` | from 10 to 20 |
/// | `10:<20` | below 10, or 20 and above: `<` leaves the end itself out |
///
/// or as a comparison that says when it alerts: `> 90%`, `>= 3`, `< 10GiB`, `<= 0`, `== 1`, `!= 1`.
/// A number may have a unit: `%`, `ms`, `s`, `m`, `h`, `d`, `B`, `KB` .. `TB`, `KiB` .. `TiB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    alerts_inside: bool,
    /// Whether the end itself is out of the range.
    open: bool,
    dimension: Dimension,
}

impl Range {
    /// Alerts outside of `start..=end`, in base units.
    pub fn outside(start: f64, end: f64) -> Self {
        Self { start, end, alerts_inside: false, open: false, dimension: Dimension::Plain }
    }

    /// Alerts inside of `start..=end`, in base units.
    pub fn inside(start: f64, end: f64) -> Self {
        Self { start, end, alerts_inside: true, open: false, dimension: Dimension::Plain }
    }

    /// Alerts above `limit`, in base units: what built-in kinds and Checkmk levels need.
    pub fn above(limit: f64) -> Self {
        Self::outside(f64::NEG_INFINITY, limit)
    }

    /// The same without its end: of a range that alerts outside, the end alerts too.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self { open: true, ..self }
    }

    /// Whether the value, given in the base unit, is one to alert about.
    pub fn alerts(&self, value: f64) -> bool {
        let before_end = if self.open { value < self.end } else { value <= self.end };
        (self.start <= value && before_end) == self.alerts_inside
    }

    /// What the bounds measure; plain numbers fit everything.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// The smallest and the largest number of the range, and whether it alerts inside of them.
    pub fn bounds(&self) -> (f64, f64, bool) {
        (self.start, if self.open { self.end.next_down() } else { self.end }, self.alerts_inside)
    }

    /// Reads a range, in either syntax.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if let Some(comparison) = parse_comparison(trimmed) {
            return comparison;
        }
        let (alerts_inside, body) = match trimmed.strip_prefix('@') {
            Some(body) => (true, body.trim()),
            None => (false, trimmed),
        };
        if body.is_empty() {
            return Err("a range must not be empty: write e.g. `80`, `10:20` or `> 90%`".to_owned());
        }
        let (start, end) = match body.split_once(':') {
            Some((start, end)) => (start, end),
            None => ("", body),
        };
        let (end, open) = match end.trim().strip_prefix('<') {
            Some(end) => (end, true),
            None => (end, false),
        };
        let (start, end) = (parse_start(start)?, parse_end(end)?);
        if open && !end.0.is_finite() {
            return Err(format!("{} leaves out an end that it does not have", quote(text)));
        }
        let dimension = match (start.1, end.1) {
            (Dimension::Plain, dimension) | (dimension, Dimension::Plain) => dimension,
            (a, b) if a == b => a,
            (a, b) => return Err(format!("{} begins with {a} and ends with {b}", quote(text))),
        };
        if start.0 > end.0 || open && start.0 >= end.0 {
            return Err(format!("{} starts above its end: write the smaller number first", quote(text)));
        }
        Ok(Self { start: start.0, end: end.0, alerts_inside, open, dimension })
    }

    /// When it alerts, in words that continue "is 93%,": `above 90%`, `outside of 10 .. 20`.
    pub fn describe(&self, unit: &quantity::Unit) -> String {
        // Without a unit of its own it is meant in that of the metric.
        let base = match self.dimension {
            Dimension::Plain => unit.clone(),
            Dimension::Percent => quantity::Unit::PERCENT,
            Dimension::Bytes => quantity::Unit::BYTES,
            Dimension::Seconds => quantity::Unit::SECONDS,
        };
        let show = |value: f64| quantity::human(value, &base);
        let (low, high) = (self.start.is_finite(), self.end.is_finite());
        match (self.alerts_inside, low, high) {
            (false, false, true) if self.open => format!("at or above {}", show(self.end)),
            (false, false, true) => format!("above {}", show(self.end)),
            (false, true, true) if self.start == 0.0 && !self.open => format!("above {}", show(self.end)),
            (false, true, false) => format!("below {}", show(self.start)),
            (false, true, true) => format!("outside of {} .. {}", show(self.start), show(self.end)),
            (true, true, false) => format!("at or above {}", show(self.start)),
            (true, false, true) if self.open => format!("below {}", show(self.end)),
            (true, false, true) => format!("at or below {}", show(self.end)),
            (true, true, true) => format!("within {} .. {}", show(self.start), show(self.end)),
            (false, false, false) => "never".to_owned(),
            (true, false, false) => "always".to_owned(),
        }
    }
}

/// A comparison, if the text begins like one.
fn parse_comparison(text: &str) -> Option<Result<Range, String>> {
    const INF: f64 = f64::INFINITY;
    type Make = fn(f64) -> Range;
    let forms: [(&str, Make); 6] = [
        (">=", |v| Range::inside(v, INF)),
        ("<=", |v| Range::inside(-INF, v)),
        ("==", |v| Range::inside(v, v)),
        ("!=", |v| Range::outside(v, v)),
        (">", |v| Range::outside(-INF, v)),
        ("<", |v| Range::outside(v, INF)),
    ];
    let (body, make) = forms.iter().find_map(|(sign, make)| text.strip_prefix(sign).map(|body| (body, make)))?;
    Some(quantity::parse(body).map(|(value, dimension)| Range { dimension, ..make(value) }))
}

fn parse_start(text: &str) -> Result<(f64, Dimension), String> {
    match text.trim() {
        "" => Ok((0.0, Dimension::Plain)),
        "~" => Ok((f64::NEG_INFINITY, Dimension::Plain)),
        number => quantity::parse(number),
    }
}

fn parse_end(text: &str) -> Result<(f64, Dimension), String> {
    match text.trim() {
        "" | "~" => Ok((f64::INFINITY, Dimension::Plain)),
        number => quantity::parse(number),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.dimension {
            Dimension::Plain => "",
            Dimension::Percent => "%",
            Dimension::Bytes => "B",
            Dimension::Seconds => "s",
        };
        if self.alerts_inside {
            f.write_str("@")?;
        }
        let open = if self.open { "<" } else { "" };
        match (self.start, self.end) {
            (f64::NEG_INFINITY, f64::INFINITY) => f.write_str("~:"),
            (f64::NEG_INFINITY, end) => write!(f, "~:{open}{end}{unit}"),
            (start, f64::INFINITY) => write!(f, "{start}{unit}:"),
            (0.0, end) if !self.open => write!(f, "{end}{unit}"),
            (start, end) => write!(f, "{start}{unit}:{open}{end}{unit}"),
        }
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Range {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Range".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "When a number alerts: a Nagios range (`80`, `10:`, `~:5`, `10:20`, `@10:20`) or a comparison (`> 90%`, `< 10GiB`, `>= 3`).",
            "type": ["string", "number"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alerts(text: &str, value: f64) -> bool {
        Range::parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).alerts(value)
    }

    /// The table of the monitoring-plugins guidelines, "Example ranges".
    #[test]
    fn ranges_of_the_guidelines() {
        for (text, alerting, quiet) in [
            ("10", vec![-0.1, 10.1], vec![0.0, 5.0, 10.0]),
            ("10:", vec![9.9, -5.0], vec![10.0, 1e9]),
            ("~:10", vec![10.1], vec![-1e9, 10.0]),
            ("10:20", vec![9.9, 20.1], vec![10.0, 20.0]),
            ("@10:20", vec![10.0, 15.0, 20.0], vec![9.9, 20.1]),
            ("@10:<20", vec![10.0, 19.99], vec![9.9, 20.0]),
            ("10:<20", vec![9.9, 20.0], vec![10.0, 19.99]),
        ] {
            for value in alerting {
                assert!(alerts(text, value), "{text} alerts at {value}");
            }
            for value in quiet {
                assert!(!alerts(text, value), "{text} is quiet at {value}");
            }
        }
    }

    #[test]
    fn comparisons_say_when_they_alert() {
        assert!(alerts("> 90%", 90.1) && !alerts("> 90%", 90.0));
        assert!(alerts(">= 3", 3.0) && !alerts(">=3", 2.9));
        assert!(alerts("< 10GiB", 10.0 * 1_073_741_823.0) && !alerts("< 10GiB", 10.0 * 1_073_741_824.0));
        assert!(alerts("<= 0", 0.0) && !alerts("<= 0", 0.1));
        assert!(alerts("== 1", 1.0) && alerts("!= 1", 2.0) && !alerts("!= 1", 1.0));
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for text in ["", "@", "20:10", "a", "10:b", "1:2:3", "> ", ">", "10%:5s", "nan", "1e999", "> 1e308GiB", "--1"] {
            assert!(Range::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_for_people() {
        let words = |text: &str, unit: &str| Range::parse(text).unwrap().describe(&quantity::Unit::new(unit));
        assert_eq!(words("90", "%"), "above 90%");
        assert_eq!(words("> 500ms", "s"), "above 500 ms");
        assert_eq!(words("100", "ms"), "above 100 ms");
        assert_eq!(words("100:2000", "KB"), "outside of 97.66 KiB .. 1.91 MiB");
        assert_eq!(words("10:", ""), "below 10");
        assert_eq!(words("@10:20", ""), "within 10 .. 20");
        assert_eq!(words("@10:<20", ""), "within 10 .. 20");
        assert_eq!(words("~:<20", ""), "at or above 20");
    }

    proptest! {
        #[test]
        fn display_round_trips(start in -1e12f64..1e12, width in 0f64..1e12, inside: bool, open in 0..3) {
            let (start, end) = match open {
                0 => (f64::NEG_INFINITY, start),
                1 => (start, f64::INFINITY),
                _ => (start, start + width),
            };
            let open = open == 2 && end > start;
            let range = Range { start, end, alerts_inside: inside, open, dimension: Dimension::Plain };
            prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
        }

        #[test]
        fn inside_is_the_opposite_of_outside(a in -1e6f64..1e6, w in 0f64..1e6, v in -3e6f64..3e6) {
            let plain = Range::parse(&format!("{a}:{}", a + w)).unwrap();
            let inverted = Range::parse(&format!("@{a}:{}", a + w)).unwrap();
            prop_assert_ne!(plain.alerts(v), inverted.alerts(v));
        }

        #[test]
        fn any_text_gives_an_answer(text in "[-@~:<>=!0-9a-zA-Z.% ]{0,20}") {
            let _ = Range::parse(&text);
        }
    }
}
