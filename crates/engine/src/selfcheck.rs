//! monchero watches itself: `self/config`, `self/store`, `self/notify`, `self/scheduler` and `config/<file>` are checks like any other.

use std::sync::Arc;
use std::time::Duration;

use monchero_core::action::Happened;
use monchero_core::definition::{ConfigProblem, Configuration, Definition};
use monchero_core::quantity::Unit;
use monchero_core::report::CheckResult;
use monchero_core::text::counted;
use monchero_core::{Metric, Name, Report, State, order};
use tokio::time::Instant;

use crate::dispatch::Origin;
use crate::engine::Engine;
use crate::entry::{CONFIG_KIND, SELF_KIND, never_run};

/// How often monchero looks at itself.
const INTERVAL: Duration = Duration::from_secs(10);
/// The names of the checks by which it does.
const NAMES: [&str; 4] = ["self/config", "self/store", "self/notify", "self/scheduler"];
/// The one that tells how signs of life are taken, if any are sent.
pub const ALIVE: &str = "self/alive";
/// A target that failed this often in a row makes `self/notify` a warning.
const FAILED_TRIES: u32 = 3;
/// A check that starts so much after it was due is late; less is what many checks at once take.
const LATE: Duration = Duration::from_secs(10);
/// How long `self/store` is a warning over something that was lost or mended. History and the log say it longer.
const LOSS_SHOWN: Duration = Duration::from_secs(6 * 3_600);
/// The most files that are shown as `config/<file>`; `self/config` counts all of them.
const MAX_FILES: usize = 100;

/// What monchero knows about itself.
#[derive(Debug)]
pub(crate) struct SelfChecks {
    /// The actions of these checks.
    pub(crate) actions: Arc<[Name]>,
    /// What of the configuration in force cannot be used.
    pub(crate) config_problems: Vec<ConfigProblem>,
    /// Why the last reload failed, if it did.
    reload_trouble: Option<String>,
    /// Why the log cannot be written as it should be.
    log_trouble: Option<String>,
    losses: Losses,
    next_look: Instant,
    last_panics: u64,
}

/// What the store lost or mended of late.
#[derive(Debug, Default)]
struct Losses {
    /// What it says it mended, and when that was heard first.
    repairs: Vec<(String, Instant)>,
    /// How many records it had dropped at the last look.
    dropped: u64,
    /// How many of them count as one loss, and when the last of these was dropped.
    lately: Option<(u64, Instant)>,
}

impl Losses {
    /// Looks anew; what there is to say now.
    fn look(&mut self, repairs: Vec<String>, dropped: u64, now: Instant) -> Vec<String> {
        self.repairs.retain(|(known, _)| repairs.contains(known));
        for line in repairs {
            if self.repairs.iter().all(|(known, _)| *known != line) {
                self.repairs.push((line, now));
            }
        }
        let is_shown = |at: Instant| now.saturating_duration_since(at) < LOSS_SHOWN;
        self.lately = self.lately.filter(|(_, at)| is_shown(*at));
        let more = dropped.saturating_sub(std::mem::replace(&mut self.dropped, dropped));
        if more > 0 {
            self.lately = Some((self.lately.map_or(0, |(count, _)| count) + more, now));
        }
        let shown = self.repairs.iter().filter(|(_, at)| is_shown(*at)).map(|(line, _)| line.clone());
        let dropped = self.lately.map(|(n, _)| format!("{n} records were dropped because the disk did not take them"));
        shown.chain(dropped).collect()
    }
}

impl SelfChecks {
    /// At the start.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            actions: Arc::from([]),
            config_problems: Vec::new(),
            reload_trouble: None,
            log_trouble: None,
            losses: Losses::default(),
            next_look: now,
            last_panics: 0,
        }
    }
}

impl Engine {
    /// The definitions of the checks that monchero reports about itself and its files.
    pub(crate) fn internal_definitions(&self, configuration: &Configuration) -> Vec<Definition> {
        let alive = configuration.alive.then_some(ALIVE);
        let own = NAMES
            .into_iter()
            .chain(alive)
            .map(|name| never_run(Name::new(name), SELF_KIND, Arc::clone(&self.selfchecks.actions)));
        let mut files: Vec<&str> = configuration.problems.iter().map(|problem| problem.file.as_str()).collect();
        order::sort(&mut files);
        files.dedup();
        let broken = files
            .into_iter()
            .take(MAX_FILES)
            .map(|file| never_run(file_check(file), CONFIG_KIND, Arc::clone(&self.selfchecks.actions)));
        own.chain(broken).collect()
    }

