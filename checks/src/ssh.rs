//! `ssh`: whether an SSH server says who it is.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::net::{Address, Deadline, Failure, Family, Peer, Wire, open};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    Field::number("time", "s", "From the start to the server's first line; name resolution is part of it."),
    Field::text("version", "The program and its version, as in `OpenSSH_9.2p1 Debian-2+deb12u3`."),
    Field::text("protocol", "The version of the protocol: `2.0`, or `1.99` if an old one is spoken too."),
];

/// The port of SSH.
const SSH: u16 = 22;

/// How many lines a server may say before it says who it is (RFC 4253, section 4.2, allows any number).
const MAX_LINES_BEFORE: usize = 50;

/// What the server is told about who asks.
const IDENTIFICATION: &[u8] = concat!("SSH-2.0-monchero_", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// Whether an SSH server answers and says its version. Nobody logs in, and no keys are exchanged.
///
/// A server that refuses, does not answer, says something else or speaks only the protocol of before version 2 is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ssh {
    /// The host, and the port if it is not 22: `build.example.org`, `10.0.0.1:2222`, `[::1]:22`.
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// When it is a warning. A single range is about `time`; a map has a range for `time` (seconds) and texts for `version` and
    /// `protocol`: `{ version: "!OpenSSH_9*" }`.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Ssh {
    const NAME: &'static str = "ssh";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str =
        "{ address: build.example.org, warning: { time: \"> 2s\", version: \"!OpenSSH_*\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let (peer, start) = (self.address.peer(SSH), Instant::now());
        let line = match self.identification(&peer, Deadline::of(context)).await {
            Ok(line) => line,
            Err(failure) => return failure.into_answer(),
        };
        let time = start.elapsed().as_secs_f64();
        let Some((protocol, version)) = read(&line) else {
            return Failure::Bad(format!("{peer} speaks no SSH 2: it says `{}`", excerpt(&line))).into_answer();
        };
        let mut report = context.report();
        let values = [("time", Value::Number(time)), ("version", version.into()), ("protocol", protocol.into())];
        Judge::new(FIELDS, &self.warning, &self.bad).item(&mut report, "", &values, || {
            format!("{peer} is {}, it answers in {}", excerpt(version), human(time, &Unit::SECONDS))
        });
        Ok(report)
    }
}

impl Ssh {
    /// The line by which the server says who it is.
    async fn identification(&self, peer: &Peer, deadline: Deadline) -> Result<String, Failure> {
        let channel = open(peer, self.family, None, &[], deadline).await?;
        let mut wire = Wire::over(channel, peer, deadline);
        let mut last = String::new();
        for _ in 0..MAX_LINES_BEFORE {
            last = wire.line("its version").await?;
            if last.starts_with("SSH-") {
                // Without a word of the client, servers log that somebody scans them.
                let _ = wire.send(IDENTIFICATION).await;
                return Ok(last);
            }
        }
        Err(wire.fault(format!(
            "does not say its version in its first {MAX_LINES_BEFORE} lines; the last is `{}`",
            excerpt(&last)
        )))
    }
}

/// The version of the protocol and that of the program in `SSH-2.0-OpenSSH_9.2p1 Debian-2`.
fn read(line: &str) -> Option<(&str, &str)> {
    let (protocol, version) = line.strip_prefix("SSH-")?.split_once('-')?;
    matches!(protocol, "2.0" | "1.99").then(|| (protocol, version.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_that_say_who_it_is() {
        assert_eq!(read("SSH-2.0-OpenSSH_9.2p1 Debian-2"), Some(("2.0", "OpenSSH_9.2p1 Debian-2")));
        assert_eq!(read("SSH-1.99-Cisco-1.25"), Some(("1.99", "Cisco-1.25")));
        for line in ["SSH-1.5-old", "SSH-2.0", "HTTP/1.1 400", ""] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_gives_an_answer(line in "\\PC{0,40}") {
            let _ = read(&line);
        }
    }
}
