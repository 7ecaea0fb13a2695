//! Nonsense for the format `native`: it is read or refused with a reason, quickly, and what is read keeps its bounds.

use monchero_core::Name;
use monchero_core::report::Report;

use super::native::Reader;

#[test]
fn native_output() {
    let check = Name::new("raid");
    let reader = Reader { check: &check, file: "check_x", judge_metrics: true };
    crate::fuzz::on_text("native", |text| match reader.read(text) {
        Err(why) => assert!(why.len() < 1_000 && !why.chars().any(char::is_control), "{why:?}"),
        Ok(report) => {
            is_bounded(&report, text.len());
            assert!(reader.read(text).is_ok_and(|again| again == report), "the same every time");
        }
    });
}

/// Aliases may repeat a text, never without end.
fn is_bounded(report: &Report, given: usize) {
    let most = 64 * 1024 + 100 * given;
    assert!(report.services.len() <= given + 1 && report.metrics.len() <= most);
    assert!(report.message.as_ref().is_none_or(|message| message.len() <= most) && report.output.len() <= most);
    for metric in &report.metrics {
        assert!(metric.value.is_none_or(f64::is_finite), "{metric:?}");
    }
    report.services.iter().for_each(|(_, service)| is_bounded(service, given));
}
