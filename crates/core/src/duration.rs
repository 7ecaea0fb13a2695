//! Spans of time as people write them: `30s`, `1m30s`, `4h`, `1d`, `100ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a span of time with units (`ms`, `s`, `m`, `h`, `d`, `w`). A day has 24 hours. Months and years vary, so they are refused,
/// as are bare numbers, negative spans and zero where the caller says so.
pub fn parse(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.trim().parse().map_err(|_| expected(text))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("`{text}`: months and years vary in length; write days or weeks"));
    }
    if span.is_negative() || text.trim().starts_with(['P', 'p', '-', '+']) {
        return Err(expected(text));
    }
    let days = i64::from(span.get_days()) + 7 * i64::from(span.get_weeks());
    let hours = span.days(0).weeks(0);
    let rest = jiff::SignedDuration::try_from(hours).map_err(|_| expected(text))?;
    let rest = Duration::try_from(rest).map_err(|_| expected(text))?;
    let days = u64::try_from(days).ok().and_then(|d| d.checked_mul(86_400)).ok_or_else(|| expected(text))?;
    let total = rest.checked_add(Duration::from_secs(days)).ok_or_else(|| expected(text))?;
    if total > Duration::from_secs(10 * 366 * 86_400) {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(total)
}

fn expected(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return format!("`{text}` has no unit: write `{text}s`, `{text}m` or `{text}h`");
    }
    format!("`{text}` is no span of time: write a number with a unit, as in `500ms`, `30s`, `5m`, `4h`, `1d` or `1h30m`")
}

/// The shortest exact way to write a span of time: the inverse of [`parse`].
pub fn format(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return if duration.is_zero() { "0s".to_owned() } else { format!("{}us", duration.as_micros()) };
    }
    let mut out = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if millis >= size {
            out.push_str(&(millis / size).to_string());
            out.push_str(unit);
            millis %= size;
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
    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub fn serialize<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&super::format(*duration)),
            None => serializer.serialize_none(),
        }
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
        for text in ["", "5", "-5s", "1 month", "1y", "abc", "5 parsecs", "PT5S", "99999999999999w", "400000d"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("30").unwrap_err().contains("`30s`"));
    }

    #[test]
    fn people_see_two_units() {
        assert_eq!(human(Duration::from_millis(340)), "340ms");
        assert_eq!(human(Duration::from_secs(725)), "12m 5s");
        assert_eq!(human(Duration::from_secs(86_400 * 3 + 4 * 3_600 + 59)), "3d 4h");
        assert_eq!(human(Duration::from_secs(3_600)), "1h");
    }

    proptest! {
        #[test]
        fn format_is_the_inverse_of_parse(millis in 0u64..300_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_gives_an_answer(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
