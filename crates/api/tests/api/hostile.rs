//! Clients that mean no good, or do not know better (R68): the daemon's own command line is answered all the same.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Daemon, row, rows};
use monchero_api::serve::{HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_PER_USER, WRITE_TIMEOUT};
use monchero_api::{BODY_TIMEOUT, MAX_BODY, Scope};
use monchero_core::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long the command line may wait for an answer while others misbehave.
const SOON: Duration = Duration::from_millis(200);

/// The best of three, since the machine that tests may be busy with something else.
async fn answers_soon(daemon: &Daemon) {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begin = Instant::now();
        daemon.client().version().await.unwrap();
        best = best.min(begin.elapsed());
    }
    assert!(best < SOON, "{best:?}");
}

/// Checks whose status does not fit into the buffers of a socket, but is quickly made.
fn long_status() -> Vec<monchero_engine::Row> {
    (0..200).map(|i| row(&format!("check-{i}"), &[State::Okay], &"all is well ".repeat(300))).collect()
}

async fn read_to_end(mut stream: UnixStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_thousand_idle_connections_lock_nobody_out() {
    let daemon = Daemon::start(rows());
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(UnixStream::connect(&daemon.path).await.unwrap());
        if idle.len() % 100 == 0 {
            answers_soon(&daemon).await;
        }
    }
    answers_soon(&daemon).await;
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let daemon = Daemon::start(rows());
    let mut stream = UnixStream::connect(&daemon.path).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let begin = Instant::now();
    read_to_end(stream).await;
    assert!((HEAD_TIMEOUT / 2..2 * HEAD_TIMEOUT).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn half_a_body_is_not_waited_for() {
    let daemon = Daemon::start(rows());
    let mut stream = UnixStream::connect(&daemon.path).await.unwrap();
    stream.write_all(b"POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let begin = Instant::now();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not come in time"), "{answer}");
    assert!(begin.elapsed() < 2 * BODY_TIMEOUT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let daemon = Daemon::start(rows());
    let mut request =
        format!("POST /v1/result HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 10 << 20).into_bytes();
    request.resize(request.len() + (10 << 20), b' ');
    let answer = daemon.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    answers_soon(&daemon).await;
    // The bound itself: all blanks up to the last byte are still read.
    let body = format!("{}{}", r#"{"check":"shop","state":"okay"}"#, " ".repeat(MAX_BODY - 31));
    assert_eq!(daemon.request("POST", "/v1/result", &body).await.0, 200);
    assert_eq!(daemon.request("POST", "/v1/result", &format!("{body} ")).await.0, 413);
}

#[tokio::test]
async fn rubbish_is_no_request() {
    let daemon = Daemon::start(rows());
    let long = format!("GET /v1/status?pattern={} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let deep = format!("POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{}", "[".repeat(60_000));
    for rubbish in [
        b"\0\xff\xfe\x01\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long.as_bytes(),
        deep.as_bytes(),
    ] {
        let answer = daemon.raw(rubbish).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        answers_soon(&daemon).await;
    }
}

#[tokio::test]
async fn who_does_not_read_is_not_waited_for() {
    let many = long_status();
    let daemon = Daemon::start(many);
    let mut deaf = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = UnixStream::connect(&daemon.path).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // The first byte of the answer: this one has asked, and cannot be closed for another's sake.
        stream.readable().await.unwrap();
        deaf.push(stream);
    }
    let refused = daemon.client().version().await.unwrap_err();
    assert!(
        matches!(
            refused,
            monchero_api::ClientError::Unreachable { .. } | monchero_api::ClientError::Refused { status: 503, .. }
        ),
        "{refused}"
    );
    let deadline = Instant::now() + 3 * WRITE_TIMEOUT;
    while daemon.client().version().await.is_err() {
        assert!(Instant::now() < deadline, "patience does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_daemon_that_stops_answers_what_it_was_asked_and_leaves_no_socket() {
    let daemon = Daemon::start(rows());
    let idle = UnixStream::connect(&daemon.path).await.unwrap();
    answers_soon(&daemon).await;
    let path = daemon.path.clone();
    let begin = Instant::now();
    daemon.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(1), "an idle connection holds nothing up");
    assert!(!path.exists());
    assert_eq!(read_to_end(idle).await, "");
}

// Another user. These need root to become one; without it, `routes` in `src/routes.rs` shows the same with a made-up caller.

const NOBODY: u32 = 65_534;
const TASK: &str = "MONCHERO_TEST_STRANGER";

/// Starts this test binary as another user, which does what `task` says.
#[expect(clippy::disallowed_methods, reason = "the client must be a process of another user")]
fn stranger(task: &str, path: &Path) -> Child {
    Command::new("/proc/self/exe")
        .args(["--exact", "hostile::as_stranger", "--ignored", "--nocapture"])
        .env(TASK, format!("{task}:{}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn()
        .unwrap()
}

/// Waits, without blocking the daemon, until the stranger has said `word`.
async fn hear(child: &mut Child, word: &str) {
    use std::io::BufRead as _;
    let stdout = child.stdout.take().unwrap();
    let wanted = word.to_owned();
    let (heard, stdout) = tokio::task::spawn_blocking(move || {
        let mut lines = std::io::BufReader::new(stdout);
        let mut all = String::new();
        while lines.read_line(&mut all).unwrap() > 0 {
            if all.contains(&wanted) {
                return (Ok(()), lines.into_inner());
            }
        }
        (Err(all), lines.into_inner())
    })
    .await
    .unwrap();
    child.stdout = Some(stdout);
    heard.unwrap_or_else(|all| panic!("the stranger never said {word:?}: {all}"));
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "its way to talk to the test that started it")]
#[ignore = "a client process that the other tests start as another user"]
async fn as_stranger() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (task, path) = task.split_once(':').unwrap();
    match task {
        "connect" => {
            println!("ready");
            let mut refused = 0;
            while refused < 10_000 {
                match std::os::unix::net::UnixStream::connect(path) {
                    Ok(_) => panic!("connected after {refused} tries"),
                    Err(_) => refused += 1,
                }
            }
            println!("never connected");
        }
        "verbs" => {
            for (method, target, scope) in monchero_api::routes() {
                let method = serde_json::to_value(&method).unwrap().as_str().unwrap().to_uppercase();
                let mut stream = UnixStream::connect(path).await.unwrap();
                stream
                    .write_all(
                        format!("{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes(),
                    )
                    .await
                    .unwrap();
                let answer = read_to_end(stream).await;
                let denied = answer.starts_with("HTTP/1.1 403");
                assert_eq!(denied, scope == Scope::Operate, "{method} {target}: {answer}");
            }
            println!("denied what it should be");
        }
        "idle" => {
            let mut idle = Vec::new();
            for _ in 0..1_000 {
                idle.push(UnixStream::connect(path).await.unwrap());
            }
            // Each of these asks and does not read, so none makes room for the next.
            let mut busy = Vec::new();
            for _ in 0..=MAX_PER_USER {
                let mut stream = UnixStream::connect(path).await.unwrap();
                let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
                stream.readable().await.unwrap();
                busy.push(stream);
            }
            let last = busy.pop().unwrap();
            let answer = read_to_end(last).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            println!("ready");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// A daemon in a directory that everybody may enter.
fn open_daemon(rows: Vec<monchero_engine::Row>) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("s");
    Daemon::start_at(rows, dir, &path)
}

fn needs_root() {
    assert!(rustix::process::geteuid().is_root(), "only root can become somebody else: run this test as root");
}

#[tokio::test]
async fn ten_thousand_tries_of_a_stranger_from_before_the_start_all_fail() {
    needs_root();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("s");
    let mut child = stranger("connect", &path);
    hear(&mut child, "ready").await;
    let daemon = Daemon::start_at(rows(), dir, &path);
    hear(&mut child, "never connected").await;
    answers_soon(&daemon).await;
    child.wait().unwrap();
}

#[tokio::test]
async fn a_stranger_who_can_connect_may_look_but_not_operate() {
    needs_root();
    let daemon = open_daemon(rows());
    std::fs::set_permissions(&daemon.path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut child = stranger("verbs", &daemon.path);
    hear(&mut child, "denied what it should be").await;
    assert_eq!(daemon.log(), Vec::<String>::new(), "nothing reached the engine");
    child.wait().unwrap();
}

#[tokio::test]
async fn a_stranger_cannot_lock_the_owner_out() {
    needs_root();
    let many = long_status();
    let daemon = open_daemon(many);
    std::fs::set_permissions(&daemon.path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut child = stranger("idle", &daemon.path);
    hear(&mut child, "ready").await;
    answers_soon(&daemon).await;
    drop(child.stdin.take());
    child.wait().unwrap();
}
