//! Starts one program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use monchero_core::program::{MAX_STDERR, Program, RunError};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process_group, pidfd_open};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::containment::MARK;
use crate::output::{Input, Output, watched};
use crate::trust::{self, TrustError};
use crate::users::User;
use crate::{run_as, users};

/// How often a program that somebody is still writing (ETXTBSY) is tried again.
const BUSY_TRIES: u32 = 20;
/// How long is waited before that. Together 0.2 s: a package manager renames a finished file, only an editor or `cp` in place gets here.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How often a start is tried again when the kernel has no process or no memory to give (EAGAIN, ENOMEM); after a pause that doubles,
/// together 1.6 s. Whoever needs longer is tried with the next slot.
const FULL_TRIES: u32 = 5;
/// The first of those pauses.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// What every start needs of the daemon.
pub(crate) struct Base {
    /// `/dev/null`, open once.
    pub null: File,
    /// The home directory of our user.
    pub home: OsString,
    /// The binary with the hidden subcommands.
    pub helper: Option<PathBuf>,
}

/// A program that runs.
pub(crate) struct Started {
    pub child: Child,
    pub pid: Pid,
    /// Its pidfd, readable when it has ended.
    pub exit: AsyncFd<OwnedFd>,
    pub stdout: Output,
    pub stderr: Output,
    /// What of its input did not fit into the pipe yet.
    pub input: Option<Input>,
}

/// Our ends of a program's pipes.
struct Pipes {
    stdout: Output,
    stderr: Output,
    input: Option<Input>,
}

/// A program that was started and that no event loop watches yet.
pub(crate) struct Born {
    pub child: Child,
    pipes: Pipes,
    /// For what goes wrong later.
    path: PathBuf,
}

/// Why a program was not started.
pub(crate) enum Failure {
    Error(RunError),
    /// It stands on this mount, which may never answer: it is to be started [`apart`](crate::apart).
    Foreign(PathBuf),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Error(error)
    }
}

/// Starts a program, with nothing but what its definition says: an environment of its own, three descriptors, a process group.
///
/// The standard library takes the `posix_spawn` path for all of this (an absolute path, no user, no hook), which costs the same
/// however large our process is. `began` is called as soon as there is a process, before anything else can happen on this thread.
pub(crate) async fn start(
    base: &Base,
    program: &mut Program,
    mark: &str,
    foreign: &[OsString],
    began: impl FnOnce(&Child),
) -> Result<Started, Failure> {
    let (mut command, path) = prepare(base, program, mark, foreign)?;
    let pipes = connect(&mut command, base, program, &path)?;
    let mut tries = 0;
    let child = loop {
        match spawn(&mut command) {
            Ok(child) => break child,
            Err(error) => match try_again(&error, tries, program.timeout) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failed(program, explain(&error, &path, program)).into()),
            },
        }
        tries += 1;
    };
    began(&child);
    // The other ends of the pipes are closed with it: the program alone holds them now.
    drop(command);
    Ok(watch(Born { child, pipes, path }, program)?)
}

/// As [`start`], on a thread that may wait.
pub(crate) fn start_waiting(
    base: &Base,
    mut program: Program,
    mark: &str,
    began: impl FnOnce(&Child),
) -> Result<Born, RunError> {
    let (mut command, path) = prepare(base, &program, mark, &[]).map_err(|failure| match failure {
        Failure::Error(error) => error,
        Failure::Foreign(mount) => failed(&program, format!("it leads onto `{}`", mount.display())),
    })?;
    let pipes = connect(&mut command, base, &mut program, &path)?;
    let mut tries = 0;
    let child = loop {
        match spawn(&mut command) {
            Ok(child) => break child,
            Err(error) => match try_again(&error, tries, program.timeout) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(failed(&program, explain(&error, &path, &program))),
            },
        }
        tries += 1;
    };
    began(&child);
    Ok(Born { child, pipes, path })
}

