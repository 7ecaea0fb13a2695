//! `heartbeat`: a job that must report.

mod known;
#[cfg(test)]
mod model;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use monchero_core::check::{CheckKind, Context, Signal, SignalKind};
use monchero_core::duration::{DurationText, human};
use monchero_core::items::{Field, Judge};
use monchero_core::recurrence::{self, Recurrence};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::settings::excerpt;
use known::{Heard, Known, Run};
use schedule::Schedule;

const FIELDS: &[Field<'static>] = &[
    Field::number("runtime", "s", "How long the last run took: what it said itself, or the time since its start."),
    Field::number("age", "s", "How long ago the last run that went well ended."),
];

/// Less is the work of NTP, or a process that waited for its turn.
const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(5);

/// A job that must report: a backup, a cron job, anything that is to be heard of again and again.
///
/// The job is run as `monchero ping NAME -- COMMAND`, which tells when it starts, and how it ends with its exit status and the end of its
/// output. Or it tells itself, with `monchero ping NAME` when it is done (`--start`, `--fail` and `--log` say more), or over the API with
/// `POST /v1/checks/NAME/signals`.
///
/// When it is due is said by one of `period`, `cron` and `calendar`. Until the first signal it is okay and waits. It is bad when a run
/// fails, until one goes well; when nothing is heard until `grace` after it was due; and when a run that has started does not end
/// in time (`longest`). A run that has started in time is not late while it goes on. Runs may overlap if they say which one they
/// are (`--run`; the wrapper does it by itself). `log` signals change nothing, they are only kept.
///
/// Nothing has to be confirmed about a job that has failed or was not heard of: the first bad result is hard, whatever `retries` says.
/// The verdict comes when the time is over, not at the next `interval`. When the wall clock is set, deadlines keep their distance; time
/// that the machine sleeps does not count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Heartbeat {
    /// The longest time from one signal to the next, such as `1d`, `15m`. Either this, `cron` or `calendar`.
    #[serde(default, with = "monchero_core::duration::option")]
    #[schemars(with = "Option<DurationText>")]
    period: Option<Duration>,
    /// When the job is due, as five fields of a crontab: `30 2 * * *`. Days of the month and of the week mean either of them if both are
    /// limited. What falls into the hour that is left out in spring is due right after it; of the hour that comes twice in autumn a fixed
    /// time counts once.
    #[serde(default)]
    cron: Option<String>,
    /// When the job is due, as in the `OnCalendar=` of a systemd timer: `Mon..Fri *-*-* 02:30:00`, `*:0/15`, `*-*~01`, `daily`. Days of
    /// the week, dates and times with lists, ranges and repetitions, days from the end of the month, and the words `minutely`, `hourly`,
    /// `daily`, `weekly`, `monthly`, `quarterly`, `semiannually` and `yearly`; no fractions of seconds, and the time zone stands in `zone`.
    #[serde(default)]
    calendar: Option<String>,
    /// The time zone of `cron` and `calendar`, such as `Europe/Berlin`. Default: that of the host.
    #[serde(default)]
    zone: Option<String>,
    /// How late a signal may be. Default: a tenth of the time until it is due again, at least 1m and at most 1h.
    #[serde(default, with = "monchero_core::duration::option")]
    #[schemars(with = "Option<DurationText>")]
    grace: Option<Duration>,
    /// How long a run may take from its start to its end. Default: until the job is due again after its start, and `grace`.
    #[serde(default, with = "monchero_core::duration::option")]
    #[schemars(with = "Option<DurationText>")]
    longest: Option<Duration>,
    /// How long a run takes at least: one that goes well sooner is a warning, since it can hardly have done its work. (`bad: { runtime:
    /// "< 10s" }` makes it bad.) Default: no limit.
    #[serde(default, with = "monchero_core::duration::option")]
    #[schemars(with = "Option<DurationText>")]
    shortest: Option<Duration>,
    /// When it is a warning. A single range is about `runtime`; a map has ranges for `runtime` and `age`. Default: never.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
    #[serde(skip)]
    schedule: Schedule,
    #[serde(skip)]
    clock: Mutex<Option<(Timestamp, Instant)>>,
}

