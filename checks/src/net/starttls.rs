//! The dialogues that come before TLS on ports where clear text is spoken first.

use schemars::JsonSchema;
use serde::Deserialize;

use super::mysql::{self, Greeting};
use super::{Failure, Wire};
use crate::settings::excerpt;

/// A protocol in which TLS begins on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartTls {
    /// Mail servers, port 25 or 587 (RFC 3207).
    Smtp,
    /// Mailboxes, port 143 (RFC 9051).
    Imap,
    /// Mailboxes, port 110 (RFC 2595).
    Pop3,
    /// Directories, port 389 (RFC 4511).
    Ldap,
    /// PostgreSQL, port 5432.
    Postgres,
    /// `MySQL` and `MariaDB`, port 3306.
    Mysql,
    /// File transfer, port 21 (RFC 4217).
    Ftp,
    /// Chat, as a client, port 5222 (RFC 6120).
    Xmpp,
}

impl StartTls {
    /// The port where the protocol is usually spoken.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Imap => 143,
            Self::Pop3 => 110,
            Self::Ldap => 389,
            Self::Postgres => 5432,
            Self::Mysql => 3306,
            Self::Ftp => 21,
            Self::Xmpp => 5222,
        }
    }

    /// Goes on to where the TLS handshake with `host` must begin.
    pub(crate) async fn ask(self, wire: &mut Wire, host: &str) -> Result<(), Failure> {
        match self {
            Self::Smtp => smtp(wire).await,
            Self::Imap => imap(wire).await,
            Self::Pop3 => pop3(wire).await,
            Self::Ftp => ftp(wire).await,
            Self::Ldap => ldap(wire).await,
            Self::Postgres => postgres(wire).await,
            Self::Mysql => mysql(wire).await,
            Self::Xmpp => xmpp(wire, host).await,
        }
    }
}

fn refuses(wire: &Wire, said: &str) -> Failure {
    wire.fault(format!("does not offer TLS: it says `{}`", excerpt(said)))
}

fn no_greeting(wire: &Wire, said: &str) -> Failure {
    wire.fault(format!("does not greet, but says `{}`", excerpt(said)))
}

/// A reply of SMTP or FTP, whose last line has a blank behind the number; its lines without the number. FTP allows lines between that
/// have no number at all.
pub(crate) async fn reply(wire: &mut Wire, awaited: &str) -> Result<(u16, Vec<String>), Failure> {
    let (mut first, mut said) = (None, Vec::new());
    loop {
        let line = wire.line(awaited).await?;
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).filter(|code| (100..=599).contains(code));
        let rest = line.get(3..).filter(|rest| rest.is_empty() || rest.starts_with([' ', '-']));
        match (code, rest) {
            (Some(code), Some(rest)) if *first.get_or_insert(code) == code => {
                said.push(rest.get(1..).unwrap_or_default().to_owned());
                if !rest.starts_with('-') {
                    return Ok((code, said));
                }
            }
            _ if first.is_some() => said.push(line),
            _ => return Err(wire.fault(format!("says `{}` instead of {awaited}", excerpt(&line)))),
        }
    }
}

async fn smtp(wire: &mut Wire) -> Result<(), Failure> {
    let (code, said) = reply(wire, "the greeting").await?;
    if code != 220 {
        return Err(no_greeting(wire, &format!("{code} {}", said.join(" "))));
    }
    wire.send(b"EHLO localhost\r\n").await?;
    reply(wire, "the answer to EHLO").await?;
    wire.send(b"STARTTLS\r\n").await?;
    match reply(wire, "the answer to STARTTLS").await? {
        (220, _) => Ok(()),
        (code, said) => Err(refuses(wire, &format!("{code} {}", said.join(" ")))),
    }
}

async fn imap(wire: &mut Wire) -> Result<(), Failure> {
    let greeting = wire.line("the greeting").await?;
    if !greeting.starts_with("* OK") {
        return Err(no_greeting(wire, &greeting));
    }
    wire.send(b"t0 STARTTLS\r\n").await?;
    loop {
        let line = wire.line("the answer to STARTTLS").await?;
        match line.strip_prefix("t0 ") {
            Some(answer) if answer.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("OK")) => return Ok(()),
            Some(_) => return Err(refuses(wire, &line)),
            None => {}
        }
    }
}

