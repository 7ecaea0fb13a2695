//! The kind `syslog`: messages for the system log, here or on another host.

use std::time::Duration;

use jiff::tz::TimeZone;
use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::shorten;
use monchero_core::{Invalid, State};
use schemars::JsonSchema;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use crate::template::one_line;
use crate::validated::Validated;
use crate::wording;

/// The longest message, in bytes: every receiver takes 2,048 (RFC 5424, section 6.1, "SHOULD").
const MAX_LINE: usize = 2_000;
/// How long connecting and sending may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The facilities (RFC 5424, section 6.2.1), each at its number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// Writes each message as a line to the system log, here or on another host.
///
/// Bad has severity `crit`, unknown `err`, a warning `warning`, okay `notice`. To another host the line is sent as RFC 5424 says, over UDP
/// or, with its length before it, over TCP (RFC 6587). UDP does not say whether anybody listens.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Syslog {
    /// Where to: the path of a socket, `udp://HOST:PORT` or `tcp://HOST:PORT`. Default: `/dev/log`.
    #[serde(default = "default_address")]
    address: String,
    /// The facility: `daemon`, `user`, `local0` to `local7`, .. Default: `daemon`.
    #[serde(default = "default_facility")]
    facility: String,
    #[serde(skip)]
    ready: Validated<(Way, u8)>,
}

#[derive(Debug)]
enum Way {
    Socket,
    Udp(String),
    Tcp(String),
}

fn default_address() -> String {
    "/dev/log".to_owned()
}

fn default_facility() -> String {
    "daemon".to_owned()
}

impl TargetKind for Syslog {
    const NAME: &'static str = "syslog";
    const EXAMPLE: &'static str = "{ address: \"tcp://logs.example:601\", facility: local0 }";

    fn validate(&mut self) -> Result<(), Invalid> {
        let host = |rest: &str| {
            let has_port =
                rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if has_port {
                Ok(rest.to_owned())
            } else {
                Err(Invalid::at("address", format!("`{rest}` is not `HOST:PORT`")))
            }
        };
        let way = match (self.address.strip_prefix("udp://"), self.address.strip_prefix("tcp://")) {
            (Some(rest), _) => Way::Udp(host(rest)?),
            (_, Some(rest)) => Way::Tcp(host(rest)?),
            _ if self.address.starts_with('/') => Way::Socket,
            _ => {
                let why = format!("`{}` is neither a path nor begins with `udp://` or `tcp://`", self.address);
                return Err(Invalid::at("address", why));
            }
        };
        let facility = FACILITIES.iter().position(|name| *name == self.facility).and_then(|at| u8::try_from(at).ok());
        let facility = facility.ok_or_else(|| {
            let why = format!(
                "`{}` is no facility; {}",
                self.facility,
                monchero_core::node::suggest(&self.facility, &FACILITIES)
            );
            Invalid::at("facility", why)
        })?;
        self.ready = Validated::new((way, facility));
        Ok(())
    }

    async fn deliver(&self, message: &Message, _: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let transient = |why: String| DeliveryError::Transient {
            why: format!("writing to `{}`: {why}", self.address),
            after: None,
        };
        let (way, facility) = self.ready.get()?;
        let priority = facility * 8 + severity(message.event.state);
        match tokio::time::timeout(DEADLINE, self.send(way, priority, message)).await {
            Ok(Ok(())) => Ok("sent".to_owned().into()),
            Ok(Err(error)) => Err(transient(error.to_string())),
            Err(_) => Err(transient("it did not take it within 10s".to_owned())),
        }
    }
}

impl Syslog {
    async fn send(&self, way: &Way, priority: u8, message: &Message) -> std::io::Result<()> {
        match way {
            Way::Socket => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.address)?;
                socket.send(local(priority, message).as_bytes()).await.map(drop)
            }
            Way::Udp(host) => {
                let target = tokio::net::lookup_host(host).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
                let here = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(here).await?;
                socket.connect(target).await?;
                socket.send(remote(priority, message).as_bytes()).await.map(drop)
            }
            Way::Tcp(host) => {
                let mut stream = TcpStream::connect(host).await?;
                let line = remote(priority, message);
                stream.write_all(format!("{} {line}", line.len()).as_bytes()).await?;
                stream.shutdown().await
            }
        }
    }
}

/// The severity of a state (RFC 5424, section 6.2.1).
pub(crate) fn severity(state: State) -> u8 {
    match state {
        State::Okay => 5,
        State::Warning => 4,
        State::Unknown => 3,
        State::Bad => 2,
    }
}

/// A line as the C library writes it to the local socket; the daemon there adds the name of the host.
fn local(priority: u8, message: &Message) -> String {
    let time = message.event.now.to_zoned(TimeZone::system()).strftime("%b %e %H:%M:%S").to_string();
    shorten(&format!("<{priority}>{time} monchero[{}]: {}", std::process::id(), text(message)), MAX_LINE)
}

/// A line for another host (RFC 5424, section 6), with what programs look for as structured data.
fn remote(priority: u8, message: &Message) -> String {
    let event = &message.event;
    let host: String = event.host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
    let data = format!(
        "[monchero@32473 check=\"{}\" state=\"{}\" kind=\"{}\" delivery=\"{}\"]",
        quoted(event.check.name.as_str()),
        event.state,
        message.kind.as_str(),
        quoted(&message.delivery_id)
    );
    let head = format!("<{priority}>1 {} {host} monchero {} notice {data} ", event.now, std::process::id());
    shorten(&format!("{head}\u{feff}{}", text(message)), MAX_LINE)
}

fn text(message: &Message) -> String {
    let many: Vec<String> =
        message.digest.iter().map(|line| format!("{} {}: {}", line.state, line.check, line.message)).collect();
    let many = if many.is_empty() { String::new() } else { format!(": {}", many.join("; ")) };
    one_line(&format!("{}{many}", wording::title(message)), usize::MAX)
}
