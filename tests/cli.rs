//! The command line as its users see it: the real program, against a daemon's outside whose engine answers from a script.

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "../crates/api/tests/api/common.rs"]
mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use common::{Daemon, row, rows};
use monchero_api::types::Status;
use monchero_core::State;

/// Runs the program, away from the thread that serves it.
async fn monchero(socket: &Path, words: &[&str]) -> Output {
    run(command(socket, words)).await
}

#[expect(clippy::disallowed_methods, reason = "the program under test")]
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn command(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monchero"));
    command
        .args(words)
        .env("MONCHERO_SOCKET", socket)
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env_remove("SUDO_USER")
        .stdin(Stdio::null());
    command
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test]
async fn status_prints_the_table_and_exits_with_the_worst() {
    let daemon = Daemon::start(rows());
    let all = monchero(&daemon.path, &["status"]).await;
    assert_eq!(all.status.code(), Some(2), "{}", err(&all));
    let lines: Vec<&str> = out(&all).lines().collect();
    assert!(lines[0].starts_with("NAME       STATE"), "{lines:?}");
    assert!(
        lines[1].starts_with("shop       bad ")
            && lines[1].ends_with("3/3      [acknowledged] status is 503, expected 200"),
        "{lines:?}"
    );
    assert!(
        out(&all).contains(
            "\n6 checks: 2 okay, 1 warning, 1 unknown, 1 bad, 1 pending\nhint: `monchero show shop` says more\n"
        ),
        "{lines:?}"
    );
    assert!(!out(&all).contains('\u{1b}'), "no colour in a pipe");

    for (words, code) in [
        (&["status", "root-disk"][..], 0),
        (&["status", "raid"], 1),
        (&["status", "dns"], 3),
        (&["status", "--problems", "root-disk"], 0),
    ] {
        let output = monchero(&daemon.path, words).await;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", err(&output));
    }
    for command in ["status", "history"] {
        let misspelt = monchero(&daemon.path, &[command, "shopp"]).await;
        assert_eq!(
            (misspelt.status.code(), err(&misspelt)),
            (Some(5), "monchero: there is no check `shopp`\nhint: did you mean `shop`?\n")
        );
    }
}

#[tokio::test]
async fn nobody_there_is_exit_status_four() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    for words in [&["status"][..], &["show", "x"], &["ack", "x"], &["reload"], &["downtime", "list"], &["history"]] {
        let output = monchero(&socket, words).await;
        assert_eq!(output.status.code(), Some(4), "{words:?}");
        let expected =
            format!("monchero: cannot reach the daemon at `{}`: no daemon runs there\nhint: ", socket.display());
        assert!(err(&output).starts_with(&expected) && err(&output).lines().count() == 2, "{}", err(&output));
    }
}

#[tokio::test]
async fn colour_is_asked_for_or_not_there() {
    let daemon = Daemon::start(rows());
    let always = monchero(&daemon.path, &["--color", "always", "status"]).await;
    assert!(out(&always).contains("\u{1b}[97;41;1mbad\u{1b}[0m"), "{}", out(&always));
    let mut no_color = command(&daemon.path, &["status"]);
    no_color.env("NO_COLOR", "1");
    assert!(!out(&run(no_color).await).contains('\u{1b}'));
}

#[tokio::test]
async fn json_is_what_the_api_answers_whatever_is_in_it() {
    let odd = [row("odd", &[State::Bad], "\u{7}\u{1b}[2J \u{9b} \u{202e} \"\\ \u{0} \u{fffd} 日本")];
    let daemon = Daemon::start(odd.into_iter().chain(rows()).collect());
    let output = monchero(&daemon.path, &["status", "--json"]).await;
    let status: Status<'_> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status.checks.len(), 7);
    for words in [
        &["show", "odd", "--json"][..],
        &["run", "odd", "--json"],
        &["history", "--json"],
        &["downtime", "list", "--json"],
        &["reload", "--json"],
        &["paths", "--json"],
    ] {
        let output = monchero(&daemon.path, words).await;
        let value: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", err(&output)));
        assert!(value.is_object(), "{words:?}");
    }
}

