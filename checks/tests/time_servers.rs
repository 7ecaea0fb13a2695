//! `time` and `ntp` with servers that follow a script.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{NoPrograms, PlainSecrets};
use monchero_core::State;
use monchero_core::report::ServiceResult;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A packet of NTP, and what of it a test changes.
#[derive(Clone, Copy)]
struct Packet {
    flags: u8,
    stratum: u8,
    /// In seconds.
    root_dispersion: f64,
    reference: [u8; 4],
    /// How far the server's clock is before that of the test, in seconds.
    ahead: f64,
}

const GOOD: Packet = Packet { flags: 0x24, stratum: 2, root_dispersion: 0.01, reference: [192, 0, 2, 1], ahead: 0.0 };

impl Packet {
    /// What it is as an answer to a question.
    fn answer(self, Question { bytes, elapsed }: Question<'_>) -> Vec<u8> {
        let now: jiff::Timestamp = common::NOW.parse().unwrap();
        let seconds = now.as_second() as f64 + 2_208_988_800.0 + elapsed + self.ahead;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a moment of this era")]
        let moment = (seconds * 4_294_967_296.0) as u64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
        let dispersion = (self.root_dispersion * 65_536.0) as u32;
        let mut packet = vec![0; 48];
        (packet[0], packet[1]) = (self.flags, self.stratum);
        packet[8..12].copy_from_slice(&dispersion.to_be_bytes());
        packet[12..16].copy_from_slice(&self.reference);
        packet[24..32].copy_from_slice(&bytes[40..48]);
        packet[32..40].copy_from_slice(&moment.to_be_bytes());
        packet[40..48].copy_from_slice(&moment.to_be_bytes());
        packet
    }
}

/// What a server is asked.
#[derive(Clone, Copy)]
struct Question<'a> {
    bytes: &'a [u8],
    /// How long the server has run, in seconds: the clock of the test starts with it.
    elapsed: f64,
}

