//! What the terminal is like, and how text gets there: nothing from outside reaches it as it is (R69).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_api::types::CheckState;
use monchero_core::text;
use owo_colors::{OwoColorize as _, Style};

/// The width of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;
/// The height of a terminal that does not tell.
const USUAL_HEIGHT: usize = 24;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where output goes and how it may look.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    /// Whether it may have colour.
    pub(super) colour: bool,
    /// How many columns it has; none if it is no terminal: then nothing is cut.
    pub(super) width: Option<usize>,
    /// The wall time that spans are counted from.
    pub(super) now: Timestamp,
    /// The zone that times are shown in.
    pub(super) zone: TimeZone,
}

impl Screen {
    /// Standard output.
    pub(super) fn stdout(colour: Colour) -> Self {
        let terminal = io::stdout().is_terminal();
        let plain = set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: match colour {
                Colour::Auto => terminal && !plain,
                Colour::Always => true,
                Colour::Never => false,
            },
            width: terminal.then(|| size().map_or(USUAL_WIDTH, |(width, _)| width)),
            now: monchero_engine::Clock::system().now(),
            zone: TimeZone::system(),
        }
    }

    /// The text in a style, if there is colour.
    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        if self.colour { text.style(style).to_string() } else { text.to_owned() }
    }

    /// A moment, in local time.
    pub(super) fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// How long ago a moment is: `5s`, `12m 5s`, `3d 4h`.
    pub(super) fn since(&self, at: Timestamp) -> String {
        span(self.now.duration_since(at).try_into().unwrap_or_default())
    }

    /// A moment to come: `in 4m`, or `now`.
    pub(super) fn until(&self, at: Timestamp) -> String {
        match Duration::try_from(at.duration_since(self.now)) {
            Ok(left) if left.as_secs() > 0 => format!("in {}", span(left)),
            _ => "now".to_owned(),
        }
    }
}

fn set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Columns and lines of the terminal at standard output.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// How many lines the terminal has.
pub(super) fn height() -> usize {
    size().map_or(USUAL_HEIGHT, |(_, height)| height)
}

/// A span in whole seconds: its two largest units.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        secs @ 0..60 => format!("{secs}s"),
        secs => monchero_core::duration::human(Duration::from_secs(secs)),
    }
}

/// Text from outside on one line: what a terminal would obey is shown instead.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text::escape_controls(text))
}

/// Text from outside on its own lines.
pub(super) fn block(text: &str) -> String {
    text::escape_controls_in_block(text)
}

/// Prints to standard output, all at once.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints JSON as it came, and ends the line.
pub(super) fn print_json(json: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(json)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// How far something is that takes a while: a line on standard error, if that is a terminal, until it is dropped.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Begins with a text.
    pub(super) fn new(text: &str) -> Self {
        let progress = Self { shown: io::stderr().is_terminal() };
        progress.show(text);
        progress
    }

    /// Shows another text in its place.
    pub(super) fn show(&self, text: &str) {
        self.write(&format!("\r{}\u{1b}[K", line(text)));
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Progress that cannot be shown is no reason to stop.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write("\r\u{1b}[K");
    }
}

/// How a state looks: its word says what it is, its colour only helps. Problems have a ground of their own, since nobody can tell whether the
/// terminal is dark or light, and yellow or green letters, or dimmed ones, cannot be read on white.
pub(super) fn style(state: CheckState) -> Style {
    match state {
        CheckState::Pending | CheckState::Okay => Style::new(),
        CheckState::Warning => Style::new().black().on_yellow(),
        CheckState::Unknown => Style::new().bright_white().on_magenta(),
        CheckState::Bad => Style::new().bright_white().on_red().bold(),
    }
}

/// `12 checks: 10 okay, 1 warning, 1 bad`.
pub(super) fn summary(screen: &Screen, states: impl Iterator<Item = CheckState>) -> String {
    const ORDER: [CheckState; 5] =
        [CheckState::Okay, CheckState::Warning, CheckState::Unknown, CheckState::Bad, CheckState::Pending];
    let mut counts = [0_usize; ORDER.len()];
    for state in states {
        for (known, count) in ORDER.iter().zip(&mut counts) {
            *count += usize::from(*known == state);
        }
    }
    let all: usize = counts.iter().sum();
    let mut out = text::counted(all, "check");
    let mut separator = ": ";
    for (state, count) in ORDER.iter().zip(counts).filter(|(_, count)| *count > 0) {
        let _ = write!(out, "{separator}{count} {}", screen.paint(state.as_str(), style(*state)));
        separator = ", ";
    }
    out
}
