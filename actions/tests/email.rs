//! The kind `email`: what mails say, and what becomes of them with good, bad and hostile servers.

mod common;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use common::mail::{Answer, Certificates, Mail, Rules, Server, decode_base64};
use common::{Real, Scripted, context, email, ended, event, message, refusal, summary, wait};
use jiff::tz::TimeZone;
use monchero_core::action::{Delivered, DeliveryError, DigestLine, Event, Message};
use monchero_core::decide::Missed;
use monchero_core::program::Exit;
use monchero_core::{IncidentId, Name, NoticeKind, State};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Delivers over a server that follows rules.
async fn over(rules: Rules, mut settings: Value, message: &Message) -> (Result<Delivered, DeliveryError>, Server) {
    let server = Server::start(rules).await;
    settings["smtp"]["port"] = json!(server.port);
    if settings["smtp"].get("host").is_none() {
        settings["smtp"]["host"] = json!("127.0.0.1");
    }
    let spawner = Real::default();
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    let answer = email(&settings).deliver(message, &context(&spawner, &zone)).await;
    (answer, server)
}

/// The mail that a good server gets.
fn mail_of(settings: &Value, message: &Message) -> Mail {
    let (answer, mut mails) = wait(async {
        let (answer, server) = over(Rules::good(), settings.clone(), message).await;
        (answer, server.mails())
    });
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(mails.len(), 1);
    mails.remove(0)
}

fn to_ops() -> Value {
    json!({ "to": ["ops@example.org"], "smtp": {} })
}

#[test]
fn a_problem_is_told_with_all_that_is_known() {
    let mail = mail_of(&to_ops(), &message(NoticeKind::Problem, event()));
    let body = "\
shop on web1 is bad.
503 Service Unavailable

Host:      web1
Check:     shop (http)
State:     bad, was okay
Since:     2025-11-21 05:42:07 +01:00 (12m 5s)
Incident:  INCIDENT
Time:      2025-11-21 05:54:12 +01:00
Reason:    hard problem
Labels:    team=web, unit=nginx.service

Measured:
  time is 740 ms, above 500 ms (warning)

Output:
  upstream: timed out
  tried 3 times

Acknowledge it: monchero ack shop
Look at it:     monchero show shop

-- 
monchero on web1, delivery 0123456789abcdef
"
    .replace("INCIDENT", &event().incident.unwrap().id);
    assert_eq!(mail.body, body);
    for (name, value) in [
        ("From", "monchero <monchero@web1>"),
        ("To", "ops@example.org"),
        ("Subject", "[bad] shop on web1: 503 Service Unavailable"),
        ("Date", "Fri, 21 Nov 2025 04:54:12 +0000"),
        ("Message-ID", "<0123456789abcdef@web1>"),
        ("References", "<thread-1.thread@web1>"),
        ("In-Reply-To", "<thread-1.thread@web1>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Monchero-Delivery", "0123456789abcdef"),
    ] {
        assert_eq!(mail.header(name), value, "{name}");
    }
    assert!(mail.header("Content-Type").starts_with("multipart/alternative;"));
}

