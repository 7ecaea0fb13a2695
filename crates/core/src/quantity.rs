//! Numbers with units, as thresholds write them: `80`, `90%`, `10GiB`, `500ms`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::quote;

/// The unit of a metric, as perfdata writes it (`s`, `ms`, `%`, `B`, `c`, or none). Known units cost no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(Cow<'static, str>);

impl Unit {
    /// No unit.
    pub const NONE: Self = Self(Cow::Borrowed(""));
    /// Percent.
    pub const PERCENT: Self = Self(Cow::Borrowed("%"));
    /// Seconds.
    pub const SECONDS: Self = Self(Cow::Borrowed("s"));
    /// Bytes.
    pub const BYTES: Self = Self(Cow::Borrowed("B"));
    /// A counter that only grows.
    pub const COUNTER: Self = Self(Cow::Borrowed("c"));

    /// The unit that a text names.
    pub fn new(text: &str) -> Self {
        const KNOWN: [&str; 24] = [
            "", "%", "s", "ms", "us", "ns", "B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "c", "W", "V",
            "A", "Hz", "C", "VA", "dBm", "B/s",
        ];
        Self(match KNOWN.iter().find(|known| **known == text) {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(text.to_owned()),
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it measures and by which factor it is the base unit of that.
    fn scale(&self) -> Option<(Dimension, f64)> {
        scale(&self.0)
    }

    /// What it measures; a plain number if the unit is not one that thresholds know.
    pub fn dimension(&self) -> Dimension {
        self.scale().map_or(Dimension::Plain, |(dimension, _)| dimension)
    }

    /// A value in the base unit of its dimension: `250ms` is 0.25.
    pub fn to_base(&self, value: f64) -> f64 {
        self.scale().map_or(value, |(_, factor)| value * factor)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a number with a unit measures. Thresholds compare in the base unit: percent, bytes, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dimension {
    /// A number.
    #[default]
    Plain,
    /// A share in percent.
    Percent,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "a plain number",
            Self::Percent => "a percentage",
            Self::Bytes => "a size",
            Self::Seconds => "a span of time",
        })
    }
}

fn scale(unit: &str) -> Option<(Dimension, f64)> {
    use Dimension::{Bytes, Percent, Seconds};
    // A rate is compared as the amount of one second.
    if let Some(amount) = unit.strip_suffix("/s") {
        return scale(amount).filter(|(dimension, _)| *dimension == Bytes);
    }
    Some(match unit {
        "%" => (Percent, 1.0),
        "ns" => (Seconds, 1e-9),
        "us" | "µs" => (Seconds, 1e-6),
        "ms" => (Seconds, 1e-3),
        "s" => (Seconds, 1.0),
        "m" | "min" => (Seconds, 60.0),
        "h" => (Seconds, 3_600.0),
        "d" => (Seconds, 86_400.0),
        "w" => (Seconds, 604_800.0),
        "B" => (Bytes, 1.0),
        "kB" | "KB" => (Bytes, 1e3),
        "MB" => (Bytes, 1e6),
        "GB" => (Bytes, 1e9),
        "TB" => (Bytes, 1e12),
        "KiB" => (Bytes, 1_024.0),
        "MiB" => (Bytes, 1_048_576.0),
        "GiB" => (Bytes, 1_073_741_824.0),
        "TiB" => (Bytes, 1_099_511_627_776.0),
        _ => return None,
    })
}

/// Reads a number with an optional unit: its value in the base unit, and what it measures.
pub fn parse(text: &str) -> Result<(f64, Dimension), String> {
    let text = text.trim();
    let split = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || is_exponent(text, *i)))
        .map_or(text.len(), |(i, _)| i);
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().map_err(|_| format!("{} is no number", quote(text)))?;
    let unit = unit.trim();
    let (dimension, factor) = match scale(unit) {
        Some(known) => known,
        None if unit.is_empty() => (Dimension::Plain, 1.0),
        None if matches!(unit, "K" | "k" | "M" | "G" | "T") => {
            let unit = unit.to_uppercase();
            let (binary, decimal) = (quote(&format!("{number}{unit}iB")), quote(&format!("{number}{unit}B")));
            return Err(format!(
                "{} is ambiguous: write {binary} (powers of 1024) or {decimal} (powers of 1000)",
                quote(text)
            ));
        }
        None => {
            let known = "%, ms, s, m, h, d, B, KB, MB, GB, TB, KiB, MiB, GiB or TiB";
            return Err(format!("{} is no unit that thresholds know: use {known}", quote(unit)));
        }
    };
    let value = value * factor;
    if value.is_finite() { Ok((value, dimension)) } else { Err(format!("{} is too large", quote(text))) }
}

