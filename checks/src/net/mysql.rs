//! The protocol of MySQL and MariaDB up to where TLS begins.

use super::{Failure, Wire};
use crate::settings::excerpt;

/// What client and server can do, as far as it matters: a database is named at the login, the protocol is that of version 4.1, TLS is
/// spoken, passwords are proven by what is made of them and of a salt, an answer may be one of several, ways to log in have names.
pub(crate) const WITH_DATABASE: u32 = 0x0000_0008;
pub(crate) const VERSION_41: u32 = 0x0000_0200;
pub(crate) const TLS: u32 = 0x0000_0800;
pub(crate) const SALTED: u32 = 0x0000_8000;
pub(crate) const SEVERAL_ANSWERS: u32 = 0x0002_0000;
pub(crate) const NAMED_LOGIN: u32 = 0x0008_0000;

/// How long a packet of the server may be, in bytes: a row.
pub(crate) const MAX_PACKET: u32 = 1024 * 1024;

/// What all our packets before the login begin with: what we can do, how long packets may be, `utf8mb4` (45), and 23 bytes of nothing.
pub(crate) fn introduction(capabilities: u32) -> Vec<u8> {
    let mut body = [capabilities.to_le_bytes(), MAX_PACKET.to_le_bytes()].concat();
    body.push(45);
    body.resize(32, 0);
    body
}

/// A packet: the length of its body, its number in the exchange, its body.
pub(crate) fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    // Settings are bounded far below what three bytes can say.
    let [a, b, c, _] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&[a, b, c, number], body].concat()
}

/// The next packet of the server: its number in the exchange and its body.
pub(crate) async fn read(wire: &mut Wire, awaited: &str) -> Result<(u8, Vec<u8>), Failure> {
    let head = wire.bytes(4, awaited).await?;
    let (length, number) = match head.as_slice() {
        [a, b, c, number] => (u32::from_le_bytes([*a, *b, *c, 0]), *number),
        _ => (0, 0),
    };
    if length > MAX_PACKET {
        return Err(wire.fault("does not speak MySQL, or sends a packet of more than 1 MiB"));
    }
    Ok((number, wire.bytes(length as usize, awaited).await?))
}

/// What a server has against something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl Refusal {
    /// Reads what stands behind `0xff`: the number, `#` and five signs of the standard of SQL (not before the login), the text.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let (code, rest) = body.split_first_chunk::<2>()?;
        let text = match rest.split_first() {
            Some((b'#', rest)) => rest.get(5..)?,
            _ => rest,
        };
        let message = excerpt(&String::from_utf8_lossy(text));
        Some(Self { code: u16::from_le_bytes(*code), message })
    }
}

/// How a server greets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) version: String,
    pub(crate) capabilities: u32,
    pub(crate) salt: Vec<u8>,
    /// Its usual way to log in.
    pub(crate) way: String,
}

impl Greeting {
    /// Reads the first packet of a server.
    pub(crate) async fn read(wire: &mut Wire) -> Result<Self, Failure> {
        let (_, body) = read(wire, "the greeting").await?;
        match body.split_first() {
            Some((0xff, why)) => {
                let why = Refusal::parse(why).map(|refusal| refusal.message).unwrap_or_default();
                Err(wire.fault(format!("does not let us in: {why}")))
            }
            Some((10, rest)) => {
                Self::parse(rest).ok_or_else(|| wire.fault("does not speak MySQL: its greeting cannot be read"))
            }
            _ => Err(wire.fault("does not speak MySQL: its greeting cannot be read")),
        }
    }

    /// Reads what stands behind the version of the protocol, 10.
    fn parse(body: &[u8]) -> Option<Self> {
        let (version, rest) = until_nul(body)?;
        // The number of the connection, the first part of the salt, a NUL, the lower half of what the server can do.
        let (salt, rest) = rest.get(4..)?.split_at_checked(8)?;
        let (low, rest) = rest.get(1..)?.split_first_chunk::<2>()?;
        let mut greeting = Self {
            version: String::from_utf8_lossy(version).into_owned(),
            capabilities: u16::from_le_bytes(*low).into(),
            salt: salt.to_vec(),
            way: String::new(),
        };
        if rest.is_empty() {
            return Some(greeting);
        }
        // The set of characters and the status, the upper half, the length of the salt with its NUL, ten bytes of nothing.
        let (high, rest) = rest.get(3..)?.split_first_chunk::<2>()?;
        greeting.capabilities |= u32::from(u16::from_le_bytes(*high)) << 16;
        let (length, rest) = rest.split_first()?;
        let rest = rest.get(10..)?;
        if greeting.capabilities & SALTED != 0 {
            let (salt, rest) = rest.split_at_checked(usize::from(*length).saturating_sub(8).max(13))?;
            greeting.salt.extend(salt.split_last()?.1);
            // Some servers leave the NUL behind the name out.
            let way = until_nul(rest).map_or(rest, |(way, _)| way);
            greeting.way = String::from_utf8_lossy(way).into_owned();
        }
        Some(greeting)
    }

    /// Asks for TLS, which must begin next.
    pub(crate) async fn ask_tls(&self, wire: &mut Wire, capabilities: u32) -> Result<(), Failure> {
        if self.capabilities & TLS == 0 {
            return Err(wire.fault(format!("does not offer TLS: it says `version {}`", excerpt(&self.version))));
        }
        wire.send(&packet(1, &introduction(capabilities | TLS))).await
    }
}

/// Splits a text off that ends with a NUL; what is behind it.
pub(crate) fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn greetings() {
        let mut body = b"8.0.36\0\x07\0\0\0saltsalt\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
        body.extend([0; 10]);
        body.extend(b"moresaltmore\0caching_sha2_password\0");
        let greeting = Greeting::parse(&body).unwrap();
        assert_eq!((greeting.version.as_str(), greeting.way.as_str()), ("8.0.36", "caching_sha2_password"));
        assert_eq!((greeting.salt.as_slice(), greeting.capabilities), (&b"saltsaltmoresaltmore"[..], 0xdfff_ffff));
        let old = Greeting::parse(b"4.0\0\x07\0\0\0saltsalt\0\x0c\x02").unwrap();
        assert_eq!((old.capabilities, old.salt.len(), old.way.as_str()), (0x020c, 8, ""));
        assert_eq!((Greeting::parse(b"8\0\x07\0\0\0saltsalt\0\xff"), Greeting::parse(b"8")), (None, None));
    }

    #[test]
    fn refusals() {
        let refusal = |code, message: &str| Some(Refusal { code, message: message.to_owned() });
        assert_eq!(Refusal::parse(b"\x15\x04#28000Access \x1b[31mdenied"), refusal(1045, "Access \\e[31mdenied"));
        assert_eq!(Refusal::parse(b"\x10\x04Too many connections"), refusal(1040, "Too many connections"));
        assert_eq!((Refusal::parse(b"\x15"), Refusal::parse(b"\x15\x04#280")), (None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(body in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..80)) {
            let _ = (Greeting::parse(&body), Refusal::parse(&body));
        }
    }
}
