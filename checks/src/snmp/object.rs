//! Names of objects, and what agents say of them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use snmp2::{Oid, Value};

/// The most parts that a name may have (RFC 2578, section 3.5).
const MAX_PARTS: usize = 128;

/// How much of a text is kept, in bytes: a `DisplayString` has 255.
const MAX_TEXT: usize = 512;

/// The name of an object, or of a tree of them: `1.3.6.1.2.1.1.3.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectId(Box<[u32]>);

impl ObjectId {
    /// What stands behind `root`, if it is below that.
    pub(super) fn below(&self, root: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(&*root.0).filter(|rest| !rest.is_empty())
    }

    /// As the wire has it.
    pub(super) fn encoded(&self) -> Oid<'static> {
        let mut bytes = Vec::new();
        if let [first, second, rest @ ..] = &*self.0 {
            push(&mut bytes, u64::from(*first) * 40 + u64::from(*second));
            for part in rest {
                push(&mut bytes, u64::from(*part));
            }
        }
        Oid::new(bytes.into())
    }

    /// Reads the wire's form; none if it is malformed.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::new();
        let mut part = 0_u64;
        for byte in bytes {
            part = part.checked_mul(128)? | u64::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                continue;
            }
            if parts.is_empty() {
                let first = (part / 40).min(2);
                parts.push(u32::try_from(first).ok()?);
                part -= first * 40;
            }
            parts.push(u32::try_from(part).ok()?);
            part = 0;
            if parts.len() > MAX_PARTS {
                return None;
            }
        }
        let is_whole = bytes.last().is_some_and(|byte| byte & 0x80 == 0);
        is_whole.then(|| Self(parts.into_boxed_slice()))
    }
}

/// Appends a number in groups of seven bits, all but the last marked.
fn push(bytes: &mut Vec<u8>, number: u64) {
    let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let bits = u8::try_from(number >> (7 * group) & 0x7f).unwrap_or(0);
        bytes.push(if group > 0 { bits | 0x80 } else { bits });
    }
}

impl FromStr for ObjectId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no name of an object: it is written in numbers, as in `1.3.6.1.2.1.1.3.0`");
        let trimmed = text.trim();
        let parts = trimmed.strip_prefix('.').unwrap_or(trimmed).split('.').map(str::parse);
        let parts: Vec<u32> = parts.collect::<Result<_, _>>().map_err(|_| wrong())?;
        match parts.as_slice() {
            [0..=1, 0..=39, ..] | [2, ..] if (2..=MAX_PARTS).contains(&parts.len()) => Ok(Self(parts.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(&self.0))
    }
}

/// Numbers with dots between them.
pub(super) fn dotted(parts: &[u32]) -> String {
    parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ObjectId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ObjectId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\.?[0-2](\\.[0-9]+)+$", "description": "The name of an object, in numbers: `1.3.6.1.2.1.1.3.0`." })
    }
}

/// What an agent says of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    /// There is no such object.
    Absent,
    Integer(i64),
    Counter32(u32),
    Counter64(u64),
    /// Hundredths of a second.
    Ticks(u32),
    Float(f64),
    Bytes(Box<[u8]>),
    Id(ObjectId),
    Address([u8; 4]),
}

impl From<&Value<'_>> for Datum {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Integer(number) => Self::Integer(*number),
            Value::Unsigned32(number) => Self::Integer(i64::from(*number)),
            Value::Boolean(is) => Self::Integer(i64::from(*is)),
            Value::Counter32(number) => Self::Counter32(*number),
            Value::Counter64(number) => Self::Counter64(*number),
            Value::Timeticks(ticks) => Self::Ticks(*ticks),
            Value::OctetString(bytes) => Self::Bytes(bytes.iter().copied().take(MAX_TEXT).collect()),
            Value::Opaque(bytes) => opaque(bytes),
            Value::ObjectIdentifier(id) => ObjectId::decode(id.as_bytes()).map_or(Self::Absent, Self::Id),
            Value::IpAddress(address) => Self::Address(*address),
            _ => Self::Absent,
        }
    }
}