/// R69: whatever a check says, no command lets a terminal obey it.
#[tokio::test]
async fn nothing_from_outside_reaches_the_terminal_as_it_is() {
    let evil = "\u{1b}]0;x\u{7} \u{1b}[2J \u{1b}]52;c;aGk=\u{7} \u{1b}]8;;http://x\u{1b}\\ \u{202e}abc \u{9b}31m \r\t\u{0}\u{7f}";
    let mut evil_row = row("evil", &[State::Bad, State::Bad, State::Bad], evil);
    evil_row.result.output = format!("{evil}\n{evil}").into();
    evil_row.result.metrics =
        Box::new([monchero_core::Metric::new(evil, 1.0, monchero_core::quantity::Unit::new(evil))]);
    let daemon = Daemon::start(vec![evil_row]);
    for words in [
        &["status"][..],
        &["show", "evil"],
        &["run", "evil"],
        &["status", evil.trim_end_matches(['\u{0}', '\u{7f}']).split('\u{0}').next().unwrap()],
    ] {
        let output = monchero(&daemon.path, words).await;
        for text in [out(&output), err(&output)] {
            let obeyed = |c: char| {
                (c.is_control() && c != '\n')
                    || ('\u{202a}'..='\u{202e}').contains(&c)
                    || ('\u{2066}'..='\u{2069}').contains(&c)
            };
            assert!(!text.contains(obeyed), "{words:?}: {text:?}");
        }
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty());
    }
}

#[tokio::test]
async fn runs_and_results_and_acknowledgements_reach_the_engine() {
    let daemon = Daemon::start(rows());
    let run = monchero(&daemon.path, &["run", "shop", "root-disk"]).await;
    assert_eq!(run.status.code(), Some(2));
    let expected = "shop  bad  status is 503, expected 200\n  a longer\n  story\n  time = 500 ms\n  size = 12.06 KiB\nroot-disk  okay  42% used\n";
    assert_eq!(out(&run), expected);
    let submitted = monchero(&daemon.path, &["submit", "shop", "critical", "down", "--perfdata", "time=1s"]).await;
    assert_eq!((submitted.status.code(), out(&submitted)), (Some(0), "`shop` took the result: bad\n"));
    let acknowledged = monchero(&daemon.path, &["ack", "shop", "on it", "--for", "365d", "--author", "maria"]).await;
    assert!(out(&acknowledged).starts_with("`shop` is acknowledged by maria ("), "{}", err(&acknowledged));
    assert_eq!(monchero(&daemon.path, &["ack", "shop", "--remove"]).await.status.code(), Some(0));
    let log = daemon.log();
    assert_eq!(log[..3], ["run shop", "run root-disk", "submit shop Bad Some(\"down\") \"\" 1"]);
    assert!(log[3].contains("on it until Some("), "{log:?}");
}

#[tokio::test]
async fn a_downtime_lasts_as_long_as_its_command() {
    let daemon = Daemon::start(rows());
    let script = format!("{} downtime list; exit 7", env!("CARGO_BIN_EXE_monchero"));
    let output = monchero(&daemon.path, &["downtime", "run", "raid", "30m", "--", "sh", "-c", &script]).await;
    assert_eq!(output.status.code(), Some(7), "{}", err(&output));
    assert!(
        out(&output).contains("raid") && out(&output).contains("downtime list; exit 7"),
        "it was there while the command ran: {}",
        out(&output)
    );
    assert_eq!(out(&monchero(&daemon.path, &["downtime", "list"]).await), "no downtimes\n", "and is over with it");

    let missing = monchero(&daemon.path, &["downtime", "run", "raid", "30m", "--", "/no/such/program"]).await;
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(out(&monchero(&daemon.path, &["downtime", "list"]).await), "no downtimes\n");
    let nothing = monchero(&daemon.path, &["downtime", "run", "nosuch", "30m", "--", "touch", "/nonexistent/x"]).await;
    assert_eq!(nothing.status.code(), Some(5), "what cannot be silenced is not run");
}

