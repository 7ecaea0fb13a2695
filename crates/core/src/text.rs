//! Text from outside, made harmless: plugin output, replies, names of processes.

use std::fmt::Write as _;

/// Bytes as text: invalid UTF-8 replaced, control characters other than newline and tab replaced by U+FFFD,
/// carriage returns before newlines dropped (R13).
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// For a terminal: control characters, including newline, and those that turn the direction of writing become visible escapes (R69).
pub fn escape_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            c if c.is_control() || is_direction_control(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`escape_controls`], but newlines stay, for long output shown as a block; tabs become blanks.
pub fn escape_controls_in_block(text: &str) -> String {
    text.split('\n').map(|line| escape_controls(&line.replace('\t', "    "))).collect::<Vec<_>>().join("\n")
}

fn is_direction_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts a string to at most `max` bytes, never inside a character.
pub fn truncate_at_char(text: &mut String, max: usize) {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// Room for the mark of [`shorten`]: its words and a number of ten digits.
const MARK: usize = 28;

/// At most `max` bytes of the text; what was cut is counted in a mark at the end (R42), unless there is no room for that.
pub fn shorten(text: &str, max: usize) -> String {
    let mut out = text.to_owned();
    if text.len() > max {
        truncate_at_char(&mut out, if max < MARK { max } else { max - MARK });
        if max >= MARK {
            let cut = text.len() - out.len();
            let _ = write!(out, " … ({cut} bytes cut)");
        }
        // What was cut is to be free.
        out.shrink_to_fit();
    }
    out
}

/// What somebody wrote, for an error message: in backticks, short, and without control characters.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    format!("`{}`", escape_controls(&shorten(text, LONGEST)))
}

/// Whether a text fits a glob: `*` stands for any characters, `?` for one, everything else for itself.
///
/// Without recursion: on a mismatch only the last `*` is widened, so the work is at most pattern times text (R74).
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut star: Option<(&str, &str)> = None;
    let (mut pattern, mut text) = (pattern, text);
    while let Some(letter) = text.chars().next() {
        let rest = &text[letter.len_utf8()..];
        let mut letters = pattern.chars();
        match letters.next() {
            Some('*') => {
                star = Some((letters.as_str(), text));
                pattern = letters.as_str();
            }
            Some(wanted) if wanted == '?' || wanted == letter => {
                pattern = letters.as_str();
                text = rest;
            }
            _ => {
                let Some((behind, from)) = star else { return false };
                let from = &from[from.chars().next().map_or(0, char::len_utf8)..];
                star = Some((behind, from));
                (pattern, text) = (behind, from);
            }
        }
    }
    pattern.chars().all(|letter| letter == '*')
}

/// How many there are of a thing whose plural takes an `s`: `1 check`, `2 checks`.
pub fn counted<N: std::fmt::Display + PartialEq + From<u8> + Copy>(count: N, thing: &str) -> String {
    format!("{count} {thing}{}", if count == N::from(1) { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_clean_text() {
        assert_eq!(clean(b"a\r\nb\tc"), "a\nb\tc");
        assert_eq!(clean(b"a\xffb\0c\x1b[2J"), "a\u{fffd}b\u{fffd}c\u{fffd}[2J");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let shown = escape_controls("\u{1b}]0;x\u{7}\u{9b}2J\u{202e}x\n");
        assert_eq!(shown, "\\e]0;x\\u{7}\\u{9b}2J\\u{202e}x\\n");
        assert_eq!(escape_controls_in_block("a\u{7}\nb"), "a\\u{7}\nb");
    }

    #[test]
    fn cuts_fall_between_characters_and_are_counted() {
        let mut text = "aüb".to_owned();
        truncate_at_char(&mut text, 2);
        assert_eq!(text, "a");
        assert_eq!(shorten("short", 10), "short");
        let long = "ü".repeat(100);
        let cut = shorten(&long, 60);
        assert!(cut.len() <= 60 && cut.ends_with("bytes cut)"), "{cut}");
        for max in 0..100 {
            assert!(shorten(&long, max).len() <= max, "{max}");
        }
    }

    #[test]
    fn quotes_are_short_and_harmless() {
        assert_eq!(quote("5 parsecs"), "`5 parsecs`");
        assert_eq!(quote("a\u{1b}[2J"), "`a\\e[2J`");
        assert!(quote(&"x".repeat(10_000)).len() < 70);
    }
}
