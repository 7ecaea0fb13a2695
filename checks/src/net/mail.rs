//! A dialogue with a mail server, with or without TLS.

use std::net::IpAddr;

use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{Context, Report, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Deadline, Failure, Family, Handshake, Lines, Peer, Secured, TlsSettings, open, secure};
use crate::settings::excerpt;

/// A user and a password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The user.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: Secret,
}

impl Login {
    /// Whether it can be said in one line, and to this peer.
    pub(crate) fn validate(&self, peer: &Peer, secured: bool) -> Result<(), (&'static str, String)> {
        let has_control = |text: &str| text.chars().any(char::is_control);
        if has_control(&self.user) {
            return Err(("login.user", "a user has no control characters".to_owned()));
        }
        if has_control(self.password.reveal()) {
            return Err(("login.password", "the password has control characters, as a line end".to_owned()));
        }
        let address = peer.host.parse::<IpAddr>();
        let is_here = peer.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if secured || is_here {
            return Ok(());
        }
        Err(("login", "the password would be sent in clear text: set `starttls: true` or `tls: true`".to_owned()))
    }
}

/// How TLS is spoken with a mail server.
#[derive(Clone, Copy)]
pub(crate) enum Security<'a> {
    None,
    /// From the first byte.
    AtOnce(&'a TlsSettings),
    /// On request.
    Later(&'a TlsSettings),
}

impl<'a> Security<'a> {
    /// What the settings `tls` and `starttls` of a kind say together; `usual` are the settings of those who say only `starttls: true`.
    pub(crate) fn of(tls: Option<&'a TlsSettings>, starttls: bool, usual: &'a TlsSettings) -> Self {
        match (tls, starttls) {
            (None, false) => Self::None,
            (Some(settings), false) => Self::AtOnce(settings),
            (settings, true) => Self::Later(settings.unwrap_or(usual)),
        }
    }

    pub(crate) fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether the certificate is verified, and its validity has limits therefore.
    pub(crate) fn verifies(self) -> bool {
        match self {
            Self::None => false,
            Self::AtOnce(settings) | Self::Later(settings) => settings.verify,
        }
    }
}

/// A connection to a mail server on which lines are spoken.
pub(crate) struct Mail<'a> {
    pub(crate) lines: Lines,
    pub(crate) peer: &'a Peer,
    /// What the server said first.
    pub(crate) banner: String,
    start: Instant,
    tls: Option<Secured>,
    deadline: Deadline,
}

impl<'a> Mail<'a> {
    /// Connects, and speaks TLS if that is to be so at once.
    pub(crate) async fn open(
        peer: &'a Peer,
        family: Family,
        security: Security<'_>,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let tls = if let Security::AtOnce(settings) = security { Some(settings) } else { None };
        let channel = open(peer, family, tls, &[], deadline).await?;
        let lines = Lines::new(channel.stream, peer, deadline);
        Ok(Self { lines, peer, banner: String::new(), start, tls: channel.tls, deadline })
    }

    /// Speaks TLS from here on.
    pub(crate) async fn secure(self, settings: &TlsSettings) -> Result<Self, Failure> {
        let stream = self.lines.into_stream()?;
        let (stream, tls) = secure(stream, self.peer, settings, Handshake::default(), self.deadline).await?;
        Ok(Self { lines: Lines::new(stream, self.peer, self.deadline), tls: Some(tls), ..self })
    }

    /// What is known at the end of the dialogue. `more` are values besides the time, the certificate and the banner.
    pub(crate) fn report(
        &self,
        context: &Context<'_>,
        judge: &Judge<'_>,
        more: &[(&'static str, f64)],
        did: &str,
    ) -> Report {
        let mut report = context.report();
        let time = self.start.elapsed().as_secs_f64();
        let mut values = vec![("time", Value::Number(time)), ("banner", Value::Text(&self.banner))];
        let mut tls = "";
        if let Some(secured) = &self.tls {
            if let Some(certificate) = &secured.certificate {
                values.push(("certificate", Value::Number(certificate.left(context.now))));
                report.output = certificate.describe();
            }
            tls = if secured.verified { ", tls" } else { ", tls not verified" };
        }
        values.extend(more.iter().map(|(name, value)| (*name, Value::Number(*value))));
        judge.item(&mut report, "", &values, || {
            let banner = excerpt(&self.banner);
            format!("{} {did} in {}{tls}, it says `{banner}`", self.peer, human(time, &Unit::SECONDS))
        });
        report
    }
}

/// The fields that every kind of mail server has.
pub(crate) const TIME: Field<'static> = Field::number("time", "s", "From the start to the end of the dialogue.");
pub(crate) const CERTIFICATE: Field<'static> =
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with TLS.");
pub(crate) const BANNER: Field<'static> = Field::text("banner", "What the server says first.");

/// When the certificate alerts, if it is verified and nothing else is said.
pub(crate) const LIMITS: &[Limit] = &[Limit { field: "certificate", warning: "< 14d", bad: "< 3d" }];
