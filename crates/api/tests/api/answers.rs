//! What each route answers, over the real socket.

use std::time::Duration;

use monchero_api::ClientError;
use monchero_api::types::{CheckState, Confirmation, DowntimeRequest, Event, Plan};
use monchero_core::{CheckStatus, Name, NoticeKind, Policy, State};
use monchero_store::{NoticeRow, Record, Urgency};
use serde_json::json;

use crate::common::{Daemon, now, row, rows};

#[tokio::test]
async fn status_has_exactly_the_documented_shape() {
    let daemon = Daemon::start(rows());
    let (status, body) = daemon.request("GET", "/v1/status?pattern=shop", "").await;
    assert_eq!(status, 200);
    let expected = json!({
        "host": "here",
        "worst": "bad",
        "checks": [{
            "name": "shop",
            "kind": "http",
            "state": "bad",
            "state_type": "hard",
            "attempt": 3,
            "max_attempts": 3,
            "since": "2027-01-15T08:00:00Z",
            "last_check": "2027-01-15T08:00:00Z",
            "next_check": "2027-01-15T08:00:30Z",
            "message": "status is 503, expected 200",
            "metrics": [
                { "label": "time", "value": 0.5, "unit": "s", "warning": body["checks"][0]["metrics"][0]["warning"], "bad": null, "min": null, "max": null },
                { "label": "size", "value": 12345.0, "unit": "B", "warning": null, "bad": null, "min": null, "max": null },
            ],
            "holds": [{ "kind": "acknowledged", "text": "acknowledged by maria: on it", "until": null }],
            "labels": { "team": "web" },
        }],
    });
    assert_eq!(body, expected);
    assert!(body["checks"][0]["metrics"][0]["warning"].is_string());
}

#[tokio::test]
async fn what_is_served_is_what_the_client_reads() {
    let daemon = Daemon::start(rows());
    let status = daemon.client().status(&[], false).await.unwrap().value().unwrap();
    let names: Vec<&str> = status.checks.iter().map(|check| check.name.as_ref()).collect();
    assert_eq!(names, ["backup", "dns", "raid", "raid/md0", "root-disk", "shop"]);
    assert_eq!(status.worst, CheckState::Bad);
    assert_eq!(status.checks[0].state, CheckState::Pending);
    assert_eq!(status.checks[0].since, None);
    assert_eq!((status.checks[1].state_type, status.checks[1].attempt), (Confirmation::Soft, 1));
    let again = serde_json::to_value(&status).unwrap();
    assert_eq!(again, daemon.request("GET", "/v1/status", "").await.1, "the shape survives the round trip");
}

#[tokio::test]
async fn patterns_and_problems_choose() {
    let daemon = Daemon::start(rows());
    let names = async |patterns: &[&str], problems| {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let status = daemon.client().status(&patterns, problems).await.unwrap().value().unwrap();
        (status.checks.iter().map(|check| check.name.to_string()).collect::<Vec<_>>().join(" "), status.worst)
    };
    assert_eq!(names(&["raid"], false).await, ("raid raid/md0".to_owned(), CheckState::Warning));
    assert_eq!(names(&["r*", "shop"], false).await, ("raid raid/md0 root-disk shop".to_owned(), CheckState::Bad));
    assert_eq!(names(&["raid"], true).await, ("raid/md0".to_owned(), CheckState::Warning));
    assert_eq!(names(&["root-disk"], true).await, (String::new(), CheckState::Okay));
    assert_eq!(names(&["backup"], false).await, ("backup".to_owned(), CheckState::Okay), "pending does not count");
    assert_eq!(names(&["backup"], true).await, (String::new(), CheckState::Okay), "pending is no problem");

    let error = daemon.client().status(&["raid".to_owned(), "shopp".to_owned()], true).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }));
    assert_eq!((error.to_string().as_str(), error.hint()), ("there is no check `shopp`", Some("did you mean `shop`?")));
}

#[tokio::test]
async fn odd_text_stays_valid_json() {
    let odd = "bell \u{7} escape \u{1b}[2J quote \" backslash \\ \u{202e}reversed \u{9b} \u{fffd} 日本";
    let daemon = Daemon::start(vec![row("odd", &[State::Okay], odd)]);
    let status = daemon.client().status(&[], false).await.unwrap().value().unwrap();
    assert_eq!(status.checks[0].message, odd);
}

