//! The dialogues that come before TLS on ports where clear text is spoken first.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Failure, Lines, Peer};
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

    /// Goes on to where the TLS handshake must begin.
    pub(crate) async fn ask(self, lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
        match self {
            Self::Smtp => smtp(lines, peer).await,
            Self::Imap => imap(lines, peer).await,
            Self::Pop3 => pop3(lines, peer).await,
            Self::Ftp => ftp(lines, peer).await,
            Self::Ldap => ldap(lines, peer).await,
            Self::Postgres => postgres(lines, peer).await,
            Self::Mysql => mysql(lines, peer).await,
            Self::Xmpp => xmpp(lines, peer).await,
        }
    }
}

fn refuses(peer: &Peer, said: &str) -> Failure {
    Failure::Bad(format!("{peer} does not offer TLS: it says `{}`", excerpt(said)))
}

fn no_greeting(peer: &Peer, said: &str) -> Failure {
    Failure::Bad(format!("{peer} does not greet, but says `{}`", excerpt(said)))
}

/// A reply of SMTP or FTP, whose last line has a blank behind the number; its lines without the number. FTP allows lines between that
/// have no number at all.
pub(crate) async fn reply(lines: &mut Lines, peer: &Peer, awaited: &str) -> Result<(u16, Vec<String>), Failure> {
    let (mut first, mut said) = (None, Vec::new());
    loop {
        let line = lines.line(awaited).await?;
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
            _ => return Err(Failure::Bad(format!("{peer} says `{}` instead of {awaited}", excerpt(&line)))),
        }
    }
}

async fn smtp(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let (code, said) = reply(lines, peer, "the greeting").await?;
    if code != 220 {
        return Err(no_greeting(peer, &format!("{code} {}", said.join(" "))));
    }
    lines.send(b"EHLO localhost\r\n").await?;
    reply(lines, peer, "the answer to EHLO").await?;
    lines.send(b"STARTTLS\r\n").await?;
    match reply(lines, peer, "the answer to STARTTLS").await? {
        (220, _) => Ok(()),
        (code, said) => Err(refuses(peer, &format!("{code} {}", said.join(" ")))),
    }
}

async fn imap(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let greeting = lines.line("the greeting").await?;
    if !greeting.starts_with("* OK") {
        return Err(no_greeting(peer, &greeting));
    }
    lines.send(b"t0 STARTTLS\r\n").await?;
    loop {
        let line = lines.line("the answer to STARTTLS").await?;
        match line.strip_prefix("t0 ") {
            Some(answer) if answer.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("OK")) => return Ok(()),
            Some(_) => return Err(refuses(peer, &line)),
            None => {}
        }
    }
}

async fn pop3(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let greeting = lines.line("the greeting").await?;
    if !greeting.starts_with("+OK") {
        return Err(no_greeting(peer, &greeting));
    }
    lines.send(b"STLS\r\n").await?;
    let answer = lines.line("the answer to STLS").await?;
    if answer.starts_with("+OK") { Ok(()) } else { Err(refuses(peer, &answer)) }
}

async fn ftp(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let (code, said) = reply(lines, peer, "the greeting").await?;
    if code != 220 {
        return Err(no_greeting(peer, &format!("{code} {}", said.join(" "))));
    }
    lines.send(b"AUTH TLS\r\n").await?;
    match reply(lines, peer, "the answer to AUTH TLS").await? {
        (234, _) => Ok(()),
        (code, said) => Err(refuses(peer, &format!("{code} {}", said.join(" ")))),
    }
}

