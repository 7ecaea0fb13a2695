//! The protocol of `upsd` (RFC 9271): lines of words, one command at a time.

use std::time::Duration;

use monchero_core::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::net::{Channel, Deadline, Failure, Family, Handshake, Peer, TlsSettings, io_text, open};
use crate::settings::excerpt;

/// The longest line of a reply, in bytes: a value of `upsd` has a few hundred at most (R72).
const MAX_LINE: usize = 4 * 1024;
/// The most lines of a list: the richest drivers know about 150 variables (R72).
pub(super) const MAX_LINES: usize = 1_000;

/// How much a server may say in one run, in bytes: 100 UPSes with 150 variables each need half of it.
const MAX_SAID: usize = 2 * 1024 * 1024;

/// Why a command gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server answered `ERR` and this word.
    Refused(String),
    /// There is no talking with the server, for this reason.
    Lost(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let (Failure::Bad(why) | Failure::Unable(why)) = failure;
        Self::Lost(why)
    }
}

/// A conversation with a server.
pub(super) struct Client<'a> {
    channel: Channel,
    peer: &'a Peer,
    deadline: Deadline,
    /// What came and is not yet read, from `read` on.
    buffer: Vec<u8>,
    read: usize,
    /// How much came in all.
    said: usize,
}

impl<'a> Client<'a> {
    /// Connects, speaks TLS if that is wanted, and says who asks.
    pub(super) async fn open(
        peer: &'a Peer,
        family: Family,
        tls: Option<&TlsSettings>,
        login: Option<(&str, &Secret)>,
        deadline: Deadline,
    ) -> Result<Self, Trouble> {
        let channel = open(peer, family, None, &[], deadline).await?;
        let mut client = Self { channel, peer, deadline, buffer: Vec::new(), read: 0, said: 0 };
        if let Some(settings) = tls {
            client = client.start_tls(settings).await?;
        }
        if let Some((user, password)) = login {
            client.command(&format!("USERNAME {}", quoted(user)), "USERNAME").await?;
            client.command(&format!("PASSWORD {}", quoted(password.reveal())), "PASSWORD").await?;
        }
        Ok(client)
    }

    async fn start_tls(mut self, settings: &TlsSettings) -> Result<Self, Trouble> {
        let reply = match self.command("STARTTLS", "STARTTLS").await {
            Ok(reply) => reply,
            Err(Trouble::Refused(word)) => {
                return Err(Trouble::Lost(format!(
                    "{} does not speak TLS ({word}): set CERTFILE in its upsd.conf, or leave `tls` out",
                    self.peer
                )));
            }
            Err(lost) => return Err(lost),
        };
        // What came behind the answer in clear would be taken for something said under TLS.
        if self.read < self.buffer.len() {
            return Err(self.odd("STARTTLS", &format!("`{}` and more", excerpt(&reply))));
        }
        let channel = self.channel.secure(self.peer, settings, Handshake::default(), self.deadline).await?;
        Ok(Self { channel, ..self })
    }

    /// Sends a command that is answered with one line beginning with `OK`. `shown` is what an error may say of it.
    async fn command(&mut self, command: &str, shown: &str) -> Result<String, Trouble> {
        self.send(command, shown).await?;
        let line = self.line(shown).await?;
        if line == "OK" || line.starts_with("OK ") { Ok(line) } else { Err(self.refusal(shown, &line)) }
    }

    /// The entries of a list, without its name and subject: for `LIST VAR ups` the lines `VAR ups NAME VALUE` come as name and value.
    pub(super) async fn list(&mut self, what: &str) -> Result<Vec<Vec<String>>, Trouble> {
        let command = format!("LIST {what}");
        self.send(&command, &command).await?;
        let line = self.line(&command).await?;
        if line != format!("BEGIN {command}") {
            return Err(self.refusal(&command, &line));
        }
        let subject: Vec<&str> = what.split(' ').collect();
        let end = format!("END {command}");
        let mut entries = Vec::new();
        loop {
            let line = self.line(&command).await?;
            if line == end {
                return Ok(entries);
            }
            if entries.len() == MAX_LINES {
                return Err(self.odd(&command, &format!("more than {MAX_LINES} lines")));
            }
            match words(&line) {
                Some(mut entry) if entry.len() > subject.len() && entry.iter().zip(&subject).all(|(a, b)| a == b) => {
                    entries.push(entry.split_off(subject.len()));
                }
                _ => return Err(self.odd(&command, &format!("`{}`", excerpt(&line)))),
            }
        }
    }