#[test]
fn every_kind_of_message_has_its_words() {
    let said = |kind: NoticeKind, change: fn(&mut Message)| {
        let mut message = message(kind, event());
        change(&mut message);
        let mail = mail_of(&to_ops(), &message);
        (mail.header("Subject").to_owned(), mail.body)
    };
    let (subject, body) = said(NoticeKind::Recovery, |m| {
        m.event.previous_state = State::Bad;
        m.event.state = State::Okay;
        m.event.message = "200 OK".to_owned();
    });
    assert_eq!(subject, "[okay] shop on web1: recovered after 12m 5s");
    assert!(
        body.starts_with("shop on web1 recovered after 12m 5s.\n200 OK\n")
            && !body.contains("ack shop")
            && body.contains("Began:"),
        "{body}"
    );

    let (subject, body) = said(NoticeKind::Reminder, |m| m.event.previous_state = State::Bad);
    assert_eq!(subject, "[bad] shop on web1: (since 12m 5s) 503 Service Unavailable");
    assert!(body.starts_with("shop on web1 is still bad.\n") && body.contains("State:     bad\n"), "{body}");

    let (subject, body) = said(NoticeKind::HoldEnds, |m| {
        m.event.previous_state = State::Bad;
        "what holds messages ends in 15m: downtime by ann: new disks".clone_into(&mut m.event.reason);
    });
    assert_eq!(
        subject,
        "[bad] shop on web1: (what holds messages ends in 15m: downtime by ann: new disks) 503 Service Unavailable"
    );
    assert!(
        body.starts_with(
            "shop on web1 is still bad, and what holds messages ends in 15m: downtime by ann: new disks.\n"
        ),
        "{body}"
    );

    let (subject, _) = said(NoticeKind::Change, |m| m.event.previous_state = State::Warning);
    assert_eq!(subject, "[bad] shop on web1: (was warning) 503 Service Unavailable");

    let (subject, body) = said(NoticeKind::Missed, |m| {
        m.event.state = State::Okay;
        let since = common::now() - jiff::SignedDuration::from_secs(3_900);
        let id = IncidentId::new(&Name::new("shop"), since);
        m.missed = vec![
            Missed {
                incident: id,
                state: State::Bad,
                since,
                until: Some(since + jiff::SignedDuration::from_secs(300)),
            },
            Missed { incident: id, state: State::Unknown, since, until: None },
        ];
    });
    assert_eq!(subject, "[okay] shop on web1: had a problem that could not be told in time");
    assert!(body.contains("\nNot told in time:\n  bad from 2025-11-21 04:49:12 +01:00 to 2025-11-21 04:54:12 +01:00 (5m)\n  unknown since 2025-11-21 04:49:12 +01:00\n"), "{body}");

    let (subject, body) = said(NoticeKind::FlappingStarted, |_| {});
    assert_eq!(subject, "[bad] shop on web1: flaps: 503 Service Unavailable");
    assert!(body.contains("changes all the time"), "{body}");
    let (subject, body) = said(NoticeKind::FlappingEnded, |_| {});
    assert_eq!(subject, "[bad] shop on web1: no longer flaps: 503 Service Unavailable");
    assert!(body.contains("has settled"), "{body}");

    let (subject, body) = said(NoticeKind::Problem, |m| {
        m.event.drill = true;
        m.late = Some(Duration::from_secs(900));
        m.attempt = 4;
        m.event.check.name = Name::new("grafana[a:3000]");
    });
    assert!(subject.starts_with("[drill] [bad] grafana[a:3000] on web1: "), "{subject}");
    assert!(body.starts_with("This is a drill: nothing is wrong.\n"), "{body}");
    assert!(
        body.contains("This message is 15m late")
            && body.contains(", attempt 4\n")
            && body.contains("monchero ack 'grafana[a:3000]'"),
        "{body}"
    );
}

#[test]
fn templates_word_a_mail_and_never_lose_one() {
    let settings = json!({
        "to": "Operators <ops@example.org>", "from": "monitor@example.org", "smtp": {},
        "subject": "{{ check.name }}: {{ state | upper }}",
        "body": "{% for m in metrics %}{{ m.label }}={{ m.value }}{{ m.unit }}\n{% endfor %}{{ labels.unit }}: {{ message }}",
    });
    let mail = mail_of(&settings, &message(NoticeKind::Problem, event()));
    assert_eq!(mail.header("Subject"), "shop: BAD");
    assert_eq!(mail.header("From"), "monitor@example.org");
    assert_eq!(mail.body, "time=740ms\nsize=12B\nnginx.service: 503 Service Unavailable\n");
    let mut bare = event();
    bare.labels.clear();
    let mail = mail_of(&settings, &message(NoticeKind::Problem, bare));
    assert!(
        mail.body.starts_with("shop on web1 is bad.\n")
            && mail.body.contains("The template of the text was not used: the check `shop` has no label `unit`"),
        "{}",
        mail.body
    );
}

/// Everything from outside, in every field.
fn hostile(text: &str) -> Message {
    let mut event: Event = event();
    text.clone_into(&mut event.message);
    text.clone_into(&mut event.output);
    text.clone_into(&mut event.host);
    text.clone_into(&mut event.reason);
    event.check.name = Name::new(text);
    text.clone_into(&mut event.check.kind);
    event.labels.insert(text.to_owned(), text.to_owned());
    event.metrics = vec![monchero_core::Metric { label: text.into(), ..event.metrics[0].clone() }];
    text.clone_into(&mut event.incident.as_mut().unwrap().id);
    Message { delivery_id: text.to_owned(), thread: text.to_owned(), ..message(NoticeKind::Problem, event) }
}