impl CheckKind for Heartbeat {
    const NAME: &'static str = "heartbeat";
    const EXAMPLE: &'static str = "{ cron: \"30 2 * * *\", grace: 30m, longest: 4h, shortest: 10s }";
    const SHORT_FOR: Option<&'static str> = Some("period");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let usual = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        let zone = recurrence::zone(self.zone.as_deref(), &usual)?;
        let recurrence = Recurrence::of(self.cron.as_deref(), self.calendar.as_deref(), zone.clone())?;
        self.schedule = match (self.period, recurrence) {
            (Some(period), None) => Schedule::every(period, zone)?,
            (None, Some(recurrence)) => Schedule::At(recurrence),
            (None, None) => {
                return Err(Invalid::at("", "it is not said when the job is due: `period`, `cron` or `calendar` does"));
            }
            (Some(_), Some(_)) => {
                return Err(Invalid::at("", "only one of `period`, `cron` and `calendar` says when the job is due"));
            }
        };
        if self.shortest.is_some_and(|shortest| self.longest.is_some_and(|longest| longest <= shortest)) {
            return Err(Invalid::at("longest", "no run takes longer than `shortest` and not longer than `longest`"));
        }
        self.warning.validate("warning", FIELDS)?;
        self.bad.validate("bad", FIELDS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let (known, changed) = self.recall(context.memory, context.now);
        let mut report = self.judge(&known, context.now, context.report());
        if changed {
            report.remember(&known);
        }
        Ok(report)
    }

    fn hear(&self, signal: &Signal, memory: Option<&str>, now: Timestamp) -> Option<Report> {
        let (mut known, _) = self.recall(memory, now);
        known.take(signal, now, |run| now >= self.must_end(run));
        let mut report = self.judge(&known, now, Report::default());
        report.remember(&known);
        Some(report)
    }
}

impl Heartbeat {
    /// What is known of the job, in terms of the wall clock as it goes now; whether that differs from what was kept.
    fn recall(&self, memory: Option<&str>, now: Timestamp) -> (Known, bool) {
        let step = self.clock_step(now);
        let Some(kept) = memory.and_then(|memory| serde_json::from_str::<Known>(memory).ok()) else {
            return (Known::new(now), true);
        };
        let mut known = kept.clone();
        if let Some((step, before)) = step {
            let nothing_was_due = self.schedule.next(known.reference()).is_none_or(|due| due > before);
            known.shift(step);
            // What the clock has passed over is not waited for.
            if step.is_positive() && nothing_was_due && !self.schedule.is_period() {
                known.sign = known.sign.map(|_| now);
                known.since = if known.sign.is_none() { now } else { known.since };
            }
        }
        known.settle(now);
        let changed = known != kept;
        (known, changed)
    }

    /// By how much the wall clock was set since the last look, and when that was.
    fn clock_step(&self, now: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        let present = Instant::now();
        let last = self.clock.lock().unwrap_or_else(PoisonError::into_inner).replace((now, present));
        let (last_now, last_present) = last?;
        let passed = SignedDuration::try_from(present.saturating_duration_since(last_present)).ok()?;
        // Moments are kept to the millisecond.
        let step = SignedDuration::from_millis(
            i64::try_from(((now.duration_since(last_now) - passed).as_micros() + 500).div_euclid(1_000)).ok()?,
        );
        (step.abs() >= CLOCK_STEP).then_some((step, last_now))
    }

    /// Until when something must be heard if nothing is heard after `at`.
    fn deadline(&self, at: Timestamp) -> Timestamp {
        let Some(due) = self.schedule.next(at) else { return Timestamp::MAX };
        due.saturating_add(self.grace.unwrap_or_else(|| self.schedule.grace(due))).unwrap_or(Timestamp::MAX)
    }

    /// Until when a run must have ended.
    fn must_end(&self, run: &Run) -> Timestamp {
        match self.longest {
            Some(longest) => run.began.saturating_add(longest).unwrap_or(Timestamp::MAX),
            None => self.deadline(run.began),
        }
    }

    fn judge(&self, known: &Known, now: Timestamp, mut report: Report) -> Report {
        report.proven = true;
        let deadline = self.deadline(known.reference());
        let (overdue, going): (Vec<&Run>, Vec<&Run>) = known.runs.iter().partition(|run| now >= self.must_end(run));
        // A run that goes on within its limits was begun in time, and is watched by itself.
        let missed = going.is_empty() && now >= deadline;
        self.judge_end(known, &mut report);
        for run in &overdue {
            report.find(State::Bad, self.not_ended(run));
        }
        if missed {
            report.find(State::Bad, self.missed(known, deadline));
        }
        let next = going.iter().map(|run| self.must_end(run)).chain((!missed && going.is_empty()).then_some(deadline));
        let next = next.min();
        self.summarize(known, &going, next, now, &mut report);
        report.output = self.story(known);
        report.again = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
        report
    }

