//! Jobs that report to a real daemon, and verdicts over other checks.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use support::TestAgent;

fn time(value: &serde_json::Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

/// What was heard is on disk when it is answered, and the verdict comes when the time is over: not at the next interval, not with the
/// restart, and not later because of it.
#[test]
fn a_deadline_survives_a_kill() {
    let mut agent = TestAgent::start(
        "checks:\n  backup:\n    heartbeat: { period: 4s, grace: 2s, zone: UTC }\n    interval: 1h\n    retries: 5\n",
    );
    let done = agent.command(&["ping", "backup", "42 files"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    agent.kill();
    agent.launch();
    let row = agent.check("backup");
    assert_eq!(row["state"], "okay");
    assert!(row["message"].as_str().unwrap().starts_with("went well "), "{row}");
    let heard = time(&row["last_check"]);
    let row = agent.wait_for_state("backup", "bad", "hard");
    let late = time(&row["since"]).duration_since(heard) - SignedDuration::from_secs(6);
    assert!(!late.is_negative() && late < SignedDuration::from_secs(1), "{late} after the deadline: {row}");
    assert!(row["message"].as_str().unwrap().starts_with("no signal came until "), "{row}");
    let detail = agent.get("/v1/check?name=backup").unwrap();
    assert!(detail["output"].as_str().unwrap().ends_with("went well\n    42 files"), "{detail:#}");
    agent.stop();
    agent.launch();
    assert_eq!(agent.check("backup")["state"], "bad", "and what was told stays told");
    agent.command(&["ping", "backup"]);
    agent.wait_for_state("backup", "okay", "hard");
}

/// A job that is first waited for: what is remembered since when survives a stop.
#[test]
fn what_is_waited_for_survives_a_restart() {
    let yaml = "checks:\n  backup:\n    heartbeat: { period: 1d, grace: 1h, zone: UTC }\n    interval: 1s\n";
    let mut agent = TestAgent::start(yaml);
    let first = agent.wait_for_state("backup", "okay", "hard")["message"].clone();
    assert!(first.as_str().unwrap().starts_with("waits for the first signal, due until "), "{first}");
    agent.stop();
    agent.launch();
    let last = time(&agent.check("backup")["last_check"]);
    agent.wait_for("another run", |agent| time(&agent.check("backup")["last_check"]) > last);
    assert_eq!(agent.check("backup")["message"], first);
}

#[test]
fn a_wrapped_job_reports() {
    let mut agent =
        TestAgent::start("checks:\n  nightly job:\n    heartbeat: { period: 1d, longest: 2s, zone: UTC }\n");
    let failed = job(agent.folder.path(), "nightly job", "echo copying; echo 'no space left' >&2; exit 9");
    assert_eq!(
        (failed.status.code(), &*failed.stdout, &*failed.stderr),
        (Some(9), &b"copying\n"[..], &b"no space left\n"[..])
    );
    let row = agent.wait_for_state("nightly job", "bad", "hard");
    let message = row["message"].as_str().unwrap();
    assert!(message.starts_with("failed ") && message.contains(" with exit status 9 after "), "{message}");
    let detail = agent.get("/v1/check?name=nightly%20job").unwrap();
    let output = detail["output"].as_str().unwrap();
    assert!(
        output.contains("    copying") && output.contains("    no space left") && output.contains(" started ("),
        "{output}"
    );

    let fine = job(agent.folder.path(), "nightly job", "true");
    assert_eq!(fine.status.code(), Some(0));
    assert!(agent.wait_for_state("nightly job", "okay", "hard")["message"].as_str().unwrap().starts_with("went well "));

    // One that hangs is told while it hangs, and is okay when it ends after all.
    agent.command(&["ping", "nightly job", "--start", "--run", "7"]);
    let row = agent.wait_for_state("nightly job", "bad", "hard");
    assert!(row["message"].as_str().unwrap().contains("the run `7` that began "), "{row}");
    agent.command(&["ping", "nightly job", "--run", "7"]);
    agent.wait_for_state("nightly job", "okay", "hard");

    let refused = agent.command(&["ping", "nightli job"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean `nightly job`?"));
    agent.stop();
    let alone = job(agent.folder.path(), "nightly job", "exit 4");
    assert_eq!(alone.status.code(), Some(4), "the job runs although nobody listens");
}

/// A daemon that comes back while a job runs still hears how it ended.
#[test]
fn a_daemon_that_restarts_hears_the_end() {
    let mut agent = TestAgent::start("checks:\n  job:\n    heartbeat: { period: 1d, zone: UTC }\n");
    let wait = "for i in $(seq 200); do test -e {dir}/go && exit 5; sleep 0.05; done";
    let wait = wait.replace("{dir}", &agent.folder.path().display().to_string());
    let folder = agent.folder.path().to_owned();
    let running = std::thread::spawn(move || job(&folder, "job", &wait));
    agent.wait_for("the start", |agent| {
        agent.check("job")["message"].as_str().unwrap_or_default().contains("runs since")
    });
    agent.kill();
    agent.spawn();
    std::fs::write(agent.path("go"), "").unwrap();
    assert_eq!(running.join().unwrap().status.code(), Some(5));
    agent.wait_for("the daemon to answer", |agent| agent.get("/v1/status").is_some());
    let row = agent.wait_for_state("job", "bad", "hard");
    assert!(row["message"].as_str().unwrap().contains("with exit status 5"), "{row}");
}

/// A command under the eyes of a check.
#[expect(clippy::disallowed_methods, reason = "the job ends by itself")]
fn job(folder: &Path, check: &str, script: &str) -> Output {
    let mut command = Command::new(support::program());
    command.arg("--socket").arg(folder.join("socket")).arg("--config").arg(folder);
    command.args(["ping", check, "--", "sh", "-c", script]).output().unwrap()
}

#[test]
fn a_group_follows_its_members() {
    let mut agent = TestAgent::start(
        "checks:
  a: { heartbeat: 1d, labels: { part: jobs } }
  b: { heartbeat: 1d, labels: { part: jobs } }
  all: { group: { labels: { part: jobs } }, interval: 1s, retries: 5 }
  one: { group: { checks: [a, b], need: any }, interval: 1s }
  wrong: { group: c*, interval: 1s }
",
    );
    for job in ["a", "b"] {
        agent.command(&["ping", job]);
    }
    agent.wait_for_state("all", "okay", "hard");
    let wrong = agent.wait_for_state("wrong", "unknown", "hard");
    assert!(wrong["message"].as_str().unwrap().starts_with("no other check fits `c*`"), "{wrong}");
    agent.command(&["ping", "b", "--fail"]);
    let row = agent.wait_for_state("all", "bad", "hard");
    assert_eq!(row["message"], "1 of 2 are okay: b is bad");
    assert_eq!(row["attempt"], row["max_attempts"], "nothing is left to confirm");
    agent.wait_for("the other group to see it", |agent| agent.check("one")["message"] == "1 of 2 are okay: b is bad");
    assert_eq!(agent.check("one")["state"], "okay");
    agent.command(&["ping", "a", "--fail"]);
    agent.wait_for_state("one", "bad", "hard");
    agent.kill();
    agent.launch();
    assert_eq!(agent.check("all")["state"], "bad");
    agent.command(&["ping", "a"]);
    agent.command(&["ping", "b"]);
    agent.wait_for_state("all", "okay", "hard");
    agent.wait_for_state("one", "okay", "hard");
    agent.wait_within(Duration::from_secs(5), "the pattern to stay wrong", |agent| {
        agent.check("wrong")["state"] == "unknown"
    });
}
