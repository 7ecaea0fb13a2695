//! The few questions that are asked before a problem is acknowledged or a downtime is planned.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::history::span;

/// The longest answer, in characters: a comment is a sentence or two.
const MAX_ANSWER: usize = 300;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To acknowledge.
    Acknowledge,
    /// To plan a downtime.
    Downtime,
}

/// What the questions led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// They are not answered yet.
    NotYet,
    /// Nothing is to be done.
    Never,
    /// This is to be done: how long, and why.
    Yes(Option<Duration>, String),
}

/// Questions about one check and what was answered so far.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) wish: Wish,
    pub(super) check: String,
    /// Each question and its answer.
    pub(super) answers: [(&'static str, String); 2],
    /// The question that is being answered.
    pub(super) at: usize,
    /// What is wrong with an answer.
    pub(super) wrong: Option<String>,
}

impl Form {
    /// The questions before an acknowledgement or a downtime.
    pub(super) fn new(wish: Wish, check: &str) -> Self {
        let how_long = match wish {
            Wish::Acknowledge => "for how long (`2h`; empty: until it is over)",
            Wish::Downtime => "for how long (`30m`, `4h`)",
        };
        let answers = [("comment", String::new()), (how_long, String::new())];
        Self { wish, check: check.to_owned(), answers, at: 0, wrong: None }
    }

    /// What is about to be done, in words.
    pub(super) fn title(&self) -> &'static str {
        match self.wish {
            Wish::Acknowledge => "acknowledge",
            Wish::Downtime => "downtime for",
        }
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Answered {
        let (at, count) = (self.at, self.answers.len());
        let answer = &mut self.answers[at].1;
        match key.code {
            KeyCode::Esc => return Answered::Never,
            KeyCode::Enter if at + 1 == count => return self.answered(),
            KeyCode::Enter | KeyCode::Tab | KeyCode::Down => self.at = (at + 1) % count,
            KeyCode::BackTab | KeyCode::Up => self.at = (at + count - 1) % count,
            code => edit(answer, code, key.modifiers),
        }
        Answered::NotYet
    }

    fn answered(&mut self) -> Answered {
        let comment = self.answers[0].1.trim().to_owned();
        let text = self.answers[1].1.trim();
        if text.is_empty() && self.wish == Wish::Acknowledge {
            return Answered::Yes(None, comment);
        }
        match span(text) {
            Ok(lasting) => Answered::Yes(Some(lasting), comment),
            Err(why) => {
                self.wrong = Some(why);
                Answered::NotYet
            }
        }
    }
}

/// Changes a line of text as a key says.
pub(super) fn edit(text: &mut String, code: KeyCode, modifiers: KeyModifiers) {
    match code {
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char('u') if modifiers.contains(KeyModifiers::CONTROL) => text.clear(),
        KeyCode::Char(c)
            if !modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
                && !c.is_control()
                && text.chars().count() < MAX_ANSWER =>
        {
            text.push(c);
        }
        _ => {}
    }
}
