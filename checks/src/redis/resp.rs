//! The language of Redis (RESP 2): a command is a list of texts, and each has one reply.

use std::fmt;

use crate::net::{Failure, Wire};
use crate::settings::excerpt;

/// How long a text in a reply may be, in bytes: what `INFO` says has about 6 KiB, and grows with the number of databases and replicas.
const MAX_TEXT: usize = 256 * 1024;

/// A reply.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Text(String),
    Number(f64),
    Error(String),
    Nothing,
    /// A list of so many, whose members are not read.
    List(f64),
}

impl Reply {
    /// The number in it, or the length of the list.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::List(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Error(_) | Self::Nothing => None,
        }
    }
}

/// For a person, in a line.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Error(text) => f.write_str(&excerpt(text)),
            Self::Number(number) => number.fmt(f),
            Self::Nothing => f.write_str("nothing"),
            Self::List(count) => write!(f, "a list of {count}"),
        }
    }
}

/// Sends a command and reads its reply.
pub(super) async fn ask(wire: &mut Wire, words: &[&str]) -> Result<Reply, Failure> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    wire.send(&command).await?;
    // The first word says which; those behind it may be secret.
    let awaited = format!("the answer to {}", excerpt(words.first().unwrap_or(&"a command")));
    let line = wire.line(&awaited).await?;
    let strange = format!("does not speak the language of Redis: it says `{}`", excerpt(&line));
    let Some((kind, rest)) = line.split_at_checked(1) else { return Err(wire.fault(strange)) };
    let number = rest.parse::<i64>();
    match (kind, number) {
        ("+", _) => Ok(Reply::Text(rest.to_owned())),
        ("-", _) => Ok(Reply::Error(excerpt(rest))),
        (":", Ok(number)) => Ok(Reply::Number(number as f64)),
        ("*", Ok(count)) => Ok(Reply::List(count.max(0) as f64)),
        ("$", Ok(length)) => match usize::try_from(length) {
            Ok(length) if length <= MAX_TEXT => {
                let text = wire.bytes(length + 2, &awaited).await?;
                Ok(Reply::Text(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned()))
            }
            Ok(length) => Err(wire.fault(format!("sends {awaited} with {length} bytes, more than are read"))),
            // A length below nothing stands for no value.
            Err(_) => Ok(Reply::Nothing),
        },
        _ => Err(wire.fault(strange)),
    }
}
