//! `nut` against Debian's `upsd`, and against servers that say what they should not.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monchero_core::State;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::peer::{PATIENCE, Remembering, Server, free_tcp_port, metric, user};

const RACK: &str = "\
ups.mfr: Example
ups.model: Dummy \\\"1500\\\"
ups.serial: 000123
ups.status: OL
battery.charge: 97
battery.runtime: 1320
ups.load: 23
ups.realpower.nominal: 900
input.voltage: 229.8
output.voltage: 230.1
input.frequency: 50
ups.temperature: 27.4
";

/// A server of Network UPS Tools with a driver for each UPS.
struct Nut {
    upsd: Server,
    drivers: Vec<Server>,
    port: u16,
    dir: TempDir,
}

impl Nut {
    /// Starts it with these UPSes, each a name, the ending of its file and what that holds.
    async fn start(upses: &[(&str, &str, &str)], upsd_conf: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (at, port, user) = (dir.path(), free_tcp_port(), user());
        let mut conf = "maxretry = 3\n".to_owned();
        for (name, ending, text) in upses {
            let file = at.join(format!("{name}.{ending}"));
            std::fs::write(&file, text).unwrap();
            let _ = writeln!(conf, "[{name}]\ndriver = dummy-ups\nport = {}\npollinterval = 1", file.display());
        }
        std::fs::write(at.join("nut.conf"), "MODE=netserver\n").unwrap();
        std::fs::write(at.join("ups.conf"), conf).unwrap();
        std::fs::write(at.join("upsd.conf"), format!("LISTEN 127.0.0.1 {port}\nMAXAGE 2\n{upsd_conf}")).unwrap();
        std::fs::write(at.join("upsd.users"), "[admin]\npassword = secret\nactions = SET\ninstcmds = ALL\n").unwrap();
        let drivers = upses.iter().map(|(name, ..)| driver(at, &user, name)).collect();
        let upsd = Server::start("/lib/nut/upsd", &["-F", "-u", &user], &env(at), &at.join("upsd.log"));
        let nut = Self { upsd, drivers, port, dir };
        nut.ready(upses.len()).await;
        nut
    }

