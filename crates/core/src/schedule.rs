//! When something is due: a job that must report, a summary.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::Calendar;
use crate::node::Invalid;
use crate::text::quote;

/// The shortest period: less is no job, and nobody could tell a late signal from a slow machine.
const MIN_PERIOD: Duration = Duration::from_secs(1);
/// The grace that is given without being asked for.
const MIN_GRACE: Duration = Duration::from_secs(60);
/// See [`MIN_GRACE`].
const MAX_GRACE: Duration = Duration::from_secs(3_600);

/// When something is due, again and again.
#[derive(Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Debug)]
enum Rule {
    Every(Duration),
    Cron(Box<Cron>),
    Calendar(Box<Calendar>),
}

/// For settings that are not validated yet.
impl Default for Schedule {
    fn default() -> Self {
        Self { rule: Rule::Every(MIN_PERIOD), zone: TimeZone::UTC }
    }
}

impl Schedule {
    /// Every so often.
    pub fn every(period: Duration, zone: TimeZone) -> Result<Self, Invalid> {
        if period < MIN_PERIOD {
            return Err(Invalid::at("period", "a job reports every second at most"));
        }
        Ok(Self { rule: Rule::Every(period), zone })
    }

    /// By the five fields of a crontab; the mistake is about the setting `cron`.
    pub fn cron(text: &str, zone: TimeZone) -> Result<Self, Invalid> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|why| {
            let form = "minute, hour, day of the month, month and day of the week";
            Invalid::at("cron", format!("{} is no time of a crontab, which has {form}: {why}", quote(text)))
        })?;
        let start = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        if cron.find_next_occurrence(&start, false).is_err() {
            return Err(Invalid::at("cron", "there is no such time"));
        }
        Ok(Self { rule: Rule::Cron(Box::new(cron)), zone })
    }

    /// By a calendar expression; the mistake is about the setting `calendar`.
    pub fn calendar(text: &str, zone: TimeZone) -> Result<Self, Invalid> {
        let calendar = Calendar::parse(text).map_err(|why| Invalid::at("calendar", why))?;
        Ok(Self { rule: Rule::Calendar(Box::new(calendar)), zone })
    }

    /// Whether it goes by spans of time, not by what a clock on the wall shows.
    pub fn is_period(&self) -> bool {
        matches!(self.rule, Rule::Every(_))
    }

    /// When the job is due next after `at`; never if none.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => at.checked_add(*period).ok(),
            Rule::Cron(cron) => {
                let next = cron.find_next_occurrence(&at.to_zoned(self.zone.clone()), false).ok()?;
                Some(next.timestamp())
            }
            Rule::Calendar(calendar) => calendar.next(at, &self.zone),
        }
    }

    /// How late a signal that is due at `due` may be if nobody says so.
    pub fn grace(&self, due: Timestamp) -> Duration {
        let until_next = self.next(due).and_then(|next| Duration::try_from(next.duration_since(due)).ok());
        until_next.map_or(MAX_GRACE, |span| (span / 10).clamp(MIN_GRACE, MAX_GRACE))
    }

    /// A moment for people.
    pub fn show(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}
