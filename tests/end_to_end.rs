//! The real daemon on real plugins: from YAML in `conf.d` to states, scripts and messages.

mod support;

use std::time::{Duration, Instant};

use support::{STEP, TestAgent, compile, set_step, wait_until_gone};

/// Debian's own plugins, with states that they give by themselves.
#[test]
fn monitoring_plugins_run() {
    let agent = TestAgent::start(
        "defaults: { interval: 500ms, retries: 0 }
checks:
  fine: { plugin: /usr/lib/nagios/plugins/check_dummy 0 all-is-well }
  warned: { plugin: [/usr/lib/nagios/plugins/check_dummy, '1', two words] }
  broken: { plugin: /usr/lib/nagios/plugins/check_dummy 2 broken }
  puzzled: { plugin: /usr/lib/nagios/plugins/check_dummy 3 who knows }
  load: { plugin: '/usr/lib/nagios/plugins/check_load -w 1000,1000,1000 -c 2000,2000,2000' }
  disk: { plugin: /usr/lib/nagios/plugins/check_disk -w 1% -c 1% -p /proc }
  procs: { plugin: '/usr/lib/nagios/plugins/check_procs -w 1:100000' }
  gone: { plugin: /usr/lib/nagios/plugins/check_nothing }
",
    );
    for (check, state) in [
        ("fine", "okay"),
        ("warned", "warning"),
        ("broken", "bad"),
        ("puzzled", "unknown"),
        ("procs", "okay"),
        ("gone", "unknown"),
    ] {
        agent.wait_for_state(check, state, "hard");
    }
    assert_eq!(agent.check("fine")["message"], "OK: all-is-well");
    assert_eq!(agent.check("warned")["message"], "WARNING: two words");
    assert!(
        agent.check("gone")["message"].as_str().unwrap().contains("check_nothing"),
        "{}",
        agent.check("gone")["message"]
    );
    let load = agent.wait_for_state("load", "okay", "hard");
    let labels: Vec<&str> =
        load["metrics"].as_array().unwrap().iter().map(|metric| metric["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["load1", "load5", "load15"]);
    assert_eq!(load["metrics"][0]["warning"], "1000", "{load:#}");
    // The worst that is shown is the exit status: bad.
    assert_eq!(agent.command(&["status"]).status.code(), Some(2));
    assert_eq!(agent.command(&["status", "fine", "load"]).status.code(), Some(0));
    assert_eq!(agent.command(&["status", "puzzled"]).status.code(), Some(3));
}

/// From a bad result to a script and a mail, and back; then a reload that is wrong and one that is right.
#[test]
fn a_problem_sets_off_a_script_and_a_mail() {
    let mut agent = TestAgent::configured("checks: {}");
    compile(STEP, &agent.path("step"));
    set_step(&agent.path("shop.step"), 0, "fine | time=12ms;500;1000;0");
    agent.script("sendmail", "#!/bin/sh\ncat >> {dir}/mails\n");
    let checks = "defaults: { interval: 200ms, retry_interval: 100ms, retries: 2, actions: [ops, note] }
checks:
  shop: { plugin: '{dir}/step {dir}/shop.step', labels: { unit: nginx } }
actions:
  ops: { email: { to: [ops@example.org], sendmail: '{dir}/sendmail' } }
  note:
    script: |
      #!/bin/sh
      echo \"{{ check.name }} {{ state }} {{ labels.unit }}: {{ message }}\" >> {dir}/notes
    on: [bad, recovery]
";
    agent.configure(checks);
    agent.launch();
    agent.wait_for_state("shop", "okay", "hard");
    assert_eq!(agent.check("shop")["metrics"][0]["unit"], "ms");
    set_step(&agent.path("shop.step"), 2, "CRITICAL - $(touch {dir}/pwned) `id` \"quoted\"");
    let row = agent.wait_for_state("shop", "bad", "hard");
    assert_eq!(row["max_attempts"], 3);
    agent.wait_for("the script to write", |agent| !agent.lines("notes").is_empty());
    assert_eq!(agent.lines("notes"), ["shop bad nginx: CRITICAL - $(touch {dir}/pwned) `id` \"quoted\""]);
    agent.wait_for("the mail", |agent| agent.lines("mails").iter().any(|line| line.starts_with("Subject: [bad] shop")));

    // A broken reload changes nothing and says so.
    agent.configure("checks: { shop: { plugni: x } }");
    let reload = agent.command(&["reload"]);
    assert_ne!(reload.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&reload.stderr).contains("plugni"), "{}", String::from_utf8_lossy(&reload.stderr));
    agent.wait_for_state("self/config", "bad", "hard");
    assert_eq!(agent.check("shop")["state"], "bad");
    agent.configure(checks);
    assert_eq!(agent.command(&["reload"]).status.code(), Some(0));
    agent.wait_for_state("self/config", "okay", "hard");

    // State, incident and what was told survive a kill.
    let since = agent.check("shop")["since"].clone();
    agent.kill();
    agent.launch();
    assert_eq!(agent.check("shop")["state"], "bad");
    assert_eq!(agent.check("shop")["since"], since);
    set_step(&agent.path("shop.step"), 0, "fine again");
    agent.wait_for_state("shop", "okay", "hard");
    agent.wait_for("the recovery", |agent| {
        agent.lines("mails").iter().any(|line| line.starts_with("Subject: [okay] shop"))
    });
    agent.wait_for("the script to write again", |agent| agent.lines("notes").len() == 2);
    let problems = agent.lines("mails").iter().filter(|line| line.starts_with("Subject: [bad] shop")).count();
    assert_eq!(problems, 1, "one problem is told once");
    assert!(!agent.path("pwned").exists() && !std::path::Path::new("pwned").exists());
    let history = agent.command(&["history", "shop", "--json"]);
    let events: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().filter_map(|event| event["event"].as_str()).collect();
    for kind in ["transition", "notice", "action"] {
        assert!(kinds.contains(&kind), "{kind} is in {kinds:?}");
    }
    let (took, status) = agent.stop();
    assert_eq!(status, Some(0), "{}", agent.log());
    assert!(took < Duration::from_secs(10));
}

/// R1, R2, R4, R12, R13: plugins that misbehave in every way give a result with a reason, leave nothing and delay nobody.
#[test]
fn plugins_that_misbehave() {
    let agent = TestAgent::configured("checks: {}");
    agent.script("ignores-term", "#!/bin/sh\ntrap '' TERM\nsleep 600 & sleep 600\n");
    agent.script(
        "escapes",
        "#!/bin/sh\nsetsid sh -c 'sleep 600 & sleep 600' &\n(setsid setsid sleep 600 &)\nsleep 600\n",
    );
    agent.script("daemonizes", "#!/bin/sh\n(setsid sleep 600 &)\necho OK\n");
    agent.script("floods", "#!/bin/sh\nexec cat /dev/zero\n");
    agent.script("binary", "#!/bin/sh\nprintf 'OK \\377\\033[2J\\000x|a=1\\n'\n");
    agent.script("asks", "#!/bin/sh\nread x; echo \"got $?\"; exit 1\n");
    agent.script("dies", "#!/bin/sh\nkill -SEGV $$\n");
    agent.script("no-interpreter", "#!/no/such/thing\n");
    let mut yaml = String::from("defaults: { interval: 1s, timeout: 1s, retries: 0 }\nchecks:\n");
    for name in ["ignores-term", "escapes", "daemonizes", "floods", "binary", "asks", "dies", "no-interpreter"] {
        yaml += &format!("  {name}: {{ plugin: {{ command: '{{dir}}/{name}', env: {{ MISBEHAVES: '1' }} }} }}\n");
    }
    yaml += "  quick: { plugin: /usr/lib/nagios/plugins/check_dummy 0 }\n";
    agent.configure(&yaml);
    let mut agent = agent;
    agent.launch();
    for (check, state, part) in [
        ("ignores-term", "unknown", "timed out after"),
        ("escapes", "unknown", "timed out after"),
        ("daemonizes", "okay", "OK"),
        ("floods", "unknown", "16 MiB"),
        ("binary", "okay", "OK"),
        ("asks", "warning", "got 1"),
        ("dies", "unknown", "signal"),
        ("no-interpreter", "unknown", "no-interpreter"),
    ] {
        let row = agent.wait_for_state(check, state, "hard");
        assert!(row["message"].as_str().unwrap().contains(part), "{check}: {}", row["message"]);
    }
    let shown = agent.command(&["status"]).stdout;
    assert!(shown.iter().all(|byte| *byte == b'\n' || *byte >= 0x20), "no control byte reaches the terminal");
    let (took, status) = agent.stop();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    wait_until_gone("MISBEHAVES=1", Duration::from_secs(2));
}

/// R9: what the daemon started does not outlive it, however it ends.
#[test]
fn nothing_outlives_a_killed_daemon() {
    let mut yaml = String::from("defaults: { interval: 1s, timeout: 60s }\nchecks:\n");
    for i in 0..20 {
        yaml += &format!(
            "  long{i}: {{ plugin: {{ command: \"/bin/sh -c 'setsid sleep 600 & sleep 600'\", env: {{ OUTLIVES: '1' }} }} }}\n"
        );
    }
    let mut agent = TestAgent::start(&yaml);
    agent.wait_for("all plugins to run", |_| support::marked("OUTLIVES=1").len() >= 40);
    agent.kill();
    wait_until_gone("OUTLIVES=1", Duration::from_secs(3));
}

/// R31: the second daemon on the same state says whose it is and goes.
#[test]
fn one_daemon_per_state() {
    let agent = TestAgent::start("checks: {}");
    let second = agent.command(&["agent"]);
    assert_ne!(second.status.code(), Some(0));
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains(&agent.pid().to_string()), "{text}");
    assert!(agent.get("/v1/status").is_some(), "the first one still answers");
}

