//! Calendar expressions as systemd's timers write them (`systemd.time(7)`, "Calendar Events").

use jiff::civil::{Date, DateTime, Time, Weekday, date, time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// The last year that is looked at, as systemd does.
const LAST_YEAR: i16 = 2199;
const FIRST_YEAR: i16 = 1970;
/// How often candidates are tried that the clock does not show or that lie in the past, because the clock was set back for winter.
const MAX_TRIES: usize = 1_000;

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Words for whole expressions, and what they mean.
const WORDS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

/// A set of numbers below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0 & 1 << number != 0)
    }

    /// The smallest member that is not below `number`.
    fn from(self, number: i8) -> Option<i8> {
        let number = u32::try_from(number).ok().filter(|number| *number < u64::BITS)?;
        let rest = self.0 >> number << number;
        (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
    }
}

/// One calendar expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// From Monday, which is 1.
    weekdays: Set,
    /// Ranges with steps.
    years: Vec<(i16, i16, i16)>,
    months: Set,
    days: Set,
    /// Whether days count from the end of the month.
    from_end: bool,
    hours: Set,
    minutes: Set,
    seconds: Set,
}

impl Calendar {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some((_, meaning)) = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
            return Self::parse(meaning);
        }
        let mut words = text.split_ascii_whitespace().peekable();
        let weekdays = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
            Some(word) => weekdays(word)?,
            None => Set(0xfe),
        };
        let day = words.next_if(|word| !word.contains(':'));
        let clock = words.next_if(|word| word.contains(':'));
        if let Some(rest) = words.next() {
            let hint = if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                "; the time zone stands in `zone`"
            } else {
                ""
            };
            return Err(format!("`{rest}` is not understood: days of the week, a date and a time are{hint}"));
        }
        if text.is_empty() {
            return Err("an empty text is no time".to_owned());
        }
        let (years, months, days, from_end) = day_of(day.unwrap_or("*-*-*"))?;
        let [hours, minutes, seconds] = clock_of(clock.unwrap_or("00:00:00"))?;
        let calendar = Self { weekdays, years, months, days, from_end, hours, minutes, seconds };
        match calendar.after(date(FIRST_YEAR, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(calendar),
            None => Err("there is no such time".to_owned()),
        }
    }

    /// The first time after `at` in this zone. What falls into the hour that is left out in spring comes as much later; of an hour that
    /// comes twice in autumn the first one counts.
    pub fn next(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut civil = at.to_zoned(zone.clone()).datetime();
        for _ in 0..MAX_TRIES {
            civil = self.after(civil)?;
            let found = zone.to_ambiguous_timestamp(civil);
            let times = match found.offset() {
                AmbiguousOffset::Fold { .. } => [found.earlier(), found.later()],
                _ => [found.compatible(), found.compatible()],
            };
            if let Some(next) = times.into_iter().flatten().find(|next| *next > at) {
                return Some(next);
            }
        }
        None
    }

    /// The first time on the clock after another.
    fn after(&self, last: DateTime) -> Option<DateTime> {
        let from = last.checked_add(1.second()).ok()?;
        let from = from.date().at(from.hour(), from.minute(), from.second(), 0);
        let mut day = from.date();
        let mut earliest = from.time();
        while day.year() <= LAST_YEAR {
            if !self.months.has(day.month()) || !self.has_year(day.year()) {
                day = day.last_of_month().tomorrow().ok()?;
                earliest = Time::midnight();
                continue;
            }
            if self.has_day(day)
                && let Some(time) = self.time_from(earliest)
            {
                return Some(day.to_datetime(time));
            }
            day = day.tomorrow().ok()?;
            earliest = Time::midnight();
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        self.years.iter().any(|(from, to, step)| (*from..=*to).contains(&year) && (year - from) % step == 0)
    }

    fn has_day(&self, day: Date) -> bool {
        let number = if self.from_end { day.days_in_month() - day.day() + 1 } else { day.day() };
        self.days.has(number) && self.weekdays.has(day.weekday().to_monday_one_offset())
    }

    /// The first time of a day that is not before `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let mut hour = self.hours.from(from.hour())?;
        let mut minute = if hour == from.hour() { from.minute() } else { 0 };
        let mut second = if hour == from.hour() { from.second() } else { 0 };
        loop {
            if let Some(found) = self.minutes.from(minute) {
                if found != minute {
                    second = 0;
                }
                if let Some(second) = self.seconds.from(second) {
                    return Some(time(hour, found, second, 0));
                }
                minute = found + 1;
            } else {
                hour = self.hours.from(hour + 1)?;
                minute = 0;
            }
            second = 0;
        }
    }
}

/// `Mon..Fri,Sun`.
fn weekdays(word: &str) -> Result<Set, String> {
    let mut set = 0;
    for part in word.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to) = (weekday(from)?, weekday(to)?);
        // `Sat..Mon` goes on over the end of the week.
        let mut day = from;
        set |= 1 << day;
        while day != to {
            day = day % 7 + 1;
            set |= 1 << day;
        }
    }
    Ok(Set(set))
}

