use jiff::civil::DateTime;
use monchero_core::Name;
use monchero_core::report::{CheckResult, ServiceResult};

use super::*;

fn heartbeat(change: impl FnOnce(&mut Heartbeat)) -> Heartbeat {
    let mut settings = Heartbeat {
        period: None,
        cron: None,
        calendar: None,
        zone: Some("Europe/Berlin".to_owned()),
        grace: None,
        longest: None,
        shortest: None,
        warning: Thresholds::default(),
        bad: Thresholds::default(),
        schedule: Schedule::default(),
        clock: Mutex::default(),
    };
    change(&mut settings);
    settings.validate().unwrap();
    settings
}

pub(super) fn every(period: &str, grace: &str) -> Heartbeat {
    heartbeat(|settings| {
        settings.period = Some(monchero_core::duration::parse(period).unwrap());
        settings.grace = Some(monchero_core::duration::parse(grace).unwrap());
    })
}

/// A job and its check, with a clock that is told what time it is.
pub(super) struct Story {
    pub(super) check: Heartbeat,
    memory: Option<String>,
    pub(super) now: Timestamp,
    pub(super) last: ServiceResult,
    pub(super) again: Option<Duration>,
}

impl Story {
    pub(super) fn new(check: Heartbeat, now: &str) -> Self {
        let now = now.parse::<DateTime>().unwrap().to_zoned(TimeZone::get("Europe/Berlin").unwrap()).unwrap();
        let mut story = Self { check, memory: None, now: now.timestamp(), last: ServiceResult::default(), again: None };
        story.look();
        story
    }

    fn take(&mut self, mut report: Report) -> String {
        self.again = report.again;
        self.memory = report.memory.take().map(String::from).or(self.memory.take());
        assert!(report.proven);
        let result = CheckResult::new(Name::new("job"), self.now, Duration::ZERO, Ok(report), State::Unknown).unwrap();
        self.last = result.result;
        format!("{}: {}", self.last.state, self.last.message)
    }

    /// The wall clock and the one that cannot be set go on together.
    pub(super) fn pass(&mut self, span: &str) -> &mut Self {
        let span = monchero_core::duration::parse(span).unwrap();
        self.now = self.now.checked_add(span).unwrap();
        if let Some((at, _)) = self.check.clock.lock().unwrap().as_mut() {
            *at = at.checked_add(span).unwrap();
        }
        self
    }

    pub(super) fn look(&mut self) -> String {
        let (known, changed) = self.check.recall(self.memory.as_deref(), self.now);
        let mut report = self.check.judge(&known, self.now, Report::default());
        if changed {
            report.remember(&known);
        }
        self.take(report)
    }

    pub(super) fn say(&mut self, kind: SignalKind, run: Option<&str>, output: &str) -> String {
        let signal = Signal { kind, run: run.map(str::to_owned), output: output.to_owned(), took: None };
        let report = self.check.hear(&signal, self.memory.as_deref(), self.now).unwrap();
        self.take(report)
    }
}

#[test]
fn a_job_is_waited_for_from_the_beginning() {
    let mut story = Story::new(every("1d", "1h"), "2026-06-01T12:00");
    assert_eq!(story.look(), "okay: waits for the first signal, due until 2026-06-02 13:00:00");
    assert_eq!(story.again, Some(Duration::from_secs(25 * 3_600)));
    assert!(story.pass("24h59m59s").look().starts_with("okay"));
    assert_eq!(
        story.pass("1s").look(),
        "bad: no signal came until 2026-06-02 13:00:00, there was none since it was configured 2026-06-01 12:00:00; \
         does the job call `monchero ping`?"
    );
    assert_eq!(story.again, None);
    story.pass("1h");
    assert_eq!(
        story.say(SignalKind::Success, None, ""),
        "okay: went well 2026-06-02 14:00:00, due until 2026-06-03 15:00:00"
    );
    assert_eq!(
        story.pass("25h").look(),
        "bad: no signal came until 2026-06-03 15:00:00, the last was 2026-06-02 14:00:00"
    );
}

