//! Reading the configuration again and again, with what environment setters give.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monchero_actions::Alive;
use monchero_core::definition::Configuration;
use monchero_core::program::{Exit, Program, RunEnd, Spawner as _};
use monchero_exec::Executor;

use crate::config::{self, Kinds, LoadOptions, Loaded, LogSettings, Paths, SecretStore};

/// How long an environment setter may take: it runs before every check waits for it.
const SETTER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the configuration says now.
pub(crate) struct Configurations {
    paths: Paths,
    executor: Executor,
    /// Whether `conf.d` ever had files: then none is a mistake, not a wish (R53).
    had_files: AtomicBool,
}

/// A configuration and what is wrong with it, rendered.
pub(crate) struct Read {
    pub(crate) configuration: Configuration,
    pub(super) problems: Vec<String>,
    /// Why environment setters failed.
    pub(crate) troubles: Vec<String>,
    pub(super) log: LogSettings,
    /// Where signs of life go, if anywhere.
    pub(super) alive: Option<Alive>,
}

impl Configurations {
    /// Reads the configuration that the paths name; `executor` runs environment setters.
    pub(crate) fn new(paths: Paths, executor: Executor) -> Arc<Self> {
        Arc::new(Self { paths, executor, had_files: AtomicBool::new(false) })
    }

    pub(crate) async fn read(self: &Arc<Self>) -> Read {
        let (env, troubles) = self.run_setters().await;
        let files = Arc::clone(self);
        match tokio::task::spawn_blocking(move || files.load(env)).await {
            Ok(read) => Read { troubles, ..read },
            // The loader only reads files; a panic there is ours.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Reads the files, with what the environment setters gave.
    pub(super) fn load(&self, env: Vec<(OsString, OsString)>) -> Read {
        let loaded = config::load(&options(&self.paths.config, env));
        let mut problems: Vec<String> = loaded.problems.iter().map(|problem| problem.render(false)).collect();
        if loaded.definition_files.unwrap_or_default() > 0 {
            self.had_files.store(true, Ordering::Relaxed);
        } else if self.had_files.load(Ordering::Relaxed) {
            problems.push(format!(
                "`{}` has no files any more: if that is meant, restart the daemon and run `monchero reload`",
                self.paths.conf_d().display()
            ));
        }
        let Loaded { configuration, log, alive, .. } = loaded;
        Read { configuration, problems, troubles: Vec::new(), log, alive }
    }

    /// Runs the environment setters. Answers what they gave and why one of them failed; the others count.
    pub(super) async fn run_setters(&self) -> (Vec<(OsString, OsString)>, Vec<String>) {
        let (mut env, mut troubles) = (Vec::new(), Vec::new());
        let setters = config::environment_setters(&options(&self.paths.config, Vec::new()));
        for setter in setters {
            let name = setter.display().to_string();
            match self.executor.run(Program::new(vec![setter.into_os_string()], SETTER_TIMEOUT)).await {
                Ok(end) if end.exit == Exit::Status(0) => {
                    let (variables, warnings) = config::parse_setter_output(&end.stdout);
                    env.extend(variables);
                    for warning in warnings {
                        tracing::warn!("environment setter `{name}`: {warning}");
                    }
                }
                Ok(end) => troubles.push(format!("environment setter `{name}` {}", setter_failed(&end))),
                Err(error) => troubles.push(format!("environment setter `{name}`: {error}")),
            }
        }
        (env, troubles)
    }
}

/// How a setter failed.
fn setter_failed(end: &RunEnd) -> String {
    let how = match end.exit {
        Exit::Status(status) => format!("failed with exit status {status}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::TimedOut => format!("took longer than {SETTER_TIMEOUT:?}"),
        Exit::TooMuchOutput => "wrote too much".to_owned(),
        Exit::Stuck { pid } => format!("hangs in the kernel as process {pid}"),
    };
    let said = monchero_core::text::clean(&end.stderr);
    match said.lines().next() {
        Some(line) => format!("{how}: {}", monchero_core::text::escape_controls(line)),
        None => how,
    }
}

/// How files are read: with the kinds of this program and the secrets of this process.
pub(crate) fn options(chosen: &config::Chosen, env: Vec<(OsString, OsString)>) -> LoadOptions<'_> {
    LoadOptions {
        config: chosen,
        kinds: Kinds::built_in(),
        env,
        secrets: SecretStore { variable: &variable, file: &config::read_secret },
        keep_settings: false,
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
