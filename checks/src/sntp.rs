//! Asking a time server once, as RFC 5905 (section 14, SNTP) has it: what `time` and `ntp` share.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::net::{Deadline, Failure, Family, Peer, io_text, resolve};
use crate::settings::excerpt;

/// How often a server is asked within the time that there is: datagrams get lost.
const ATTEMPTS: u32 = 3;
/// The header of a packet, in bytes; what stands behind it is for those who authenticate.
const HEADER: usize = 48;
/// How many packets that are no answer to us are passed over, so that a flood of them ends.
const MAX_STRAY: usize = 64;
/// From 1900, where NTP begins to count, to 1970.
const EPOCH: i64 = 2_208_988_800;

/// A time server: a host, with a port if it is not 123.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server(Peer);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let with_port = if text.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("[{text}]:123")
        } else if text.contains(':') {
            text.to_owned()
        } else {
            format!("{text}:123")
        };
        let wrong =
            |_| format!("`{}` is no server: write a name or an address, as in `ntp.example.org`", excerpt(text));
        with_port.parse().map(Self).map_err(wrong)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port == 123 { f.write_str(&self.0.host) } else { self.0.fmt(f) }
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Server {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A time server: a name or an address, with a port if that is not 123." })
    }
}

/// The host's clock, as of the start of the run and carried on by one that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    start: Timestamp,
    since: Instant,
}

impl Wall {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { start, since: Instant::now() }
    }

    /// Now, as NTP writes it: seconds since 1900 in the upper half, of which the era is lost, and their fraction in the lower.
    fn ntp(&self) -> u64 {
        let now = self.start + self.since.elapsed();
        let nanoseconds = now.as_nanosecond() + i128::from(EPOCH) * 1_000_000_000;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the era is lost, as in every packet"
        )]
        let moment = ((nanoseconds << 32) / 1_000_000_000) as u64;
        moment
    }
}

/// What a server says about a leap second at the end of the day, or about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leap {
    None,
    Insert,
    Delete,
    Unsynchronised,
}

impl Leap {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Insert => "insert",
            Self::Delete => "delete",
            Self::Unsynchronised => "unsynchronised",
        }
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) leap: Leap,
    /// How many steps it is away from a clock of its own: 1 has one, 16 does not know the time.
    pub(crate) stratum: u8,
    /// How long a packet needs from it to that clock and back, in seconds.
    pub(crate) root_delay: f64,
    /// How far it may have drifted from that clock, in seconds.
    pub(crate) root_dispersion: f64,
    /// How far the host's clock is behind that of the server, in seconds.
    pub(crate) offset: f64,
    /// How long the packet needed there and back, in seconds.
    pub(crate) delay: f64,
    /// Where it has its time from, as it says.
    pub(crate) reference: String,
}

impl Answer {
    /// The most that its time can be wrong, as a client sees it (RFC 5905, section 11.1).
    pub(crate) fn root_distance(&self) -> f64 {
        f64::midpoint(self.root_delay, self.delay) + self.root_dispersion
    }

    pub(crate) fn is_synchronised(&self) -> bool {
        self.leap != Leap::Unsynchronised && (1..16).contains(&self.stratum)
    }
}

/// Why a packet is no time.
#[derive(Debug, PartialEq)]
enum NoTime {
    /// It is not an answer to what we asked: somebody else's, or one to an earlier question.
    Stray,
    /// The server asks us to go away (a kiss-o'-death, RFC 5905, section 7.4).
    Kiss(String),
}

/// Asks a server for the time.
pub(crate) async fn ask(server: &Server, family: Family, wall: Wall, deadline: Deadline) -> Result<Answer, Failure> {
    let addresses = resolve(&server.0, family, deadline).await?;
    let patience = deadline.left() / ATTEMPTS;
    let mut why = Failure::Bad(format!(
        "{server} does not answer within {} (asked {ATTEMPTS} times)",
        monchero_core::duration::human(deadline.limit())
    ));
    for (address, _) in addresses.iter().cycle().zip(0..ATTEMPTS) {
        match timeout(patience, attempt(server, *address, wall)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Attempt::Final(failure))) => return Err(failure),
            Ok(Err(Attempt::Again(text))) => {
                let ip = address.ip().to_string();
                let ip = if ip == server.0.host { String::new() } else { format!(" ({ip})") };
                why = Failure::Bad(format!("asking {server}{ip}: {text}"));
            }
            Err(_) => {}
        }
    }
    Err(why)
}

