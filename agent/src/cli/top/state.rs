//! What the screen is about, and how keys and answers change it. Nothing here looks at the world.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_api::types::{Detail, Point};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::form::{self, Answered, Form, Wish};
use super::rows::{Picture, Row, Sort};
use crate::cli::table;

/// Lines around the list: heading, what is chosen, titles; a note, keys.
const FRAME: usize = 5;
/// How often the past of metrics is asked for while they are looked at, in looks: it costs a request each.
const PAST_EVERY: u32 = 15;

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A key.
    Key(KeyEvent),
    /// The screen has this size now: columns and lines.
    Size(u16, u16),
    /// Time has passed.
    Time(Timestamp),
    /// The daemon answered, or why not.
    Looked(Result<Picture, String>),
    /// What it says about one check, or why nothing.
    Told(String, Result<Box<Detail<'static>>, String>),
    /// What the metrics of one check were.
    Past(String, Vec<Vec<Point>>),
    /// Something was done, or why not.
    Done(Result<String, String>),
    /// No key comes any more.
    Gone,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To look at once.
    Look,
    /// To be told about this check, with the past of its metrics or without.
    Tell(String, bool),
    /// To acknowledge its problem.
    Acknowledge(String, Option<Duration>, String),
    /// To take that back.
    Unacknowledge(String),
    /// To plan a downtime for it.
    Downtime(String, Duration, String),
    /// To run it.
    Run(String),
    /// To draw everything anew.
    Redraw,
    /// To stop, so that the shell goes on.
    Suspend,
    /// To end.
    Quit,
}

/// What keys go to.
#[derive(Debug, Default)]
pub(super) enum Mode {
    /// The list.
    #[default]
    List,
    /// The filter of the list.
    Filter,
    /// One check.
    Details(Details),
    /// What the keys mean.
    Help,
    /// Questions.
    Form(Form),
}

/// One check that is looked at.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) name: String,
    /// What is known, or why nothing is.
    pub(super) told: Option<Result<Box<Detail<'static>>, String>>,
    pub(super) past: Vec<Vec<Point>>,
    /// The first line that is shown.
    pub(super) scroll: usize,
    looks: u32,
}

/// All that is shown.
pub(super) struct State {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
    pub(super) colour: bool,
    pub(super) picture: Picture,
    /// When the picture was made.
    pub(super) seen: Timestamp,
    /// Why there is no newer one.
    pub(super) away: Option<String>,
    /// The rows that are shown, by their places in the picture.
    pub(super) chosen: Vec<usize>,
    /// How wide the longest name among them is.
    pub(super) name_width: usize,
    /// The row that keys are about, and the first that is seen, by their places in `chosen`.
    pub(super) at: usize,
    pub(super) first: usize,
    pub(super) filter: String,
    pub(super) problems: bool,
    pub(super) sort: Sort,
    pub(super) mode: Mode,
    /// What was done last, or why not.
    pub(super) note: Option<Result<String, String>>,
    size: (u16, u16),
}

impl State {
    /// The list of this picture.
    pub(super) fn new(picture: Picture, now: Timestamp, zone: TimeZone, colour: bool) -> Self {
        let mut state = Self {
            now,
            zone,
            colour,
            picture,
            seen: now,
            away: None,
            chosen: Vec::new(),
            name_width: 0,
            at: 0,
            first: 0,
            filter: String::new(),
            problems: false,
            sort: Sort::default(),
            mode: Mode::List,
            note: None,
            size: (80, 24),
        };
        state.choose();
        state
    }

    /// The check that keys are about.
    pub(super) fn row(&self) -> Option<&Row> {
        self.picture.rows.get(*self.chosen.get(self.at)?)
    }

    /// How many rows are seen.
    pub(super) fn page(&self) -> usize {
        usize::from(self.size.1).saturating_sub(FRAME).max(1)
    }

