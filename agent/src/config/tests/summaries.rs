//! Summaries and signs of life in `monchero.yaml`, and what targets are told of monchero itself.

use monchero_core::action::Lifecycle;

use super::super::Loaded;
use super::{Directory, lines};

const ACTIONS: &str = "
actions:
  ops: { mail: { to: [x] }, lifecycle: [started, crashed] }
  mend: { fix: \"true\" }
";

fn with(settings: &str) -> Loaded {
    let directory = Directory::with(ACTIONS);
    directory.write("monchero.yaml", settings);
    directory.load()
}

#[test]
fn they_are_read_with_the_time_zone_of_the_file() {
    let loaded = with(
        "
time_zone: Asia/Tokyo
summaries:
  morning: { calendar: \"Mon..Fri 08:00\", to: [ops], period: 1d }
  week: { cron: \"0 7 * * 1\", zone: UTC, to: [ops] }
",
    );
    assert_eq!(lines(&loaded), [""; 0]);
    let from = "2026-06-06T12:00:00Z".parse().unwrap();
    let found: Vec<_> = loaded
        .configuration
        .summaries
        .iter()
        .map(|summary| {
            (summary.name.as_str(), summary.schedule.next(from).unwrap().to_string(), summary.period.is_some())
        })
        .collect();
    let expected = [("morning", "2026-06-07T23:00:00Z", true), ("week", "2026-06-08T07:00:00Z", false)];
    assert_eq!(found, expected.map(|(name, next, period)| (name, next.to_owned(), period)));
    let ops = loaded.configuration.actions.iter().find(|action| action.name.as_str() == "ops").unwrap();
    assert_eq!(ops.lifecycle, [Lifecycle::Started, Lifecycle::Crashed]);
    assert!(!loaded.configuration.alive && loaded.alive.is_none());
}

#[test]
fn they_may_stand_in_conf_d_beside_those_whom_they_are_sent_to() {
    let load = |file: &str| {
        let directory = Directory::with(&format!("{ACTIONS}summaries:\n{file}"));
        directory.write("monchero.yaml", "time_zone: UTC\nsummaries: { morning: { calendar: daily, to: [ops] } }\n");
        directory.load()
    };
    let loaded = load("  week: { cron: \"0 7 * * 1\", to: [ops] }\n");
    assert_eq!(lines(&loaded), [""; 0]);
    let names: Vec<&str> = loaded.configuration.summaries.iter().map(|summary| summary.name.as_str()).collect();
    assert_eq!(names, ["morning", "week"]);
    for (file, mistake) in [
        ("  morning: { calendar: daily, to: [ops] }\n", "summary `morning`: the name is taken"),
        ("  bad: { calendar: daily, to: [opps] }\n", "there is no action `opps`; did you mean `ops`?"),
        ("  bad: { to: [ops] }\n", "it is not said when it is sent"),
        ("  bad: { calendar: daily, too: [ops] }\n", "did you mean `to`?"),
        ("  bad: daily\n", "summary `bad`"),
        ("  bad:\n", "summary `bad`"),
    ] {
        let loaded = load(file);
        let lines = lines(&loaded);
        assert!(lines.iter().any(|line| line.contains(mistake)), "{file}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("conf.d/")), "{file}: {lines:?}");
        assert_eq!(loaded.configuration.summaries.len(), 1);
    }
}

#[test]
fn mistakes_are_shown_where_they_stand_and_the_rest_is_in_force() {
    for (settings, mistake) in [
        ("to: [ops]", "monchero.yaml:2:8: `summaries.bad`: it is not said when it is sent"),
        ("calendar: daily, cron: \"0 7 * * 1\", to: [ops]", "only one of them can say when"),
        ("calendar: dayly, to: [ops]", "neither a day of the week"),
        ("cron: \"0 25 * * *\", to: [ops]", "is no time of a crontab"),
        ("calendar: daily, zone: Mars/Base, to: [ops]", "`Mars/Base` is no time zone"),
        ("calendar: daily, to: []", "it names no target"),
        ("calendar: daily, to: [mend]", "`mend` is a script"),
        ("calendar: daily, to: [opps]", "there is no action `opps`; did you mean `ops`?"),
        ("calendar: daily, to: [ops], period: 5s", "it is at least `1m`"),
        ("calendar: daily, too: [ops]", "did you mean `to`?"),
    ] {
        let loaded = with(&format!("summaries:\n  bad: {{ {settings} }}\n"));
        let lines = lines(&loaded);
        assert!(lines.iter().any(|line| line.contains(mistake)), "{settings}: {lines:?}");
        assert_eq!(loaded.configuration.summaries.len(), 0);
        assert_eq!(loaded.configuration.actions.len(), 2);
    }
    for (settings, mistake) in [
        ("url: nowhere", "alive.url"),
        ("url: https://x/, interval: 10ms", "it is at least `1s`"),
        ("url: https://x/, timeout: 1m", "it is from `100ms` to `15s`"),
        ("url: https://x/, method: DELETE", "`DELETE` is not"),
        ("url: https://x/, headers: { Authorization: abc }", "holds a secret"),
    ] {
        let loaded = with(&format!("alive: {{ {settings} }}\n"));
        let lines = lines(&loaded);
        assert!(lines.iter().any(|line| line.contains(mistake)), "{settings}: {lines:?}");
        assert!(loaded.alive.is_none());
    }
}

#[test]
fn what_is_for_targets_is_not_for_scripts() {
    let loaded = Directory::with("actions:\n  mend: { fix: \"true\", lifecycle: [started] }\n").load();
    assert!(lines(&loaded)[0].contains("`lifecycle` is for actions that tell somebody"), "{:?}", lines(&loaded));
}
