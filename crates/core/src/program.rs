//! What it means to run one program: pure data, and the trait that `monchero-exec` implements.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::check::BoxFuture;

/// How long a program has between SIGTERM and SIGKILL, unless its definition says otherwise.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
/// How much of standard output is kept, in bytes (R12).
pub const MAX_OUTPUT: usize = 64 * 1024;
/// How much of standard error is kept, in bytes (R12).
pub const MAX_STDERR: usize = 8 * 1024;
/// How much output is drained before the program is ended, in bytes (R12).
pub const MAX_DRAINED: u64 = 16 * 1024 * 1024;

/// A program to run: what, as whom, with what, for how long. No shell is ever involved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program's absolute path and its arguments; never empty.
    pub argv: Vec<OsString>,
    /// What the environment holds besides the fixed base (`PATH`, `LANG`, `HOME`, the marker of the run).
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; `/` if none.
    pub directory: Option<PathBuf>,
    /// The user to run as, when the daemon is root.
    pub run_as: Option<String>,
    /// When it is told to end (SIGTERM to everything that it started).
    pub timeout: Duration,
    /// How long after that it is killed.
    pub kill_grace: Duration,
    /// How many bytes of standard output are kept.
    pub max_output: usize,
    /// What it reads on standard input; `/dev/null` if none.
    pub stdin: Option<Vec<u8>>,
    /// Whether what it left in the background may live on.
    pub allow_background: bool,
    /// Whether a path that others can write to is run all the same (R62).
    pub allow_insecure_path: bool,
}

impl Program {
    /// A program with the defaults of the manual.
    pub fn new(argv: Vec<OsString>, timeout: Duration) -> Self {
        Self {
            argv,
            env: Vec::new(),
            directory: None,
            run_as: None,
            timeout,
            kill_grace: KILL_GRACE,
            max_output: MAX_OUTPUT,
            stdin: None,
            allow_background: false,
            allow_insecure_path: false,
        }
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this status.
    Status(i32),
    /// A signal ended it that was not ours.
    Signal(i32),
    /// It did not end in time and was ended.
    TimedOut,
    /// It wrote more than [`MAX_DRAINED`] and was ended.
    TooMuchOutput,
    /// It could not be ended: a process hangs in the kernel (state D). The run is over, the process is not.
    Stuck {
        /// The process that hangs.
        pid: i32,
    },
}

/// What a run left behind: how it ended and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// How it ended.
    pub exit: Exit,
    /// The first bytes of standard output, at most `max_output`.
    pub stdout: Vec<u8>,
    /// The first bytes of standard error, at most [`MAX_STDERR`].
    pub stderr: Vec<u8>,
    /// Whether output was cut.
    pub truncated: bool,
    /// How many processes it left behind that had to be killed.
    pub leftovers: u32,
    /// How long it ran.
    pub duration: Duration,
}

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program's path is not to be trusted (R62); the text names the component and the command that mends it.
    #[error("{0}")]
    Untrusted(String),
    /// It could not be started.
    #[error("cannot start `{program}`: {why}")]
    Start {
        /// The program's path.
        program: String,
        /// The reason, with what to do.
        why: String,
    },
    /// The run was called off because the daemon stops: there is no result (R16).
    #[error("called off")]
    Cancelled,
}

/// Runs programs. There is one implementation, `monchero-exec`, for plugins and action scripts alike.
pub trait Spawner: Send + Sync {
    /// Runs a program to its end. Always answers within `timeout + kill_grace` and a little (promise 1), and nothing that the
    /// program started is left unless `allow_background` says so (promise 2). Dropping the future ends the program.
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>>;

    /// Whether a process that a run gave up as [`Exit::Stuck`] still exists.
    fn still_stuck(&self, pid: i32) -> bool;

    /// How what a program starts is held together, for `status` and the log: `subreaper`, or what stands in for it.
    fn containment(&self) -> &'static str;
}
