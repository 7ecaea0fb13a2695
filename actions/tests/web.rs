//! Every target that is reached over HTTP: the exact requests of its cases, and how it takes a service that misbehaves.
//!
//! A case is a directory `cases/<kind>/<case>/`:
//!
//! | file | what it is |
//! | --- | --- |
//! | `action.yaml` | the settings; `{url}` is the address of the scripted service |
//! | `answers.txt` | what the service answers, one line each: `STATUS BODY`; `200 {}` if there is none |
//! | `../schema.json` | what the service documents about a request: method, path, content type, size in bytes, letters in all its texts, and body |
//! | `expected.txt` | every request for a fixed set of messages and what became of each; `UPDATE=1 cargo test` writes it anew |

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::web::{Asked, Play, Service};
use common::{action, event, message, now, summary};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use monchero_core::action::{Action, Delivered, DigestLine, Message};
use monchero_core::decide::Missed;
use monchero_core::{DeliveryError, IncidentId, Name, NoticeKind, State, Target};

fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

fn cases() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let kinds = folders(&root).into_iter();
    kinds
        .flat_map(|kind| {
            let name = kind.file_name().unwrap().to_str().unwrap().to_owned();
            folders(&kind).into_iter().map(move |case| (name.clone(), case))
        })
        .collect()
}

/// The settings of a case, for a service at an address.
fn settings(case: &Path, url: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(case.join("action.yaml")).unwrap().replace("{url}", url);
    serde_saphyr::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", case.display()))
}

fn target(kind: &str, settings: &serde_json::Value) -> Arc<dyn Target> {
    match action(kind, settings) {
        Ok(Action::Target(target)) => target,
        other => panic!("{kind} {settings}: {other:?}"),
    }
}

async fn deliver(target: &dyn Target, message: &Message) -> Result<Delivered, DeliveryError> {
    let spawner = common::Real::default();
    target.deliver(message, &common::context(&spawner, &TimeZone::UTC)).await
}

/// The messages that every case is asked to deliver, in this order: one incident from its start to its end, then what is rare.
fn messages() -> Vec<(&'static str, Message)> {
    let recovered = || {
        let mut event = event();
        (event.state, event.previous_state) = (State::Okay, State::Bad);
        "200 OK".clone_into(&mut event.message);
        "recovery".clone_into(&mut event.reason);
        event.output.clear();
        event.metrics.clear();
        event
    };
    let mut problem = message(NoticeKind::Problem, event());
    problem.event.labels.insert("runbook".to_owned(), "https://wiki.example/shop".to_owned());
    problem.last_action = Some("restart-shop: failed (exit status 1)".to_owned());
    let mut taken = message(NoticeKind::Acknowledged, event());
    (taken.event.previous_state, taken.event.reason) =
        (State::Bad, "acknowledged by ann: a disk is on its way".to_owned());
    let mut late = message(NoticeKind::Recovery, recovered());
    late.attempt = 3;
    late.late = Some(Duration::from_secs(840));
    let since = now() - SignedDuration::from_secs(3_600);
    let id = IncidentId::new(&Name::new("shop"), since);
    let missed =
        Missed { incident: id, state: State::Warning, since, until: Some(now() - SignedDuration::from_secs(60)) };
    late.missed = vec![missed];
    let mut hostile = message(NoticeKind::Change, event());
    "<b>&\"'*_~`[x](http://evil) <!channel> @everyone \u{1b}[31m\u{202e} ```\r\nBcc: a@b"
        .clone_into(&mut hostile.event.message);
    "<script>alert(1)</script>\n{{ host }} ${HOME} |\\".clone_into(&mut hostile.event.output);
    hostile.event.drill = true;
    let mut many = message(NoticeKind::Problem, event());
    many.digest = vec![line("shop", State::Bad, "503 Service Unavailable"), line("db", State::Warning, "slow: 740 ms")];
    vec![
        ("problem", problem),
        ("reminder", message(NoticeKind::Reminder, event())),
        ("an acknowledgement", taken),
        ("recovery", late),
        ("a hostile text in a drill", hostile),
        ("many at once", many),
        ("a summary", summary()),
    ]
}

fn line(check: &str, state: State, message: &str) -> DigestLine {
    DigestLine { check: Name::new(check), kind: NoticeKind::Problem, state, message: message.to_owned() }
}

