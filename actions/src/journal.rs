//! The kind `journal`: messages for systemd's journal, with fields.

use std::path::PathBuf;
use std::time::Duration;

use monchero_core::Invalid;
use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use schemars::JsonSchema;
use tokio::net::UnixDatagram;

use crate::syslog::severity;
use crate::wording;

/// The most text in one entry, in bytes: with its fields it fits one datagram, whose usual limit is 208 KiB.
const MAX_TEXT: usize = 32 * 1024;
/// How long the journal may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Writes each message to systemd's journal, with fields that `journalctl` can look for: `MONCHERO_CHECK`, `MONCHERO_HOST`,
/// `MONCHERO_STATE`, `MONCHERO_PREVIOUS_STATE`, `MONCHERO_KIND`, `MONCHERO_INCIDENT`, `MONCHERO_DELIVERY_ID` and `MONCHERO_TEXT`.
///
/// Bad has priority `crit`, unknown `err`, a warning `warning`, okay `notice`: `journalctl -t monchero -p warning`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    /// The journal's socket. Default: `/run/systemd/journal/socket`.
    #[serde(default = "default_socket")]
    socket: PathBuf,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/systemd/journal/socket")
}

impl TargetKind for Journal {
    const NAME: &'static str = "journal";
    const EXAMPLE: &'static str = "{}";

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.socket.is_absolute() {
            return Ok(());
        }
        Err(Invalid::at("socket", format!("`{}` is no absolute path", self.socket.display())))
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let failed = |why: String| DeliveryError::Transient {
            why: format!("writing to the journal at `{}`: {why}", self.socket.display()),
            after: None,
        };
        let entry = entry(message, context);
        let sending = async {
            let socket = UnixDatagram::unbound()?;
            socket.send_to(&entry, &self.socket).await
        };
        match tokio::time::timeout(DEADLINE, sending).await {
            Ok(Ok(_)) => Ok("written".to_owned().into()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it did not take it within 5s".to_owned())),
        }
    }
}

/// What the journal is sent.
fn entry(message: &Message, context: &ActionContext<'_>) -> Vec<u8> {
    let event = &message.event;
    let text = monchero_core::text::shorten(&wording::whole(message, context.zone), MAX_TEXT);
    let title = crate::template::one_line(&wording::title(message), MAX_TEXT);
    let incident = event.incident.as_ref().map(|incident| incident.id.as_str()).unwrap_or_default();
    let priority = severity(event.state).to_string();
    let fields = [
        ("MESSAGE", title.as_str()),
        ("PRIORITY", &priority),
        ("SYSLOG_IDENTIFIER", "monchero"),
        ("MONCHERO_HOST", &event.host),
        ("MONCHERO_CHECK", event.check.name.as_str()),
        ("MONCHERO_STATE", event.state.as_str()),
        ("MONCHERO_PREVIOUS_STATE", event.previous_state.as_str()),
        ("MONCHERO_KIND", message.kind.as_str()),
        ("MONCHERO_INCIDENT", incident),
        ("MONCHERO_DELIVERY_ID", &message.delivery_id),
        ("MONCHERO_TEXT", &text),
    ];
    journal_entry(fields)
}

/// An entry in the journal's own protocol (systemd.io, "Native Journal Protocol"): values as bytes with their length, so that none can
/// pass for a field.
pub fn journal_entry<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}
