//! Pressure stall information: how much of the time work stood still for want of something (`Documentation/accounting/psi.rst`).

use monchero_core::check::Context;
use monchero_core::{CheckError, Report, State, Thresholds};

use crate::host;

/// The shares of the last minute, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pressure {
    /// In which something stood still.
    pub(crate) some: f64,
    /// In which everything did; old kernels do not say it of CPUs.
    pub(crate) full: Option<f64>,
}

/// Reads such a file. Kernels without it, or that have it switched off, are an error that says so.
pub(crate) fn read(context: &Context<'_>, path: &str) -> Result<Pressure, CheckError> {
    let text = host::read(context.sysroot, path)?;
    parse(&text).ok_or_else(|| host::malformed(path, "it says no `some avg60=`"))
}

fn parse(text: &str) -> Option<Pressure> {
    let share = |line: &str| {
        let line = text.lines().find_map(|text| text.strip_prefix(line))?;
        let number = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg60="))?;
        number.parse().ok().filter(|number: &f64| number.is_finite())
    };
    Some(Pressure { some: share("some ")?, full: share("full ") })
}

/// Says that limits cannot be compared, if they name one of these fields: nobody should rely on an alert that never comes.
pub(crate) fn miss(report: &mut Report, limits: [&Thresholds; 2], fields: &[&str], why: &CheckError) {
    let named = limits.iter().flat_map(|limits| limits.names()).find(|name| fields.contains(name));
    if let Some(name) = named {
        let what = "the kernel does not measure it; the boot option `psi=1` may help";
        report.find(State::Unknown, format!("`{name}` is not known: {what} ({why})"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_minute_counts() {
        let text = "some avg10=1.00 avg60=2.50 avg300=3.00 total=4\nfull avg10=0.00 avg60=0.75 avg300=0.00 total=0\n";
        assert_eq!(parse(text), Some(Pressure { some: 2.5, full: Some(0.75) }));
        assert_eq!(parse("some avg10=1.00 avg60=2.50"), Some(Pressure { some: 2.5, full: None }));
        assert_eq!(parse("full avg60=1"), None);
    }

    #[test]
    fn fuzzed_pressure() {
        crate::fuzz::on_text("proc_pressure", |text| {
            if let Some(pressure) = parse(text) {
                assert!(pressure.some.is_finite() && pressure.full.is_none_or(f64::is_finite));
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(some |full )?[a-z0-9=. \n]{0,60}") {
            let _ = parse(&text);
        }
    }
}
