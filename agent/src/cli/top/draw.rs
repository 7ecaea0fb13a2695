//! What the screen looks like. Words and letters say everything; colour only helps.

use std::borrow::Cow;

use monchero_api::types::CheckState;
use monchero_core::text::counted;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

use super::form::Form;
use super::state::{Details, Mode, State};
use crate::cli::screen::{self, Screen};
use crate::cli::show;
use crate::cli::table::{cut, folded, width};

/// What stands between columns.
const GAP: u16 = 2;
/// How wide the columns are that are short by nature: state, since, attempt.
const STATE: u16 = 12;
const SINCE: u16 = 8;
const ATTEMPT: u16 = 7;
/// Below so many columns of the terminal, state and message matter more than since and attempt.
const NARROW: u16 = 64;
/// Below so many lines of the terminal, nothing stands between questions.
const SHORT: u16 = 14;
/// Where the list begins: under heading, what is chosen, titles.
const LIST: u16 = 3;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// The keys, the most needed first: each is left out when there is no room.
const KEYS: [&str; 10] = [
    "? help",
    "q quit",
    "Enter details",
    "/ filter",
    "a ack",
    "d downtime",
    "r run",
    "p problems",
    "s sort",
    "u unack",
];
/// The keys while one check is looked at.
const DETAIL_KEYS: [&str; 6] = ["Esc back", "j/k scroll", "a ack", "d downtime", "r run", "u unack"];

/// What the keys mean.
const HELP: [&str; 18] = [
    "j k, arrows        one check down, up",
    "PageUp PageDown    a page; Home and End: the first, the last",
    "Enter              everything about the check; Esc leads back",
    "/                  filter: words that name, kind, state, message or labels have",
    "                   (team=web, bad soft); Enter keeps it, Esc drops it",
    "p                  problems only, or all",
    "s                  sort: worst first, newest change first, by name",
    "",
    "a                  acknowledge: its notices wait until it is over or changes",
    "u                  take the acknowledgement back",
    "d                  plan a downtime that begins now",
    "r                  run it now",
    "",
    "Ctrl-L             draw everything anew",
    "Ctrl-Z             stop; `fg` goes on",
    "q, Ctrl-C          quit",
    "",
    "any key leads back",
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let mut page = Page { buffer: frame.buffer_mut(), width: area.width, height: area.height, colour: state.colour };
    if area.height == 0 || area.width == 0 {
        return;
    }
    heading(&mut page, state);
    match &state.mode {
        Mode::List | Mode::Filter => list(&mut page, state),
        Mode::Details(one) => {
            for (y, line) in details(state, area.width.into()).iter().skip(one.scroll).enumerate() {
                let style = if y == 0 && one.scroll == 0 { BOLD } else { Style::new() };
                page.body(y + 2, line, style);
            }
        }
        Mode::Help => {
            page.body(1, "keys of monchero top", BOLD);
            HELP.iter().enumerate().for_each(|(y, line)| page.body(y + 3, line, Style::new()));
        }
        Mode::Form(form) => questions(&mut page, form),
    }
    note(&mut page, state);
    let keys: &[&str] = match &state.mode {
        Mode::List => &KEYS,
        Mode::Filter => &["Enter keep", "Esc drop"],
        Mode::Details(_) => &DETAIL_KEYS,
        Mode::Help => &[],
        Mode::Form(_) => &["Enter next", "Esc cancel", "Tab other question", "Ctrl-U empty"],
    };
    footer(&mut page, keys);
}

/// Where is drawn.
struct Page<'a> {
    buffer: &'a mut Buffer,
    width: u16,
    height: u16,
    colour: bool,
}