const HEADERS: [&str; 11] = [
    "Auto-Submitted",
    "Content-Type",
    "Date",
    "From",
    "In-Reply-To",
    "MIME-Version",
    "Message-ID",
    "References",
    "Subject",
    "To",
    "X-Monchero-Delivery",
];

fn assert_sound(mail: &Mail, text: &str) {
    let known = HEADERS.into_iter().chain(mail.html.is_none().then_some("Content-Transfer-Encoding"));
    let known: BTreeSet<&str> = known.collect();
    assert_eq!(mail.names(), Vec::from_iter(known), "{text:?} {}", mail.raw);
    assert_eq!(mail.headers.len(), mail.names().len());
    assert_eq!(mail.header("To"), "ops@example.org");
    assert!(mail.raw.is_ascii() && mail.raw.lines().all(|line| line.len() <= 998), "{text:?}");
    assert!(!mail.body.chars().any(|c| c.is_control() && c != '\n'), "{text:?} {:?}", mail.body);
    if let Some(html) = &mail.html {
        assert!(!html.chars().any(|c| c.is_control() && c != '\n'), "{text:?} {html:?}");
        assert!(tags(html).is_subset(&tags(harmless_page())), "{text:?} {html}");
    }
}

/// What a page is made of: its tags with their attributes. What came from outside adds none.
fn tags(page: &str) -> BTreeSet<&str> {
    page.split('<').skip(1).map(|rest| rest.split_once('>').expect("the end of the tag").0).collect()
}

/// The page about an event in which every fact is a plain word.
fn harmless_page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| mail_of(&to_ops(), &hostile("word")).html.expect("a page"))
}