/// A floating point number, as net-snmp wraps it (`9f 78 04` and four bytes, `9f 79 08` and eight).
fn opaque(bytes: &[u8]) -> Datum {
    let number = match bytes {
        [0x9f, 0x78, 4, rest @ ..] => rest.try_into().ok().map(|bytes| f64::from(f32::from_be_bytes(bytes))),
        [0x9f, 0x79, 8, rest @ ..] => rest.try_into().ok().map(f64::from_be_bytes),
        _ => None,
    };
    number.map_or_else(|| Datum::Bytes(bytes.iter().copied().take(MAX_TEXT).collect()), Datum::Float)
}

impl Datum {
    /// As a number: ticks in seconds, and texts if they are one.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Integer(number) => *number as f64,
            Self::Counter32(number) => f64::from(*number),
            Self::Counter64(number) => *number as f64,
            Self::Ticks(ticks) => f64::from(*ticks) / 100.0,
            Self::Float(number) => *number,
            Self::Bytes(_) => {
                let text = self.text();
                let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
                return text.parse().ok().filter(|number: &f64| is_number && number.is_finite());
            }
            Self::Absent | Self::Id(_) | Self::Address(_) => return None,
        };
        Some(number).filter(|number| number.is_finite())
    }

    /// As a text; bytes that are none in hexadecimal.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Integer(number) => number.to_string(),
            Self::Counter32(number) => number.to_string(),
            Self::Counter64(number) => number.to_string(),
            Self::Ticks(ticks) => ticks.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Id(id) => id.to_string(),
            Self::Address([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.trim_end_matches('\0').contains(|c: char| c.is_control() && !c.is_whitespace()) => {
                    text.trim_end_matches('\0').trim().to_owned()
                }
                _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            },
        }
    }

    /// A counter, and after how many it begins anew.
    pub(super) fn counter(&self) -> Option<(u64, u128)> {
        match self {
            Self::Counter32(number) => Some((u64::from(*number), 1 << 32)),
            Self::Counter64(number) => Some((*number, 1 << 64)),
            Self::Integer(number) => Some((u64::try_from(*number).ok()?, 1 << 32)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let id: ObjectId = ".1.3.6.1.4.1.318.1.1.1.2.2.1.0".parse().unwrap();
        assert_eq!(id.to_string(), "1.3.6.1.4.1.318.1.1.1.2.2.1.0");
        assert_eq!(ObjectId::decode(id.encoded().as_bytes()), Some(id.clone()));
        assert_eq!(id.below(&"1.3.6.1.4.1.318".parse().unwrap()), Some(&[1, 1, 1, 2, 2, 1, 0][..]));
        assert_eq!(id.below(&id), None);
        for wrong in ["", "1", "1.3.x", "ifDescr.1", "3.1", "1.40.1", "1.3.4294967296", "1..3"] {
            assert!(wrong.parse::<ObjectId>().is_err(), "{wrong}");
        }
        assert_eq!(ObjectId::decode(&[0x2b, 0x80]), None, "it ends within a part");
        assert_eq!(ObjectId::decode(&[]), None);
        assert_eq!(ObjectId::decode(&[1; 500]), None, "too long");
    }

    #[test]
    fn texts_and_numbers() {
        let bytes = |bytes: &[u8]| Datum::Bytes(bytes.into());
        assert_eq!(bytes(b" 23.5 \0").number(), Some(23.5));
        assert_eq!(bytes(b"nan").number(), None);
        assert_eq!(bytes(b"eth0\0").text(), "eth0");
        assert_eq!(bytes(&[0, 0x1a, 0xff]).text(), "00:1a:ff");
        assert_eq!(opaque(&[0x9f, 0x78, 4, 0x41, 0xbc, 0, 0]).number(), Some(23.5));
        assert_eq!(Datum::Ticks(250).number(), Some(2.5));
        assert_eq!(Datum::Float(f64::NAN).number(), None);
    }

    proptest! {
        #[test]
        fn any_name_comes_back(rest in prop::collection::vec(any::<u32>(), 0..100), first in 0_u32..3, second in 0_u32..40) {
            let id = ObjectId([vec![first, second], rest].concat().into());
            prop_assert_eq!(ObjectId::decode(id.encoded().as_bytes()), Some(id.clone()));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = ObjectId::decode(&bytes);
            let _ = opaque(&bytes).number();
            prop_assert!(Datum::Bytes(bytes.into()).text().len() < 600 * 4);
        }
    }
}