/// An extended request with the name of `StartTLS`, and the result code of its answer.
async fn ldap(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let mut request = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16".to_vec();
    request.extend(b"1.3.6.1.4.1.1466.20037");
    lines.send(&request).await?;
    let awaited = "the answer to StartTLS";
    let strange = || Failure::Bad(format!("{peer} does not speak LDAP: {awaited} cannot be read"));
    let head = lines.bytes(2, awaited).await?;
    let length = match head.as_slice() {
        [0x30, short @ 0..=0x7f] => usize::from(*short),
        [0x30, 0x81] => usize::from(lines.bytes(1, awaited).await?.first().copied().unwrap_or(0)),
        [0x30, 0x82] => lines.bytes(2, awaited).await?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        [0x30, 0x84] => {
            let bytes = lines.bytes(4, awaited).await?;
            let long = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            // Two bytes of length have room for any answer that says yes or no.
            u16::try_from(long).map(usize::from).map_err(|_| strange())?
        }
        _ => return Err(strange()),
    };
    let answer = lines.bytes(length, awaited).await?;
    // The number of the request, then an extended response that begins with the result code.
    let code =
        answer.windows(3).skip(4).find(|window| window.starts_with(b"\x0a\x01")).and_then(|window| window.last());
    match (answer.starts_with(b"\x02\x01\x01\x78"), code) {
        (true, Some(0)) => Ok(()),
        (true, Some(code)) => Err(Failure::Bad(format!("{peer} does not offer TLS: LDAP result {code}"))),
        _ => Err(strange()),
    }
}

async fn postgres(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    lines.send(b"\0\0\0\x08\x04\xd2\x16\x2f").await?;
    match lines.bytes(1, "the answer to SSLRequest").await?.as_slice() {
        b"S" => Ok(()),
        b"N" => Err(Failure::Bad(format!("{peer} does not offer TLS: `ssl` is off in its configuration"))),
        other => Err(Failure::Bad(format!("{peer} does not speak PostgreSQL: it says `{}`", other.escape_ascii()))),
    }
}

/// The capabilities of the protocol that are used: TLS, and the protocol of version 4.1 with its way to log in.
const MYSQL_SSL: u32 = 0x0000_0800;
const MYSQL_REQUEST: u32 = MYSQL_SSL | 0x0000_0200 | 0x0000_8000;

async fn mysql(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let strange = || Failure::Bad(format!("{peer} does not speak MySQL: its greeting cannot be read"));
    let head = lines.bytes(4, "the greeting").await?;
    let length = head.iter().take(3).rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if length > 4096 {
        return Err(strange());
    }
    let greeting = lines.bytes(length, "the greeting").await?;
    let (version, rest) = match greeting.split_first() {
        Some((10, rest)) => {
            rest.iter().position(|byte| *byte == 0).map(|end| rest.split_at(end)).ok_or_else(strange)?
        }
        Some((0xff, why)) => {
            return Err(no_greeting(peer, &String::from_utf8_lossy(why.get(2..).unwrap_or_default())));
        }
        _ => return Err(strange()),
    };
    // A NUL, the number of the connection, eight bytes for the password, a NUL, then the lower half of what the server can do.
    let Some([low, high]) = rest.get(14..16) else { return Err(strange()) };
    if u32::from(u16::from_le_bytes([*low, *high])) & MYSQL_SSL == 0 {
        return Err(refuses(peer, &format!("version {}", String::from_utf8_lossy(version))));
    }
    let mut request = vec![32, 0, 0, 1];
    request.extend(MYSQL_REQUEST.to_le_bytes());
    request.extend((1_u32 << 24).to_le_bytes());
    request.push(45);
    request.resize(36, 0);
    lines.send(&request).await
}

/// How much of the XML of a chat server is read before TLS.
const MAX_XMPP: usize = 16 * 1024;

async fn xmpp(lines: &mut Lines, peer: &Peer) -> Result<(), Failure> {
    let open = format!(
        "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
        peer.host
    );
    lines.send(open.as_bytes()).await?;
    let features = until(lines, peer, &["</stream:features>", "</stream:stream>"], "what it offers").await?;
    if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
        return Err(refuses(peer, &features));
    }
    lines.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    let answer = until(lines, peer, &[">"], "the answer to the wish for TLS").await?;
    if answer.contains("<proceed") { Ok(()) } else { Err(refuses(peer, &answer)) }
}

/// Reads byte by byte to the first of the ends, so that nothing behind it is taken away.
async fn until(lines: &mut Lines, peer: &Peer, ends: &[&str], awaited: &str) -> Result<String, Failure> {
    let mut read = Vec::new();
    while read.len() < MAX_XMPP {
        read.extend(lines.bytes(1, awaited).await?);
        if ends.iter().any(|end| read.ends_with(end.as_bytes())) {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
    }
    Err(Failure::Bad(format!("{peer} says more than {} KiB before {awaited} ends", MAX_XMPP / 1024)))
}
