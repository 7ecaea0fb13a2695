//! A table for reading: columns as wide as what stands in them, the last one cut to fit.
//!
//! Ten thousand rows take a few milliseconds; a general layout library took fifty, which is all that `monchero status` may take.

use std::borrow::Cow;

use owo_colors::{OwoColorize as _, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::screen::{self, Screen};

/// What stands between columns.
const GAP: usize = 2;
/// The last column has at least so many columns of the terminal before another one gives way.
const LAST: usize = 20;
/// A column that gives way keeps at least so many.
const SHRUNK: usize = 12;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its heading.
    pub(super) title: &'static str,
    /// What happens to it when the terminal is narrow.
    pub(super) narrow: Narrow,
}

/// What happens to a column when the terminal is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// It stays as it is.
    Stays,
    /// Its texts are cut.
    Shrinks,
    /// It is left out, the rightmost first.
    Leaves,
}

impl Column {
    /// A column that stays as it is.
    pub(super) const fn new(title: &'static str) -> Self {
        Self { title, narrow: Narrow::Stays }
    }

    /// A column that is treated so when the terminal is narrow.
    pub(super) const fn narrow(title: &'static str, narrow: Narrow) -> Self {
        Self { title, narrow }
    }
}

/// One text of a table, harmless, with its style.
#[derive(Clone, Debug)]
pub(super) struct Cell<'a> {
    text: Cow<'a, str>,
    style: Option<Style>,
}

impl<'a> Cell<'a> {
    /// A text from wherever it comes.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: screen::line(text), style: None }
    }

    /// A text made here.
    pub(super) fn made(text: impl Into<Cow<'a, str>>) -> Self {
        let text = match text.into() {
            Cow::Borrowed(text) => screen::line(text),
            Cow::Owned(text) => Cow::Owned(match screen::line(&text) {
                Cow::Borrowed(_) => text,
                Cow::Owned(escaped) => escaped,
            }),
        };
        Self { text, style: None }
    }

    /// The same in a style.
    #[must_use]
    pub(super) fn style(mut self, style: Style) -> Self {
        self.style = Some(style);
        self
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table<'a, const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell<'a>; N]>,
}

impl<'a, const N: usize> Table<'a, N> {
    /// A table without rows.
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: [Cell<'a>; N]) {
        self.rows.push(row);
    }

    /// The table as lines, headings first; empty without rows.
    pub(super) fn render(&self, screen: &Screen) -> String {
        let mut out = String::new();
        if self.rows.is_empty() {
            return out;
        }
        let widths = self.widths(screen.width);
        out.reserve((self.rows.len() + 1) * (widths.iter().flatten().sum::<usize>() + GAP * N));
        let heading = Style::new().bold();
        let titles = self.columns.map(|column| Cell { text: Cow::Borrowed(column.title), style: Some(heading) });
        write_line(&mut out, &titles, &widths, screen);
        for row in &self.rows {
            write_line(&mut out, row, &widths, screen);
        }
        out
    }

    /// How wide each column is; none if it is left out.
    fn widths(&self, total: Option<usize>) -> [Option<usize>; N] {
        let mut widths = self.columns.map(|column| column.title.len());
        for row in &self.rows {
            for (cell, widest) in row.iter().zip(&mut widths) {
                *widest = (*widest).max(width(&cell.text));
            }
        }
        let mut widths = widths.map(Some);
        let Some(total) = total else { return widths };
        let (Some(wanted), Some(last)) = (widths.last().copied().flatten(), N.checked_sub(1)) else { return widths };
        let needed = |widths: &[Option<usize>; N]| {
            widths[..last].iter().flatten().map(|width| width + GAP).sum::<usize>() + wanted.min(LAST)
        };
        let shrink = |widths: &mut [Option<usize>; N], which: fn(Narrow) -> bool| {
            for (i, _) in self.columns.iter().enumerate().filter(|(i, column)| *i < last && which(column.narrow)) {
                let excess = needed(widths).saturating_sub(total);
                widths[i] = widths[i].map(|width| width.saturating_sub(excess).max(SHRUNK.min(width)));
            }
        };
        shrink(&mut widths, |narrow| narrow == Narrow::Shrinks);
        for (i, column) in self.columns.iter().enumerate().rev() {
            if column.narrow == Narrow::Leaves && needed(&widths) > total {
                widths[i] = None;
            }
        }
        // What should stay is short as a rule; where it is not, a cut word beats a broken line.
        shrink(&mut widths, |_| true);
        let others = needed(&widths) - wanted.min(LAST);
        widths[last] = Some(wanted.min(total.saturating_sub(others).max(1)));
        widths
    }
}

