//! What an external check costs: runs per second, and the CPU time of this process per run, for a program that prints one line.
//!
//! `spawn_rate PROGRAM [RUNS] [ROUNDS]` compares the executor with a bare loop around the standard library, one run at a time and eight at
//! a time, in alternating rounds, and prints medians. CPU time is this process's own: what the program itself uses is not in it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use monchero_core::program::{Exit, Program, Spawner as _};
use monchero_exec::{Executor, Options};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

/// One round of a way to run programs: wall time and own CPU time of a run.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// A way to run a program many times, so many at once.
type Way<'a> = (&'a str, usize, Box<dyn Fn(u32) + 'a>);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next().map(PathBuf::from) else {
        say("usage: spawn_rate PROGRAM [RUNS] [ROUNDS]");
        return ExitCode::from(2);
    };
    let mut number = |default| arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(default);
    let (runs, rounds): (u32, u32) = (number(3000), number(7));
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("an event loop without I/O can always be made");
    let executor = match Executor::start(&Options::default()) {
        Ok(executor) => executor,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let ways: [Way<'_>; 4] = [
        ("std::process", 1, Box::new(|runs| bare_at_once(&program, runs, 1))),
        ("executor", 1, Box::new(|runs| through(&runtime, &executor, &program, runs, 1))),
        ("std::process", 8, Box::new(|runs| bare_at_once(&program, runs, 8))),
        ("executor", 8, Box::new(|runs| through(&runtime, &executor, &program, runs, 8))),
    ];
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((_, _, way), costs) in ways.iter().zip(&mut costs) {
            costs.push(measure(runs, way));
        }
    }
    say("way           at once    runs/s   own CPU/run");
    for ((name, at_once, _), costs) in ways.iter().zip(&mut costs) {
        let wall = median(costs.iter().map(|cost| cost.wall));
        let cpu = median(costs.iter().map(|cost| cost.cpu));
        say(&format!("{name:<14}{at_once:>7}{:>10.0}{:>11.1} us", 1.0 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6));
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a measurement is made to be read")]
fn say(line: &str) {
    println!("{line}");
}

fn measure(runs: u32, way: &dyn Fn(u32)) -> Cost {
    way(runs / 10);
    let (wall, cpu) = (Instant::now(), own_cpu());
    way(runs);
    Cost { wall: wall.elapsed() / runs, cpu: own_cpu().saturating_sub(cpu) / runs }
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The CPU time of all threads of this process, without its children.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What every way has to do at least: start it, read one pipe, wait.
fn bare(program: &Path, runs: u32) {
    for _ in 0..runs {
        let (mut reader, writer) = std::io::pipe().expect("two descriptors are free");
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        #[expect(clippy::disallowed_methods, reason = "this is the measure for the one place that starts programs")]
        let mut child = command.spawn().expect("the program can be started");
        drop(command);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect("a pipe can be read");
        assert!(child.wait().expect("our child").success() && !text.is_empty());
    }
}

/// In threads of their own: what the main thread starts would look like an orphan to the executor.
fn bare_at_once(program: &Path, runs: u32, at_once: u32) {
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| bare(program, runs / at_once));
        }
    });
}

fn through(runtime: &Runtime, executor: &Executor, program: &Path, runs: u32, at_once: u32) {
    let one = |executor: Executor, program: PathBuf| async move {
        for _ in 0..runs / at_once {
            let program = Program::new(vec![program.clone().into()], Duration::from_secs(10));
            let end = executor.run(program).await.expect("the program can be started");
            assert!(end.exit == Exit::Status(0) && !end.stdout.is_empty());
        }
    };
    runtime.block_on(async {
        let tasks: Vec<_> = (0..at_once).map(|_| tokio::spawn(one(executor.clone(), program.to_owned()))).collect();
        for task in tasks {
            task.await.expect("no run panics");
        }
    });
}
