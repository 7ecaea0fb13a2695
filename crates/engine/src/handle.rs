//! How everything outside of the engine talks to it: commands over one bounded queue, each answered once.

use jiff::Timestamp;
use monchero_core::check::{Peer, Peers, Signal};
use monchero_core::definition::Configuration;
use monchero_core::hold::Downtime;
use monchero_core::report::ServiceResult;
use monchero_core::{BoxFuture, Name, Notice, Report, State};
use tokio::sync::{mpsc, oneshot};

use crate::view::{Detail, Picture, Rehearsal, Snapshot};

/// How many commands may wait. Clients wait for a place; the check path never does.
pub const COMMANDS: usize = 64;
/// How many notices and actions per check are kept in memory for `show`; older ones are in history.
pub const RECENT: usize = 10;

/// The engine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct EngineGone;

/// Why a command was not carried out: one line for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such check.
    #[error("there is no check `{name}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoSuchCheck {
        /// What was asked for.
        name: String,
        /// The nearest name that there is.
        near: Option<String>,
    },
    /// There is no such target.
    #[error("there is no target `{name}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoSuchTarget {
        /// What was asked for.
        name: String,
        /// The nearest name of a target that there is.
        near: Option<String>,
    },
    /// It does not wait for what a job says.
    #[error("`{0}` takes no signals: it looks for itself")]
    TakesNoSignals(Name),
    /// It makes no sense now.
    #[error("{0}")]
    Senseless(String),
    /// The engine has ended.
    #[error(transparent)]
    Gone(#[from] EngineGone),
}

/// What a signal means to its check.
pub(crate) type Heard = Result<ServiceResult, Refusal>;

/// A message to send that says that it is a drill.
#[derive(Clone, Debug)]
pub struct Test {
    /// To whom.
    pub target: Name,
    /// What it says is so.
    pub state: State,
    /// The check that it is about and what is told of it; without one, an invented check.
    pub about: Option<(Name, Notice)>,
}

/// How a drill ended: what the receiver answered, or the error.
pub type Tested = Result<Result<String, String>, Refusal>;

/// What can be asked of the engine.
#[derive(Debug)]
pub enum Command {
    /// All rows.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Everything about one check.
    Show(String, oneshot::Sender<Result<Box<Detail>, Refusal>>),
    /// Run checks now; each answer is the judged result of that run. A check that is already running answers with that run's result.
    Run(Name, oneshot::Sender<Result<ServiceResult, Refusal>>),
    /// A passive result for a check, or for a service that a check may report.
    Submit(Name, Box<Report>, oneshot::Sender<Result<(), Refusal>>),
    /// What a job says about itself; answered with what that means as soon as it is on disk.
    Signal(Name, Box<Signal>, oneshot::Sender<Heard>),
    /// Sends a drill to a target, after the message that is under way; answered with how that went.
    TestTarget(Box<Test>, oneshot::Sender<Tested>),
    /// Sends a target a summary of the time since then; answered with how that went.
    SendSummary(Name, Timestamp, oneshot::Sender<Tested>),
    /// What a summary is made of.
    Picture(oneshot::Sender<Picture>),
    /// What would be told and done if a check became hard that state now. Nothing changes.
    Rehearse(Name, State, oneshot::Sender<Result<Box<Rehearsal>, Refusal>>),
    /// Somebody works on a problem.
    Acknowledge {
        /// The check.
        check: Name,
        /// Who.
        author: String,
        /// What they say.
        comment: String,
        /// When it lapses.
        until: Option<Timestamp>,
        /// Whether it outlives a change between problem states.
        sticky: bool,
        /// The answer.
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Takes an acknowledgement back.
    Unacknowledge(Name, oneshot::Sender<Result<(), Refusal>>),
    /// Plans a downtime; `id` is ignored and given by the engine.
    AddDowntime(Box<Downtime>, oneshot::Sender<Result<Downtime, Refusal>>),
    /// All downtimes that have not ended.
    Downtimes(oneshot::Sender<Vec<Downtime>>),
    /// Ends a downtime.
    EndDowntime(u64, oneshot::Sender<Result<Downtime, Refusal>>),
    /// A new configuration, complete and valid; unchanged checks keep state and phase.
    Configure(Box<Configuration>, oneshot::Sender<ConfigureSummary>),
    /// How the last sign of life was taken.
    Alive(Box<Report>),
    /// A reload failed: the running set stays, `self/config` says why; none clears it.
    ConfigTrouble(Option<String>),
    /// The log cannot be written as it should be: `self/store` says why; none clears it.
    LogTrouble(Option<String>),
}

/// What a new configuration changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigureSummary {
    /// Checks that were not there before.
    pub added: usize,
    /// Checks whose definition changed.
    pub changed: usize,
    /// Checks that are gone.
    pub removed: usize,
    /// Checks that went on untouched.
    pub unchanged: usize,
}

/// A way to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
}

