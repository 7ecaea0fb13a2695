//! Starts a program that stands on a mount which may never answer, without waiting longer than the run may last (R7).

use std::path::Path;
use std::sync::Arc;

use monchero_core::duration::human;
use monchero_core::program::{Program, RunError};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::blocking::{Blocking, NoAnswer};
use crate::command::{Born, failed, start_waiting};
use crate::containment::RunId;
use crate::executor::Host;

/// The walk along a path and `posix_spawn`, which brings a stack of its own for the child, need a few KiB.
static STARTS: Blocking = Blocking::new("exec-start", 128 * 1024);

/// Why there is no program yet.
pub(crate) struct Unborn {
    pub error: RunError,
    /// There was no answer in time, or nobody waits for it any more. It may come yet: then the program has to be ended.
    pub coming: Option<Coming>,
}

/// A start that has not come back.
pub(crate) struct Coming(oneshot::Receiver<Result<Born, RunError>>);

impl Coming {
    /// Waits for as long as the kernel does. Nothing if there was no start.
    pub(crate) async fn born(self) -> Option<Born> {
        self.0.await.ok()?.ok()
    }
}

/// Starts a program on a thread of its own. One mount is one thing to ask: while it hangs, no second thread is lost to it.
pub(crate) async fn start(
    host: &Arc<Host>,
    id: RunId,
    program: &Program,
    mark: String,
    mount: &Path,
    until: Instant,
    called_off: impl Future<Output = ()>,
) -> Result<Born, Unborn> {
    let (send, mut coming) = oneshot::channel();
    let (for_start, ours) = (program.clone(), Arc::clone(host));
    let start = move || {
        let background = for_start.allow_background;
        let born = start_waiting(&ours.base, for_start, &mark, |child| {
            ours.book().begin(id, i32::try_from(child.id()).unwrap_or_default(), background);
        });
        if let Err(Ok(mut born)) = send.send(born) {
            // The executor is gone.
            let _ = kill_process_group(Pid::from_child(&born.child), Signal::KILL);
            let _ = born.child.wait();
        }
    };
    let shown = mount.display().to_string();
    let limit = until.saturating_duration_since(Instant::now());
    let answer = tokio::select! {
        answer = STARTS.call(&shown, limit, start) => answer,
        () = called_off => return Err(Unborn { error: RunError::Cancelled, coming: Some(Coming(coming)) }),
    };
    let why = match answer {
        Ok(()) => match coming.try_recv() {
            Ok(answer) => return answer.map_err(|error| Unborn { error, coming: None }),
            Err(_) => "its start broke off".to_owned(),
        },
        Err(NoAnswer::Hangs(span)) => format!(
            "`{shown}`, where it stands, has not answered for {}: see to that file system and to who serves it",
            human(span)
        ),
        Err(why) => format!("`{shown}`, where it stands, {why}"),
    };
    Err(Unborn { error: failed(program, why), coming: Some(Coming(coming)) })
}
