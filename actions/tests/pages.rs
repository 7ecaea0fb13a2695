//! What three mails look like: `cases/email/*.html` are their pages and `*.txt` their texts, of which `cargo xtask pictures` makes the
//! pictures of the manual. `UPDATE=1 cargo test` writes them anew.

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::mail::{Rules, Server};
use common::{Real, context, email, event, message, now, wait};
use jiff::tz::TimeZone;
use monchero_core::action::{DigestLine, Message};
use monchero_core::{Name, NoticeKind, State};
use serde_json::json;

fn line(check: &str, kind: NoticeKind, state: State, message: &str) -> DigestLine {
    DigestLine { check: Name::new(check), kind, state, message: message.to_owned() }
}

fn messages() -> [(&'static str, Message); 3] {
    let mut problem = message(NoticeKind::Problem, event());
    "status is 503, expected 200".clone_into(&mut problem.event.message);
    problem.event.labels.insert("runbook".to_owned(), "https://wiki.example/runbooks/shop".to_owned());
    problem.last_action = Some("restart-shop: failed (exit status 1)".to_owned());
    let mut recovery = message(NoticeKind::Recovery, event());
    let event = &mut recovery.event;
    (event.state, event.previous_state, event.attempt) = (State::Okay, State::Bad, 1);
    "status is 200 after 34 ms".clone_into(&mut event.message);
    "recovery".clone_into(&mut event.reason);
    event.output.clear();
    event.metrics.clear();
    let mut digest = message(NoticeKind::Problem, problem.event.clone());
    "several checks changed".clone_into(&mut digest.event.reason);
    digest.digest = vec![
        line("shop", NoticeKind::Problem, State::Bad, "status is 503, expected 200"),
        line("orders-database", NoticeKind::Problem, State::Bad, "127.0.0.1:5432: connection refused"),
        line("ups", NoticeKind::Problem, State::Unknown, "no answer from ups.example.org within 10s"),
        line("root-disk", NoticeKind::Problem, State::Warning, "/ is 83% full, above 80%; 14.2 GiB are free"),
        line("mail", NoticeKind::Recovery, State::Okay, "220 mail.example.org ESMTP after 12 ms"),
    ];
    digest.event.now = now();
    [("problem", problem), ("recovery", recovery), ("digest", digest)]
}

#[test]
fn pages_and_texts_are_as_they_are_shown() {
    let mut wrong = String::new();
    for (name, message) in messages() {
        let mail = wait(async {
            let server = Server::start(Rules::good()).await;
            let target =
                email(&json!({ "to": "ops@example.org", "smtp": { "host": "127.0.0.1", "port": server.port } }));
            let spawner = Real::default();
            target.deliver(&message, &context(&spawner, &TimeZone::UTC)).await.expect("a good server takes it");
            server.mails().remove(0)
        });
        let subject = format!("Subject: {}\n\n", mail.header("Subject"));
        for (kind, actual) in [("txt", subject + &mail.body), ("html", mail.html.clone().expect("a page"))] {
            let actual = actual.replace("\r\n", "\n");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("cases/email/{name}.{kind}"));
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &actual).unwrap();
            } else if actual != std::fs::read_to_string(&path).unwrap_or_default() {
                let _ = write!(wrong, "\n{}\n--- actual\n{actual}", path.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nif this is right: UPDATE=1 cargo test -p monchero-actions --test pages");
}
