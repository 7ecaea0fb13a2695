//! A question to a name server, and the answer that belongs to it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::net::{Deadline, Failure, io_text, random};

/// After how long without an answer the question is sent once more: UDP loses datagrams.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The largest datagram that is looked at, in bytes. Without EDNS a server sends at most 512.
const MAX_DATAGRAM: usize = 4096;

/// How many datagrams that are no answer to the question are borne: somebody sends them on purpose.
const MAX_FOREIGN: u32 = 1_000;

/// How a server is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    /// Over UDP, and over TCP if the answer does not fit.
    #[default]
    Udp,
    /// Over TCP.
    Tcp,
}

/// Asks a server; says how long that took.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Query,
    transport: Transport,
    deadline: Deadline,
) -> Result<(Message, Duration), Failure> {
    let start = Instant::now();
    let mut message = Message::new(u16::from_be_bytes(random()?), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    let asked = message.to_vec().map_err(|error| Failure::Unable(format!("making a question to {server}: {error}")))?;
    let exchange = Exchange { server, id: message.metadata.id, question, asked };
    let answer = match transport {
        Transport::Udp => {
            let answer = exchange.over_udp(deadline).await?;
            if answer.metadata.truncation { exchange.over_tcp(deadline).await? } else { answer }
        }
        Transport::Tcp => exchange.over_tcp(deadline).await?,
    };
    Ok((answer, start.elapsed()))
}

struct Exchange<'a> {
    server: SocketAddr,
    id: u16,
    question: &'a Query,
    asked: Vec<u8>,
}

impl Exchange<'_> {
    /// The message in these bytes if it is an answer to the question.
    fn answer(&self, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let fits = message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && message.queries.as_slice() == std::slice::from_ref(self.question);
        fits.then_some(message)
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::Bad(format!("asking {}: {}", self.server, io_text(error)))
    }

    async fn over_udp(&self, deadline: Deadline) -> Result<Message, Failure> {
        // A socket of its own for each question: the kernel gives it a random port, and lets only the server's datagrams in.
        let unspecified: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(unspecified).await;
        let socket = socket.map_err(|error| Failure::Unable(format!("opening a UDP socket: {}", io_text(&error))))?;
        socket.connect(self.server).await.map_err(|error| self.failed(&error))?;
        let mut foreign = 0;
        while !deadline.left().is_zero() {
            socket.send(&self.asked).await.map_err(|error| self.failed(&error))?;
            let waiting = timeout(ASK_AGAIN.min(deadline.left()), self.receive(&socket, &mut foreign));
            if let Ok(received) = waiting.await {
                return received;
            }
        }
        let limit = monchero_core::duration::human(deadline.limit());
        Err(Failure::Bad(match foreign {
            0 => format!("{} has not answered within {limit}", self.server),
            _ => {
                format!("{} has not answered within {limit}; {foreign} datagrams came that are no answer", self.server)
            }
        }))
    }

    async fn receive(&self, socket: &UdpSocket, foreign: &mut u32) -> Result<Message, Failure> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        while *foreign < MAX_FOREIGN {
            let length = socket.recv(&mut buffer).await.map_err(|error| self.failed(&error))?;
            if let Some(message) = buffer.get(..length).and_then(|bytes| self.answer(bytes)) {
                return Ok(message);
            }
            *foreign += 1;
        }
        Err(Failure::Bad(format!("{} sends {MAX_FOREIGN} datagrams that are no answer to the question", self.server)))
    }

    async fn over_tcp(&self, deadline: Deadline) -> Result<Message, Failure> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.server).await?;
            // The length is below 300: a name has at most 255 bytes.
            let length = u16::try_from(self.asked.len()).unwrap_or(u16::MAX).to_be_bytes();
            stream.write_all(&[&length[..], &self.asked].concat()).await?;
            let mut bytes = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut bytes).await?;
            Ok(bytes)
        };
        let exchange = async {
            let bytes = exchange.await.map_err(|error: std::io::Error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    Failure::Bad(format!("asking {} over TCP: it closed before its answer was complete", self.server))
                }
                _ => Failure::Bad(format!("asking {} over TCP: {}", self.server, io_text(&error))),
            })?;
            let wrong = || Failure::Bad(format!("asking {} over TCP: what it says is no answer", self.server));
            self.answer(&bytes).ok_or_else(wrong)
        };
        deadline.bound(|| format!("asking {} over TCP", self.server), exchange).await
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn exchange(question: &Query) -> Exchange<'_> {
        Exchange { server: ([127, 0, 0, 1], 53).into(), id: 7, question, asked: Vec::new() }
    }

    fn question() -> Query {
        Query::query(Name::from_ascii("www.example.org.").unwrap(), RecordType::A)
    }

    #[test]
    fn an_answer_belongs_to_the_question() {
        let question = question();
        let message = |id, name: &str, kind| {
            let mut message = Message::response(id, OpCode::Query);
            message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
            message.to_vec().unwrap()
        };
        let exchange = exchange(&question);
        assert!(exchange.answer(&message(7, "WWW.example.org.", RecordType::A)).is_some());
        assert!(exchange.answer(&message(8, "www.example.org.", RecordType::A)).is_none());
        assert!(exchange.answer(&message(7, "www.example.net.", RecordType::A)).is_none());
        assert!(exchange.answer(&message(7, "www.example.org.", RecordType::AAAA)).is_none());
        assert!(exchange.answer(&Message::response(7, OpCode::Query).to_vec().unwrap()).is_none());
        assert!(exchange.answer(&Message::query().to_vec().unwrap()).is_none());
    }

    #[test]
    fn fuzzed_answers() {
        let question = question();
        crate::fuzz::on_bytes("dns_answer", |bytes| {
            let Some(message) = exchange(&question).answer(bytes) else { return };
            assert_eq!(message.queries.as_slice(), std::slice::from_ref(&question), "it answers what was asked");
            for record in message.answers.iter().chain(&message.authorities) {
                let text = super::super::text(&record.data);
                // A byte becomes `\\255` at worst, and a name may refer to one that stands before.
                assert!(text.len() <= 4 * bytes.len() + 2_000, "{} bytes became {}", bytes.len(), text.len());
            }
        });
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = exchange(&question()).answer(&bytes);
        }

        #[test]
        fn any_bytes_behind_a_head_give_an_answer(rest in prop::collection::vec(any::<u8>(), 0..200), count in 0_u8..9) {
            let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1, 0, count, 0, count, 0, count];
            bytes.extend(b"\x03www\x07example\x03org\0\0\x01\0\x01");
            bytes.extend(rest);
            if let Some(message) = exchange(&question()).answer(&bytes) {
                for record in &message.answers {
                    let _ = super::super::text(&record.data);
                }
            }
        }
    }
}
