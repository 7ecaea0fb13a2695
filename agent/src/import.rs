//! What another system is configured to do, as a file of `conf.d`: pure functions from its files to YAML.
//!
//! Each format has a module that fills [`Imported`]: checks, actions, and everything that could not be translated with the place where it
//! stands. [`write`] renders that as commented YAML and has the configuration reader judge it; what the reader does not take is written as
//! a comment and told, never dropped. No importer starts a program, and none copies a secret.

mod document;
mod env;
mod first;
mod gatus;
mod monit;
mod nagios;
mod names;
mod setting;
mod source;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

pub(crate) use names::{Names, Taken};
pub(crate) use setting::{Secret, Setting};
pub(crate) use source::{Files, Place, Text};
pub(crate) use write::{Written, write};

/// The system that the files are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// Nagios, and what reads its files (Icinga 1, Naemon): `nagios.cfg`, object files, `resource.cfg`; and `nrpe.cfg` of NRPE.
    Nagios,
    /// Monit: `monitrc` and what it includes.
    Monit,
    /// Gatus: `config.yaml`, or a directory of such files.
    Gatus,
    /// The first monchero agent: its options file, its directory of check configuration.
    #[value(name = "monchero-v0")]
    MoncheroV0,
    /// The `NAME=value` file of Argus, which watched Loki and Grafana.
    ArgusEnv,
}

impl Format {
    /// The word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nagios => "nagios",
            Self::Monit => "monit",
            Self::Gatus => "gatus",
            Self::MoncheroV0 => "monchero-v0",
            Self::ArgusEnv => "argus-env",
        }
    }

    /// Reads the files of this format. Names that are taken are not given again. The error says why nothing could be read at all.
    pub(crate) fn read(self, paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
        let mut imported = match self {
            Self::Nagios => nagios::read(paths, files, taken),
            Self::Monit => monit::read(paths, files, taken),
            Self::Gatus => gatus::read(paths, files, taken),
            Self::MoncheroV0 => first::read(paths, files, taken),
            Self::ArgusEnv => env::read(paths, files, taken),
        }?;
        imported.lost.extend(files.take_lost());
        Ok(imported)
    }
}

/// What the files of another system become.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The checks, in the order of the files.
    pub(crate) checks: Vec<Item>,
    /// The actions.
    pub(crate) actions: Vec<Item>,
    /// What could not be translated and belongs to no check or action.
    pub(crate) lost: Vec<Lost>,
    /// What whoever reads the file should know.
    pub(crate) notes: Vec<String>,
}

impl Imported {
    /// Notes what could not be translated.
    pub(crate) fn lose(&mut self, place: &Place, what: &str, why: &str) {
        self.lost.push(Lost::new(place, what, why));
    }
}

/// A check or an action.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its name, which no other has.
    pub(crate) name: String,
    /// What is said about it.
    pub(crate) comments: Vec<String>,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// The settings of the kind.
    pub(crate) settings: Setting,
    /// Settings that stand beside the kind.
    pub(crate) beside: Vec<(&'static str, Setting)>,
    /// What could not be translated of it.
    pub(crate) lost: Vec<Lost>,
    /// Where it stood.
    pub(crate) place: Place,
    /// Whether it is only written as a comment, since something about it has to be done first.
    pub(crate) off: bool,
}

impl Item {
    pub(crate) fn new(name: String, kind: &'static str, settings: Setting, place: &Place) -> Self {
        Self {
            name,
            comments: Vec::new(),
            kind,
            settings,
            beside: Vec::new(),
            lost: Vec::new(),
            place: place.clone(),
            off: false,
        }
    }

    /// Notes what could not be translated of it.
    pub(crate) fn lose(&mut self, place: &Place, what: &str, why: &str) {
        self.lost.push(Lost::new(place, what, why));
    }

    /// Sets what stands beside the kind.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Setting>) {
        let value = value.into();
        match self.beside.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.beside.push((key, value)),
        }
    }

    /// Adds to a list that stands beside the kind.
    pub(crate) fn add(&mut self, key: &'static str, name: &str) {
        let name = Setting::from(name);
        match self.beside.iter_mut().find(|(known, _)| *known == key) {
            Some((_, Setting::List(items))) if items.contains(&name) => {}
            Some((_, Setting::List(items))) => items.push(name),
            _ => self.beside.push((key, Setting::List(vec![name]))),
        }
    }
}

/// The longest text of a configuration that is quoted, in bytes: a line that people can read.
const MAX_QUOTED: usize = 160;

/// Something that could not be translated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lost {
    place: Place,
    /// As it was written, on one line; empty for a place as a whole.
    what: String,
    /// Why, and what to do about it.
    why: String,
}

impl Lost {
    pub(crate) fn new(place: &Place, what: &str, why: &str) -> Self {
        let what = mask(&monchero_core::text::escape_controls(what.trim()));
        Self {
            place: place.clone(),
            what: monchero_core::text::shorten(&what, MAX_QUOTED),
            why: monchero_core::text::escape_controls(why),
        }
    }
}

/// Words behind which a secret stands.
const SECRET_WORDS: [&str; 9] =
    ["password", "passwd", "secret", "token", "community", "authorization", "apikey", "api-key", "webhook"];

/// A line of an old configuration without its secrets: what stands behind a word that says so, and who logs in to URLs.
fn mask(line: &str) -> String {
    let sounds = |word: &str| SECRET_WORDS.iter().any(|secret| word.to_lowercase().contains(secret));
    let mut next = false;
    let words = line.split(' ').map(|word| {
        if word.is_empty() {
            return String::new();
        }
        let masked = std::mem::take(&mut next);
        match word.split_once(['=', ':']) {
            _ if masked => "***".to_owned(),
            Some((key, value)) if sounds(key) && !value.is_empty() => {
                format!("{}***", &word[..=key.len()])
            }
            _ => {
                next = sounds(word);
                word.to_owned()
            }
        }
    });
    crate::config::hide_user_info(&words.collect::<Vec<_>>().join(" "))
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.what.is_empty() {
            write!(f, "`{}`: ", self.what)?;
        }
        f.write_str(&self.why)
    }
}

/// How many names stand in a note.
const MAX_NAMED: usize = 12;

/// The first of many names.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", shown.join(", "))
}

/// A note about settings of the old daemon itself: where it writes, who it runs as.
fn unused(file: &str, names: &[String]) -> String {
    format!("{file}: settings of the old daemon that mean nothing here: {}.", some(names))
}