async fn pop3(wire: &mut Wire) -> Result<(), Failure> {
    let greeting = wire.line("the greeting").await?;
    if !greeting.starts_with("+OK") {
        return Err(no_greeting(wire, &greeting));
    }
    wire.send(b"STLS\r\n").await?;
    let answer = wire.line("the answer to STLS").await?;
    if answer.starts_with("+OK") { Ok(()) } else { Err(refuses(wire, &answer)) }
}

async fn ftp(wire: &mut Wire) -> Result<(), Failure> {
    let (code, said) = reply(wire, "the greeting").await?;
    if code != 220 {
        return Err(no_greeting(wire, &format!("{code} {}", said.join(" "))));
    }
    wire.send(b"AUTH TLS\r\n").await?;
    match reply(wire, "the answer to AUTH TLS").await? {
        (234, _) => Ok(()),
        (code, said) => Err(refuses(wire, &format!("{code} {}", said.join(" ")))),
    }
}

/// An extended request with the name of `StartTLS`, and the result code of its answer.
async fn ldap(wire: &mut Wire) -> Result<(), Failure> {
    let mut request = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16".to_vec();
    request.extend(b"1.3.6.1.4.1.1466.20037");
    wire.send(&request).await?;
    let awaited = "the answer to StartTLS";
    let strange = "does not speak LDAP: the answer to StartTLS cannot be read";
    let head = wire.bytes(2, awaited).await?;
    let length = match head.as_slice() {
        [0x30, short @ 0..=0x7f] => usize::from(*short),
        [0x30, 0x81] => usize::from(wire.bytes(1, awaited).await?.first().copied().unwrap_or(0)),
        [0x30, 0x82] => wire.bytes(2, awaited).await?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        [0x30, 0x84] => {
            let bytes = wire.bytes(4, awaited).await?;
            let long = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            // Two bytes of length have room for any answer that says yes or no.
            u16::try_from(long).map(usize::from).map_err(|_| wire.fault(strange))?
        }
        _ => return Err(wire.fault(strange)),
    };
    let answer = wire.bytes(length, awaited).await?;
    // The number of the request, then an extended response that begins with the result code.
    let code =
        answer.windows(3).skip(4).find(|window| window.starts_with(b"\x0a\x01")).and_then(|window| window.last());
    match (answer.starts_with(b"\x02\x01\x01\x78"), code) {
        (true, Some(0)) => Ok(()),
        (true, Some(code)) => Err(wire.fault(format!("does not offer TLS: LDAP result {code}"))),
        _ => Err(wire.fault(strange)),
    }
}

async fn postgres(wire: &mut Wire) -> Result<(), Failure> {
    wire.send(b"\0\0\0\x08\x04\xd2\x16\x2f").await?;
    match wire.bytes(1, "the answer to SSLRequest").await?.as_slice() {
        b"S" => Ok(()),
        b"N" => Err(wire.fault("does not offer TLS: `ssl` is off in its configuration")),
        other => Err(wire.fault(format!("does not speak PostgreSQL: it says `{}`", other.escape_ascii()))),
    }
}

async fn mysql(wire: &mut Wire) -> Result<(), Failure> {
    let greeting = Greeting::read(wire).await?;
    greeting.ask_tls(wire, mysql::VERSION_41 | mysql::SALTED).await
}

/// How much of the XML of a chat server is read before TLS.
const MAX_XMPP: usize = 16 * 1024;

async fn xmpp(wire: &mut Wire, host: &str) -> Result<(), Failure> {
    let open = format!(
        "<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    );
    wire.send(open.as_bytes()).await?;
    let features = until(wire, &["</stream:features>", "</stream:stream>"], "what it offers").await?;
    if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
        return Err(refuses(wire, &features));
    }
    wire.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    let answer = until(wire, &[">"], "the answer to the wish for TLS").await?;
    if answer.contains("<proceed") { Ok(()) } else { Err(refuses(wire, &answer)) }
}

/// Reads byte by byte to the first of the ends, so that nothing behind it is taken away.
async fn until(wire: &mut Wire, ends: &[&str], awaited: &str) -> Result<String, Failure> {
    let mut read = Vec::new();
    while read.len() < MAX_XMPP {
        read.extend(wire.bytes(1, awaited).await?);
        if ends.iter().any(|end| read.ends_with(end.as_bytes())) {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
    }
    Err(wire.fault(format!("says more than {} KiB before {awaited} ends", MAX_XMPP / 1024)))
}
