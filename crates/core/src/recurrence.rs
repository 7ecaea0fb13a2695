//! When something happens again and again: by a line of a crontab, or by a calendar expression of systemd.

mod calendar;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::node::Invalid;
use crate::text::{escape_controls, quote, shorten};
use calendar::Calendar;

/// How much of a text that is not understood is shown, in bytes.
const MAX_SHOWN: usize = 60;

/// Moments on the clock of a time zone.
#[derive(Clone, Debug)]
pub struct Recurrence {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum Rule {
    Cron(Box<Cron>),
    Calendar(Box<Calendar>),
}

/// The time zone that the setting `zone` names, or the usual one.
pub fn zone(name: Option<&str>, usual: &TimeZone) -> Result<TimeZone, Invalid> {
    let Some(name) = name else { return Ok(usual.clone()) };
    TimeZone::get(name).map_err(|_| {
        let shown = quote(name);
        Invalid::at("zone", format!("{shown} is no time zone of this system: write it as in `Europe/Berlin`"))
    })
}

impl Recurrence {
    /// What the settings `cron` and `calendar` say, of which one is given at most.
    pub fn of(cron: Option<&str>, calendar: Option<&str>, zone: TimeZone) -> Result<Option<Self>, Invalid> {
        let recurrence = match (cron, calendar) {
            (None, None) => return Ok(None),
            (Some(cron), None) => Self::cron(cron, zone).map_err(|why| Invalid::at("cron", why)),
            (None, Some(calendar)) => Self::calendar(calendar, zone).map_err(|why| Invalid::at("calendar", why)),
            (Some(_), Some(_)) => {
                Err(Invalid::at("cron", "`calendar` is given too, and only one of them can say when"))
            }
        };
        recurrence.map(Some)
    }

    /// The five fields of a crontab, with Vixie's reading of changed clocks.
    pub fn cron(text: &str, zone: TimeZone) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|why| {
            let form = "minute, hour, day of the month, month and day of the week";
            let shown = escape_controls(&shorten(text, MAX_SHOWN));
            format!("`{shown}` is no time of a crontab, which has {form}: {why}")
        })?;
        let start = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        if cron.find_next_occurrence(&start, false).is_err() {
            return Err("there is no such time".to_owned());
        }
        Ok(Self { rule: Rule::Cron(Box::new(cron)), zone })
    }

    /// What `OnCalendar=` of a timer takes, without a time zone and fractions of seconds.
    pub fn calendar(text: &str, zone: TimeZone) -> Result<Self, String> {
        Ok(Self { rule: Rule::Calendar(Box::new(Calendar::parse(text)?)), zone })
    }

    /// The first moment after `at`; never if none.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(cron) => {
                Some(cron.find_next_occurrence(&at.to_zoned(self.zone.clone()), false).ok()?.timestamp())
            }
            Rule::Calendar(calendar) => calendar.next(at, &self.zone),
        }
    }

    /// The time zone whose clock counts.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_expressions_name_the_same_moments() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let cron = Recurrence::cron("30 2 * * 1-5", zone.clone()).unwrap();
        let calendar = Recurrence::calendar("Mon..Fri 02:30", zone).unwrap();
        let mut at = "2026-06-03T10:20:30Z".parse::<Timestamp>().unwrap();
        for _ in 0..20 {
            let next = cron.next(at);
            assert_eq!(next, calendar.next(at));
            at = next.unwrap();
        }
    }

    #[test]
    fn what_never_happens_or_is_no_time_is_refused() {
        let cron = |text| Recurrence::cron(text, TimeZone::UTC).unwrap_err();
        assert!(cron("0 2 * *").contains("is no time of a crontab"));
        assert_eq!(cron("0 0 30 2 *"), "there is no such time");
        assert!(Recurrence::calendar("*-02-30", TimeZone::UTC).unwrap_err().contains("there is no such time"));
    }
}
