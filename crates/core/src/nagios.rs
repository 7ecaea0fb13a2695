//! Output of Nagios plugins, as the monitoring-plugins development guidelines describe it ("Plugin Output for Nagios", "Performance data").
//!
//! ```text
//! DISK OK - 80 GiB free | /=12GB;70;80;0;90      the message, and metrics behind the bar
//! all file systems were looked at                long output
//! the slowest took 3 ms | 'my disk'=3ms          and perhaps more metrics behind a bar,
//! /home=40GB;70;80                               over several lines
//! ```
//!
//! Three rules go beyond the guidelines, so that nothing that a plugin says is lost:
//!
//! - A `|` behind which no metric can be read is part of the text (R14); the next one is looked at then.
//! - Among the metrics at the end, a line without any metric is long output.
//! - Blank lines at the beginning are skipped: the message is the first line that says something.
//!
//! Reading is total: any bytes give an answer, in a time that grows with their number only.

mod perfdata;

pub use perfdata::{Lost, parse_value, render};

use crate::metric::Metric;
use perfdata::Perfdata;

/// What a plugin said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The first line that is not blank, without metrics; empty if there is none.
    pub message: String,
    /// The lines behind it, without metrics.
    pub long_output: String,
    /// The metrics in their order, at most [`crate::metric::MAX_METRICS`], no label twice.
    pub metrics: Vec<Metric>,
    /// What stood among the metrics and was not kept.
    pub lost: Lost,
}

/// Reads what a plugin wrote. `truncated` says that the bytes are the beginning of more: a metric that the cut may have gone through
/// is dropped, since half a number looks like a number (R12).
pub fn parse(bytes: &[u8], truncated: bool) -> Output {
    let text = crate::text::clean(if truncated { without_half_character(bytes) } else { bytes });
    let mut perfdata = Perfdata::default();
    let (mut message, mut long_output) = (None, String::new());
    let mut among_metrics = false;
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let cut = truncated && lines.peek().is_none();
        if (among_metrics && perfdata.read(line, cut)) || (message.is_none() && line.trim().is_empty()) {
            continue;
        }
        let words = perfdata.take_from(line, cut);
        if message.is_none() {
            message = Some(words.trim());
            continue;
        }
        among_metrics |= words.len() < line.len();
        long_output.push_str(words.trim_end());
        long_output.push('\n');
    }
    long_output.truncate(long_output.trim_end().len());
    let (metrics, lost) = perfdata.finish();
    Output { message: message.unwrap_or_default().to_owned(), long_output, metrics, lost }
}

/// Without the beginning of a character at the end, as a cut leaves it.
fn without_half_character(bytes: &[u8]) -> &[u8] {
    let invalid = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_half = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
    bytes.get(..bytes.len() - if is_half { invalid.len() } else { 0 }).unwrap_or(bytes)
}