/// A server that answers each question with some packets.
struct Server {
    address: String,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(mut script: impl FnMut(Question<'_>) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let start = Instant::now();
        let task = tokio::spawn(async move {
            let mut question = [0; 128];
            while let Ok((length, client)) = socket.recv_from(&mut question).await {
                assert_eq!((length, question[0]), (48, 0x23), "a client of version 4");
                let elapsed = start.elapsed().as_secs_f64();
                for packet in script(Question { bytes: &question[..length], elapsed }) {
                    let _ = socket.send_to(&packet, client).await;
                }
            }
        });
        Self { address, task }
    }

    async fn saying(packet: Packet) -> Self {
        Self::start(move |question| vec![packet.answer(question)]).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(kind: &str, settings: &str) -> ServiceResult {
    let check = common::kind(kind).build(&common::yaml(settings), &PlainSecrets).unwrap();
    let context = common::context(Path::new("/"), Duration::from_secs(2), &NoPrograms);
    common::run_in(&*check, &context).await.result
}

fn value(result: &ServiceResult, label: &str) -> f64 {
    result.metrics.iter().find(|metric| &*metric.label == label).and_then(|metric| metric.value).unwrap()
}

#[tokio::test]
async fn a_clock_that_is_right_slow_or_fast() {
    for (ahead, state, words) in [
        (0.0, State::Okay, "the clock is "),
        (0.7, State::Warning, "offset is "),
        (-30.0, State::Bad, " s ahead, by 1 of 1 server"),
        (30.0, State::Bad, " s behind, by 1 of 1 server"),
    ] {
        let server = Server::saying(Packet { ahead, ..GOOD }).await;
        let result = run("time", &server.address).await;
        assert_eq!(result.state, state, "{}", result.message);
        assert!(result.message.contains(words), "{}", result.message);
        assert!((value(&result, "offset") - ahead.abs()).abs() < 0.2, "{}", result.message);
    }
}

#[tokio::test]
async fn one_wrong_server_of_three_and_one_that_knows_nothing_change_nothing() {
    let (good, other) = (Server::saying(GOOD).await, Server::saying(Packet { ahead: 0.01, ..GOOD }).await);
    let wrong = Server::saying(Packet { ahead: 3_600.0, ..GOOD }).await;
    let lost = Server::saying(Packet { flags: 0xe4, stratum: 16, ..GOOD }).await;
    let names = [&good, &other, &wrong, &lost].map(|server| server.address.clone());
    let result = run("time", &format!("{{ servers: {names:?} }}")).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.contains("by 3 of 4 servers"), "{}", result.message);
    assert!((value(&result, "spread") - 3_600.0).abs() < 1.0 && (value(&result, "servers") - 3.0).abs() < 0.1);
    let line = format!("{} is not synchronised itself", lost.address);
    assert_eq!(result.output.lines().nth(3), Some(line.as_str()));
    // The user wants all four.
    let result = run("time", &format!("{{ servers: {names:?}, bad: {{ servers: \"< 4\" }} }}")).await;
    assert_eq!(result.state, State::Bad, "{}", result.message);
}

#[tokio::test]
async fn no_time_at_all_is_unknown() {
    let lost = Server::saying(Packet { flags: 0xe4, stratum: 16, ..GOOD }).await;
    let rate = Server::saying(Packet { flags: 0xe4, stratum: 0, reference: *b"RATE", ..GOOD }).await;
    let result = run("time", &format!("{{ servers: [\"{}\", \"{}\"] }}", lost.address, rate.address)).await;
    assert_eq!(result.state, State::Unknown);
    assert_eq!(
        &*result.message,
        format!(
            "no server told the time: {} is not synchronised itself; {} is asked too often, as it says: give this check a longer interval",
            lost.address, rate.address
        )
    );
}

#[tokio::test]
async fn a_time_server_that_is_well_far_from_its_source_or_lost() {
    let insert = Packet { flags: 0x64, stratum: 1, reference: *b"GPS\0", ..GOOD };
    let far = Packet { root_dispersion: 1.2, ..GOOD };
    let lost = Packet { flags: 0xe4, ..GOOD };
    let unset = Packet { stratum: 16, ..GOOD };
    let denied = Packet { flags: 0xe4, stratum: 0, reference: *b"DENY", ..GOOD };
    for (packet, state, words) in [
        (GOOD, State::Okay, "stratum 2 (192.0.2.1), the clock of this host is "),
        (insert, State::Okay, "a leap second will be inserted"),
        (far, State::Warning, "root_distance is 1.2 s, above 1 s"),
        (Packet { root_dispersion: 2.0, ..far }, State::Bad, "root_distance is 2 s, above 1.5 s"),
        (lost, State::Bad, "is not synchronised (as it says)"),
        (unset, State::Bad, "is not synchronised (stratum 16)"),
        (denied, State::Bad, "does not serve this host (DENY)"),
    ] {
        let server = Server::saying(packet).await;
        let result = run("ntp", &server.address).await;
        assert_eq!(result.state, state, "{}", result.message);
        assert!(result.message.contains(words), "{}", result.message);
    }
    let server = Server::saying(insert).await;
    let result = run("ntp", &format!("{{ server: \"{}\", warning: {{ leap: \"!none\" }} }}", server.address)).await;
    assert_eq!(result.state, State::Warning, "{}", result.message);
}

#[tokio::test]
async fn hostile_packets_are_passed_over_and_silence_ends() {
    // Forged, cut and empty packets before the true one.
    let server = Server::start(|question| {
        let mut forged = Packet { ahead: 3_600.0, ..GOOD }.answer(question);
        forged[24] ^= 1;
        let good = GOOD.answer(question);
        vec![forged, good[..47].to_vec(), Vec::new(), vec![0xff; 600], good]
    })
    .await;
    let result = run("ntp", &server.address).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);

    // The first question is lost on its way.
    let mut asked = 0;
    let server = Server::start(move |question| {
        asked += 1;
        if asked > 1 { vec![GOOD.answer(question)] } else { Vec::new() }
    })
    .await;
    let result = run("ntp", &server.address).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);

    let flood = Server::start(|_| vec![vec![0xff; 1_000]; 100]).await;
    let silent = Server::start(|_| Vec::new()).await;
    for (server, words) in [(flood, "that are no answer"), (silent, "does not answer within 1.9s (asked 3 times)")] {
        let start = Instant::now();
        let result = run("ntp", &server.address).await;
        assert!(start.elapsed() < Duration::from_millis(2_400), "{:?}", start.elapsed());
        assert_eq!(result.state, State::Bad, "{}", result.message);
        assert!(result.message.contains(words), "{}", result.message);
    }
}
