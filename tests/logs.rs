//! The daemon's log: its file, its floods, and what happens when it cannot be written.

mod support;

use support::TestAgent;

/// A daemon that writes its log to a file, too.
fn logging(settings: &str) -> TestAgent {
    let agent = TestAgent::configured("checks: { job: { heartbeat: { period: 1d, grace: 1h } } }");
    let settings = settings.replace("{dir}", &agent.folder.path().display().to_string());
    std::fs::write(agent.path("monchero.yaml"), settings).unwrap();
    agent
}

#[test]
fn the_file_goes_on_after_a_restart_and_is_opened_again_at_a_hangup() {
    let mut agent = logging("log: { file: '{dir}/logged', format: json }");
    agent.launch();
    agent.stop();
    agent.launch();
    let running = |agent: &TestAgent, name: &str| {
        agent.lines(name).iter().filter(|line| line.contains(r#""message":"monchero "#)).count()
    };
    agent.wait_for("both starts in the file", |agent| running(agent, "logged") == 2);
    for line in agent.lines("logged") {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    std::fs::rename(agent.path("logged"), agent.path("moved")).unwrap();
    agent.signal(rustix::process::Signal::HUP);
    agent.wait_for("the file to be there again", |agent| agent.path("logged").exists());
    agent.stop();
    assert!(agent.lines("logged").iter().any(|line| line.contains("stopping")), "{}", agent.log());
}

#[test]
fn the_same_line_is_not_said_a_hundred_times() {
    let mut agent = logging("log: { file: '{dir}/logged' }");
    agent.launch();
    for _ in 0..30 {
        assert!(agent.command(&["submit", "job", "okay", "done"]).status.success());
    }
    agent.stop();
    let alike: Vec<String> = agent.lines("logged").into_iter().filter(|line| line.contains("/v1/result")).collect();
    assert_eq!(alike.len(), 11, "{alike:#?}");
    assert!(alike.last().unwrap().contains("and 20 more like it: operation"), "{alike:#?}");
    // What is on standard error is the same.
    assert_eq!(agent.log().matches("/v1/result").count(), 11);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_mended() {
    let mut agent = logging("log: { file: '{dir}/nowhere/logged' }");
    agent.launch();
    let row = agent.wait_for_state("self/store", "warning", "hard");
    assert!(row["message"].as_str().unwrap().contains("nowhere/logged` cannot be written"), "{row}");
    assert!(agent.log().contains("nowhere/logged` cannot be written"), "{}", agent.log());
    std::fs::create_dir(agent.path("nowhere")).unwrap();
    agent.signal(rustix::process::Signal::HUP);
    agent.wait_for_state("self/store", "okay", "hard");
    agent.wait_for("the file", |agent| {
        agent.lines("nowhere/logged").iter().any(|line| line.contains("is written again"))
    });
}

#[test]
fn a_reload_changes_how_much_is_said() {
    let mut agent = logging("log: { level: error }");
    agent.launch();
    std::fs::write(agent.path("monchero.yaml"), "log: { level: debug }").unwrap();
    agent.signal(rustix::process::Signal::HUP);
    agent.wait_for("more to be said", |agent| agent.log().contains("info "));
}