macro_rules! ask {
    ($self:ident, $answer:ident => $command:expr) => {{
        let ($answer, receiver) = oneshot::channel();
        $self.commands.send($command).await.map_err(|_| EngineGone)?;
        receiver.await.map_err(|_| EngineGone)?
    }};
}

impl EngineHandle {
    /// A handle and the engine's end of the queue.
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        (Self { commands }, receiver)
    }

    /// All rows.
    pub async fn snapshot(&self) -> Result<Snapshot, EngineGone> {
        Ok(ask!(self, answer => Command::Snapshot(answer)))
    }

    /// Everything about one check.
    pub async fn show(&self, check: &str) -> Result<Box<Detail>, Refusal> {
        ask!(self, answer => Command::Show(check.to_owned(), answer))
    }

    /// Runs a check now and waits for its result.
    pub async fn run(&self, check: Name) -> Result<ServiceResult, Refusal> {
        ask!(self, answer => Command::Run(check, answer))
    }

    /// Hands in a passive result.
    pub async fn submit(&self, check: Name, report: Report) -> Result<(), Refusal> {
        ask!(self, answer => Command::Submit(check, Box::new(report), answer))
    }

    /// Hands in what a job says about itself.
    pub async fn signal(&self, check: Name, signal: Signal) -> Result<ServiceResult, Refusal> {
        ask!(self, answer => Command::Signal(check, Box::new(signal), answer))
    }

    /// Sends a drill to a target and waits for how that goes: as long as the target may take, for this message and those before it.
    pub async fn test_target(&self, test: Test) -> Tested {
        ask!(self, answer => Command::TestTarget(Box::new(test), answer))
    }

    /// Sends a target a summary of the time since `since`, and waits for how that goes.
    pub async fn send_summary(&self, target: Name, since: Timestamp) -> Tested {
        ask!(self, answer => Command::SendSummary(target, since, answer))
    }

    /// What a summary is made of.
    pub async fn picture(&self) -> Result<Picture, EngineGone> {
        Ok(ask!(self, answer => Command::Picture(answer)))
    }

    /// What would be told and done if a check became hard `state` now.
    pub async fn rehearse(&self, check: Name, state: State) -> Result<Box<Rehearsal>, Refusal> {
        ask!(self, answer => Command::Rehearse(check, state, answer))
    }

    /// Acknowledges a problem.
    pub async fn acknowledge(
        &self,
        check: Name,
        author: String,
        comment: String,
        until: Option<Timestamp>,
        sticky: bool,
    ) -> Result<(), Refusal> {
        ask!(self, answer => Command::Acknowledge { check, author, comment, until, sticky, answer })
    }

    /// Takes an acknowledgement back.
    pub async fn unacknowledge(&self, check: Name) -> Result<(), Refusal> {
        ask!(self, answer => Command::Unacknowledge(check, answer))
    }

    /// Plans a downtime.
    pub async fn add_downtime(&self, downtime: Downtime) -> Result<Downtime, Refusal> {
        ask!(self, answer => Command::AddDowntime(Box::new(downtime), answer))
    }

    /// Downtimes that have not ended.
    pub async fn downtimes(&self) -> Result<Vec<Downtime>, EngineGone> {
        Ok(ask!(self, answer => Command::Downtimes(answer)))
    }

    /// Ends a downtime.
    pub async fn end_downtime(&self, id: u64) -> Result<Downtime, Refusal> {
        ask!(self, answer => Command::EndDowntime(id, answer))
    }

    /// Puts a new configuration in force.
    pub async fn configure(&self, configuration: Configuration) -> Result<ConfigureSummary, EngineGone> {
        Ok(ask!(self, answer => Command::Configure(Box::new(configuration), answer)))
    }

    /// Says how the last sign of life was taken, or why none was sent: the result of `self/alive`.
    pub async fn alive(&self, report: Report) -> Result<(), EngineGone> {
        self.commands.send(Command::Alive(Box::new(report))).await.map_err(|_| EngineGone)
    }

    /// Says that a reload failed, or that it is mended.
    pub async fn config_trouble(&self, trouble: Option<String>) -> Result<(), EngineGone> {
        self.commands.send(Command::ConfigTrouble(trouble)).await.map_err(|_| EngineGone)
    }

    /// Says that the log cannot be written as it should be, or that it can again.
    pub async fn log_trouble(&self, trouble: Option<String>) -> Result<(), EngineGone> {
        self.commands.send(Command::LogTrouble(trouble)).await.map_err(|_| EngineGone)
    }
}

/// Runs ask as everybody else does; the engine waits for no run, so it always comes to answer.
impl Peers for EngineHandle {
    fn all(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async {
            // An engine that has ended needs no verdict any more.
            let Ok(snapshot) = self.snapshot().await else { return Vec::new() };
            let peer = |row: &std::sync::Arc<crate::view::Row>| Peer {
                name: row.name.clone(),
                kind: row.kind,
                state: (!row.status.is_pending()).then_some(row.status.state),
                state_type: row.status.state_type,
                labels: std::sync::Arc::clone(&row.labels),
            };
            snapshot.rows.iter().map(peer).collect()
        })
    }
}