#[tokio::test]
async fn downtimes_are_planned_and_ended() {
    let daemon = Daemon::start(rows());
    let added = monchero(&daemon.path, &["downtime", "add", "raid*", "30m", "new disk"]).await;
    // The script's daemon lives a little in the future.
    let expected = "downtime 1 from 2027-01-15 08:00:00 until 2027-01-15 08:30:00: raid, raid/md0\n";
    assert_eq!((out(&added), err(&added)), (expected, ""));
    assert!(out(&monchero(&daemon.path, &["downtime", "list"]).await).contains("new disk"));
    assert_eq!(out(&monchero(&daemon.path, &["downtime", "end", "1"]).await), "downtime 1 of `raid*` is over\n");
    assert_eq!(monchero(&daemon.path, &["downtime", "end", "1"]).await.status.code(), Some(5));
}

#[tokio::test]
async fn a_broken_configuration_is_exit_status_65() {
    let dir = tempfile::tempdir().unwrap();
    let (path, broken) = (dir.path().join("s"), dir.path().join("broken"));
    let daemon = Daemon::start_at(rows(), dir, &path);
    assert_eq!(
        out(&monchero(&path, &["reload"]).await),
        "reloaded: 1 check added, 0 changed, 0 removed, 5 untouched\n"
    );
    std::fs::write(broken, "").unwrap();
    let output = monchero(&daemon.path, &["reload"]).await;
    assert_eq!(output.status.code(), Some(65));
    assert!(err(&output).starts_with("conf.d/web.yaml:4:5: check `shop`: unknown setting"), "{}", err(&output));
}

#[tokio::test]
async fn misuse_is_exit_status_64() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["statsu"][..],
        &["status", "--watch"],
        &["history", "--since", "yesterday"],
        &["downtime", "add", "x", "5"],
        &[],
    ] {
        let output = monchero(dir.path(), words).await;
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", err(&output));
        assert!(err(&output).starts_with("monchero: ") && err(&output).lines().count() <= 2, "{}", err(&output));
    }
    let help = monchero(dir.path(), &["--help"]).await;
    assert!(help.status.success() && out(&help).contains("status"));
    assert!(!out(&help).contains("exec-as"), "what the daemon starts of itself is not for people");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let many =
        (0..5_000).map(|i| row(&format!("check-{i}"), &[State::Okay], "all is well here and everywhere")).collect();
    let daemon = Daemon::start(many);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "\"$0\" status | head -n 1; exit 0", env!("CARGO_BIN_EXE_monchero")])
        .env("MONCHERO_SOCKET", &daemon.path);
    let output = run(shell).await;
    assert_eq!(out(&output).lines().count(), 1);
    assert_eq!((err(&output), output.status.signal()), ("", None));
}

#[tokio::test]
async fn once_runs_the_configuration_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let conf_d = dir.path().join("conf.d");
    std::fs::create_dir(&conf_d).unwrap();
    let checks = "checks:\n  good:\n    plugin: [/bin/echo, all is well | n=1]\n  warn:\n    plugin: [/bin/sh, -c, echo so so; exit 1]\n";
    std::fs::write(conf_d.join("a.yaml"), checks).unwrap();
    let config = dir.path().to_str().unwrap();
    let socket = dir.path().join("s");
    let all = monchero(&socket, &["--config", config, "once"]).await;
    assert_eq!(all.status.code(), Some(1), "{}{}", out(&all), err(&all));
    let lines: Vec<&str> = out(&all).lines().collect();
    assert!(lines[1].starts_with("warn  warning") && lines[1].ends_with("so so"), "{lines:?}");
    assert!(lines[2].starts_with("good  okay") && lines[2].ends_with("all is well"), "{lines:?}");
    let one = monchero(&socket, &["--config", config, "once", "good", "--json"]).await;
    assert_eq!(one.status.code(), Some(0), "{}", err(&one));
    let status: Status<'_> = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!((status.checks.len(), status.checks[0].metrics.len()), (1, 1));
    assert_eq!(monchero(&socket, &["--config", config, "once", "nosuch"]).await.status.code(), Some(5));

    std::fs::write(conf_d.join("b.yaml"), "checks:\n  bad:\n    plugni: x\n").unwrap();
    let broken = monchero(&socket, &["--config", config, "once"]).await;
    assert_eq!(broken.status.code(), Some(2), "{}", out(&broken));
    assert!(out(&broken).contains("config/conf.d/b.yaml"), "{}", out(&broken));
    let checked = monchero(&socket, &["--config", config, "config", "check"]).await;
    assert_eq!(checked.status.code(), Some(65));
    assert!(out(&checked).contains("plugni"), "{}", out(&checked));
}

