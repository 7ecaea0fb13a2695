//! The syntax of Nagios: `name=value` lines, and `define TYPE { .. }` with one directive a line.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::{Lost, Place, Text};

/// The longest value of a directive, in bytes. Nagios itself stops at 1,024; lists of hosts are continued over lines.
const MAX_VALUE: usize = 8 * 1024;

/// A value and where it stands.
pub(super) type Value = (Rc<str>, Place);
pub(super) type Directives = BTreeMap<String, Value>;

/// `define TYPE { .. }`.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) place: Place,
    pub(super) directives: Directives,
}

/// What a file holds, in its order.
#[derive(Debug)]
pub(super) enum Part {
    Object(Object),
    /// `name=value`.
    Setting(String, String, Place),
}

/// Takes a file apart.
pub(super) fn parse(text: &Text, lost: &mut Vec<Lost>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut open: Option<Object> = None;
    for (number, line) in joined(&text.text) {
        let place = text.place(number);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(object) = &mut open {
            if line.starts_with('}') {
                parts.extend(open.take().map(Part::Object));
            } else {
                directive(object, line, &place, lost);
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("define").filter(|rest| rest.starts_with([' ', '\t'])) {
            match rest.split_once('{') {
                Some((kind, rest)) if rest.trim().is_empty() => {
                    open = Some(Object { kind: kind.trim().to_owned(), place, directives: Directives::new() });
                }
                _ => lost.push(Lost::new(&place, line, "an object begins with `define TYPE {` on a line of its own")),
            }
        } else if let Some((name, value)) = line.split_once('=') {
            parts.push(Part::Setting(name.trim().to_owned(), value.trim().to_owned(), place));
        } else {
            lost.push(Lost::new(&place, line, "this is neither a setting nor an object"));
        }
    }
    if let Some(object) = open {
        lost.push(Lost::new(&object.place, &format!("define {}", object.kind), "the object is never closed with `}`"));
    }
    parts
}

/// The lines with the number of the first of those that a backslash joins.
fn joined(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (number, first) = lines.next()?;
        let mut line = first.to_owned();
        let continues = |line: &str| line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        while continues(&line) {
            line.pop();
            match lines.next() {
                Some((_, more)) => line.push_str(more.trim_start()),
                None => break,
            }
        }
        Some((number + 1, line))
    })
}

fn directive(object: &mut Object, line: &str, place: &Place, lost: &mut Vec<Lost>) {
    let line = without_comment(line);
    let line = line.trim();
    let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if name.is_empty() {
        return;
    }
    if value.len() > MAX_VALUE {
        lost.push(Lost::new(place, name, &format!("the value has more than {MAX_VALUE} bytes")));
        return;
    }
    let name = match name {
        "normal_check_interval" => "check_interval",
        "retry_check_interval" => "retry_interval",
        "host" | "hosts" if object.kind != "hostgroup" => "host_name",
        "hostgroup" | "hostgroups" if object.kind != "host" => "hostgroup_name",
        "description" if object.kind.starts_with("service") => "service_description",
        other => other,
    };
    object.directives.insert(name.to_owned(), (value.trim().into(), place.clone()));
}

/// A semicolon begins a comment, unless a backslash stands before it.
fn without_comment(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&';') => out.extend(chars.next()),
            ';' => break,
            c => out.push(c),
        }
    }
    out
}
