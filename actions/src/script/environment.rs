//! What a script finds in its environment.

use std::ffi::OsString;

use monchero_core::Event;
use monchero_core::text::shorten;

use crate::template::{MAX_VALUE, without_nul};

/// What the names of all variables begin with that this program sets.
pub(super) const PREFIX: &str = "MONCHERO_";

/// The most labels that are given one by one; all of them stand in the document on standard input.
const MAX_LABELS: usize = 64;

/// The event, as variables. Each value has at most 32 KiB (R42) and no NUL.
pub(super) fn of(event: &Event) -> Vec<(OsString, OsString)> {
    let incident = event.incident.as_ref();
    let mut variables: Vec<(String, String)> = [
        ("HOST", event.host.clone()),
        ("CHECK", event.check.name.to_string()),
        ("KIND", event.check.kind.clone()),
        ("STATE", event.state.to_string()),
        ("PREVIOUS_STATE", event.previous_state.to_string()),
        ("STATE_TYPE", event.state_type.to_string()),
        ("ATTEMPT", event.attempt.to_string()),
        ("MAX_ATTEMPTS", event.max_attempts.to_string()),
        ("MESSAGE", event.message.clone()),
        ("OUTPUT", event.output.clone()),
        ("INCIDENT", incident.map(|i| i.id.clone()).unwrap_or_default()),
        ("INCIDENT_SINCE", incident.map(|i| i.since.to_string()).unwrap_or_default()),
        ("INCIDENT_DURATION", incident.map(|i| i.duration.clone()).unwrap_or_default()),
        ("REASON", event.reason.clone()),
        ("NOW", event.now.to_string()),
        ("DRILL", event.drill.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{PREFIX}{name}"), value))
    .collect();
    variables.extend(event.labels.iter().take(MAX_LABELS).map(|(name, value)| (label_variable(name), value.clone())));
    variables.into_iter().map(|(name, value)| (name.into(), shorten(&without_nul(&value), MAX_VALUE).into())).collect()
}

/// The variable of a label: `unit` is in `MONCHERO_LABEL_UNIT`, `my-unit` in `MONCHERO_LABEL_MY_UNIT`.
fn label_variable(label: &str) -> String {
    let name: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("{PREFIX}LABEL_{name}")
}

/// Whether a name can be that of a variable which the settings add.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        let shown = monchero_core::text::escape_controls(name);
        return Err(format!("`{shown}` is no name of a variable: those have letters, digits and `_`"));
    }
    let is_reference =
        name.strip_prefix("M_").is_some_and(|rest| rest == "TEXT" || rest.chars().all(|c| c.is_ascii_digit()));
    if name.starts_with(PREFIX) || is_reference {
        return Err(format!("`{name}` is set by monchero itself; choose another name"));
    }
    Ok(())
}
