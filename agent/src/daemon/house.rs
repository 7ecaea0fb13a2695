//! How the process of the daemon is set up before anything runs in it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::config::Overrides;

/// How glibc is to keep house: no caches per thread, one heap, and what is free goes back. With 10,000 checks the daemon then holds 17.8
/// instead of 24.6 MiB of its own; what a run needs for a moment no longer lies between what stays. An allocator without these settings
/// passes over them.
const TUNABLES: &str = "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536";

/// Where glibc looks for them.
const VARIABLE: &str = "GLIBC_TUNABLES";

/// glibc reads its settings only when a program starts, so the daemon starts once more, as the same process. Whoever sets the variable
/// decides; if it cannot be done the daemon is larger and works as well.
pub(super) fn keep_house() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) {
        // It returns only if it failed.
        let _ = Command::new(program).arg0(name).args(arguments).env(VARIABLE, TUNABLES).exec();
    }
}

/// A core dump would hold every secret that was read (R67). What is started from here leaves none either.
pub(crate) fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // To ask for less is refused to nobody.
    let _ = setrlimit(Resource::Core, none);
}

/// What the daemon is to do, if it is one that started once more. Its command line was judged the first time; to do that again would
/// leave half a megabyte of code and garbage in a process that lives for months. None for a command line that has more than this knows.
pub(crate) fn started_again(arguments: &[OsString]) -> Option<(Overrides, bool)> {
    if std::env::var_os(VARIABLE).is_none_or(|value| value != TUNABLES) {
        return None;
    }
    let (mut overrides, mut agent, mut reset_state) = (Overrides::default(), false, false);
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str()? {
            "agent" => agent = true,
            "--reset-state" => reset_state = true,
            "--config" => overrides.config = Some(words.next()?.into()),
            "--state-dir" => overrides.state_dir = Some(words.next()?.into()),
            "--socket" => overrides.socket = Some(words.next()?.into()),
            _ => return None,
        }
    }
    agent.then_some((overrides, reset_state))
}