/// Whether the character at `i` is the `e` of `1e-5`.
fn is_exponent(text: &str, i: usize) -> bool {
    let (before, from) = text.split_at(i);
    let Some(power) = from.strip_prefix(['e', 'E']) else { return false };
    before.ends_with(|c: char| c.is_ascii_digit())
        && power.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit())
}

/// A value in its unit for people: `1.5 GiB`, `82.3 %`, `340 ms`.
pub fn human(value: f64, unit: &Unit) -> String {
    let base = unit.to_base(value);
    match unit.dimension() {
        // More bytes than a number can say.
        _ if !base.is_finite() => format!("{} {unit}", trim(value)),
        Dimension::Percent => format!("{}%", trim(value)),
        Dimension::Bytes => {
            let rate = if unit.as_str().ends_with("/s") { "/s" } else { "" };
            let mut scaled = base;
            for unit in ["B", "KiB", "MiB", "GiB"] {
                if scaled.abs() < 1_024.0 {
                    return format!("{} {unit}{rate}", trim(scaled));
                }
                scaled /= 1_024.0;
            }
            format!("{} TiB{rate}", trim(scaled))
        }
        Dimension::Seconds => {
            let magnitude = base.abs();
            if magnitude < 1e-3 && base != 0.0 {
                format!("{} us", trim(base * 1e6))
            } else if magnitude < 1.0 {
                format!("{} ms", trim(base * 1e3))
            } else if magnitude < 60.0 {
                format!("{} s", trim(base))
            } else {
                let sign = if base < 0.0 { "-" } else { "" };
                let span = std::time::Duration::try_from_secs_f64(magnitude).unwrap_or(std::time::Duration::MAX);
                format!("{sign}{}", crate::duration::human(span))
            }
        }
        Dimension::Plain if unit.as_str().is_empty() || unit == &Unit::COUNTER => trim(value),
        Dimension::Plain => format!("{} {unit}", trim(value)),
    }
}

/// A number with at most two digits behind the point, and three significant ones if it is very small or large.
pub fn trim(value: f64) -> String {
    let magnitude = value.abs();
    if (magnitude < 0.01 && value != 0.0) || (magnitude >= 1e15 && value.is_finite()) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_bytes_are_bytes_of_a_second() {
        let unit = Unit::new("B/s");
        assert_eq!((unit.dimension(), human(3_145_728.0, &unit)), (Dimension::Bytes, "3 MiB/s".to_owned()));
        assert_eq!(parse("2MiB/s"), Ok((2_097_152.0, Dimension::Bytes)));
        assert_eq!(Unit::new("V/s").dimension(), Dimension::Plain);
    }

    #[test]
    fn numbers_with_units() {
        for (text, value, dimension) in [
            ("80", 80.0, Dimension::Plain),
            ("-1.5e3", -1500.0, Dimension::Plain),
            ("90%", 90.0, Dimension::Percent),
            ("10 GiB", 10.0 * 1_073_741_824.0, Dimension::Bytes),
            ("2MB", 2e6, Dimension::Bytes),
            ("500ms", 0.5, Dimension::Seconds),
            ("14d", 1_209_600.0, Dimension::Seconds),
        ] {
            assert_eq!(parse(text), Ok((value, dimension)), "{text}");
        }
        assert!(parse("10G").unwrap_err().contains("10GiB"));
        assert!(parse("10 M").unwrap_err().contains("`10MiB`"));
        for text in ["", "x", "1e999", "1e308TiB", "--5", "5 parsecs", "nan", "inf", "%", "e5", "1e+-5", "5\u{fffd}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_for_people() {
        assert_eq!(human(82.345, &Unit::PERCENT), "82.34%");
        assert_eq!(human(1.5 * 1_073_741_824.0, &Unit::BYTES), "1.5 GiB");
        assert_eq!(human(340.0, &Unit::new("ms")), "340 ms");
        assert_eq!(human(0.0, &Unit::SECONDS), "0 ms");
        assert_eq!(human(90_000.0, &Unit::SECONDS), "1d 1h");
        assert_eq!(human(3.0, &Unit::NONE), "3");
        assert_eq!(human(1e300, &Unit::NONE), "1.00e300");
        assert_eq!(human(1e308, &Unit::new("TiB")), "1.00e308 TiB");
        assert_eq!(human(-0.0, &Unit::PERCENT), "0%");
    }
}
