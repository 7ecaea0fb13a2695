//! What is stored outlives the daemon that wrote it: what an older one left out has its default, what a newer one added is ignored,
//! and what is written stays small.

use jiff::Timestamp;
use monchero_core::flapping::FlappingPolicy;
use monchero_core::hold::{Acknowledgement, Downtime, Selector};
use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Hold, IncidentId, Metric, Name, Policy, State, StateType, Told, Transition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// What a daemon of version 0.1.0 wrote. This must go on being read.
#[test]
fn what_the_first_version_wrote_is_read() {
    let status: CheckStatus = serde_json::from_value(json!({
        "state": "bad", "state_type": "hard", "attempt": 3, "hard_state": "bad",
        "since": "2023-11-14T22:13:20Z", "hard_since": "2023-11-14T22:13:20Z", "last_check": "2023-11-14T22:14:20Z",
        "incident": { "id": 1_234_567, "since": "2023-11-14T22:13:20Z", "worst": "bad" },
        "recovering": 1, "flapping": { "changes": ["2023-11-14T22:13:20Z"], "since": null }, "sequence": 7
    }))
    .unwrap();
    assert_eq!((status.state, status.state_type, status.attempt, status.sequence), (State::Bad, StateType::Hard, 3, 7));
    assert_eq!(status.incident.map(|incident| incident.id), Some(IncidentId::from_u64(1_234_567)));
    assert_eq!((status.last_check, status.recovering, status.last_incident), (Some(at(60)), 1, None));

    let told: Told = serde_json::from_value(json!({
        "state": "bad", "incident": 1_234_567, "at": "2023-11-14T22:13:20Z", "count": 3,
        "missed": [{ "incident": 1, "state": "bad", "since": "2023-11-14T22:13:20Z", "until": null }]
    }))
    .unwrap();
    assert_eq!(
        (told.state, told.count, told.missed.len(), told.flapping, told.doubt),
        (State::Bad, 3, 1, false, false)
    );

    let transition: Transition = serde_json::from_value(json!({
        "at": "2023-11-14T22:13:20Z", "sequence": 1, "previous_state": "okay", "previous_type": "hard", "state": "bad",
        "state_type": "soft", "attempt": 1, "max_attempts": 3, "incident": null, "incident_since": null
    }))
    .unwrap();
    assert_eq!(transition.state_type, StateType::Soft);

    let metric: Metric =
        serde_json::from_value(json!({ "label": "used", "value": 12.5, "unit": "%", "warning": "80%" })).unwrap();
    assert_eq!((metric.value, metric.state()), (Some(12.5), State::Okay));
}

#[test]
fn what_is_left_out_has_its_default_and_what_is_new_is_ignored() {
    assert_eq!(serde_json::from_value::<CheckStatus>(json!({ "mood": "cheerful" })).unwrap(), CheckStatus::default());
    assert_eq!(serde_json::from_value::<Told>(json!({ "mood": "cheerful" })).unwrap(), Told::default());
    assert_eq!(
        serde_json::from_value::<ServiceResult>(json!({ "state": "okay", "message": "" })).unwrap(),
        ServiceResult::default()
    );
    let later = json!({ "at": at(0), "author": "ann", "comment": "", "until": null, "sticky": false, "state": "bad", "via": "chat" });
    assert!(serde_json::from_value::<Acknowledgement>(later).is_ok());
    let later = json!({ "id": 1, "pattern": "*", "start": at(0), "end": at(1), "author": "ann", "comment": "", "flexible": true });
    let downtime: Downtime = serde_json::from_value(later).unwrap();
    assert_eq!((&downtime.covers, downtime.stretch()), (&"*".into(), Some((at(0), at(1)))), "it has one pattern");
    let later = json!({ "kind": "quiet_hours", "until": at(1), "zone": "UTC" });
    assert_eq!(serde_json::from_value::<Hold>(later).unwrap(), Hold::QuietHours { until: at(1) });
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> usize {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
    text.len()
}

#[test]
fn everything_comes_back_as_it_was_and_is_small() {
    let downtime = Downtime { covers: "web-*".into(), start: at(0), end: at(60), ..Downtime::default() };
    let labels = [("team".to_owned(), "web".to_owned())].into();
    let covers = Selector { checks: Vec::new(), labels };
    let (lasts, began) = (Some(std::time::Duration::from_secs(90)), Some(at(3)));
    survives(&downtime);
    survives(&Downtime { covers, lasts, began, ..downtime });
    let policy = Policy { max_attempts: 1, recover_after: 2, flapping: Some(FlappingPolicy::default()) };
    let (mut status, mut told) = (CheckStatus::default(), Told::default());
    survives(&status);
    let mut largest = 0;
    for second in 0..200 {
        let result = if second % 5 < 2 { State::Okay } else { State::Bad };
        if let Some(transition) = status.apply(&Name::new("x"), result, &policy, at(second)) {
            survives(&transition);
        }
        if let monchero_core::Decision::Tell(notice) = monchero_core::decide(
            &status.hard(),
            &told,
            None,
            &monchero_core::decide::Wants { states: vec![State::Bad], ..Default::default() },
            at(second),
        ) {
            survives(&notice);
            told.attempted(&notice, &status.hard());
            if second == 50 {
                told.delivered(&notice, at(second));
            }
        }
        largest = largest.max(survives(&status)).max(survives(&told));
    }
    assert!(status.flapping_since().is_some() && told.missed_more > 0, "{told:?}");
    // One row for each check and each target of a check is written again and again.
    assert!(largest < 4_096, "{largest} bytes");
}