/// Why an attempt gave no time.
enum Attempt {
    /// Another address, or another time, may do better.
    Again(String),
    Final(Failure),
}

async fn attempt(server: &Server, address: SocketAddr, wall: Wall) -> Result<Answer, Attempt> {
    let broken = |error: std::io::Error| Attempt::Again(io_text(&error));
    let own = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(own).await.map_err(broken)?;
    socket.connect(address).await.map_err(broken)?;
    // The server gives back what it is told to be our time. It need not know that, and who cannot see our packet cannot guess a number.
    let mut cookie = [0; 8];
    let unable = |_| Attempt::Final(Failure::Unable("this host has no random numbers".to_owned()));
    SystemRandom::new().fill(&mut cookie).map_err(unable)?;
    let mut question = [0; HEADER];
    // No leap second, version 4, a client.
    question[0] = 4 << 3 | 3;
    question[40..].copy_from_slice(&cookie);
    let sent = wall.ntp();
    socket.send(&question).await.map_err(broken)?;
    for _ in 0..MAX_STRAY {
        let mut packet = [0; 1024];
        let length = socket.recv(&mut packet).await.map_err(broken)?;
        match read(packet.get(..length).unwrap_or_default(), cookie, sent, wall.ntp()) {
            Ok(answer) => return Ok(answer),
            Err(NoTime::Stray) => {}
            Err(NoTime::Kiss(code)) => return Err(Attempt::Final(Failure::Bad(refusal(server, &code)))),
        }
    }
    Err(Attempt::Again(format!("{MAX_STRAY} packets came that are no answer")))
}

/// What a kiss-o'-death means to somebody who runs the check.
fn refusal(server: &Server, code: &str) -> String {
    match code {
        "RATE" => format!("{server} is asked too often, as it says: give this check a longer interval"),
        "DENY" | "RSTR" => format!("{server} does not serve this host ({code}): its access rules forbid it"),
        other => format!("{server} gives no time, but the code `{other}`"),
    }
}

/// Reads a packet (RFC 5905, section 7.3) that came at `now`, in answer to one of `sent`.
fn read(packet: &[u8], cookie: [u8; 8], sent: u64, now: u64) -> Result<Answer, NoTime> {
    let header = packet.first_chunk::<HEADER>().ok_or(NoTime::Stray)?;
    let word = |at: usize| header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let short = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        f64::from(bytes.map_or(0, u32::from_be_bytes)) / 65_536.0
    };
    let [flags, stratum, ..] = *header;
    let (received, transmitted) = (word(32), word(40));
    if flags & 7 != 4 || word(24) != u64::from_be_bytes(cookie) {
        return Err(NoTime::Stray);
    }
    let reference = &header[12..16];
    if stratum == 0 {
        return Err(NoTime::Kiss(excerpt(String::from_utf8_lossy(reference).trim_end_matches('\0'))));
    }
    let leap = [Leap::None, Leap::Insert, Leap::Delete, Leap::Unsynchronised][usize::from(flags >> 6)];
    let (there, back) = (between(sent, received), between(now, transmitted));
    Ok(Answer {
        leap,
        // A server that has no time to give leaves it empty.
        stratum: if transmitted == 0 || received == 0 { 16 } else { stratum },
        root_delay: short(4),
        root_dispersion: short(8),
        offset: f64::midpoint(there, back),
        delay: (between(sent, now) - between(received, transmitted)).max(0.0),
        reference: describe_reference(stratum, reference),
    })
}

/// The seconds from one moment to another, at most 68 years in either direction.
fn between(from: u64, to: u64) -> f64 {
    to.wrapping_sub(from).cast_signed() as f64 / 4_294_967_296.0
}

