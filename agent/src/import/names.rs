//! Names for checks and actions that a configuration takes.

use std::collections::BTreeSet;

use monchero_core::Name;
use monchero_core::order;

/// The longest name that is made of other names: some room is left for a number.
const MAX: usize = 110;

/// The names that are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
}

/// The names of checks and of actions, which do not get into each other's way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) checks: Names,
    pub(crate) actions: Names,
}

impl Names {
    /// With names that are taken already.
    pub(crate) fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: order::tree(taken) }
    }

    /// A name that nobody else has, as near to what is wanted as names may be.
    pub(crate) fn take(&mut self, wanted: &str) -> String {
        let fits = |c: char| if c.is_alphanumeric() || " -_.:@+/".contains(c) { c } else { '-' };
        let mut base: String = wanted.trim().chars().map(fits).collect();
        monchero_core::text::truncate_at_char(&mut base, MAX);
        // A YAML key that begins or ends otherwise would need quotes.
        let base = base.trim_matches(|c: char| !c.is_alphanumeric());
        let base = match base {
            "" => "unnamed".to_owned(),
            base if base.starts_with("self/") || base.starts_with("config/") => format!("its-{base}"),
            base => base.to_owned(),
        };
        let numbered = (2..).map(|number: u32| format!("{base}-{number}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| !self.taken.contains(name));
        let name = free.filter(|name| Name::parse(name).is_ok()).unwrap_or_else(|| "unnamed".to_owned());
        self.taken.insert(name.clone());
        name
    }
}