    /// Shows what of the configuration cannot be used, a check per file.
    pub(crate) fn report_config_problems(&mut self, now: Instant) {
        let mut by_file: std::collections::BTreeMap<String, Report> = std::collections::BTreeMap::new();
        for problem in &self.selfchecks.config_problems {
            let report = by_file.entry(problem.file.clone()).or_default();
            report.find(State::Bad, problem.line.clone());
            report.output.push_str(&problem.rendered);
            report.output.push('\n');
        }
        for (file, report) in by_file {
            self.report(file_check(&file).as_str(), report, now);
        }
    }

    /// A reload failed, or the configuration is in order again.
    pub(crate) fn config_trouble(&mut self, trouble: Option<String>, now: Instant) {
        if let Some(why) = &trouble {
            self.occasion(&Happened::Config { why: why.clone() });
        }
        self.selfchecks.reload_trouble = trouble;
        self.report("self/config", self.look_at_config(), now);
    }

    /// The log cannot be written as it should be, or it can again.
    pub(crate) fn log_trouble(&mut self, trouble: Option<String>, now: Instant) {
        self.selfchecks.log_trouble = trouble;
        let store = self.look_at_store(now);
        self.report("self/store", store, now);
    }

    /// Looks at itself when it is time.
    pub(crate) fn watch_self(&mut self, now: Instant) {
        self.turn_downtimes();
        if now >= self.selfchecks.next_look {
            self.selfchecks.next_look = now + INTERVAL;
            self.look_at_self(now);
            self.forget_downtimes(now);
        }
    }

    /// Looks at itself.
    pub(crate) fn look_at_self(&mut self, now: Instant) {
        self.report("self/config", self.look_at_config(), now);
        let store = self.look_at_store(now);
        self.report("self/store", store, now);
        self.report("self/notify", self.look_at_outbox(now), now);
        let scheduler = self.look_at_scheduler(now);
        self.report("self/scheduler", scheduler, now);
    }

    /// How the last sign of life was taken, or why none was sent.
    pub(crate) fn alive(&mut self, report: Report, now: Instant) {
        self.report(ALIVE, report, now);
    }

    fn report(&mut self, name: &str, report: Report, now: Instant) {
        let Some(id) = self.entries.find(name) else { return };
        let at = self.wall();
        if let Some(result) = CheckResult::new(Name::new(name), at, Duration::ZERO, Ok(report), State::Unknown) {
            self.take_result(id, result, Origin::Word, now);
        }
    }

    fn look_at_config(&self) -> Report {
        let mut report = Report::default();
        if let Some(trouble) = &self.selfchecks.reload_trouble {
            report.find(
                State::Bad,
                format!("the last reload failed, the configuration before it is in force: {trouble}"),
            );
        }
        match self.selfchecks.config_problems.as_slice() {
            [] => {}
            [one] => report.find(State::Bad, one.line.clone()),
            [first, rest @ ..] => report.find(
                State::Bad,
                format!("{} (and {} more; `monchero config check` shows all)", first.line, rest.len()),
            ),
        }
        let checks = self
            .entries
            .names()
            .filter(|(_, id)| self.entries.get(*id).is_some_and(crate::entry::Entry::is_scheduled))
            .count();
        let (checks, actions) = (counted(checks, "check"), counted(self.actions.len(), "action"));
        report.find(State::Okay, format!("{checks} and {actions} in force"));
        report
    }

    fn look_at_store(&mut self, now: Instant) -> Report {
        let mut report = Report::default();
        if let Some(trouble) = &self.committed.borrow().trouble {
            report.find(State::Bad, format!("the state is kept in memory only: {trouble}"));
        }
        let counters = self.journal().counters();
        for loss in self.selfchecks.losses.look(counters.repairs, counters.dropped, now) {
            report.find(State::Warning, loss);
        }
        if let Some(trouble) = &self.selfchecks.log_trouble {
            report.find(State::Warning, trouble.clone());
        }
        report.find(State::Okay, "state and history are on disk");
        if counters.evicted > 0 {
            let rows = counters.evicted;
            report.find(
                State::Okay,
                format!("{rows} rows of history went early, since the database has its largest size"),
            );
        }
        if counters.refused > 0 {
            let values = counters.refused;
            report.find(
                State::Okay,
                format!("{values} values of metrics were left out: no numbers, or of too many series"),
            );
        }
        for (label, value, unit) in [
            ("size", counters.bytes as f64, Unit::BYTES),
            ("waiting", counters.queued_bytes as f64, Unit::BYTES),
            ("commits", counters.commits as f64, Unit::COUNTER),
            ("commits_failed", counters.failures as f64, Unit::COUNTER),
            ("rows", counters.rows as f64, Unit::COUNTER),
            ("dropped", counters.dropped as f64, Unit::COUNTER),
            ("left_out", counters.refused as f64, Unit::COUNTER),
            ("evicted", counters.evicted as f64, Unit::COUNTER),
            ("last_commit", counters.last_commit.as_secs_f64(), Unit::SECONDS),
            ("slowest_commit", counters.slowest_commit.as_secs_f64(), Unit::SECONDS),
        ] {
            report.metrics.push(Metric::new(label, value, unit));
        }
        report
    }

