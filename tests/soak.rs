//! A day's worth of runs in minutes: memory, descriptors, threads, processes and state stay flat.

mod support;

use std::time::Duration;

use support::TestAgent;

/// How many runs a plain test makes; `MONCHERO_RUNS` asks for more.
const RUNS: f64 = 7_200.0;

#[derive(Debug)]
struct Size {
    rss_kib: f64,
    descriptors: usize,
    threads: usize,
    zombies: usize,
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are what one looks for after a failure")]
fn memory_is_flat() {
    let wanted = std::env::var("MONCHERO_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS);
    let agent = TestAgent::configured("checks: {}");
    agent.script("fails", "#!/bin/sh\necho \"BAD $$ | pid=$$\"\nexit 2\n");
    agent.script("floods", "#!/bin/sh\nhead -c 100000 /dev/zero\n");
    agent.script("leaves", "#!/bin/sh\n(setsid sleep 60 &)\necho OK\n");
    agent.script("hangs", "#!/bin/sh\nsleep 60 & sleep 60\n");
    let mut yaml = String::from(
        "defaults: { interval: 500ms, retries: 1, retry_interval: 500ms, flapping: false, actions: [note] }\nchecks:\n",
    );
    for i in 0..30 {
        yaml += &format!("  okay{i}: {{ plugin: '/usr/lib/nagios/plugins/check_dummy 0 run' }}\n");
    }
    for i in 0..6 {
        yaml += &format!("  fails{i}: {{ plugin: '{{dir}}/fails' }}\n  disk{i}: {{ disk: {{ path: / }} }}\n");
    }
    for name in ["floods", "leaves"] {
        yaml += &format!("  {name}: {{ plugin: '{{dir}}/{name}' }}\n");
    }
    yaml += "  hangs: { plugin: '{dir}/hangs', timeout: 300ms }\n  refused: { tcp: 127.0.0.1:1 }\n";
    yaml += "actions: { note: { script: \"#!/bin/sh\\ntrue\\n\", on: [bad, recovery] } }\n";
    agent.configure(&yaml);
    let mut agent = agent;
    agent.launch();

    let run_to = |agent: &TestAgent, runs: f64| {
        agent.wait_within(Duration::from_secs(600), "enough runs", |agent| {
            agent.get("/v1/status").is_some() && count(agent) >= runs
        });
    };
    // Caches and tables fill at first.
    run_to(&agent, wanted * 0.25);
    let before = size(&agent);
    run_to(&agent, wanted);
    let after = size(&agent);
    let per_thousand = (after.rss_kib - before.rss_kib) / (wanted * 0.75 / 1_000.0);
    eprintln!("{wanted} runs: {before:?} -> {after:?}, {per_thousand:.1} KiB per 1,000 runs");
    assert!(per_thousand < 128.0, "memory grows by {per_thousand:.1} KiB per 1,000 runs: {before:?} -> {after:?}");
    assert!(after.rss_kib < 40.0 * 1_024.0, "{after:?}");
    assert!(after.descriptors <= before.descriptors + 12, "{before:?} -> {after:?}");
    assert!(after.threads <= before.threads + 4, "{before:?} -> {after:?}");
    assert!(after.zombies <= 2, "{after:?}");
    let state: u64 =
        std::fs::read_dir(agent.path("state")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(state < 16 << 20, "the state takes {state} bytes");
    let log = std::fs::metadata(agent.path("log")).unwrap().len();
    assert!(log < 2 << 20, "the log takes {log} bytes");
}

/// How many runs were started, from `self/scheduler`.
fn count(agent: &TestAgent) -> f64 {
    let row = agent.check("self/scheduler");
    let metrics = row["metrics"].as_array().cloned().unwrap_or_default();
    metrics
        .iter()
        .find(|metric| metric["label"] == "runs")
        .and_then(|metric| metric["value"].as_f64())
        .unwrap_or_default()
}

fn size(agent: &TestAgent) -> Size {
    let proc = format!("/proc/{}", agent.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    // Without the pages of the program itself, which an unoptimised build has many of.
    let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let mut zombies = 0;
    for task in std::fs::read_dir(format!("{proc}/task")).unwrap().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            zombies += usize::from(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
        }
    }
    Size {
        rss_kib: rss.trim().trim_end_matches(" kB").trim().parse().unwrap(),
        descriptors: std::fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        threads: std::fs::read_dir(format!("{proc}/task")).unwrap().count(),
        zombies,
    }
}
