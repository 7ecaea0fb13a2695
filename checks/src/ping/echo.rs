//! ICMP echoes to one host (RFC 792, RFC 4443).

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::net::{Deadline, Failure, Family, Peer, io_text, random, resolve};

/// How long the last echo has to come back, if the run has so much time left.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// The head of an echo, in bytes.
const HEAD: usize = 8;

/// The most that stands before an echo on a raw socket, in bytes: the head of IPv4 with all options.
const MAX_IP_HEAD: usize = 60;

/// What is said when the system refuses, with what to do.
const DENIED: &str = "the system does not let monchero send ICMP echoes: allow its group \
    (`sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`), or give it the capability CAP_NET_RAW (`AmbientCapabilities=CAP_NET_RAW` in \
    its systemd unit, or `setcap cap_net_raw+ep` on its program)";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) count: u16,
    pub(super) spacing: Duration,
    /// The bytes behind the head.
    pub(super) size: usize,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Echoes {
    /// The address that was used.
    pub(super) address: String,
    /// One for each echo that was sent: its round trip, if it came back.
    pub(super) trips: Vec<Option<Duration>>,
    /// What the system or a router said instead.
    pub(super) error: Option<String>,
}

/// Sends echoes to the address of a host that the system prefers.
pub(super) async fn ping(peer: &Peer, family: Family, plan: Plan, deadline: Deadline) -> Result<Echoes, Failure> {
    let addresses = resolve(peer, family, deadline).await?;
    // A name that has been resolved has at least one.
    let Some(address) = addresses.first() else { return Err(Failure::Bad(format!("`{}` has no address", peer.host))) };
    let secret = random()?;
    let (socket, is_raw) = open(*address)?;
    let form = Form { is_v6: address.is_ipv6(), is_raw, secret };
    let mut echoes = Echoes { address: address.ip().to_string(), trips: Vec::new(), error: None };
    // Connected, a socket gets only what this host sends.
    match socket.connect(SocketAddr::new(address.ip(), 0)).await {
        Ok(()) => exchange(&socket, form, plan, Instant::now() + deadline.left(), &mut echoes).await,
        Err(error) => {
            echoes.trips = vec![None; plan.count.into()];
            echoes.error = Some(io_text(&error));
        }
    }
    Ok(echoes)
}

/// A socket for echoes: one that the system grants to groups of users, or a raw one, which needs a capability. Says whether it is raw.
fn open(address: SocketAddr) -> Result<(UdpSocket, bool), Failure> {
    let (domain, protocol) = match address {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let datagram = Socket::new(domain, Type::DGRAM, Some(protocol)).map(|socket| (socket, false));
    let opened = datagram.or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)).map(|socket| (socket, true)));
    let (socket, is_raw) = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::Unable(DENIED.to_owned()),
        _ => Failure::Unable(format!("opening a socket for ICMP: {}", io_text(&error))),
    })?;
    // tokio has no type for ICMP sockets; sending and receiving datagrams is the same for all of them.
    let ready = socket.set_nonblocking(true).and_then(|()| UdpSocket::from_std(socket.into()));
    ready.map(|socket| (socket, is_raw)).map_err(|error| Failure::Unable(format!("preparing a socket: {error}")))
}

/// How echoes look on a socket.
#[derive(Debug, Clone, Copy)]
struct Form {
    is_v6: bool,
    /// Whether the system neither makes the head nor takes it away.
    is_raw: bool,
    /// What is in each echo, so that those of others are told apart.
    secret: [u8; HEAD],
}

impl Form {
    fn request(self, number: u16, size: usize) -> Vec<u8> {
        let kind = if self.is_v6 { 128 } else { 8 };
        let [high, low] = number.to_be_bytes();
        // On sockets that are not raw, the system replaces checksum and identifier.
        let mut packet = vec![kind, 0, 0, 0, self.secret[0], self.secret[1], high, low];
        packet.extend(self.secret.iter().cycle().take(size));
        // The one of IPv6 is about its head too, so the system makes it.
        if !self.is_v6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// The number of the echo that this is a reply to, if it is one of ours.
    fn reply(self, packet: &[u8]) -> Option<u16> {
        let packet = match packet.first() {
            Some(first) if self.is_raw && !self.is_v6 => packet.get(usize::from(first & 0x0f) * 4..)?,
            _ => packet,
        };
        let kind = if self.is_v6 { 129 } else { 0 };
        match packet {
            [first, 0, _, _, _, _, high, low, rest @ ..] if *first == kind && rest.starts_with(&self.secret) => {
                Some(u16::from_be_bytes([*high, *low]))
            }
            _ => None,
        }
    }
}

/// The checksum of the internet (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // It was folded into 16 bits.
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Sends by the plan and notes what comes back: each echo once, whatever else the host sends. Ends at `end`.
async fn exchange(socket: &UdpSocket, form: Form, plan: Plan, end: Instant, echoes: &mut Echoes) {
    let mut sent: Vec<Instant> = Vec::new();
    let mut next = Instant::now();
    let mut buffer = vec![0; MAX_IP_HEAD + HEAD + plan.size];
    while sent.len() < plan.count.into() || echoes.trips.iter().any(Option::is_none) {
        let now = Instant::now();
        if now >= end || (now >= next && sent.len() >= plan.count.into()) {
            return;
        }
        if now >= next {
            // At most 1,000 are sent.
            let number = u16::try_from(sent.len()).unwrap_or(u16::MAX);
            let result = socket.send(&form.request(number, plan.size)).await;
            note(&mut echoes.error, result.map(drop));
            sent.push(now);
            echoes.trips.push(None);
            next = if number + 1 < plan.count { next + plan.spacing } else { now + LAST_WAIT };
        }
        match timeout_at(next.min(end), socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                let number = buffer.get(..length).and_then(|packet| form.reply(packet)).map(usize::from);
                let place = number.and_then(|number| Some((sent.get(number)?, echoes.trips.get_mut(number)?)));
                if let Some((sent, trip @ None)) = place {
                    *trip = Some(sent.elapsed());
                }
            }
            Ok(Err(error)) => note(&mut echoes.error, Err(error)),
            Err(_) => {}
        }
    }
}