impl Page<'_> {
    /// Writes at most `max` columns of a text; where it ends.
    fn put(&mut self, x: u16, y: u16, text: &str, max: u16, style: Style) -> u16 {
        if y >= self.height || x >= self.width {
            return x;
        }
        let max = max.min(self.width - x);
        let shown = screen::line(text);
        self.buffer.set_stringn(x, y, cut(&shown, max.into()), max.into(), style).0
    }

    /// Writes a line between the heading and the last two lines.
    fn body(&mut self, y: usize, text: &str, style: Style) {
        let Ok(y) = u16::try_from(y) else { return };
        if y + 2 < self.height {
            self.put(0, y, text, self.width, style);
        }
    }

    /// As [`screen::style`] has it.
    fn state_style(&self, state: CheckState) -> Style {
        let (letters, ground, style) = match state {
            CheckState::Bad => (Color::White, Color::Red, BOLD),
            CheckState::Unknown => (Color::White, Color::Magenta, Style::new()),
            CheckState::Warning => (Color::Black, Color::Yellow, Style::new()),
            CheckState::Okay | CheckState::Pending => return Style::new(),
        };
        if self.colour { style.fg(letters).bg(ground) } else { style }
    }
}

/// Program, host, how many of which state, and the time; or since when nothing is known.
fn heading(page: &mut Page<'_>, state: &State) {
    let time = |at: jiff::Timestamp| at.to_zoned(state.zone.clone()).strftime("%H:%M:%S").to_string();
    let clock = match &state.away {
        None => time(state.now),
        Some(_) => format!("STALE: as of {}", time(state.seen)),
    };
    let room = page.width.saturating_sub(columns(&clock) + GAP);
    let mut x = page.put(0, 0, &state.picture.host, room, BOLD);
    let all = state.picture.rows.len();
    let mut parts = vec![(counted(all, "check"), Style::new())];
    let counts = state.picture.counts();
    parts.extend(counts.iter().map(|(of, count)| (format!("{count} {}", of.as_str()), page.state_style(*of))));
    for (text, style) in parts {
        if x + GAP + columns(&text) > room {
            break;
        }
        x = page.put(x + GAP, 0, &text, room, style);
    }
    let style = if state.away.is_some() { BOLD.add_modifier(Modifier::REVERSED) } else { Style::new() };
    let right = page.width.saturating_sub(columns(&clock));
    page.put(right, 0, &clock, page.width, style);
}

/// What is chosen, the titles, and the rows.
fn list(page: &mut Page<'_>, state: &State) {
    page.put(0, 1, &choice(state), page.width, Style::new());
    if let Mode::Filter = state.mode {
        let x = page.put(0, 1, "filter: ", page.width, BOLD);
        // What was drawn there before goes.
        page.put(x, 1, &" ".repeat(page.width.into()), page.width, Style::new());
        let x = page.put(x, 1, &state.filter, page.width.saturating_sub(x + 1), Style::new());
        page.put(x, 1, " ", 1, Style::new().add_modifier(Modifier::REVERSED));
    }
    if state.chosen.is_empty() {
        let text = match (state.picture.rows.is_empty(), state.problems && state.filter.is_empty()) {
            (true, _) => "no checks",
            (_, true) => "no problems",
            _ => "no check fits",
        };
        page.body(usize::from(LIST), text, Style::new());
        return;
    }
    let wide = page.width >= NARROW;
    let name = columns_of(state.name_width).clamp(4, (page.width / 3).max(4));
    let mut ends = vec![GAP + name, STATE];
    if wide {
        ends.extend([SINCE, ATTEMPT]);
    }
    let titles: &[&str] =
        if wide { &["  NAME", "STATE", "SINCE", "ATTEMPT", "MESSAGE"] } else { &["  NAME", "STATE", "MESSAGE"] };
    let bold = |text: &&'static str| (Cow::Borrowed(*text), BOLD);
    columns_at(page, LIST - 1, &ends, titles.iter().map(bold));
    let now = Screen { colour: false, width: None, now: state.now, zone: state.zone.clone() };
    for (y, at) in (state.first..state.chosen.len()).take(state.page()).enumerate() {
        let row = &state.picture.rows[state.chosen[at]];
        let here = at == state.at;
        let text = if here { BOLD } else { Style::new() };
        let mark = if here { "> " } else { "  " };
        let since = row.since.map(|since| now.since(since)).unwrap_or_default();
        let mut cells = vec![
            (Cow::Owned(format!("{mark}{}", row.name)), text),
            (Cow::Owned(row.state_words()), page.state_style(row.state)),
        ];
        if wide {
            cells.extend([(Cow::Owned(since), text), (Cow::Owned(row.attempt_words()), text)]);
        }
        cells.push((Cow::Owned(row.message_words()), text));
        columns_at(page, LIST + columns_of(y), &ends, cells.into_iter());
    }
}

