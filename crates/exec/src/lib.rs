//! Runs one program: deadline, process group, output cap, no leftovers.
//!
//! [`Executor`] implements [`monchero_core::program::Spawner`] and is the only place that starts processes. It has a thread of
//! its own, since starting a process stalls the thread that does it until the child has begun to execute.
//!
//! What holds a run together, without a wrapper process per run:
//!
//! - Each program leads a process group of its own, watched through a pidfd and signalled while it is not yet reaped, so that
//!   its number cannot belong to somebody else.
//! - The daemon is a *child subreaper*: whatever leaves the group (`setsid`, double fork) becomes a child of the daemon's main
//!   thread as soon as its parent dies. The kernel lists those in `/proc/self/task/<main thread>/children`, and that file is
//!   empty after a well-behaved program: one system call a run says that nothing was left.
//! - A tiny *guard* process outlives the daemon for a moment: when the daemon is killed, it ends what the daemon's programs
//!   left, found by the mark `MONCHERO_RUN` in their environment.
//!
//! What stands on a file system that may never answer (NFS, FUSE ..) is looked at and started on a throw-away thread: the kernel keeps
//! the thread that starts a program until the program's file and directory were reached.
//!
//! A program of the daemon's package has to hand two hidden subcommands to this crate before it does anything else, `guard` to
//! [`guard_main`] and `exec-as` to [`exec_as_main`], and to name itself in [`Options::helper`].
//!
//! Limits that safe code cannot lift: blocked and ignored signals, and descriptors without close-on-exec, that the daemon was
//! itself started with reach its programs too (SIGPIPE excepted). [`Executor::start`] warns about them; systemd starts services without any.

mod apart;
pub mod blocking;
mod command;
mod containment;
mod executor;
mod guard;
mod mounts;
mod output;
mod proc;
mod run;
mod run_as;
pub mod trust;
mod users;

pub use executor::{Counts, Executor, Options, StartError};
pub use guard::guard_main;
pub use run_as::exec_as_main;
