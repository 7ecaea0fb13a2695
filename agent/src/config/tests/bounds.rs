//! What a file can cost (R56), by what it builds instead of by the clock where that is possible.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::yaml::{MAX_FILE, parse};
use super::{Directory, lines};

fn refused(text: &str) -> String {
    let began = Instant::now();
    let error = parse(text, 0).expect_err("a bomb");
    // A debug build on a busy machine; the release figure is 200 ms.
    assert!(began.elapsed() < Duration::from_secs(5));
    error.message
}

#[test]
fn bombs_are_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let before = format!("*a{}", i - 1);
        let _ = writeln!(laughs, "a{i}: &a{i} [{}]", [before.as_str(); 9].join(", "));
    }
    assert!(refused(&laughs).contains("expand to more than 100000"));
    assert!(refused(&"[".repeat(100_000)).contains("more than 64 deep"));
    assert!(refused(&"{a: ".repeat(100_000)).contains("more than 64 deep"));
    assert!(refused(&"- ".repeat(100_000)).contains("more than 64 deep"));
    assert!(refused("a: &a [*a]\n").contains("inside of what it refers to"));
    assert!(refused("a: &a { b: *a }\n").contains("inside of what it refers to"));
    assert!(refused(&format!("a: {}", "x".repeat(MAX_FILE))).contains("limit"));
    assert!(refused(&"- \n".repeat(300_000)).contains("more than 250000 values"));
    let anchors: String = (0..)
        .map(|i| format!("- &a{i} x\n"))
        .scan(0, |length, line| {
            *length += line.len();
            (*length < MAX_FILE - 100).then_some(line)
        })
        .collect();
    assert!(parse(&anchors, 0).is_ok());
    let mut nested = String::new();
    for i in 0..60 {
        let _ = writeln!(nested, "{}- &b{i}", " ".repeat(i));
    }
    let _ = writeln!(nested, "{}- [{}]", " ".repeat(60), "x, ".repeat(30_000));
    assert!(refused(&nested).contains("expand to more than"));
    let mut chain = String::from("- &c0 [x]\n");
    for i in 1..80 {
        let _ = writeln!(chain, "- &c{i} [*c{}]", i - 1);
    }
    assert!(refused(&chain).contains("more than 64 deep"));
}

#[test]
fn many_doubled_keys_cost_no_more_than_others() {
    let text = "a: 1\n".repeat(100_000);
    let began = Instant::now();
    let parsed = parse(&text, 0).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(parsed.root.entries().len(), 1);
    assert_eq!(parsed.doubled.len(), 50);
}

#[test]
fn what_people_write_is_within_the_bounds() {
    let mut text = String::from("checks:\n");
    for i in 0..10_000 {
        let _ = writeln!(
            text,
            "  check-{i}:\n    plugin: /usr/lib/nagios/plugins/check_x {i}\n    labels: {{ team: web }}"
        );
    }
    let loaded = Directory::with(&text).load();
    assert_eq!(lines(&loaded), [""; 0]);
    let checks = &loaded.configuration.checks;
    assert_eq!(checks.len(), 10_000);
    assert!(checks.iter().all(|check| std::sync::Arc::ptr_eq(&check.labels, &checks[0].labels)));
    assert!(checks.iter().all(|check| std::sync::Arc::ptr_eq(&check.actions, &checks[0].actions)));
    assert_eq!(checks[9_999].source.to_string(), format!("conf.d/a.yaml:{}", 2 + 3 * 9_999));
}

/// The budget of one load: 0.15 s of CPU for ten thousand checks. `cargo test --release -p monchero ten_thousand -- --ignored`.
#[test]
#[ignore = "a measurement, for a release build on a machine that does little else"]
fn ten_thousand_checks_load_within_the_budget() {
    const BUDGET: Duration = Duration::from_millis(150);
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    };
    let mut text = String::from("defaults: { interval: 1m }\nchecks:\n");
    for i in 0..10_000 {
        let _ = writeln!(text, "  check-{i}:\n    plugin: /usr/lib/nagios/plugins/check_x {i}\n    interval: 1m");
    }
    let directory = Directory { keep_settings: false, ..Directory::with(&text) };
    let began = cpu();
    let loaded = directory.load();
    let took = cpu().checked_sub(began).unwrap();
    assert_eq!(loaded.configuration.checks.len(), 10_000);
    assert!(took <= BUDGET, "{took:?}");
}

#[test]
fn mistakes_are_counted_beyond_a_thousand() {
    let text: String = std::iter::once("checks:\n".to_owned())
        .chain((0..1_500).map(|i| format!("  c{i}: {{ beat: 1d, x: 1 }}\n")))
        .collect();
    let problems = Directory::with(&text).load().problems;
    assert_eq!(problems.len(), 1_001);
    assert!(problems[1_000].message.contains("500 further mistakes"));
}

fn yaml_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("checks"),
        Just("actions"),
        Just("defaults"),
        Just("probe"),
        Just("beat"),
        Just("mail"),
        Just("fix"),
        Just("url"),
        Just("for_each"),
        Just("interval"),
        Just("1m"),
        Just("labels"),
        Just("depends_on"),
        Just("flapping"),
        Just("false"),
        Just("<<"),
        Just("*a"),
        Just("&a"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(":"),
        Just(": "),
        Just(","),
        Just("\n"),
        Just("\n  "),
        Just("\n    "),
        Just("- "),
        Just("'"),
        Just("\""),
        Just("|\n"),
        Just("#"),
        Just("---"),
        Just("!!str "),
        Just("ä"),
        Just("\t"),
        Just("\u{feff}"),
        Just("x"),
        Just("../"),
    ];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(text in ".{0,200}") {
        let _ = parse(&text, 0);
    }

    #[test]
    fn any_yaml_gives_a_configuration_or_problems_in_the_file(text in yaml_like()) {
        let directory = Directory::new();
        std::fs::write(directory.path().join("conf.d/a.yaml"), &text).unwrap();
        let loaded = directory.load();
        for problem in &loaded.problems {
            prop_assert_eq!(&problem.file, "conf.d/a.yaml");
            prop_assert!(!problem.render(false).is_empty() && !problem.one_line().contains('\n'));
        }
        let _ = super::super::show::text(&loaded);
    }

    #[test]
    fn generated_configurations_load(
        checks in proptest::collection::btree_map("[a-z][a-z0-9-]{0,20}", (100u64..100_000_000, 0u32..10, any::<bool>(), "[a-zA-Z0-9 ]{0,10}"), 0..20),
    ) {
        let mut text = String::from("defaults: { labels: { from: file } }\nchecks:\n");
        for (name, (interval, retries, enabled, label)) in &checks {
            let _ = writeln!(text, "  {name}:\n    probe:\n      url: 'http://{name}'\n    interval: {interval}ms\n    retries: {retries}");
            let _ = writeln!(text, "    enabled: {enabled}\n    labels: {{ own: \"{label}\" }}");
        }
        let loaded = Directory::with(&text).load();
        prop_assert_eq!(lines(&loaded), Vec::<String>::new());
        let running: Vec<_> = checks.iter().filter(|(_, (_, _, enabled, _))| *enabled).collect();
        prop_assert_eq!(loaded.configuration.checks.len(), running.len());
        for (name, (interval, retries, _, label)) in running {
            let check = super::check(&loaded, name);
            prop_assert_eq!(check.interval, Duration::from_millis(*interval));
            prop_assert_eq!(check.policy.max_attempts, retries + 1);
            prop_assert_eq!(&check.labels["own"], label);
            prop_assert_eq!(&check.labels["from"], "file");
        }
    }
}