#[test]
fn the_page_tells_what_the_text_tells() {
    let mut event = event();
    event.labels.insert("runbook".to_owned(), "https://wiki.example/shop?a=1&b=2".to_owned());
    event.output = "upstream: <b>timed out</b>\n  tried & failed".to_owned();
    let mut message = message(NoticeKind::Problem, event);
    let page = mail_of(&to_ops(), &message).html.expect("a page");
    for part in [
        "background-color:#c62828;color:#fff;",
        ">bad</div>",
        "<b>shop on web1 is bad.</b>",
        ">503 Service Unavailable</p>",
        ">State</th>",
        ">bad, was okay</td>",
        "<li>time is 740 ms, above 500 ms (warning)</li>",
        "upstream: &lt;b&gt;timed out&lt;/b&gt;\n  tried &amp; failed</pre>",
        "<a href=\"https://wiki.example/shop?a=1&amp;b=2\">https://wiki.example/shop?a=1&amp;b=2</a>",
        ">monchero ack shop</code>",
        "monchero on web1, delivery 0123456789abcdef</p>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for fetched in ["<img", "<link", "<script", "<style", "src=", "url(", "@import"] {
        assert!(!page.contains(fetched), "{fetched}: {page}");
    }
    message.event.drill = true;
    message.late = Some(Duration::from_secs(900));
    message.digest = vec![digest_line("db", State::Bad, "<gone>"), digest_line("disk", State::Warning, "91 %")];
    let mail = mail_of(&to_ops(), &message);
    let page = mail.html.expect("a page");
    for part in [
        "2 checks on web1 changed: 1 bad, 1 warning.",
        "&lt;gone&gt;",
        "<b>disk</b><br>91 %",
        "color:#000;",
        "a drill",
        "15m late",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<pre") && page.contains(">monchero status</code>"), "{page}");
}

#[test]
fn a_summary_is_lists_in_text_and_page() {
    let mail = mail_of(&to_ops(), &summary());
    assert_eq!(mail.header("Subject"), "[summary] 1 bad, 40 okay on web1");
    let text = mail.body.replace("\r\n", "\n");
    for part in [
        "How it is on web1: 1 bad, 40 okay.\n\nWrong now:\n- bad: shop for 12m 5s (downtime): 503 <b>Service</b>",
        "\n- and 2 more\n",
        "Messages:  5 delivered\n",
        "Look at it:     monchero summary\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let page = mail.html.expect("a page");
    for part in [
        "<p>Wrong now:</p>\n<ul>\n<li>bad: shop",
        "503 &lt;b&gt;Service",
        "<li>and 2 more</li>",
        ">monchero summary</code>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!text.contains('\u{1b}') && !page.contains('\u{1b}') && !text.contains("Acknowledge"));
}

fn digest_line(check: &str, state: State, message: &str) -> DigestLine {
    DigestLine { check: Name::new(check), kind: NoticeKind::Problem, state, message: message.to_owned() }
}

#[test]
fn a_mail_is_text_alone_if_it_is_to_be_or_must_be() {
    let plain = |settings: Value, message: &Message| {
        let mail = mail_of(&settings, message);
        assert_eq!(mail.header("Content-Type"), "text/plain; charset=utf-8");
        assert_eq!(mail.header("Content-Transfer-Encoding"), "quoted-printable");
        assert_eq!(mail.html, None);
        mail
    };
    let mut message = message(NoticeKind::Problem, event());
    let html = mail_of(&to_ops(), &message);
    let without = json!({ "to": "ops@example.org", "smtp": {}, "html": false });
    assert_eq!(plain(without, &message).body, html.body);
    plain(json!({ "to": "ops@example.org", "smtp": {}, "body": "{{ message }}" }), &message);
    // A page cannot be cut, and a text can.
    message.digest = (0..2_000).map(|n| digest_line(&format!("check{n}"), State::Bad, &"m".repeat(100))).collect();
    let mail = plain(to_ops(), &message);
    assert!(mail.body.contains("bytes cut)") && mail.body.len() <= 128 * 1024 + 100, "{}", mail.body.len());
}

#[test]
fn what_comes_from_outside_adds_no_header_and_no_recipient() {
    for text in [
        "x\r\nBcc: a@b\r\n\r\nhi",
        "x\nBcc: a@b\n\nhi",
        "x\rBcc: a@b",
        "x\u{85}Bcc: a@b\u{2028}Bcc: a@b",
        "=?utf-8?b?QmNjOiBhQGI=?=",
        "\0\u{1b}[2J\u{202e}",
        ".\r\n.\r\nQUIT\r\n",
        ".\n..\n.x",
        "\"<a@b>, ()[]\\",
        "\u{fc}\u{20ac}\u{1f600} and some words that are long enough to be folded somewhere in the middle of the subject of this mail",
        "From someone",
        "<script>alert(1)</script> *bold* [x](http://y)",
    ] {
        for settings in [
            to_ops(),
            json!({ "to": "ops@example.org", "smtp": {}, "subject": "{{ message }}", "body": "{{ output }}" }),
        ] {
            let (answer, server) = wait(async {
                let (answer, server) = over(Rules::good(), settings, &hostile(text)).await;
                (answer, (server.lines(), server.mails()))
            });
            assert!(answer.is_ok(), "{text:?} {answer:?}");
            let (lines, mails) = server;
            assert_eq!(
                lines.iter().filter(|line| line.starts_with("RCPT")).collect::<Vec<_>>(),
                ["RCPT TO:<ops@example.org>"]
            );
            assert_eq!(mails.len(), 1);
            assert_sound(&mails[0], text);
        }
    }
    // What can be shown is shown as it is.
    let shown = mail_of(&to_ops(), &hostile("<b>*\u{fc}*</b> ${x} %s"));
    assert!(
        shown.body.contains("\n  <b>*\u{fc}*</b> ${x} %s\n")
            && shown.header("Subject").ends_with("<b>*\u{fc}*</b> ${x} %s"),
        "{shown:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_text_makes_a_sound_mail(text in proptest::collection::vec("(\r\n|\n|\r|\\.|:|Bcc: a@b|=\\?utf-8\\?|[ -~]|\u{fc}|\u{1f600}|\u{0}|\u{85}|\t)", 0..60)) {
        let text = text.concat();
        assert_sound(&mail_of(&to_ops(), &hostile(&text)), &text);
    }
}

#[test]
fn long_output_is_cut_and_the_rest_is_whole() {
    let mut long = event();
    long.output = "\u{fc}\u{20ac}".repeat(13_000);
    long.message = "m".repeat(4_096);
    let mail = mail_of(&to_ops(), &message(NoticeKind::Problem, long));
    assert!(mail.body.contains("bytes cut)") && mail.body.len() < 32 * 1024, "{}", mail.body.len());
    assert!(mail.header("Subject").starts_with("[bad] shop on web1: mmm") && mail.header("Subject").len() <= 250);
    assert!(mail.body.contains("Acknowledge it: monchero ack shop"));
    let page = mail.html.as_deref().unwrap();
    assert!(page.contains("bytes cut)") && page.len() < 40 * 1024, "{}", page.len());
    let (_, text) = mail.raw.split_once("\r\n\r\n").unwrap();
    assert!(text.lines().all(|line| line.len() <= 76), "no line is longer than mail programs take");
}

enum End {
    Later,
    Never,
}

#[test]
fn failures_say_who_refused_what_and_whether_to_try_again() {
    let at = |stage: &'static str, answer: fn() -> Answer| {
        Rules::plain(move |line: &str| if line.starts_with(stage) { answer() } else { Answer::Good })
    };
    let cases: Vec<(Rules, End, &str)> = vec![
        (at("CONNECT", || Answer::Say("421 too busy")), End::Later, "cannot connect: 421 too busy"),
        (at("CONNECT", || Answer::Say("554 go away")), End::Never, "cannot connect: 554 go away"),
        (at("CONNECT", || Answer::Say("what")), End::Later, "cannot connect"),
        (at("CONNECT", || Answer::Close), End::Later, "closed the connection"),
        (at("CONNECT", || Answer::Hang), End::Later, "no answer within 400ms (to connect)"),
        (at("EHLO", || Answer::Close), End::Later, "closed the connection"),
        (at("EHLO", || Answer::Hang), End::Later, "no answer within"),
        (
            at("MAIL", || Answer::Say("451 try later")),
            End::Later,
            "the sender `monchero@web1` was refused: 451 try later",
        ),
        (at("MAIL", || Answer::Say("550 no")), End::Never, "the sender `monchero@web1` was refused: 550 no"),
        (at("MAIL", || Answer::Say("530 5.7.0 Authentication required")), End::Never, "Authentication required"),
        (at("MAIL", || Answer::Hang), End::Later, "to name the sender"),
        (at("RCPT", || Answer::Say("450 greylisted")), End::Later, "not yet for `ops@example.org`: 450 greylisted"),
        (at("RCPT", || Answer::Say("550-no\r\n550 such user")), End::Never, "refused for `ops@example.org`: 550"),
        (at("RCPT", || Answer::Close), End::Later, "closed the connection"),
        (at("DATA", || Answer::Say("452 disk full")), End::Later, "the mail was refused: 452 disk full"),
        (at("DATA", || Answer::Say("554 no")), End::Never, "the mail was refused: 554 no"),
        (at(".", || Answer::Say("451 later")), End::Later, "the mail was refused: 451 later"),
        (at(".", || Answer::Say("552 too big")), End::Never, "the mail was refused: 552 too big"),
        (at(".", || Answer::Close), End::Later, "closed the connection"),
        (at(".", || Answer::Hang), End::Later, "to send the mail"),
        (at("RCPT", || Answer::Say("550 \u{1b}[2J\u{7}evil")), End::Never, "\\e[2J"),
    ];
    wait(async {
        for (rules, end, words) in cases {
            let settings = json!({ "to": "ops@example.org", "smtp": {}, "timeout": "400ms" });
            let (answer, server) = over(rules, settings, &message(NoticeKind::Problem, event())).await;
            let error = answer.expect_err(words);
            let fits = matches!(
                (&error, end),
                (DeliveryError::Transient { .. }, End::Later) | (DeliveryError::Permanent { .. }, End::Never)
            );
            assert!(fits && error.to_string().contains(words), "{words}: {error:?}");
            assert!(error.to_string().contains(&format!("127.0.0.1:{}", server.port)), "{error}");
            assert!(server.mails().is_empty(), "{words}");
        }
    });
}

#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let settings = json!({ "to": "ops@example.org", "smtp": { "host": "127.0.0.1", "port": port } });
    let real = Real::default();
    let error = wait(email(&settings).deliver(&message(NoticeKind::Problem, event()), &context(&real, &TimeZone::UTC)))
        .unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Transient { why, .. } if why.contains("cannot connect") && why.to_lowercase().contains("refused")),
        "{error:?}"
    );
    let nowhere = json!({ "to": "ops@example.org", "smtp": { "host": "no-such-host.invalid", "tls": "none" } });
    let error = wait(email(&nowhere).deliver(&message(NoticeKind::Problem, event()), &context(&real, &TimeZone::UTC)))
        .unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Transient { why, .. } if why.contains("`no-such-host.invalid:25`")),
        "{error:?}"
    );
}

