//! A page of `monchero show` as a whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use monchero_api::types::{Check, Hold, Incident, Outcome};
use monchero_core::Range;

use super::*;
use crate::cli::status::tests::screen;

fn at(ago: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 - ago).unwrap()
}

fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "ops".into(),
            told: CheckState::Bad,
            told_at: Some(at(180)),
            plan: Plan::Nothing,
            notice: None,
            at: Some(at(-14_220)),
            hold: None,
            failed_tries: 0,
            last_error: None,
        },
        Target {
            name: "chat".into(),
            told: CheckState::Okay,
            told_at: None,
            plan: Plan::Tell,
            notice: Some("problem".into()),
            at: Some(at(-40)),
            hold: None,
            failed_tries: 2,
            last_error: Some("no connection".into()),
        },
    ]
}

fn detail() -> Detail<'static> {
    let metric = Metric {
        label: "time".into(),
        value: Some(0.5),
        unit: "s".into(),
        warning: Some(Range::parse("> 300ms").unwrap()),
        bad: Some(Range::parse("> 2s").unwrap()),
        min: None,
        max: None,
    };
    Detail {
        check: Check {
            name: "shop".into(),
            kind: "http".into(),
            state: CheckState::Bad,
            state_type: Confirmation::Hard,
            attempt: 3,
            max_attempts: 3,
            since: Some(at(185)),
            last_check: Some(at(12)),
            next_check: Some(at(-18)),
            message: "status is 503,\u{1b}[2J expected 200".into(),
            metrics: vec![
                metric,
                Metric {
                    label: "size".into(),
                    value: None,
                    unit: Cow::Borrowed("B"),
                    warning: None,
                    bad: None,
                    min: None,
                    max: None,
                },
            ],
            holds: vec![Hold {
                kind: "acknowledged".into(),
                text: "acknowledged by maria: on it".into(),
                until: Some(at(-3_600)),
            }],
            labels: Cow::Owned(BTreeMap::from([("team".to_owned(), "web".to_owned())])),
        },
        output: "a longer\nstory".into(),
        running: false,
        duration: "340ms".into(),
        skipped: 0,
        parent: None,
        interval: "30s".into(),
        retry_interval: "5s".into(),
        timeout: "10s".into(),
        source: "conf.d/web.yaml:12".into(),
        depends_on: vec!["uplink".into()],
        actions: vec!["ops".into(), "restart-shop".into()],
        hard_state: CheckState::Bad,
        hard_since: Some(at(185)),
        recovering: 0,
        inconclusive: false,
        incident: Some(Incident { id: "0123456789abcd".into(), since: at(185), worst: CheckState::Bad }),
        acknowledgement: None,
        downtimes: vec![Downtime {
            id: 7,
            name: None,
            checks: vec!["shop".into()],
            labels: [].into(),
            start: at(-7_200),
            end: at(-10_800),
            lasts: None,
            began: None,
            author: "root".into(),
            comment: "new release".into(),
        }],
        targets: targets(),
        recent_actions: vec![ActionEvent {
            at: at(184),
            check: "shop".into(),
            action: "restart-shop".into(),
            id: 1,
            incident: None,
            reason: "hard bad".into(),
            outcome: Outcome::Done,
            ended: Some(at(183)),
            message: "exit status 0".into(),
            output: String::new(),
        }],
        recent_notices: vec![NoticeEvent {
            at: at(180),
            check: "shop".into(),
            target: "ops".into(),
            kind: "problem".into(),
            state: CheckState::Bad,
            incident: None,
            delivered: true,
            attempt: 1,
            detail: "250 2.0.0 Ok".into(),
            delivery_id: "x".into(),
            drill: false,
        }],
    }
}

#[test]
fn everything_is_told_in_sections() {
    let past = vec![
        (0..48_u32)
            .map(|i| Point {
                at: at(86_400 - i64::from(i) * 1_800),
                mean: f64::from(i),
                min: f64::from(i),
                max: f64::from(i),
                count: 1,
            })
            .collect(),
    ];
    let expected = "\
shop  bad  since 2027-01-15 07:56:55 (3m 5s)
  status is 503,\\e[2J expected 200
  a longer
  story

why         hard: 3 results in a row are enough to confirm it
            incident 0123456789abcd since 2027-01-15 07:56:55, at worst bad
checked     12s ago, took 340ms; next in 18s (every 30s, 5s while soft, timeout 10s)
kind        http, conf.d/web.yaml:12
labels      team=web
depends on  uplink
actions     ops
            restart-shop
holds       acknowledged by maria: on it, until 2027-01-15 09:00:00
            later: downtime 7 by root from 2027-01-15 10:00:00 to 2027-01-15 11:00:00: new release
targets     ops: was told bad 3m ago; reminder in 3h 57m
            chat: was never told anything; will be told in 40s: problem
              2 tries failed: no connection

METRIC  VALUE      ALERTS                               LAST DAY
time    500 ms     is warning above 300 ms, bad above 2 s  ▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███  0 ms to 47 s
size    not known

RECENT ACTION  WHEN       WHY       HOW IT WENT
restart-shop   3m 4s ago  hard bad  done: exit status 0

RECENT NOTICE  WHEN    TO   HOW IT WENT
problem bad    3m ago  ops  delivered: 250 2.0.0 Ok
";
    let shown = page(&screen(None), &detail(), &past);
    let squeezed =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(squeezed(&shown), squeezed(expected), "{shown}");
    assert!(shown.starts_with(expected.split_once("METRIC").unwrap().0), "{shown}");
}

#[test]
fn no_line_is_wider_than_the_screen_and_none_is_cut_in_a_word() {
    let mut detail = detail();
    detail.output = format!("{}the end", "a word and ".repeat(20)).into();
    for width in [40, 80] {
        let shown = page(&screen(Some(width)), &detail, &[]);
        let (text, _) = shown.split_once("METRIC").unwrap();
        let (heading, text) = text.split_once('\n').unwrap();
        assert!(heading.starts_with("shop  bad"));
        assert!(text.lines().all(|line| line.chars().count() <= width), "{shown}");
        assert!(text.contains(" the end\n"), "{shown}");
    }
    let shown = page(&screen(Some(40)), &detail, &[]);
    assert!(
        shown.contains("checked     12s ago, took 340ms; next in\n            18s (every 30s, 5s while\n"),
        "{shown}"
    );
}

#[test]
fn a_check_that_never_ran_says_so() {
    let mut detail = detail();
    detail.check.state = CheckState::Pending;
    (detail.check.since, detail.check.last_check, detail.check.next_check) = (None, None, None);
    (detail.incident, detail.hard_since) = (None, None);
    let shown = page(&screen(None), &detail, &[]);
    assert!(
        shown.contains("it has not run yet") && shown.contains("checked     never; runs when others report it"),
        "{shown}"
    );
}
