//! Targets on the host itself: the system log, the journal, a file, a program.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{action, event, message, refusal};
use jiff::tz::TimeZone;
use monchero_core::action::{Action, Delivered, Message};
use monchero_core::{DeliveryError, NoticeKind, State, Target};
use serde_json::{Value as Json, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

fn target(kind: &str, settings: &Json) -> Arc<dyn Target> {
    match action(kind, settings) {
        Ok(Action::Target(target)) => target,
        other => panic!("{kind} {settings}: {other:?}"),
    }
}

async fn deliver(kind: &str, settings: &Json, message: &Message) -> Result<Delivered, DeliveryError> {
    let spawner = common::Real::default();
    target(kind, settings).deliver(message, &common::context(&spawner, &TimeZone::UTC)).await
}

/// A message whose texts try to pass for lines and fields of their own.
fn hostile() -> Message {
    let mut event = event();
    "slow\nMESSAGE=forged\r\n<0>1 forged \"]".clone_into(&mut event.message);
    message(NoticeKind::Problem, event)
}

/// What comes, or a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it comes within 10 s")
}

#[tokio::test]
async fn syslog_on_this_host_gets_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let settings = json!({ "address": path, "facility": "local3" });
    deliver("syslog", &settings, &hostile()).await.unwrap();
    let mut bytes = [0; 8192];
    let length = soon(socket.recv(&mut bytes)).await.unwrap();
    let line = std::str::from_utf8(&bytes[..length]).unwrap();
    // local3 is facility 19, crit is severity 2.
    assert!(line.starts_with("<154>") && line.contains("]: [bad] shop on web1: slow MESSAGE=forged"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    std::fs::remove_file(&path).unwrap();
    let gone = deliver("syslog", &settings, &hostile()).await;
    assert!(matches!(gone, Err(DeliveryError::Transient { .. })), "{gone:?}");
}

#[tokio::test]
async fn syslog_on_another_host_gets_rfc_5424() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut settings = json!({ "address": format!("udp://{}", udp.local_addr().unwrap()) });
    deliver("syslog", &settings, &hostile()).await.unwrap();
    let mut bytes = [0; 8192];
    let length = soon(udp.recv(&mut bytes)).await.unwrap();
    let wanted_head = "<26>1 2025-11-21T04:54:12Z web1 monchero ";
    let wanted_data = "notice [monchero@32473 check=\"shop\" state=\"bad\" kind=\"problem\" delivery=\"0123456789abcdef\"] \u{feff}[bad]";
    let line = String::from_utf8(bytes[..length].to_vec()).unwrap();
    assert!(line.starts_with(wanted_head) && line.contains(wanted_data), "{line}");

    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings["address"] = format!("tcp://{}", tcp.local_addr().unwrap()).into();
    let hostile = hostile();
    let (sent, read) = tokio::join!(deliver("syslog", &settings, &hostile), async {
        let mut text = String::new();
        let (mut stream, _) = soon(tcp.accept()).await.unwrap();
        soon(stream.read_to_string(&mut text)).await.unwrap();
        text
    });
    sent.unwrap();
    let (length, line) = read.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), line.len(), "{read}");
    assert!(line.starts_with(wanted_head), "{line}");
}

#[test]
fn addresses_and_facilities_are_judged_at_load() {
    for (settings, wanted) in [
        (json!({ "address": "udp://logs" }), "HOST:PORT"),
        (json!({ "address": "logs:514" }), "udp://"),
        (json!({ "facility": "lcoal0" }), "did you mean `local0`"),
    ] {
        let why = refusal("syslog", &settings);
        assert!(why.contains(wanted), "{settings}: {why}");
    }
    assert!(refusal("command", &json!({ "run": "send-sms" })).contains("absolute"));
    assert!(refusal("command", &json!({ "run": [] })).contains("no program"));
    assert!(refusal("file", &json!({ "path": "notices" })).contains("absolute"));
    assert!(refusal("journal", &json!({ "socket": "x" })).contains("absolute"));
}

