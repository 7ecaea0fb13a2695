//! Planned work: once, on the first problem in a window, or again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Hold, matches};
use crate::name::Name;
use crate::recurrence::Recurrence;
use crate::text::glob;

/// Which checks something is about: what stands together must all fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Names, or globs with `*`, as [`matches`] reads them: one of them must fit. All checks if there are none.
    #[serde(alias = "pattern", deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The labels that a check must have; a value is a glob.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A first version stored one pattern.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(pattern) => vec![pattern],
        Either::Many(patterns) => patterns,
    })
}

impl From<&str> for Selector {
    fn from(pattern: &str) -> Self {
        Self { checks: vec![pattern.to_owned()], labels: BTreeMap::new() }
    }
}

impl Selector {
    /// Whether it chooses a check of that name with these labels.
    pub fn fits(&self, check: &str, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, pattern): (&String, &String)| labels.get(name).is_some_and(|value| glob(pattern, value));
        self.labels.iter().all(has)
            && (self.checks.is_empty() || self.checks.iter().any(|pattern| matches(pattern, check)))
    }

    /// How many bytes of text it has.
    pub fn len(&self) -> usize {
        let labels = self.labels.iter().map(|(name, value)| name.len() + value.len());
        self.checks.iter().map(String::len).chain(labels).sum()
    }

    /// Whether it names nothing, so that it chooses every check.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.labels.is_empty()
    }
}

/// `db-*, web`, `team=web`, or both: `db-* with team=web`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        match (self.checks.is_empty(), labels.is_empty()) {
            (true, true) => f.write_str("*"),
            (false, true) => f.write_str(&self.checks.join(", ")),
            (true, false) => f.write_str(&labels.join(", ")),
            (false, false) => write!(f, "{} with {}", self.checks.join(", "), labels.join(", ")),
        }
    }
}

/// A stretch of planned work on checks, with their services and instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// Its number; 0 for one that recurs, which has a name.
    pub id: u64,
    /// What it is an occurrence of, if it recurs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Which checks.
    #[serde(flatten)]
    pub covers: Selector,
    /// When it begins; if it is flexible, from when on it may.
    pub start: Timestamp,
    /// When it ends; if it is flexible, until when it may begin.
    pub end: Timestamp,
    /// How long a flexible one lasts: it begins with the first problem from `start` to `end`, confirmed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// When a flexible one began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// Who planned it.
    pub author: String,
    /// What for.
    pub comment: String,
}

impl Downtime {
    /// From when to before when it holds; none while a flexible one has not begun.
    pub fn stretch(&self) -> Option<(Timestamp, Timestamp)> {
        let Some(lasts) = self.lasts else { return Some((self.start, self.end)) };
        let began = self.began?;
        Some((began, began.checked_add(lasts).unwrap_or(Timestamp::MAX)))
    }

    /// When it is over for good.
    pub fn over(&self) -> Timestamp {
        self.stretch().map_or(self.end, |(_, end)| end)
    }

    /// Whether a problem at `now` of a check that it covers begins it.
    pub fn awaits_problem(&self, now: Timestamp) -> bool {
        self.lasts.is_some() && self.began.is_none() && self.start <= now && now < self.end
    }

    /// The hold that it is for a check with these labels at `now`, if it covers both.
    pub fn hold(&self, check: &str, labels: &BTreeMap<String, String>, now: Timestamp) -> Option<Hold> {
        let (since, until) = self.stretch()?;
        (since <= now && now < until && self.covers.fits(check, labels)).then(|| Hold::Downtime {
            id: self.id,
            author: self.author.clone(),
            comment: self.comment.clone(),
            since,
            until,
        })
    }
}

/// Planned work that comes again and again.
#[derive(Clone, Debug)]
pub struct Recurring {
    /// Its name.
    pub name: Name,
    /// Which checks.
    pub covers: Selector,
    /// When it begins.
    pub begins: Recurrence,
    /// How long it lasts.
    pub lasts: Duration,
    /// What for.
    pub comment: String,
    /// Where it is written.
    pub source: Arc<str>,
}

impl Recurring {
    /// The occurrence that goes on at `now`, or else the next one. None if there is no further one.
    pub fn occurrence(&self, now: Timestamp) -> Option<Downtime> {
        // What began no longer ago than it lasts goes on.
        let from = now.checked_sub(self.lasts).unwrap_or(Timestamp::MIN);
        let start = self.begins.next(from)?;
        Some(Downtime {
            name: Some(self.name.clone()),
            covers: self.covers.clone(),
            start,
            end: start.checked_add(self.lasts).unwrap_or(Timestamp::MAX),
            author: self.source.to_string(),
            comment: self.comment.clone(),
            ..Downtime::default()
        })
    }
}