    fn look_at_outbox(&self, now: Instant) -> Report {
        let mut report = Report::default();
        for (target, trouble) in self.outbox.troubles() {
            let next = monchero_core::duration::human(trouble.until.saturating_duration_since(now));
            if trouble.parked {
                report.find(
                    State::Bad,
                    format!("`{target}` refuses: {}; next try in {next}, or after a reload", trouble.why),
                );
            } else if trouble.tries >= FAILED_TRIES {
                report.find(
                    State::Warning,
                    format!(
                        "`{target}` cannot be reached since {} tries: {}; next in {next}",
                        trouble.tries, trouble.why
                    ),
                );
            }
        }
        report.find(State::Okay, "all targets can be told");
        report.metrics.push(Metric::new("delivered", self.outbox.delivered as f64, Unit::COUNTER));
        report.metrics.push(Metric::new("failed", self.outbox.failed as f64, Unit::COUNTER));
        report
    }

    fn look_at_scheduler(&mut self, now: Instant) -> Report {
        let mut report = Report::default();
        let (p50, p99) = (self.runs.lateness.quantile(0.5), self.runs.lateness.quantile(0.99));
        let human = monchero_core::duration::human;
        // Whoever has not started has no lateness yet.
        let latest = p99.max(self.runs.longest_wait(now));
        if latest > LATE {
            report.find(
                State::Warning,
                format!("checks start late: {} wait for a place, the latest by {}", self.runs.waiting(), human(latest)),
            );
        }
        let panics = self.runs.panics - self.selfchecks.last_panics;
        self.selfchecks.last_panics = self.runs.panics;
        if panics > 0 {
            report.find(
                State::Warning,
                format!("{panics} runs of checks panicked; `monchero status` shows which as unknown"),
            );
        }
        for entry in self.entries.by_name().filter(|entry| entry.benched) {
            let name = &entry.row.name;
            report.find(
                State::Warning,
                format!("`{name}` is not run, because it crashed monchero; `monchero run {name}` tries it again"),
            );
        }
        report.find(State::Okay, format!("checks start on time (99 of 100 within {})", human(p99)));
        for (label, value, unit) in [
            ("lateness_p50", p50.as_secs_f64(), Unit::SECONDS),
            ("lateness_p99", p99.as_secs_f64(), Unit::SECONDS),
            ("waiting", self.runs.waiting() as f64, Unit::NONE),
            ("runs", self.runs.started as f64, Unit::COUNTER),
            ("skipped", self.runs.skipped as f64, Unit::COUNTER),
            ("gaps", self.runs.gaps as f64, Unit::COUNTER),
        ] {
            report.metrics.push(Metric::new(label, value, unit));
        }
        self.runs.lateness.reset();
        report
    }
}

fn file_check(file: &str) -> Name {
    Name::new("config").service(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_said_for_a_while() {
        let mut losses = Losses::default();
        let start = Instant::now();
        let mended = || vec!["a row was lost".to_owned()];
        assert_eq!(losses.look(mended(), 0, start), mended());
        let later = start + LOSS_SHOWN / 2;
        assert_eq!(losses.look(mended(), 5, later).len(), 2);
        assert_eq!(
            losses.look(mended(), 7, start + LOSS_SHOWN),
            ["7 records were dropped because the disk did not take them"]
        );
        assert_eq!(losses.look(mended(), 7, later + 2 * LOSS_SHOWN), [""; 0]);
        let again = later + 3 * LOSS_SHOWN;
        assert_eq!(losses.look(mended(), 8, again), ["1 records were dropped because the disk did not take them"]);
    }
}
