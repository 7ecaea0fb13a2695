//! What the world around the daemon does to it: systemd, a stopped process, a full queue of reloads.

mod support;

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::TestAgent;

/// R60: systemd is told that the daemon is ready, that all is well every half interval, and that it stops.
#[test]
fn systemd_is_told() {
    let mut agent =
        TestAgent::configured("checks: { fine: { plugin: /usr/lib/nagios/plugins/check_dummy 0, interval: 1s } }");
    let socket = agent.path("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    agent.set_env("NOTIFY_SOCKET", &socket.display().to_string());
    agent.set_env("WATCHDOG_USEC", "4000000");
    agent.launch();
    let next = || {
        let mut buffer = [0; 4096];
        let length = listener.recv(&mut buffer).expect("the daemon says something within ten seconds");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(next().contains("READY=1"));
    let mut beats = Vec::new();
    while beats.len() < 4 {
        if next().contains("WATCHDOG=1") {
            beats.push(Instant::now());
        }
    }
    let apart = beats[3].duration_since(beats[1]);
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&apart), "two beats took {apart:?}, not 4 s");
    assert_eq!(agent.command(&["reload"]).status.code(), Some(0));
    let said: Vec<String> = (0..3).map(|_| next()).filter(|text| !text.contains("WATCHDOG")).collect();
    assert!(said[0].contains("RELOADING=1") && said[0].contains("MONOTONIC_USEC="), "{said:?}");
    assert!(said.last().unwrap().contains("READY=1"), "{said:?}");
    agent.signal(Signal::TERM);
    let mut last = next();
    while !last.contains("STOPPING=1") {
        last = next();
    }
    assert_eq!(agent.ended(Duration::from_secs(10)).1, Some(0));
    // The engine has made no progress yet when the watch over it begins, and that is no trouble.
    assert!(!agent.log().contains("no progress"), "{}", agent.log());
}

/// A program of which the kernel loads a part from a dead mount, where nobody looked for it, holds the thread that starts programs: the
/// check says so, the watchdog is told, and the daemon can be stopped.
#[test]
fn a_thread_that_hangs_in_the_kernel_is_noticed_and_costs_nothing_else() {
    let hung = support::hung::Hung::needed();
    let mut agent = TestAgent::configured(
        "defaults: { interval: 1s, retries: 0, timeout: 500ms }
checks:
  fine: { plugin: /bin/true }
  dead: { plugin: '{dir}/outer' }
",
    );
    agent.script("inner", &format!("#!{}/sh\n", hung.path().display()));
    agent.script("outer", "#!{dir}/inner\n");
    agent.set_env("WATCHDOG_USEC", "4000000");
    agent.launch();
    let row = agent.wait_for_state("dead", "unknown", "hard");
    assert!(row["message"].as_str().unwrap().contains("the thread on which checks run hangs"), "{row:#}");
    agent.wait_for("the watchdog to be told", |agent| {
        agent.log().contains("the thread that starts programs makes no progress: the watchdog is not told")
    });
    assert!(!agent.log().contains("the engine makes no progress"));
    let (took, _) = agent.stop();
    assert!(took < Duration::from_secs(12), "took {took:?}");
}

/// R35: whatever it is at, it stops in time when it is told to, and what could not be told is told after the next start.
#[test]
fn it_stops_in_time_under_load() {
    let mut yaml = "defaults: { interval: 100ms, retries: 0, flapping: false, actions: [ops] }\nchecks:\n".to_owned();
    for number in 0..30 {
        let _ = writeln!(yaml, "  quick-{number}: {{ plugin: [/bin/sleep, '0.0{number}'] }}");
    }
    for number in 0..10 {
        let _ =
            writeln!(yaml, "  deaf-{number}: {{ plugin: [/bin/sh, -c, \"trap '' TERM; sleep 600\"], timeout: 10m }}");
    }
    yaml.push_str(
        "  down: { plugin: [/bin/sh, -c, 'echo down; exit 2'] }
actions:
  ops: { command: { run: ['{dir}/tell'], timeout: 2m } }
",
    );
    let mut agent = TestAgent::configured(&yaml);
    agent.script("tell", "#!/bin/sh\n[ -e {dir}/hang ] && sleep 600\necho \"$MONCHERO_CHECK\" >> {dir}/told\n");
    std::fs::write(agent.path("hang"), "").unwrap();
    for round in 0..24_u64 {
        agent.spawn();
        if round % 4 == 3 {
            // By now the message that hangs is under way.
            agent.wait_for("a confirmed problem", |agent| agent.check("down")["state_type"] == "hard");
        } else {
            // Any moment will do, also one of the start.
            std::thread::sleep(Duration::from_millis(97 * round));
        }
        agent.signal(Signal::TERM);
        let (took, status) = agent.ended(Duration::from_secs(10));
        assert!(
            status == Some(0) || status.is_none() && took < Duration::from_secs(1),
            "round {round}: {status:?}\n{}",
            agent.log()
        );
    }
    assert!(agent.lines("told").is_empty());
    std::fs::remove_file(agent.path("hang")).unwrap();
    agent.launch();
    agent.wait_for("what was queued to be told", |agent| !agent.lines("told").is_empty());
}

