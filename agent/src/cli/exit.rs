//! How commands end: the one list of exit statuses, and the one way to say why something was not done.

use std::io;
use std::process::ExitCode;

use monchero_api::ClientError;
use monchero_api::types::CheckState;

use super::screen;
use crate::config::PathsError;

/// The daemon cannot be reached.
pub(super) const UNREACHABLE: u8 = 4;
/// The daemon refused, or something else went wrong: the message says what.
pub(super) const FAILED: u8 = 5;
/// The command line makes no sense.
pub(super) const USAGE: u8 = 64;
/// The configuration is broken.
pub(super) const CONFIG: u8 = 65;

/// Every exit status and what it means, for the manual.
pub const ALL: [(u8, &str); 8] = [
    (0, "done; for `status`, `run` and `once`: all that is shown is okay; for `import`: all was translated"),
    (
        1,
        "for `status`, `run` and `once`: the worst that is shown is a warning; for `import`: something was not translated",
    ),
    (2, "for `status`, `run` and `once`: the worst that is shown is bad; for `import`: nothing could be made"),
    (3, "for `status`, `run` and `once`: the worst that is shown is unknown"),
    (UNREACHABLE, "the daemon cannot be reached"),
    (FAILED, "the daemon refused, or something else went wrong; the message says what"),
    (USAGE, "the command line makes no sense"),
    (CONFIG, "the configuration is broken"),
];

/// The exit status that tells a state, as a plugin would.
pub(super) fn of(state: CheckState) -> ExitCode {
    ExitCode::from(state.found().unwrap_or_default().exit_status())
}

/// Why a command was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// The exit status.
    pub(super) exit: u8,
    /// One line: what was not done, and why.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// More lines, each a problem of its own.
    pub(super) details: Vec<String>,
    /// Whether nobody reads what is printed any more: then there is nothing to say.
    pub(super) unread: bool,
}

/// How a command ends.
pub(super) type Ended = Result<ExitCode, Failed>;

impl Failed {
    /// Something went wrong.
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self { exit: FAILED, error: error.into(), hint: None, details: Vec::new(), unread: false }
    }

    /// The command line makes no sense.
    pub(super) fn usage(error: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(error) }
    }

    /// The same with a hint.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What stands on standard error: nothing that comes from outside reaches the terminal as it is.
    pub(super) fn render(&self) -> String {
        if self.unread {
            return String::new();
        }
        let mut out = String::new();
        for detail in &self.details {
            out.push_str(&screen::block(detail));
            out.push('\n');
        }
        out.push_str("monchero: ");
        out.push_str(&screen::line(&self.error));
        out.push('\n');
        if let Some(hint) = &self.hint {
            out.push_str("hint: ");
            out.push_str(&screen::line(hint));
            out.push('\n');
        }
        out
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Unreachable { .. } | ClientError::Late { .. } => UNREACHABLE,
            // The one thing that is refused with 422 is a broken configuration.
            ClientError::Refused { status: 422, .. } => CONFIG,
            ClientError::Refused { .. } | ClientError::Garbled { .. } => FAILED,
        };
        let hint = error.hint().map(ToOwned::to_owned);
        let text = error.to_string();
        let details = match error {
            ClientError::Refused { failure, .. } => failure.problems,
            _ => Vec::new(),
        };
        Self { exit, hint, details, ..Self::new(text) }
    }
}

impl From<PathsError> for Failed {
    fn from(error: PathsError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<io::Error> for Failed {
    /// For errors of standard output only; others say what was being done.
    fn from(error: io::Error) -> Self {
        let unread = error.kind() == io::ErrorKind::BrokenPipe;
        Self { unread, ..Self::new(format!("cannot write to standard output: {error}")) }
    }
}