fn note(known: &mut Option<String>, result: std::io::Result<()>) {
    if let Err(error) = result {
        known.get_or_insert_with(|| io_text(&error));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RAW: Form = Form { is_v6: false, is_raw: true, secret: *b"secret 8" };
    const PLAIN: Form = Form { is_raw: false, ..RAW };
    const V6: Form = Form { is_v6: true, ..RAW };

    /// The reply to an echo as a socket of this form gives it.
    fn reply(form: Form, request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = if form.is_v6 { 129 } else { 0 };
        match form {
            Form { is_raw: true, is_v6: false, .. } => [&[0x45; 20][..], &reply].concat(),
            _ => reply,
        }
    }

    #[test]
    fn replies_are_recognised() {
        for form in [RAW, PLAIN, V6] {
            let request = form.request(7, 56);
            assert_eq!(request.len(), 64);
            assert_eq!(form.reply(&reply(form, &request)), Some(7));
            assert_eq!(form.reply(&request), None, "a request, as loopback shows it to raw sockets");
            let other = Form { secret: *b"another8", ..form };
            assert_eq!(form.reply(&reply(form, &other.request(7, 56))), None, "of another program");
        }
        assert_eq!(checksum(&RAW.request(9, 57)), 0, "the sum over a packet with its checksum is nothing");
    }

    /// Sends echoes to a host that is played by a UDP socket: it answers each with these packets.
    async fn play(plan: Plan, answers: impl Fn(u16, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Echoes {
        let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(host.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 2048];
            let mut number = 0;
            while let Ok((length, from)) = host.recv_from(&mut packet).await {
                for answer in answers(number, &packet[..length]) {
                    host.send_to(&answer, from).await.unwrap();
                }
                number += 1;
            }
        });
        let mut echoes = Echoes { address: String::new(), trips: Vec::new(), error: None };
        exchange(&socket, PLAIN, plan, Instant::now() + Duration::from_millis(500), &mut echoes).await;
        echoes
    }

    const PLAN: Plan = Plan { count: 4, spacing: Duration::from_millis(10), size: 56 };

    #[tokio::test]
    async fn lost_doubled_and_foreign_replies_are_told_apart() {
        let echoes = play(PLAN, |number, request| match number {
            0 => vec![Vec::new(), b"x".to_vec(), reply(PLAIN, request), reply(PLAIN, request)],
            1 => vec![request.to_vec(), reply(PLAIN, &PLAIN.request(900, 56))],
            2 => vec![reply(PLAIN, &Form { secret: *b"another8", ..PLAIN }.request(2, 56))],
            _ => vec![reply(PLAIN, request)],
        })
        .await;
        let came: Vec<bool> = echoes.trips.iter().map(Option::is_some).collect();
        assert_eq!(came, [true, false, false, true]);
        assert_eq!(echoes.error, None);
    }

    #[tokio::test]
    async fn late_replies_count_for_the_echo_that_they_answer() {
        let first = std::sync::Mutex::new(Vec::new());
        let echoes = play(PLAN, move |number, request| {
            let mut first = first.lock().unwrap();
            match number {
                0 => first.extend_from_slice(request),
                1 => return vec![reply(PLAIN, request), reply(PLAIN, &first)],
                _ => return vec![reply(PLAIN, request)],
            }
            Vec::new()
        })
        .await;
        let trips: Vec<Duration> = echoes.trips.into_iter().flatten().collect();
        assert_eq!(trips.len(), 4);
        assert!(trips[0] >= Duration::from_millis(10), "{trips:?}");
    }

    #[tokio::test]
    async fn a_host_that_floods_or_keeps_silent_delays_nothing() {
        let start = Instant::now();
        let echoes = play(PLAN, |_, request| vec![request.to_vec(); 2_000]).await;
        assert!(echoes.trips.iter().all(Option::is_none));
        let echoes = play(PLAN, |_, _| Vec::new()).await;
        assert_eq!(echoes.trips, [None; 4]);
        assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(packet in prop::collection::vec(any::<u8>(), 0..100)) {
            for form in [RAW, PLAIN, V6] {
                let _ = form.reply(&packet);
            }
        }
    }
}