#[test]
fn a_failure_stands_until_a_run_goes_well() {
    let mut story = Story::new(every("1d", "1h"), "2026-06-01T12:00");
    assert!(story.say(SignalKind::Start, Some("a"), "").starts_with("okay: has not gone well yet, runs since"));
    story.pass("2m");
    let output = "begin\n\x1b[31mno space left\x1b[0m\n\n";
    assert_eq!(
        story.say(SignalKind::Fail(Some(3)), Some("a"), output),
        "bad: failed 2026-06-01 12:02:00 with exit status 3 after 2m: \u{fffd}[31mno space left\u{fffd}[0m"
    );
    assert!(
        story.last.output.contains("12:02:00 failed with exit status 3 after 2m (a)\n    begin\n    \u{fffd}[31mno")
    );
    story.pass("1h");
    assert!(story.say(SignalKind::Log, None, "still thinking").starts_with("bad: failed"), "a log changes nothing");
    assert!(story.last.output.starts_with("2026-06-01 13:02:00 said\n    still thinking\n"), "{}", story.last.output);
    assert!(story.say(SignalKind::Start, Some("b"), "").starts_with("bad: failed"));
    assert!(story.say(SignalKind::Success, Some("b"), "").starts_with("okay: went well"));
    for _ in 0..20 {
        story.say(SignalKind::Success, None, "fine");
    }
    assert!(story.last.output.contains("no space left"), "the last failure is kept: {}", story.last.output);
    assert_eq!(story.last.output.matches("went well").count(), 8);
}

#[test]
fn runs_end_in_time_and_not_too_soon() {
    let mut story = Story::new(
        heartbeat(|settings| {
            settings.period = Some(Duration::from_secs(3_600));
            settings.longest = Some(Duration::from_secs(7_200));
            settings.shortest = Some(Duration::from_secs(10));
        }),
        "2026-06-01T12:00",
    );
    story.say(SignalKind::Start, Some("a"), "");
    // Its period is over, and still it is one of its runs.
    assert!(story.pass("1h59m59s").look().starts_with("okay"));
    assert_eq!(story.again, Some(Duration::from_secs(1)));
    let late = "bad: the run `a` that began 2026-06-01 12:00:00 has not ended within 2h; no signal came until";
    assert!(story.pass("1s").look().starts_with(late), "{}", story.look());
    story.say(SignalKind::Start, Some("b"), "");
    assert!(story.look().starts_with("bad: the run `a`"), "another one does not end it");
    story.pass("5s");
    let end = story.say(SignalKind::Success, Some("b"), "");
    assert!(end.starts_with("warning: the run that ended 2026-06-01 14:00:05 took 5.0s, less than 10s"), "{end}");
    story.say(SignalKind::Start, None, "");
    assert!(story.pass("10s").say(SignalKind::Success, None, "").starts_with("okay"), "{}", story.look());
}

#[test]
fn runs_overlap_by_name() {
    let mut story = Story::new(every("1h", "5m"), "2026-06-01T12:00");
    story.say(SignalKind::Start, Some("a"), "");
    story.pass("30m").say(SignalKind::Start, Some("b"), "");
    assert!(story.look().contains("2 runs go on, since 2026-06-01 12:00:00"), "{}", story.look());
    story.pass("30m").say(SignalKind::Success, Some("b"), "");
    assert!(
        story.look().starts_with("okay") && story.look().contains("must end until 2026-06-01 13:05"),
        "{}",
        story.look()
    );
    assert!(story.pass("5m").look().starts_with("bad: the run `a`"), "each of them is watched");
    assert!(story.say(SignalKind::Success, Some("a"), "").starts_with("okay"));
}

/// A job that begins every day and dies without a word is seen, although each beginning is in time.
#[test]
fn a_job_that_never_ends_is_seen() {
    for name in [None, Some("a"), Some("b")] {
        let mut story =
            Story::new(heartbeat(|settings| settings.cron = Some("30 2 * * *".to_owned())), "2026-06-01T12:00");
        story.pass("14h30m").say(SignalKind::Start, Some("a").and(name), "");
        story.pass("24h").say(SignalKind::Start, name.map(|_| "next"), "");
        assert!(story.pass("1h").look().starts_with("bad: the run"), "{}", story.look());
        story.say(SignalKind::Success, name.map(|_| "next"), "");
        assert!(story.look().starts_with("okay"), "{}", story.look());
    }
}

