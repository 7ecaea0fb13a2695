//! The daemon is killed with SIGKILL at random moments. What anybody saw must be on disk; nothing is told twice without a reason; no
//! remedy runs twice; nothing is left behind; in the end everybody knows the truth.

mod support;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use support::{STEP, TestAgent, compile, set_step, wait_until_gone};

const CHECKS: usize = 20;
/// How often the daemon is killed in a plain test run; `MONCHERO_KILLS` asks for more.
const KILLS: u32 = 200;
const MARK: &str = "CRASH_TEST_MARK=1";

/// A small generator of its own, so that a seed tells the whole story.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the seed and the figures are what one looks for after a failure")]
fn killed_at_random_moments() {
    let kills = std::env::var("MONCHERO_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("MONCHERO_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0x5eed);
    eprintln!("{kills} kills, seed {seed}");
    let mut random = Random(seed);
    let mut agent = TestAgent::configured("checks: {}");
    agent.configure(&configuration(&agent));
    for i in 0..CHECKS {
        set_step(&agent.path(&format!("step{i}")), 0, "seq=0");
    }

    let mut obligations: HashSet<(String, String, String)> = HashSet::new();
    let mut sequence = 0;
    let mut slowest_start = Duration::ZERO;
    for _ in 0..kills {
        let start = Instant::now();
        agent.launch();
        slowest_start = slowest_start.max(start.elapsed());
        let until = Instant::now() + Duration::from_millis(5 + random.next(400));
        while Instant::now() < until {
            sequence += 1;
            let i = random.next(CHECKS as u64);
            let status = [0, 0, 1, 2][usize::try_from(random.next(4)).unwrap()];
            set_step(&agent.path(&format!("step{i}")), status, &format!("seq={sequence}"));
            observe(&agent, &mut obligations);
        }
        agent.kill();
        wait_until_gone(MARK, Duration::from_secs(3));
    }
    assert!(obligations.len() > kills as usize / 2, "the story was too quiet: {} transitions seen", obligations.len());
    assert!(slowest_start < Duration::from_secs(5), "a start took {slowest_start:?}");

    agent.launch();
    settle(&agent);
    no_transition_was_lost(&agent, &obligations);
    let repeated = notices_are_the_truth(&agent);
    assert!(repeated <= kills as usize, "{repeated} messages were sent twice over {kills} kills");
    no_script_ran_twice(&agent);
    eprintln!(
        "{} transitions seen, {repeated} messages sent twice, slowest start {slowest_start:?}",
        obligations.len()
    );
}

fn configuration(agent: &TestAgent) -> String {
    compile(STEP, &agent.path("step"));
    // A mail server that only writes down what it is given: the delivery's id and the subject, in one append.
    agent.script(
        "sendmail",
        "#!/bin/sh\nsed -n -e 's/^X-Monchero-Delivery: */id /p' -e 's/^Subject: */subject /p' -e '/^$/q' | tr -d '\\r' | paste -s -d ' ' >> {dir}/mails\n",
    );
    let mut yaml = String::from(
        "defaults: { interval: 100ms, retry_interval: 100ms, flapping: false, actions: [ops, heal] }\nchecks:\n",
    );
    for i in 0..CHECKS {
        let _ = writeln!(
            yaml,
            "  check{i}: {{ plugin: {{ command: '{{dir}}/step {{dir}}/step{i}', env: {{ CRASH_TEST_MARK: '1' }} }}, retries: {} }}",
            i % 3
        );
    }
    yaml.push_str(
        "actions:\n  ops: { email: { to: [ops@example.org], sendmail: '{dir}/sendmail' }, group: 0s, rate: 1000000 }\n  \
         heal: { script: \"#!/bin/sh\\necho \\\"$MONCHERO_CHECK $MONCHERO_INCIDENT\\\" >> {dir}/heals\\n\", on: [bad] }\n",
    );
    yaml
}

/// Everything that `status` shows is a promise: the transition that led there must be in history for ever.
fn observe(agent: &TestAgent, obligations: &mut HashSet<(String, String, String)>) {
    for check in agent.checks() {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        if text("name").starts_with("check") && text("state") != "pending" {
            obligations.insert((text("name"), text("state"), text("since")));
        }
    }
}

