//! The packets of MQTT 3.1.1 that a reader needs.

use crate::net::{Failure, Wire};

/// How long a packet may be, in bytes: a message is a measured value or a report.
const MAX_PACKET: usize = 256 * 1024;

/// How long the broker is to wait for us, in seconds; no run takes so long.
const KEEP_ALIVE: u16 = 600;

pub(super) const PING: [u8; 2] = [0xc0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// What a broker says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The answer to CONNECT.
    Connected(u8),
    /// The answer to SUBSCRIBE: whether we may.
    Subscribed(bool),
    Published(Published),
    Pong,
    /// Something that is allowed and tells us nothing.
    Other,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) is_retained: bool,
}

/// Who logs in.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) client: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
}

/// A text behind its length, which settings have bounded.
fn word(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes().get(..length.into()).unwrap_or_default()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut rest = body.len();
    while rest > 0x7f {
        // Seven bits fit.
        packet.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    packet.push(u8::try_from(rest).unwrap_or_default());
    packet.extend(body);
    packet
}

/// A session that the broker forgets behind us.
pub(super) fn connect(login: Login<'_>) -> Vec<u8> {
    let Login { client, user, password } = login;
    let flags = 0x02 | u8::from(user.is_some()) << 7 | u8::from(password.is_some()) << 6;
    let mut body = word("MQTT");
    body.extend([4, flags]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    for text in [Some(client), user, password].into_iter().flatten() {
        body.extend(word(text));
    }
    packet(0x10, &body)
}

/// At most once: what is lost is measured as lost.
pub(super) fn subscribe(topic: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &word(topic), &[0]].concat())
}

/// Why a broker does not let us in (section 3.2.2.3).
pub(super) fn refusal(code: u8) -> String {
    match code {
        1 => "it does not speak MQTT 3.1.1".to_owned(),
        2 => "it does not like the name of the client: set `client`".to_owned(),
        3 => "it is not available".to_owned(),
        4 => "wrong user or password".to_owned(),
        5 => "not authorised".to_owned(),
        other => format!("code {other}"),
    }
}

/// The next packet. `awaited` is what it should be.
pub(super) async fn read(wire: &mut Wire, awaited: &str) -> Result<Packet, Failure> {
    let kind = byte(wire, awaited).await?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let part = byte(wire, awaited).await?;
        length |= usize::from(part & 0x7f) << shift;
        if part & 0x80 == 0 {
            if length > MAX_PACKET {
                return Err(wire.fault(format!("sends {length} bytes instead of {awaited}, more than are read")));
            }
            let body = wire.bytes(length, awaited).await?;
            return parse(kind, &body).ok_or_else(|| wire.fault("says what is not MQTT"));
        }
    }
    Err(wire.fault("says what is not MQTT"))
}

async fn byte(wire: &mut Wire, awaited: &str) -> Result<u8, Failure> {
    Ok(wire.bytes(1, awaited).await?.first().copied().unwrap_or_default())
}

fn parse(kind: u8, body: &[u8]) -> Option<Packet> {
    match (kind >> 4, body) {
        (2, [_, code]) => Some(Packet::Connected(*code)),
        (3, [high, low, rest @ ..]) => {
            let (topic, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
            // With a quality of service there is a number before the payload.
            let payload = if kind & 0x06 == 0 { rest } else { rest.get(2..)? };
            let topic = String::from_utf8_lossy(topic).into_owned();
            Some(Packet::Published(Published { topic, payload: payload.to_vec(), is_retained: kind & 1 == 1 }))
        }
        (9, [_, _, code]) => Some(Packet::Subscribed(*code < 0x80)),
        (13, []) => Some(Packet::Pong),
        (4..=7 | 11, [_, _]) => Some(Packet::Other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets() {
        let login = Login { client: "c", user: Some("u"), password: Some("pw") };
        assert_eq!(connect(login), b"\x10\x14\0\x04MQTT\x04\xc2\x02\x58\0\x01c\0\x01u\0\x02pw");
        assert_eq!(subscribe("a/b"), b"\x82\x08\0\x01\0\x03a/b\0");
        assert_eq!(packet(1, &[0; 321])[..3], [1, 0xc1, 2], "the example of the standard");
        let message = |retained, payload: &[u8]| {
            Some(Packet::Published(Published {
                topic: "t".to_owned(),
                payload: payload.to_vec(),
                is_retained: retained,
            }))
        };
        assert_eq!(parse(0x31, b"\0\x01t42"), message(true, b"42"));
        assert_eq!(parse(0x32, b"\0\x01t\0\x0742"), message(false, b"42"));
        assert_eq!(parse(0x30, b"\0\x05t"), None);
        assert_eq!(parse(0x90, b"\0\x01\x80"), Some(Packet::Subscribed(false)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = parse(kind, &body);
        }
    }
}
