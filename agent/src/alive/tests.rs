//! Signs of life against a server that does as told, with an engine that says what it is told to.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Name};
use monchero_engine::{Command, Row};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::config::{Chosen, Reason};
use crate::{config, daemon};

/// How long a test waits for what takes milliseconds.
const LONG: Duration = Duration::from_secs(30);

/// How much may wait until a test looks.
const WAITING: usize = 64;

/// What the server answers from now on.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Status(u16),
    Nothing,
}

/// A server that keeps the requests.
async fn server(answer: Arc<Mutex<Answer>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/SECRET?token=SECRET", listener.local_addr().unwrap());
    let (send, requests) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (send, answer) = (send.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                // The body is the last thing in it.
                while !String::from_utf8_lossy(&bytes).contains(" okay") {
                    if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                        return;
                    }
                }
                send.send(String::from_utf8(bytes).unwrap()).await.unwrap();
                let answer = *answer.lock().unwrap();
                match answer {
                    Answer::Status(status) => {
                        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                    Answer::Nothing => std::future::pending().await,
                }
            });
        }
    });
    (url, requests)
}

fn row(name: &str, state: State) -> Arc<Row> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    Arc::new(Row {
        name: Name::new(name),
        kind: "self",
        status: CheckStatus { state, last_check: Some(now), ..CheckStatus::default() },
        max_attempts: 1,
        result: ServiceResult::default(),
        duration: Duration::ZERO,
        next_check: None,
        running: false,
        skipped: 0,
        holds: Vec::new(),
        labels: Arc::default(),
        parent: None,
    })
}

/// An engine of which only `self/store` ever changes; what it is told about signs of life comes out.
fn engine(store: &Arc<Mutex<State>>) -> (EngineHandle, mpsc::Receiver<Report>) {
    let (handle, mut commands) = EngineHandle::new();
    let (send, reports) = mpsc::channel(WAITING);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Snapshot(answer) => {
                    let state = *store.lock().unwrap();
                    let rows = vec![row("self/store", state), row(ALIVE, State::Bad), row("web", State::Bad)];
                    let snapshot = Snapshot { host: Arc::from("h"), now: jiff::Timestamp::UNIX_EPOCH, rows };
                    drop(answer.send(snapshot));
                }
                Command::Alive(report) => drop(send.send(*report).await),
                other => panic!("{other:?}"),
            }
        }
    });
    (handle, reports)
}

fn settings(url: &str) -> Alive {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monchero.yaml");
    let text = format!("alive: {{ url: \"{url}\", interval: 1s, timeout: 300ms, headers: {{ X-From: me }} }}\n");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let chosen = Chosen { path: directory.path().to_owned(), reason: Reason::User };
    let loaded = config::load(&daemon::options(&chosen, Vec::new()));
    assert!(loaded.problems.is_empty() && loaded.configuration.alive);
    let alive = loaded.alive.unwrap();
    assert!(!format!("{alive:?}").contains("SECRET"));
    alive
}

/// The next report in this state with these words; others before it are let pass.
async fn report(reports: &mut mpsc::Receiver<Report>, state: State, words: &str) {
    let next = async {
        loop {
            let report = reports.recv().await.unwrap();
            let said = report.message.clone().unwrap();
            assert!(!said.contains("SECRET"), "{said}");
            if report.worst() == state && said.contains(words) {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, next).await.unwrap_or_else(|_| panic!("no report that is {state}: {words}"));
}

#[tokio::test]
async fn it_beats_while_all_is_well_stops_while_it_is_not_and_goes_on() {
    let answer = Arc::new(Mutex::new(Answer::Status(200)));
    let (url, mut requests) = server(Arc::clone(&answer)).await;
    let store = Arc::new(Mutex::new(State::Warning));
    let (handle, mut reports) = engine(&store);
    let (_settings, current) = watch::channel(Some(Arc::new(settings(&url))));
    tokio::spawn(send(handle, current));
    report(&mut reports, State::Okay, "answered 200 OK").await;
    let request = requests.recv().await.unwrap().to_lowercase();
    assert!(request.starts_with("post /secret?token=secret http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nx-from: me\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nh: 2 bad, 0 unknown, 1 warning, 0 okay"), "{request}");
    report(&mut reports, State::Okay, "answered 200 OK").await;
    // Not well: nothing goes out, and it is said why.
    *store.lock().unwrap() = State::Bad;
    report(&mut reports, State::Warning, "no sign of life is sent: `self/store` is bad").await;
    while requests.try_recv().is_ok() {}
    report(&mut reports, State::Warning, "`self/store` is bad").await;
    assert!(requests.try_recv().is_err());
    *store.lock().unwrap() = State::Okay;
    report(&mut reports, State::Okay, "answered 200 OK").await;
    // What is not taken is a warning at first.
    *answer.lock().unwrap() = Answer::Status(503);
    report(&mut reports, State::Warning, "answered 503").await;
    report(&mut reports, State::Bad, "answered 503").await;
    // A server that hangs costs its own request only.
    *answer.lock().unwrap() = Answer::Nothing;
    report(&mut reports, State::Bad, "gave no answer within 300ms").await;
    *answer.lock().unwrap() = Answer::Status(204);
    report(&mut reports, State::Okay, "answered 204").await;
}

#[tokio::test]
async fn settings_take_force_at_once_and_none_ends_it() {
    let answer = Arc::new(Mutex::new(Answer::Status(200)));
    let ((first, mut before), (second, mut after)) = (server(Arc::clone(&answer)).await, server(answer).await);
    let (handle, _reports) = engine(&Arc::default());
    let (change, current) = watch::channel(None);
    let task = tokio::spawn(send(handle, current));
    change.send_replace(Some(Arc::new(settings(&first))));
    assert!(tokio::time::timeout(LONG, before.recv()).await.unwrap().is_some());
    change.send_replace(Some(Arc::new(settings(&second))));
    assert!(tokio::time::timeout(LONG, after.recv()).await.unwrap().is_some());
    drop(change);
    tokio::time::timeout(LONG, task).await.expect("nobody needs it any more").unwrap();
}