fn weekday(word: &str) -> Result<u32, String> {
    let lower = word.to_ascii_lowercase();
    let found = WEEKDAYS.iter().position(|day| *day == lower || day.get(..3) == Some(&lower));
    let day = found.and_then(|day| i8::try_from(day).ok()).and_then(|day| Weekday::from_monday_zero_offset(day).ok());
    day.and_then(|day| u32::try_from(day.to_monday_one_offset()).ok()).ok_or_else(|| {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("`{word}` is neither a day of the week (`Mon`) nor one of {}", words.join(", "))
    })
}

type Day = (Vec<(i16, i16, i16)>, Set, Set, bool);

/// `*-*-*`, `2026-01..03-15`, `*-02~01` (the last day of February), or without a year.
fn day_of(word: &str) -> Result<Day, String> {
    let wrong = || format!("`{word}` is no date: write it as `*-*-*`, `*-12-24` or `2026-*-01,15`");
    let (front, last, from_end) = match word.rsplit_once('~') {
        Some((front, last)) => (front, last, true),
        None => word.rsplit_once('-').map(|(front, last)| (front, last, false)).ok_or_else(wrong)?,
    };
    let (year, month) = front.rsplit_once('-').unwrap_or(("*", front));
    if year.is_empty() || month.is_empty() || year.contains(['-', '~']) {
        return Err(wrong());
    }
    let years = ranges(year, FIRST_YEAR, LAST_YEAR)?;
    let mut days = set(last, 1, 31)?;
    if from_end && last.contains('/') && !last.contains("..") {
        // Repetitions go on towards the end of the month.
        let numbers = |(from, _, step): (i16, i16, i16)| (1..=from).filter(move |day| (from - day) % step == 0);
        days = Set(ranges(last, 1, 31)?.into_iter().flat_map(numbers).fold(0, |set, day| set | 1 << day));
    }
    Ok((years, set(month, 1, 12)?, days, from_end))
}

/// `02:30`, `*:0/10`, `9..17:00:00`.
fn clock_of(word: &str) -> Result<[Set; 3], String> {
    let mut parts = word.split(':');
    let (hour, minute, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        return Err(format!("`{word}` is no time: write it as `02:30` or `*:0/10`"));
    }
    Ok([set(hour, 0, 23)?, set(minute, 0, 59)?, set(second.unwrap_or("00"), 0, 59)?])
}

fn set(text: &str, least: i16, most: i16) -> Result<Set, String> {
    let mut set = 0;
    for (from, to, step) in ranges(text, least, most)? {
        let mut number = from;
        while number <= to {
            set |= 1 << number;
            number += step;
        }
    }
    Ok(Set(set))
}