/// Looks at the program and at all that its start needs, except on `foreign` mounts.
fn prepare(base: &Base, program: &Program, mark: &str, foreign: &[OsString]) -> Result<(Command, PathBuf), Failure> {
    let name = program.argv.first().map_or(Path::new(""), Path::new);
    let why = |error: TrustError| match error {
        TrustError::Refused { .. } => Failure::Error(RunError::Untrusted(error.to_string())),
        TrustError::Unusable(why) => Failure::Error(failed(program, why)),
        TrustError::Foreign(mount) => Failure::Foreign(mount),
    };
    let path = trust::resolve_off(name, foreign).map_err(why)?;
    let user = other_user(program).map_err(|why| failed(program, why))?;
    if program.allow_insecure_path {
        trust::stay_off(&path, foreign).map_err(why)?;
    } else {
        trust::verify_for(&path, user.as_ref().map(|(_, user)| user.uid), foreign).map_err(why)?;
    }
    if let Some(directory) = &program.directory {
        trust::stay_off(directory, foreign).map_err(why)?;
    }
    if !foreign.is_empty()
        && let Some(interpreter) = interpreter(&path)
    {
        trust::stay_off(Path::new(&interpreter), foreign).map_err(why)?;
    }
    let command = command(base, program, &path, user.as_ref(), mark).map_err(|why| failed(program, why))?;
    Ok((command, path))
}

/// Gives the program its three descriptors.
fn connect(command: &mut Command, base: &Base, program: &mut Program, path: &Path) -> Result<Pipes, RunError> {
    let stdin = program.stdin.take();
    let connected = || {
        let (stdout, theirs) = Output::new(program.max_output)?;
        command.stdout(Stdio::from(theirs));
        let (stderr, theirs) = Output::new(MAX_STDERR)?;
        command.stderr(Stdio::from(theirs));
        let input = if let Some(bytes) = stdin {
            let (input, theirs) = Input::new(bytes)?;
            command.stdin(Stdio::from(theirs));
            Some(input)
        } else {
            command.stdin(Stdio::from(base.null.try_clone()?));
            None
        };
        io::Result::Ok(Pipes { stdout, stderr, input })
    };
    let connected = connected();
    connected.map_err(|error| failed(program, explain(&error, path, program)))
}

/// The error of a program that could not be started.
pub(crate) fn failed(program: &Program, why: String) -> RunError {
    let name = program.argv.first().map(|name| name.to_string_lossy().into_owned());
    RunError::Start { program: name.unwrap_or_default(), why }
}

/// The user that the program is to run as, if that is not ours.
fn other_user(program: &Program) -> Result<Option<(String, User)>, String> {
    let Some(name) = &program.run_as else { return Ok(None) };
    let user = users::by_name(name)?;
    let me = geteuid().as_raw();
    if user.uid == me {
        return Ok(None);
    }
    if me != 0 {
        return Err(format!(
            "it is to run as user `{name}`, but the daemon is not root (it has user id {me}): run the daemon as root or remove `run_as`"
        ));
    }
    Ok(Some((name.clone(), user)))
}

