//! What is wrong with the configuration, and how that is shown: file, line, column, the check, the key, the line itself, and what was probably
//! meant. Only that one line is shown, because its neighbours may hold secrets, and what is secret in it is masked (R67).

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use monchero_core::definition::ConfigProblem;
use monchero_core::node::{SettingsError, Span};
use monchero_core::order;
use monchero_core::text::escape_controls;
use serde::Serialize;

use super::files::Source;

/// The longest stretch of a line that is shown, in bytes: a file may be one line of a mebibyte.
const MAX_EXCERPT: usize = 160;
/// What stands for a secret.
pub(crate) const MASK: &str = "***";

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the configuration directory if it is in there.
    pub file: String,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 if it is about the file as a whole.
    pub column: usize,
    /// What the mistake stands in: ``check `shop` ``, ``action `ops` ``.
    pub subject: Option<String>,
    /// The keys that lead to it below the subject, joined by dots; empty for the subject as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or what to do.
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    mark: Range<usize>,
}

impl Problem {
    /// A problem of a file as a whole, which may not even be readable.
    pub(crate) fn of_file(file: &str, message: String, help: Option<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            subject: None,
            path: String::new(),
            message,
            help,
            excerpt: None,
        }
    }

    /// A problem of a part of a file. `masked` are the parts of that file that nobody may see.
    pub(crate) fn new(source: &Source, subject: Option<String>, error: SettingsError, masked: &[Span]) -> Self {
        let hide = |text: String| mask_message(text, source, masked);
        let mut problem = Self::of_file(&source.name, hide(error.message), error.help.map(hide));
        problem.subject = subject;
        problem.path = escape_controls(&error.path);
        if !source.text.is_empty() {
            let (line, start) = source.line_of(error.span.start);
            let text = source.line_text(line);
            let from = (error.span.start - start) as usize;
            problem.line = line;
            problem.column = text.get(..from).map_or(0, |before| before.chars().count()) + 1;
            problem.excerpt = Some(Excerpt::new(text, start, error.span, masked));
        }
        problem
    }

    /// Where it is: `conf.d/web.yaml:4:5`.
    pub fn place(&self) -> String {
        if self.line == 0 { self.file.clone() } else { format!("{}:{}:{}", self.file, self.line, self.column) }
    }

    fn headline(&self) -> String {
        let mut text = String::new();
        if let Some(subject) = &self.subject {
            text.push_str(subject);
            text.push_str(": ");
        }
        if !self.path.is_empty() {
            text.push('`');
            text.push_str(&self.path);
            text.push_str("`: ");
        }
        text.push_str(&self.message);
        text
    }

    /// All of it in one line.
    pub fn one_line(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}: {}{help}", self.place(), self.headline())
    }

    /// Several lines with the line of the file, the place underlined; with colours for a terminal if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let headline = self.headline();
        let mut group = Level::ERROR.primary_title(headline.as_str()).elements(self.excerpt.as_ref().map(|excerpt| {
            let mark = AnnotationKind::Primary.span(excerpt.mark.clone());
            Snippet::source(excerpt.text.as_str()).line_start(self.line).path(self.file.as_str()).annotation(mark)
        }));
        if self.excerpt.is_none() {
            group = group.element(annotate_snippets::Origin::path(self.file.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl From<&Problem> for ConfigProblem {
    fn from(problem: &Problem) -> Self {
        Self { file: problem.file.clone(), rendered: problem.render(false), line: problem.one_line() }
    }
}

impl Excerpt {
    /// The line that begins at `start`, with what is masked in it replaced, cut to what fits around the place.
    fn new(line: &str, start: u32, span: Span, masked: &[Span]) -> Self {
        let inside = |position: u32| floor_char(line, position.saturating_sub(start) as usize);
        let mut hidden: Vec<Range<usize>> = masked
            .iter()
            .filter(|m| m.end > start && (m.start as usize) < start as usize + line.len())
            .map(|m| inside(m.start)..inside(m.end))
            .chain(user_info(line))
            .collect();
        order::sort_by_key(&mut hidden, |range| (range.start, range.end));
        let mark = inside(span.start)..inside(span.end).max(inside(span.start));
        let (mut text, mut shown) = (String::with_capacity(line.len()), mark.start..mark.end);
        let mut done = 0;
        for range in hidden {
            if range.start < done || range.is_empty() {
                continue;
            }
            text.push_str(line.get(done..range.start).unwrap_or_default());
            // A mark inside of something masked covers the mask.
            let (before, after) = (text.len(), text.len() + MASK.len());
            let moved = |at: usize, within: usize| {
                if range.contains(&at) { within } else { (at + after).saturating_sub(range.end) }
            };
            if mark.start >= range.start {
                shown.start = moved(mark.start, before);
            }
            if mark.end >= range.start {
                shown.end = moved(mark.end, after);
            }
            text.push_str(MASK);
            done = range.end;
        }
        text.push_str(line.get(done..).unwrap_or_default());
        Self { text, mark: shown }.cut()
    }

    fn cut(self) -> Self {
        if self.text.len() <= MAX_EXCERPT {
            return self;
        }
        let from = floor_char(&self.text, self.mark.start.saturating_sub(MAX_EXCERPT / 2));
        let to = floor_char(&self.text, from + MAX_EXCERPT);
        let (before, after) = (if from > 0 { "…" } else { "" }, if to < self.text.len() { "…" } else { "" });
        let text = format!("{before}{}{after}", self.text.get(from..to).unwrap_or_default());
        let moved = |at: usize| (at.clamp(from, to) - from) + before.len();
        Self { mark: moved(self.mark.start)..moved(self.mark.end), text }
    }
}

/// The nearest place at or before `at` where a character begins.
fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Where `user:password` stands in the URLs of a text.
fn user_info(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let rest = text.get(start..)?;
        let authority = rest.split(|c: char| c.is_whitespace() || "/?#\"'`,".contains(c)).next()?;
        authority.rfind('@').map(|end| start..start + end)
    })
}

/// A message may quote a value; if that is one that nobody may see, it is masked there too.
fn mask_message(mut message: String, source: &Source, masked: &[Span]) -> String {
    // Three characters are no secret, and masking them would garble the words around.
    for text in masked
        .iter()
        .filter_map(|span| source.slice(*span))
        .map(|text| text.trim_matches(['"', '\'']))
        .filter(|text| text.len() > 3)
    {
        if message.contains(text) {
            message = message.replace(text, MASK);
        }
    }
    hide_user_info(&message)
}

/// A text with `user:password` of URLs masked.
pub(crate) fn hide_user_info(text: &str) -> String {
    let hidden: Vec<_> = user_info(text).collect();
    let mut text = text.to_owned();
    for range in hidden.into_iter().rev() {
        text.replace_range(range, MASK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("conf.d/web.yaml".to_owned(), text.to_owned())
    }

    fn problem(text: &str, place: &str, secrets: &[&str]) -> Problem {
        let source = source(text);
        let span = |part: &str| {
            let start = text.find(part).unwrap();
            Span { file: 0, start: u32::try_from(start).unwrap(), end: u32::try_from(start + part.len()).unwrap() }
        };
        let hidden: Vec<Span> = secrets.iter().map(|part| span(part)).collect();
        let error = SettingsError {
            span: span(place),
            path: "http.url".to_owned(),
            message: "wrong".to_owned(),
            help: Some("mend it".to_owned()),
        };
        Problem::new(&source, Some("check `shop`".to_owned()), error, &hidden)
    }

    #[test]
    fn a_problem_names_the_place_and_shows_only_that_line() {
        let problem = problem("secret: xyzzy\n  url: föö\nother: plugh\n", "föö", &[]);
        assert_eq!(problem.one_line(), "conf.d/web.yaml:2:8: check `shop`: `http.url`: wrong; mend it");
        let shown = problem.render(false);
        assert!(
            shown.contains("--> conf.d/web.yaml:2:8") && shown.contains("^^^") && shown.contains("mend it"),
            "{shown}"
        );
        assert!(!shown.contains("xyzzy") && !shown.contains("plugh"), "{shown}");
    }

    #[test]
    fn secrets_are_masked_and_the_mark_stays_where_it_belongs() {
        let text = "a: { token: hunter22, url: 'x', key: swordfish }\n";
        let shown = problem(text, "'x'", &["hunter22", "swordfish"]).excerpt.unwrap();
        assert_eq!(shown.text, "a: { token: ***, url: 'x', key: *** }");
        assert_eq!(&shown.text[shown.mark], "'x'");
        let shown = problem(text, "hunter22", &["hunter22"]).excerpt.unwrap();
        assert_eq!(&shown.text[shown.mark], "***");
        let shown = problem("url: http://me:pw@h/x y: 1", "y", &[]).excerpt.unwrap();
        assert_eq!((shown.text.as_str(), &shown.text[shown.mark]), ("url: http://***@h/x y: 1", "y"));
    }

    #[test]
    fn a_message_that_quotes_a_secret_is_masked() {
        let source = source("token: hunter22");
        let span = Span { file: 0, start: 7, end: 15 };
        assert_eq!(mask_message("`hunter22` is short".to_owned(), &source, &[span]), "`***` is short");
        assert_eq!(mask_message("`ftp://me:pw@h/` is bad".to_owned(), &source, &[]), "`ftp://***@h/` is bad");
    }

    #[test]
    fn long_lines_are_cut_around_the_place_and_terminals_are_safe() {
        let text = format!("{}\u{1b}[2JX{}", "ä".repeat(500), "b".repeat(500));
        let problem = problem(&text, "X", &[]);
        let excerpt = problem.excerpt.clone().unwrap();
        assert!(excerpt.text.len() < MAX_EXCERPT + 10);
        assert_eq!(&excerpt.text[excerpt.mark], "X");
        assert!(!problem.render(false).contains('\u{1b}'));
    }
}
