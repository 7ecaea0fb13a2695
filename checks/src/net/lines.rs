//! A dialogue in lines of text, as mail servers speak it.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Deadline, Failure, Peer, Stream, io_text};

/// How long a line may be, in bytes: the longest that a protocol of mail allows has 8,192 (RFC 2683, section 3.2.1.5).
const MAX_LINE: u64 = 8 * 1024;

/// How many lines a server may say before or after TLS begins. A dialogue has a few dozen, and all of these together still fit in 3 MiB.
const MAX_LINES: usize = 300;

/// A stream that is read by lines, each of which must come in time.
pub(crate) struct Lines {
    stream: BufReader<Box<dyn Stream>>,
    peer: Peer,
    deadline: Deadline,
    left: usize,
}

impl Lines {
    pub(crate) fn new(stream: Box<dyn Stream>, peer: &Peer, deadline: Deadline) -> Self {
        Self { stream: BufReader::new(stream), peer: peer.clone(), deadline, left: MAX_LINES }
    }

    /// The next line, without its end. `awaited` is what it should be, as in "the greeting".
    pub(crate) async fn line(&mut self, awaited: &str) -> Result<String, Failure> {
        let Self { stream, peer, deadline, left } = self;
        *left = left
            .checked_sub(1)
            .ok_or_else(|| Failure::Bad(format!("{peer} says more than {MAX_LINES} lines before {awaited}")))?;
        let mut line = Vec::new();
        let reading = async {
            let read = stream.take(MAX_LINE).read_until(b'\n', &mut line).await;
            read.map_err(|error| Failure::Bad(format!("reading {awaited} of {peer}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("waiting for {awaited} of {peer}"), reading).await?;
        if !line.ends_with(b"\n") {
            return Err(Failure::Bad(match line.len() {
                0 => format!("{peer} closed the connection instead of saying {awaited}"),
                some if some as u64 >= MAX_LINE => {
                    format!("{peer} says a line of more than {} KiB instead of {awaited}", MAX_LINE / 1024)
                }
                _ => format!("{peer} closed the connection within {awaited}"),
            }));
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Exactly this many bytes, for protocols and parts of them that are no lines.
    pub(crate) async fn bytes(&mut self, count: usize, awaited: &str) -> Result<Vec<u8>, Failure> {
        let Self { stream, peer, deadline, .. } = self;
        let mut bytes = vec![0; count];
        let reading = async {
            stream.read_exact(&mut bytes).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    Failure::Bad(format!("{peer} closed the connection instead of saying {awaited}"))
                }
                _ => Failure::Bad(format!("reading {awaited} of {peer}: {}", io_text(&error))),
            })
        };
        deadline.bound(|| format!("waiting for {awaited} of {peer}"), reading).await?;
        Ok(bytes)
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { stream, peer, deadline, .. } = self;
        let sending = async {
            let sent = async {
                stream.write_all(bytes).await?;
                stream.flush().await
            };
            sent.await.map_err(|error| Failure::Bad(format!("sending to {peer}: {}", io_text(&error))))
        };
        deadline.bound(|| format!("sending to {peer}"), sending).await
    }

    /// The stream, once the dialogue is over. Whatever was said before TLS and is still unread could be taken for a part of what is said
    /// within it, so it is refused (CVE-2011-0411).
    pub(crate) fn into_stream(self) -> Result<Box<dyn Stream>, Failure> {
        if self.stream.buffer().is_empty() {
            return Ok(self.stream.into_inner());
        }
        Err(Failure::Bad(format!("{} says more in clear text where TLS is to begin", self.peer)))
    }
}
