//! Numbers that a check measured.

use serde::{Deserialize, Serialize};

use crate::quantity::Unit;
use crate::range::Range;
use crate::state::State;

/// The most metrics that one result keeps; the rest is counted (R15).
pub const MAX_METRICS: usize = 256;
/// The longest label of a metric, in bytes (R15).
pub const MAX_LABEL: usize = 128;

/// One measured number: a label, a value with its unit, and the ranges that judge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was measured.
    pub label: Box<str>,
    /// The number in `unit`; none if the plugin said that it could not find out (`U`).
    pub value: Option<f64>,
    /// The unit of `value`, `min` and `max`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unit: Unit,
    /// When it is a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Range>,
    /// When it is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<Range>,
    /// The smallest possible value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest possible value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

fn is_none(unit: &Unit) -> bool {
    unit == &Unit::NONE
}

impl Metric {
    /// A metric without ranges.
    pub fn new(label: &str, value: f64, unit: Unit) -> Self {
        Self { label: Box::from(label), value: Some(value), unit, warning: None, bad: None, min: None, max: None }
    }

    /// What its ranges say about its value. Bad is asked first. A range without a unit is meant in the metric's own unit,
    /// one with a unit in the base unit of what it measures. No value, no finding.
    pub fn state(&self) -> State {
        let Some(value) = self.value else { return State::Okay };
        let alerts = |range: &Option<Range>| {
            range.is_some_and(|range| match range.dimension() {
                crate::quantity::Dimension::Plain => range.alerts(value),
                _ => range.alerts(self.unit.to_base(value)),
            })
        };
        if alerts(&self.bad) {
            State::Bad
        } else if alerts(&self.warning) {
            State::Warning
        } else {
            State::Okay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_with_units_compare_in_base_units() {
        let mut metric = Metric::new("time", 250.0, Unit::new("ms"));
        metric.warning = Some(Range::parse("> 0.2s").unwrap());
        assert_eq!(metric.state(), State::Warning);
        metric.bad = Some(Range::parse("200").unwrap());
        assert_eq!(metric.state(), State::Bad);
        metric.value = None;
        assert_eq!(metric.state(), State::Okay);
    }
}