/// A daemon with an environment setter that takes long unless there is a file `quick`.
fn with_setter(yaml: &str) -> TestAgent {
    let agent = TestAgent::configured(yaml);
    std::fs::create_dir(agent.path("env")).unwrap();
    std::fs::write(agent.path("monchero.yaml"), format!("environment_setters: {}\n", agent.path("env").display()))
        .unwrap();
    std::fs::write(agent.path("quick"), "").unwrap();
    let text = "#!/bin/sh\necho asked >> {dir}/asked\n[ -e {dir}/broken ] && { echo no tea >&2; exit 3; }\n[ -e {dir}/quick ] || sleep 9\n\
                read value < {dir}/value && echo MONCHERO_TEA=$value\n";
    std::fs::write(agent.path("value"), "green\n").unwrap();
    agent.script("env/tea", text);
    agent
}

/// Who tells the daemon to stop is heard at once, also while it starts and while it reads its configuration again.
#[test]
fn it_can_be_stopped_while_it_starts_and_while_it_reloads() {
    let mut agent = with_setter("checks: { fine: { plugin: /bin/true } }");
    let soon = Duration::from_secs(5);
    std::fs::remove_file(agent.path("quick")).unwrap();
    agent.spawn();
    agent.wait_for("the setter to be run", |agent| agent.lines("asked").len() == 1);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended(soon).1, Some(0), "{}", agent.log());

    std::fs::write(agent.path("quick"), "").unwrap();
    agent.launch();
    std::fs::remove_file(agent.path("quick")).unwrap();
    agent.signal(Signal::HUP);
    agent.wait_for("the setter to be run again", |agent| agent.lines("asked").len() == 3);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended(soon).1, Some(0), "{}", agent.log());
}

/// What a setter gives reaches programs and nobody else, and one that fails changes nothing.
#[test]
fn an_environment_setter_that_fails_is_a_broken_configuration() {
    let mut agent = with_setter(
        "defaults: { interval: 200ms, retries: 0 }
checks:
  tea: { plugin: [/bin/sh, -c, 'echo OK - $MONCHERO_TEA'] }
  here: { uptime: {} }
",
    );
    agent.launch();
    let tea = |what: &'static str| move |agent: &TestAgent| agent.check("tea")["message"].as_str() == Some(what);
    agent.wait_for("green tea", tea("OK - green"));
    std::fs::write(agent.path("value"), "black\n").unwrap();
    let reload = agent.command(&["reload"]);
    assert_eq!(support::text(&reload.stdout), "reloaded: 0 checks added, 1 changed, 0 removed, 1 untouched\n");
    agent.wait_for("black tea", tea("OK - black"));

    std::fs::write(agent.path("broken"), "").unwrap();
    let reload = agent.command(&["reload"]);
    assert_ne!(reload.status.code(), Some(0));
    let said = support::text(&reload.stderr);
    assert!(said.contains("env/tea` failed with exit status 3: no tea"), "{said}");
    agent.wait_for_state("self/config", "bad", "hard");
    assert!(tea("OK - black")(&agent), "{:#}", agent.check("tea"));
    agent.stop();
    agent.launch();
    let row = agent.wait_for_state("self/config", "bad", "hard");
    assert!(row["message"].as_str().unwrap().contains("no tea"), "{row:#}");
    agent.wait_for("no tea", tea("OK -"));
    std::fs::remove_file(agent.path("broken")).unwrap();
    assert_eq!(agent.command(&["reload"]).status.code(), Some(0));
    agent.wait_for("black tea again", tea("OK - black"));
    agent.wait_for_state("self/config", "okay", "hard");
}