    /// Says goodbye, so that the server need not find out by itself. Whether it hears that does not matter.
    pub(super) async fn close(mut self) {
        const PATIENCE: Duration = Duration::from_millis(200);
        let goodbye = async {
            let _ = self.channel.stream.write_all(b"LOGOUT\n").await;
            let _ = self.channel.stream.shutdown().await;
        };
        let _ = timeout(self.deadline.left().min(PATIENCE), goodbye).await;
    }

    /// In one piece: two would wait for each other's acknowledgement.
    async fn send(&mut self, command: &str, shown: &str) -> Result<(), Trouble> {
        let line = format!("{command}\n");
        let sending = async {
            self.channel.stream.write_all(line.as_bytes()).await?;
            self.channel.stream.flush().await
        };
        match timeout(self.deadline.left(), sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::Lost(format!("sending {shown} to {}: {}", self.peer, io_text(&error)))),
            Err(_) => Err(self.silence(shown)),
        }
    }

    /// The next line of what the server says.
    async fn line(&mut self, shown: &str) -> Result<String, Trouble> {
        let mut looked = self.read;
        loop {
            let fresh = self.buffer.get(looked..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n').map(|end| looked + end) {
                let line = self.buffer.get(self.read..end).unwrap_or_default();
                let line = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
                self.read = end + 1;
                return Ok(line);
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            looked = self.buffer.len();
            if looked > MAX_LINE {
                return Err(self.odd(shown, &format!("a line of more than {} KiB", MAX_LINE / 1024)));
            }
            if self.said > MAX_SAID {
                return Err(self.odd(shown, &format!("more than {} MiB in all", MAX_SAID / 1024 / 1024)));
            }
            let mut piece = [0; 4096];
            match timeout(self.deadline.left(), self.channel.stream.read(&mut piece)).await {
                Ok(Ok(0)) => return Err(Trouble::Lost(format!("{} closes instead of answering {shown}", self.peer))),
                Ok(Ok(read)) => {
                    self.said += read;
                    self.buffer.extend(piece.iter().take(read));
                }
                Ok(Err(error)) => {
                    return Err(Trouble::Lost(format!(
                        "reading the answer to {shown} from {}: {}",
                        self.peer,
                        io_text(&error)
                    )));
                }
                Err(_) => return Err(self.silence(shown)),
            }
        }
    }

    fn silence(&self, shown: &str) -> Trouble {
        let limit = monchero_core::duration::human(self.deadline.limit());
        Trouble::Lost(format!("{} does not answer {shown} within {limit}", self.peer))
    }

    fn odd(&self, shown: &str, what: &str) -> Trouble {
        Trouble::Lost(format!("{} answers {shown} with {what}: that is not the protocol of upsd", self.peer))
    }

    fn refusal(&self, shown: &str, line: &str) -> Trouble {
        match line.strip_prefix("ERR ").and_then(|rest| rest.split(' ').next()) {
            Some(word) if !word.is_empty() => Trouble::Refused(excerpt(word)),
            _ => self.odd(shown, &format!("`{}`", excerpt(line))),
        }
    }
}

/// A text as one word of a command.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The words of a line: blanks part them, double quotes hold them together, a backslash takes the next character as it is. None if a
/// quote is not closed.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => word.get_or_insert_default().push(rest.next()?),
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            c if c.is_ascii_whitespace() && !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!is_quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_split_as_upsd_writes_them() {
        let split = |line| words(line).unwrap();
        assert_eq!(split(r#"VAR su700 ups.status "OL CHRG""#), ["VAR", "su700", "ups.status", "OL CHRG"]);
        assert_eq!(split(r#"VAR a ups.model "Smart \"X\" \\ 700""#), ["VAR", "a", "ups.model", r#"Smart "X" \ 700"#]);
        assert_eq!(split(r#"VAR a ups.mfr """#), ["VAR", "a", "ups.mfr", ""]);
        assert_eq!(split("  UPS\ta  "), ["UPS", "a"]);
        assert_eq!(words(r#"VAR a b "open"#), None);
        assert_eq!(words(r"VAR a b \"), None);
    }

    #[test]
    fn fuzzed_lines() {
        crate::fuzz::on_text("nut_line", |line| {
            let Some(found) = words(line) else { return };
            assert!(found.iter().map(String::len).sum::<usize>() <= line.len());
            let again = found.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            assert_eq!(words(&again), Some(found), "{again}");
        });
    }

    proptest! {
        #[test]
        fn any_value_comes_back_as_it_was(values in prop::collection::vec("\\PC*", 0..5)) {
            let line = values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line), Some(values));
        }

        #[test]
        fn any_line_gives_an_answer(line in any::<String>()) {
            if let Some(words) = words(&line) {
                prop_assert!(words.iter().map(String::len).sum::<usize>() <= line.len());
            }
        }
    }
}
