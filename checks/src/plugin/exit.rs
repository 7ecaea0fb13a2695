//! How a plugin ended, in words and as a state.

use monchero_core::State;
use monchero_core::program::{Exit, MAX_DRAINED};

use super::Plugin;
use super::settings::Format;

/// What an exit status says.
pub(super) enum Verdict {
    /// This state.
    State(State),
    /// Nothing: the state is unknown for this reason.
    Unclear(String),
}

impl Plugin {
    /// The verdict of an exit status, by the convention of plugins or by the lists of the settings.
    pub(super) fn verdict(&self, status: i32) -> Verdict {
        if self.format != Format::ExitCode {
            return match State::from_exit_status(status) {
                Some(state) => Verdict::State(state),
                None => Verdict::Unclear(format!("exit status {status} is none of 0, 1, 2 and 3")),
            };
        }
        let lists = [
            (&self.okay, State::Okay),
            (&self.warning, State::Warning),
            (&self.bad, State::Bad),
            (&self.unknown, State::Unknown),
        ];
        let listed = lists.into_iter().find(|(list, _)| list.iter().any(|listed| i32::from(*listed) == status));
        match listed {
            Some((_, state)) => Verdict::State(state),
            None if status == 0 => Verdict::State(State::Okay),
            None if self.warning.is_empty() && self.bad.is_empty() => Verdict::State(State::Bad),
            None => Verdict::Unclear(format!(
                "exit status {status} stands in none of the lists `okay`, `warning`, `bad` and `unknown`"
            )),
        }
    }
}

/// Why a run that did not end by itself has no result, if it is so.
pub(super) fn cut_short(exit: &Exit) -> Option<String> {
    match exit {
        Exit::Signal(signal) => Some(format!("it was ended by signal {signal}{}", signal_name(*signal))),
        Exit::TooMuchOutput => Some(format!("it wrote more than {} MiB and was ended", MAX_DRAINED / (1024 * 1024))),
        Exit::Status(_) | Exit::TimedOut | Exit::Stuck { .. } => None,
    }
}

/// The names of the signals that programs die of, in brackets.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: perhaps memory ran out)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        24 => " (SIGXCPU)",
        25 => " (SIGXFSZ)",
        31 => " (SIGSYS)",
        _ => "",
    }
}