/// All checks are okay and everybody knows.
fn settle(agent: &TestAgent) {
    for i in 0..CHECKS {
        set_step(&agent.path(&format!("step{i}")), 0, "seq=end");
    }
    agent.wait_within(Duration::from_secs(60), "all checks to be okay and told", |agent| {
        let settled = agent
            .checks()
            .iter()
            .filter(|c| c["name"].as_str().is_some_and(|n| n.starts_with("check")))
            .all(|c| c["state"] == "okay");
        settled && last_subjects(agent).values().all(|subject| subject.contains("[okay]"))
    });
}

fn no_transition_was_lost(agent: &TestAgent, obligations: &HashSet<(String, String, String)>) {
    let mut known: HashSet<(String, String, String)> = HashSet::new();
    for i in 0..CHECKS {
        let name = format!("check{i}");
        let history = agent.get(&format!("/v1/history?check={name}&limit=2000")).expect("history answers");
        for event in history["events"].as_array().expect("history has events") {
            let (at, state) = (event["at"].as_str().unwrap_or_default(), event["state"].as_str().unwrap_or_default());
            known.insert((name.clone(), state.to_owned(), at.to_owned()));
        }
    }
    // A first okay is no transition: nothing was before it. Times are compared as times: as texts `41.3Z` stands behind `41.305Z`.
    let time = |at: &str| at.parse::<jiff::Timestamp>().expect("times are RFC 3339");
    let first_of = |check: &String| known.iter().filter(|(of, ..)| of == check).map(|(.., at)| time(at)).min();
    let is_first_okay = |(check, state, at): &(String, String, String)| {
        state == "okay" && first_of(check).is_none_or(|first| time(at) < first)
    };
    let lost: Vec<_> = obligations.iter().filter(|seen| !known.contains(seen) && !is_first_okay(seen)).collect();
    assert!(lost.is_empty(), "{} of {} transitions that were seen are lost: {lost:?}", lost.len(), obligations.len());
}

/// The last subject that was mailed about each check.
fn last_subjects(agent: &TestAgent) -> HashMap<String, String> {
    let mut last = HashMap::new();
    for line in agent.lines("mails") {
        let Some((_, subject)) = line.split_once("subject ") else { continue };
        let check = subject.split_whitespace().find(|word| word.starts_with("check")).unwrap_or_default();
        last.insert(check.trim_end_matches(':').to_owned(), subject.to_owned());
    }
    last
}

/// Answers how many messages were sent twice.
fn notices_are_the_truth(agent: &TestAgent) -> usize {
    let mut ids: HashMap<String, usize> = HashMap::new();
    for line in agent.lines("mails") {
        let id = line.split_once("id ").and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or_default();
        *ids.entry(id.to_owned()).or_default() += 1;
    }
    assert!(!ids.is_empty(), "somebody was told");
    for (check, subject) in last_subjects(agent) {
        assert!(subject.contains("[okay]"), "`{check}` is okay, but was told: {subject}");
    }
    ids.values().map(|count| count - 1).sum()
}

fn no_script_ran_twice(agent: &TestAgent) {
    let lines = agent.lines("heals");
    assert!(!lines.is_empty(), "some script ran");
    let mut by_occasion: HashMap<&String, usize> = HashMap::new();
    for line in &lines {
        *by_occasion.entry(line).or_default() += 1;
    }
    // Bad, warning, bad again within one incident sets it off twice; never more often than the incident's history has hard bads.
    for (occasion, count) in by_occasion.into_iter().filter(|(_, count)| *count > 1) {
        let check = occasion.split_whitespace().next().unwrap_or_default();
        let history = agent.get(&format!("/v1/history?check={check}&limit=2000")).expect("history answers");
        let incident = occasion.split_whitespace().nth(1).unwrap_or_default();
        let runs = history["events"].as_array().into_iter().flatten().filter(|event| {
            event["event"] == "action" && event["incident"].as_str() == Some(incident) && event["action"] == "heal"
        });
        assert!(count <= runs.count(), "{occasion} ran {count} times");
    }
}
