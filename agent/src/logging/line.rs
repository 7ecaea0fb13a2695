//! One line of the log: what it holds, and what it looks like to people, programs and the journal.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::order;
use monchero_core::text;
use owo_colors::{OwoColorize as _, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The most bytes of a message or a value: what is wrong with a large file of checks still fits.
const MAX_TEXT: usize = 8 * 1024;

/// How wide the column of levels is: as its longest word, `warning`.
const LEVEL: usize = 7;

/// One line of the log.
#[derive(Clone, Debug)]
pub(super) struct Line {
    at: Timestamp,
    level: Level,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    /// What monchero says about its log.
    pub(super) fn own(at: Timestamp, level: Level, message: String) -> Self {
        Self { at, level, message, fields: Vec::new() }
    }

    /// What an event says.
    pub(super) fn of(at: Timestamp, event: &Event<'_>) -> Self {
        let mut line = Self::own(at, *event.metadata().level(), String::new());
        event.record(&mut line);
        line
    }

    /// All that makes it the same as another one.
    pub(super) fn what(&self) -> (Level, &str, &[(&'static str, String)]) {
        (self.level, &self.message, &self.fields)
    }

    /// That there were more like it.
    pub(super) fn and_more(mut self, count: u64) -> Self {
        self.message = format!("and {count} more like it: {}", self.message);
        self
    }

    /// For people: the time, how serious it is, and what it is. Further lines are set in, so that none passes for one of its own.
    pub(super) fn text(&self, zone: &TimeZone, colour: bool) -> String {
        let time = self.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f%:z").to_string();
        let level = word(self.level);
        let blanks = " ".repeat(LEVEL.saturating_sub(level.len()));
        let level = if colour { level.style(style(self.level)).to_string() } else { level.to_owned() };
        format!("{time}  {level}{blanks}  {}\n", self.said())
    }

    /// For whoever knows the time, as systemd does: the priority as it reads it, and what it is.
    pub(super) fn with_priority(&self) -> String {
        format!("<{}>{}\n", self.priority(), self.said())
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> String {
        let fields: serde_json::Map<_, _> =
            order::tree(self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())));
        let object = serde_json::json!({
            "time": self.at.to_string(),
            "level": word(self.level),
            "message": self.message,
            "fields": fields,
        });
        format!("{object}\n")
    }

    /// For the journal: the fields by which it can be looked for.
    pub(super) fn entry(&self) -> Vec<u8> {
        let (said, priority) = (self.said(), self.priority().to_string());
        let own: Vec<String> =
            self.fields.iter().map(|(name, _)| format!("MONCHERO_{}", name.to_ascii_uppercase())).collect();
        let usual = [("MESSAGE", said.as_str()), ("PRIORITY", &priority), ("SYSLOG_IDENTIFIER", "monchero")];
        let fields = own.iter().zip(&self.fields).map(|(name, (_, value))| (name.as_str(), value.as_str()));
        monchero_actions::journal_entry(usual.into_iter().chain(fields))
    }

    /// The message and the fields, without anything that a terminal would obey.
    fn said(&self) -> String {
        let mut said = text::escape_controls_in_block(&self.message).replace('\n', "\n    ");
        for (name, value) in &self.fields {
            let shown = text::escape_controls(value);
            let bare = !shown.is_empty() && !shown.contains([' ', '"', '=']);
            let _ = if bare {
                write!(said, " {name}={shown}")
            } else {
                write!(said, " {name}=\"{}\"", shown.replace('"', "\\\""))
            };
        }
        said
    }

    /// How serious it is in the words of syslog.
    fn priority(&self) -> u8 {
        match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = text::shorten(value, MAX_TEXT);
        match field.name() {
            "message" => self.message = value,
            // Where a record of another crate comes from.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// How serious it is to the eye, as states look in a table: it can be read on a dark terminal and on a light one.
fn style(level: Level) -> Style {
    match level {
        Level::ERROR => Style::new().bright_white().on_red().bold(),
        Level::WARN => Style::new().black().on_yellow(),
        _ => Style::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line that says this.
    pub(in crate::logging) fn line(message: &str) -> Line {
        Line::own(Timestamp::from_second(1_800_000_000).unwrap(), Level::WARN, message.to_owned())
    }

    fn full() -> Line {
        let mut line = line("delivery failed\n2027-01-15 error  forged \u{1b}[2J");
        line.fields = vec![("check", "shop".to_owned()), ("why", "no \"connection\"\n".to_owned())];
        line
    }

    #[test]
    fn people_read_lines_that_nobody_forges() {
        let said = "delivery failed\n    2027-01-15 error  forged \\e[2J check=shop why=\"no \\\"connection\\\"\\n\"\n";
        assert_eq!(full().text(&TimeZone::UTC, false), format!("2027-01-15 08:00:00.000+00:00  warning  {said}"));
        assert_eq!(full().with_priority(), format!("<4>{said}"));
        assert!(
            full().text(&TimeZone::UTC, true).contains("\u{1b}[30;43mwarning"),
            "{}",
            full().text(&TimeZone::UTC, true)
        );
    }

    #[test]
    fn programs_read_objects() {
        let json: serde_json::Value = serde_json::from_str(&full().json()).unwrap();
        assert_eq!(full().json().lines().count(), 1);
        assert_eq!(json["level"], "warning");
        assert_eq!(json["time"], "2027-01-15T08:00:00Z");
        assert_eq!(json["fields"]["why"], "no \"connection\"\n");
    }

    #[test]
    fn the_journal_gets_fields() {
        let entry = full().entry();
        let has = |field: &[u8]| entry.windows(field.len()).any(|bytes| bytes == field);
        assert!(has(b"PRIORITY\n\x01\0\0\0\0\0\0\x004\n"), "{entry:?}");
        assert!(has(b"MONCHERO_CHECK\n\x04\0\0\0\0\0\0\0shop\n"), "{entry:?}");
        assert!(has(b"SYSLOG_IDENTIFIER\n"), "{entry:?}");
    }
}
