//! The daemon: puts the parts together, and takes them apart in order.

mod configurations;
mod house;
mod signals;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use monchero_actions::Alive;
use monchero_api::types::ReloadSummary;
use monchero_api::{Backend, Operators, Socket};
use monchero_core::Name;
use monchero_core::definition::Configuration;
use monchero_core::program::Spawner;
use monchero_engine::{Clock, Engine, EngineHandle, Journal, Parts};
use monchero_exec::{Counts, Executor};
use monchero_store::{Loaded as StoreLoaded, Store, StoreOptions, Witness};
use sd_notify::NotifyState;
use tokio::sync::{Mutex, oneshot, watch};

use crate::config::{LogSettings, Paths};
use crate::logging::{self, Log};
use crate::{alive, config};
use configurations::Read;
pub(crate) use configurations::{Configurations, options};
use house::keep_house;
pub(crate) use house::{leave_no_core, started_again};
use signals::{Asked, Signals};

/// Threads for the API, deliveries and built-in network checks. None of them computes for long, so two suffice on any machine.
const WORKERS: usize = 2;
/// The group of operators of the system's daemon, unless the settings name another.
const OPERATORS: &str = "monchero";
/// How long the engine may take to stop: its own patience and a little.
const ENGINE_PATIENCE: Duration = Duration::from_secs(6);
/// How long the executor may take to stop: its own patience with what hangs in the kernel and a little. If the thread that starts programs
/// hangs itself, it never stops, and what it started is ended by the guard.
const EXECUTOR_PATIENCE: Duration = Duration::from_secs(6);
/// How often the loops are looked at when nobody asks for a watchdog: never; when systemd does, at half its time.
const WATCHDOG_SHARE: u32 = 2;

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT).
pub fn run(paths: &Paths, reset_state: bool) -> anyhow::Result<ExitCode> {
    keep_house();
    leave_no_core();
    let (log, _writing) = logging::start().context("cannot start the log")?;
    let executor = Executor::start(&monchero_exec::Options {
        helper: Some(PathBuf::from("/proc/self/exe")),
        ..Default::default()
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("main")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(paths, executor, log, reset_state));
    // What hangs in the kernel keeps its thread, not us.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn serve(paths: &Paths, executor: Executor, log: Log, reset_state: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::take()?;
    let configuration = Configurations::new(paths.clone(), executor.clone());
    let clock = Clock::system();
    let (store, loaded) = open_store(paths, &clock, reset_state)?;
    let (witness, accused) = take_up_witness(paths, &clock);

    // The socket says whether another daemon is there, so it comes before the first check.
    let socket = Socket::bind(&paths.socket.path)?;
    let (engine, commands) = EngineHandle::new();
    let peers = Arc::new(engine.clone());
    let (stop, stopping) = watch::channel(false);
    let journal = Arc::clone(&store) as Arc<dyn Journal>;
    let spawner = Arc::new(executor.clone()) as Arc<dyn Spawner>;
    let (checks, runtime) = (executor.runtime(), tokio::runtime::Handle::current());
    let (engine_clock, engine_stop) = (clock.clone(), stopping.clone());
    let parts = move |configuration| Parts {
        configuration,
        loaded,
        witness,
        accused,
        journal,
        spawner,
        checks,
        runtime,
        clock: engine_clock,
        peers,
        commands,
        stop: engine_stop,
    };
    let starting = async {
        let (env, troubles) = configuration.run_setters().await;
        let engine = start_engine(Arc::clone(&configuration), env, Arc::clone(&store), parts).await?;
        anyhow::Ok((engine, troubles))
    };
    let begun = tokio::select! {
        begun = starting => Some(begun?),
        // A setter may take its time, and a directory may never answer.
        () = signals.stop() => None,
    };
    let Some(((thread, mut gone, started), troubles)) = begun else {
        tracing::info!("told to stop before the start was over");
        // If the engine comes to life yet, it ends at once.
        let _ = stop.send_replace(true);
        end_programs(&executor).await;
        return close(store).await;
    };
    tokio::spawn(watch_log(log.trouble(), engine.clone()));
    log.configure(started.log);
    for problem in started.problems.iter().chain(&troubles) {
        tracing::error!("{problem}");
    }
    if let Some(first) = troubles.first() {
        engine.config_trouble(Some(first.clone())).await?;
    }

    let operators = match operators(started.operators.as_deref(), &paths.socket.path) {
        Ok(operators) => operators,
        Err(error) => {
            // That it ended is to be on disk: it did not crash.
            take_apart(stop, thread, executor, None).await;
            close(store).await?;
            return Err(error);
        }
    };
    let reloads = Arc::new(Reloads {
        configuration,
        engine: engine.clone(),
        store: Arc::clone(&store),
        log: log.clone(),
        alive: watch::Sender::new(started.alive.map(Arc::new)),
        one_at_a_time: Mutex::new(()),
    });
    tokio::spawn(alive::send(engine.clone(), reloads.alive.subscribe()));
    let for_api = Arc::clone(&reloads);
    let backend = Backend {
        engine,
        store: store.reader(),
        operators,
        reload: Arc::new(move || {
            let reloads = Arc::clone(&for_api);
            Box::pin(async move { reloads.reload().await })
        }),
        clock,
        version: env!("CARGO_PKG_VERSION"),
    };
    let mut stop_api = stopping.clone();
    let api = tokio::spawn(monchero_api::serve(socket, backend, async move {
        let _ = stop_api.wait_for(|stop| *stop).await;
    }));
    tell_systemd(&[NotifyState::Ready]);
    let watchdog =
        tokio::spawn(watch_loops([("the engine", started.beat), ("the thread that starts programs", executor.beat())]));
    tracing::info!(config = %paths.config.path.display(), socket = %paths.socket.path.display(), programs = executor.containment(), "monchero {} is running", env!("CARGO_PKG_VERSION"));

    let asked = until_the_end(&mut signals, &mut gone, &reloads).await;
    watchdog.abort();
    end(asked, signals, stop, thread, executor, api, store).await
}

/// Takes the daemon apart, and says how it ended.
async fn end(
    asked: Asked,
    mut signals: Signals,
    stop: watch::Sender<bool>,
    engine: std::thread::JoinHandle<()>,
    executor: Executor,
    api: tokio::task::JoinHandle<()>,
    store: Arc<Store>,
) -> anyhow::Result<ExitCode> {
    let crashed = asked == Asked::EngineGone;
    if crashed {
        tracing::error!("the engine broke off: ending, so that monchero is started anew");
    } else {
        tracing::info!("stopping");
    }
    tell_systemd(&[NotifyState::Stopping]);
    // Without an engine no client gets an answer.
    let taken_apart = take_apart(stop, engine, executor, (!crashed).then_some(api));
    tokio::select! {
        () = taken_apart => {}
        () = signals.stop() => bail!("told to stop twice: what was under way is cut off"),
    }
    let code = close(store).await?;
    if crashed {
        bail!("the engine broke off; the log says why");
    }
    Ok(code)
}

fn open_store(paths: &Paths, clock: &Clock, reset_state: bool) -> anyhow::Result<(Arc<Store>, StoreLoaded)> {
    if reset_state && let Some(aside) = Store::set_aside(&paths.state.path)? {
        tracing::warn!("the state begins anew; what was known is in `{}`", aside.display());
    }
    let for_store = clock.clone();
    let (store, loaded) = Store::open(&paths.state.path, StoreOptions::new(Arc::new(move || for_store.now())))?;
    Ok((Arc::new(store), loaded))
}

fn take_up_witness(paths: &Paths, clock: &Clock) -> (Option<Witness>, Option<Name>) {
    match Witness::take_up(&paths.state.path, clock.now()) {
        Ok((witness, accused)) => (Some(witness), accused),
        Err(why) => {
            tracing::warn!(
                "what is worked on is not noted, so a check that crashes monchero would not be left out: {why}"
            );
            (None, None)
        }
    }
}

/// Reloads when told to, until the daemon is to end.
async fn until_the_end(signals: &mut Signals, gone: &mut Gone, reloads: &Reloads) -> Asked {
    loop {
        match signals.next(gone).await {
            Asked::Reload => {}
            end => return end,
        }
        tokio::select! {
            result = reloads.reload() => for problem in result.err().unwrap_or_default() {
                tracing::error!("{problem}");
            },
            // It changes nothing before all of it is read.
            () = signals.stop() => return Asked::Stop,
            _ = &mut *gone => return Asked::EngineGone,
        }
    }
}

/// Closes the store; all that was written is on disk then.
async fn close(store: Arc<Store>) -> anyhow::Result<ExitCode> {
    if !tokio::task::spawn_blocking(move || store.close()).await.context("the store panicked while it closed")? {
        bail!("the last changes are not on disk");
    }
    Ok(ExitCode::SUCCESS)
}

/// The group whose members may operate, let in at the socket. One that the settings name and that is not there is no start: nobody is to
/// believe that a door is open or closed when it is not.
fn operators(named: Option<&str>, socket: &Path) -> anyhow::Result<Option<Operators>> {
    let by_default = (socket == Path::new(config::SYSTEM_SOCKET)).then_some(OPERATORS);
    let Some(group) = named.or(by_default) else { return Ok(None) };
    let operators = Operators::named(group).context("cannot read `/etc/group`")?;
    let Some(operators) = operators else {
        if named.is_none() {
            return Ok(None);
        }
        bail!(
            "`operators` names the group `{group}`, which is not in `/etc/group`: create it, or correct `monchero.yaml`"
        );
    };
    // The directory of the system's socket is our own; any other has to let them in already.
    let ours = socket.parent().filter(|_| socket == Path::new(config::SYSTEM_SOCKET));
    for path in ours.into_iter().chain([socket]) {
        operators.let_in(path).with_context(|| format!("cannot give `{}` to the group `{group}`", path.display()))?;
    }
    Ok(Some(operators))
}

/// What the engine's thread says when the engine is there.
struct Started {
    alive: Option<Alive>,
    beat: Arc<AtomicU64>,
    problems: Vec<String>,
    operators: Option<Box<str>>,
    log: LogSettings,
}

/// Becomes ready when a thread ends, in whatever way.
type Gone = oneshot::Receiver<std::convert::Infallible>;

/// A thread of which is known when it ends.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<(std::thread::JoinHandle<()>, Gone)> {
    let (lives, gone) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Dropped with the thread, also by a panic.
            let _lives = lives;
            work();
        })
        .with_context(|| format!("cannot start the thread `{name}`"))?;
    Ok((thread, gone))
}