/// A daemon that refuses to start has not crashed.
#[test]
fn wrong_operators_are_no_crash() {
    let mut agent = TestAgent::configured(
        "checks: {}\nactions:\n  ops: { file: { path: '{dir}/told' }, lifecycle: [started, crashed] }\n",
    );
    std::fs::write(agent.path("monchero.yaml"), "operators: no-such-group\n").unwrap();
    agent.spawn();
    assert_eq!(agent.ended(Duration::from_secs(10)).1, Some(5), "{}", agent.log());
    std::fs::remove_file(agent.path("monchero.yaml")).unwrap();
    agent.launch();
    agent.wait_for("the start to be told", |agent| agent.lines("told").iter().any(|line| line.contains("started")));
    assert!(!agent.lines("told").iter().any(|line| line.contains("crashed")), "{:?}", agent.lines("told"));
}

/// R19: after the whole daemon stood still, a run that was frozen with it is not judged, and everything goes on.
#[test]
fn standing_still_proves_nothing() {
    let agent = TestAgent::start(
        "defaults: { interval: 1s, retries: 0, flapping: false }
checks:
  slow: { plugin: /bin/sleep 3, timeout: 6s }
  quick: { plugin: /usr/lib/nagios/plugins/check_dummy 0 }
",
    );
    agent.wait_for_state("quick", "okay", "hard");
    agent.wait_for_state("slow", "okay", "hard");
    agent.signal(Signal::STOP);
    // The whole point is that time passes while nothing runs.
    std::thread::sleep(Duration::from_secs(9));
    agent.signal(Signal::CONT);
    let resumed = agent.check("quick")["last_check"].clone();
    agent.wait_for("`quick` to run again", |agent| agent.check("quick")["last_check"] != resumed);
    let before = agent.check("slow")["last_check"].clone();
    agent.wait_for("`slow` to run again", |agent| agent.check("slow")["last_check"] != before);
    let history = agent.get("/v1/history?check=slow&limit=100").unwrap();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(0), "standing still made a transition: {history}");
}

/// R54: many reloads at once end in the state of the last files, and leave nothing behind.
#[test]
fn many_reloads_end_well() {
    let agent = TestAgent::start("checks: { one: { plugin: /usr/lib/nagios/plugins/check_dummy 0, interval: 1s } }");
    agent.wait_for_state("one", "okay", "hard");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let before = descriptors();
    for i in 0..200 {
        agent.configure(&format!(
            "checks: {{ one: {{ plugin: /usr/lib/nagios/plugins/check_dummy 0, interval: 1s }}, n{i}: {{ load: {{}} }} }}"
        ));
        agent.signal(Signal::HUP);
    }
    agent.wait_for("the last configuration", |agent| agent.check("n199")["name"] == "n199");
    let names: Vec<String> = agent.checks().iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.iter().filter(|name| !name.starts_with("self/")).count(), 2, "{names:?}");
    agent.wait_for("descriptors to be closed", |_| descriptors() <= before + 2);
    assert_eq!(agent.check("self/config")["state"], "okay");
}

/// R33: a check that was at work each time when the daemon died is left out, by name, until somebody asks for it.
#[test]
fn a_check_that_kills_the_daemon_is_left_out() {
    let mut agent = TestAgent::configured(
        "defaults: { interval: 1s }
checks:
  bomb: { plugin: /usr/lib/nagios/plugins/check_dummy 0 }
  calm: { plugin: /usr/lib/nagios/plugins/check_dummy 0 }
",
    );
    for _ in 0..3 {
        agent.launch();
        agent.wait_for_state("bomb", "okay", "hard");
        agent.kill();
        // What stands in the file while the check is worked on; no crash can be ordered for exactly then.
        let file = std::fs::OpenOptions::new().write(true).open(agent.path("state/monchero.witness")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"bomb\n", 0).unwrap();
    }
    agent.launch();
    let left_out = agent.wait_for_state("bomb", "unknown", "hard");
    assert!(left_out["message"].as_str().unwrap().contains("`monchero run bomb` tries it again"), "{left_out}");
    agent.wait_for_state("calm", "okay", "hard");
    agent.wait_for_state("self/scheduler", "warning", "hard");
    assert_eq!(agent.command(&["run", "bomb"]).status.code(), Some(0));
    agent.wait_for_state("bomb", "okay", "hard");
}
