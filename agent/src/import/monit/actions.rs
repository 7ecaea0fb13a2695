//! Who is told, and what is started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Files, Imported, Item, Place, Setting, Taken};
use super::Main;
use super::lines::{Statement, Token};

/// The actions that were made, by what they do.
#[derive(Default)]
pub(super) struct Actions {
    made: BTreeMap<String, String>,
}

impl Actions {
    /// The action that mails, from `alert ADDRESS ..`.
    pub(super) fn email(
        &mut self,
        alert: &Statement,
        main: &Main,
        files: &Files,
        taken: &mut Taken,
        out: &mut Imported,
    ) -> String {
        let words = if alert.word(0) == "set" { 2 } else { 1 };
        let to = alert.word(words).to_owned();
        let remind = alert
            .find("reminder")
            .and_then(|index| alert.tokens.get(index + 1..)?.iter().find_map(|token| token.text.parse::<u32>().ok()));
        let events: Vec<String> = alert.tokens.iter().skip(words + 1).map(Token::lower).collect();
        let filter = events.iter().any(|word| word == "{");
        let trivial = events.first().is_some_and(|word| word == "not")
            && events.iter().all(|word| ["not", "on", "{", "}", "instance", "action"].contains(&word.as_str()));
        let filtered = (filter && !trivial)
            .then_some("what is told is chosen by the checks that name the action, and by `states`");
        let key = format!("{to} {remind:?}");
        if let Some(known) = self.made.get(&key) {
            if let Some(why) = filtered {
                out.lose(&alert.place, &alert.text(), why);
            }
            return known.clone();
        }
        let mut settings = Setting::map([("to", to.as_str().into())]);
        let mut item_lost = Vec::new();
        if let Some(server) = &main.mailserver {
            settings.insert("smtp", smtp(server, files, &mut item_lost));
        }
        if let Some(from) = main.from.as_ref().filter(|from| !from.contains('$')) {
            settings.insert("from", from.as_str());
        }
        let name = taken.actions.take(to.split('@').next().unwrap_or("mail"));
        let mut item = Item::new(name.clone(), "email", settings, &alert.place);
        if let Some(cycles) = remind.filter(|cycles| *cycles > 0) {
            item.set("remind", main.cycle * cycles);
        }
        for (place, what, why) in item_lost {
            item.lose(&place, &what, why);
        }
        if let Some(why) = filtered {
            item.lose(&alert.place, &alert.text(), why);
        }
        out.actions.push(item);
        self.made.insert(key, name.clone());
        name
    }

    /// The script that runs programs one after another.
    pub(super) fn script(
        &mut self,
        wanted: &str,
        programs: &[Program],
        taken: &mut Taken,
        out: &mut Imported,
    ) -> Option<String> {
        let first = programs.first()?;
        let key = format!("{wanted} {programs:?}");
        if let Some(known) = self.made.get(&key) {
            return Some(known.clone());
        }
        let run = if programs.len() == 1 { Setting::from(first.words.clone()) } else { shell(programs) };
        let mut settings = Setting::map([("run", run)]);
        if let Some(user) = &first.user {
            settings.insert("run_as", user.as_str());
        }
        // Programs that start a daemon leave it running.
        settings.insert("allow_background", true);
        let name = taken.actions.take(wanted);
        let mut item = Item::new(name.clone(), "script", settings, &first.place);
        item.comments.push(format!("From {}.", first.place));
        if let Some(timeout) = programs.iter().filter_map(|program| program.timeout).reduce(|a, b| a + b) {
            item.set("timeout", timeout);
        }
        out.actions.push(item);
        self.made.insert(key, name.clone());
        Some(name)
    }

    /// Says how often at most a script is set off.
    pub(super) fn limit(out: &mut Imported, name: &str, limit: u64) {
        for item in out.actions.iter_mut().filter(|item| item.name == name) {
            item.set("limit", limit);
        }
    }
}

/// What an action tells: where, what, why.
type Loss = (Place, String, &'static str);

fn smtp(server: &Statement, files: &Files, lost: &mut Vec<Loss>) -> Setting {
    let mut smtp = Setting::map([("host", server.word(2).into())]);
    let mut index = 3;
    while let Some(token) = server.tokens.get(index) {
        let value = server.word(index + 1);
        match token.lower().as_str() {
            "port" => smtp.insert("port", Setting::Plain(value.parse::<u16>().unwrap_or(25).to_string())),
            "username" => smtp.insert("user", value),
            "password" => smtp.insert("password", files.secret("smtp-password", value, &server.place)),
            "ssl" | "ssl:" => smtp.insert("tls", if server.after("port") == Some("465") { "tls" } else { "starttls" }),
            tls if tls.starts_with("tls") || tls.starts_with("ssl") => {
                smtp.insert("tls", if server.after("port") == Some("465") { "tls" } else { "starttls" });
                index += 1;
                continue;
            }
            "timeout" => {}
            "hostname" | "certmd5" => {
                let why = "the action has no such setting";
                lost.push((server.place.clone(), format!("{} {value}", token.text), why));
            }
            "with" | "using" | "{" | "}" | "second" | "seconds" => {
                index += 1;
                continue;
            }
            _ => {
                lost.push((
                    server.place.clone(),
                    format!("{} ..", token.text),
                    "one mail server is used; an action with `fallback` names a second way",
                ));
                break;
            }
        }
        index += 2;
    }
    if server.tokens.iter().all(|token| !token.lower().starts_with("tls") && !token.lower().starts_with("ssl")) {
        smtp.insert("tls", "none");
    }
    smtp
}

/// A program that Monit starts.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) words: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) place: Place,
}

impl Program {
    /// From `start program = "/path args" as uid x with timeout N seconds`, or `exec "/path args" ..`: the words from `index` on.
    pub(super) fn read(statement: &Statement, index: usize) -> Result<Self, &'static str> {
        let command =
            statement.tokens.iter().skip(index).find(|token| token.text != "=").ok_or("no program is named")?;
        let words = shell_words::split(&command.text).map_err(|_| "a quote is opened and never closed")?;
        if words.is_empty() {
            return Err("no program is named");
        }
        let rest = Statement {
            tokens: statement.tokens.get(index..).unwrap_or_default().to_vec(),
            place: statement.place.clone(),
        };
        Ok(Self {
            words,
            user: rest.after("uid").map(str::to_owned),
            timeout: super::tests_of::timeout(&rest),
            place: statement.place.clone(),
        })
    }
}

/// Several programs as a script for the shell; each word is quoted.
fn shell(programs: &[Program]) -> Setting {
    let lines: Vec<String> = programs.iter().map(|program| shell_words::join(&program.words)).collect();
    format!("#!/bin/sh\n{}\n", lines.join("\n")).into()
}