/// The budget: 50 ms for 10,000 checks, from the daemon's rows to the bytes of the table. Run it in a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "figures for whoever measures")]
async fn status_of_ten_thousand_checks() {
    let many = (0..10_000)
        .map(|i| {
            let mut row = row(
                &format!("service-{i}.example.org"),
                &[State::Okay],
                "status is 200 after 34 ms, 12 KiB, certificate ends in 80d",
            );
            row.result.metrics = rows()[5].result.metrics.clone();
            row
        })
        .collect();
    let daemon = Daemon::start(many);
    for words in [&["status"][..], &["status", "--json"], &["status", "service-7.example.org"], &["--version"]] {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..11 {
            let begin = Instant::now();
            bytes = monchero(&daemon.path, words).await.stdout.len();
            times.push(begin.elapsed());
        }
        times.sort();
        println!("{words:?}: median {:?}, best {:?}, {bytes} bytes", times[5], times[0]);
    }
}

#[tokio::test]
async fn a_job_says_how_it_is_doing() {
    let daemon = Daemon::start(rows());
    for (words, signal) in [
        (&["ping", "backup"][..], "Signal { kind: Success, run: None, output: \"\", took: None }"),
        (
            &["ping", "backup", "--fail", "no space left", "--run", "7"],
            "Signal { kind: Fail(None), run: Some(\"7\"), output: \"no space left\", took: None }",
        ),
        (&["ping", "--start", "backup"], "Signal { kind: Start, run: None, output: \"\", took: None }"),
    ] {
        let output = monchero(&daemon.path, words).await;
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(out(&output).starts_with("`backup` is okay"), "{}", out(&output));
        assert_eq!(daemon.log().pop().unwrap(), format!("signal backup {signal}"));
    }
    let refused = monchero(&daemon.path, &["ping", "shop"]).await;
    assert_eq!(refused.status.code(), Some(5));
    assert!(
        err(&refused).starts_with("monchero: `shop` takes no signals: it looks for itself\nhint: "),
        "{}",
        err(&refused)
    );
    assert_eq!(monchero(&daemon.path, &["ping", "backup", "--start", "--", "true"]).await.status.code(), Some(64));
}

#[tokio::test]
async fn a_wrapped_job_is_told_of_and_keeps_its_streams_and_its_status() {
    let daemon = Daemon::start(rows());
    let job = "echo out; echo err >&2; exit 7";
    let output = monchero(&daemon.path, &["ping", "backup", "--", "sh", "-c", job]).await;
    assert_eq!((output.status.code(), out(&output), err(&output)), (Some(7), "out\n", "err\n"));
    let log = daemon.log();
    let [.., start, end] = log.as_slice() else { panic!("{log:?}") };
    let run = start.split("Some(\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        *start,
        format!("signal backup Signal {{ kind: Start, run: Some(\"{run}\"), output: \"\", took: None }}")
    );
    assert!(
        end.starts_with(&format!("signal backup Signal {{ kind: Fail(Some(7)), run: Some(\"{run}\"), output: \"")),
        "{end}"
    );
    assert!(end.contains("out\\n") && end.contains("err\\n") && end.contains("took: Some("), "{end}");

    let much = monchero(&daemon.path, &["ping", "backup", "--", "sh", "-c", "seq 1 10000"]).await;
    assert_eq!(much.status.code(), Some(0));
    assert!(out(&much).lines().count() == 10_000, "all of it is passed on");
    let log = daemon.log();
    let end = log.last().unwrap();
    assert!(end.contains("kind: Success") && end.contains("\\n9999\\n10000\\n\"") && end.len() < 12_000, "{end}");

    let silent = monchero(&daemon.path, &["ping", "backup", "--no-output", "--", "echo", "secret"]).await;
    assert_eq!(out(&silent), "secret\n");
    assert!(daemon.log().last().unwrap().contains("output: \"\""));

    let missing = monchero(&daemon.path, &["ping", "backup", "--", "/no/such/job"]).await;
    assert_eq!(missing.status.code(), Some(127));
    assert!(daemon.log().last().unwrap().contains("Fail(Some(127))"));
    assert_eq!(err(&missing).lines().count(), 1, "{}", err(&missing));

    let killed = monchero(&daemon.path, &["ping", "backup", "--", "sh", "-c", "kill -9 $$"]).await;
    assert_eq!(killed.status.code(), Some(137));
}

