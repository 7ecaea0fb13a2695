//! What is told that is about no check: summaries that are due, and what happens to monchero itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use monchero_core::action::{Bulletin, Happened, Lifecycle};
use monchero_core::decide::Wants;
use monchero_core::definition::{ActionDefinition, SummaryDefinition};
use monchero_core::hold::QuietHours;
use monchero_core::recurrence::Recurrence;
use monchero_core::summary::Summary;
use monchero_core::{Name, Policy, State};
use monchero_engine::{Refusal, Test};

use crate::lab::{Answer, CheckSpec, Lab, ScriptSpec};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A check that `ops` is told of, looked at every minute. The clock shows 2027-01-15 08:00.
fn shop(adjust: impl FnMut(&mut ActionDefinition)) -> Lab {
    let check = CheckSpec {
        name: "shop".to_owned(),
        interval: MINUTE,
        retry_interval: MINUTE,
        policy: Policy { max_attempts: 1, ..Policy::default() },
        depends_on: Vec::new(),
        actions: vec!["ops".to_owned()],
    };
    let wants = Wants { states: vec![State::Bad], ..Wants::default() };
    Lab::adjusted(&[check], &[("ops".to_owned(), wants)], &[], adjust)
}

fn noon(period: Option<Duration>) -> SummaryDefinition {
    SummaryDefinition {
        name: Name::new("noon"),
        schedule: Arc::new(Recurrence::calendar("12:00", TimeZone::UTC).unwrap()),
        to: vec![Name::new("ops")],
        period,
    }
}

