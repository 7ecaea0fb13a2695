//! The past of a metric in one line.

use monchero_api::types::Point;
use monchero_core::quantity::{self, Unit};

use super::screen::Screen;

/// How many marks a line of the past has, and how many on a screen that is narrower than [`WIDE`]: a line that is cut lacks the present.
const MARKS: usize = 24;
const FEW_MARKS: usize = 12;
const WIDE: usize = 100;

/// The past of a metric as marks, and where there is room between which values it was, for who cannot see marks.
pub(super) fn course(screen: &Screen, points: &[Point], unit: &Unit) -> String {
    let wide = screen.width.is_none_or(|width| width >= WIDE);
    let marks = if wide { MARKS } else { FEW_MARKS };
    let shown = spark(points, marks);
    if shown.is_empty() || !wide {
        return shown;
    }
    let low = points.iter().map(|point| point.min).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.max).fold(f64::NEG_INFINITY, f64::max);
    format!("{shown:marks$}  {} to {}", quantity::human(low, unit), quantity::human(high, unit))
}

/// The past of a metric as a row of marks, each the mean of an equal stretch of time; a blank where nothing was measured.
fn spark(points: &[Point], marks: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let span = last.at.duration_since(first.at).as_secs_f64();
    let finite = || points.iter().map(|point| point.mean).filter(|mean| mean.is_finite());
    let (low, high) =
        finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), mean| (low.min(mean), high.max(mean)));
    if span <= 0.0 || !low.is_finite() {
        return String::new();
    }
    let mut sums = vec![(0.0, 0.0); marks];
    for point in points.iter().filter(|point| point.mean.is_finite()) {
        let share = point.at.duration_since(first.at).as_secs_f64() / span;
        if let Some((sum, count)) = sums.get_mut(index(share, marks)) {
            *sum += point.mean;
            *count += 1.0;
        }
    }
    let mark = |(sum, count): (f64, f64)| {
        if count == 0.0 {
            return ' ';
        }
        let share = if high > low { (sum / count - low) / (high - low) } else { 0.0 };
        LEVELS.get(index(share, LEVELS.len())).copied().unwrap_or(' ')
    };
    let marks: String = sums.into_iter().map(mark).collect();
    marks.trim_end().to_owned()
}

/// The part of `count` equal ones that a share of the whole falls into.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of indices before")]
fn index(share: f64, count: usize) -> usize {
    (share * count as f64).floor().clamp(0.0, (count - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::status::tests::screen;

    fn point(ago: i64, mean: f64) -> Point {
        Point { at: Timestamp::from_second(1_800_000_000 - ago).unwrap(), mean, min: mean, max: mean, count: 1 }
    }

    #[test]
    fn there_are_words_where_there_is_room() {
        let points = [point(10, 1.0), point(0, 2.0)];
        let marks = |width| course(&screen(width), &points, &Unit::PERCENT);
        assert_eq!(marks(Some(80)), format!("▁{}█", " ".repeat(FEW_MARKS - 2)));
        assert_eq!(marks(None), format!("▁{}█  1% to 2%", " ".repeat(MARKS - 2)));
        assert_eq!(course(&screen(None), &[], &Unit::PERCENT), "");
    }

    #[test]
    fn sparks_survive_odd_numbers() {
        assert_eq!(spark(&[], MARKS), "");
        assert_eq!(spark(&[point(0, 1.0)], MARKS), "");
        assert_eq!(spark(&[point(9, f64::NAN), point(0, f64::NAN)], MARKS), "");
        assert_eq!(spark(&[point(10, 5.0), point(0, 5.0)], MARKS), format!("▁{}▁", " ".repeat(MARKS - 2)));
        assert_eq!(spark(&[point(10, -1e308), point(5, f64::INFINITY), point(0, 1e308)], MARKS).chars().count(), MARKS);
    }
}
