//! What the tests of this crate share: events, settings, and programs that are really run.
#![expect(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod mail;
pub mod web;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::action::{
    Action, ActionContext, Bulletin, CheckFacts, Event, IncidentFacts, Message, Script, Target,
};
use monchero_core::node::{Key, Node, SecretSource, Secrets, SettingsError, Span, Value};
use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner};
use monchero_core::quantity::Unit;
use monchero_core::summary::{Counts, Listed, Problem, Summary};
use monchero_core::{BoxFuture, IncidentId, Metric, Name, NoticeKind, Range, State, StateType};

/// Settings as the loader of the configuration gives them to a kind.
pub fn node(json: &serde_json::Value) -> Node {
    let scalar = |text: String, quoted: bool| Value::Scalar { text: text.into_boxed_str(), quoted };
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::String(text) => scalar(text.clone(), true),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| (Key { span: Span::default(), name: Box::from(key.as_str()) }, node(value)))
                .collect(),
        ),
        other => scalar(other.to_string(), false),
    };
    Node { span: Span::default(), value }
}

/// Takes secrets from the text.
pub struct TextSecrets;

impl Secrets for TextSecrets {
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String> {
        match source {
            SecretSource::Text(text, _) => Ok(text.to_owned()),
            other => Err(format!("{other:?} is not there in tests")),
        }
    }
}

/// An action of a kind.
pub fn action(kind: &str, settings: &serde_json::Value) -> Result<Action, SettingsError> {
    let kind = monchero_actions::KINDS.iter().find(|known| known.name == kind).expect("a kind of this crate");
    kind.build(&node(settings), &TextSecrets)
}

/// A script that must be good.
pub fn script(settings: &serde_json::Value) -> std::sync::Arc<dyn Script> {
    match action("script", settings) {
        Ok(Action::Script(script)) => script,
        other => panic!("{settings}: {other:?}"),
    }
}

/// A target that must be good.
pub fn email(settings: &serde_json::Value) -> std::sync::Arc<dyn Target> {
    match action("email", settings) {
        Ok(Action::Target(target)) => target,
        other => panic!("{settings}: {other:?}"),
    }
}

/// What is wrong with settings that must be refused.
pub fn refusal(kind: &str, settings: &serde_json::Value) -> String {
    match action(kind, settings) {
        Ok(_) => panic!("{settings} was taken"),
        Err(error) => format!("{error} {}", error.help.clone().unwrap_or_default()),
    }
}

/// 2025-11-21 04:54:12 UTC.
pub fn now() -> Timestamp {
    "2025-11-21T04:54:12Z".parse().expect("a time")
}

/// A shop that broke twelve minutes ago.
pub fn event() -> Event {
    let name = Name::new("shop");
    let since = now() - jiff::SignedDuration::from_secs(725);
    let mut slow = Metric::new("time", 740.0, Unit::new("ms"));
    slow.warning = Some(Range::parse("> 500ms").expect("a range"));
    let labels =
        BTreeMap::from([("team".to_owned(), "web".to_owned()), ("unit".to_owned(), "nginx.service".to_owned())]);
    Event {
        host: "web1".to_owned(),
        check: CheckFacts { name: name.clone(), kind: "http".to_owned(), labels: labels.clone() },
        labels,
        state: State::Bad,
        previous_state: State::Okay,
        state_type: StateType::Hard,
        attempt: 3,
        max_attempts: 3,
        message: "503 Service Unavailable".to_owned(),
        output: "upstream: timed out\ntried 3 times".to_owned(),
        metrics: vec![slow, Metric::new("size", 12.0, Unit::BYTES)],
        incident: Some(IncidentFacts::new(IncidentId::new(&name, since), since, now())),
        reason: "hard problem".to_owned(),
        now: now(),
        drill: false,
    }
}

