//! The kind as a whole: settings, what is started, and what each ending and each format becomes. Programs are played by a scripted spawner.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;
use monchero_core::check::BoxFuture;
use monchero_core::node::{Node, SecretSource, Secrets};
use monchero_core::program::Spawner;
use monchero_core::{CheckResult, Kind, Metric};

use super::*;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn fetch(&self, _: SecretSource<'_>) -> Result<String, String> {
        Err("no secret is needed here".to_owned())
    }
}

/// Plays one ending, and keeps what it was asked to run.
struct Played {
    end: Mutex<Option<Result<RunEnd, RunError>>>,
    asked: Mutex<Option<Program>>,
}

impl Spawner for Played {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        *self.asked.lock().unwrap() = Some(program);
        let end = self.end.lock().unwrap().take().expect("one run");
        Box::pin(async move { end })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "played"
    }
}

pub(super) fn end(exit: Exit, stdout: &[u8], stderr: &str) -> RunEnd {
    RunEnd {
        exit,
        stdout: stdout.to_vec(),
        stderr: stderr.as_bytes().to_vec(),
        truncated: false,
        leftovers: 0,
        duration: Duration::from_millis(5),
    }
}

fn settings(text: &str) -> Result<Plugin, String> {
    let node: Node = yaml::parse(text).unwrap();
    let mut plugin: Plugin = node.read(Plugin::SHORT_FOR, &NoSecrets).map_err(|error| error.to_string())?;
    plugin.validate().map_err(|invalid| format!("{}: {}", invalid.path, invalid.why))?;
    Ok(plugin)
}