    /// Until each UPS has a status.
    async fn ready(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut check = Remembering::new("nut", &self.settings(""));
        loop {
            let (_, result) = check.run().await;
            let statuses = result.metrics.iter().filter(|metric| metric.label.ends_with(" on_battery")).count();
            // A driver that is not done says `WAIT`, which is unknown.
            if statuses == count && result.state != State::Unknown {
                return;
            }
            let log = std::fs::read_to_string(self.dir.path().join("upsd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "upsd does not come up: {result:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn settings(&self, more: &str) -> String {
        format!("address: 127.0.0.1:{}\n{more}", self.port)
    }

    /// Sets a variable, as `upsrw` does.
    async fn set(&self, ups: &str, variable: &str, value: &str) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        for command in
            ["USERNAME admin".to_owned(), "PASSWORD secret".to_owned(), format!("SET VAR {ups} {variable} \"{value}\"")]
        {
            write.write_all(format!("{command}\n").as_bytes()).await.unwrap();
            let answer = lines.next_line().await.unwrap().unwrap();
            assert!(answer.starts_with("OK"), "{command}: {answer}");
        }
    }
}

fn env(at: &Path) -> [(&'static str, &Path); 3] {
    [("NUT_CONFPATH", at), ("NUT_STATEPATH", at), ("NUT_ALTPIDPATH", at)]
}

fn driver(at: &Path, user: &str, name: &str) -> Server {
    Server::start("/lib/nut/dummy-ups", &["-D", "-a", name, "-u", user], &env(at), &at.join("drivers.log"))
}

#[tokio::test]
async fn a_power_cut_from_its_beginning_to_its_end() {
    let nut = Nut::start(&[("rack", "dev", RACK), ("desk", "dev", "ups.status: OL\nbattery.charge: 100\n")], "").await;
    let mut check = Remembering::new("nut", &nut.settings(""));
    let calm = check.until("all is well", |result| result.state == State::Okay).await;
    assert_eq!(
        &*calm.message,
        "rack: on line power, 97% charged, about 22m, load 23%; desk: on line power, 100% charged"
    );
    assert_eq!(&*calm.output, "rack: Example, Dummy \"1500\", serial 000123\ndesk: Dummy Manufacturer, Dummy UPS");
    assert!((metric(&calm, "rack watts") - 207.0).abs() < 1e-6);
    assert!((metric(&calm, "rack input.voltage") - 229.8).abs() < 1e-6);

    nut.set("rack", "ups.status", "OB DISCHRG").await;
    nut.set("rack", "battery.charge", "82").await;
    let cut = check.until("on battery", |result| result.state == State::Warning).await;
    assert!(cut.message.starts_with("rack: on battery"), "{cut:?}");
    let (report, _) = check.run().await;
    assert_eq!(report.unwrap().again, Some(Duration::from_secs(15)), "it is looked at more often now");
    let longer = check.until("it knows since when", |result| metric(result, "rack on_battery") >= 1.0).await;
    assert!(longer.message.starts_with("rack: on battery since 1"), "{longer:?}");

    nut.set("rack", "ups.status", "OB DISCHRG LB").await;
    let low = check.until("low", |result| result.state == State::Bad).await;
    assert!(low.message.contains("battery low"), "{low:?}");

    nut.set("rack", "ups.status", "OL CHRG").await;
    let back = check.until("back", |result| result.state == State::Okay).await;
    assert!(back.message.contains("rack: on line power, charging, 82% charged"), "{back:?}");
    assert!(metric(&back, "rack on_battery").abs() < 1e-6);
}

#[tokio::test]
async fn a_sequence_of_the_driver_is_followed() {
    let sequence = "ups.status: OL\nTIMER 1\nups.status: OB\nTIMER 1\nups.status: OB LB\nTIMER 1\n";
    let nut = Nut::start(&[("seq", "seq", sequence)], "").await;
    let mut check = Remembering::new("nut", &nut.settings("ups: seq"));
    for (what, state, word) in [
        ("line", State::Okay, "on line power"),
        ("battery", State::Warning, "on battery"),
        ("low", State::Bad, "battery low"),
        ("line again", State::Okay, "on line power"),
    ] {
        check.until(what, |result| result.state == state && result.message.contains(word)).await;
    }
}

#[tokio::test]
async fn lost_communication_is_unknown_and_never_an_outage() {
    let mut nut = Nut::start(&[("rack", "dev", RACK), ("desk", "dev", "ups.status: OL\n")], "").await;
    let mut check = Remembering::new("nut", &nut.settings(""));
    check.until("all is well", |result| result.state == State::Okay).await;
    nut.set("rack", "ups.status", "OB").await;
    check.until("on battery", |result| result.state == State::Warning).await;

    nut.drivers[0].kill();
    let lost = check.until("its driver is gone", |result| result.state == State::Unknown).await;
    assert!(lost.message.contains("rack: its driver ") && lost.message.contains("on battery"), "{lost:?}");
    assert!(!lost.metrics.iter().any(|metric| metric.label.starts_with("rack ")), "no value is invented");
    assert!(metric(&lost, "desk on_battery").abs() < 1e-6, "the other one is seen all the same");

    nut.drivers[0] = driver(nut.dir.path(), &user(), "rack");
    check.until("its driver is back", |result| result.state == State::Okay).await;

    nut.upsd.kill();
    let (report, dead) = check.run().await;
    assert!(report.is_none() && dead.state == State::Unknown, "{dead:?}");
    assert!(dead.message.contains("connection refused; so nothing is known of the power"), "{dead:?}");
}

#[tokio::test]
async fn one_ups_is_chosen_and_one_that_is_not_there_is_bad() {
    let nut = Nut::start(&[("rack", "dev", RACK), ("desk", "dev", "ups.status: OB\n")], "").await;
    let (_, result) = Remembering::new("nut", &nut.settings("ups: rack\nuser: admin\npassword: secret")).run().await;
    assert_eq!(result.state, State::Okay, "{result:?}");
    let (_, result) = Remembering::new("nut", &nut.settings("only: { ups.model: \"*1500*\" }")).run().await;
    assert_eq!(result.state, State::Okay, "{result:?}");
    let (_, result) = Remembering::new("nut", &nut.settings("ups: [rack, attic]")).run().await;
    assert_eq!((result.state, &*result.message), (State::Bad, "attic: the server knows no such UPS (UNKNOWN-UPS)"));
    let (_, result) = Remembering::new("nut", &nut.settings("tls: true")).run().await;
    assert!(result.state == State::Unknown && result.message.contains("does not speak TLS"), "{result:?}");
}

/// A server that says the same to everybody and then waits.
async fn talker(text: Vec<u8>, ends: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let text = text.clone();
            tokio::spawn(async move {
                // The client goes away when it has had enough: that is what is tested.
                let _ = stream.write_all(&text).await;
                let mut rest = [0; 64];
                while !ends && stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    port
}

#[tokio::test]
async fn hostile_servers_end_in_unknown_with_a_reason() {
    let begin = "BEGIN LIST VAR u\n";
    let million = format!("{begin}{}", "VAR u a.b \"1\"\n".repeat(1_000_000));
    for (text, ends, expected) in [
        (million.into_bytes(), true, "more than 1000 lines"),
        (vec![b'x'; 10_000_000], true, "a line of more than 4 KiB"),
        (vec![0xff; 100], true, "closes instead of answering"),
        (format!("{begin}VAR v a.b \"1\"\n").into_bytes(), false, "`VAR v a.b \"1\"`"),
        (b"BEGIN LIST VAR other\n".to_vec(), false, "not the protocol of upsd"),
        (b"\0\x1b[2J\n".to_vec(), false, "not the protocol of upsd"),
        (b"ERR \n".to_vec(), false, "not the protocol of upsd"),
        (begin.as_bytes().to_vec(), false, "does not answer LIST VAR u within"),
    ] {
        let port = talker(text, ends).await;
        let mut check = Remembering::new("nut", &format!("address: 127.0.0.1:{port}\nups: u"));
        check.timeout = Duration::from_secs(1);
        let start = Instant::now();
        let (_, result) = check.run().await;
        assert_eq!(result.state, State::Unknown, "{expected}: {result:?}");
        assert!(result.message.contains(expected), "{expected}: {result:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{expected}: {:?}", start.elapsed());
    }
}

/// Answers one question of a client.
async fn converse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), question: &str, answer: &str) {
    let mut said = vec![0; question.len()];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(String::from_utf8(said).unwrap(), question);
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

const ONE: &str = "BEGIN LIST VAR u\nVAR u ups.status \"OL\"\nVAR u battery.charge \"99\"\nEND LIST VAR u\n";

#[tokio::test]
async fn starttls_is_spoken_before_anything_else_is_said() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("upsd.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        converse(&mut stream, "STARTTLS\n", "OK STARTTLS\n").await;
        let mut stream = acceptor.accept(stream).await.unwrap();
        converse(&mut stream, "USERNAME \"m\"\n", "OK\n").await;
        converse(&mut stream, "PASSWORD \"a \\\"b\\\\\"\n", "OK\n").await;
        converse(&mut stream, "LIST VAR u\n", ONE).await;
        // The next client finds a certificate that it does not trust.
        let (mut stream, _) = listener.accept().await.unwrap();
        converse(&mut stream, "STARTTLS\n", "OK STARTTLS\n").await;
        assert!(acceptor.accept(stream).await.is_err());
    });
    let login = "user: m\npassword: 'a \"b\\'\nups: u\n";
    let settings = format!("address: localhost:{port}\nfamily: ipv4\n{login}");
    let (_, result) = Remembering::new("nut", &format!("{settings}tls: {{ ca: {} }}", ca.display())).run().await;
    assert_eq!((result.state, &*result.message), (State::Okay, "u: on line power, 99% charged"));
    let (_, result) = Remembering::new("nut", &format!("{settings}tls: true")).run().await;
    assert!(result.state == State::Unknown && result.message.contains("certificate"), "{result:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_may_speak_byte_by_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        converse(&mut stream, "LIST VAR u\n", "").await;
        for byte in ONE.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        converse(&mut stream, "LOGOUT\n", "OK Goodbye\n").await;
    });
    let (_, result) = Remembering::new("nut", &format!("address: 127.0.0.1:{port}\nups: u")).run().await;
    assert_eq!((result.state, &*result.message), (State::Okay, "u: on line power, 99% charged"));
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_talks_and_talks_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut answer = format!("BEGIN {line}\n");
            for number in 0..100 {
                let value = if line == "LIST UPS" { String::new() } else { "x".repeat(4_000) };
                let subject = line.strip_prefix("LIST ").unwrap();
                let _ = writeln!(answer, "{subject} u{number} \"{value}\"");
            }
            let _ = writeln!(answer, "END {line}");
            if write.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    let (_, result) = Remembering::new("nut", &format!("address: 127.0.0.1:{port}")).run().await;
    assert!(result.state == State::Unknown && result.message.contains("more than 2 MiB in all"), "{result:?}");
}

/// A server of 20 UPSes with 40 variables each.
async fn scripted() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut answer = format!("BEGIN {line}\n");
                    if line == "LIST UPS" {
                        for ups in 0..20 {
                            let _ = writeln!(answer, "UPS u{ups} \"a UPS\"");
                        }
                    } else if let Some(ups) = line.strip_prefix("LIST VAR ") {
                        let _ = writeln!(answer, "VAR {ups} ups.status \"OL\"");
                        for n in 0..40 {
                            let _ = writeln!(answer, "VAR {ups} outlet.{n}.current \"0.5\"");
                        }
                    } else {
                        break;
                    }
                    let _ = writeln!(answer, "END {line}");
                    if write.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn ten_servers_of_twenty_upses_take_less_than_a_second() {
    let mut checks = Vec::new();
    for _ in 0..10 {
        checks.push(Remembering::new("nut", &format!("address: 127.0.0.1:{}", scripted().await)));
    }
    let start = Instant::now();
    for check in &mut checks {
        let (report, result) = check.run().await;
        assert_eq!((result.state, report.unwrap().items.kept), (State::Okay, 20), "{result:?}");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
