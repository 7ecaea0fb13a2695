//! `monchero once`: every check of the configuration, once, without a daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use monchero_api::types::{Check, CheckState, Status};
use monchero_core::definition::{Configuration, Definition};
use monchero_core::program::Spawner;
use monchero_core::report::{CheckResult, ServiceResult};
use monchero_core::{CheckError, CheckStatus, Context, Name, Policy, Report, State, hold, node, order};
use monchero_engine::{Clock, Row};
use monchero_exec::Executor;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exit::{Ended, Failed};
use super::explain::{self, Explanation};
use super::screen::{self, Progress, Screen};
use super::status::{self, HoldMark};
use crate::config::Paths;
use crate::daemon::Configurations;

/// A check keeps its timeout itself; if it fails to, the run is given up this much later (promise 1).
const BACKSTOP: Duration = Duration::from_secs(3);

/// Options of `monchero once`.
#[derive(Args, Debug)]
pub(super) struct OnceArgs {
    /// Only these checks: names, or patterns with `*`.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Show only checks that are not okay.
    #[arg(long, short)]
    problems: bool,
    /// Print JSON, in the shape of `monchero status --json`.
    #[arg(long)]
    json: bool,
    /// Show every item that the checks look at, with all values, also what `only` and `except` leave out, and what each field means.
    #[arg(long, requires = "patterns", conflicts_with = "problems")]
    explain: bool,
}

/// Runs `monchero once`.
pub(super) async fn once(paths: &Paths, screen: &Screen, args: OnceArgs) -> Ended {
    crate::daemon::leave_no_core();
    let (_log, _writing) =
        crate::logging::start().map_err(|error| Failed::new(format!("cannot start the log: {error}")))?;
    let options = monchero_exec::Options { helper: Some(PathBuf::from("/proc/self/exe")), ..Default::default() };
    let executor = Executor::start(&options).map_err(|error| Failed::new(error.to_string()))?;
    let read = Configurations::new(paths.clone(), executor.clone()).read().await;
    read.troubles.iter().for_each(|trouble| tracing::warn!("{trouble}"));
    let configuration = read.configuration;
    let checks = chosen(&configuration, &args.patterns)?;
    let mut found = run_all(&configuration, checks, Arc::new(executor.clone()), args.explain).await;
    executor.stop().await;
    if args.explain {
        order::sort_by(&mut found, |a, b| a.run.result.check.cmp(&b.run.result.check));
        return explained(&configuration, screen, args.json, found);
    }
    let mut rows: Vec<Row> = found.into_iter().flat_map(Found::rows).collect();
    if args.patterns.is_empty() {
        rows.extend(configuration.problems.iter().map(|problem| broken(&problem.file, &problem.line)));
    }
    order::sort_by(&mut rows, |a, b| a.name.cmp(&b.name));
    if args.problems {
        rows.retain(|row| row.status.state.is_problem());
    }
    let worst = rows.iter().map(|row| row.status.state).max().unwrap_or_default();
    let checks: Vec<Check<'_>> = rows.iter().map(Check::from).collect();
    if args.json {
        let status = Status { host: configuration.host.as_ref().into(), worst: worst.into(), checks };
        let json = serde_json::to_vec(&status).map_err(|error| Failed::new(format!("cannot write JSON: {error}")))?;
        screen::print_json(&json)?;
    } else {
        // What took time has a new now.
        let screen = Screen { now: Clock::system().now(), ..screen.clone() };
        let mut shown: Vec<status::Row<'_>> = checks.iter().map(shown).collect();
        screen::print(&status::page(&screen, &mut shown, args.problems, usize::MAX))?;
    }
    Ok(super::exit::of(CheckState::from(worst)))
}

/// A run and what its rows need.
struct Found {
    run: Explanation,
    labels: Arc<std::collections::BTreeMap<String, String>>,
}

fn explained(configuration: &Configuration, screen: &Screen, json: bool, found: Vec<Found>) -> Ended {
    let runs: Vec<Explanation> = found.into_iter().map(|found| found.run).collect();
    let worst = runs.iter().map(|run| run.result.result.state).max().unwrap_or_default();
    if json {
        let json = serde_json::to_vec(&explain::json(&configuration.host, &runs));
        screen::print_json(&json.map_err(|error| Failed::new(format!("cannot write JSON: {error}")))?)?;
    } else {
        screen::print(&explain::page(screen, &runs))?;
    }
    Ok(super::exit::of(CheckState::from(worst)))
}

fn shown<'a>(check: &'a Check<'_>) -> status::Row<'a> {
    status::Row {
        name: check.name.as_ref().into(),
        state: check.state,
        state_type: check.state_type,
        attempt: check.attempt,
        max_attempts: check.max_attempts,
        since: None,
        message: check.message.as_ref().into(),
        holds: check.holds.iter().map(|hold| HoldMark { kind: hold.kind.as_ref().into() }).collect(),
    }
}