#[test]
fn one_bad_recipient_does_not_keep_the_mail_from_the_others() {
    let refuses =
        Rules::plain(|line| if line.contains("gone@") { Answer::Say("550 no such user") } else { Answer::Good });
    let settings = json!({ "to": ["ops@example.org", "gone@example.org"], "smtp": {} });
    wait(async {
        let (answer, server) = over(refuses, settings, &message(NoticeKind::Problem, event())).await;
        let words = answer.unwrap();
        assert!(
            words.answer.contains("queued as 4711")
                && words.answer.contains("refused for `gone@example.org`: 550 no such user"),
            "{words:?}"
        );
        assert_eq!(server.mails().len(), 1);
    });
}

#[test]
fn who_has_the_mail_does_not_get_it_again_when_others_are_tried_again() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let rules = Rules::plain(move |line| {
        let greylisted =
            line.starts_with("RCPT TO:<slow@") && tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if greylisted { Answer::Say("450 greylisted") } else { Answer::Good }
    });
    wait(async {
        let server = Server::start(rules).await;
        let target = email(
            &json!({ "to": ["ops@example.org", "slow@example.org"], "smtp": { "host": "127.0.0.1", "port": server.port } }),
        );
        let (real, message) = (Real::default(), message(NoticeKind::Problem, event()));
        let zone = TimeZone::UTC;
        let context = context(&real, &zone);
        let first = target.deliver(&message, &context).await.unwrap_err();
        assert!(
            matches!(&first, DeliveryError::Transient { why, .. } if why.contains("not yet for `slow@example.org`")),
            "{first:?}"
        );
        target.deliver(&message, &context).await.unwrap();
        let recipients: Vec<String> = server.lines().into_iter().filter(|line| line.starts_with("RCPT")).collect();
        assert_eq!(
            recipients,
            ["RCPT TO:<ops@example.org>", "RCPT TO:<slow@example.org>", "RCPT TO:<slow@example.org>"]
        );
        assert_eq!(server.mails().len(), 2);
        // Another message goes to all of them.
        target.deliver(&Message { delivery_id: "other".to_owned(), ..message }, &context).await.unwrap();
        assert_eq!(server.lines().iter().filter(|line| line.starts_with("RCPT")).count(), 5);
    });
}