/// Numbers, ranges and repetitions: `*`, `1,15`, `9..17`, `0/10`, `9..17/2`.
fn ranges(text: &str, least: i16, most: i16) -> Result<Vec<(i16, i16, i16)>, String> {
    let number = |word: &str| {
        let digits = !word.is_empty() && word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| word.parse::<i16>().ok()).flatten();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("`{word}` is no number from {least} to {most}"))
    };
    text.split(',')
        .map(|part| {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let step_number = |step: &str| match step.parse::<i16>() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(format!("`{step}` is no step from 1 to {most}")),
            };
            let (from, to) = match range.split_once("..") {
                _ if range == "*" => (least, most),
                Some((from, to)) => (number(from)?, number(to)?),
                None => {
                    let from = number(range)?;
                    (from, if step.is_some() { most } else { from })
                }
            };
            if from > to {
                return Err(format!("`{range}` ends before it begins"));
            }
            Ok((from, to, step.map_or(Ok(1), step_number)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The next times after one, on the clock of that zone.
    fn next(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let (calendar, zone) = (Calendar::parse(text).unwrap(), TimeZone::get(zone).unwrap());
        let mut at = from.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
        let mut found = Vec::new();
        for _ in 0..count {
            let Some(next) = calendar.next(at, &zone) else { break };
            assert!(next > at);
            at = next;
            found.push(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S%:z").to_string());
        }
        found
    }

    /// What `systemd-analyze calendar --iterations=3 --base-time='2026-06-03 10:20:30' TEXT` says, in UTC.
    #[test]
    fn expressions_mean_what_they_mean_to_systemd() {
        for (text, expected) in [
            ("minutely", ["2026-06-03 10:21:00", "2026-06-03 10:22:00", "2026-06-03 10:23:00"]),
            ("hourly", ["2026-06-03 11:00:00", "2026-06-03 12:00:00", "2026-06-03 13:00:00"]),
            ("daily", ["2026-06-04 00:00:00", "2026-06-05 00:00:00", "2026-06-06 00:00:00"]),
            ("weekly", ["2026-06-08 00:00:00", "2026-06-15 00:00:00", "2026-06-22 00:00:00"]),
            ("monthly", ["2026-07-01 00:00:00", "2026-08-01 00:00:00", "2026-09-01 00:00:00"]),
            ("quarterly", ["2026-07-01 00:00:00", "2026-10-01 00:00:00", "2027-01-01 00:00:00"]),
            ("semiannually", ["2026-07-01 00:00:00", "2027-01-01 00:00:00", "2027-07-01 00:00:00"]),
            ("yearly", ["2027-01-01 00:00:00", "2028-01-01 00:00:00", "2029-01-01 00:00:00"]),
            ("Mon..Fri *-*-* 02:30:00", ["2026-06-04 02:30:00", "2026-06-05 02:30:00", "2026-06-08 02:30:00"]),
            ("Fri..Mon 12:00", ["2026-06-05 12:00:00", "2026-06-06 12:00:00", "2026-06-07 12:00:00"]),
            ("Sat,Wednesday", ["2026-06-06 00:00:00", "2026-06-10 00:00:00", "2026-06-13 00:00:00"]),
            ("*:0/20", ["2026-06-03 10:40:00", "2026-06-03 11:00:00", "2026-06-03 11:20:00"]),
            ("9..11/2:15", ["2026-06-03 11:15:00", "2026-06-04 09:15:00", "2026-06-04 11:15:00"]),
            ("*:*:0,30", ["2026-06-03 10:21:00", "2026-06-03 10:21:30", "2026-06-03 10:22:00"]),
            ("*-02~01", ["2027-02-28 00:00:00", "2028-02-29 00:00:00", "2029-02-28 00:00:00"]),
            ("Mon *-05~07/1", ["2027-05-31 00:00:00", "2028-05-29 00:00:00", "2029-05-28 00:00:00"]),
            ("02-29", ["2028-02-29 00:00:00", "2032-02-29 00:00:00", "2036-02-29 00:00:00"]),
            ("2027..2031/2-12-24 18:00", ["2027-12-24 18:00:00", "2029-12-24 18:00:00", "2031-12-24 18:00:00"]),
            ("*-*-31 23:59:59", ["2026-07-31 23:59:59", "2026-08-31 23:59:59", "2026-10-31 23:59:59"]),
        ] {
            let found = next(text, "UTC", "2026-06-03T10:20:30", 3);
            let found: Vec<&str> = found.iter().map(|at| &at[4..23]).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(next("2020-01-01", "UTC", "2026-06-03T10:20:30", 1), Vec::<String>::new(), "it is over");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("", "an empty text"),
            ("dayly", "neither a day of the week"),
            ("25:00", "`25` is no number from 0 to 23"),
            ("*-13-01", "`13` is no number from 1 to 12"),
            ("17..9:00", "ends before it begins"),
            ("*:0/0", "`0` is no step"),
            ("12", "is no date"),
            ("02:30 Europe/Berlin", "the time zone stands in `zone`"),
            ("02:30 *-*-*", "is not understood"),
            ("1:2:3:4", "is no time"),
            ("*-02-30", "there is no such time"),
        ] {
            let error = Calendar::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn clocks_that_are_set_are_followed() {
        let berlin = |text, from, count| next(text, "Europe/Berlin", from, count);
        // 2026-03-29: 02:00 is 03:00.
        assert_eq!(
            berlin("02:30", "2026-03-28T12:00", 2),
            ["Sun 2026-03-29 03:30:00+02:00", "Mon 2026-03-30 02:30:00+02:00"]
        );
        assert_eq!(
            berlin("*:30", "2026-03-29T01:00", 3),
            ["Sun 2026-03-29 01:30:00+01:00", "Sun 2026-03-29 03:30:00+02:00", "Sun 2026-03-29 04:30:00+02:00"]
        );
        // 2026-10-25: 03:00 is 02:00.
        assert_eq!(
            berlin("02:30", "2026-10-24T12:00", 2),
            ["Sun 2026-10-25 02:30:00+02:00", "Mon 2026-10-26 02:30:00+01:00"]
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[ -~]{0,40}") {
            let _ = Calendar::parse(&text);
        }

        #[test]
        fn what_is_like_an_expression_gives_an_answer(
            text in "(Mon|Tue|Sat)?(\\.\\.|,)?(Fri)? ?[0-9*]{0,4}-?[0-9/.*]{1,4}[-~][0-9/.,*]{1,4} [0-9/.*]{1,3}:[0-9/.*]{1,3}"
        ) {
            if let Ok(calendar) = Calendar::parse(&text) {
                let at = Timestamp::from_second(1_780_000_000).unwrap();
                prop_assert!(calendar.next(at, &TimeZone::get("Europe/Berlin").unwrap()).is_none_or(|next| next > at));
            }
        }
    }
}