fn summaries(lab: &Lab) -> Vec<Summary> {
    let all = lab.bulletins.lock().unwrap();
    all.iter()
        .filter_map(|one| if let Bulletin::Summary(summary) = one { Some(Summary::clone(summary)) } else { None })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_summary_goes_out_when_it_is_due_and_tells_what_happened_since_the_one_before() {
    let mut lab = shop(|_| {});
    lab.summarize(&[noon(None)]).await;
    tokio::time::sleep(HOUR).await;
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(HOUR).await;
    lab.answer("shop", Answer::State(State::Okay));
    tokio::time::sleep(HOUR + 50 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad", "ops: recovery shop okay"], "it is not noon yet");
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: summary self/summary/noon okay"]);
    let first = summaries(&lab).remove(0);
    assert_eq!(
        (first.counts.okay, first.sent, first.failed),
        (5, 2, 0),
        "the four checks of monchero itself count too"
    );
    assert_eq!((first.worst.lines[0].check.as_str(), first.worst.lines[0].seconds), ("shop", 3_600));
    assert_eq!((first.until.duration_since(first.since)).as_hours(), 4, "since it was configured");
    // The next one tells of the time since then.
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(24 * HOUR).await;
    assert_eq!(lab.take_messages(), ["ops: problem shop bad", "ops: summary self/summary/noon warning"]);
    let second = summaries(&lab).remove(1);
    assert_eq!((second.since, second.problems.lines[0].check.as_str()), (first.until, "shop"));
    tokio::time::sleep(HOUR).await;
    assert!(lab.take_messages().is_empty(), "once");
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_the_daemon_was_down_is_sent_once_and_marked_late() {
    let mut lab = shop(|_| {});
    lab.summarize(&[noon(Some(24 * HOUR))]).await;
    tokio::time::sleep(SECOND).await;
    lab.stop_for(80 * HOUR).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: summary self/summary/noon okay (late)"], "three were due");
    let summary = summaries(&lab).remove(0);
    assert_eq!(summary.until.duration_since(summary.since).as_hours(), 24, "as its period says");
    tokio::time::sleep(HOUR).await;
    lab.restart().await;
    tokio::time::sleep(HOUR).await;
    assert!(lab.take_messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_is_not_taken_is_tried_again_also_after_a_kill() {
    let mut lab = shop(|_| {});
    lab.summarize(&[noon(None)]).await;
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    tokio::time::sleep(5 * HOUR).await;
    lab.kill().await;
    tokio::time::sleep(MINUTE).await;
    let tries: Vec<_> = lab.journal.notices.lock().unwrap().drain(..).collect();
    assert!(tries.len() > 10 && tries.iter().all(|row| !row.delivered));
    assert!(tries.iter().all(|row| row.delivery_id == tries[0].delivery_id), "the same message, so it has one id");
    lab.target_works.lock().unwrap().insert("ops".to_owned(), true);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(
        lab.take_messages(),
        ["ops: summary self/summary/noon warning (late)"],
        "`self/notify` is no longer okay"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_summary_holds_no_notice_up() {
    let mut lab = shop(|_| {});
    lab.summarize(&[noon(None)]).await;
    lab.target_refuses.lock().unwrap().insert("ops".to_owned());
    tokio::time::sleep(4 * HOUR + MINUTE).await;
    assert!(lab.message("self/notify").await.contains("`ops` refuses: wrong token"));
    // It refuses the summary, whatever the reason, and takes notices.
    lab.target_refuses.lock().unwrap().clear();
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(MINUTE + SECOND).await;
    assert_eq!(lab.take_messages()[0], "ops: problem shop bad");
}

#[tokio::test(start_paused = true)]
async fn a_summary_for_whoever_asks_goes_out_at_once() {
    let lab = shop(|_| {});
    lab.answer("shop", Answer::State(State::Bad));
    tokio::time::sleep(HOUR).await;
    lab.take_messages();
    let since = lab.now().checked_sub(HOUR).unwrap();
    assert_eq!(lab.handle.send_summary(Name::new("ops"), since).await, Ok(Ok("taken".to_owned())));
    assert_eq!(lab.take_messages(), ["ops: summary self/summary warning"]);
    assert_eq!(summaries(&lab)[0].problems.lines[0].check.as_str(), "shop");
    let refused = lab.handle.send_summary(Name::new("opps"), since).await.unwrap_err();
    assert!(matches!(refused, Refusal::NoSuchTarget { near: Some(near), .. } if near == "ops"));
    lab.target_works.lock().unwrap().insert("ops".to_owned(), false);
    let failed = lab.handle.send_summary(Name::new("ops"), since).await;
    assert_eq!(failed, Ok(Err("connection refused".to_owned())), "who asks hears it");
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_know_is_told_that_monchero_started_and_that_it_crashed() {
    let mut lab = shop(|target| target.lifecycle = vec![Lifecycle::Started, Lifecycle::Config, Lifecycle::Crashed]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(lab.take_messages(), ["ops: started self/started okay"]);
    let Bulletin::Occasion(started) = lab.bulletins.lock().unwrap().remove(0) else { panic!("no occasion") };
    let Happened::Started { kinds, .. } = started.what else { panic!("not started") };
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [("fake".to_owned(), 1)]);
    // A stop in order is no crash.
    lab.restart().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: started self/started okay"]);
    let before = lab.now();
    lab.kill().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: crashed self/crashed warning", "ops: started self/started okay"]);
    let bulletins: Vec<_> = lab.bulletins.lock().unwrap().drain(..).collect();
    let Bulletin::Occasion(crashed) = &bulletins[1] else { panic!("no occasion") };
    assert!(
        matches!(crashed.what, Happened::Crashed { seen } if seen <= before && seen.checked_add(2 * MINUTE).unwrap() > before)
    );
    lab.handle.config_trouble(Some("conf.d/a.yaml:1: nonsense".to_owned())).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: config self/config warning"]);
    lab.reload().await;
    tokio::time::sleep(MINUTE).await;
    assert!(lab.take_messages().is_empty(), "that it is mended is no news of that kind");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_it_unasked_and_nobody_in_quiet_hours() {
    let mut lab = shop(|_| {});
    tokio::time::sleep(MINUTE).await;
    lab.kill().await;
    tokio::time::sleep(MINUTE).await;
    assert!(lab.take_messages().is_empty());
    let time = |hour| jiff::civil::time(hour, 0, 0, 0);
    let lab = shop(|target| {
        target.lifecycle = vec![Lifecycle::Started];
        target.quiet = Some(QuietHours { from: time(7), to: time(9) });
    });
    tokio::time::sleep(59 * MINUTE).await;
    assert!(lab.take_messages().is_empty());
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(lab.take_messages(), ["ops: started self/started okay (late)"]);
}

/// A target that refused for good rests for a quarter of an hour, unless it is known to be mended.
#[tokio::test(start_paused = true)]
async fn a_parked_target_is_back_at_once_after_a_reload_or_a_test_that_went_well() {
    for by_reload in [true, false] {
        let lab = shop(|_| {});
        tokio::time::sleep(SECOND).await;
        lab.target_refuses.lock().unwrap().insert("ops".to_owned());
        lab.answer("shop", Answer::State(State::Bad));
        tokio::time::sleep(2 * MINUTE).await;
        assert!(lab.message("self/notify").await.contains("`ops` refuses: wrong token"));
        // A test that fails changes nothing.
        let test = || Test { target: Name::new("ops"), state: State::Bad, about: None };
        assert_eq!(lab.handle.test_target(test()).await, Ok(Err("wrong token".to_owned())));
        lab.target_refuses.lock().unwrap().clear();
        tokio::time::sleep(MINUTE).await;
        assert!(lab.take_messages().is_empty(), "it rests");
        if by_reload {
            lab.reload().await;
        } else {
            assert_eq!(lab.handle.test_target(test()).await, Ok(Ok("taken".to_owned())));
        }
        tokio::time::sleep(SECOND).await;
        let mut told = lab.take_messages();
        told.retain(|message| !message.ends_with("[drill]"));
        assert_eq!(told, ["ops: problem shop bad"], "by reload: {by_reload}");
    }
}

/// Digests, and so bulletins, are not for targets that open and close incidents; scripts tell nobody.
#[tokio::test(start_paused = true)]
async fn a_script_takes_no_summary() {
    let lab =
        Lab::new(&[], &[], &[ScriptSpec { name: "mend".to_owned(), on: Vec::new(), limit: None, cooldown: None }]);
    let refused = lab.handle.send_summary(Name::new("mend"), lab.now()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Senseless(why) if why.contains("script")));
}
