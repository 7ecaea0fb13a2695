//! Names of checks, services and actions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::incident::stable_hash;

/// The name of a check (`root-disk`), of one of its services (`raid/md0`), of an instance (`grafana[a:3000]`) or of an action.
/// Cheap to clone: it is shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

/// The longest name in bytes. A name stands in tables, mail headers and file names, so it stays short.
pub const MAX_NAME: usize = 128;

impl Name {
    /// A name as it comes, without judging it: for names that were judged before.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// A name written by a person, or why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name must not be empty".to_owned());
        }
        if text.len() > MAX_NAME {
            return Err(format!("a name has at most {MAX_NAME} bytes, this one has {}", text.len()));
        }
        match text.chars().find(|c| !is_name_char(*c)) {
            Some(c) => Err(format!(
                "a name has letters, digits, blanks and `-_.:@+/()[]`, not `{}`",
                crate::text::escape_controls(&c.to_string())
            )),
            None if text.trim() != text => Err("a name must not begin or end with a blank".to_owned()),
            None => Ok(Self::new(text)),
        }
    }

    /// The name of a service that a check reported: `check/service`, with what a name cannot hold replaced by `_`. One that is too
    /// long is cut, and ends in a mark that tells it from others that begin alike.
    #[must_use]
    pub fn service(&self, service: &str) -> Self {
        let mut full = String::with_capacity(self.0.len() + 1 + service.len());
        full.push_str(&self.0);
        full.push('/');
        let start = full.len();
        full.extend(service.trim().chars().map(|c| if is_name_char(c) { c } else { '_' }));
        if full.len() == start {
            full.push('_');
        }
        if full.len() > MAX_NAME {
            let mark = format!("_{:016x}", stable_hash(&[self.0.as_bytes(), service.as_bytes()]));
            crate::text::truncate_at_char(&mut full, MAX_NAME - mark.len());
            full.push_str(&mark);
        }
        Self::new(&full)
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || " -_.:@+/()[]".contains(c)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_judged() {
        for good in ["root-disk", "grafana[a:3000]", "Disk space /", "größe", "self/config"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " x", "x ", "a\nb", "a$b", "a`b", &"x".repeat(129)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_services_are_made_to_fit() {
        let check = Name::new("local");
        assert_eq!(check.service("md0").as_str(), "local/md0");
        assert_eq!(check.service("a\n$b").as_str(), "local/a__b");
        assert_eq!(check.service("").as_str(), "local/_");
        let long = "ü".repeat(200);
        let (one, other) = (check.service(&format!("{long}1")), check.service(&format!("{long}2")));
        assert!(one.as_str().len() <= MAX_NAME && one != other, "{one} {other}");
        let check = Name::new(&"x".repeat(MAX_NAME));
        assert_ne!(check.service("a"), check.service("b"));
        for service in [one.as_str(), check.service("a").as_str(), check.service(" a ").as_str()] {
            assert!(Name::parse(service).is_ok(), "{service}");
        }
    }
}