/// A summary of a day in which the shop broke, as a message for a target.
pub fn summary() -> Message {
    let since = now() - jiff::SignedDuration::from_secs(725);
    let problem = Problem {
        check: Name::new("shop"),
        state: State::Bad,
        since: Some(since),
        message: "503 <b>Service</b> *Unavailable*\u{1b}[2J".to_owned(),
        held: Some("downtime".to_owned()),
    };
    let summary = Summary {
        host: "web1".to_owned(),
        since: now() - jiff::SignedDuration::from_hours(24),
        until: now(),
        counts: Counts { okay: 40, bad: 1, ..Counts::default() },
        problems: Listed { lines: vec![problem], more: 2 },
        sent: 5,
        ..Summary::default()
    };
    let mut event = event();
    event.check =
        CheckFacts { name: Name::new("self/summary/daily"), kind: "self".to_owned(), labels: BTreeMap::new() };
    (event.state, event.previous_state, event.incident) = (State::Warning, State::Warning, None);
    (event.message, event.output) = (String::new(), String::new());
    event.labels.clear();
    event.metrics.clear();
    "summary".clone_into(&mut event.reason);
    Message { bulletin: Some(Box::new(Bulletin::Summary(Box::new(summary)))), ..message(NoticeKind::Summary, event) }
}

/// A message about an event.
pub fn message(kind: NoticeKind, event: Event) -> Message {
    Message {
        kind,
        delivery_id: "0123456789abcdef".to_owned(),
        thread: "thread-1".to_owned(),
        reference: None,
        event,
        missed: Vec::new(),
        last_action: None,
        digest: Vec::new(),
        missed_more: 0,
        bulletin: None,
        attempt: 1,
        late: None,
    }
}

/// Runs programs with what std has, and remembers what they printed before it was cleaned.
#[derive(Default)]
pub struct Real {
    /// The last program that was run, and how it ended.
    pub last: Mutex<Option<(Program, RunEnd)>>,
}

impl Real {
    /// What the last program printed, byte for byte.
    pub fn stdout(&self) -> Vec<u8> {
        self.last.lock().expect("no panic").as_ref().map(|(_, end)| end.stdout.clone()).unwrap_or_default()
    }

    /// The last program.
    pub fn program(&self) -> Program {
        self.last.lock().expect("no panic").as_ref().map(|(program, _)| program.clone()).expect("a program was run")
    }
}

impl Spawner for Real {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        let end = run(&program);
        if let Ok(end) = &end {
            *self.last.lock().expect("no panic") = Some((program, end.clone()));
        }
        Box::pin(async move { end })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "none"
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests must see what a real shell does, and monchero-exec is not below this crate"
)]
fn run(program: &Program) -> Result<RunEnd, RunError> {
    let begun = Instant::now();
    let path = &program.argv[0];
    let failed = |why: std::io::Error| RunError::Start { program: path.display().to_string(), why: why.to_string() };
    let mut child = Command::new(path)
        .args(&program.argv[1..])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(program.directory.as_deref().unwrap_or_else(|| "/".as_ref()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = program.stdin.clone().unwrap_or_default();
    // A script that does not read its input closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut errors = child.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).map(|_| text)
    });
    let mut stdout = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut stdout).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    writer.join().expect("the writer");
    let stderr = reader.join().expect("the reader").map_err(failed)?;
    let exit = status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Status);
    Ok(RunEnd { exit, stdout, stderr, truncated: false, leftovers: 0, duration: begun.elapsed() })
}

/// Answers without running anything.
pub struct Scripted {
    /// How every program ends.
    pub end: RunEnd,
}

impl Spawner for Scripted {
    fn run(&self, _: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        let end = self.end.clone();
        Box::pin(async move { Ok(end) })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "none"
    }
}

/// The end of a program.
pub fn ended(exit: Exit, stdout: &str, stderr: &str) -> RunEnd {
    RunEnd {
        exit,
        stdout: stdout.into(),
        stderr: stderr.into(),
        truncated: false,
        leftovers: 0,
        duration: Duration::ZERO,
    }
}

/// What actions may use, in tests.
pub fn context<'a>(spawner: &'a dyn Spawner, zone: &'a TimeZone) -> ActionContext<'a> {
    ActionContext { host: "web1", zone, spawner }
}

/// Runs a future to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A variable of a program's environment.
pub fn variable(program: &Program, name: &str) -> Option<OsString> {
    program.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}
