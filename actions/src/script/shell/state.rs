//! What quotes, brackets and here-documents are open at a place in a shell script.

use super::line::{Line, Tool};
use super::{INSTEAD, Place};

/// What is open at a place in a script, innermost last.
#[derive(Clone, Debug)]
enum Frame {
    /// Commands: the script itself, `(..)`, `$(..)` or backticks.
    Commands(Commands),
    /// `".."`
    Double(usize),
    /// `'..'`, or `$'..'` where a backslash escapes.
    Single { since: usize, ansi: bool },
    /// `${..}`
    Parameter(usize),
    /// `((..))`, with the parentheses that are open in it.
    Arithmetic { since: usize, depth: usize },
    /// `# ..`
    Comment,
    /// The text of a here-document.
    Here { document: Here, since: usize, line: String },
}

#[derive(Clone, Debug, Default)]
struct Commands {
    since: usize,
    end: End,
    /// The simple command that is being written.
    line: Line,
    /// How many `case` are open: their patterns end with a parenthesis that closes nothing.
    cases: usize,
    /// Here-documents whose text begins with the next line.
    pending: Vec<Here>,
    /// What stands on this line of the script so far.
    tools: Vec<Tool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Script,
    /// `( .. )` and `f()`
    Parenthesis,
    /// `$( .. )`, `<( .. )`, `list=( .. )`
    Substitution,
    Backtick,
}

/// A here-document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Here {
    word: String,
    quoted: bool,
    strips_tabs: bool,
    /// Whether something on its line takes it for code.
    is_code: bool,
}

/// The state of the shell at one place.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    frames: Vec<Frame>,
    /// Whether the last character was a backslash that escapes.
    escaped: bool,
    /// The last character, if it had its own meaning.
    previous: char,
}

impl Shell {
    pub(super) fn new() -> Self {
        Self {
            frames: vec![Frame::Commands(Commands { since: 1, ..Commands::default() })],
            escaped: false,
            previous: '\0',
        }
    }

    /// What is still open, in words, and since which line.
    pub(super) fn open(&self) -> Option<(&'static str, usize)> {
        self.frames.iter().skip(1).find_map(|frame| match frame {
            Frame::Commands(commands) => Some(("the parenthesis or backtick", commands.since)),
            Frame::Double(since) | Frame::Single { since, .. } => Some(("the quote", *since)),
            Frame::Parameter(since) => Some(("the `${`", *since)),
            Frame::Arithmetic { since, .. } => Some(("the `((`", *since)),
            // The last line of a text needs no newline to be a here-document's end.
            Frame::Here { document, line, .. } if document.is_end(line) => None,
            Frame::Here { since, .. } => Some(("the here-document", *since)),
            Frame::Comment => None,
        })
    }

    /// What must be equal at both ends of a branch.
    pub(super) fn shape(&self) -> (bool, Vec<String>) {
        let shapes = self.frames.iter().map(|frame| match frame {
            Frame::Commands(commands) => {
                format!("commands {:?} {} {:?}", commands.end, commands.cases, commands.pending)
            }
            Frame::Double(_) => "double".to_owned(),
            Frame::Single { ansi, .. } => format!("single {ansi}"),
            Frame::Parameter(_) => "parameter".to_owned(),
            Frame::Arithmetic { depth, .. } => format!("arithmetic {depth}"),
            Frame::Comment => "comment".to_owned(),
            Frame::Here { document, .. } => format!("{document:?}"),
        });
        (self.escaped, shapes.collect())
    }

    /// Takes over what may be so after another branch of the same shape.
    pub(super) fn join(&mut self, other: &Self) {
        for (own, others) in self.frames.iter_mut().zip(&other.frames) {
            if let (Frame::Commands(own), Frame::Commands(others)) = (own, others) {
                own.line.join(&others.line);
                own.tools.extend(others.tools.iter().copied().filter(|tool| *tool != Tool::Plain));
            }
        }
    }