#[tokio::test]
async fn a_daemon_that_is_not_there_changes_nothing_for_a_wrapped_job() {
    let nobody = Path::new("/nonexistent/socket");
    let output = monchero(nobody, &["ping", "backup", "--", "sh", "-c", "echo done; exit 3"]).await;
    assert_eq!((output.status.code(), out(&output)), (Some(3), "done\n"));
    assert_eq!(err(&output).lines().count(), 2, "{}", err(&output));
    assert!(err(&output).contains("was not told how its job ended: cannot reach the daemon"), "{}", err(&output));
    assert!(err(&output).ends_with("say it by hand: `monchero ping CHECK --fail`\n"), "{}", err(&output));
    assert_eq!(monchero(nobody, &["ping", "backup"]).await.status.code(), Some(4));
}

#[tokio::test]
async fn notify_test_tells_the_answer_or_the_error() {
    let daemon = Daemon::start(rows());
    let taken = monchero(&daemon.path, &["notify", "test", "ops"]).await;
    assert_eq!((taken.status.code(), out(&taken)), (Some(0), "`ops` took the drill: 250 Ok\n"), "{}", err(&taken));
    let failed = monchero(&daemon.path, &["notify", "test", "broken", "--state", "okay"]).await;
    assert_eq!(failed.status.code(), Some(5));
    assert!(err(&failed).starts_with("monchero: `broken` could not be told: connection refused\nhint: "), "{failed:?}");
    let failed = monchero(&daemon.path, &["notify", "test", "broken", "--json"]).await;
    assert_eq!(failed.status.code(), Some(5));
    assert!(out(&failed).contains(r#""delivered":false"#), "{failed:?}");
    let misspelt = monchero(&daemon.path, &["notify", "test", "opps"]).await;
    assert_eq!(misspelt.status.code(), Some(5));
    assert_eq!(err(&misspelt), "monchero: there is no target `opps`\nhint: did you mean `ops`?\n");
    daemon.stop().await;
}

#[tokio::test]
async fn drill_shows_who_would_be_told_and_sends_only_if_asked() {
    let daemon = Daemon::start(rows());
    let shown = monchero(&daemon.path, &["drill", "raid", "bad"]).await;
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    for part in ["if raid became bad now:", "\nops      told: problem  now", "\nrestart  skipped", "`--send`"] {
        assert!(out(&shown).contains(part), "{part} is in\n{}", out(&shown));
    }
    let sent = monchero(&daemon.path, &["drill", "raid", "bad", "--send"]).await;
    assert!(out(&sent).ends_with("\n`ops` took the drill: 250 Ok\n"), "{}", out(&sent));
    assert_eq!(daemon.log(), ["test ops bad"]);
    let misspelt = monchero(&daemon.path, &["drill", "shap", "bad"]).await;
    assert_eq!(misspelt.status.code(), Some(5));
    assert!(err(&misspelt).starts_with("monchero: there is no check `shap`\nhint: "), "{}", err(&misspelt));
    daemon.stop().await;
}