fn with_ca(certificates: &Certificates) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, &certificates.authority).unwrap();
    (directory, path.display().to_string())
}

#[test]
fn encryption_comes_before_the_password_and_the_mail() {
    let certificates = Certificates::for_names(&["localhost"]);
    let (_directory, ca) = with_ca(&certificates);
    for implicit in [false, true] {
        let rules = Rules { tls: Some(certificates.server()), implicit, ..Rules::good() };
        let mode = if implicit { "tls" } else { "starttls" };
        let settings = json!({ "to": "ops@example.org", "smtp": { "host": "localhost", "tls": mode, "ca": ca, "user": "bot", "password": "s3cret", "hello": "mail.example.org" } });
        wait(async {
            let (answer, server) = over(rules, settings, &message(NoticeKind::Problem, event())).await;
            assert!(answer.is_ok(), "{answer:?}");
            let lines = server.lines();
            let at = |word: &str| {
                lines.iter().position(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word} in {lines:?}"))
            };
            assert!(at("TLS") < at("AUTH PLAIN ") && at("AUTH PLAIN ") < at("MAIL"), "{lines:?}");
            assert_eq!(decode_base64(lines[at("AUTH")].rsplit(' ').next().unwrap()), b"\0bot\0s3cret");
            assert_eq!(lines[at("EHLO")], "EHLO mail.example.org");
            assert_eq!(server.mails().len(), 1);
        });
    }
}

