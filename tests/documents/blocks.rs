//! The fenced blocks of a Markdown document, and what their info strings ask for.

use std::ops::Range;

/// A fenced block.
pub(crate) struct Block {
    /// The lines between the fences, counted from 0.
    pub(crate) lines: Range<usize>,
    /// What it is: the first word behind the backticks.
    pub(crate) language: String,
    /// What is in it, with a newline at its end.
    pub(crate) text: String,
    /// What is to be done with it.
    pub(crate) order: Order,
    /// What stands before it, since the block before.
    pub(crate) prose: String,
}

/// What is to be done with a block.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// What its language says.
    Run,
    /// Its command is repeated until it shows what the block shows.
    Until,
    /// Its command is a daemon, which goes on running.
    Background,
    /// It is `monchero.yaml` instead of a file of `conf.d`.
    Settings,
    /// It is written to this file.
    File(String),
    /// Nothing, for this reason.
    NotRun(String),
}

/// The blocks of a document, or what is wrong with one.
pub(crate) fn blocks(document: &str) -> Result<Vec<Block>, String> {
    let lines: Vec<&str> = document.lines().collect();
    let (mut found, mut at, mut prose) = (Vec::new(), 0, String::new());
    while let Some(line) = lines.get(at) {
        let Some(info) = line.strip_prefix("```") else {
            prose.push_str(line);
            prose.push('\n');
            at += 1;
            continue;
        };
        let begin = at + 1;
        let end = (begin..lines.len()).find(|end| lines[*end] == "```");
        let end = end.ok_or_else(|| format!("line {begin}: the block has no end"))?;
        let (language, order) = info.split_once(' ').unwrap_or((info, ""));
        found.push(Block {
            lines: begin..end,
            language: language.to_owned(),
            text: lines[begin..end].iter().map(|line| format!("{line}\n")).collect(),
            order: order_of(order).ok_or_else(|| format!("line {begin}: `{order}` is not known"))?,
            prose: std::mem::take(&mut prose),
        });
        at = end + 1;
    }
    Ok(found)
}

fn order_of(words: &str) -> Option<Order> {
    match words.split_once([':', '=']) {
        Some(("not-run", reason)) if reason.trim().len() > 5 => Some(Order::NotRun(reason.trim().to_owned())),
        Some(("file", path)) => Some(Order::File(path.to_owned())),
        Some(_) => None,
        None => match words {
            "" => Some(Order::Run),
            "until" => Some(Order::Until),
            "background" => Some(Order::Background),
            "settings" => Some(Order::Settings),
            _ => None,
        },
    }
}

/// A command of a `console` block and what is shown of its output.
pub(crate) struct Shown {
    /// The command, over one or more lines.
    pub(crate) command: String,
    /// The output.
    pub(crate) output: String,
}

/// The commands of a `console` block: `$ ` begins one, `> ` goes on with it, everything else is output.
pub(crate) fn commands(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            found.push(Shown { command: command.to_owned(), output: String::new() });
        } else if let Some(last) = found.last_mut() {
            match line.strip_prefix("> ").filter(|_| last.output.is_empty()) {
                Some(more) => last.command += &format!("\n{more}"),
                None => last.output += &format!("{line}\n"),
            }
        }
    }
    found
}

/// The text of a `console` block with these commands.
pub(crate) fn console(shown: &[Shown]) -> String {
    shown.iter().map(|shown| format!("$ {}\n{}", shown.command.replace('\n', "\n> "), shown.output)).collect()
}