#[tokio::test]
async fn a_check_is_told_in_full() {
    let mut rows = rows();
    rows[5].holds.clear();
    let daemon = Daemon::start(rows);
    let detail = daemon.client().check("shop").await.unwrap().value().unwrap();
    assert_eq!(detail.check.name, "shop");
    assert_eq!(detail.output, "a longer\nstory");
    assert_eq!((detail.interval.as_str(), detail.timeout.as_str(), detail.duration.as_str()), ("30s", "10s", "340ms"));
    assert_eq!(detail.incident.unwrap().since, now());
    assert_eq!(detail.depends_on, ["uplink"]);
    let error = daemon.client().check("sho").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.hint()), ("there is no check `sho`", Some("did you mean `shop`?")));
}

#[tokio::test]
async fn runs_answer_in_order_and_misspelt_names_run_nothing() {
    let daemon = Daemon::start(rows());
    let answer = daemon.client().run(vec!["shop".into(), "root-disk".into()]).await.unwrap().value().unwrap();
    assert_eq!(answer.worst, CheckState::Bad);
    let found: Vec<_> =
        answer.results.iter().map(|result| (result.name.as_ref(), result.state, result.metrics.len())).collect();
    assert_eq!(found, [("shop", CheckState::Bad, 2), ("root-disk", CheckState::Okay, 0)]);
    assert!(daemon.client().run(vec!["shop".into(), "nosuch".into()]).await.is_err());
    assert_eq!(daemon.log(), ["run shop", "run root-disk"]);
    assert_eq!(daemon.request("POST", "/v1/run", r#"{"checks":[]}"#).await.0, 400);
}

#[tokio::test]
async fn results_are_taken_and_made_harmless() {
    let daemon = Daemon::start(rows());
    let submit = async |body: serde_json::Value| daemon.request("POST", "/v1/result", &body.to_string()).await;
    let (status, body) = submit(json!({
        "check": "shop", "state": "CRITICAL", "message": "down\u{1b}[2J\nsecond line",
        "output": "more", "perfdata": "time=0.2s;1;2", "metrics": [{ "label": "size", "value": 5, "unit": "B", "warning": "> 10B" }],
    }))
    .await;
    assert_eq!((status, body), (200, json!({ "done": "`shop` took the result: bad" })));
    assert_eq!(daemon.log(), ["submit shop Bad Some(\"down\u{fffd}[2J\") \"second line\\nmore\" 2"]);

    for (body, expected) in [
        (json!({ "check": "shop", "state": "fine" }), "`fine` is no state"),
        (json!({ "check": "a\nb", "state": "okay" }), "a name has letters"),
        (json!({ "check": "shop", "state": "okay", "perfdata": "rubbish" }), "no metric"),
        (json!({ "check": "shop", "state": "okay", "mesage": "x" }), "unknown field `mesage`"),
        (
            json!({ "check": "shop", "state": "okay", "metrics": [{ "label": "x", "warning": "20:10" }] }),
            "starts above its end",
        ),
    ] {
        let (status, answer) = submit(body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{answer}");
    }
    assert_eq!(submit(json!({ "check": "nosuch", "state": "okay" })).await.0, 404);
}

#[tokio::test]
async fn the_author_is_who_the_kernel_says() {
    let daemon = Daemon::start(rows());
    let body = json!({ "check": "shop", "author": "maria", "comment": " on it\u{7} ", "sticky": true });
    assert_eq!(daemon.request("POST", "/v1/acknowledgement", &body.to_string()).await.0, 200);
    let log = daemon.log();
    assert!(log[0].starts_with("acknowledge shop by maria ("), "{log:?}");
    assert!(log[0].ends_with("): on it\u{fffd} until None sticky true"), "{log:?}");
    let body = json!({ "check": "shop", "until": "2001-01-01T00:00:00Z" });
    assert_eq!(daemon.request("POST", "/v1/acknowledgement", &body.to_string()).await.0, 400);

    assert_eq!(
        daemon.client().unacknowledge("shop").await.unwrap().value().unwrap().done,
        "`shop` is no longer acknowledged"
    );
    let (status, body) = daemon.request("DELETE", "/v1/acknowledgement?check=shop", "").await;
    assert_eq!((status, body), (409, json!({ "error": "`shop` is not acknowledged" })));
}

#[tokio::test]
async fn downtimes_are_planned_listed_and_ended() {
    let daemon = Daemon::start(rows());
    let client = daemon.client();
    let request = DowntimeRequest {
        checks: vec!["raid".into()],
        duration: Some("30m".into()),
        comment: "new disk".into(),
        ..DowntimeRequest::default()
    };
    let until = now() + jiff::SignedDuration::from_hours(8);
    let planned = client.add_downtime(&request).await.unwrap().value().unwrap();
    assert_eq!(planned.covers, ["raid", "raid/md0"]);
    let downtime = &planned.downtime;
    assert_eq!(downtime.end.duration_since(downtime.start), jiff::SignedDuration::from_mins(30));
    assert_eq!(client.downtimes().await.unwrap().value().unwrap().downtimes, std::slice::from_ref(downtime));
    assert_eq!(client.end_downtime(1).await.unwrap().value().unwrap().done, "downtime 1 of `raid` is over");
    assert!(matches!(client.end_downtime(1).await.unwrap_err(), ClientError::Refused { status: 409, .. }));
    let flexible = DowntimeRequest { begins_until: Some(until), ..request };
    let planned = client.add_downtime(&flexible).await.unwrap().value().unwrap().downtime;
    assert_eq!((planned.end, planned.lasts.as_deref(), planned.began), (until, Some("30m"), None));

    for (request, expected) in [
        (
            DowntimeRequest {
                checks: vec!["nosuch".into()],
                duration: Some("1h".into()),
                ..DowntimeRequest::default()
            },
            "there is no check `nosuch`",
        ),
        (
            DowntimeRequest { checks: vec!["raid".into()], ..DowntimeRequest::default() },
            "either an `end` or a `duration`",
        ),
        (DowntimeRequest { duration: Some("1h".into()), ..DowntimeRequest::default() }, "not said which checks"),
        (
            DowntimeRequest {
                checks: vec!["raid".into()],
                begins_until: Some(now() + jiff::SignedDuration::from_hours(1)),
                ..DowntimeRequest::default()
            },
            "a flexible downtime has a `duration`",
        ),
        (
            DowntimeRequest { checks: vec!["raid".into()], duration: Some("5".into()), ..DowntimeRequest::default() },
            "has no unit",
        ),
        (
            DowntimeRequest {
                checks: vec!["raid".into()],
                end: Some(now() - jiff::SignedDuration::from_hours(1)),
                ..DowntimeRequest::default()
            },
            "before it begins",
        ),
    ] {
        let error = client.add_downtime(&request).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_reload_says_what_changed_or_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (path, broken) = (dir.path().join("s"), dir.path().join("broken"));
    let daemon = Daemon::start_at(rows(), dir, &path);
    assert_eq!(daemon.client().reload().await.unwrap().value().unwrap().added, 1);
    std::fs::write(broken, "").unwrap();
    let ClientError::Refused { status: 422, failure } = daemon.client().reload().await.unwrap_err() else {
        panic!("it is refused")
    };
    assert_eq!(failure.problems.len(), 1);
    assert!(failure.hint.unwrap().contains("config check"));
}

#[tokio::test]
async fn the_past_is_told() {
    let daemon = Daemon::start(rows());
    let at = now() - Duration::from_secs(60);
    let name = Name::new("shop");
    let mut status = CheckStatus::default();
    let transition = status.apply(&name, State::Bad, &Policy::default(), at).unwrap();
    let notice = NoticeRow {
        at: now(),
        check: name.clone(),
        target: Name::new("ops"),
        delivery_id: "0123".into(),
        kind: NoticeKind::Problem,
        state: State::Bad,
        incident: None,
        delivered: true,
        attempt: 1,
        detail: "250 Ok".into(),
        drill: false,
    };
    let records = vec![
        Record::Transition { check: name.clone(), transition, message: "no answer".into() },
        Record::Notice(Box::new(notice)),
        Record::Metrics { check: name, at, points: vec![("time".into(), "s".into(), 0.5)] },
    ];
    let ticket = daemon.store.write(records, Urgency::Now);
    daemon.store.committed().wait_for(|committed| committed.ticket >= ticket).await.unwrap();

    let client = daemon.client();
    let history = client.history(Some("sh*"), None, None).await.unwrap().value().unwrap();
    assert!(!history.more);
    let [Event::Transition(transition), Event::Notice(notice)] = history.events.as_slice() else {
        panic!("{history:?}")
    };
    assert_eq!((transition.at, transition.state, transition.message.as_str()), (at, CheckState::Bad, "no answer"));
    assert_eq!((notice.target.as_str(), notice.kind.as_str(), notice.delivered), ("ops", "problem", true));
    let newest = client.history(None, None, Some(1)).await.unwrap().value().unwrap();
    assert!(newest.more && matches!(newest.events.as_slice(), [Event::Notice(_)]));
    assert_eq!(
        client.history(None, Some(now() + Duration::from_secs(1)), None).await.unwrap().value().unwrap().events,
        []
    );
    assert_eq!(client.history(Some("raid"), None, None).await.unwrap().value().unwrap().events, []);

    let values = client.metric_history("shop", "time", at, 100).await.unwrap().value().unwrap();
    assert_eq!(
        values.points.iter().map(|point| (point.at, point.mean, point.count)).collect::<Vec<_>>(),
        [(at, 0.5, 1)]
    );
}

#[tokio::test]
async fn requests_that_are_not_understood_are_told_so() {
    let daemon = Daemon::start(rows());
    for (method, target, body, status, expected) in [
        ("GET", "/", "", 404, "there is no `/`"),
        ("GET", "/v1/nosuch", "", 404, "there is no `/v1/nosuch`"),
        ("PUT", "/v1/status", "", 405, "does not take PUT"),
        ("GET", "/v1/status?patern=x", "", 400, "there is no parameter `patern`"),
        ("GET", "/v1/status?problems=maybe", "", 400, "`true` or `false`"),
        ("GET", "/v1/check", "", 400, "`name` is missing"),
        ("GET", "/v1/check?name=a&name=b", "", 400, "given 2 times"),
        ("GET", "/v1/history?since=yesterday", "", 400, "a moment such as"),
        ("GET", "/v1/history?limit=-1", "", 400, "a number"),
        ("GET", "/v1/history?limit=2001", "", 400, "from 1 to 2000"),
        ("GET", "/v1/metric-history?check=x&label=y&limit=0", "", 400, "from 1 to 10000"),
        ("POST", "/v1/run", "{", 400, "not what is expected"),
        ("POST", "/v1/run", "", 400, "not what is expected"),
        ("DELETE", "/v1/downtime?id=x", "", 400, "number of a downtime"),
    ] {
        let (found, answer) = daemon.request(method, target, body).await;
        assert_eq!(found, status, "{method} {target}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{method} {target}: {answer}");
    }
}

#[tokio::test]
async fn an_engine_that_ended_is_told_so() {
    let daemon = Daemon::start(rows());
    let (status, body) = daemon.request("GET", "/v1/check?name=panic", "").await;
    assert_eq!((status, body), (503, json!({ "error": "the daemon is stopping" })));
}

#[tokio::test]
async fn the_document_and_the_version_are_served() {
    let daemon = Daemon::start(rows());
    let (status, document) = daemon.request("GET", "/v1/openapi.json", "").await;
    assert_eq!((status, document["openapi"].as_str().map(|v| &v[..2])), (200, Some("3.")));
    let version = daemon.client().version().await.unwrap().value().unwrap();
    assert_eq!((version.version.as_str(), version.api.as_str()), ("1.2.3", "v1"));
}

#[tokio::test]
async fn nobody_there_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let error = monchero_api::Client::new(&path).version().await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach the daemon at `{}`: no daemon runs there", path.display()));
    assert!(error.hint().unwrap().contains("monchero agent"));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = monchero_api::Client::new(&path).version().await.unwrap_err();
    assert!(error.to_string().contains("does not run any more"), "{error}");
}

#[test]
fn plans_are_words() {
    assert_eq!(serde_json::to_string(&Plan::Held).unwrap(), "\"held\"");
}

#[tokio::test]
async fn signals_are_bounded_and_reach_the_check_that_waits() {
    let daemon = Daemon::start(rows());
    let send = async |name: &str, body: serde_json::Value| {
        daemon.request("POST", &format!("/v1/checks/{name}/signals"), &body.to_string()).await
    };
    let (status, body) = send(
        "backup",
        json!({ "kind": "fail", "exit_status": 3, "run": "r1", "output": "\u{1b}[2J no space", "duration": "1m30s" }),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        daemon.log(),
        [
            "signal backup Signal { kind: Fail(Some(3)), run: Some(\"r1\"), output: \"\u{fffd}[2J no space\", took: Some(90s) }"
        ]
    );
    for wrong in [
        json!({ "kind": "stop" }),
        json!({ "kind": "success", "exit_status": 0 }),
        json!({ "kind": "start", "run": "" }),
        json!({ "kind": "start", "run": "x".repeat(65) }),
        json!({ "kind": "start", "run": "a\nb" }),
        json!({ "kind": "log", "output": "x".repeat(64 * 1024 + 1) }),
        json!({ "kind": "success", "duration": "90" }),
        json!({ "kind": "start", "state": "okay" }),
    ] {
        let (status, answer) = send("backup", wrong.clone()).await;
        assert_eq!(status, 400, "{wrong} {answer}");
    }
    assert_eq!(send("backup", json!({ "kind": "log", "output": "x".repeat(64 * 1024) })).await.0, 200);
    assert_eq!(send("nosuch", json!({ "kind": "start" })).await.0, 404);
    let (status, answer) = send("raid%2Fmd0", json!({ "kind": "start" })).await;
    assert_eq!(status, 409);
    assert_eq!(answer["error"], "`raid/md0` takes no signals: it looks for itself");
    assert!(answer["hint"].as_str().unwrap().contains("monchero kinds"), "{answer}");
}

#[tokio::test]
async fn a_test_of_a_target_tells_the_answer_or_the_error() {
    let daemon = Daemon::start(rows());
    let (status, answer) = daemon.request("POST", "/v1/targets/ops/test", "{}").await;
    assert_eq!((status, &answer), (200, &json!({"target": "ops", "delivered": true, "answer": "250 Ok"})));
    let (status, answer) = daemon.request("POST", "/v1/targets/broken/test", r#"{"state": "okay"}"#).await;
    let refused = json!({"target": "broken", "delivered": false, "answer": "connection refused"});
    assert_eq!((status, &answer), (200, &refused));
    let (status, answer) = daemon.request("POST", "/v1/targets/opps/test", "{}").await;
    assert_eq!((status, &answer["hint"]), (404, &json!("did you mean `ops`?")), "{answer}");
    let (status, answer) = daemon.request("POST", "/v1/targets/ops/test", r#"{"state": "broken"}"#).await;
    assert_eq!((status, &answer["error"]), (400, &json!("`broken` is no state")));
    assert_eq!(daemon.log(), ["test ops bad", "test broken okay", "test opps bad"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_drill_is_sent_only_if_asked_and_only_to_those_who_would_be_told() {
    let daemon = Daemon::start(rows());
    let drill = daemon.client().drill("shop", State::Bad, false).await.unwrap().value().unwrap();
    assert!(drill.targets.iter().all(|target| target.sent.is_none()) && daemon.log().is_empty());
    let (status, drill) = daemon.request("POST", "/v1/checks/shop/drill", r#"{"state": "bad", "send": true}"#).await;
    assert_eq!((status, daemon.log()), (200, vec!["test ops bad".to_owned()]));
    let (ops, boss, restart) = (&drill["targets"][0], &drill["targets"][1], &drill["scripts"][0]);
    assert_eq!((&ops["plan"], &ops["sent"]["answer"]), (&json!("tell"), &json!("250 Ok")), "{drill}");
    assert_eq!((&boss["why"], &boss["sent"]), (&json!("it knows that it is bad"), &json!(null)), "{drill}");
    assert_eq!((&restart["verdict"], &restart["cooldown"]), (&json!("skipped"), &json!("10m")), "{drill}");
    let (status, _) = daemon.request("POST", "/v1/checks/shap/drill", r#"{"state": "bad"}"#).await;
    assert_eq!(status, 404);
    daemon.stop().await;
}
