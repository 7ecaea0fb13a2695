//! A connection on which a dialogue is held, in lines or in bytes.

use std::fmt;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Channel, Deadline, Failure, Handshake, Peer, Secured, Stream, TlsSettings, io_text, secure};

/// How long a line may be, in bytes: the longest that a protocol of mail allows has 8,192 (RFC 2683, section 3.2.1.5).
const MAX_LINE: u64 = 8 * 1024;

/// How many lines a server may say until it is our turn again. Answers of mail servers have a few dozen, the statistics of memcached about
/// a hundred, and all of these together still fit in 3 MiB.
const MAX_LINES: usize = 300;

/// A connection that is read in pieces whose size is bounded, each of which must come in time.
pub(crate) struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    place: String,
    deadline: Deadline,
    /// How many lines the server may still say.
    left: usize,
    /// What TLS added, if it is spoken.
    pub(crate) tls: Option<Secured>,
}

/// Shows the place of the server.
impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl Wire {
    /// A dialogue over a stream to a server at `place`.
    pub(crate) fn new(stream: Box<dyn Stream>, place: &impl fmt::Display, deadline: Deadline) -> Self {
        Self { stream: BufReader::new(stream), place: place.to_string(), deadline, left: MAX_LINES, tls: None }
    }

    /// A dialogue over a channel to `peer`.
    pub(crate) fn over(channel: Channel, peer: &Peer, deadline: Deadline) -> Self {
        Self { tls: channel.tls, ..Self::new(channel.stream, peer, deadline) }
    }

    /// Speaks TLS from here on.
    pub(crate) async fn secure(self, peer: &Peer, settings: &TlsSettings, way: Handshake<'_>) -> Result<Self, Failure> {
        let deadline = self.deadline;
        let (stream, secured) = secure(self.into_stream()?, peer, settings, way, deadline).await?;
        Ok(Self { tls: Some(secured), ..Self::new(stream, peer, deadline) })
    }

    /// For how many seconds the server's certificate is valid yet, if it showed one that can be read.
    pub(crate) fn certificate_left(&self, now: jiff::Timestamp) -> Option<f64> {
        self.tls.as_ref()?.certificate.as_ref().map(|certificate| certificate.left(now))
    }

    /// That the server is at fault: the text follows its place.
    pub(crate) fn fault(&self, what: impl fmt::Display) -> Failure {
        Failure::Bad(format!("{} {what}", self.place))
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { stream, place, deadline, .. } = self;
        let sending = async {
            let sent = async {
                stream.write_all(bytes).await?;
                stream.flush().await
            };
            sent.await.map_err(|error| Failure::Bad(format!("sending to {place}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("sending to {place}"), sending).await?;
        self.left = MAX_LINES;
        Ok(())
    }

    /// The next line, without its end. `awaited` is what it should be, as in "the greeting".
    pub(crate) async fn line(&mut self, awaited: &str) -> Result<String, Failure> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| self.fault(format!("says more than {MAX_LINES} lines before {awaited}")))?;
        let mut line = Vec::new();
        let Self { stream, place, deadline, .. } = self;
        let reading = async {
            let read = stream.take(MAX_LINE).read_until(b'\n', &mut line).await;
            read.map_err(|error| Failure::Bad(format!("reading {awaited} of {place}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("waiting for {awaited} of {place}"), reading).await?;
        if line.ends_with(b"\n") {
            return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
        }
        if line.len() as u64 >= MAX_LINE {
            return Err(self.fault(format!("sends a line of more than {} KiB instead of {awaited}", MAX_LINE / 1024)));
        }
        Err(self.closed(line.is_empty(), awaited))
    }

    /// Exactly this many bytes; the caller has bounded that.
    pub(crate) async fn bytes(&mut self, count: usize, awaited: &str) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let Self { stream, place, deadline, .. } = self;
        let reading = async {
            let read = stream.take(count as u64).read_to_end(&mut bytes).await;
            read.map_err(|error| Failure::Bad(format!("reading {awaited} of {place}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("waiting for {awaited} of {place}"), reading).await?;
        if bytes.len() < count {
            return Err(self.closed(bytes.is_empty(), awaited));
        }
        Ok(bytes)
    }

    fn closed(&self, before: bool, awaited: &str) -> Failure {
        let when = if before { "instead of sending" } else { "within" };
        self.fault(format!("closed the connection {when} {awaited}"))
    }

    /// The stream, once the dialogue is over. Whatever was said before TLS and is still unread could be taken for a part of what is said
    /// within it, so it is refused (CVE-2011-0411).
    pub(crate) fn into_stream(self) -> Result<Box<dyn Stream>, Failure> {
        if self.stream.buffer().is_empty() {
            return Ok(self.stream.into_inner());
        }
        Err(self.fault("says more in clear text where TLS is to begin"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A dialogue with a server that says this and closes.
    async fn wire(says: &[u8]) -> Wire {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        there.write_all(says).await.unwrap();
        let deadline = Deadline::after(Duration::from_secs(20));
        // What is sent must find somebody.
        tokio::spawn(async move {
            let _ = there.shutdown().await;
            let mut heard = Vec::new();
            let _ = there.read_to_end(&mut heard).await;
        });
        Wire::new(Box::new(here), &"db:1", deadline)
    }

    fn bad(result: Result<impl Sized, Failure>) -> String {
        match result {
            Err(Failure::Bad(why)) => why,
            Err(Failure::Unable(why)) => panic!("the server is at fault: {why}"),
            Ok(_) => panic!("it went well"),
        }
    }

    #[tokio::test]
    async fn lines_and_bytes() {
        let mut wire = wire(b"one\r\ntwo\nthree four").await;
        assert_eq!(wire.line("a line").await.as_deref(), Ok("one"));
        assert_eq!(wire.line("a line").await.as_deref(), Ok("two"));
        assert_eq!(wire.bytes(6, "a word").await.as_deref(), Ok(&b"three "[..]));
        assert_eq!(bad(wire.bytes(9, "a word").await), "db:1 closed the connection within a word");
        assert_eq!(bad(wire.line("a line").await), "db:1 closed the connection instead of sending a line");
        assert_eq!(wire.bytes(0, "nothing").await.as_deref(), Ok(&b""[..]));
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused() {
        let mut long = wire(&vec![b'a'; 9000]).await;
        assert_eq!(bad(long.line("PONG").await), "db:1 sends a line of more than 8 KiB instead of PONG");
        let mut many = wire("x\n".repeat(2 * MAX_LINES + 1).as_bytes()).await;
        for _ in 0..MAX_LINES {
            assert!(many.line("an end").await.is_ok());
        }
        assert_eq!(bad(many.line("an end").await), "db:1 says more than 300 lines before an end");
        many.send(b"go on").await.unwrap();
        assert!(many.line("an end").await.is_ok(), "it was our turn");
        let why = bad(many.into_stream());
        assert_eq!(why, "db:1 says more in clear text where TLS is to begin");
    }
}