/// The engine has a thread of its own: nothing that blocks or computes long shares it. The configuration is read there too, so that the
/// memory that reading took is used again for what the engine keeps.
async fn start_engine(
    configuration: Arc<Configurations>,
    env: Vec<(OsString, OsString)>,
    store: Arc<Store>,
    parts: impl FnOnce(Configuration) -> Parts + Send + 'static,
) -> anyhow::Result<(std::thread::JoinHandle<()>, Gone, Started)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the engine's runtime")?;
    let (send, receive) = oneshot::channel();
    let (thread, gone) = thread("engine", move || {
        let Read { configuration, problems, log, alive, .. } = configuration.load(env);
        store.set_retention(configuration.retention);
        let operators = configuration.operators.clone();
        let parts = parts(configuration);
        runtime.block_on(async {
            let engine = Engine::new(parts);
            // Nobody waits any more if the daemon was told to stop: then the engine ends by itself.
            let _ = send.send(Started { beat: engine.beat(), problems, operators, log, alive });
            engine.run().await;
        });
    })?;
    let started = receive.await.context("the engine did not start")?;
    Ok((thread, gone, started))
}

/// Stops the parts: first what starts things, then what things stand on (R35).
async fn take_apart(
    stop: watch::Sender<bool>,
    engine: std::thread::JoinHandle<()>,
    executor: Executor,
    api: Option<tokio::task::JoinHandle<()>>,
) {
    // Nobody listens any more only if all have ended.
    let _ = stop.send(true);
    let ended = tokio::task::spawn_blocking(move || engine.join().is_ok());
    match tokio::time::timeout(ENGINE_PATIENCE, ended).await {
        Ok(Ok(true)) => {}
        Ok(_) => tracing::error!("the engine panicked"),
        Err(_) => tracing::error!("the engine did not stop within {ENGINE_PATIENCE:?}"),
    }
    end_programs(&executor).await;
    if let Some(api) = api
        && tokio::time::timeout(monchero_api::serve::DRAIN * 2, api).await.is_err()
    {
        tracing::warn!("clients were cut off");
    }
}

