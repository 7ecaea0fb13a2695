//! A dialogue with a mail server, with or without TLS.

use std::net::IpAddr;

use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{Context, Invalid, Report, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Address, CERTIFICATE_LIMITS, Deadline, Failure, Family, Handshake, Peer, TlsSettings, Wire, open};
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
    fn validate(&self, peer: &Peer, secured: bool) -> Result<(), (&'static str, String)> {
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

/// What the settings of every kind of mail server say.
#[derive(Clone, Copy)]
pub(crate) struct Server<'a> {
    pub(crate) address: &'a Address,
    pub(crate) family: Family,
    /// TLS from the first byte, unless it is asked for by STARTTLS.
    pub(crate) tls: Option<&'a TlsSettings>,
    pub(crate) starttls: bool,
    pub(crate) login: Option<&'a Login>,
    /// The usual port, and that where TLS is spoken from the first byte.
    pub(crate) ports: [u16; 2],
}

impl Server<'_> {
    fn peer(self) -> Peer {
        let [usual, with_tls] = self.ports;
        self.address.peer(if self.tls_at_once().is_some() { with_tls } else { usual })
    }

    fn tls_at_once(&self) -> Option<&TlsSettings> {
        self.tls.filter(|_| !self.starttls)
    }

    /// Whether the settings can be used together; limits for what nothing else is said about.
    pub(crate) fn validate(self) -> Result<&'static [Limit], Invalid> {
        if let Some(tls) = self.tls {
            tls.validate().map_err(|why| ("tls", why))?;
        }
        let is_secured = self.starttls || self.tls.is_some();
        if let Some(login) = self.login {
            login.validate(&self.peer(), is_secured)?;
        }
        Ok(if is_secured && self.tls.is_none_or(|tls| tls.verify) { CERTIFICATE_LIMITS } else { &[] })
    }

    /// Connects, and speaks TLS if that is to be so at once.
    pub(crate) async fn open(&self, deadline: Deadline) -> Result<Mail<'_>, Failure> {
        let (peer, start) = (self.peer(), Instant::now());
        let channel = open(&peer, self.family, self.tls_at_once(), &[], deadline).await?;
        let wire = Wire::over(channel, &peer, deadline);
        Ok(Mail { wire, banner: String::new(), peer, tls: self.tls, start })
    }
}

/// A connection to a mail server on which lines are spoken.
pub(crate) struct Mail<'a> {
    pub(crate) wire: Wire,
    /// What the server said first.
    pub(crate) banner: String,
    peer: Peer,
    tls: Option<&'a TlsSettings>,
    start: Instant,
}

impl Mail<'_> {
    /// Speaks TLS from here on.
    pub(crate) async fn secure(self) -> Result<Self, Failure> {
        let settings = self.tls.cloned().unwrap_or_default();
        let wire = self.wire.secure(&self.peer, &settings, Handshake::default()).await?;
        Ok(Self { wire, ..self })
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
        if let Some(secured) = &self.wire.tls {
            if let Some(certificate) = &secured.certificate {
                values.push(("certificate", Value::Number(certificate.left(context.now))));
                report.output = certificate.describe();
            }
            tls = if secured.verified { ", tls" } else { ", tls not verified" };
        }
        values.extend(more.iter().map(|(name, value)| (*name, Value::Number(*value))));
        judge.item(&mut report, "", &values, || {
            let banner = excerpt(&self.banner);
            format!("{} {did} in {}{tls}, it says `{banner}`", self.wire, human(time, &Unit::SECONDS))
        });
        report
    }
}

/// The fields that every kind of mail server has.
pub(crate) const TIME: Field<'static> = Field::number("time", "s", "From the start to the end of the dialogue.");
pub(crate) const CERTIFICATE: Field<'static> =
    Field::number("certificate", "s", "For how long the server's certificate is valid yet; only with TLS.");
pub(crate) const BANNER: Field<'static> = Field::text("banner", "What the server says first.");
