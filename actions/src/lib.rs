//! The kinds of actions, one file each.

mod email;
mod script;
mod template;

use monchero_core::action::ActionKind;

/// Every kind of action, in the order of the manual.
pub const KINDS: &[ActionKind] = &[ActionKind::script::<script::Script>(), ActionKind::target::<email::Email>()];