/// What of the list is seen, in words.
fn choice(state: &State) -> String {
    let mut parts = vec![state.sort.as_str().to_owned()];
    if state.problems {
        parts.push("problems only".to_owned());
    }
    if !state.filter.is_empty() {
        parts.push(format!("filter: {}", state.filter));
    }
    let (seen, all) = (state.chosen.len(), state.picture.rows.len());
    if seen < all {
        parts.push(format!("{seen} of {all}"));
    }
    if seen > state.page() {
        parts.push(format!("line {} of {seen}", state.at + 1));
    }
    parts.join(", ")
}

/// Writes texts side by side; the last one has the rest of the line.
fn columns_at<'t>(page: &mut Page<'_>, y: u16, widths: &[u16], cells: impl Iterator<Item = (Cow<'t, str>, Style)>) {
    let mut x = 0;
    for (i, (text, style)) in cells.enumerate() {
        let max = widths.get(i).copied().unwrap_or(page.width);
        page.put(x, y, &text, max, style);
        x = x.saturating_add(max).saturating_add(GAP);
    }
}

/// Everything about one check, as `monchero show` has it, in lines of this width.
pub(super) fn details(state: &State, wide: usize) -> Vec<String> {
    let Mode::Details(Details { name, told, past, .. }) = &state.mode else { return Vec::new() };
    let detail = match told {
        None => return vec![format!("{name}: asking ..")],
        Some(Err(why)) => {
            let lines = [name.clone(), String::new()].into_iter();
            return lines.chain(folded(why, wide).map(ToOwned::to_owned)).collect();
        }
        Some(Ok(detail)) => detail,
    };
    let shown = Screen { colour: false, width: Some(wide), now: state.now, zone: state.zone.clone() };
    show::page(&shown, detail, past).lines().map(ToOwned::to_owned).collect()
}

/// The questions and what was answered.
fn questions(page: &mut Page<'_>, form: &Form) {
    let apart = if page.height < SHORT { 2 } else { 3 };
    let x = page.put(0, 1, form.title(), page.width, BOLD);
    page.put(x + 1, 1, &form.check, page.width, BOLD);
    for (i, (question, answer)) in form.answers.iter().enumerate() {
        let y = LIST + apart * columns_of(i);
        page.put(2, y, question, page.width, Style::new());
        page.put(0, y + 1, if i == form.at { "> " } else { "  " }, 2, BOLD);
        // The end of a long answer is where one writes.
        let room = usize::from(page.width.saturating_sub(4)).max(1);
        let mut tail = answer.as_str();
        while width(tail) > room {
            tail = tail.get(tail.chars().next().map_or(1, char::len_utf8)..).unwrap_or_default();
        }
        let x = page.put(2, y + 1, tail, page.width, Style::new());
        if i == form.at {
            page.put(x, y + 1, " ", 1, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// What was done, or what is wrong, over the keys.
fn note(page: &mut Page<'_>, state: &State) {
    let wrong = match &state.mode {
        Mode::Form(form) => form.wrong.as_ref().map(|wrong| Err(wrong.clone())),
        _ => None,
    };
    let (text, style) = match (wrong.as_ref().or(state.note.as_ref()), &state.away) {
        (Some(Ok(text)), _) => (text.clone(), Style::new()),
        (Some(Err(why)), _) => (why.clone(), page.state_style(CheckState::Bad)),
        (None, Some(why)) => (format!("{why}; trying again"), page.state_style(CheckState::Bad)),
        (None, None) => return,
    };
    page.put(0, page.height.saturating_sub(2).max(1), &text, page.width, style);
}

/// As many keys as there is room for.
fn footer(page: &mut Page<'_>, keys: &[&str]) {
    let y = page.height - 1;
    if y == 0 {
        return;
    }
    let mut x = 0;
    for key in keys {
        if x + columns(key) > page.width {
            break;
        }
        let (name, does) = key.split_once(' ').unwrap_or((key, ""));
        let end = page.put(x, y, name, page.width, BOLD);
        x = page.put(end + 1, y, does, page.width, Style::new()) + GAP;
    }
}

fn columns(text: &str) -> u16 {
    columns_of(width(text))
}

fn columns_of(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX / 4)
}