#[tokio::test]
async fn the_journal_gets_fields_that_no_text_can_forge() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    deliver("journal", &json!({ "socket": path }), &hostile()).await.unwrap();
    let mut bytes = vec![0; 256 * 1024];
    let length = soon(socket.recv(&mut bytes)).await.unwrap();
    let fields = journal_fields(&bytes[..length]);
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(field("PRIORITY"), Some("2"));
    assert_eq!(field("MONCHERO_CHECK"), Some("shop"));
    assert_eq!(field("MONCHERO_PREVIOUS_STATE"), Some("okay"));
    assert!(field("MESSAGE").unwrap().starts_with("[bad] shop on web1: slow MESSAGE=forged"));
    assert_eq!(fields.iter().filter(|(name, _)| name == "MESSAGE").count(), 1);
}

/// Takes an entry apart as the journal does.
fn journal_fields(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a name ends");
        let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = usize::try_from(u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap())).unwrap();
        let value = String::from_utf8(bytes[end + 9..end + 9 + length].to_vec()).unwrap();
        assert_eq!(bytes[end + 9 + length], b'\n');
        bytes = &bytes[end + 10 + length..];
        fields.push((name, value));
    }
    fields
}

#[tokio::test]
async fn a_file_gets_one_line_of_json_each() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notices.jsonl");
    let settings = json!({ "path": path });
    deliver("file", &settings, &hostile()).await.unwrap();
    deliver("file", &settings, &message(NoticeKind::Recovery, event())).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["kind"], &lines[0]["event"]["check"]["name"]), (&json!("problem"), &json!("shop")));
    assert_eq!(lines[1]["kind"], json!("recovery"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    let settings = json!({ "path": directory.path().join("missing/notices") });
    let outcome = deliver("file", &settings, &hostile()).await;
    let Err(DeliveryError::Transient { why, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("missing/notices") && why.contains("No such file"), "{why}");
}

/// A shell script that can be run.
fn script(directory: &Path, text: &str) -> String {
    let path = directory.join("tell");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_gets_the_event_and_names_its_ticket() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let text = format!(
        "cat > {out}.json; echo \"$1|$MONCHERO_CHECK|$MONCHERO_STATE|$MONCHERO_REFERENCE\" >> {out}; echo opened; echo 'reference: TICKET-7'",
        out = out.display()
    );
    let settings = json!({ "run": [script(directory.path(), &text), "a b"] });
    let first = deliver("command", &settings, &hostile()).await.unwrap();
    assert_eq!(first, Delivered { answer: "exit status 0: opened".to_owned(), reference: Some("TICKET-7".to_owned()) });
    let mut event = event();
    event.state = State::Okay;
    let mut recovery = message(NoticeKind::Recovery, event);
    recovery.reference = first.reference;
    deliver("command", &settings, &recovery).await.unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "a b|shop|bad|\na b|shop|okay|TICKET-7\n");
    let sent: Json = serde_json::from_slice(&std::fs::read(format!("{}.json", out.display())).unwrap()).unwrap();
    assert_eq!((&sent["kind"], &sent["reference"]), (&json!("recovery"), &json!("TICKET-7")));
}

#[tokio::test]
async fn the_exit_status_of_a_program_says_whether_to_try_again() {
    let directory = tempfile::tempdir().unwrap();
    for (status, again) in [(1, true), (75, true), (64, false), (69, false), (77, false), (78, false)] {
        let run = script(directory.path(), &format!("echo 'no line' >&2; exit {status}"));
        match deliver("command", &json!({ "run": run }), &hostile()).await {
            Err(DeliveryError::Transient { why, .. }) if again => {
                assert!(why.contains(&format!("status {status}: no line")), "{why}");
            }
            Err(DeliveryError::Permanent { why }) if !again => assert!(why.contains("no line"), "{why}"),
            other => panic!("{status}: {other:?}"),
        }
    }
    let missing = deliver("command", &json!({ "run": "/no/such/program" }), &hostile()).await;
    assert!(matches!(missing, Err(DeliveryError::Transient { .. })), "{missing:?}");
}
