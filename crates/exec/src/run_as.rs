//! `exec-as`: a program as another user.
//!
//! Changing the user between fork and exec would cost every start its fast path, 150 times as much in a large process. So the
//! daemon starts its own binary, which in a fresh process with one thread changes the user and becomes the program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Gid, Uid, geteuid, getgid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::users;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "exec-as";
/// The exit status when the program could not be executed as that user. The reason stands on standard error.
const CANNOT: i32 = 126;

/// What goes before a program's arguments to run it as a user.
pub(crate) fn prefix(user: &str) -> [&OsStr; 3] {
    [OsStr::new(SUBCOMMAND), OsStr::new(user), OsStr::new("--")]
}

/// The whole of `exec-as USER -- PROGRAM ARGUMENT..`; takes what follows `exec-as`. It returns only if it failed, with the exit
/// status of the process. It has to be called from a process with one thread, before anything else: a user is a property of a thread.
pub fn exec_as_main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let Err(why) = exec_as(arguments.into_iter());
    report(&why);
    CANNOT
}

#[expect(clippy::print_stderr, reason = "standard error of this process is where the run takes its text from")]
fn report(why: &str) {
    eprintln!("{why}");
}

fn exec_as(mut arguments: impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, String> {
    const USAGE: &str = "usage: exec-as USER -- PROGRAM [ARGUMENT..]";
    let name = arguments.next().and_then(|name| name.into_string().ok()).ok_or(USAGE)?;
    if arguments.next().as_deref() != Some(OsStr::new("--")) {
        return Err(USAGE.to_owned());
    }
    let program = arguments.next().ok_or(USAGE)?;
    become_user(&name)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("cannot execute `{}` as user `{name}`: {error}", program.display()))
}

/// Groups first: without the user's privileges they cannot be changed any more.
fn become_user(name: &str) -> Result<(), String> {
    let user = users::by_name(name)?;
    let groups: Vec<Gid> = users::groups_of(name, user.gid)?.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let failed =
        |what: &str, error: rustix::io::Errno| format!("cannot take {what} of user `{name}`: {error}; only root can");
    set_thread_groups(&groups).map_err(|error| failed("the groups", error))?;
    set_thread_res_gid(gid, gid, gid).map_err(|error| failed("the group", error))?;
    set_thread_res_uid(uid, uid, uid).map_err(|error| failed("the identity", error))?;
    if getuid() != uid || geteuid() != uid || getgid() != gid {
        return Err(format!("the change to user `{name}` had no effect: refused to go on"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(arguments: &[&str]) -> String {
        exec_as(arguments.iter().map(OsString::from)).unwrap_err()
    }

    #[test]
    fn what_is_not_understood_is_refused_before_anything_changes() {
        assert!(attempt(&[]).starts_with("usage"));
        assert!(attempt(&["nobody"]).starts_with("usage"));
        assert!(attempt(&["nobody", "/bin/true"]).starts_with("usage"));
        assert!(attempt(&["nobody", "--"]).starts_with("usage"));
        assert!(attempt(&["no such user", "--", "/bin/true"]).contains("no user `no such user`"));
    }
}
