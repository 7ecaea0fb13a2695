//! The system bus: one connection for one run, with replies that are bounded.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::connection::{AuthMechanism, Builder};
use zbus::export::async_trait::async_trait;
use zbus::message::Message;
use zbus::{Connection, Error};

use crate::net::io_text;
use crate::settings::excerpt;

/// The longest message that is read, in bytes: the list of 10,000 units has 4 MiB. The specification allows 128 MiB.
const MAX_MESSAGE: u64 = 8 * 1024 * 1024;
/// The longest line in which the bus answers to the authentication, in bytes.
const MAX_LINE: usize = 4 * 1024;
/// The part of a message that says how long it is (D-Bus specification, "Message Format").
const HEADER: usize = 16;

/// The name of systemd on the bus.
pub(crate) const SYSTEMD: &str = "org.freedesktop.systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Where the system bus listens.
pub(crate) const SYSTEM: &str = "/run/dbus/system_bus_socket";

/// A connection to those who answer over a bus.
pub(crate) struct Bus(Connection);

impl Bus {
    /// Connects and introduces itself; the error says why that failed.
    pub(crate) async fn connect(path: &Path) -> Result<Self, String> {
        let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such socket: does systemd run this host, and is the package `dbus` installed?".to_owned()
            }
            _ => io_text(&error),
        })?;
        let id = authenticate(&mut stream).await?;
        let connection = Builder::authenticated_socket(Bounded(stream), id.as_str()).build().await.map_err(text_of)?;
        let name = "org.freedesktop.DBus";
        let hello = connection.call_method(Some(name), "/org/freedesktop/DBus", Some(name), "Hello", &());
        hello.await.map_err(text_of)?;
        Ok(Self(connection))
    }

    /// Asks systemd's manager.
    pub(crate) async fn manager<B>(&self, method: &'static str, body: &B) -> Result<Message, String>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let interface = "org.freedesktop.systemd1.Manager";
        let path = "/org/freedesktop/systemd1";
        self.0.call_method(Some(SYSTEMD), path, Some(interface), method, body).await.map_err(text_of)
    }

    /// A property of an object that a service has.
    pub(crate) async fn property(
        &self,
        service: &str,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<Message, Refusal> {
        self.0.call_method(Some(service), path, Some(PROPERTIES), "Get", &(interface, name)).await.map_err(|error| {
            match error {
                Error::MethodError(..) | Error::FDO(_) => Refusal::Refused(text_of(error)),
                error => Refusal::Broken(text_of(error)),
            }
        })
    }
}

/// Why there is no property.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The service says so, or there is no such service.
    Refused(String),
    /// The bus does not work.
    Broken(String),
}

fn text_of(error: Error) -> String {
    match error {
        Error::InputOutput(error) => io_text(&error),
        Error::MethodError(name, Some(text), _) => format!("{} ({name})", excerpt(&text)),
        error => excerpt(&error.to_string()),
    }
}

/// Says as whom it comes (`EXTERNAL`: the kernel vouches for it); the answer is the identity of the bus.
async fn authenticate(stream: &mut UnixStream) -> Result<String, String> {
    let unable = |error: io::Error| format!("authenticating: {}", io_text(&error));
    let user: String =
        rustix::process::geteuid().as_raw().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).await.map_err(unable)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(format!("authenticating: its answer is longer than {MAX_LINE} bytes"));
        }
        // Byte by byte: nothing behind the line may be taken from the connection. It is a short one.
        line.push(stream.read_u8().await.map_err(unable)?);
    }
    let line = String::from_utf8_lossy(&line);
    let id = line.strip_prefix("OK ").map(str::trim);
    let id = id.ok_or_else(|| format!("authenticating: it answers `{}`", excerpt(&line)))?;
    stream.write_all(b"BEGIN\r\n").await.map_err(unable)?;
    Ok(id.to_owned())
}

/// A socket from which no long message can come: what announces itself as one ends the connection before room is made for it.
#[derive(Debug)]
struct Bounded(UnixStream);

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        Split::new(Reader { stream: read, header: Vec::with_capacity(HEADER), left: 0 }, Writer(write))
    }
}

#[derive(Debug)]
struct Reader {
    stream: OwnedReadHalf,
    /// What came of the start of a message.
    header: Vec<u8>,
    /// How much of the message is still to come, once its start is there.
    left: u64,
}

impl Reader {
    /// Follows what was read, to know where the next message begins.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let (start, rest) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
            self.header.extend_from_slice(start);
            bytes = rest;
            if let Ok(header) = <[u8; HEADER]>::try_from(self.header.as_slice()) {
                self.left = length_behind(header);
                if self.left > MAX_MESSAGE {
                    let why = format!("a message of {} bytes comes; at most {MAX_MESSAGE} are read", self.left);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                self.header.clear();
            }
        }
        Ok(())
    }
}

/// How many bytes follow the first ones of a message: the fields of the header, filled up to a multiple of 8, and the body.
fn length_behind(header: [u8; HEADER]) -> u64 {
    let [order, ..] = header;
    let number = |at: usize| {
        let bytes = std::array::from_fn(|index| header[at + index]);
        u64::from(if order == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    number(12).next_multiple_of(8) + number(4)
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let count = self.stream.read(buffer).await?;
        self.follow(buffer.get(..count).unwrap_or_default())?;
        Ok((count, Vec::new()))
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AuthMechanism::External
    }
}

#[derive(Debug)]
struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(fields: u32, body: u32) -> [u8; HEADER] {
        let mut header = [b'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&body.to_le_bytes());
        header[12..].copy_from_slice(&fields.to_le_bytes());
        header
    }

    #[test]
    fn lengths_are_those_of_the_specification() {
        assert_eq!(length_behind(header(61, 5)), 69);
        assert_eq!(length_behind(header(64, 0)), 64);
        let mut big = header(0, 0);
        (big[0], big[7], big[15]) = (b'B', 3, 1);
        assert_eq!(length_behind(big), 11);
        assert_eq!(length_behind([0xff; HEADER]), 0x1_ffff_ffff);
    }

    proptest! {
        /// However the bytes are cut into pieces, the end of each message is known.
        #[test]
        fn messages_are_followed(lengths in prop::collection::vec((0_u32..40, 0_u32..40), 1..6), cuts in prop::collection::vec(1_usize..30, 1..40)) {
            let mut bytes = Vec::new();
            for (fields, body) in lengths {
                let header = header(fields, body);
                bytes.extend(header);
                bytes.resize(bytes.len() + usize::try_from(length_behind(header)).unwrap(), 0xff);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _guard = runtime.enter();
            let (stream, _other) = UnixStream::pair().unwrap();
            let (mut reader, _) = Bounded(stream).split().take();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                reader.follow(piece).unwrap();
                rest = behind;
            }
            reader.follow(rest).unwrap();
            prop_assert!(reader.left == 0 && reader.header.is_empty());
            prop_assert!(reader.follow(&header(8, 9 * 1024 * 1024)).is_err());
        }
    }
}
