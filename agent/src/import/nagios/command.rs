//! Commands: macros, and the words that a shell would make of a line.

/// The longest command line, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// Puts the values of macros in place; the error names the first that is not known. Macros in values are not looked for.
pub(super) fn expand(text: &str, macros: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        let Some((name, after)) = behind.split_once('$') else {
            return Err("a single `$` stands in it".to_owned());
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out += &macros(name).ok_or_else(|| format!("the macro `${name}$` has no value before the check runs"))?;
        }
        rest = after;
        if out.len() > MAX_LINE {
            return Err(format!("it has more than {MAX_LINE} bytes"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// What `check_command name!arg!arg` names, and its arguments. In them a backslash stands for the character behind it: `\!` is an exclamation
/// mark, `\\` a backslash.
pub(super) fn call(text: &str) -> (String, Vec<String>) {
    let Some((name, rest)) = text.split_once('!') else { return (text.trim().to_owned(), Vec::new()) };
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => argument.extend(chars.next()),
            '!' => arguments.push(std::mem::take(&mut argument)),
            c => argument.push(c),
        }
    }
    arguments.push(argument);
    (name.trim().to_owned(), arguments)
}

/// The words of a line, if no shell is needed for it.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    if let Some(sign) = shell_sign(line) {
        return Err(format!(
            "`{sign}` needs a shell: put it in quotes if the plugin is to get it, or the line into a script"
        ));
    }
    let words = shell_words::split(line).map_err(|_| "a quote is opened and never closed".to_owned())?;
    match words.first() {
        Some(program) if program.contains('=') => Err(format!("`{program}` needs a shell: use `env:`")),
        Some(_) => Ok(words),
        None => Err("it is empty".to_owned()),
    }
}

/// The first thing that only a shell understands.
fn shell_sign(line: &str) -> Option<char> {
    let mut quote = None;
    let mut before = ' ';
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let begins = before.is_whitespace();
        before = c;
        match (quote, c) {
            (Some('\''), c) => quote = (c != '\'').then_some('\''),
            (_, '\\') => drop(chars.next()),
            (Some(_), '"') => quote = None,
            (_, '$' | '`') | (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '\n') => return Some(c),
            (None, '\'' | '"') => quote = Some(c),
            // `~:5` is a range, `~/x` and `~` are directories; `#` begins a comment only where a word begins.
            (None, '~') if begins && chars.peek().is_none_or(|c| *c == '/' || c.is_whitespace()) => return Some(c),
            (None, '#') if begins => return Some(c),
            _ => {}
        }
    }
    None
}

/// Options of plugins that a secret stands behind.
const SECRET_OPTIONS: [&str; 9] = [
    "--password",
    "--passwd",
    "--pass",
    "--authorization",
    "--community",
    "--token",
    "--secret",
    "--authpasswd",
    "--privpasswd",
];

/// Stands around the name of a macro whose value is a secret, until the line is split into words.
const MARK: char = '\u{2}';

/// What a macro with a secret is expanded to.
pub(super) fn secret(name: &str) -> String {
    format!("{MARK}{name}{MARK}")
}

/// Hides what is secret in a command: macros with secrets, and what stands behind options that say so. False if there is none.
pub(super) fn hide(words: &mut [String]) -> bool {
    let mut hidden = false;
    let mut next = false;
    for word in words {
        if std::mem::take(&mut next) {
            "***".clone_into(word);
            hidden = true;
            continue;
        }
        if SECRET_OPTIONS.contains(&word.as_str()) {
            next = true;
        } else if let Some((option, _)) = word.split_once('=').filter(|(option, _)| SECRET_OPTIONS.contains(option)) {
            *word = format!("{option}=***");
            hidden = true;
        }
        if word.contains(MARK) {
            *word = word.replace(MARK, "$");
            hidden = true;
        }
    }
    hidden
}