/// The name of a clock, or the address of a server (of IPv6 a part of its hash, which names nothing).
fn describe_reference(stratum: u8, reference: &[u8]) -> String {
    match reference {
        text if stratum == 1 => excerpt(String::from_utf8_lossy(text).trim_end_matches('\0')),
        [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
        _ => String::new(),
    }
}

/// How far the host's clock is from a server's, in words: `12 ms behind`.
pub(crate) fn describe_offset(offset: f64) -> String {
    use monchero_core::quantity::{Unit, human};
    let span = human(offset.abs(), &Unit::SECONDS);
    format!("{span} {}", if offset < 0.0 { "ahead" } else { "behind" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    const SECOND: u64 = 1 << 32;

    fn packet(flags: u8, stratum: u8, received: u64, transmitted: u64) -> [u8; HEADER] {
        let mut packet = [0; HEADER];
        (packet[0], packet[1]) = (flags, stratum);
        packet[4..8].copy_from_slice(&32_768_u32.to_be_bytes());
        packet[8..12].copy_from_slice(&16_384_u32.to_be_bytes());
        packet[12..16].copy_from_slice(b"GPS\0");
        packet[24..32].copy_from_slice(&COOKIE);
        packet[32..40].copy_from_slice(&received.to_be_bytes());
        packet[40..].copy_from_slice(&transmitted.to_be_bytes());
        packet
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn an_answer_is_read() {
        // Sent at 100, there at 110.5, sent back at 111, here at 102: the clock is 9.75 s behind and the way takes 1.5 s.
        let sent = 100 * SECOND;
        let packet = packet(4 << 3 | 4, 1, 110 * SECOND + SECOND / 2, 111 * SECOND);
        let answer = read(&packet, COOKIE, sent, 102 * SECOND).unwrap();
        assert!(close(answer.offset, 9.75) && close(answer.delay, 1.5), "{answer:?}");
        assert!(close(answer.root_delay, 0.5) && close(answer.root_dispersion, 0.25), "{answer:?}");
        assert!(close(answer.root_distance(), 0.25 + 1.0), "{answer:?}");
        assert_eq!((answer.leap, answer.stratum, answer.reference.as_str()), (Leap::None, 1, "GPS"));
        assert!(answer.is_synchronised());
    }

    #[test]
    fn the_era_turns_between_two_moments() {
        let packet = packet(4 << 3 | 4, 2, SECOND, SECOND);
        let answer = read(&packet, COOKIE, u64::MAX - SECOND + 1, u64::MAX - SECOND + 1).unwrap();
        assert!(close(answer.offset, 2.0), "{answer:?}");
        // 7 February 2036, 06:28:16: the first second of the next era.
        let wall = Wall::new("2036-02-07T06:28:16Z".parse().unwrap());
        assert!(wall.ntp() < SECOND, "{}", wall.ntp());
    }

    #[test]
    fn what_is_no_answer_is_passed_over_and_what_has_no_time_says_so() {
        let good = packet(4 << 3 | 4, 2, SECOND, SECOND);
        let reading = |packet: &[u8]| read(packet, COOKIE, SECOND, SECOND);
        assert_eq!(reading(&good[..47]), Err(NoTime::Stray));
        assert_eq!(reading(&packet(4 << 3 | 3, 2, SECOND, SECOND)), Err(NoTime::Stray), "a client");
        assert_eq!(read(&good, [0; 8], SECOND, SECOND), Err(NoTime::Stray), "an answer to somebody else");
        assert_eq!(reading(&packet(0xe4, 0, 0, 0)), Err(NoTime::Kiss("GPS".to_owned())));
        assert!(!reading(&packet(0xe4, 2, SECOND, SECOND)).unwrap().is_synchronised(), "it says so");
        assert!(!reading(&packet(0x24, 16, SECOND, SECOND)).unwrap().is_synchronised(), "stratum 16");
        assert!(!reading(&packet(0x24, 2, 0, 0)).unwrap().is_synchronised(), "no time in it");
    }

    #[test]
    fn servers() {
        for (text, shown) in [
            ("ntp.example.org", "ntp.example.org"),
            ("10.0.0.1:123", "10.0.0.1"),
            ("10.0.0.1:1123", "10.0.0.1:1123"),
            ("fd00::1", "fd00::1"),
            ("[fd00::1]:1123", "[fd00::1]:1123"),
        ] {
            assert_eq!(text.parse::<Server>().map(|server| server.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "a b", "http://a", "a:0"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_packet_gives_an_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..80), sent: u64, now: u64, ours: bool) {
            if ours && bytes.len() >= 32 {
                bytes[0] = bytes[0] & 0xf8 | 4;
                bytes[24..32].copy_from_slice(&COOKIE);
            }
            if let Ok(answer) = read(&bytes, COOKIE, sent, now) {
                prop_assert!(answer.offset.is_finite() && answer.delay >= 0.0 && answer.root_distance() >= 0.0);
            }
        }
    }
}
