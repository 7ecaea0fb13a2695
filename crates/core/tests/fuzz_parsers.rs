//! Nonsense for everything in core that reads text from outside: it answers, quickly, and the answer keeps its promises.

#[path = "support/fuzz.rs"]
mod fuzz;

use std::path::Path;

use monchero_core::metric::{MAX_LABEL, MAX_METRICS};
use monchero_core::name::MAX_NAME;
use monchero_core::node::suggest;
use monchero_core::quantity::{self, Unit};
use monchero_core::{Name, Range, State, duration, hold, nagios, text};

/// How many inputs each target gets, unless the environment says otherwise.
const INPUTS: u64 = 20_000;

fn on_text(target: &str, check: impl Fn(&str) + Sync) {
    on_bytes(target, |bytes| check(&String::from_utf8_lossy(bytes)));
}

fn on_bytes(target: &str, check: impl Fn(&[u8]) + Sync) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    fuzz::fuzz(target, &corpus, INPUTS, check);
}

/// An error message fits into a line of a terminal or two and cannot steer it.
fn is_harmless(message: &str) {
    assert!(message.len() < 400 && !message.chars().any(char::is_control), "{message:?}");
}

#[test]
fn ranges() {
    on_text("range", |text| match Range::parse(text) {
        Err(why) => is_harmless(&why),
        Ok(range) => {
            let again = Range::parse(&range.to_string())
                .unwrap_or_else(|why| panic!("{text:?} is written as `{range}`: {why}"));
            let (start, end, inside) = range.bounds();
            assert_eq!(again.bounds(), (start, end, inside), "{text:?} is written as `{range}`");
            assert!(start <= end && !start.is_nan() && !end.is_nan(), "{text:?}");
            for value in [start, end, 0.0, -1.0, 50.0, 1e300, f64::midpoint(start, end)] {
                assert_eq!(range.alerts(value), again.alerts(value), "{text:?} at {value}");
                assert_eq!(range.alerts(value), inside == (value >= start && value <= end), "{text:?} at {value}");
            }
            for unit in [Unit::NONE, Unit::PERCENT, Unit::BYTES, Unit::SECONDS, Unit::new("ms")] {
                let words = range.describe(&unit);
                assert!(!words.is_empty() && words.len() < 80 && !words.contains("NaN"), "{words}");
            }
        }
    });
}

#[test]
fn quantities() {
    on_text("quantity", |text| match quantity::parse(text) {
        Err(why) => is_harmless(&why),
        Ok((value, _)) => {
            assert!(value.is_finite(), "{text:?}");
            for unit in ["", "%", "B", "s", "ms", "KiB", "°C"] {
                let shown = quantity::human(value, &Unit::new(unit));
                assert!(
                    shown.contains(|c: char| c.is_ascii_digit()) && !shown.contains("NaN"),
                    "{text:?} is shown as {shown}"
                );
            }
        }
    });
}

#[test]
fn durations() {
    on_text("duration", |text| match duration::parse(text) {
        Err(why) => is_harmless(&why),
        Ok(span) => {
            assert!(span <= duration::LONGEST, "{text:?}");
            assert_eq!(duration::parse(&duration::format(span)), Ok(span), "{text:?}");
            assert!(!duration::human(span).is_empty());
        }
    });
}

#[test]
fn names() {
    on_text("name", |text| {
        match Name::parse(text) {
            Err(why) => is_harmless(&why),
            Ok(name) => {
                assert!(
                    name.as_str() == text && text.len() <= MAX_NAME && !text.chars().any(char::is_control),
                    "{text:?}"
                );
                let service = name.service(text);
                assert!(Name::parse(service.as_str()).is_ok() && service != name, "{service:?}");
            }
        }
        let service = Name::new("raid").service(text);
        assert!(Name::parse(service.as_str()).is_ok(), "{text:?} became {service:?}");
        assert!(hold::matches("raid", service.as_str()), "a check's pattern covers its services: {service:?}");
        assert!(hold::matches(text, text) || text.is_empty() && hold::matches("*", text));
        assert!(suggest(text, &["interval", "url"]).len() < 100);
        let _ = State::from_word(text);
    });
}

#[test]
fn texts() {
    on_bytes("text", |bytes| {
        let clean = text::clean(bytes);
        assert!(clean.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{clean:?}");
        assert_eq!(text::clean(clean.as_bytes()), clean, "cleaning is done once");
        let raw = String::from_utf8_lossy(bytes);
        let escaped = text::escape_controls(&raw);
        let steers = |c: char| {
            c.is_control()
                || "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
                    .contains(c)
        };
        assert!(!escaped.contains(steers), "{escaped:?}");
        assert!(!text::escape_controls_in_block(&raw).contains(|c| steers(c) && c != '\n'));
        is_harmless(&text::quote(&raw));
        for max in [0, 1, 2, 27, 28, 29, 60, 4_096] {
            let short = text::shorten(&raw, max);
            assert!(short.len() <= max, "{} bytes are more than {max}", short.len());
            assert!(raw.len() > max || short == raw);
        }
    });
}

#[test]
fn plugin_output() {
    on_bytes("plugin_output", |bytes| {
        for truncated in [false, true] {
            let output = nagios::parse(bytes, truncated);
            assert!(
                output.metrics.len() <= MAX_METRICS
                    && output.metrics.iter().all(|metric| metric.label.len() <= MAX_LABEL)
            );
            let clean = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t');
            assert!(clean(&output.message) && clean(&output.long_output) && !output.message.contains('\n'));
            let mut labels: Vec<&str> = output.metrics.iter().map(|metric| &*metric.label).collect();
            labels.sort_unstable();
            assert!(labels.windows(2).all(|pair| pair[0] != pair[1]), "a label stands twice");
            let rendered = nagios::render(&output.metrics);
            let again = nagios::parse(format!("x|{rendered}").as_bytes(), false);
            assert_eq!(nagios::render(&again.metrics), rendered, "writing what was read of it changes it");
            assert_eq!(again.metrics.len(), output.metrics.len(), "{rendered}");
            let states = |metrics: &[monchero_core::Metric]| metrics.iter().map(monchero_core::Metric::state).max();
            assert_eq!(states(&again.metrics), states(&output.metrics), "{rendered}");
        }
    });
}
