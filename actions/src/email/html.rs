//! The same facts as the text of a mail, for programs that show HTML. Every mail can be read without this part.
//!
//! Styles are inline, since many programs drop others. Colours of text and page are left to the reader's program, light or dark; what has a
//! colour of its own has both, text and ground. Nothing is fetched from anywhere.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use monchero_core::State;
use monchero_core::action::Message;
use monchero_core::text::{escape_controls, escape_controls_in_block};

use crate::wording::{self, html};

const CELL: &str = "padding:2px 14px 2px 0;text-align:left;vertical-align:top";
const BLOCK: &str =
    "white-space:pre-wrap;font-family:monospace;border-left:3px solid #888;padding-left:10px;margin:6px 0";

/// The whole page; `further` stands at its end.
pub(super) fn page(message: &Message, zone: &TimeZone, further: &str) -> String {
    let event = &message.event;
    let alone = message.is_about_one_check();
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"></head>\n\
         <body style=\"font-family:sans-serif;line-height:1.4\">\n",
    );
    if event.drill {
        out.push_str("<p><b>This is a drill: nothing is wrong.</b></p>\n");
    }
    let headline = html(&wording::headline(message));
    let _ = writeln!(out, "<p style=\"font-size:larger\">{} <b>{headline}</b></p>", badge(event.state));
    digest(&mut out, message);
    for (title, lines) in message.bulletin.iter().flat_map(|bulletin| wording::bulletin::sections(bulletin)) {
        list(&mut out, title, lines);
    }
    if alone && !event.message.trim().is_empty() {
        let _ = writeln!(out, "<p>{}</p>", html(&escape_controls(event.message.trim())));
    }
    if let Some(late) = wording::late(message) {
        let _ = writeln!(out, "<p>{late}</p>");
    }
    out.push_str("<table style=\"border-collapse:collapse\">\n");
    for (name, value) in wording::facts(message, zone) {
        let _ = writeln!(out, "<tr><th style=\"{CELL}\">{name}</th><td style=\"{CELL}\">{}</td></tr>", html(&value));
    }
    out.push_str("</table>\n");
    list(&mut out, "Not told in time", message.missed.iter().map(|missed| wording::missed_line(missed, zone)));
    if alone {
        list(&mut out, "Measured", wording::measured(event));
        block(&mut out, "Output", &wording::output(event, wording::MAX_OUTPUT));
    }
    what_to_do(&mut out, message);
    block(&mut out, "", &escape_controls_in_block(further));
    let _ = writeln!(out, "<p style=\"font-size:smaller\">{}</p>\n</body></html>", html(&wording::signature(message)));
    out
}

/// A state as a word in its colour.
fn badge(state: State) -> String {
    let (ground, text) = (wording::colour(state), if state == State::Warning { "000" } else { "fff" });
    format!(
        "<span style=\"background-color:#{ground:06x};color:#{text};padding:1px 7px;border-radius:3px;font-weight:bold\">{state}</span>"
    )
}

/// The checks of a message about many.
fn digest(out: &mut String, message: &Message) {
    if message.digest.is_empty() {
        return;
    }
    out.push_str("<table style=\"border-collapse:collapse\">\n");
    for line in &message.digest {
        let (check, said) = (html(&escape_controls(line.check.as_str())), html(&escape_controls(&line.message)));
        let _ = writeln!(
            out,
            "<tr><td style=\"{CELL}\">{}</td><th style=\"{CELL}\">{check}</th><td style=\"{CELL}\">{said}</td></tr>",
            badge(line.state)
        );
    }
    out.push_str("</table>\n");
}

fn list(out: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let items: String = lines.into_iter().map(|line| format!("<li>{}</li>\n", html(&line))).collect();
    if !items.is_empty() {
        let _ = writeln!(out, "<p>{title}:</p>\n<ul>\n{items}</ul>");
    }
}

/// A text with lines of its own, under a title if it has one.
fn block(out: &mut String, title: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    if !title.is_empty() {
        let _ = writeln!(out, "<p>{title}:</p>");
    }
    // The first newline behind `<pre>` is no part of it.
    let _ = writeln!(out, "<pre style=\"{BLOCK}\">\n{}</pre>", html(text));
}

fn what_to_do(out: &mut String, message: &Message) {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(rows, "<tr><th style=\"{CELL}\">{name}</th><td style=\"{CELL}\">{value}</td></tr>");
    };
    if let Some(link) = wording::runbook(&message.event).filter(|_| message.digest.is_empty()) {
        let link = html(link);
        row("What to do", &format!("<a href=\"{link}\">{link}</a>"));
    }
    if let Some(command) = wording::acknowledge(message) {
        row("Acknowledge it", &format!("<code>{}</code>", html(&command)));
    }
    row("Look at it", &format!("<code>{}</code>", html(&wording::look(message))));
    let _ = writeln!(out, "<table style=\"border-collapse:collapse;margin-top:10px\">\n{rows}</table>");
}
