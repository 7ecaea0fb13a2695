//! Where in a shell script a value stands: in quotes, bare, in a place where the shell would not see it or would take it for code.
//!
//! A value reaches the shell as a reference to an environment variable, so whatever is decided here, it is never part of the script's
//! text. What is left to go wrong, and is refused here with a sentence that says what to do instead: places where the shell does not
//! expand the reference (`'..'`), and places where a program takes the expanded text for code (`eval`, `ssh`, `$((..))`).
//! A bare value is put into quotes, so that one value is one word.
//!
//! This reads shell as POSIX and bash write it, closely enough for that; it is a guard against mistakes, not the wall itself.

mod line;
mod state;

use crate::template::{Part, Segment, Statement, TemplateError};
use line::Tool;
use state::Shell;

/// What to do with values that the template cannot insert at a place.
const INSTEAD: &str = "every value is also in the environment (\"$MONCHERO_MESSAGE\", \"$MONCHERO_OUTPUT\", \"$MONCHERO_LABEL_..\") and, as JSON, on standard input";

/// How a reference must be written at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Bare: quotes are put around it.
    Bare,
    /// Within double quotes, a here-document or a comment: as it is.
    Quoted,
}

/// Whether a program takes its arguments for code, so that no value may be among them.
pub(crate) fn runs_code(program: &str) -> bool {
    Tool::of(program).runs_arguments()
}

/// Whether a program takes its first argument for a program in a language of its own.
pub(crate) fn takes_program(program: &str) -> bool {
    Tool::of(program) == Tool::Language
}

/// Judges the places of all values and puts bare ones into quotes.
pub(crate) fn quote(segments: Vec<Segment>) -> Result<Vec<Segment>, TemplateError> {
    let mut places = vec![Place::Quoted; segments.len()];
    let mut walk = Walk { segments: &segments, places: &mut places };
    let mut end = walk.block(0, segments.len(), Shell::new())?;
    let last = segments.last().map_or(1, |segment| segment.line);
    end.text("\n", last).map_err(|(line, message)| TemplateError::new(line, message))?;
    if let Some(open) = end.open() {
        return Err(TemplateError::new(open.1, format!("{} that opens here is not closed; {INSTEAD}", open.0)));
    }
    let mut quoted = Vec::with_capacity(segments.len());
    for (segment, place) in segments.into_iter().zip(places) {
        let quote = Segment { line: segment.line, part: Part::Text("\"".to_owned()) };
        let bare = place == Place::Bare && matches!(segment.part, Part::Value(_));
        quoted.extend(bare.then(|| quote.clone()));
        quoted.push(segment);
        quoted.extend(bare.then_some(quote));
    }
    Ok(quoted)
}

/// Walks through the segments as the template's control flow may.
struct Walk<'a> {
    segments: &'a [Segment],
    places: &'a mut [Place],
}

impl Walk<'_> {
    /// Walks from `start` to `end`, both within one block; answers the state of the shell there.
    fn block(&mut self, start: usize, end: usize, mut shell: Shell) -> Result<Shell, TemplateError> {
        let mut at = start;
        while at < end {
            let Some(segment) = self.segments.get(at) else { break };
            let wrong = |message: String| TemplateError::new(segment.line, message);
            match &segment.part {
                Part::Text(text) => {
                    shell.text(text, segment.line).map_err(|(line, message)| TemplateError::new(line, message))?;
                }
                Part::Value(tag) => {
                    let place = shell
                        .value(is_number(&tag.text))
                        .map_err(|message| wrong(format!("`{{{{ {} }}}}` {message}", tag.text.trim())))?;
                    if let Some(slot) = self.places.get_mut(at) {
                        *slot = place;
                    }
                }
                Part::Statement(Statement::If | Statement::For, _) => {
                    let (parts, behind) = self.parts(at);
                    shell = self.branches(&parts, shell, segment)?;
                    at = behind;
                    continue;
                }
                Part::Statement(..) => {}
            }
            at += 1;
        }
        Ok(shell)
    }

    /// Walks every branch from the same state; all must leave the shell in the same quotes and brackets.
    fn branches(&mut self, parts: &[(usize, usize)], shell: Shell, opening: &Segment) -> Result<Shell, TemplateError> {
        let is_loop = matches!(opening.part, Part::Statement(Statement::For, _));
        // Without an `else`, and for a loop, no branch may be taken at all.
        let mut joined = if is_loop || !self.has_else(parts) { Some(shell.clone()) } else { None };
        for (start, end) in parts {
            let mut left = shell.clone();
            // What the first round of a loop leaves behind stands before the second.
            for _ in 0..if is_loop { 2 } else { 1 } {
                left = self.block(*start, *end, left)?;
                if left.shape() != shell.shape() {
                    let message =
                        "quotes, brackets or here-documents that open within a branch or loop must be closed in it";
                    return Err(TemplateError::new(opening.line, format!("{message}; {INSTEAD}")));
                }
            }
            match &mut joined {
                Some(joined) => joined.join(&left),
                None => joined = Some(left),
            }
        }
        Ok(joined.unwrap_or(shell))
    }

    /// Whether the last of the branches is that of `else`.
    fn has_else(&self, parts: &[(usize, usize)]) -> bool {
        let opening = parts.last().and_then(|(start, _)| self.segments.get(start.checked_sub(1)?));
        opening.is_some_and(|segment| matches!(segment.part, Part::Statement(Statement::Else, _)))
    }

    /// The branches of the statement at `at`, and where the walk goes on behind its end.
    fn parts(&self, at: usize) -> (Vec<(usize, usize)>, usize) {
        let mut depth = 0_usize;
        let mut start = at + 1;
        let mut parts = Vec::new();
        for (index, segment) in self.segments.iter().enumerate().skip(at) {
            let Part::Statement(statement, _) = &segment.part else { continue };
            match statement {
                Statement::If | Statement::For => depth += 1,
                Statement::EndIf | Statement::EndFor if depth == 1 => {
                    parts.push((start, index));
                    return (parts, index + 1);
                }
                Statement::EndIf | Statement::EndFor => depth -= 1,
                Statement::Elif | Statement::Else if depth == 1 => {
                    parts.push((start, index));
                    start = index + 1;
                }
                _ => {}
            }
        }
        (parts, self.segments.len())
    }
}

/// Whether an expression can give nothing but a number: those may stand where the shell calculates.
fn is_number(expression: &str) -> bool {
    let parts: Vec<&str> = expression.split('|').map(str::trim).collect();
    let is_path = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    match parts.as_slice() {
        ["attempt" | "max_attempts"] => true,
        [path, "int" | "length" | "round"] => is_path(path),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
