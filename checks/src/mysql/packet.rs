//! The packets of MySQL and MariaDB that a reader needs, behind the greeting.

use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::net::mysql::{Refusal, until_nul};

/// The ways to log in that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    Sha2,
}

impl Way {
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Native, Self::Sha2].into_iter().find(|way| way.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::Sha2 => "caching_sha2_password",
        }
    }

    /// What shows that we know the password, and does not tell it. Nothing stands for no password.
    pub(super) fn proof(self, password: &str, salt: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let hash = |algorithm: &'static Algorithm, parts: &[&[u8]]| digest(algorithm, &parts.concat());
        let (once, mixed) = match self {
            Self::Native => {
                let once = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[password.as_bytes()]);
                let twice = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[once.as_ref()]);
                (once, hash(&SHA1_FOR_LEGACY_USE_ONLY, &[salt, twice.as_ref()]))
            }
            Self::Sha2 => {
                let once = hash(&SHA256, &[password.as_bytes()]);
                let twice = hash(&SHA256, &[once.as_ref()]);
                (once, hash(&SHA256, &[twice.as_ref(), salt]))
            }
        };
        once.as_ref().iter().zip(mixed.as_ref()).map(|(once, mixed)| once ^ mixed).collect()
    }
}

/// What a server says to a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    In,
    Refused(Refusal),
    /// Try it in another way, by its name, with this salt.
    Switch(String, Vec<u8>),
    /// It knows the password already, and that was it (`caching_sha2_password`).
    Known,
    /// It must see the password itself (`caching_sha2_password`).
    Show,
}

impl Welcome {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        match body {
            [0, ..] => Some(Self::In),
            [0xff, why @ ..] => Refusal::parse(why).map(Self::Refused),
            [1, 3] => Some(Self::Known),
            [1, 4] => Some(Self::Show),
            // Servers older than 4.1 want a proof that anybody can forge.
            [0xfe] => Some(Self::Switch("mysql_old_password".to_owned(), Vec::new())),
            [0xfe, rest @ ..] => {
                let (name, salt) = until_nul(rest)?;
                let salt = salt.strip_suffix(&[0]).unwrap_or(salt);
                Some(Self::Switch(String::from_utf8_lossy(name).into_owned(), salt.to_vec()))
            }
            _ => None,
        }
    }
}

/// How the answer to a statement begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// It was done, and nothing is told.
    Done,
    Refused(Refusal),
    /// So many columns follow.
    Columns(u64),
}

impl Head {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        match body {
            [0, ..] => Some(Self::Done),
            [0xff, why @ ..] => Refusal::parse(why).map(Self::Refused),
            // The wish for a file of ours is no answer.
            [0xfb, ..] => None,
            _ => match number(body)? {
                (0, _) => None,
                (columns, rest) => rest.is_empty().then_some(Self::Columns(columns)),
            },
        }
    }
}

/// Whether nothing follows in this part of an answer; whether another answer follows it.
pub(super) fn end(body: &[u8]) -> Option<bool> {
    match body {
        // The warnings, then what the server is up to.
        [0xfe, rest @ ..] if body.len() < 9 => {
            Some(rest.get(2..4).is_some_and(|status| status.first().is_some_and(|low| low & 0x08 != 0)))
        }
        _ => None,
    }
}

/// The name of a column: behind the catalogue, the database and two names of the table.
pub(super) fn column(body: &[u8]) -> Option<String> {
    let mut rest = body;
    for _ in 0..4 {
        rest = text(rest)?.1;
    }
    Some(String::from_utf8_lossy(text(rest)?.0?).into_owned())
}

