//! What is said about a UPS, and what is derived of its variables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use monchero_core::quantity::trim;
use monchero_core::{Report, duration};

use super::status::Verdict;
use super::{Ups, variables};
use crate::settings::excerpt;

/// Whether there is a value of this name.
pub(super) fn is_known(name: &str, variables: &BTreeMap<String, String>) -> bool {
    match name {
        "on_battery" => variables.contains_key("ups.status"),
        "watts" => watts(variables).is_some(),
        name => variables.contains_key(name),
    }
}

/// What the server means by a word behind `ERR`.
pub(super) fn meaning(word: &str) -> String {
    let says = match word {
        "ACCESS-DENIED" => {
            "this host or user may not ask: see LISTEN in upsd.conf, upsd.users, and the host's own rules for access"
        }
        "UNKNOWN-UPS" => "it has no such UPS",
        "DATA-STALE" => "its driver gives no fresh data: see its log and the cable",
        "DRIVER-NOT-CONNECTED" => "its driver is not running: start it with upsdrvctl or the nut-driver units",
        "USERNAME-REQUIRED" | "PASSWORD-REQUIRED" => "it asks for `user` and `password`",
        "INVALID-USERNAME" | "INVALID-PASSWORD" => "`user` or `password` is wrong",
        "TLS-NOT-ENABLED" | "TLS-REQUIRED" | "FEATURE-NOT-CONFIGURED" => "it is set up otherwise: see `tls`",
        _ => return word.to_owned(),
    };
    format!("{says} ({word})")
}

/// The real power, measured or estimated.
pub(super) fn watts(variables: &BTreeMap<String, String>) -> Option<f64> {
    let number = |name: &str| variables.get(name).and_then(|text| variables::number(name, text));
    number("ups.realpower").or_else(|| {
        let nominal = number("ups.realpower.nominal").or_else(|| number("ups.power.nominal"))?;
        Some(nominal * number("ups.load")? / 100.0)
    })
}

/// `on battery since 3m, 42% left, about 18m`.
pub(super) fn summary(verdict: &Verdict, span: Option<Duration>, variables: &BTreeMap<String, String>) -> String {
    let number = |name: &str| variables.get(name).and_then(|text| variables::number(name, text));
    let mut text = match span.filter(|span| span.as_secs() > 0) {
        Some(span) => verdict.text.replacen("on battery", &format!("on battery since {}", duration::human(span)), 1),
        None => verdict.text.clone(),
    };
    if text.is_empty() {
        text.push_str("answers");
    }
    if let Some(charge) = number("battery.charge") {
        let _ = write!(text, ", {}% {}", trim(charge), if verdict.on_battery { "left" } else { "charged" });
    }
    if let Some(left) = number("battery.runtime").and_then(|left| Duration::try_from_secs_f64(left).ok()) {
        let _ = write!(text, ", about {}", duration::human(left));
    }
    if let Some(load) = number("ups.load") {
        let _ = write!(text, ", load {}%", trim(load));
    }
    text
}

/// Which device it is, for the further output.
pub(super) fn describe(report: &mut Report, ups: &Ups) {
    let parts = [("", "ups.mfr"), ("", "ups.model"), ("serial ", "ups.serial"), ("firmware ", "ups.firmware")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, name)| !ups.value(name).is_empty())
        .map(|(before, name)| format!("{before}{}", excerpt(ups.value(name))))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(report.output, "{}: {}", ups.name, parts.join(", "));
    }
}
