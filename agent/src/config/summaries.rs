//! `summaries:` of `monchero.yaml` and of files in `conf.d`: what is sent again and again, to whom.

use std::time::Duration;

use jiff::tz::TimeZone;
use monchero_core::action::Action;
use monchero_core::definition::SummaryDefinition;
use monchero_core::duration::DurationText;
use monchero_core::node::{Key, Node, SettingsError, Span, nearest};
use monchero_core::recurrence::{self, Recurrence};
use monchero_core::text::{escape_controls, quote};
use monchero_core::{Invalid, Name, duration};
use schemars::JsonSchema;
use serde::Deserialize;

use super::load::{Loader, Sort};
use super::read::read_all;
use super::secrets::Fetcher;
use super::settings::Settings;

/// The shortest period: what happened in less is told by notices.
const MIN_PERIOD: Duration = Duration::from_secs(60);

/// A summary that is sent again and again: how many checks are how, what is wrong now and since when, what was not okay longest, the longest
/// incidents, what flaps, what is slow, how many messages were sent, and downtimes. One that was due while the daemon was down, or while
/// its target could not be reached, is sent once afterwards and says that it is late.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummarySettings {
    /// When it is sent, as in the `OnCalendar=` of a systemd timer: `Mon..Fri 08:00`, `daily`, `Mon 07:30`. Either this or `cron`.
    #[serde(default)]
    calendar: Option<String>,
    /// When it is sent, as five fields of a crontab: `0 8 * * 1-5`. Either this or `calendar`.
    #[serde(default)]
    cron: Option<String>,
    /// The time zone of `calendar` and `cron`, such as `Europe/Berlin`. Default: `time_zone`.
    #[serde(default)]
    zone: Option<String>,
    /// The targets that it is sent to, by name. Not those that open and close incidents (`pagerduty`, `opsgenie`, `alertmanager`).
    to: Vec<String>,
    /// How far back it looks: `1d`, `7d`; at least `1m`. Default: to the one before.
    #[serde(default, with = "duration::option")]
    #[schemars(with = "Option<DurationText>")]
    period: Option<Duration>,
}

impl SummarySettings {
    fn schedule(&self, usual: &TimeZone) -> Result<Recurrence, Invalid> {
        let zone = recurrence::zone(self.zone.as_deref(), usual)?;
        let schedule = Recurrence::of(self.cron.as_deref(), self.calendar.as_deref(), zone)?;
        schedule.ok_or_else(|| Invalid::at("", "it is not said when it is sent: `calendar` or `cron` does"))
    }
}

/// Where a summary is written: the tree, the way to it there, and what it is called if that does not say it.
struct Written<'a> {
    root: &'a Node,
    path: String,
    subject: Option<String>,
}

impl Loader<'_> {
    /// Takes an entry of `summaries:` of a file in `conf.d`, or its mistakes.
    pub(crate) fn summary_entry(
        &mut self,
        key: Key,
        node: Node,
        doubled: &mut Vec<SettingsError>,
        secrets: &Fetcher<'_>,
    ) {
        let subject = subject(&key);
        let whole = Span { end: node.span.end.max(key.span.end), ..key.span };
        let broken = self.take_doubled(Some(&subject), whole, doubled);
        let name = self.take_name(&key.name, key.span, Sort::Summary, &subject);
        let (settings, errors) = read_all(&node, |node| node.read::<SummarySettings>(None, secrets));
        let fine = errors.is_empty() && !broken && name.is_some();
        for error in errors {
            self.report(Some(&subject), error);
        }
        self.summary_entries.extend(settings.filter(|_| fine).map(|settings| (key, node, settings)));
    }

    /// The summaries whose settings are good; the mistakes of the others are told.
    pub(crate) fn summaries(&mut self, settings: &Settings) -> Vec<SummaryDefinition> {
        let zone = self.zone.clone();
        let mut all = Vec::new();
        if let Some(root) = self.settings.clone() {
            for (name, settings) in &settings.summaries {
                let written = Written { root: &root, path: format!("summaries.{name}"), subject: None };
                all.extend(self.summary(name, settings, &zone, &written));
            }
        }
        for (key, root, settings) in std::mem::take(&mut self.summary_entries) {
            let subject = subject(&key);
            if all.iter().any(|known: &SummaryDefinition| known.name.as_str() == &*key.name) {
                let why = "the name is taken: it stands in `monchero.yaml` already".to_owned();
                self.report_at(Some(&subject), key.span, why, Some("choose another name".to_owned()));
                continue;
            }
            let written = Written { root: &root, path: String::new(), subject: Some(subject) };
            all.extend(self.summary(&key.name, &settings, &zone, &written));
        }
        all
    }

    fn summary(
        &mut self,
        text: &str,
        settings: &SummarySettings,
        zone: &TimeZone,
        written: &Written<'_>,
    ) -> Option<SummaryDefinition> {
        let mut wrong: Vec<(String, String, Option<String>)> = Vec::new();
        let mut tell = |path: &str, why: String| wrong.push((path.to_owned(), why, None));
        let name = Name::parse(text).map_err(|why| tell("", why)).ok();
        let schedule = settings.schedule(zone).map_err(|invalid| tell(&invalid.path, invalid.why)).ok();
        if settings.period.is_some_and(|period| period < MIN_PERIOD) {
            tell("period", format!("it is at least `{}`", duration::format(MIN_PERIOD)));
        }
        if settings.to.is_empty() {
            tell("to", "it names no target, so nobody would ever be sent it".to_owned());
        }
        let mut to = Vec::new();
        for (number, target) in (1..).zip(&settings.to) {
            let shown = escape_controls(target);
            let mut tell = |why: String, help: Option<String>| wrong.push((format!("to.{number}"), why, help));
            match self.actions.iter().find(|action| action.name.as_str() == target).map(|action| &action.action) {
                Some(Action::Target(action)) if action.takes_digests() => to.push(Name::new(target)),
                Some(Action::Target(_)) => {
                    tell(format!("`{shown}` opens and closes incidents, and takes no summaries"), None);
                }
                Some(Action::Script(_)) => tell(format!("`{shown}` is a script: it is run, and tells nobody"), None),
                // What is broken, or stands in a file that could not be read, is told already.
                None if self.incomplete || self.action_names.contains_key(&Name::new(target)) => {}
                None => {
                    let near = nearest(target, self.action_names.keys().map(Name::as_str));
                    tell(format!("there is no action `{shown}`"), near.map(|near| format!("did you mean `{near}`?")));
                }
            }
        }
        let fine = wrong.is_empty();
        for (path, why, help) in wrong {
            let path = format!("{}.{path}", written.path);
            let mut error = written.root.error_at(path.trim_matches('.'), why);
            error.help = help;
            self.report(written.subject.as_deref(), error);
        }
        let (Some(name), Some(schedule), true) = (name, schedule, fine) else { return None };
        Some(SummaryDefinition { name, schedule: schedule.into(), to, period: settings.period })
    }
}

/// What a summary of `conf.d` is called in its mistakes.
fn subject(key: &Key) -> String {
    format!("summary {}", quote(&key.name))
}
