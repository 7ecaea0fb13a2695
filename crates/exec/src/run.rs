//! The life of one run, from its start to the moment when nothing of it is left.

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use monchero_core::program::{Exit, MAX_DRAINED, Program, RunEnd, RunError};
use rustix::process::{Signal, kill_process_group};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::apart::{self, Coming, Unborn};
use crate::command::{self, Failure, Started, failed};
use crate::containment::{RunId, mark};
use crate::executor::Host;
use crate::output::Input;
use crate::proc::{self, Process};

/// A run that ends within this time costs the least: its pipes are read once, when it has ended. One that takes longer is
/// watched (its pipes are read as they fill), and from then on the kernel kills it before the daemon when memory runs out (R61).
const YOUNG: Duration = Duration::from_millis(100);
/// How long the pipes are read that something holds which the program left behind: the `tee` of a shell may have a last line to say (R4).
const LINGER: Duration = Duration::from_millis(250);
/// How long after SIGKILL a process is given up as hanging in the kernel (R6).
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The first pause between two rounds of killing; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two rounds of killing, and between two looks at what was told to end.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How often in a round processes are stopped and looked for again: each pass finds what was forked during the one before (R3).
const PASSES: u32 = 16;
/// How often a process that was given up is looked at.
const STUCK_PAUSE: Duration = Duration::from_secs(1);
/// The longest time that a run can be given; a longer one is cut to it, so that adding it to a point in time cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Where the answer goes. Whoever asked can go away: that ends the run.
pub(crate) type Answer = oneshot::Sender<Result<RunEnd, RunError>>;

/// What ended a time of waiting.
enum Event {
    /// The program has ended.
    Exited,
    /// The time is over.
    TimeUp,
    /// It wrote more than it may.
    TooMuch,
    /// Nobody waits for the result any more, or the daemon stops.
    CalledOff,
}

/// Runs a program and answers when nothing of it is left.
pub(crate) async fn run(host: Arc<Host>, mut program: Program, mut answer: Answer) {
    if host.stopping() || answer.is_closed() {
        host.ended(0, true);
        let _ = answer.send(Err(RunError::Cancelled));
        return;
    }
    let id = host.next_id();
    let began = Instant::now();
    let background = program.allow_background;
    let mark = mark(&host.instance, id, background);
    let foreign = host.foreign();
    let started = command::start(&host.base, &mut program, &mark, &foreign, |child| {
        host.book().begin(id, i32::try_from(child.id()).unwrap_or_default(), background);
    });
    let started = match started.await {
        Err(Failure::Foreign(mount)) => {
            let until = began + program.timeout.min(LONGEST);
            let called_off = called_off(&host, &mut answer);
            match apart::start(&host, id, &program, mark, &mount, until, called_off).await {
                Ok(born) => command::watch(born, &program),
                Err(Unborn { error, coming: None }) => Err(error),
                Err(Unborn { error, coming: Some(coming) }) => {
                    host.ended(0, matches!(error, RunError::Cancelled));
                    let _ = answer.send(Err(error));
                    return end_late(host, id, program, coming).await;
                }
            }
        }
        Err(Failure::Error(error)) => Err(error),
        Ok(started) => Ok(started),
    };
    let error = match started {
        Ok(started) => return Run::new(host, id, program, began, started).live(answer).await,
        Err(error) => error,
    };
    // It may have been there for a moment.
    host.book().end(id);
    host.ended(0, false);
    let _ = answer.send(Err(error));
}

/// Ends a program that began when its run was over.
async fn end_late(host: Arc<Host>, id: RunId, program: Program, coming: Coming) {
    let Some(born) = coming.born().await else { return };
    let Ok(started) = command::watch(born, &program) else { return host.book().end(id) };
    let mut run = Run::new(host, id, program, Instant::now(), started);
    run.kill_all().await;
    let _ = run.close().await;
    if let Some(pid) = run.stuck {
        run.outlast(pid).await;
    }
}

/// One run.
struct Run {
    host: Arc<Host>,
    id: RunId,
    program: Program,
    began: Instant,
    started: Started,
    /// Whether the program has ended. It is reaped when the run is over.
    exited: bool,
    /// What was killed, besides the program itself.
    killed: HashSet<Process>,
    /// A process that could not be ended.
    stuck: Option<i32>,
    /// Whether the run is off the book and its program reaped.
    over: bool,
}

impl Run {
    fn new(host: Arc<Host>, id: RunId, program: Program, began: Instant, started: Started) -> Self {
        Self { host, id, program, began, started, exited: false, killed: HashSet::new(), stuck: None, over: false }
    }

    async fn live(mut self, mut answer: Answer) {
        let result = self.supervise(&mut answer).await;
        self.host.ended(self.killed.len(), matches!(result, Err(RunError::Cancelled)));
        let _ = answer.send(result);
        if let Some(pid) = self.stuck {
            self.outlast(pid).await;
        }
    }