/// The first `most` values of a row of so many columns; none is NULL.
pub(super) fn row(body: &[u8], columns: usize, most: usize) -> Option<Vec<Option<String>>> {
    let mut rest = body;
    let mut values = Vec::new();
    for index in 0..columns {
        let (value, behind) = text(rest)?;
        if index < most {
            values.push(value.map(|value| String::from_utf8_lossy(value).into_owned()));
        }
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

/// Splits a number off that says by its first byte how long it is.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let size = match first {
        0..=0xfa => return Some(((*first).into(), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(size)?;
    Some((number.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), rest))
}

/// Splits a text off behind its length; none is NULL.
fn text(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if let Some((0xfb, rest)) = bytes.split_first() {
        return Some((None, rest));
    }
    let (length, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(text), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn proofs() {
        let salt = b"saltsaltmoresaltmore";
        // Made with hashlib of Python from the definitions of both ways.
        assert_eq!(hex(&Way::Native.proof("s3cret", salt)), "f755ce361cdd8e90da96c6e8143de7faf1a620a2");
        assert_eq!(
            hex(&Way::Sha2.proof("s3cret", salt)),
            "bfd30ac42b44248d4f7d86d6a5bf3ce2c3ac2f19305516846097839f7393b133"
        );
        assert!(Way::Native.proof("", salt).is_empty());
        assert_eq!((Way::of("caching_sha2_password"), Way::of("client_ed25519")), (Some(Way::Sha2), None));
    }

    #[test]
    fn welcomes() {
        let switch = |name: &str, salt: &[u8]| Some(Welcome::Switch(name.to_owned(), salt.to_vec()));
        assert_eq!(Welcome::parse(b"\xfeclient_ed25519\0salt"), switch("client_ed25519", b"salt"));
        assert_eq!(Welcome::parse(b"\xfea\0salt\0"), switch("a", b"salt"));
        assert_eq!(Welcome::parse(b"\xfe"), switch("mysql_old_password", b""));
        assert_eq!((Welcome::parse(b"\0\0\0"), Welcome::parse(b"\x01\x04")), (Some(Welcome::In), Some(Welcome::Show)));
        assert_eq!((Welcome::parse(b""), Welcome::parse(b"\x01\x05"), Welcome::parse(b"\xfea")), (None, None, None));
    }

    #[test]
    fn answers() {
        assert_eq!(Head::parse(b"\x02"), Some(Head::Columns(2)));
        assert_eq!(Head::parse(b"\xfc\x2c\x01"), Some(Head::Columns(300)));
        assert_eq!(Head::parse(b"\0\0\0\x02\0\0\0"), Some(Head::Done));
        for wrong in [&b""[..], b"\xfb/etc/passwd", b"\x02\x02", b"\xfc\x01", b"\xfc\0\0"] {
            assert_eq!(Head::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!((end(b"\xfe\0\0\x02\0"), end(b"\xfe\0\0\x0a\0"), end(b"\x01a")), (Some(false), Some(true), None));
        assert_eq!(column(b"\x03def\0\0\0\x03age\0\x0c").as_deref(), Some("age"));
        let values = row(b"\x011\xfb\x00", 3, 9).unwrap();
        assert_eq!(values, [Some("1".to_owned()), None, Some(String::new())]);
        assert_eq!(row(b"\x011\xfb\x00", 3, 1), Some(vec![Some("1".to_owned())]));
        assert_eq!((row(b"\x011", 2, 9), row(b"\x011\x012", 1, 9), row(b"\x051", 1, 9)), (None, None, None));
        assert_eq!(row(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff1", 1, 9), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            body in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), 0xfa_u8..=0xff, 0_u8..5], 0..40),
            columns in 0_usize..6,
        ) {
            let _ = (Welcome::parse(&body), Head::parse(&body), end(&body), column(&body), row(&body, columns, 3));
        }

        #[test]
        fn rows_are_read_as_they_were_written(values in prop::collection::vec(prop::option::of("[a-z]{0,300}"), 0..5)) {
            let mut body = Vec::new();
            for value in &values {
                match value {
                    None => body.push(0xfb),
                    Some(text) => {
                        let [low, high, ..] = text.len().to_le_bytes();
                        body.extend([0xfc, low, high]);
                        body.extend(text.bytes());
                    }
                }
            }
            prop_assert_eq!(row(&body, values.len(), 9), Some(values));
        }
    }
}