fn write_line<const N: usize>(out: &mut String, row: &[Cell<'_>; N], widths: &[Option<usize>; N], screen: &Screen) {
    let mut pending = 0;
    for (cell, max) in row.iter().zip(widths) {
        let Some(max) = *max else { continue };
        let text = cut(&cell.text, max);
        let used = width(&text);
        if used > 0 {
            out.extend(std::iter::repeat_n(' ', pending));
            pending = 0;
            match cell.style.filter(|_| screen.colour) {
                Some(style) => out.push_str(&text.style(style).to_string()),
                None => out.push_str(&text),
            }
        }
        // Blanks are written before the next text only, so no line ends with any.
        pending += max - used + GAP;
    }
    out.push('\n');
}

/// How many columns of a terminal a harmless text takes.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// At most `max` columns of a text; `…` stands for what was cut.
pub(super) fn cut(text: &str, max: usize) -> Cow<'_, str> {
    // A character takes at most as many columns as it has bytes.
    if text.len() <= max || width(text) <= max {
        return Cow::Borrowed(text);
    }
    let (mut used, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > max {
            break;
        }
        used += wide;
        end = at + c.len_utf8();
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// A harmless line in parts that are at most `max` columns wide, broken between words where that is possible.
pub(super) fn folded(line: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (mut used, mut end) = (0, text.len());
        for (at, c) in text.char_indices() {
            used += c.width().unwrap_or(0);
            // A character that is wider than the whole line stands alone.
            if used > max && at > 0 {
                end = at;
                break;
            }
        }
        if end == text.len() {
            return Some(text);
        }
        let word = text.get(..=end).and_then(|part| part.rfind(' ')).filter(|at| !text[..*at].trim().is_empty());
        let (part, more) = text.split_at(word.unwrap_or(end));
        rest = Some(more.trim_start()).filter(|more| !more.is_empty());
        Some(part.trim_end())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn screen(width: Option<usize>) -> Screen {
        Screen { colour: false, width, now: jiff::Timestamp::UNIX_EPOCH, zone: jiff::tz::TimeZone::UTC }
    }

    fn table() -> Table<'static, 4> {
        let mut table = Table::new([
            Column::narrow("NAME", Narrow::Shrinks),
            Column::new("STATE"),
            Column::narrow("SINCE", Narrow::Leaves),
            Column::new("MESSAGE"),
        ]);
        table.push(
            ["a-rather-long-name-of-a-check", "bad", "3d 4h", "status is 503, expected 200, and more of that"]
                .map(Cell::new),
        );
        table.push(["größe", "okay", "", "\u{1b}[2J日本"].map(Cell::new));
        table
    }

    #[test]
    fn wide_enough_nothing_is_cut() {
        let expected = "\
NAME                           STATE  SINCE  MESSAGE
a-rather-long-name-of-a-check  bad    3d 4h  status is 503, expected 200, and more of that
größe                          okay          \\e[2J日本
";
        assert_eq!(table().render(&screen(None)), expected);
        assert_eq!(table().render(&screen(Some(200))), expected);
    }

    #[test]
    fn narrow_the_last_is_cut_then_names_then_columns_leave() {
        assert_eq!(
            table().render(&screen(Some(70))),
            "\
NAME                           STATE  SINCE  MESSAGE
a-rather-long-name-of-a-check  bad    3d 4h  status is 503, expected …
größe                          okay          \\e[2J日本
"
        );
        assert_eq!(
            table().render(&screen(Some(40))),
            "\
NAME          STATE  MESSAGE
a-rather-lo…  bad    status is 503, exp…
größe         okay   \\e[2J日本
"
        );
    }

    #[test]
    fn colour_does_not_count_as_width() {
        let mut table = Table::new([Column::new("STATE"), Column::new("X")]);
        table.push([Cell::new("bad").style(Style::new().red()), Cell::new("x")]);
        let coloured = Screen { colour: true, ..screen(None) };
        assert_eq!(
            table.render(&coloured),
            "\u{1b}[1mSTATE\u{1b}[0m  \u{1b}[1mX\u{1b}[0m\n\u{1b}[31mbad\u{1b}[0m    x\n"
        );
    }

    #[test]
    fn lines_are_folded_between_words() {
        let fold = |line, max| folded(line, max).collect::<Vec<_>>();
        assert_eq!(fold("one two three", 9), ["one two", "three"]);
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("incomprehensible", 6), ["incomp", "rehens", "ible"]);
        assert_eq!(fold("  set in", 4), ["  se", "t in"]);
        assert_eq!(fold("接続できません", 5), ["接続", "でき", "ませ", "ん"]);
        assert_eq!(fold("接続", 1), ["接", "続"]);
        assert_eq!(fold("", 4), [""]);
    }

    proptest! {
        #[test]
        fn folding_loses_nothing_and_ends(line in "[a-c äö接 ]{0,60}", max in 0_usize..20) {
            let bare = |text: &str| text.replace(' ', "");
            let parts: Vec<&str> = folded(&line, max).collect();
            prop_assert_eq!(bare(&parts.concat()), bare(&line));
            prop_assert!(max < 2 || parts.iter().all(|part| width(part) <= max), "{:?}", parts);
        }

        #[test]
        fn lines_fit_and_hold_nothing_that_a_terminal_obeys(texts in prop::collection::vec(".{0,60}", 4), columns in 30_usize..200) {
            let mut table = table();
            let cells: Vec<Cell<'_>> = texts.iter().map(|text| Cell::new(text)).collect();
            table.rows.push(cells.try_into().unwrap());
            let shown = table.render(&screen(Some(columns)));
            for line in shown.lines() {
                prop_assert!(width(line) <= columns, "{line:?}");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
            prop_assert_eq!(shown.lines().count(), 4);
        }
    }
}
