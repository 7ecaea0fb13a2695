//! `container` with a service on a Unix socket that answers as Docker does.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{NoPrograms, PlainSecrets};
use monchero_core::report::{Report, ServiceResult};
use monchero_core::{Context, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A host whose Docker has some answers, by path.
struct Docker {
    root: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Docker {
    fn with(answers: BTreeMap<String, String>) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let listener = UnixListener::bind(root.path().join("run/docker.sock")).unwrap();
        let answers = Arc::new(answers);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
        });
        Self { root, task }
    }

    /// Containers by name: their details, as Docker has them, without what does not matter here.
    fn of(containers: &[(&str, &str)]) -> Self {
        let mut list = Vec::new();
        let mut answers = BTreeMap::new();
        for (number, (name, details)) in containers.iter().enumerate() {
            let id = format!("{number:064x}");
            list.push(format!(r#"{{"Id":"{id}","Names":["/{name}"],"Image":"img","State":"running","Ports":[]}}"#));
            answers.insert(format!("/containers/{id}/json"), ok(details));
        }
        answers.insert("/containers/json?all=1".to_owned(), ok(&format!("[{}]", list.join(","))));
        Self::with(answers)
    }

    async fn run(&self, settings: &str) -> ServiceResult {
        self.run_with(settings, None).await.0
    }

    /// The result, and what is remembered.
    async fn run_with(&self, settings: &str, memory: Option<&str>) -> (ServiceResult, Option<String>) {
        let check = common::kind("container").build(&common::yaml(settings), &PlainSecrets).unwrap();
        let timeout = Duration::from_secs(1);
        let context = Context { memory, ..common::context(self.root.path(), timeout, &NoPrograms) };
        let start = Instant::now();
        let kept = check.run(&context).await.ok().and_then(|report: Report| report.memory).map(String::from);
        let result = common::run_in(&*check, &context).await.result;
        assert!(start.elapsed() < 2 * timeout + Duration::from_millis(500), "{:?}", start.elapsed());
        (result, kept)
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn serve(mut stream: UnixStream, answers: Arc<BTreeMap<String, String>>) {
    let mut asked = String::new();
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        asked += &String::from_utf8_lossy(&piece[..read]);
        while let Some((question, rest)) = asked.split_once("\r\n\r\n") {
            let path = question.split(' ').nth(1).unwrap().to_owned();
            asked = rest.to_owned();
            let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 30\r\n\r\n{\"message\":\"No such container\"}";
            let answer = answers.get(&path).map_or(gone, String::as_str);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// As `docker inspect` says it; the tests run on 2026-06-01.
fn details(state: &str, policy: &str, more: &str) -> String {
    let mut text = String::new();
    let running = state == "running";
    let _ = write!(
        text,
        r#"{{"Id":"x","Created":"2026-05-01T00:00:00Z","State":{{"Status":"{state}","Running":{running},"OOMKilled":{},
           "ExitCode":{},"Error":"","StartedAt":"2026-05-31T21:00:00.123456789Z","FinishedAt":"0001-01-01T00:00:00Z"{more}}},
           "RestartCount":2,"HostConfig":{{"RestartPolicy":{{"Name":"{policy}","MaximumRetryCount":0}}}},
           "Config":{{"Image":"nginx:1.27","Labels":{{}}}}}}"#,
        state == "exited",
        if running { 0 } else { 137 }
    );
    text
}

fn health(status: &str) -> String {
    format!(r#","Health":{{"Status":"{status}","FailingStreak":3,"Log":[]}}"#)
}

#[tokio::test]
async fn all_that_are_meant_to_run() {
    let docker = Docker::of(&[
        ("web", &details("running", "unless-stopped", &health("healthy"))),
        ("db", &details("running", "always", "")),
        ("once", &details("exited", "no", "")),
        ("job", &details("exited", "on-failure", "").replace("137", "0")),
    ]);
    let result = docker.run("{}").await;
    assert_eq!(
        (result.state, &*result.message),
        (State::Okay, "db: running for 2h 59m; web: running for 2h 59m, healthy")
    );
    let labels: Vec<&str> = result.metrics.iter().map(|metric| &*metric.label).collect();
    assert_eq!(labels, ["db restarts", "db age", "web restarts", "web age"]);
}

/// What Podman 4.3 said about containers that it ran, shortened to what matters here.
fn by_podman(state: &str, restarts: u32, policy: &str) -> String {
    format!(
        r#"{{"Id":"x","State":{{"Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"Error":"",{state}}},
           "RestartCount":{restarts},"HostConfig":{{"RestartPolicy":{{"Name":"{policy}","MaximumRetryCount":2}}}},
           "Config":{{"Image":"localhost/tiny:latest"}}}}"#
    )
}

#[tokio::test]
async fn podman() {
    let without_health = r#""Health":{"Status":"","FailingStreak":0,"Log":null}"#;
    let ended = r#""StartedAt":"2026-05-31T23:16:14.898427038Z","FinishedAt":"2026-05-31T23:16:14.90045891Z""#;
    let never = r#""StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z""#;
    let runs = r#""StartedAt":"2026-05-31T23:16:13.122764006Z","FinishedAt":"0001-01-01T00:00:00Z""#;
    let sick = r#""Health":{"Status":"unhealthy","FailingStreak":1,"Log":[{"Start":"2026-05-31T23:16:16.503177116Z","End":"2026-05-31T23:16:16.758648405Z","ExitCode":1,"Output":""}]}"#;
    let state = |status: &str, code: u8, times: &str, health: &str| {
        format!(r#""Status":"{status}","ExitCode":{code},{times},{health}"#)
    };
    let podman = Docker::of(&[
        ("run1", &by_podman(&state("running", 0, runs, without_health), 0, "always")),
        ("fail3", &by_podman(&state("exited", 3, ended, without_health), 2, "on-failure")),
        ("done0", &by_podman(&state("exited", 0, ended, without_health), 0, "on-failure")),
        ("once", &by_podman(&state("exited", 1, ended, without_health), 0, "")),
        ("sick", &by_podman(&state("running", 0, runs, sick), 0, "always")),
        ("fresh", &by_podman(&state("created", 0, never, without_health), 0, "always")),
    ]);
    let result = podman.run("{}").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(
        &*result.message,
        "fail3 state is exited (exited with the exit status 3); fresh state is created (created); \
         sick health is unhealthy (running for 43m 46s, unhealthy)"
    );
    let result = podman.run("[run1, done0, once]").await;
    assert_eq!(
        &*result.message,
        "done0 state is exited (exited with the exit status 0); once state is exited (exited with the exit status 1)"
    );
}

#[tokio::test]
async fn what_is_wrong_with_them() {
    let docker = Docker::of(&[
        ("dead", &details("exited", "always", "")),
        ("flapping", &details("restarting", "always", "")),
        ("sick", &details("running", "always", &health("unhealthy"))),
        ("once", &details("created", "no", "")),
    ]);
    let result = docker.run("{}").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(
        &*result.message,
        "dead state is exited (exited with the exit status 137, ended for lack of memory); \
         sick health is unhealthy (running for 2h 59m, unhealthy); \
         flapping state is restarting (restarting with the exit status 137)"
    );
    let result = docker.run("{ only: flapping }").await;
    assert_eq!(result.state, State::Warning, "{}", result.message);
    let result = docker.run("[flapping, gone]").await;
    assert_eq!(result.state, State::Bad, "{}", result.message);
    assert!(result.message.starts_with("there is no container `gone`; flapping"), "{}", result.message);
    let result = docker.run("once").await;
    assert_eq!(&*result.message, "once state is created (created with the exit status 137)", "named, so it must run");
    let result = docker.run("{ only: { image: \"nginx:*\" }, except: [dead, sick], bad: { state: never } }").await;
    assert_eq!(result.state, State::Okay, "what the user says about the state counts: {}", result.message);
    let result = docker.run("{ only: no-such-* }").await;
    assert_eq!((result.state, &*result.message), (State::Unknown, "none of 4 containers fits `only` and `except`"));
}

#[tokio::test]
async fn restarts_since_the_last_run_are_told_once() {
    let docker = Docker::of(&[("web", &details("running", "always", ""))]);
    let (first, kept) = docker.run_with("{}", None).await;
    assert_eq!(first.state, State::Okay, "{}", first.message);
    assert_eq!(kept.as_deref(), Some("{\"000000000000\":2}"));
    let (again, _) = docker.run_with("{}", kept.as_deref()).await;
    assert_eq!(again.state, State::Okay, "{}", again.message);
    let (restarted, _) = docker.run_with("{}", Some("{\"000000000000\":0}")).await;
    assert_eq!(&*restarted.message, "web restarted is 2, above 0 (running for 2h 59m)");
    assert_eq!(restarted.state, State::Warning);
}

#[tokio::test]
async fn nothing_that_must_run_is_unknown() {
    let docker = Docker::of(&[("once", &details("exited", "no", ""))]);
    let result = docker.run("{}").await;
    assert_eq!(
        (result.state, &*result.message),
        (State::Unknown, "no container has a restart policy: name those that must run in `name` or `only`")
    );
    let result = Docker::of(&[]).run("{}").await;
    assert_eq!((result.state, &*result.message), (State::Unknown, "there is no container"));
    // It was in the list, and is gone when it is looked at.
    let list = ok("[{\"Id\":\"0a\",\"Names\":[\"/short\"]}]");
    let docker = Docker::with([("/containers/json?all=1".to_owned(), list)].into());
    let result = docker.run("{}").await;
    assert_eq!((result.state, &*result.message), (State::Unknown, "there is no container"));
}

#[tokio::test]
async fn hostile_answers_are_bad_and_end() {
    let list = "/containers/json?all=1";
    let huge = format!("[{}1]", "1,".repeat(3 * 1024 * 1024));
    for (answer, words) in [
        (ok("[{\"Id\":\"../../x?\",\"Names\":[]}]"), "is no id of a container"),
        (ok("{\"message\":\"\\u001b[31m\"}"), "does not answer as Docker or Podman does"),
        (ok(&huge), "does not answer as Docker or Podman does: length limit exceeded"),
        ("220 mail.example.org ESMTP\r\n".to_owned(), "does not answer as Docker or Podman does: invalid HTTP"),
        (
            "HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\n\u{1b}[31mx".to_owned(),
            "with 500 Internal Server Error: \\e[31mx",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[".to_owned(), "timed out after 950ms"),
        (String::new(), "timed out after 950ms"),
    ] {
        let docker = Docker::with([(list.to_owned(), answer)].into());
        let result = docker.run("{}").await;
        assert_eq!(result.state, State::Bad, "{}", result.message);
        assert!(result.message.contains(words), "{}", result.message);
    }
    let result = Docker::with(BTreeMap::new()).run("{}").await;
    assert!(result.message.contains("it knows no list of containers"), "{}", result.message);
}

#[tokio::test]
async fn a_service_that_is_gone() {
    let docker = Docker::of(&[]);
    docker.task.abort();
    while !docker.task.is_finished() {
        tokio::task::yield_now().await;
    }
    let result = docker.run("{}").await;
    assert_eq!(
        (result.state, &*result.message),
        (State::Bad, "connecting to /run/docker.sock: connection refused; is the service running?")
    );
}
