//! The words of a summary, for a terminal.

use jiff::tz::TimeZone;
use monchero_core::summary::Summary;

use crate::wording::bulletin;

/// How everything is, in a sentence.
pub fn summary_headline(summary: &Summary) -> String {
    bulletin::summary_headline(summary, &summary.host)
}

/// What is to be known besides, each with its name.
pub fn summary_facts(summary: &Summary, zone: &TimeZone) -> Vec<(&'static str, String)> {
    bulletin::summary_facts(summary, zone)
}

/// The rest as titled lists, those that are empty left out.
pub fn summary_sections(summary: &Summary) -> Vec<(&'static str, Vec<String>)> {
    bulletin::summary_sections(summary)
}