fn command(
    base: &Base,
    program: &Program,
    path: &Path,
    user: Option<&(String, User)>,
    mark: &str,
) -> Result<Command, String> {
    let mut command = match user {
        None => Command::new(path),
        Some((name, _)) => {
            let helper = base.helper.as_ref().ok_or("this program cannot change the user (it has no `exec-as`)")?;
            let mut command = Command::new(helper);
            command.arg0("monchero").args(run_as::prefix(name)).arg(path);
            command
        }
    };
    let home = user.map_or(base.home.as_os_str(), |(_, user)| OsStr::new(&user.home));
    command
        .args(program.argv.iter().skip(1))
        .env_clear()
        .env("PATH", trust::PATH)
        .env("LANG", "C.UTF-8")
        .env("HOME", home)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .env(MARK, mark)
        .current_dir(program.directory.as_deref().unwrap_or(Path::new("/")))
        .process_group(0);
    Ok(command)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// How long to wait before a start is tried again; nothing if that is no use. What passes by itself is that somebody writes to the program, and
/// that there are too many processes (R17).
fn try_again(error: &io::Error, tries: u32, timeout: Duration) -> Option<Duration> {
    match Errno::from_io_error(error) {
        Some(Errno::TXTBSY) => (tries < BUSY_TRIES).then_some(BUSY_PAUSE),
        Some(Errno::AGAIN | Errno::NOMEM) => {
            if tries == 0 {
                tracing::warn!("no further program can be started ({error}): starts are tried again, ever more slowly");
            }
            // All pauses so far are together as long as this one.
            let pause = FULL_PAUSE * 2_u32.pow(tries.min(FULL_TRIES));
            (tries < FULL_TRIES && pause * 2 < timeout).then_some(pause)
        }
        _ => None,
    }
}

/// Makes the event loop watch a program.
pub(crate) fn watch(born: Born, program: &Program) -> Result<Started, RunError> {
    let Born { mut child, pipes: Pipes { stdout, stderr, input }, path } = born;
    let pid = Pid::from_child(&child);
    let exit = pidfd_open(pid, PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|pidfd| watched(pidfd, Interest::READABLE));
    match exit {
        Ok(exit) => Ok(Started { pid, exit, stdout, stderr, input: input.and_then(Input::feed), child }),
        Err(error) => {
            // It cannot be watched (no descriptor is left), so it must not run. It has had no time to get anywhere.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            Err(failed(program, explain(&error, &path, program)))
        }
    }
}

/// Why a program could not be started, and what to do.
fn explain(error: &io::Error, path: &Path, program: &Program) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => missing(path, program),
        Some(Errno::ACCESS | Errno::PERM) => forbidden(error, path, program),
        Some(Errno::NOEXEC) => {
            "it is neither a program for this machine nor a script whose first line begins with `#!`".to_owned()
        }
        Some(Errno::TXTBSY) => {
            "somebody is writing to it (text file busy): put a finished copy in its place by renaming".to_owned()
        }
        Some(Errno::TOOBIG) => "its arguments and its environment are too long for the kernel".to_owned(),
        Some(Errno::AGAIN) => {
            format!("{error}: the limit of processes is reached; raise `TasksMax=` of the service or `ulimit -u`")
        }
        Some(Errno::NOMEM) => format!("{error}: the host has no memory left for another process"),
        Some(Errno::MFILE | Errno::NFILE) => {
            format!("{error}: the limit of descriptors is reached; raise `LimitNOFILE=` of the service")
        }
        _ if error.kind() == io::ErrorKind::InvalidInput => {
            "an argument, a variable of its environment or a path contains a NUL byte".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The kernel says the same when the program, its interpreter, its loader or the working directory is missing.
fn missing(path: &Path, program: &Program) -> String {
    if let Some(directory) = program.directory.as_deref().filter(|directory| !directory.is_dir()) {
        return format!("its working directory `{}` does not exist", directory.display());
    }
    if !path.exists() {
        return format!("`{}` does not exist", path.display());
    }
    match interpreter(path) {
        Some(named) if named.ends_with('\r') => {
            "its first line ends in a carriage return, which the kernel takes for a part of the interpreter's name; \
             `sed -i 's/\\r$//'` on it mends that"
                .to_owned()
        }
        Some(named) => format!(
            "its interpreter `{named}`, named in its first line, does not exist: install it or correct the line"
        ),
        None => "the loader that it needs does not exist: it was built for another system".to_owned(),
    }
}

fn forbidden(error: &io::Error, path: &Path, program: &Program) -> String {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if found.is_dir() => return format!("`{shown}` is a directory"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            return format!("it is not executable; `chmod +x {shown}` mends that");
        }
        _ => {}
    }
    if let Some(named) = interpreter(path) {
        return format!(
            "{error}: the daemon's user may not execute it or its interpreter `{named}`, or their file system is mounted `noexec`"
        );
    }
    match &program.directory {
        Some(directory) => {
            format!("{error}: the daemon's user may not execute it, or not enter `{}`", directory.display())
        }
        None => format!("{error}: the daemon's user may not execute it, or its file system is mounted `noexec`"),
    }
}

/// The interpreter that the first line of a script names.
fn interpreter(path: &Path) -> Option<String> {
    // Opening anything else, such as a named pipe, could wait for ever.
    if !path.is_file() {
        return None;
    }
    // The kernel looks at no more than this.
    let mut start = [0_u8; 256];
    let read = File::open(path).ok()?.read(&mut start).ok()?;
    let line = start.get(..read)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_start_matches([' ', '\t']);
    Some(line.split([' ', '\t']).next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_ever_more_slowly_and_not_for_ever() {
        let pauses = |errno: Errno, timeout: Duration| -> Vec<Duration> {
            (0..100).map_while(|tries| try_again(&io::Error::from(errno), tries, timeout)).collect()
        };
        let minute = Duration::from_secs(60);
        for errno in [Errno::AGAIN, Errno::NOMEM] {
            assert_eq!(pauses(errno, minute), [50, 100, 200, 400, 800].map(Duration::from_millis));
            assert_eq!(
                pauses(errno, Duration::from_millis(500)),
                [50, 100, 200].map(Duration::from_millis),
                "within the timeout"
            );
        }
        assert_eq!(pauses(Errno::TXTBSY, minute).len(), 20);
        assert!(pauses(Errno::NOENT, minute).is_empty());
    }
}