/// What the run of a plugin with these settings became, and what was started for it.
pub(super) fn play(text: &str, end: Result<RunEnd, RunError>, sysroot: &Path) -> (Result<Report, CheckError>, Program) {
    let plugin = settings(text).unwrap();
    let spawner = Played { end: Mutex::new(Some(end)), asked: Mutex::new(None) };
    let env =
        [(OsString::from("SHARED"), OsString::from("of the check")), (OsString::from("A"), OsString::from("check"))];
    let context = Context {
        check: "raid",
        host: "db1.example",
        now: Timestamp::from_second(1_700_000_000).unwrap(),
        timeout: Duration::from_millis(2500),
        sysroot,
        spawner: &spawner,
        env: &env,
        memory: None,
        peers: &monchero_core::check::NoPeers,
        explain: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(plugin.run(&context));
    let asked = spawner.asked.lock().unwrap().take().expect("something was started");
    (answer, asked)
}

/// `state: message`, the output below, metrics as perfdata behind a bar.
pub(super) fn show(report: Report) -> String {
    let result = CheckResult::new(Name::new("raid"), Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(report), State::Unknown)
        .unwrap()
        .result;
    let mut out = format!("{}: {}", result.state, result.message);
    if !result.output.is_empty() {
        out = format!("{out}\n{}", result.output);
    }
    let metrics = nagios::render(&result.metrics);
    if metrics.is_empty() { out } else { format!("{out} | {metrics}") }
}

/// The shown result of a run that ends with this status and output.
pub(super) fn run(text: &str, status: i32, stdout: &[u8]) -> String {
    show(play(text, Ok(end(Exit::Status(status), stdout, "")), Path::new("/none")).0.unwrap())
}

/// The shown services, by name.
pub(super) fn services(text: &str, stdout: &str) -> BTreeMap<String, String> {
    let report = play(text, Ok(end(Exit::Status(0), stdout.as_bytes(), "")), Path::new("/none")).0.unwrap();
    report.services.into_iter().map(|(name, service)| (name, show(service))).collect()
}

pub(super) const NATIVE: &str = "{ command: /opt/check_x, format: native }";
const CHECKMK: &str = "{ command: /opt/check_x, format: checkmk }";

fn words(plugin: &Plugin) -> Vec<String> {
    plugin.command.words.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_is_good() {
    let plugin = settings(Plugin::EXAMPLE).unwrap();
    assert_eq!(words(&plugin), ["/usr/lib/nagios/plugins/check_procs", "-w", "250", "-c", "400"]);
    assert!(Kind::of::<Plugin>().build(&yaml::parse("/opt/x").unwrap(), &NoSecrets).is_ok());
}

#[test]
fn commands_are_split_as_a_shell_would_and_lists_are_not() {
    let words = |text: &str| words(&settings(text).unwrap());
    assert_eq!(words(r#"'/opt/x -a "b c" d\ e ''f''g $HOME *'"#), ["/opt/x", "-a", "b c", "d e", "fg", "$HOME", "*"]);
    assert_eq!(words("[/opt/x, 'a b', 5, 010, '|']"), ["/opt/x", "a b", "5", "010", "|"]);
    assert_eq!(words("{ command: [check_x] }"), ["check_x"]);
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (text, why) in [
        ("{ command: '' }", "command: the command is empty"),
        ("{ command: [] }", "command: the command is empty"),
        ("{}", "the setting `command` is missing"),
        ("{ command: ./x }", "command: `./x` is a relative path"),
        ("{ command: \"/opt/x 'open\" }", "a quote is opened in the command and never closed"),
        ("{ command: '/opt/x | grep y' }", "command: `|` means something to a shell only"),
        ("{ command: '/opt/x 2>&1' }", "command: `2>&1` means something"),
        ("{ command: /opt/x, okay: [3] }", "okay: lists of exit statuses need `format: exit-code`"),
        ("{ command: /opt/x, format: exit-code, okay: [3], bad: [3] }", "bad: the exit status 3 stands in `okay`, too"),
        ("{ command: /opt/x, format: exit-code, okay: [256] }", "`okay.1`: `256` is not a whole number from 0 to 255"),
        ("{ command: /opt/x, format: nagos }", "unknown word `nagos`"),
        ("{ command: /opt/x, env: { 'A=B': c } }", "env: `A=B` is no environment variable"),
        ("{ command: /opt/x, directory: tmp }", "directory: the directory must be a whole path"),
        ("{ command: /opt/x, max_output: 64 }", "`64` has no unit: write `64B` or `64KiB`"),
        ("{ command: /opt/x, max_output: 1GiB }", "max_output: from 1KiB to 1MiB"),
        ("{ command: /opt/x, max_output: 10% }", "`10%` is no size"),
        ("{ command: /opt/x, kill_grace: 2m }", "kill_grace: the grace is at most 60s"),
        ("{ command: /opt/x, run_as: '' }", "run_as: the name of the user is empty"),
        ("{ command: /opt/x, insecure_permissions: yes }", "unknown word `yes`"),
        ("{ command: /opt/x, shell: true }", "unknown setting `shell`"),
    ] {
        let error = settings(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_is_started() {
    let text = "{ command: check_x -w 1, format: native, env: { A: settings, MONCHERO_HOST: other }, run_as: nagios, directory: /srv, \
                max_output: 8KiB, kill_grace: 500ms, allow_background: true, insecure_permissions: allow }";
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("usr/lib/nagios/plugins");
    std::fs::create_dir_all(&directory).unwrap();
    let plugin = directory.join("check_x");
    std::fs::write(&plugin, "#!/bin/sh\n").unwrap();

    // A file that cannot be executed is no program: the name stays for whoever starts it.
    let (_, program) = play(text, Ok(end(Exit::Status(0), b"status: ok", "")), root.path());
    assert_eq!(program.argv, ["check_x", "-w", "1"]);

    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (_, program) = play(text, Ok(end(Exit::Status(0), b"status: ok", "")), root.path());
    assert_eq!(program.argv, ["/usr/lib/nagios/plugins/check_x", "-w", "1"]);
    let env: BTreeMap<_, _> =
        program.env.iter().map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap())).collect();
    assert_eq!(env.len(), program.env.len());
    assert_eq!(env["MONCHERO_CHECK"], "raid");
    assert_eq!(env["MONCHERO_HOST"], "other");
    assert_eq!(env["MONCHERO_TIMEOUT"], "2.5");
    assert_eq!(env["MONCHERO_FORMAT"], "native");
    assert!(env["MONCHERO_AGENT_NUMBER_OF_CPUS"].parse::<u32>().unwrap() > 0);
    assert_eq!((env["SHARED"], env["A"]), ("of the check", "settings"));
    assert_eq!((program.run_as.as_deref(), program.directory.as_deref()), (Some("nagios"), Some(Path::new("/srv"))));
    assert_eq!((program.max_output, program.kill_grace), (8192, Duration::from_millis(500)));
    assert!(program.allow_background && program.allow_insecure_path);
    assert_eq!((program.timeout, program.stdin), (Duration::from_millis(2500), None));

    let (_, plain) = play("/opt/check_x", Ok(end(Exit::Status(0), b"", "")), root.path());
    assert_eq!((plain.max_output, plain.kill_grace), (program::MAX_OUTPUT, program::KILL_GRACE));
    assert!(
        !plain.allow_background && !plain.allow_insecure_path && plain.run_as.is_none() && plain.directory.is_none()
    );
}

#[test]
fn exit_statuses_of_nagios_plugins() {
    for status in 0..=255 {
        let shown = run("/opt/check_x", status, b"text | a=1");
        let expected = match status {
            0 => "okay: text | a=1".to_owned(),
            1 => "warning: text | a=1".to_owned(),
            2 => "bad: text | a=1".to_owned(),
            3 => "unknown: text | a=1".to_owned(),
            _ => format!("unknown: exit status {status} is none of 0, 1, 2 and 3: text | a=1"),
        };
        assert_eq!(shown, expected);
    }
}

#[test]
fn exit_statuses_by_lists() {
    let state = |lists: &str, status: i32| {
        let shown = run(&format!("{{ command: /bin/x, format: exit-code {lists} }}"), status, b"text");
        shown.split(':').next().unwrap().to_owned()
    };
    for (lists, expected) in [
        // Statuses 0, 1, 2, 3, 9.
        ("", ["okay", "bad", "bad", "bad", "bad"]),
        (", okay: [1]", ["okay", "okay", "bad", "bad", "bad"]),
        (", warning: [1]", ["okay", "warning", "unknown", "unknown", "unknown"]),
        (", bad: [2, 3]", ["okay", "unknown", "bad", "bad", "unknown"]),
        (", bad: [0], okay: [1]", ["bad", "okay", "unknown", "unknown", "unknown"]),
        (", unknown: [9]", ["okay", "bad", "bad", "bad", "unknown"]),
    ] {
        let got: Vec<String> = [0, 1, 2, 3, 9].map(|status| state(lists, status)).to_vec();
        assert_eq!(got, expected, "{lists}");
    }
    let shown = run("{ command: /bin/x, format: exit-code, warning: [1] }", 5, b"first\nsecond");
    assert_eq!(
        shown,
        "unknown: exit status 5 stands in none of the lists `okay`, `warning`, `bad` and `unknown`: first\nsecond"
    );
}

#[test]
fn endings_without_a_result() {
    let answer = |exit: Exit, stdout: &[u8], stderr: &str| {
        play("/opt/check_x", Ok(end(exit, stdout, stderr)), Path::new("/none")).0
    };
    assert_eq!(answer(Exit::TimedOut, b"OK", ""), Err(CheckError::TimedOut(Duration::from_millis(2500))));
    assert_eq!(answer(Exit::Stuck { pid: 77 }, b"OK", ""), Err(CheckError::Stuck(77)));
    assert_eq!(
        show(answer(Exit::Signal(11), b"half a li", "").unwrap()),
        "unknown: `check_x`: it was ended by signal 11 (SIGSEGV)\nhalf a li"
    );
    assert_eq!(
        show(answer(Exit::Signal(34), b"", "\nno memory\n").unwrap()),
        "unknown: `check_x`: it was ended by signal 34, standard error: no memory"
    );
    let flood = answer(Exit::TooMuchOutput, b"y\ny\n", "").unwrap();
    assert_eq!(show(flood), "unknown: `check_x`: it wrote more than 16 MiB and was ended\ny\ny");

    let failed = |error: RunError| play("/opt/check_x", Err(error), Path::new("/none")).0;
    assert_eq!(failed(RunError::Cancelled), Err(CheckError::Cancelled));
    let error = RunError::Start { program: "/opt/check_x".to_owned(), why: "it has no `#!` line".to_owned() };
    assert_eq!(failed(error), Err(CheckError::Unable("cannot start `/opt/check_x`: it has no `#!` line".to_owned())));
    let error = RunError::Untrusted("`/opt` can be written by all: chmod o-w /opt".to_owned());
    assert_eq!(failed(error), Err(CheckError::Unable("`/opt` can be written by all: chmod o-w /opt".to_owned())));
}

#[test]
fn what_a_run_leaves_out_is_told() {
    let text = "{ command: /opt/check_x, max_output: 1KiB }";
    let cut = RunEnd { truncated: true, leftovers: 2, ..end(Exit::Status(0), b"OK | a=1 b=2", "") };
    assert_eq!(
        show(play(text, Ok(cut), Path::new("/none")).0.unwrap()),
        "okay: OK\n(the output was cut, 1024 bytes are kept: see `max_output`)\n\
         (2 processes that it left behind were ended: see `allow_background`) | a=1"
    );
    assert_eq!(run(text, 0, b"OK | a=1 b=x c=3"), "okay: OK\n(metrics not kept: `b=x` is no metric) | a=1 c=3");
}

#[test]
fn empty_output_and_standard_error() {
    assert_eq!(run("/opt/check_x", 0, b""), "okay: (no output)");
    assert_eq!(run("/opt/check_x", 2, b"\n\n\n"), "bad: (no output)");
    let shown = |status, stdout: &[u8]| {
        show(
            play(
                "/opt/check_x",
                Ok(end(Exit::Status(status), stdout, "sh: foo: not found\nmore\n")),
                Path::new("/none"),
            )
            .0
            .unwrap(),
        )
    };
    assert_eq!(
        shown(127, b""),
        "unknown: exit status 127 is none of 0, 1, 2 and 3: (no output), standard error: sh: foo: not found"
    );
    assert_eq!(shown(2, b"down"), "bad: down\nstandard error:\nsh: foo: not found\nmore");
    assert_eq!(shown(0, b"fine"), "okay: fine");
}

/// What Debian's plugins said (monitoring-plugins 2.3.3): state and metrics as they meant them, and what their metrics alone would say by
/// the guidelines. Where the two differ, `judge_metrics: true` would raise an alarm over nothing.
#[test]
fn limits_of_real_plugins_inform_only() {
    let cases: [(&str, i32, &str, State); 6] = [
        (
            "check_swap -w 50% -c 20%",
            0,
            "SWAP OK - 100% free (4095MB out of 4095MB) |swap=4293918720B;2146959350;858783740;0;4293918720",
            State::Bad,
        ),
        (
            "check_file_age -w 900 -c 1800 -f /etc/passwd",
            0,
            "FILE_AGE OK: /etc/passwd is 197 seconds old and 1328 bytes | age=197s;900;1800 size=1328B;0;0;0",
            State::Bad,
        ),
        (
            "check_ntp_time -H h",
            0,
            "NTP OK: Offset -0.4999983907 secs|offset=-0.499998s;60.000000;120.000000;",
            State::Bad,
        ),
        (
            "check_load -w 5,4,3 -c 10,8,6",
            0,
            "LOAD OK - total load average: 0.23, 0.11, 0.04|load1=0.230;5.000;10.000;0; load5=0.110;4.000;8.000;0;",
            State::Okay,
        ),
        (
            "check_disk -w 20% -c 10% -p /",
            0,
            "DISK OK - free space: / 80717MiB (86% inode=97%);| /=12934184960B;216442024755;243497277849;0;270552530944",
            State::Okay,
        ),
        (
            "check_procs -C init -c 1:",
            2,
            "PROCS CRITICAL: 0 processes with command name 'init' | procs=0;;1:;0;",
            State::Bad,
        ),
    ];
    for (command, status, line, by_metrics) in cases {
        let report = |judge: &str| {
            let text = format!("{{ command: \"/usr/lib/nagios/plugins/{command}\" {judge} }}");
            play(&text, Ok(end(Exit::Status(status), line.as_bytes(), "")), Path::new("/none")).0.unwrap()
        };
        let plain = report("");
        assert_eq!(Some(plain.worst()), State::from_exit_status(status), "{command}");
        assert_eq!(plain.metrics.iter().map(Metric::state).max(), Some(by_metrics), "{command}");
        assert_eq!(report(", judge_metrics: true").worst(), by_metrics.max(plain.worst()), "{command}");
    }
}

#[test]
fn output_without_a_result() {
    for format in [NATIVE, CHECKMK] {
        let silent = play(format, Ok(end(Exit::Status(1), b" \n", "boom\n")), Path::new("/none")).0.unwrap();
        assert_eq!(show(silent), "unknown: `check_x` printed nothing, standard error: boom");
    }
    let cut = RunEnd { truncated: true, ..end(Exit::Status(0), b"status: ok\nmessage: fi", "") };
    assert!(
        show(play(NATIVE, Ok(cut), Path::new("/none")).0.unwrap())
            .starts_with("unknown: `check_x` printed more than 65536 bytes: raise `max_output`")
    );
    let cut = RunEnd { truncated: true, ..end(Exit::Status(0), b"0 a - fine\n0 b - hal", "") };
    let report = play(CHECKMK, Ok(cut), Path::new("/none")).0.unwrap();
    assert_eq!(report.services.len(), 1);
    assert!(
        show(report).starts_with("unknown: the services behind the cut in its output are lost: raise `max_output`")
    );
}

/// Every output that ended the original agent (S4.N) becomes a result with a reason. The ones that are about its configuration and its
/// push are tested where those are read and sent.
#[test]
fn what_ended_the_original_agent() {
    let original_cpu_sh = "metrics:\n  load_avg_1:\n    value: 0.29\n  load_avg_5:\n    value: 0.11\n    warning_min: 5\n    critcial_min: 10\n  \
                           load_avg_15:\n    value: 0.04\n  threads:\n    value: 1\n  kernel_entities:\n    value: 115\n";
    for (format, stdout, expected) in [
        (
            NATIVE,
            "all is well".as_bytes(),
            "unknown: the output of `check_x` has no result: it is `all is well`, not a mapping with `status`\nall is well",
        ),
        (NATIVE, b"", "unknown: `check_x` printed nothing"),
        (NATIVE, b"status: OK\nmessage: no name", "okay: no name"),
        (
            NATIVE,
            original_cpu_sh.as_bytes(),
            "unknown: it gives no `status`; metric `load_avg_5`: `critcial_min` is not known, did you mean `critical_min`? | \
             load_avg_1=0.29 load_avg_5=0.11;@5: load_avg_15=0.04 threads=1 kernel_entities=115",
        ),
        (NATIVE, b"status: unknown\nmessage: cannot tell", "unknown: cannot tell"),
        ("/opt/check_x", b"OK | temperature=-3 load=U", "okay: OK | temperature=-3 load=U"),
        (
            NATIVE,
            b"status: OK\nmessage: x\nmetrics: { a: { value: high } }",
            "unknown: x (metric `a`: its value is `high`, no number)",
        ),
        (NATIVE, b"status: OK\nmessage: caf\xe9", "okay: caf\u{fffd}"),
        ("/opt/check_x", b"caf\xe9 \xff\xfe", "okay: caf\u{fffd} \u{fffd}\u{fffd}"),
        (NATIVE, b"status: OK\nmessage: 'open", "unknown: the output of `check_x` has no result: it is no YAML"),
        (NATIVE, b"status:", "unknown: its status is nothing, none of okay, warning, bad and unknown"),
    ] {
        let shown = run(format, 0, stdout);
        assert!(
            shown == expected || (expected.ends_with("YAML") && shown.starts_with(expected)),
            "{shown}\n{expected}"
        );
    }
    // A literal newline twice in one line.
    assert_eq!(services(CHECKMK, "0 x - a\\nb\\nc\n")["x"], "okay: a\nb\nc");
    // No `#!` line: `endings_without_a_result`. A section that is there and empty:
    assert_eq!(settings("").unwrap_err(), "the setting `command` is missing");
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_a_result(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), status in 0..256, truncated: bool) {
        for format in ["/opt/x", NATIVE, CHECKMK, "{ command: /opt/x, format: exit-code }"] {
            let end = RunEnd { truncated, ..end(Exit::Status(status), &bytes, "") };
            let report = play(format, Ok(end), Path::new("/none")).0.unwrap();
            let result = CheckResult::new(Name::new("x"), Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(report), State::Unknown).unwrap();
            proptest::prop_assert!(!result.result.message.is_empty());
        }
    }
}