#[test]
fn without_the_encryption_that_is_demanded_nothing_is_sent() {
    let good = Certificates::for_names(&["localhost"]);
    let other = Certificates::for_names(&["elsewhere.example"]);
    let (_directory, ca) = with_ca(&good);
    let (_other_directory, other_ca) = with_ca(&other);
    let smtp = |tls: &str, ca: &str| json!({ "to": "ops@example.org", "smtp": { "host": "localhost", "tls": tls, "ca": ca, "user": "bot", "password": "s3cret" }, "timeout": "5s" });
    let cases = [
        (Rules::good(), smtp("starttls", &ca), "offers no encryption"),
        (Rules { tls: Some(good.server()), ..Rules::good() }, smtp("starttls", &other_ca), "invalid peer certificate"),
        (Rules { tls: Some(other.server()), ..Rules::good() }, smtp("starttls", &other_ca), "certificate"),
        (Rules { tls: Some(other.server()), implicit: true, ..Rules::good() }, smtp("tls", &ca), "certificate"),
        (
            Rules {
                tls: Some(good.server()),
                ..Rules::plain(|line| if line == "STARTTLS" { Answer::Say("454 not now") } else { Answer::Good })
            },
            smtp("starttls", &ca),
            "454 not now",
        ),
    ];
    wait(async {
        for (rules, settings, words) in cases {
            let (answer, server) = over(rules, settings, &message(NoticeKind::Problem, event())).await;
            let error = answer.expect_err(words);
            assert!(
                matches!(&error, DeliveryError::Transient { why, .. } if why.contains(words)),
                "{words}: {error:?}"
            );
            let lines = server.lines();
            assert!(lines.iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")), "{lines:?}");
        }
    });
}

#[test]
fn a_refused_login_is_final_and_shows_no_password() {
    let certificates = Certificates::for_names(&["localhost"]);
    let (_directory, ca) = with_ca(&certificates);
    wait(async {
        for (reply, is_final) in [("535 5.7.8 wrong password s3cret", true), ("454 4.7.0 try s3cret later", false)] {
            let rules = Rules {
                tls: Some(certificates.server()),
                ..Rules::plain(move |line| if line.starts_with("AUTH") { Answer::Say(reply) } else { Answer::Good })
            };
            let settings = json!({ "to": "ops@example.org", "smtp": { "host": "localhost", "tls": "starttls", "ca": ca, "user": "bot", "password": "s3cret" } });
            let (answer, _server) = over(rules, settings, &message(NoticeKind::Problem, event())).await;
            let error = answer.unwrap_err();
            assert_eq!(matches!(error, DeliveryError::Permanent { .. }), is_final, "{error:?}");
            assert!(
                error.to_string().contains("cannot log in as `bot`") && !format!("{error:?}").contains("s3cret"),
                "{error}"
            );
        }
    });
}

#[test]
fn settings_that_cannot_work_are_refused_at_load() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for (settings, words) in [
        (json!({}), vec!["`to`", "missing"]),
        (json!([]), vec!["`to`", "0 recipients"]),
        (json!("nobody"), vec!["`nobody` is no mail address"]),
        (json!("a@b, c@d\r\nBcc: e@f"), vec!["control"]),
        (json!("j\u{f6}rg@example.org"), vec!["ASCII"]),
        (json!({ "to": "a@b.c", "from": "x" }), vec!["`from`"]),
        (json!({ "to": "a@b.c", "subject": "{{ chek.name }}" }), vec!["`subject`", "did you mean `check`"]),
        (json!({ "to": "a@b.c", "body": "\n{{ check.nam }}" }), vec!["`body`", "line 2", "did you mean `name`"]),
        (json!({ "to": "a@b.c", "smtp": {}, "sendmail": "/usr/sbin/sendmail" }), vec!["choose one"]),
        (json!({ "to": "a@b.c", "sendmail": "sendmail" }), vec!["no absolute path"]),
        (json!({ "to": "a@b.c", "timeout": "0s" }), vec!["`timeout`"]),
        (json!({ "to": "a@b.c", "smtp": { "host": "" } }), vec!["names no host"]),
        (json!({ "to": "a@b.c", "smtp": { "port": 0 } }), vec!["no port 0"]),
        (json!({ "to": "a@b.c", "smtp": { "user": "x" } }), vec!["`password` is missing"]),
        (json!({ "to": "a@b.c", "smtp": { "password": "x" } }), vec!["`user` is missing"]),
        (
            json!({ "to": "a@b.c", "smtp": { "host": "mail.example.org", "tls": "none", "user": "x", "password": "s3cret" } }),
            vec!["clear text"],
        ),
        (json!({ "to": "a@b.c", "smtp": { "ca": "/x" } }), vec!["no certificate is looked at"]),
        (json!({ "to": "a@b.c", "smtp": { "tls": "tls", "ca": "/nonexistent" } }), vec!["`/nonexistent`"]),
        (json!({ "to": "a@b.c", "smtp": { "tls": "tls", "ca": empty } }), vec!["no certificate in PEM form"]),
        (json!({ "to": "a@b.c", "smtp": { "tls": "ssl" } }), vec!["unknown word `ssl`"]),
        (json!({ "to": "a@b.c", "smtp": { "hello": "a b" } }), vec!["`smtp.hello`"]),
        (json!({ "to": "a@b.c", "smtp": { "hots": "x" } }), vec!["did you mean `host`"]),
    ] {
        let refused = refusal("email", &settings);
        for word in words {
            assert!(refused.contains(word), "{settings}: {refused}");
        }
        assert!(!refused.contains("s3cret"));
    }
    let kind = monchero_actions::KINDS.iter().find(|kind| kind.name == "email").unwrap();
    assert_eq!((kind.tells, kind.short_for), (true, Some("to")));
    assert!(
        !format!(
            "{:?}",
            common::action("email", &json!({ "to": "a@b.c", "smtp": { "user": "x", "password": "s3cret" } }))
        )
        .contains("s3cret")
    );
}

