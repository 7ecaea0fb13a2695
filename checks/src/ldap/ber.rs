//! The messages of LDAP (RFC 4511) that a reader needs, in BER (X.690).

use std::collections::BTreeMap;
use std::fmt;

use crate::net::{Failure, Wire};
use crate::settings::excerpt;

/// How long a message may be, in bytes: entries come without attributes.
const MAX_MESSAGE: usize = 64 * 1024;

/// How many entries are asked for at most.
pub(super) const MAX_ENTRIES: u32 = 10_000;

/// That we go. The request for TLS has the number 1, login and search have 2 and 3.
pub(super) const UNBIND: &[u8] = b"\x30\x05\x02\x01\x04\x42\x00";

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Bound(Outcome),
    Entry,
    /// Where else to look, which is not followed.
    Reference,
    Found(Outcome),
    /// What it says by itself before it closes.
    Goodbye(Outcome),
}

/// How a request went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: u8,
    said: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.code {
            1 => "operations error",
            2 => "protocol error",
            3 => "time limit exceeded",
            7 | 8 => "another way to log in is required",
            13 => "TLS is required",
            32 => "no such entry",
            34 => "that is no name of an entry",
            49 => "wrong user or password",
            50 => "not allowed",
            51 => "the server is busy",
            52 => "the server is not available",
            53 => "the server is unwilling",
            _ => return write!(f, "result {}{}", self.code, Said(&self.said)),
        };
        write!(f, "{meaning}{}", Said(&self.said))
    }
}

struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", excerpt(self.0)) }
    }
}

/// A value behind its tag and length.
fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    match body.len() {
        // It fits into seven bits.
        0..=0x7f => bytes.push(length[3]),
        _ => bytes.extend([&[0x84], &length[..]].concat()),
    }
    bytes.extend(body);
    bytes
}

fn message(number: u8, operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&[2, 1, number][..], operation].concat())
}

pub(super) fn bind(user: &str, password: &str) -> Vec<u8> {
    let body = [vec![2, 1, 3], element(0x04, user.as_bytes()), element(0x80, password.as_bytes())];
    message(2, &element(0x60, &body.concat()))
}

pub(super) fn search(base: &str, scope: u8, filter: &BTreeMap<String, String>) -> Vec<u8> {
    let [_, _, high, low] = MAX_ENTRIES.to_be_bytes();
    let present = |name: &str| element(0x87, name.as_bytes());
    let conditions = filter.iter().map(|(name, value)| match value.as_str() {
        "*" => present(name),
        value => element(0xa3, &[element(0x04, name.as_bytes()), element(0x04, value.as_bytes())].concat()),
    });
    let conditions: Vec<u8> = conditions.flatten().collect();
    let filter = if conditions.is_empty() { present("objectClass") } else { element(0xa0, &conditions) };
    let body = [
        element(0x04, base.as_bytes()),
        vec![0x0a, 1, scope],
        // Aliases are not followed; as many entries as are counted, in whatever time; types and values.
        vec![0x0a, 1, 0, 2, 2, high, low, 2, 1, 0, 1, 1, 0],
        filter,
        // No attributes.
        element(0x30, &element(0x04, b"1.1")),
    ];
    message(3, &element(0x63, &body.concat()))
}

/// The next message. `awaited` is what it should be.
pub(super) async fn read(wire: &mut Wire, awaited: &str) -> Result<Answer, Failure> {
    let head = wire.bytes(2, awaited).await?;
    let length = match head.as_slice() {
        [0x30, short @ 0..=0x7f] => usize::from(*short),
        [0x30, long @ 0x81..=0x84] => {
            let bytes = wire.bytes(usize::from(long & 0x7f), awaited).await?;
            bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        _ => return Err(wire.fault("says what is not LDAP")),
    };
    if length > MAX_MESSAGE {
        return Err(wire.fault(format!("sends {length} bytes instead of {awaited}, more than are read")));
    }
    let body = wire.bytes(length, awaited).await?;
    parse(&body).ok_or_else(|| wire.fault("says what is not LDAP"))
}

/// Splits off the first value: its tag, its body, and what is behind it.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((*tag, body, rest))
}

fn parse(body: &[u8]) -> Option<Answer> {
    let (0x02, _number, rest) = split(body)? else { return None };
    let (operation, body, _) = split(rest)?;
    match operation {
        0x61 => outcome(body).map(Answer::Bound),
        0x64 => Some(Answer::Entry),
        0x65 => outcome(body).map(Answer::Found),
        0x73 => Some(Answer::Reference),
        0x78 => outcome(body).map(Answer::Goodbye),
        _ => None,
    }
}

fn outcome(body: &[u8]) -> Option<Outcome> {
    let (0x0a, [code], rest) = split(body)? else { return None };
    let (_, _matched, rest) = split(rest)?;
    let (_, said, _) = split(rest)?;
    Some(Outcome { code: *code, said: String::from_utf8_lossy(said).into_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        assert_eq!(bind("", ""), b"\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\0\x80\0");
        let asked = search("o=a", 2, &BTreeMap::new());
        let expected =
            b"\x30\x2e\x02\x01\x03\x63\x29\x04\x03o=a\x0a\x01\x02\x0a\x01\0\x02\x02\x27\x10\x02\x01\0\x01\x01\0\
            \x87\x0bobjectClass\x30\x05\x04\x031.1";
        assert_eq!(asked, expected);
        let long = element(4, &[7; 300]);
        assert_eq!(long.get(..6), Some(&b"\x04\x84\0\0\x01\x2c"[..]));
        assert_eq!(split(&long), Some((4, &[7; 300][..], &[][..])));
    }

    #[test]
    fn answers() {
        let bound = b"\x02\x01\x02\x61\x0a\x0a\x01\x31\x04\0\x04\x03bad";
        let Some(Answer::Bound(outcome)) = parse(bound) else { panic!("an answer to a login") };
        assert_eq!(outcome.to_string(), "wrong user or password (bad)");
        assert_eq!(parse(b"\x02\x01\x03\x64\x04\x04\0\x30\0"), Some(Answer::Entry));
        assert_eq!(parse(b"\x02\x01\x03\x65\x7f"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&body);
        }

        #[test]
        fn what_is_written_can_be_read(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..400)) {
            let bytes = element(tag, &body);
            prop_assert_eq!(split(&bytes), Some((tag, &body[..], &[][..])));
        }
    }
}
