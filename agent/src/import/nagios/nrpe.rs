//! `nrpe.cfg`: each command that a remote Nagios may ask for becomes a check of this host.

use std::time::Duration;

use super::super::{Imported, Item, Place, Setting, Taken};
use super::command;

/// What the files of NRPE say.
#[derive(Debug, Default)]
pub(super) struct Nrpe {
    commands: Vec<(String, String, Place)>,
    timeout: Option<Duration>,
    /// What each command is called by, such as `sudo`.
    prefix: String,
}

impl Nrpe {
    /// Takes a setting if it is one of NRPE's.
    pub(super) fn setting(&mut self, name: &str, value: &str, place: &Place, out: &mut Imported) -> bool {
        if let Some(command) = name.strip_prefix("command[").and_then(|rest| rest.strip_suffix(']')) {
            self.commands.retain(|(known, ..)| known != command);
            self.commands.push((command.to_owned(), value.to_owned(), place.clone()));
            return true;
        }
        match name {
            "command_timeout" => match value.parse() {
                Ok(seconds @ 1..=86_400) => self.timeout = Some(Duration::from_secs(seconds)),
                _ => out.lose(place, &format!("{name}={value}"), "this is no number of seconds"),
            },
            "command_prefix" => value.clone_into(&mut self.prefix),
            _ => return false,
        }
        true
    }

    pub(super) fn finish(self, taken: &mut Taken, out: &mut Imported) {
        if !self.commands.is_empty() {
            out.notes.push(
                "The remote Nagios said how often NRPE's commands ran and how often they were tried; here `interval` and `retries` do."
                    .to_owned(),
            );
        }
        for (name, line, place) in self.commands {
            let line = format!("{} {line}", self.prefix).trim().to_owned();
            let made = command::expand(&line, &|_| None).and_then(|line| command::words(&line));
            let mut words = match made {
                Ok(words) => words,
                Err(why) => {
                    out.lose(&place, &format!("command[{name}]={line}"), &why);
                    continue;
                }
            };
            let hidden = command::hide(&mut words);
            let mut item = Item::new(taken.checks.take(&name), "plugin", Setting::command(words), &place);
            item.comments.push(format!("From {place}."));
            if hidden {
                super::checks::hold_back(&mut item, &place);
            }
            if let Some(timeout) = self.timeout {
                item.set("timeout", timeout);
            }
            out.checks.push(item);
        }
    }
}