    /// Changes what is shown; what is to be done comes back.
    pub(super) fn update(&mut self, event: Event) -> Vec<Ask> {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Size(width, height) => {
                self.size = (width, height);
                self.scroll();
            }
            Event::Time(now) => self.now = now,
            Event::Looked(Ok(picture)) => return self.looked(picture),
            Event::Looked(Err(why)) => self.away = Some(why),
            Event::Told(name, told) => {
                if let Mode::Details(details) = &mut self.mode
                    && details.name == name
                {
                    details.told = Some(told);
                }
            }
            Event::Past(name, past) => {
                if let Mode::Details(details) = &mut self.mode
                    && details.name == name
                {
                    details.past = past;
                }
            }
            Event::Gone => return vec![Ask::Quit],
            Event::Done(done) => {
                self.note = Some(done);
                return vec![Ask::Look];
            }
        }
        Vec::new()
    }

    fn looked(&mut self, picture: Picture) -> Vec<Ask> {
        let name = self.row().map(|row| row.name.clone());
        self.picture = picture;
        self.seen = self.now;
        self.away = None;
        self.choose();
        // The eye stays on the same check; if that is gone, on the same line.
        let same = |name: String| self.chosen.iter().position(|i| self.picture.rows[*i].name == name);
        // Whoever has moved nowhere looks at the worst.
        if let Some(at) = name.and_then(same).filter(|_| self.at > 0) {
            self.at = at;
        }
        self.scroll();
        let Mode::Details(details) = &mut self.mode else { return Vec::new() };
        details.looks += 1;
        vec![Ask::Tell(details.name.clone(), details.looks.is_multiple_of(PAST_EVERY))]
    }

    /// Filters and sorts anew.
    fn choose(&mut self) {
        self.chosen = self.picture.chosen(&self.filter, self.problems, self.sort);
        let widths = self.chosen.iter().map(|i| table::width(&self.picture.rows[*i].name));
        self.name_width = widths.max().unwrap_or(0);
        self.scroll();
    }

    /// Keeps the chosen row within the list and in sight.
    fn scroll(&mut self) {
        self.at = self.at.min(self.chosen.len().saturating_sub(1));
        self.first = self.first.min(self.at).max((self.at + 1).saturating_sub(self.page()));
        self.first = self.first.min(self.chosen.len().saturating_sub(self.page()));
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Ask> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return vec![Ask::Quit],
                KeyCode::Char('z') => return vec![Ask::Suspend],
                KeyCode::Char('l') => return vec![Ask::Redraw],
                _ => {}
            }
        }
        self.note = None;
        match &mut self.mode {
            Mode::List => self.key_in_list(key),
            Mode::Filter => self.key_in_filter(key),
            Mode::Details(_) => self.key_in_details(key),
            Mode::Help => {
                self.mode = Mode::List;
                Vec::new()
            }
            Mode::Form(form) => {
                let (wish, check) = (form.wish, form.check.clone());
                match form.key(key) {
                    Answered::NotYet => Vec::new(),
                    Answered::Never => self.back_to_list(),
                    Answered::Yes(lasting, comment) => {
                        self.back_to_list();
                        match (wish, lasting) {
                            (Wish::Downtime, Some(lasting)) => vec![Ask::Downtime(check, lasting, comment)],
                            (_, lasting) => vec![Ask::Acknowledge(check, lasting, comment)],
                        }
                    }
                }
            }
        }
    }

    fn back_to_list(&mut self) -> Vec<Ask> {
        self.mode = Mode::List;
        Vec::new()
    }

    fn key_in_list(&mut self, key: KeyEvent) -> Vec<Ask> {
        let page = self.page();
        match key.code {
            KeyCode::Char('q') => return vec![Ask::Quit],
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.at += 1,
            KeyCode::PageUp => self.at = self.at.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.at += page,
            KeyCode::Home | KeyCode::Char('g') => self.at = 0,
            KeyCode::End | KeyCode::Char('G') => self.at = self.chosen.len(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('p') => {
                self.problems = !self.problems;
                self.choose();
            }
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.choose();
            }
            // What was filtered is seen again.
            KeyCode::Esc => {
                self.filter.clear();
                self.choose();
            }
            KeyCode::Enter | KeyCode::Right => return self.open(),
            code => {
                let name = self.row().map(|row| row.name.clone());
                return name.map(|name| self.about(code, name)).unwrap_or_default();
            }
        }
        self.scroll();
        Vec::new()
    }

    /// Shows all about the row.
    fn open(&mut self) -> Vec<Ask> {
        let Some(name) = self.row().map(|row| row.name.clone()) else { return Vec::new() };
        self.mode = Mode::Details(Details { name: name.clone(), told: None, past: Vec::new(), scroll: 0, looks: 0 });
        vec![Ask::Tell(name, true)]
    }

    /// Does something about one check.
    fn about(&mut self, code: KeyCode, name: String) -> Vec<Ask> {
        match code {
            KeyCode::Char('a') => self.mode = Mode::Form(Form::new(Wish::Acknowledge, &name)),
            KeyCode::Char('d') => self.mode = Mode::Form(Form::new(Wish::Downtime, &name)),
            KeyCode::Char('u') => return vec![Ask::Unacknowledge(name)],
            KeyCode::Char('r') => {
                self.note = Some(Ok(format!("{name} is being run")));
                return vec![Ask::Run(name)];
            }
            _ => {}
        }
        Vec::new()
    }

    fn key_in_filter(&mut self, key: KeyEvent) -> Vec<Ask> {
        match key.code {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Down => self.at += 1,
            code => {
                form::edit(&mut self.filter, code, key.modifiers);
                self.at = 0;
            }
        }
        self.choose();
        Vec::new()
    }

    fn key_in_details(&mut self, key: KeyEvent) -> Vec<Ask> {
        let page = self.page();
        let Mode::Details(details) = &mut self.mode else { return Vec::new() };
        match key.code {
            KeyCode::Char('q' | '?') | KeyCode::Esc | KeyCode::Left | KeyCode::Enter | KeyCode::Backspace => {
                return self.back_to_list();
            }
            KeyCode::Up | KeyCode::Char('k') => details.scroll = details.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => details.scroll += 1,
            KeyCode::PageUp => details.scroll = details.scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => details.scroll += page,
            KeyCode::Home | KeyCode::Char('g') => details.scroll = 0,
            code => {
                let name = details.name.clone();
                return self.about(code, name);
            }
        }
        // How far it goes is known of the text only.
        let lines = super::draw::details(self, usize::from(self.size.0)).len();
        if let Mode::Details(details) = &mut self.mode {
            details.scroll = details.scroll.min(lines.saturating_sub(page));
        }
        Vec::new()
    }
}