/// The checks that the patterns fit; a pattern that fits none is a mistake.
fn chosen<'a>(configuration: &'a Configuration, patterns: &[String]) -> Result<Vec<&'a Definition>, Failed> {
    let fits = |pattern: &String, check: &Definition| hold::matches(pattern, check.name.as_str());
    for pattern in patterns {
        if !configuration.checks.iter().any(|check| fits(pattern, check)) {
            let near = node::nearest(pattern, configuration.checks.iter().map(|check| check.name.as_str()));
            let hint = near.map_or_else(
                || "`monchero config show` lists all checks".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Failed::new(format!("there is no check `{pattern}`")).hint(hint));
        }
    }
    let wanted = |check: &&Definition| patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, check));
    Ok(configuration.checks.iter().filter(wanted).collect())
}

/// Runs checks, as many at once as the daemon would.
async fn run_all(
    configuration: &Configuration,
    checks: Vec<&Definition>,
    spawner: Arc<dyn Spawner>,
    explain: bool,
) -> Vec<Found> {
    let places = Arc::new(Semaphore::new(configuration.concurrency.max(1)));
    let all = checks.len();
    let progress = Progress::new(&format!("0 of {all} checks have run"));
    let mut runs = JoinSet::new();
    for check in checks {
        let (check, host, sysroot) = (check.clone(), Arc::clone(&configuration.host), configuration.sysroot.clone());
        let (places, spawner) = (Arc::clone(&places), Arc::clone(&spawner));
        runs.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire_owned().await;
            let (name, labels, kind, on_timeout) =
                (check.name.clone(), Arc::clone(&check.labels), check.kind, check.on_timeout);
            let begin = Instant::now();
            // A task of its own: a panic in there is this check's, nobody else's (R59).
            let answer = tokio::spawn(async move { run(&check, &host, &sysroot, &*spawner, explain).await }).await;
            let mut answer =
                answer.unwrap_or_else(|error| Err(CheckError::Unable(format!("the check panicked: {error}"))));
            let items = answer.as_mut().map(|report| std::mem::take(&mut report.items)).unwrap_or_default();
            let result = CheckResult::new(name, Clock::system().now(), begin.elapsed(), answer, on_timeout)?;
            Some(Found { run: Explanation { result, kind, items }, labels })
        });
    }
    let mut found = Vec::new();
    let mut over = 0;
    while let Some(ended) = runs.join_next().await {
        over += 1;
        progress.show(&format!("{over} of {all} checks have run"));
        found.extend(ended.ok().flatten());
    }
    found
}

async fn run(
    check: &Definition,
    host: &str,
    sysroot: &std::path::Path,
    spawner: &dyn Spawner,
    explain: bool,
) -> Result<Report, CheckError> {
    let context = Context {
        check: check.name.as_str(),
        host,
        now: Clock::system().now(),
        timeout: check.timeout,
        sysroot,
        spawner,
        env: &check.env,
        memory: None,
        peers: &monchero_core::check::NoPeers,
        explain,
    };
    let run = tokio::time::timeout(check.timeout + BACKSTOP, check.check.run(&context));
    run.await.unwrap_or(Err(CheckError::TimedOut(check.timeout)))
}

impl Found {
    /// The rows of a check and of the services that it reported. One run is all there is, so it confirms itself.
    fn rows(self) -> Vec<Row> {
        let Self { run: Explanation { result, kind, .. }, labels } = self;
        let CheckResult { check, at, duration, result, services, .. } = result;
        let own = row(check.clone(), kind, result, at, duration);
        let services = services
            .into_iter()
            .map(|(name, result)| Row { parent: Some(check.clone()), ..row(name, kind, result, at, duration) });
        std::iter::once(own).chain(services).map(|row| Row { labels: Arc::clone(&labels), ..row }).collect()
    }
}

fn row(name: Name, kind: &'static str, result: ServiceResult, at: Timestamp, duration: Duration) -> Row {
    let policy = Policy { max_attempts: 1, ..Policy::default() };
    let mut status = CheckStatus::default();
    status.apply(&name, result.state, &policy, at);
    Row {
        name,
        kind,
        status,
        max_attempts: policy.max_attempts,
        result,
        duration,
        next_check: None,
        running: false,
        skipped: 0,
        holds: Vec::new(),
        labels: Arc::default(),
        parent: None,
    }
}

/// What is broken in a file is shown as a bad check, as the daemon does at its start.
fn broken(file: &str, line: &str) -> Row {
    let result = ServiceResult { state: State::Bad, message: line.into(), ..ServiceResult::default() };
    row(Name::new(&format!("config/{file}")), "config", result, Clock::system().now(), Duration::ZERO)
}
