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

/// As wide as lines that are read with ease; a phone is narrower, and shows it without scrolling sideways.
const PAGE: &str = "max-width:620px;margin:0 auto;overflow-wrap:anywhere";
const BANNER: &str = "padding:12px 16px;border-radius:6px;margin-bottom:14px";
const WORD: &str = "font-size:13px;font-weight:bold;text-transform:uppercase;letter-spacing:1px";
const TABLE: &str = "border-collapse:collapse;width:100%;margin:14px 0";
/// Lines that are seen on light and dark ground alike.
const LINE: &str =
    "border-top:1px solid rgba(128,128,128,.35);padding:6px 12px 6px 0;text-align:left;vertical-align:top";
const NAME: &str = "font-weight:normal;opacity:.7;width:1%;white-space:nowrap";
const CODE: &str = "font-family:monospace;background-color:rgba(128,128,128,.18);padding:2px 6px;border-radius:4px";
const BLOCK: &str = "white-space:pre-wrap;font-family:monospace;font-size:13px;background-color:rgba(128,128,128,.12);\
                     border-radius:4px;padding:8px 12px;margin:6px 0";

/// The whole page; `further` stands at its end.
pub(super) fn page(message: &Message, zone: &TimeZone, further: &str) -> String {
    let event = &message.event;
    let alone = message.is_about_one_check();
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"></head>\n\
         <body style=\"margin:0;padding:16px;font-family:sans-serif;font-size:15px;line-height:1.45\">\n",
    );
    let _ = writeln!(out, "<div style=\"{PAGE}\">");
    if event.drill {
        out.push_str("<p><b>This is a drill: nothing is wrong.</b></p>\n");
    }
    let headline = html(&wording::headline(message));
    let _ = writeln!(
        out,
        "<div style=\"{};{BANNER}\"><div style=\"{WORD}\">{}</div><div style=\"font-size:19px\"><b>{headline}</b></div></div>",
        colours(event.state),
        event.state
    );
    digest(&mut out, message);
    for (title, lines) in message.bulletin.iter().flat_map(|bulletin| wording::bulletin::sections(bulletin)) {
        list(&mut out, title, lines);
    }
    if alone && !event.message.trim().is_empty() {
        let _ = writeln!(out, "<p style=\"font-size:17px\">{}</p>", html(&escape_controls(event.message.trim())));
    }
    if let Some(late) = wording::late(message) {
        let _ = writeln!(out, "<p>{late}</p>");
    }
    let _ = writeln!(out, "<table style=\"{TABLE}\">");
    for (name, value) in wording::facts(message, zone) {
        fact(&mut out, name, &html(&value));
    }
    out.push_str("</table>\n");
    list(&mut out, "Not told in time", message.missed.iter().map(|missed| wording::missed_line(missed, zone)));
    if alone {
        list(&mut out, "Measured", wording::measured(event));
        block(&mut out, "Output", &wording::output(event, wording::MAX_OUTPUT));
    }
    what_to_do(&mut out, message);
    block(&mut out, "", &escape_controls_in_block(further));
    let signature = html(&wording::signature(message));
    let _ = writeln!(out, "<p style=\"font-size:12px;opacity:.7\">{signature}</p>\n</div>\n</body></html>");
    out
}

/// A row of a table: its name and its value, which is HTML.
fn fact(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "<tr><th style=\"{LINE};{NAME}\">{name}</th><td style=\"{LINE}\">{value}</td></tr>");
}

/// The colours of ground and text for a state.
fn colours(state: State) -> String {
    let (ground, text) = (wording::colour(state), if state == State::Warning { "000" } else { "fff" });
    format!("background-color:#{ground:06x};color:#{text}")
}

/// A state as a word in its colour.
fn badge(state: State) -> String {
    format!(
        "<span style=\"{};padding:1px 7px;border-radius:3px;font-weight:bold;white-space:nowrap\">{state}</span>",
        colours(state)
    )
}

/// The checks of a message about many.
fn digest(out: &mut String, message: &Message) {
    if message.digest.is_empty() {
        return;
    }
    let _ = writeln!(out, "<table style=\"{TABLE}\">");
    for line in &message.digest {
        let (check, said) = (html(&escape_controls(line.check.as_str())), html(&escape_controls(&line.message)));
        let _ = writeln!(
            out,
            "<tr><td style=\"{LINE};width:1%\">{}</td><td style=\"{LINE}\"><b>{check}</b><br>{said}</td></tr>",
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
    let _ = writeln!(out, "<table style=\"{TABLE}\">");
    if let Some(link) = wording::runbook(&message.event).filter(|_| message.digest.is_empty()) {
        let link = html(link);
        fact(out, "What to do", &format!("<a href=\"{link}\">{link}</a>"));
    }
    let code = |command: &str| format!("<code style=\"{CODE}\">{}</code>", html(command));
    if let Some(command) = wording::acknowledge(message) {
        fact(out, "Acknowledge it", &code(&command));
    }
    fact(out, "Look at it", &code(&wording::look(message)));
    out.push_str("</table>\n");
}
