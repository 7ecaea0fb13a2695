//! Reads settings so that every mistake in them is found, not only the first, and none is told twice.

use monchero_core::node::{Node, SettingsError, Span, Value};

/// How many mistakes of one map of settings are told. Whoever makes more has misunderstood the kind, and rereads its reference.
const MAX_MISTAKES: usize = 20;

/// Reads settings. After a mistake the entry that holds it is left out and the rest is read again, so the value that comes with errors is what
/// could be read, if that much is left. An error that the leaving out caused (something is missing now) is none of the user's.
pub(crate) fn read_all<T>(
    node: &Node,
    read: impl Fn(&Node) -> Result<T, SettingsError>,
) -> (Option<T>, Vec<SettingsError>) {
    let mut errors: Vec<SettingsError> = Vec::new();
    let mut error = match read(node) {
        Ok(value) => return (Some(value), errors),
        Err(error) => error,
    };
    let mut rest = node.clone();
    // The maps that entries were taken from, and the keys of those: an error about one of the maps as a whole is our doing, and so is one in it
    // that speaks of the entry.
    let mut pruned: Vec<(Span, String)> = Vec::new();
    loop {
        let at = error.span;
        let is_ours = |(map, key): &(Span, String)| {
            *map == at || contains(*map, at) && error.message.contains(&format!("`{key}`"))
        };
        if pruned.iter().any(is_ours) {
            return (None, errors);
        }
        errors.push(error);
        if errors.len() >= MAX_MISTAKES || !prune(&mut rest, at, &mut pruned) {
            return (None, errors);
        }
        error = match read(&rest) {
            Ok(value) => return (Some(value), errors),
            Err(error) => error,
        };
    }
}

/// Takes out the innermost entry of a map that a place is in. False if there is none.
fn prune(node: &mut Node, at: Span, pruned: &mut Vec<(Span, String)>) -> bool {
    let Value::Map(entries) = &mut node.value else { return false };
    let exact = entries.iter().position(|(key, value)| key.span == at || value.span == at);
    let around = || entries.iter().position(|(key, value)| contains(key.span, at) || contains(value.span, at));
    let Some(index) = exact.or_else(around) else { return false };
    let key = entries.get(index).map(|(key, _)| key.name.to_string()).unwrap_or_default();
    pruned.push((node.span, key));
    let inner = exact.is_none() && entries.get_mut(index).is_some_and(|(_, value)| prune(value, at, pruned));
    if !inner {
        entries.remove(index);
    }
    true
}

pub(crate) fn contains(outer: Span, inner: Span) -> bool {
    outer.file == inner.file && outer.start <= inner.start && inner.end <= outer.end
}