/// Ends all programs.
async fn end_programs(executor: &Executor) {
    if tokio::time::timeout(EXECUTOR_PATIENCE, executor.stop()).await.is_err() {
        tracing::error!("the thread that starts programs did not stop within {EXECUTOR_PATIENCE:?}");
    }
    let Counts { runs, leftovers, cancelled, stuck, guard_restarts, .. } = executor.counts();
    tracing::info!(runs, leftovers, cancelled, stuck, guard_restarts, "programs are ended");
}

/// Reloads, one after another.
struct Reloads {
    configuration: Arc<Configurations>,
    engine: EngineHandle,
    store: Arc<Store>,
    log: Log,
    alive: watch::Sender<Option<Arc<Alive>>>,
    one_at_a_time: Mutex<()>,
}

impl Reloads {
    /// Puts the configuration in force if all of it is good; otherwise the running set stays, and `self/config` says why (R52).
    async fn reload(&self) -> Result<ReloadSummary, Vec<String>> {
        let _turn = self.one_at_a_time.lock().await;
        // Whoever moved the log's file away says so in this way; that the configuration is broken does not matter to it.
        self.log.reopen();
        let reloading = NotifyState::monotonic_usec_now();
        if let Ok(now) = reloading {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let result = self.try_reload().await;
        tell_systemd(&[NotifyState::Ready]);
        result
    }

    async fn try_reload(&self) -> Result<ReloadSummary, Vec<String>> {
        let Read { configuration, mut problems, troubles, log, alive } = self.configuration.read().await;
        problems.extend(troubles);
        let gone = |error: monchero_engine::EngineGone| vec![error.to_string()];
        if let Some(first) = problems.first() {
            let line = configuration.problems.first().map_or_else(|| first.clone(), |problem| problem.line.clone());
            let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
            self.engine.config_trouble(Some(format!("{line}{more}"))).await.map_err(gone)?;
            return Err(problems);
        }
        let warnings = configuration.warnings.clone();
        self.store.set_retention(configuration.retention);
        self.log.configure(log);
        let summary = self.engine.configure(configuration).await.map_err(gone)?;
        self.alive.send_replace(alive.map(Arc::new));
        Ok(ReloadSummary {
            added: summary.added,
            changed: summary.changed,
            removed: summary.removed,
            unchanged: summary.unchanged,
            warnings,
        })
    }
}

/// Tells systemd's watchdog that all is well, only while all loops make progress (R60). The store watches its own thread: a disk that
/// hangs is told as trouble and must not cost the daemon's life (R28).
async fn watch_loops(beats: [(&'static str, Arc<AtomicU64>); 2]) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let share = limit / WATCHDOG_SHARE;
    let mut last = beats.each_ref().map(|(_, beat)| beat.load(Ordering::Relaxed));
    // A loop that has just begun has made no progress yet.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + share, share);
    loop {
        ticks.tick().await;
        let mut all_well = true;
        for ((who, beat), last) in beats.iter().zip(&mut last) {
            let before = std::mem::replace(last, beat.load(Ordering::Relaxed));
            if before == *last {
                tracing::error!("{who} makes no progress: the watchdog is not told that all is well");
                all_well = false;
            }
        }
        if all_well {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells the engine what is wrong with the log, as long as there is one.
async fn watch_log(mut trouble: watch::Receiver<Option<String>>, engine: EngineHandle) {
    while trouble.changed().await.is_ok() {
        let now = trouble.borrow_and_update().clone();
        if engine.log_trouble(now).await.is_err() {
            return;
        }
    }
}

/// Without systemd there is nobody to tell, and that is no trouble.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot tell systemd");
    }
}