#[test]
fn the_wall_clock_may_be_set() {
    let set = |story: &mut Story, hours: i64| story.now += SignedDuration::from_hours(hours);
    let mut story = Story::new(every("1d", "1h"), "2026-06-01T12:00");
    story.say(SignalKind::Success, None, "");
    story.pass("10h").look();
    for step in [24 * 365, -2 * 24 * 365, 3, -24 * 100] {
        set(&mut story, step);
        assert!(story.look().starts_with("okay"), "{step}: {}", story.look());
        assert_eq!(story.again, Some(Duration::from_secs(15 * 3_600)), "{step}");
    }
    assert!(story.pass("15h").look().starts_with("bad"));
    // What the clock passes over is not waited for; what is due then is.
    let mut story = Story::new(heartbeat(|settings| settings.cron = Some("30 2 * * *".to_owned())), "2026-06-01T12:00");
    set(&mut story, 20);
    assert!(story.look().starts_with("okay"));
    assert!(story.pass("19h30m").look().starts_with("bad"), "{}", story.look());
    // A daemon that starts on a clock that is behind waits for one period from then on.
    let mut story = Story::new(every("1d", "1h"), "2026-06-01T12:00");
    set(&mut story, -24 * 30);
    story.check = every("1d", "1h");
    assert!(story.look().starts_with("okay"));
    assert_eq!(story.again, Some(Duration::from_secs(25 * 3_600)));
}

/// When a job that is due at 02:30 is missed on the days on which clocks are set in Berlin.
#[test]
fn clocks_that_are_set_for_summer_and_winter() {
    let cron = |settings: &mut Heartbeat| settings.cron = Some("30 2 * * *".to_owned());
    let calendar = |settings: &mut Heartbeat| settings.calendar = Some("*-*-* 02:30:00".to_owned());
    let period = |settings: &mut Heartbeat| settings.period = Some(Duration::from_secs(86_400));
    for (rule, last, missed) in [
        (cron as fn(&mut Heartbeat), "2026-03-27T02:31", "2026-03-28 03:00:00 +01:00"),
        // 02:30 is left out: Vixie's cron runs it right after the change.
        (cron, "2026-03-28T02:31", "2026-03-29 03:30:00 +02:00"),
        (cron, "2026-03-29T03:01", "2026-03-30 03:00:00 +02:00"),
        // 02:30 comes twice: it counts once, when it comes first.
        (cron, "2026-10-24T02:31", "2026-10-25 02:00:00 +01:00"),
        (cron, "2026-10-25T02:31", "2026-10-26 03:00:00 +01:00"),
        (calendar, "2026-03-28T02:31", "2026-03-29 04:00:00 +02:00"),
        (calendar, "2026-03-29T03:31", "2026-03-30 03:00:00 +02:00"),
        (calendar, "2026-10-24T02:31", "2026-10-25 02:00:00 +01:00"),
        (calendar, "2026-10-25T02:31", "2026-10-26 03:00:00 +01:00"),
        // A period is a span of time, whatever clocks show.
        (period, "2026-03-28T12:00", "2026-03-29 13:30:00 +02:00"),
        (period, "2026-10-24T12:00", "2026-10-25 11:30:00 +01:00"),
    ] {
        let check = heartbeat(|settings| {
            rule(settings);
            settings.grace = Some(Duration::from_secs(1_800));
        });
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let last = last.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
        let found = check.deadline(last).to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
        assert_eq!(found, missed, "{:?} {:?} after {last}", check.cron, check.calendar);
    }
}

#[test]
fn grace_follows_the_period() {
    for (period, grace) in [("1d", 3_600), ("1h", 360), ("2m", 60)] {
        let check = heartbeat(|settings| settings.period = monchero_core::duration::parse(period).ok());
        let now = Timestamp::UNIX_EPOCH;
        let period = monchero_core::duration::parse(period).unwrap();
        assert_eq!(check.deadline(now), now + period + Duration::from_secs(grace));
    }
}
