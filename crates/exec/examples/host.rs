//! The smallest program around an executor: hands the two hidden subcommands to this crate, and runs what its arguments say, all at
//! once, with an hour of time. The tests of this crate kill it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use monchero_core::program::{Program, Spawner as _};
use monchero_exec::{Executor, Options, exec_as_main, guard_main};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    let status = match first.to_str() {
        Some("guard") => guard_main(arguments),
        Some("exec-as") => exec_as_main(arguments),
        _ => host([first].into_iter().chain(arguments).collect()),
    };
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Runs each argument as a shell command; 0 if all ended with 0.
fn host(commands: Vec<OsString>) -> i32 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("an event loop without I/O can always be made");
    let options = Options { helper: Some("/proc/self/exe".into()), scan: false };
    let Ok(executor) = Executor::start(&options) else { return 2 };
    runtime.block_on(async {
        let runs: Vec<_> = commands.into_iter().map(|command| spawn(executor.clone(), command)).collect();
        let mut worst = 0;
        for run in runs {
            worst = worst.max(run.await.unwrap_or(2));
        }
        worst
    })
}

fn spawn(executor: Executor, command: OsString) -> tokio::task::JoinHandle<i32> {
    tokio::spawn(async move {
        let argv = vec!["/bin/sh".into(), "-c".into(), command];
        let program = Program { allow_insecure_path: true, ..Program::new(argv, Duration::from_secs(3600)) };
        match executor.run(program).await {
            Ok(end) if end.exit == monchero_core::program::Exit::Status(0) => 0,
            Ok(_) => 1,
            Err(_) => 2,
        }
    })
}