#[tokio::test]
async fn every_case_asks_as_expected() {
    let mut wrong = String::new();
    for (kind, case) in cases() {
        let answers = std::fs::read_to_string(case.join("answers.txt")).unwrap_or_else(|_| "200 {}".to_owned());
        let plays = answers.lines().map(|line| {
            let (status, body) = line.split_once(' ').unwrap_or((line, ""));
            Play::answer(status.parse().expect("a status"), body)
        });
        let service = Service::start(plays.collect()).await;
        let target = target(&kind, &settings(&case, &service.url));
        let mut actual = String::new();
        let (mut seen, mut reference) = (0, None);
        for (what, mut message) in messages() {
            if !message.is_about_one_check() && !target.takes_digests() {
                continue;
            }
            message.reference.clone_from(&reference);
            let outcome = deliver(&*target, &message).await;
            let _ = writeln!(actual, "# {what}: {}", describe(&outcome));
            if let Ok(Delivered { reference: Some(name), .. }) = outcome {
                reference = Some(name);
            }
            let asked = service.asked();
            asked[seen..].iter().for_each(|asked| show(&mut actual, asked));
            seen = asked.len();
        }
        let actual = actual.replace(&service.url, "{url}").replace(service.url.trim_start_matches("http://"), "{host}");
        let path = case.join("expected.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &actual).unwrap();
        } else if actual != std::fs::read_to_string(&path).unwrap_or_default() {
            let _ = write!(wrong, "\n{}\n--- actual\n{actual}", case.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nif this is right: UPDATE=1 cargo test -p monchero-actions --test web");
}

/// Messages of which everything is too long for some service, besides the usual ones.
fn extreme_messages() -> Vec<(&'static str, Message)> {
    let mut long = messages().remove(0).1;
    let event = &mut long.event;
    event.message = "ä".repeat(6_000);
    event.output = "ö and more\n".repeat(10_000);
    for n in 0..60 {
        event.labels.insert(format!("label-{n}.of"), "ü".repeat(300));
    }
    long.last_action = Some("ü".repeat(5_000));
    long.event.host = "h".repeat(253);
    long.event.labels.insert("runbook".to_owned(), format!("https://wiki.example/{}", "r".repeat(600)));
    let mut bare = message(NoticeKind::Problem, event_without_words());
    bare.missed_more = 3;
    let mut many = messages().remove(0).1;
    many.digest = (0..1_000).map(|n| line(&format!("check-{n}"), State::Bad, &"ß".repeat(200))).collect();
    vec![("all is long", long), ("nothing is said", bare), ("a thousand at once", many)]
}

/// How many letters all texts of a body have.
fn letters(body: &serde_json::Value) -> usize {
    match body {
        serde_json::Value::String(text) => text.chars().count(),
        serde_json::Value::Array(items) => items.iter().map(letters).sum(),
        serde_json::Value::Object(map) => map.values().map(letters).sum(),
        _ => 0,
    }
}

/// Of an event that says nothing, and was not measured.
fn event_without_words() -> monchero_core::action::Event {
    let mut event = event();
    (event.message, event.output) = (String::new(), String::new());
    event.metrics.clear();
    event.labels.clear();
    event
}

#[tokio::test]
async fn requests_keep_to_what_services_document() {
    let mut wrong = String::new();
    for (kind, case) in cases() {
        // What a webhook of one's own takes its owner knows.
        if kind == "webhook" {
            continue;
        }
        let path = case.parent().unwrap().join("schema.json");
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.enable_format_assertions();
        let schema = compiler.compile(path.to_str().unwrap(), &mut schemas).unwrap_or_else(|why| panic!("{why:#}"));
        let target = |service: &Service| target(&kind, &settings(&case, &service.url));
        for (what, mut message) in messages().into_iter().chain(extreme_messages()) {
            let service = Service::start(vec![Play::answer(
                200,
                r#"{"ok": true, "ts": "1.2", "id": "7", "channel": {"id": "D1"}}"#,
            )])
            .await;
            let target = target(&service);
            if !message.digest.is_empty() && !target.takes_digests() {
                continue;
            }
            // A second message of the same incident may go another way than the first.
            for _ in 0..2 {
                let outcome = deliver(&*target, &message).await;
                message.reference = outcome.ok().and_then(|taken| taken.reference);
            }
            assert!(!service.asked().is_empty(), "{kind}: {what}: nothing was asked");
            for asked in service.asked() {
                let (method, path) = asked.line.split_once(' ').expect("a method and a path");
                let body: serde_json::Value = serde_json::from_slice(&asked.body).expect("JSON");
                let request = serde_json::json!({
                    "method": method,
                    "path": path.split(' ').next(),
                    "content_type": asked.header("content-type"),
                    "bytes": asked.body.len(),
                    "letters": letters(&body),
                    "body": body,
                });
                if let Err(why) = schemas.validate(&request, schema) {
                    let why = monchero_core::text::shorten(&format!("{why:#}"), 1_500);
                    let _ = writeln!(wrong, "{kind}: {what}: {}: {why}", asked.line);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn describe(outcome: &Result<Delivered, DeliveryError>) -> String {
    match outcome {
        Ok(Delivered { answer, reference: Some(name) }) => format!("delivered ({answer}), to be continued at {name}"),
        Ok(Delivered { answer, reference: None }) => format!("delivered ({answer})"),
        Err(DeliveryError::Transient { why, after }) => format!("to be tried again, {after:?}: {why}"),
        Err(DeliveryError::Permanent { why }) => format!("refused: {why}"),
    }
}

fn show(out: &mut String, asked: &Asked) {
    let _ = writeln!(out, "{}", asked.line);
    for (name, value) in &asked.headers {
        if !["accept", "user-agent", "content-length"].contains(&name.as_str()) {
            let _ = writeln!(out, "{name}: {value}");
        }
    }
    match serde_json::from_slice::<serde_json::Value>(&asked.body) {
        Ok(json) => _ = writeln!(out, "\n{json:#}\n"),
        Err(_) => _ = writeln!(out, "\n{}\n", String::from_utf8_lossy(&asked.body)),
    }
}

/// One case of each kind.
fn one_of_each() -> Vec<(String, PathBuf)> {
    let mut seen = BTreeSet::new();
    cases().into_iter().filter(|(kind, _)| seen.insert(kind.clone())).collect()
}

/// What becomes of a message if a service plays this.
async fn played(kind: &str, case: &Path, plays: Vec<Play>) -> (Result<Delivered, DeliveryError>, Vec<Asked>) {
    let service = Service::start(plays).await;
    let target = target(kind, &settings(case, &service.url));
    let outcome = deliver(&*target, &messages()[0].1).await;
    if let Err(error) = &outcome {
        let text = error.to_string();
        assert!(!text.contains("SECRET"), "{kind}: a secret is shown: {text}");
    }
    (outcome, service.asked())
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_when_the_service_says_so() {
    for (kind, case) in one_of_each() {
        for (play, wanted) in [
            (Play::answer(503, "busy"), None),
            (Play::Answer(429, "retry-after: 7\r\n", String::new()), Some(Duration::from_secs(7))),
            (Play::answer(429, ""), None),
            (Play::answer(429, r#"{"retry_after": 2.5}"#), Some(Duration::from_millis(2_500))),
            (Play::Reset, None),
            (Play::Garbage, None),
        ] {
            let (outcome, _) = played(&kind, &case, vec![play.clone()]).await;
            match outcome {
                Err(DeliveryError::Transient { after, why }) => {
                    assert_eq!(after, wanted, "{kind} {play:?}: {why}");
                    assert!(why.contains("http://127.0.0.1:"), "{kind} {play:?}: where to? {why}");
                }
                other => panic!("{kind} {play:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    for (kind, case) in one_of_each() {
        for status in [400, 401, 403, 404, 410, 302] {
            let (outcome, asked) = played(&kind, &case, vec![Play::answer(status, "no \u{1b}[31m")]).await;
            let Err(DeliveryError::Permanent { why }) = outcome else { panic!("{kind} {status}: {outcome:?}") };
            assert!(why.contains(&status.to_string()) && !why.contains('\u{1b}'), "{kind}: {why}");
            assert_eq!(asked.len(), 1, "{kind} {status}: it was asked more than once");
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_sent_once_more_and_shorter() {
    for (kind, case) in one_of_each() {
        let service = Service::start(vec![Play::answer(413, "")]).await;
        let target = target(&kind, &settings(&case, &service.url));
        let mut long = messages().remove(0).1;
        long.event.output = "ä".repeat(100_000);
        let outcome = deliver(&*target, &long).await;
        assert!(matches!(outcome, Err(DeliveryError::Permanent { .. })), "{kind}: {outcome:?}");
        let lengths: Vec<usize> = service.asked().iter().map(|asked| asked.body.len()).collect();
        assert!(lengths.len() == 2 && lengths[1] < lengths[0], "{kind}: {lengths:?}");
        assert!(service.asked().iter().all(|asked| std::str::from_utf8(&asked.body).is_ok()), "{kind}");
    }
}

/// What a kind makes of one answer.
async fn answered(kind: &str, answer: Play) -> (Result<Delivered, DeliveryError>, usize) {
    let (_, case) = cases().into_iter().find(|(known, _)| known == kind).expect("a case of the kind");
    let (outcome, asked) = played(kind, &case, vec![answer]).await;
    (outcome, asked.len())
}

/// Services that say in their own way that nobody was told.
#[tokio::test]
async fn an_answer_that_sounds_good_and_is_not_is_no_delivery() {
    let (nobody, _) = answered("apprise", Play::answer(204, "")).await;
    assert!(matches!(&nobody, Err(DeliveryError::Permanent { why }) if why.contains("told nobody")), "{nobody:?}");
    let (behind, _) = answered("apprise", Play::answer(424, "")).await;
    assert!(matches!(behind, Err(DeliveryError::Transient { .. })), "{behind:?}");
    let teams = |status: u16| {
        let said = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
        answered("teams", Play::answer(200, &format!("{said} {status} with ContextId MS-CV=x")))
    };
    for (status, passes, asked) in [(429, true, 1), (503, true, 1), (400, false, 1), (413, false, 2)] {
        let (outcome, times) = teams(status).await;
        assert_eq!(times, asked, "{status}: {outcome:?}");
        match outcome {
            Err(DeliveryError::Transient { why, .. }) => assert!(passes && why.contains(&status.to_string()), "{why}"),
            Err(DeliveryError::Permanent { why }) => assert!(!passes && why.contains(&status.to_string()), "{why}"),
            Ok(taken) => panic!("{status}: {taken:?}"),
        }
    }
    let (slack, _) = answered("slack", Play::answer(200, r#"{"ok": false, "error": "channel_not_found"}"#)).await;
    assert!(matches!(&slack, Err(DeliveryError::Permanent { why }) if why.contains("channel_not_found")), "{slack:?}");
}

#[tokio::test]
async fn an_endless_answer_costs_no_memory_and_ends() {
    for (kind, case) in one_of_each() {
        let ended = tokio::time::timeout(Duration::from_secs(20), played(&kind, &case, vec![Play::Endless])).await;
        assert!(ended.is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    // One is enough: all share the client.
    let (kind, case) = one_of_each().remove(0);
    let (outcome, _) = played(&kind, &case, vec![Play::Hang]).await;
    let Err(DeliveryError::Transient { why, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("no answer within 15s"), "{why}");
}

#[tokio::test]
async fn a_certificate_is_verified_against_the_authority_of_the_settings() {
    let certificates = common::mail::Certificates::for_names(&["localhost"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, &certificates.authority).unwrap();
    for (kind, case) in one_of_each() {
        let service =
            Service::start_tls(vec![Play::answer(200, r#"{"ok": true}"#)], certificates.server().into()).await;
        let mut settings = settings(&case, &service.url);
        let stranger = deliver(&*target(&kind, &settings), &messages()[0].1).await;
        let Err(DeliveryError::Transient { why, .. }) = stranger else { panic!("{kind}: {stranger:?}") };
        assert!(why.contains("certificate"), "{kind}: {why}");
        settings["connection"] = serde_json::json!({ "ca": path });
        let known = deliver(&*target(&kind, &settings), &messages()[0].1).await;
        assert!(!service.asked().is_empty(), "{kind}: {known:?}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_instead_of_the_service() {
    for (kind, case) in one_of_each() {
        let proxy = Service::start(vec![Play::answer(200, r#"{"ok": true}"#)]).await;
        let mut settings = settings(&case, "http://service.invalid");
        settings["connection"] =
            serde_json::json!({ "proxy": proxy.url, "proxy_user": "me", "proxy_password": "pass" });
        let outcome = deliver(&*target(&kind, &settings), &messages()[0].1).await;
        let asked = proxy.asked();
        let first = asked.first().unwrap_or_else(|| panic!("{kind}: the proxy was not asked: {outcome:?}"));
        assert!(first.line.contains("http://service.invalid/"), "{kind}: {}", first.line);
        assert_eq!(first.header("proxy-authorization"), Some("Basic bWU6cGFzcw=="), "{kind}");
    }
}

#[test]
fn every_web_target_has_a_case() {
    let with_cases: BTreeSet<String> = cases().into_iter().map(|(kind, _)| kind).collect();
    // These are not reached over HTTP.
    let others = ["command", "email", "file", "journal", "script", "syslog"];
    for kind in monchero_actions::KINDS {
        assert!(others.contains(&kind.name) || with_cases.contains(kind.name), "`{}` has no case", kind.name);
    }
}