    /// The innermost commands.
    fn commands(&mut self) -> Option<&mut Commands> {
        self.frames.iter_mut().rev().find_map(|frame| match frame {
            Frame::Commands(commands) => Some(commands),
            _ => None,
        })
    }

    /// Takes note of literal text; an error says what is wrong and in which line.
    pub(super) fn text(&mut self, text: &str, first_line: usize) -> Result<(), (usize, String)> {
        let mut line = first_line;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            self.character(c, chars.peek().copied(), line).map_err(|message| (line, message))?;
            line += usize::from(c == '\n');
        }
        Ok(())
    }

    fn character(&mut self, c: char, next: Option<char>, line: usize) -> Result<(), String> {
        if std::mem::take(&mut self.escaped) {
            self.previous = '\0';
            if let Some(Frame::Here { line, .. }) = self.frames.last_mut() {
                line.push(c);
            } else if let Some(commands) = self.commands() {
                commands.line.escaped(c);
            }
            return Ok(());
        }
        let previous = std::mem::replace(&mut self.previous, c);
        match self.frames.last_mut() {
            Some(Frame::Commands(_)) | None => return self.in_commands(c, previous, next, line),
            Some(Frame::Single { ansi, .. }) => {
                if c == '\'' {
                    self.pop();
                } else if *ansi && c == '\\' {
                    self.escaped = true;
                } else {
                    self.literal(c);
                }
            }
            Some(Frame::Comment) => {
                if c == '\n' {
                    self.pop();
                    return self.in_commands(c, '\0', next, line);
                }
            }
            Some(Frame::Arithmetic { depth, .. }) => match c {
                '(' => *depth += 1,
                ')' if *depth > 0 => {
                    *depth -= 1;
                    self.previous = '\0';
                }
                ')' if previous == ')' => {
                    self.pop();
                    self.begin_word();
                }
                ')' => {}
                // Of two parentheses that end it, the second must follow the first.
                _ => self.previous = '\0',
            },
            Some(Frame::Here { .. }) => self.in_here(c, previous, line),
            Some(Frame::Double(_) | Frame::Parameter(_)) => self.in_quotes(c, previous, line),
        }
        Ok(())
    }

    fn pop(&mut self) {
        self.frames.pop();
        self.previous = '\0';
    }

    fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
        self.previous = '\0';
    }

    /// What was expanded is part of a word.
    fn begin_word(&mut self) {
        if let Some(commands) = self.commands() {
            commands.line.open_quote();
        }
    }

    /// A character that stands for itself, in the word that is being written.
    fn literal(&mut self, c: char) {
        if let Some(commands) = self.commands() {
            commands.line.quoted(c);
        }
    }

    /// Within `".."` and `${..}`.
    fn in_quotes(&mut self, c: char, previous: char, line: usize) {
        let in_parameter = matches!(self.frames.last(), Some(Frame::Parameter(_)));
        let quoted = self
            .frames
            .iter()
            .rev()
            .find(|f| !matches!(f, Frame::Parameter(_)))
            .is_some_and(|f| !matches!(f, Frame::Commands(_)));
        match c {
            '\\' => self.escaped = true,
            '"' if in_parameter => self.push(Frame::Double(line)),
            '"' => self.pop(),
            '}' if in_parameter => self.pop(),
            // Within double quotes, `'` in `${x:-'..'}` is a character like others.
            '\'' if in_parameter && !quoted => self.push(Frame::Single { since: line, ansi: false }),
            _ if self.expansion(c, previous, line) => {}
            _ => self.literal(c),
        }
    }

    /// Whether the character opens an expansion; then that is open now.
    fn expansion(&mut self, c: char, previous: char, line: usize) -> bool {
        match (previous, c) {
            ('$', '(') => {
                self.push(Frame::Commands(Commands { since: line, end: End::Substitution, ..Commands::default() }));
            }
            ('$', '{') => self.push(Frame::Parameter(line)),
            (_, '`') => self.push(Frame::Commands(Commands { since: line, end: End::Backtick, ..Commands::default() })),
            _ => return false,
        }
        // `$((`: the second parenthesis finds a frame that was opened by the first one.
        self.previous = if c == '(' { '(' } else { '\0' };
        true
    }

    fn in_here(&mut self, c: char, previous: char, line_number: usize) {
        let Some(Frame::Here { document, line, .. }) = self.frames.last_mut() else { return };
        if c == '\n' {
            let ended = document.is_end(line);
            line.clear();
            if ended {
                self.pop();
                self.begin_here(line_number);
            }
            return;
        }
        line.push(c);
        if !document.quoted {
            if c == '\\' {
                self.escaped = true;
            } else {
                self.expansion(c, previous, line_number);
            }
        }
    }

    /// Opens the next here-document that waits, if one does.
    fn begin_here(&mut self, line: usize) {
        let Some(Frame::Commands(commands)) = self.frames.last_mut() else { return };
        if !commands.pending.is_empty() {
            let document = commands.pending.remove(0);
            self.push(Frame::Here { document, since: line, line: String::new() });
        }
    }

    fn in_commands(&mut self, c: char, previous: char, next: Option<char>, line: usize) -> Result<(), String> {
        let Some(Frame::Commands(commands)) = self.frames.last_mut() else { return Ok(()) };
        match c {
            '\\' => self.escaped = true,
            '\'' => {
                commands.line.open_quote();
                self.push(Frame::Single { since: line, ansi: previous == '$' });
            }
            '"' => {
                commands.line.open_quote();
                self.push(Frame::Double(line));
            }
            '`' if commands.end == End::Backtick => {
                commands.end_word()?;
                self.pop();
                self.begin_word();
            }
            '#' if commands.line.is_between_words() => self.push(Frame::Comment),
            '(' if previous == '(' && commands.is_fresh() => {
                let since = commands.since;
                self.pop();
                self.push(Frame::Arithmetic { since, depth: 0 });
            }
            '(' if previous != '$' => self.open_parenthesis(previous, line)?,
            ')' => self.close_parenthesis()?,
            '\n' => {
                commands.end_word()?;
                commands.line = Line::default();
                let tools = std::mem::take(&mut commands.tools);
                for here in &mut commands.pending {
                    here.is_code = tools.iter().any(|tool| tool.reads_code());
                }
                self.begin_here(line);
            }
            // `>&`, `<&`, `&>` and `>|` are redirections, `|&` is a pipe.
            '&' if matches!(previous, '>' | '<' | '|') || next == Some('>') => {}
            '|' if previous == '>' => {}
            '|' if previous != '|' && next != Some('|') => {
                let inserted = commands.line.pipes_values();
                commands.end_word()?;
                commands.line = Line::piped(inserted);
            }
            ';' | '&' | '|' => {
                commands.end_word()?;
                commands.line = Line::default();
            }
            '<' | '>' => commands.redirect(c, previous)?,
            ' ' | '\t' | '\r' => commands.end_word()?,
            _ => {
                commands.character(c);
                self.expansion(c, previous, line);
            }
        }
        Ok(())
    }

    fn open_parenthesis(&mut self, previous: char, line: usize) -> Result<(), String> {
        let Some(commands) = self.commands() else { return Ok(()) };
        let mut inner = Commands { since: line, end: End::Substitution, ..Commands::default() };
        if commands.line.is_assignment() {
            // `list=(..)`: what stands in there are words.
            inner.line = Line::of_words();
        } else if matches!(previous, '<' | '>') {
            commands.line.end_redirect();
        } else {
            commands.end_word()?;
            commands.line = Line::default();
            inner.end = End::Parenthesis;
        }
        self.push(Frame::Commands(inner));
        self.previous = '(';
        Ok(())
    }

    fn close_parenthesis(&mut self) -> Result<(), String> {
        let Some(Frame::Commands(commands)) = self.frames.last_mut() else { return Ok(()) };
        commands.end_word()?;
        match commands.end {
            End::Substitution if commands.cases == 0 => {
                self.pop();
                self.begin_word();
            }
            End::Parenthesis if commands.cases == 0 => self.pop(),
            // The end of a pattern of `case`.
            _ => commands.line = Line::default(),
        }
        Ok(())
    }

    /// Takes note of a value; answers how its reference must be written, or why it cannot stand here.
    pub(super) fn value(&mut self, is_number: bool) -> Result<Place, String> {
        if self.escaped || self.previous == '$' {
            let c = if self.escaped { "\\" } else { "$" };
            return Err(format!("stands behind `{c}`, which changes what the shell reads: remove it"));
        }
        self.previous = '\0';
        self.judge_frames(is_number)?;
        let place = match self.frames.last_mut() {
            Some(Frame::Here { line, .. }) => {
                // With a value in it, the line is not the one that ends the document.
                line.push('\0');
                return Ok(Place::Quoted);
            }
            Some(Frame::Comment | Frame::Arithmetic { .. }) => return Ok(Place::Quoted),
            Some(Frame::Double(_)) => Place::Quoted,
            _ => Place::Bare,
        };
        if let Some(commands) = self.commands() {
            commands.line.value(is_number).map_err(|why| format!("{why}; {INSTEAD}"))?;
        }
        Ok(place)
    }

    /// Whether a value may stand in what is open.
    fn judge_frames(&self, is_number: bool) -> Result<(), String> {
        let innermost = self.frames.iter().rposition(|frame| matches!(frame, Frame::Commands(_))).unwrap_or(0);
        for (at, frame) in self.frames.iter().enumerate() {
            match frame {
                Frame::Commands(commands) if commands.end == End::Backtick => {
                    return Err("stands in backticks: write `$(..)` instead".to_owned());
                }
                // What was open before a `$(..)` began does not matter in there.
                _ if at < innermost => {}
                Frame::Single { .. } => {
                    return Err(format!(
                        "stands in single quotes, in which the shell expands nothing: use double quotes; {INSTEAD}"
                    ));
                }
                Frame::Parameter(_) => {
                    return Err(format!("stands in `${{..}}`, where the shell may calculate; {INSTEAD}"));
                }
                Frame::Arithmetic { .. } if !is_number => {
                    return Err(format!(
                        "stands where the shell calculates, which can run commands that a value names; {INSTEAD}"
                    ));
                }
                Frame::Here { document, .. } if document.quoted => {
                    return Err(format!(
                        "stands in a here-document in which the shell expands nothing: write `<<{}` without quotes",
                        document.word
                    ));
                }
                Frame::Here { document, .. } if document.is_code => {
                    return Err(format!("stands in a text that is run as code; {INSTEAD}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Commands {
    /// Whether nothing has been written yet.
    fn is_fresh(&self) -> bool {
        matches!(self.end, End::Parenthesis | End::Substitution) && self.line.is_fresh()
    }

    fn character(&mut self, c: char) {
        self.line.plain(c);
    }

    fn end_word(&mut self) -> Result<(), String> {
        let ended = self.line.end_word()?;
        if let Some((word, quoted, strips_tabs)) = ended.here {
            self.pending.push(Here { word, quoted, strips_tabs, is_code: false });
        }
        match ended.command.as_deref() {
            Some("case") => self.cases += 1,
            Some("esac") => self.cases = self.cases.saturating_sub(1),
            _ => {}
        }
        self.tools.extend(ended.tool);
        Ok(())
    }

    fn redirect(&mut self, c: char, previous: char) -> Result<(), String> {
        self.line.drop_descriptor();
        self.end_word()?;
        self.line.redirect(c, previous);
        Ok(())
    }
}

impl Here {
    fn is_end(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.word
    }
}
