//! A daemon's outside without its inside: the real socket, router and store over an engine that answers from a script.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use monchero_api::types::ReloadSummary;
use monchero_api::{Backend, Client, Socket, serve};
use monchero_core::definition::{Place, Trigger};
use monchero_core::hold::Downtime;
use monchero_core::quantity::Unit;
use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Decision, Hold, Metric, Name, Notice, NoticeKind, Policy, Range, State, Told};
use monchero_engine::view::{RehearsedScript, RehearsedTarget, Verdict};
use monchero_engine::{Clock, Command, Detail, EngineHandle, Refusal, Rehearsal, Row, Snapshot, TargetView};
use monchero_store::{Store, StoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The moment at which everything in these tests happens.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// What the engine was asked, as text, in order.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A row after `results`, a minute apart, the last one now.
pub(crate) fn row(name: &str, results: &[State], message: &str) -> Row {
    let name = Name::new(name);
    let policy = Policy::default();
    let mut status = CheckStatus::default();
    for (i, state) in results.iter().rev().enumerate().rev() {
        let at = now() - Duration::from_secs(60 * i as u64);
        status.apply(&name, *state, &policy, at);
    }
    Row {
        status,
        kind: "http",
        max_attempts: policy.max_attempts,
        result: ServiceResult {
            state: results.last().copied().unwrap_or_default(),
            message: message.into(),
            ..ServiceResult::default()
        },
        duration: Duration::from_millis(340),
        next_check: Some(now() + Duration::from_secs(30)),
        running: false,
        skipped: 0,
        holds: Vec::new(),
        labels: Arc::default(),
        parent: None,
        name,
    }
}

/// A few checks in all states.
pub(crate) fn rows() -> Vec<Row> {
    let mut shop = row("shop", &[State::Bad, State::Bad, State::Bad], "status is 503, expected 200");
    shop.result.output = "a longer\nstory".into();
    let mut time = Metric::new("time", 0.5, Unit::SECONDS);
    time.warning = Some(Range::parse("> 300ms").unwrap());
    shop.result.metrics = Box::new([time, Metric::new("size", 12_345.0, Unit::BYTES)]);
    shop.labels = Arc::new(BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    shop.holds =
        vec![Hold::Acknowledgement { author: "maria".into(), comment: "on it".into(), since: now(), until: None }];
    let mut pending = row("backup", &[], "");
    pending.next_check = None;
    vec![
        pending,
        row("root-disk", &[State::Okay], "42% used"),
        row("raid", &[State::Okay], "2 arrays"),
        row("raid/md0", &[State::Warning], "degraded"),
        row("dns", &[State::Unknown], "timed out after 10s"),
        shop,
    ]
}

/// Answers commands as an engine with these rows would, and writes down what it was asked.
pub(crate) fn script(mut rows: Vec<Row>, log: Log) -> (EngineHandle, JoinHandle<()>) {
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Arc<Row>> = rows.into_iter().map(Arc::new).collect();
    let (handle, receiver) = EngineHandle::new();
    (handle, tokio::spawn(play(rows, receiver, log)))
}

async fn play(rows: Vec<Arc<Row>>, mut commands: mpsc::Receiver<Command>, log: Log) {
    let mut downtimes: Vec<Downtime> = Vec::new();
    let mut acknowledged: Vec<Name> = Vec::new();
    let find = |name: &str| rows.iter().find(|row| row.name.as_str() == name).cloned().ok_or_else(|| no_such(name));
    while let Some(command) = commands.recv().await {
        let say = |text: String| log.lock().unwrap().push(text);
        match command {
            Command::Snapshot(answer) => send(answer, Snapshot { host: "here".into(), now: now(), rows: rows.clone() }),
            Command::Show(name, answer) if name == "panic" => drop(answer),
            Command::Show(name, answer) => send(answer, find(&name).map(|row| Box::new(detail(row)))),
            Command::Run(name, answer) => {
                say(format!("run {name}"));
                send(answer, find(name.as_str()).map(|row| row.result.clone()));
            }
            Command::Submit(name, report, answer) => {
                let found = find(name.as_str());
                say(format!(
                    "submit {name} {:?} {:?} {:?} {}",
                    report.worst(),
                    report.message,
                    report.output,
                    report.metrics.len()
                ));
                send(answer, found.map(drop));
            }
            Command::Signal(name, signal, answer) => {
                say(format!("signal {name} {signal:?}"));
                let takes = |row: Arc<Row>| {
                    if name.as_str() == "backup" {
                        Ok(row.result.clone())
                    } else {
                        Err(Refusal::TakesNoSignals(name.clone()))
                    }
                };
                send(answer, find(name.as_str()).and_then(takes));
            }
            Command::TestTarget(test, answer) => {
                say(format!("test {} {}", test.target, test.state));
                let (name, near) = (test.target.to_string(), Some("ops".to_owned()));
                send(
                    answer,
                    match test.target.as_str() {
                        "ops" => Ok(Ok("250 Ok".to_owned())),
                        "broken" => Ok(Err("connection refused".to_owned())),
                        _ => Err(Refusal::NoSuchTarget { name, near }),
                    },
                );
            }
            Command::Rehearse(name, state, answer) => {
                send(answer, find(name.as_str()).map(|row| Box::new(rehearsal(&row, state))));
            }
            Command::Acknowledge { check, author, comment, until, sticky, answer } => {
                say(format!("acknowledge {check} by {author}: {comment} until {until:?} sticky {sticky}"));
                acknowledged.push(check);
                send(answer, Ok(()));
            }
            Command::Unacknowledge(check, answer) => {
                let known = acknowledged.contains(&check);
                acknowledged.retain(|name| *name != check);
                send(
                    answer,
                    if known { Ok(()) } else { Err(Refusal::Senseless(format!("`{check}` is not acknowledged"))) },
                );
            }
            Command::AddDowntime(downtime, answer) => {
                let downtime = Downtime { id: downtimes.len() as u64 + 1, ..*downtime };
                say(format!(
                    "downtime {} {} .. {} by {}: {}",
                    downtime.covers, downtime.start, downtime.end, downtime.author, downtime.comment
                ));
                downtimes.push(downtime.clone());
                send(answer, Ok(downtime));
            }
            Command::Downtimes(answer) => send(answer, downtimes.clone()),
            Command::EndDowntime(id, answer) => {
                let found = downtimes.iter().position(|downtime| downtime.id == id).map(|at| downtimes.remove(at));
                send(answer, found.ok_or_else(|| Refusal::Senseless(format!("there is no downtime {id}"))));
            }
            other => panic!("not in the script: {other:?}"),
        }
    }
}

fn send<T>(answer: oneshot::Sender<T>, value: T) {
    // A client that went away waits for nothing.
    let _ = answer.send(value);
}

fn no_such(name: &str) -> Refusal {
    Refusal::NoSuchCheck { name: name.to_owned(), near: name.starts_with("sho").then(|| "shop".to_owned()) }
}

/// One target would be told, one knows already, and a script would not run.
fn rehearsal(row: &Row, state: State) -> Rehearsal {
    let notice = Notice {
        kind: NoticeKind::Problem,
        state,
        told: State::Okay,
        incident: None,
        since: None,
        missed: Vec::new(),
        missed_more: 0,
        hold: None,
    };
    let target = |name: &str, told: State, decision: Decision| RehearsedTarget {
        view: TargetView {
            target: Name::new(name),
            told: Told { state: told, ..Told::default() },
            decision,
            retry: None,
            last_error: None,
        },
        wants: vec![State::Bad],
    };
    let cooldown = Some(Duration::from_secs(600));
    let verdict = Verdict::Skipped("limit: it ran 3 times for this incident".to_owned());
    Rehearsal {
        check: row.name.clone(),
        state,
        hard_state: row.status.hard_state,
        targets: vec![
            target("ops", State::Okay, Decision::Tell(notice)),
            target("boss", state, Decision::Nothing(None)),
        ],
        scripts: vec![RehearsedScript {
            script: Name::new("restart"),
            verdict,
            on: vec![Trigger::Bad],
            cooldown,
            limit: Some(3),
        }],
    }
}

/// All about a row.
pub(crate) fn detail(row: Arc<Row>) -> Detail {
    Detail {
        interval: Duration::from_secs(30),
        retry_interval: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        source: Place { file: "conf.d/web.yaml".into(), line: NonZeroU32::new(12) },
        depends_on: Arc::new([Name::new("uplink")]),
        actions: Arc::new([Name::new("ops")]),
        targets: Vec::new(),
        acknowledgement: None,
        downtimes: Vec::new(),
        recent_actions: Vec::new(),
        recent_notices: Vec::new(),
        row,
    }
}

/// A daemon's outside, listening.
pub(crate) struct Daemon {
    pub(crate) path: PathBuf,
    pub(crate) log: Log,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    pub(crate) store: Store,
    _dir: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start(rows: Vec<Row>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("monchero.sock");
        Self::start_at(rows, dir, &path)
    }

    pub(crate) fn start_at(rows: Vec<Row>, dir: tempfile::TempDir, path: &Path) -> Self {
        let log = Log::default();
        let (engine, _) = script(rows, Arc::clone(&log));
        let (store, _) = Store::open(dir.path(), StoreOptions::new(Arc::new(now))).unwrap();
        let backend = backend(engine, dir.path(), &store);
        let socket = Socket::bind(path).unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(socket, backend, async move {
            let _ = stopped.await;
        }));
        Self { path: path.to_owned(), log, stop: Some(stop), serving, store, _dir: dir }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.path)
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.serving).await.unwrap();
    }

    /// Sends bytes and reads all that comes back.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        // A daemon that refuses early may close before it has read all.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    pub(crate) async fn request(&self, method: &str, target: &str, body: &str) -> (u16, serde_json::Value) {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = self.raw(request.as_bytes()).await;
        let status =
            answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}")))
    }
}

pub(crate) fn backend(engine: EngineHandle, dir: &Path, store: &Store) -> Backend {
    let broken = dir.join("broken");
    Backend {
        engine,
        store: store.reader(),
        operators: None,
        reload: Arc::new(move || {
            let broken = broken.exists();
            Box::pin(async move {
                if broken {
                    return Err(vec!["conf.d/web.yaml:4:5: check `shop`: unknown setting `intervall`".to_owned()]);
                }
                Ok(ReloadSummary { added: 1, unchanged: 5, ..ReloadSummary::default() })
            })
        }),
        clock: Clock::following_tokio(now()),
        version: "1.2.3",
    }
}