#[test]
fn sendmail_gets_the_mail_and_the_addresses() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("sendmail");
    std::fs::write(
        &program,
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}/args\ncat > {0}/mail\n", directory.path().display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let real = Real::default();
    let settings = json!({ "to": ["ops@example.org", "-x@example.org"], "sendmail": program });
    let answer =
        wait(email(&settings).deliver(&message(NoticeKind::Problem, event()), &context(&real, &TimeZone::UTC)));
    assert_eq!(answer, Ok(format!("taken by `{}`", program.display()).into()));
    assert_eq!(
        std::fs::read_to_string(directory.path().join("args")).unwrap(),
        "-i\n-f\nmonchero@web1\n--\nops@example.org\n-x@example.org\n"
    );
    let mail = Mail::read(&std::fs::read_to_string(directory.path().join("mail")).unwrap());
    assert!(mail.body.starts_with("shop on web1 is bad.\n") && mail.header("Subject").starts_with("[bad]"), "{mail:?}");
}

#[test]
fn what_sendmail_answers_says_whether_to_try_again() {
    let settings = json!({ "to": "ops@example.org", "sendmail": "/usr/sbin/sendmail" });
    for (exit, is_final, words) in [
        (Exit::Status(75), false, "status 75 (temporary failure): queue is full"),
        (Exit::Status(67), true, "no such recipient"),
        (Exit::Status(64), true, "wrong usage"),
        (Exit::Status(1), false, "status 1"),
        (Exit::Signal(9), false, "signal 9"),
        (Exit::TimedOut, false, "within 30s"),
        (Exit::Stuck { pid: 3 }, false, "process 3"),
    ] {
        let spawner = Scripted { end: ended(exit, "", "queue is full\n") };
        let error =
            wait(email(&settings).deliver(&message(NoticeKind::Problem, event()), &context(&spawner, &TimeZone::UTC)))
                .unwrap_err();
        assert_eq!(matches!(error, DeliveryError::Permanent { .. }), is_final, "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let missing = json!({ "to": "ops@example.org", "sendmail": "/nonexistent/sendmail" });
    let error = wait(
        email(&missing).deliver(&message(NoticeKind::Problem, event()), &context(&Real::default(), &TimeZone::UTC)),
    )
    .unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Transient { why, .. } if why.contains("/nonexistent/sendmail")),
        "{error:?}"
    );
}
