//! `monchero ping`: what a job says about itself, or the job itself run under the eyes of its check.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use monchero_api::types::{SignalKind, SignalRequest};
use monchero_api::{Client, ClientError};
use monchero_core::check::{MAX_RUN_ID, MAX_SIGNAL_OUTPUT};
use monchero_core::text;

use super::child::{self, Tail};
use super::exit::{Ended, Failed};
use super::screen;

/// How much of the end of a command's output is sent: what a person needs to see why it failed.
const MAX_OUTPUT: usize = 8 * 1024;
/// How long one try to tell a daemon about a command may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long is waited before each further try to tell the end: a daemon that restarts is back by then.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Options of `monchero ping`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line, which exclude each other there")]
pub(super) struct PingArgs {
    /// The check that waits for the job.
    check: String,
    /// What there is to say, kept as the output of the job.
    #[arg(default_value = "", hide_default_value = true)]
    message: String,
    /// The job begins. Without any of these options it is done, and went well.
    #[arg(long, conflicts_with_all = ["fail", "log"])]
    start: bool,
    /// The job is done, and failed.
    #[arg(long, conflicts_with = "log")]
    fail: bool,
    /// Only keep the message; this changes no state.
    #[arg(long)]
    log: bool,
    /// Which of several runs of the job it is: the same name at its start and at its end, at most 64 bytes.
    #[arg(long, value_name = "NAME", value_parser = run_id)]
    run: Option<String>,
    /// Do not read what the command prints: none of it is kept, and it has our own output for its own.
    #[arg(long, requires = "command")]
    no_output: bool,
    /// Run this command: the check is told when it begins, and how it ends, with its exit status, the end of its output and how long
    /// it took. Its exit status becomes that of `monchero`, whether the daemon can be reached or not. A daemon that does not come back
    /// within seven seconds after the end is not told: that is said on standard error, which cron mails, and the check will miss the job.
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["message", "start", "fail", "log", "run"])]
    command: Vec<OsString>,
}

fn run_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_RUN_ID || text.chars().any(char::is_control) {
        return Err(format!("the name of a run has 1 to {MAX_RUN_ID} bytes, and no control characters"));
    }
    Ok(text.to_owned())
}

/// Runs `monchero ping`.
pub(super) async fn ping(client: &Client, args: PingArgs) -> Ended {
    if !args.command.is_empty() {
        return Ok(wrap(client, &args).await);
    }
    let kind = match args {
        PingArgs { start: true, .. } => SignalKind::Start,
        PingArgs { fail: true, .. } => SignalKind::Fail,
        PingArgs { log: true, .. } => SignalKind::Log,
        _ => SignalKind::Success,
    };
    let output = text::shorten(&args.message, MAX_SIGNAL_OUTPUT);
    let signal = SignalRequest { kind, exit_status: None, run: args.run, output, duration: None };
    let done = client.signal(&args.check, &signal).await?.value()?;
    screen::print(&format!("{}\n", screen::line(&done.done)))?;
    Ok(0.into())
}

/// Runs a command between two signals. Nothing about the daemon keeps it from running or changes how it ends.
async fn wrap(client: &Client, args: &PingArgs) -> ExitCode {
    let run = Some(new_run());
    let start =
        SignalRequest { kind: SignalKind::Start, exit_status: None, run, output: String::new(), duration: None };
    let (teller, check, first) = (client.clone(), args.check.clone(), start.clone());
    let told = tokio::spawn(async move { tell(&teller, &check, &first).await });
    let tail = (!args.no_output).then(|| Tail::new(MAX_OUTPUT));
    let began = Instant::now();
    let ended = child::supervise(&args.command, tail.as_ref()).await;
    let took = Duration::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let output = tail.map(|tail| tail.text()).unwrap_or_default();
    let (code, output) = match ended {
        Ok(status) => (child::exit_status(status), output),
        Err(error) => {
            let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
            let why = format!("cannot run `{}`: {error}", words.join(" "));
            super::complain(&Failed::new(why.clone()));
            (child::not_started(&error), why)
        }
    };
    // The end is not to overtake the start; that failed, the end says all that counts.
    let _ = told.await;
    let (kind, exit_status) =
        if code == 0 { (SignalKind::Success, None) } else { (SignalKind::Fail, Some(code.into())) };
    let duration = Some(monchero_core::duration::format(took));
    if let Err(error) =
        tell_end(client, &args.check, &SignalRequest { kind, exit_status, output, duration, ..start }).await
    {
        let mut failed = Failed::new(format!("`{}` was not told how its job ended: {error}", args.check));
        if is_absent(&error) {
            let option = if code == 0 { "" } else { " --fail" };
            failed = failed.hint(format!("once the daemon is back, say it by hand: `monchero ping CHECK{option}`"));
        }
        super::complain(&failed);
    }
    code.into()
}

/// A name that no other run has.
fn new_run() -> String {
    let number = |salt: u32| RandomState::new().hash_one(salt);
    format!("{:016x}{:016x}", number(std::process::id()), number(0))
}

async fn tell(client: &Client, check: &str, signal: &SignalRequest) -> Result<(), ClientError> {
    let late = |_| ClientError::Late { path: client.path().to_owned(), deadline: PATIENCE };
    tokio::time::timeout(PATIENCE, client.signal(check, signal)).await.map_err(late)?.map(drop)
}

/// Tells the end, and tries again if nobody is there who could refuse it.
async fn tell_end(client: &Client, check: &str, signal: &SignalRequest) -> Result<(), ClientError> {
    for pause in PAUSES {
        match tell(client, check, signal).await {
            Err(error) if is_absent(&error) => tokio::time::sleep(pause).await,
            answered => return answered,
        }
    }
    tell(client, check, signal).await
}

/// Whether nobody was there who could take or refuse what was said.
fn is_absent(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable { .. } | ClientError::Late { .. } | ClientError::Refused { status: 503, .. }
    )
}
