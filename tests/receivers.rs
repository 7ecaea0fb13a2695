//! A receiver that takes connections and says nothing: the other receiver is told as quickly as ever, and checks go on in time (R41).

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use support::{STEP, TestAgent, compile, set_step};

const CHECKS: usize = 20;
/// How often every check breaks.
const ROUNDS: usize = 5;
/// How late a message of the good receiver may be, from the transition on, for 99 of 100.
const LATEST: Duration = Duration::from_secs(2);

/// What a receiver was told, and when.
type Told = Arc<Mutex<Vec<(Timestamp, Value)>>>;

/// A receiver that answers, or one that keeps every connection and says nothing.
fn receiver(answers: bool) -> (u16, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told: Told = Arc::default();
    let kept = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            // A connection that breaks off told nothing.
            std::thread::spawn(move || drop(hear(stream, answers, &kept)));
        }
    });
    (port, told)
}

fn hear(mut stream: TcpStream, answers: bool, told: &Told) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    while reader.read_line(&mut head)? > 2 {
        let line = head.lines().last().unwrap_or_default().to_lowercase();
        length = line.strip_prefix("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(length);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    #[expect(clippy::disallowed_methods, reason = "the receiver has a clock of its own")]
    let now = Timestamp::try_from(SystemTime::now()).expect("a time");
    told.lock().unwrap().push((now, serde_json::from_slice(&body)?));
    if answers {
        write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    } else {
        // Until the daemon gives up.
        reader.read_to_end(&mut Vec::new()).map(drop)
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are what one looks for after a failure")]
fn a_receiver_that_hangs_delays_neither_another_nor_checks() {
    let (fine, told) = receiver(true);
    let (hanging, heard) = receiver(false);
    let mut agent = TestAgent::configured("checks: {}");
    compile(STEP, &agent.path("step"));
    let mut yaml =
        String::from("defaults: { interval: 200ms, retries: 0, flapping: false, actions: [hanging, fine] }\nchecks:\n");
    for n in 0..CHECKS {
        set_step(&agent.path(&format!("step{n}")), 0, "fine");
        yaml.push_str(&format!("  check{n}: {{ plugin: '{{dir}}/step {{dir}}/step{n}' }}\n"));
    }
    yaml.push_str(&format!(
        "actions:\n  hanging: {{ webhook: 'http://127.0.0.1:{hanging}/', group: 0s, rate: 1000000 }}\n  \
         fine: {{ webhook: 'http://127.0.0.1:{fine}/', group: 0s, rate: 1000000 }}\n"
    ));
    agent.configure(&yaml);
    std::fs::set_permissions(agent.path("conf.d/test.yaml"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    agent.launch();
    let start = Instant::now();
    for round in 1..=ROUNDS {
        for (status, times) in [(2, 2 * round - 1), (0, 2 * round)] {
            (0..CHECKS).for_each(|n| set_step(&agent.path(&format!("step{n}")), status, "so"));
            agent.wait_for("the good receiver to be told of all", |_| told.lock().unwrap().len() >= times * CHECKS);
        }
    }
    let lasted = start.elapsed();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2 * ROUNDS * CHECKS, "each transition is told once");
    let mut delays: Vec<Duration> = told
        .iter()
        .filter(|(_, body)| body["kind"] == "problem")
        .map(|(at, body)| {
            let since: Timestamp = body["event"]["incident"]["since"].as_str().unwrap().parse().unwrap();
            Duration::try_from(at.duration_since(since)).unwrap_or_default()
        })
        .collect();
    delays.sort();
    let p99 = delays[delays.len() * 99 / 100 - 1];
    let late = agent.check("self/scheduler");
    eprintln!("{} messages in {lasted:?}, p99 {p99:?}, the last {:?}; {}", told.len(), delays.last(), late["message"]);
    assert!(p99 < LATEST, "p99 is {p99:?}: {delays:?}");
    assert_eq!(late["state"], "okay", "{late:#}");
    let heard = heard.lock().unwrap().len();
    assert!((1..=4).contains(&heard), "the receiver that hangs was asked {heard} times, one after another");
}
