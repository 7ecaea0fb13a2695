//! What a kind makes of its settings when they are validated.

use std::fmt;

use monchero_core::action::DeliveryError;

/// There as soon as the settings were validated; nothing is delivered before.
#[derive(Clone)]
pub(crate) struct Validated<T>(Option<T>);

impl<T> Default for Validated<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// It may hold an address with a token in it.
impl<T> fmt::Debug for Validated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "validated" } else { "not validated" })
    }
}

impl<T> Validated<T> {
    /// What was made.
    pub(crate) fn new(made: T) -> Self {
        Self(Some(made))
    }

    /// What was made; it is a mistake of ours to ask before.
    pub(crate) fn get(&self) -> Result<&T, DeliveryError> {
        let unready = || DeliveryError::Permanent { why: "the settings were not validated".to_owned() };
        self.0.as_ref().ok_or_else(unready)
    }
}