    async fn supervise(&mut self, answer: &mut Answer) -> Result<RunEnd, RunError> {
        let deadline = self.began + self.program.timeout.min(LONGEST);
        let event = match self.wait_young(deadline, answer).await {
            Some(event) => Ok(event),
            None => match self.grow_up() {
                Ok(()) => Ok(self.wait(deadline, answer).await),
                Err(error) => Err(error),
            },
        };
        let mut exit = None;
        match &event {
            Ok(Event::Exited) => self.settle(answer).await,
            Ok(Event::TimeUp) => {
                exit = Some(Exit::TimedOut);
                self.ask_to_end(answer).await;
                self.kill_all().await;
            }
            Ok(Event::TooMuch) => {
                exit = Some(Exit::TooMuchOutput);
                self.kill_all().await;
            }
            Ok(Event::CalledOff) | Err(_) => self.kill_all().await,
        }
        let duration = self.began.elapsed();
        let (stdout, cut_stdout) = self.started.stdout.finish();
        let (stderr, cut_stderr) = self.started.stderr.finish();
        let status = self.close().await;
        match event {
            Ok(Event::CalledOff) => return Err(RunError::Cancelled),
            Err(error) => return Err(failed(&self.program, format!("its output could not be watched: {error}"))),
            Ok(_) => {}
        }
        let exit = match (self.stuck, exit, status) {
            (Some(pid), ..) => Exit::Stuck { pid },
            (None, Some(exit), _) => exit,
            (None, None, Some(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Status(code),
                (None, signal) => Exit::Signal(signal.unwrap_or_default()),
            },
            (None, None, None) => {
                return Err(failed(&self.program, "its exit status was taken by somebody else".to_owned()));
            }
        };
        let leftovers = u32::try_from(self.killed.len()).unwrap_or(u32::MAX);
        Ok(RunEnd { exit, stdout, stderr, truncated: cut_stdout || cut_stderr, leftovers, duration })
    }

    /// Waits for the end of a program that ends soon; nothing if it does not.
    async fn wait_young(&mut self, deadline: Instant, answer: &mut Answer) -> Option<Event> {
        if self.started.input.is_some() {
            return None;
        }
        let grown = self.began + YOUNG;
        tokio::select! {
            biased;
            _ = self.started.exit.readable() => {
                self.exited = true;
                Some(Event::Exited)
            }
            () = called_off(&self.host, answer) => Some(Event::CalledOff),
            () = sleep_until(grown.min(deadline)) => (deadline <= grown).then_some(Event::TimeUp),
        }
    }

    /// What is not worth its while for a program that ends soon.
    fn grow_up(&mut self) -> io::Result<()> {
        self.started.stdout.watch()?;
        self.started.stderr.watch()?;
        self.started.input = self.started.input.take().map(Input::watch).transpose()?;
        if self.host.exposes_programs {
            proc::expose_to_oom(self.pid());
        }
        Ok(())
    }

    /// Waits for the end of the program, reads what it says and tells it what it wants to hear.
    async fn wait(&mut self, until: Instant, answer: &mut Answer) -> Event {
        let Started { exit, stdout, stderr, input, .. } = &mut self.started;
        let called_off = called_off(&self.host, answer);
        let time_up = sleep_until(until);
        tokio::pin!(called_off, time_up);
        while stdout.seen() + stderr.seen() <= MAX_DRAINED {
            tokio::select! {
                biased;
                _ = exit.readable() => {
                    self.exited = true;
                    return Event::Exited;
                }
                () = &mut called_off => return Event::CalledOff,
                () = &mut time_up => return Event::TimeUp,
                () = stdout.read() => {}
                () = stderr.read() => {}
                done = write(input) => if done { *input = None },
            }
        }
        Event::TooMuch
    }

    /// After the program has ended by itself: ends what it left behind, unless that may stay.
    async fn settle(&mut self, answer: &mut Answer) {
        if self.host.book().left_by(self.id).is_nothing() {
            return;
        }
        self.linger(answer).await;
        if !self.program.allow_background {
            self.kill_all().await;
        }
    }

    /// Reads on until nobody holds the pipes any more, or the time for that is over.
    async fn linger(&mut self, answer: &mut Answer) {
        let Started { stdout, stderr, .. } = &mut self.started;
        if stdout.watch().is_err() || stderr.watch().is_err() {
            return;
        }
        let called_off = called_off(&self.host, answer);
        let time_up = sleep(LINGER);
        tokio::pin!(called_off, time_up);
        while !(stdout.ended() && stderr.ended()) {
            tokio::select! {
                biased;
                () = &mut called_off => return,
                () = &mut time_up => return,
                () = stdout.read() => {}
                () = stderr.read() => {}
            }
        }
    }

    /// Tells everything that the program started to end, and waits for that as long as `kill_grace` says.
    async fn ask_to_end(&mut self, answer: &mut Answer) {
        let until = Instant::now() + self.program.kill_grace.min(LONGEST);
        let tree = self.tree();
        let _ = kill_process_group(self.started.pid, Signal::TERM);
        for process in tree {
            let Some(stat) = proc::stat(process.pid) else { continue };
            // Once is enough: some take the second request for impatience.
            if stat.group != self.pid() {
                proc::signal(process, Signal::TERM);
            }
            if stat.stopped() {
                proc::signal(process, Signal::CONT);
            }
        }
        if let Event::Exited = self.wait(until, answer).await {
            while Instant::now() < until && !self.host.stopping() && !self.host.book().left_by(self.id).is_nothing() {
                self.started.stdout.drain();
                self.started.stderr.drain();
                sleep(LONGEST_PAUSE).await;
            }
        }
    }

    /// Kills in rounds until nothing of the run is left, or gives up on a process that hangs in the kernel.
    async fn kill_all(&mut self) {
        let patience = Instant::now() + KILL_PATIENCE;
        let mut pause = FIRST_PAUSE;
        while let Some(first) = self.kill_round() {
            if Instant::now() >= patience {
                self.stuck = Some(first);
                return;
            }
            self.pause(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Stops all that is left of the run, so that it cannot fork, and kills it. Returns one of them, or nothing if there was nobody.
    fn kill_round(&mut self) -> Option<i32> {
        let (roots, unclear) = self.roots();
        let Some(first) = roots.first().copied() else { return unclear };
        let mut found = HashSet::new();
        for _ in 0..PASSES {
            let before = found.len();
            for process in self.tree() {
                if found.insert(process) {
                    proc::signal(process, Signal::STOP);
                }
            }
            if found.len() == before {
                break;
            }
        }
        // The program is not reaped yet, so this group is still its own.
        let _ = kill_process_group(self.started.pid, Signal::KILL);
        for process in found {
            proc::signal(process, Signal::KILL);
            if process.pid != self.pid() {
                self.killed.insert(process);
            }
        }
        Some(first)
    }

    /// The program, if it lives, and the orphans of the run; and one of whom it is not known yet whose it is.
    fn roots(&self) -> (Vec<i32>, Option<i32>) {
        let left = self.host.book().left_by(self.id);
        let mut roots = if self.exited { Vec::new() } else { vec![self.pid()] };
        roots.extend(left.pids);
        (roots, left.unclear)
    }

    /// All that lives of the run, noted in the book: when their parents die, it is known whose they are.
    fn tree(&self) -> Vec<Process> {
        let (roots, _) = self.roots();
        let mut book = self.host.book();
        let tree = proc::trees(&roots, book.lists_children());
        book.remember(self.id, &tree);
        tree
    }

    async fn pause(&mut self, pause: Duration) {
        if self.exited {
            sleep(pause).await;
        } else {
            self.exited = timeout(pause, self.started.exit.readable()).await.is_ok();
        }
    }

    /// Takes the run off the book and reaps the program, if that has ended and nothing hangs.
    async fn close(&mut self) -> Option<ExitStatus> {
        if let Some(pid) = self.stuck {
            self.host.book().give_up(self.id);
            self.host.stuck().insert(pid);
            return None;
        }
        self.over = true;
        self.host.book().end(self.id);
        let patience = Instant::now() + KILL_PATIENCE;
        loop {
            match self.started.child.try_wait() {
                // A debugger that follows it (`strace -f`) is told first, and we are when it has listened.
                Ok(None) if Instant::now() < patience => sleep(FIRST_PAUSE).await,
                status => return status.ok().flatten(),
            }
        }
    }

    /// Stays with a process that could not be ended, until it does.
    async fn outlast(&mut self, pid: i32) {
        while self.kill_round().is_some() {
            self.pause(STUCK_PAUSE).await;
        }
        self.stuck = None;
        let _ = self.close().await;
        self.host.stuck().remove(&pid);
    }

    fn pid(&self) -> i32 {
        self.started.pid.as_raw_pid()
    }
}

impl Drop for Run {
    /// Only for a task that was torn down, by a panic or with its runtime: everything else ends in [`Run::close`].
    fn drop(&mut self) {
        if !self.over {
            let _ = kill_process_group(self.started.pid, Signal::KILL);
            self.host.book().end(self.id);
            let _ = self.started.child.try_wait();
        }
    }
}

async fn called_off(host: &Host, answer: &mut Answer) {
    tokio::select! {
        () = answer.closed() => {}
        () = host.stopped() => {}
    }
}

async fn write(input: &mut Option<Input>) -> bool {
    match input {
        Some(input) => input.write().await,
        None => pending().await,
    }
}