    /// How the last run ended.
    fn judge_end(&self, known: &Known, report: &mut Report) {
        let Some(end) = &known.end else { return };
        let after = end.took.map(|took| format!(" after {}", human(took))).unwrap_or_default();
        match end.kind {
            SignalKind::Fail(status) => {
                let status = status.map(|status| format!(" with exit status {status}")).unwrap_or_default();
                let said = end.output.lines().rev().find(|line| !line.trim().is_empty());
                let said = said.map(|line| format!(": {}", excerpt(line.trim()))).unwrap_or_default();
                report.find(State::Bad, format!("failed {}{status}{after}{said}", self.schedule.show(end.at)));
            }
            _ => {
                if let (Some(shortest), Some(took)) = (self.shortest, end.took)
                    && took < shortest
                {
                    let text = format!(
                        "the run that ended {} took {}, less than {}: it can hardly have done its work",
                        self.schedule.show(end.at),
                        human(took),
                        human(shortest)
                    );
                    report.find(State::Warning, text);
                }
            }
        }
    }

    fn not_ended(&self, run: &Run) -> String {
        let name = run.name.as_ref().map(|name| format!(" `{}`", excerpt(name))).unwrap_or_default();
        let limit = Duration::try_from(self.must_end(run).duration_since(run.began)).unwrap_or_default();
        format!("the run{name} that began {} has not ended within {}", self.schedule.show(run.began), human(limit))
    }

    fn missed(&self, known: &Known, deadline: Timestamp) -> String {
        let last = match known.sign {
            Some(sign) => format!("the last was {}", self.schedule.show(sign)),
            None => format!("there was none since it was configured {}", self.schedule.show(known.since)),
        };
        let why = if known.sign.is_none() { "; does the job call `monchero ping`?" } else { "" };
        format!("no signal came until {}, {last}{why}", self.schedule.show(deadline))
    }

    /// The metrics, and what there is to say if all is well.
    fn summarize(&self, known: &Known, going: &[&Run], next: Option<Timestamp>, now: Timestamp, report: &mut Report) {
        let mut values = Vec::new();
        values.extend(known.end.as_ref().and_then(|end| end.took).map(|took| ("runtime", took.as_secs_f64())));
        values.extend(known.success.map(|at| ("age", now.duration_since(at).as_secs_f64())));
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(report, "", &values, || {
            let last = match (&known.end, known.success) {
                (Some(Heard { at, kind: SignalKind::Success, took: Some(took), .. }), _) => {
                    format!("went well {}, in {}", self.schedule.show(*at), human(*took))
                }
                (_, Some(success)) => format!("went well {}", self.schedule.show(success)),
                (_, None) if known.sign.is_none() => "waits for the first signal".to_owned(),
                _ => "has not gone well yet".to_owned(),
            };
            let runs = match going {
                [] => String::new(),
                [run] => format!(", runs since {}", self.schedule.show(run.last)),
                [first, ..] => format!(", {} runs go on, since {}", going.len(), self.schedule.show(first.began)),
            };
            let next = match next {
                None => String::new(),
                Some(next) if next == Timestamp::MAX => String::new(),
                Some(next) if going.is_empty() => format!(", due until {}", self.schedule.show(next)),
                Some(next) => format!(", must end until {}", self.schedule.show(next)),
            };
            format!("{last}{runs}{next}")
        });
    }

    /// The last signals with what they brought, newest first.
    fn story(&self, known: &Known) -> String {
        // The last failure is shown with all that is kept of it, in its place or, if that is long ago, at the end.
        let is_failure = |heard: &Heard| {
            known.failure.as_ref().filter(|failure| failure.at == heard.at && failure.kind == heard.kind)
        };
        let mut out = String::new();
        for heard in &known.recent {
            self.tell(&mut out, is_failure(heard).unwrap_or(heard));
        }
        if let Some(failure) = &known.failure
            && !known.recent.iter().any(|heard| is_failure(heard).is_some())
        {
            self.tell(&mut out, failure);
        }
        out
    }

    fn tell(&self, out: &mut String, heard: &Heard) {
        let word = match heard.kind {
            SignalKind::Start => "started".to_owned(),
            SignalKind::Success => "went well".to_owned(),
            SignalKind::Fail(Some(status)) => format!("failed with exit status {status}"),
            SignalKind::Fail(None) => "failed".to_owned(),
            SignalKind::Log => "said".to_owned(),
        };
        let run = heard.run.as_ref().map(|run| format!(" ({})", excerpt(run))).unwrap_or_default();
        let took = heard.took.map(|took| format!(" after {}", human(took))).unwrap_or_default();
        let _ = writeln!(out, "{} {word}{took}{run}", self.schedule.show(heard.at));
        for line in heard.output.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
}