/// R64: a plugin's environment is what we say, not what the daemon was started with.
#[test]
fn the_environment_of_plugins_is_clean() {
    let agent = TestAgent::start("checks: { env: { plugin: /usr/bin/env, interval: 1s } }");
    let row = agent.wait_for_state("env", "okay", "hard");
    let detail = agent.get("/v1/check?name=env").unwrap();
    let text = format!("{} {detail}", row["message"]);
    assert!(text.contains("PATH=/usr/local/sbin:"), "{text}");
    assert!(text.contains("LANG=C.UTF-8"));
    for leaked in ["CARGO", "RUST_BACKTRACE", "SHELL="] {
        assert!(!text.contains(leaked), "`{leaked}` reached a plugin: {text}");
    }
}

/// Promise 8: what hangs delays nobody, and `status` answers all the while.
#[test]
fn hung_checks_delay_nobody() {
    let mut yaml = String::from("defaults: { interval: 5s, timeout: 20s }\nchecks:\n");
    for i in 0..20 {
        yaml += &format!("  hung{i}: {{ plugin: /bin/sleep 600 }}\n");
    }
    yaml += "  quick: { plugin: /usr/lib/nagios/plugins/check_dummy 0, interval: 200ms }\n";
    let agent = TestAgent::start(&yaml);
    agent.wait_for_state("quick", "okay", "hard");
    let end = Instant::now() + Duration::from_secs(6);
    let mut seen = std::collections::HashSet::new();
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let start = Instant::now();
        seen.insert(agent.check("quick")["last_check"].as_str().unwrap_or_default().to_owned());
        slowest = slowest.max(start.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(seen.len() >= 25, "`quick` ran only {} times in 6 s", seen.len());
    assert!(slowest < Duration::from_secs(1), "`status` took {slowest:?}");
}

/// One file is broken: the rest runs, and the broken one is a bad check.
#[test]
fn a_broken_file_is_a_bad_check() {
    let agent =
        TestAgent::configured("checks: { fine: { plugin: /usr/lib/nagios/plugins/check_dummy 0, interval: 1s } }");
    std::fs::write(agent.path("conf.d/broken.yaml"), "checks:\n  shop:\n    htpp: { url: 'http://localhost' }\n")
        .unwrap();
    let mut agent = agent;
    agent.launch();
    agent.wait_for_state("fine", "okay", "hard");
    let row = agent.wait_for_state("config/conf.d/broken.yaml", "bad", "hard");
    let message = row["message"].as_str().unwrap();
    assert!(message.contains("broken.yaml:3:5") && message.contains("htpp") && message.contains("http"), "{message}");
    let check = agent.command(&["config", "check"]);
    assert_eq!(check.status.code(), Some(65), "{}", String::from_utf8_lossy(&check.stderr));
}

/// The example `conf.d` is good.
#[test]
fn the_examples_are_good() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(repository.join("conf.d")).unwrap() {
        let page = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let agent = TestAgent::configured(&page);
        let check = agent.command(&["config", "check"]);
        assert_eq!(check.status.code(), Some(0), "{page}\n{}", String::from_utf8_lossy(&check.stdout));
    }
}

/// Whoever writes `only` and `except` sees what they leave, and what there is to write about.
#[test]
fn once_explains_what_a_check_sees() {
    let agent =
        TestAgent::configured("checks:\n  root: { disk: { path: /, warning: \"> 99.9%\", bad: { inodes: 100% } } }\n");
    let text = String::from_utf8(agent.command(&["once", "--explain", "root"]).stdout).unwrap();
    assert!(text.starts_with("root  disk  "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let has =
        |words: &[&str]| text.lines().any(|line| line.split_whitespace().take(words.len()).eq(words.iter().copied()));
    assert!(
        has(&["FIELD", "UNIT", "WARNING", "BAD", "MEANING"]) && has(&["used", "percent", ">", "99.9%", "-"]),
        "{text}"
    );
    assert!(
        has(&["inodes", "percent", "-", "100%"]) && has(&["ITEM", "FIELD", "VALUE"]) && has(&["/", "used"]),
        "{text}"
    );
    let json = agent.command(&["once", "--explain", "root", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["checks"][0]["items"][0]["name"], "/");
    assert_eq!(json["checks"][0]["fields"][0]["warning"], "> 99.9%");
    assert_eq!(agent.command(&["once", "--explain"]).status.code(), Some(64), "of which check?");
}
