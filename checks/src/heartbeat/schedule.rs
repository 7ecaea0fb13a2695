//! When a job is due.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::Invalid;
use monchero_core::recurrence::Recurrence;

/// The shortest period: less is no job, and nobody could tell a late signal from a slow machine.
const MIN_PERIOD: Duration = Duration::from_secs(1);
/// The grace that is given without being asked for.
const MIN_GRACE: Duration = Duration::from_secs(60);
/// See [`MIN_GRACE`].
const MAX_GRACE: Duration = Duration::from_secs(3_600);

/// See the module.
#[derive(Debug)]
pub(super) enum Schedule {
    /// By spans of time; moments are shown as in the zone.
    Every(Duration, TimeZone),
    /// By what a clock on the wall shows.
    At(Recurrence),
}

/// For settings that are not validated yet.
impl Default for Schedule {
    fn default() -> Self {
        Self::Every(MIN_PERIOD, TimeZone::UTC)
    }
}

impl Schedule {
    pub(super) fn every(period: Duration, zone: TimeZone) -> Result<Self, Invalid> {
        if period < MIN_PERIOD {
            return Err(Invalid::at("period", "a job reports every second at most"));
        }
        Ok(Self::Every(period, zone))
    }

    /// Whether it goes by spans of time, not by what a clock on the wall shows.
    pub(super) fn is_period(&self) -> bool {
        matches!(self, Self::Every(..))
    }

    /// When the job is due next after `at`; never if none.
    pub(super) fn next(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period, _) => at.checked_add(*period).ok(),
            Self::At(recurrence) => recurrence.next(at),
        }
    }

    /// How late a signal that is due at `due` may be if nobody says so.
    pub(super) fn grace(&self, due: Timestamp) -> Duration {
        let until_next = self.next(due).and_then(|next| Duration::try_from(next.duration_since(due)).ok());
        until_next.map_or(MAX_GRACE, |span| (span / 10).clamp(MIN_GRACE, MAX_GRACE))
    }

    /// A moment for people.
    pub(super) fn show(&self, at: Timestamp) -> String {
        let zone = match self {
            Self::Every(_, zone) => zone,
            Self::At(recurrence) => recurrence.zone(),
        };
        at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}
