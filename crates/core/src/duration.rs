//! Spans of time as people write them: `30s`, `1m30s`, `4h`, `1d`, `100ms`.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::text::quote;

/// The longest span of time that a setting may ask for: more is a slip of the pen, and nothing that is computed with it overflows.
pub const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// Reads a span of time with units (`ms`, `s`, `m`, `h`, `d`, `w`), at most [`LONGEST`]. A day has 24 hours. Months and years vary,
/// so they are refused, as are bare numbers and negative spans.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let span: jiff::Span = text.parse().map_err(|_| expected(text))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("{}: months and years vary in length; write days or weeks", quote(text)));
    }
    if span.is_negative() || text.starts_with(['P', 'p', '-', '+']) {
        return Err(expected(text));
    }
    let days = i64::from(span.get_days()) + 7 * i64::from(span.get_weeks());
    let hours = span.days(0).weeks(0);
    let rest = jiff::SignedDuration::try_from(hours).map_err(|_| expected(text))?;
    let rest = Duration::try_from(rest).map_err(|_| expected(text))?;
    let days = u64::try_from(days).ok().and_then(|d| d.checked_mul(86_400)).ok_or_else(|| expected(text))?;
    let total = rest.checked_add(Duration::from_secs(days)).ok_or_else(|| expected(text))?;
    if total > LONGEST {
        return Err(format!("{} is longer than ten years", quote(text)));
    }
    Ok(total)
}

fn expected(text: &str) -> String {
    if text.parse::<f64>().is_ok_and(|number| number >= 0.0) {
        let with = |unit: &str| quote(&format!("{text}{unit}"));
        return format!("{} has no unit: write {}, {} or {}", quote(text), with("s"), with("m"), with("h"));
    }
    format!(
        "{} is no span of time: write a number with a unit, as in `500ms`, `30s`, `5m`, `4h`, `1d` or `1h30m`",
        quote(text)
    )
}

/// The shortest exact way to write a span of time: the inverse of [`parse`].
pub fn format(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let mut rest = duration.as_nanos();
    let mut out = String::new();
    for (unit, size) in UNITS {
        if rest >= size {
            let _ = write!(out, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    out
}

/// A span of time for people: its two largest units, `3d 4h`, `12m 5s`, `340ms`.
pub fn human(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |a: u64, ua: &str, b: u64, ub: &str| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua} {b}{ub}") }
    };
    if secs >= 86_400 {
        two(secs / 86_400, "d", secs % 86_400 / 3_600, "h")
    } else if secs >= 3_600 {
        two(secs / 3_600, "h", secs % 3_600 / 60, "m")
    } else if secs >= 60 {
        two(secs / 60, "m", secs % 60, "s")
    } else if secs >= 10 {
        format!("{secs}s")
    } else if secs >= 1 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// For `#[serde(with = "monchero_core::duration::text")]`: a `Duration` as text with units.
pub mod text {
    use super::{Deserialize, Deserializer, Duration};

    /// Reads the text form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(serde::de::Error::custom)
    }

    /// Writes the text form.
    pub fn serialize<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }
}

/// For `#[serde(with = "monchero_core::duration::option")]`: an optional `Duration` as text with units.
pub mod option {
    use super::{Deserialize, Deserializer, Duration};

    /// Reads the text form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }

    /// Writes the text form.
    pub fn serialize<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&super::format(*duration)),
            None => serializer.serialize_none(),
        }
    }
}

/// A span of time in the schema: a text with units.
pub struct DurationText;

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "examples": ["500ms", "30s", "5m", "4h", "1d", "1h30m"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_of_the_manual() {
        for (text, millis) in [
            ("100ms", 100),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("5m", 300_000),
            ("4h", 14_400_000),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
            ("1d 2h", 93_600_000),
            ("1h 30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            ".",
            "nan",
            "5",
            "-5s",
            "5s ago",
            "1 month",
            "1y",
            "abc",
            "5 parsecs",
            "PT5S",
            "99999999999999w",
            "400000d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("30").unwrap_err().contains("`30s`"));
        assert!(parse(".").unwrap_err().contains("is no span of time"));
        assert!(parse("2 months").unwrap_err().contains("days or weeks"));
    }

    #[test]
    fn people_see_two_units() {
        assert_eq!(human(Duration::from_millis(340)), "340ms");
        assert_eq!(human(Duration::from_secs(725)), "12m 5s");
        assert_eq!(human(Duration::from_secs(86_400 * 3 + 4 * 3_600 + 59)), "3d 4h");
        assert_eq!(human(Duration::from_hours(1)), "1h");
    }

    proptest! {
        #[test]
        fn format_is_the_inverse_of_parse(seconds in 0u64..300_000_000, nanos in 0u32..1_000_000_000, unit in 0..4) {
            let nanos = nanos - nanos % [1, 1_000, 1_000_000, 1_000_000_000][usize::try_from(unit).unwrap()];
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_gives_an_answer(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
