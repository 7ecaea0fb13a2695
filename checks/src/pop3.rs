//! `pop3`: whether a POP3 server greets, speaks TLS and lets a user in, and how many messages wait.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge};
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::net::mail::{BANNER, CERTIFICATE, Login, Mail, Server, TIME};
use crate::net::{Address, Deadline, Failure, Family, TlsSettings};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[
    TIME,
    CERTIFICATE,
    Field::number("messages", "", "How many messages wait for the user; only with `login`."),
    Field::number("size", "B", "How large they are together; only with `login`."),
    BANNER,
];

/// Whether a POP3 server greets and, if asked for, speaks TLS and lets a user in, and how many messages wait. None is fetched or deleted.
///
/// A server that refuses any of this or does not answer is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pop3 {
    /// The host, and the port if it is not the usual one: `mail.example.org`, `10.0.0.1:1110`, `[::1]:110`. The usual port is 110, and
    /// 995 where TLS is spoken from the first byte.
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// Whether TLS is spoken from the first byte: `true`, or a map of `server_name`, `ca`, `verify`, `certificate` and `key`. With
    /// `starttls`, the map says how TLS is spoken then. Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// Whether TLS begins on request (STLS, RFC 2595). A server that does not offer it is bad. Default: `false`.
    #[serde(default)]
    starttls: bool,
    /// Who logs in: a map of `user` and `password`. It is sent only within TLS, or to this host itself.
    login: Option<Login>,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time` and `certificate` (seconds), `messages` and `size` (bytes) and texts for `banner`.
    /// Without a word about it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Pop3 {
    const NAME: &'static str = "pop3";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: mail.example.org, tls: true }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let limits = self.server().validate()?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Pop3 {
    fn server(&self) -> Server<'_> {
        let Self { address, family, tls, starttls, login, .. } = self;
        let (tls, login) = (tls.as_ref(), login.as_ref());
        Server { address, family: *family, tls, starttls: *starttls, login, ports: [110, 995] }
    }

    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let server = self.server();
        let mut mail = server.open(Deadline::of(context)).await?;
        let greeting = mail.wire.line("the greeting").await?;
        mail.banner = match greeting.strip_prefix("+OK") {
            Some(banner) => banner.trim().to_owned(),
            None => return Err(mail.wire.fault(format!("refuses to serve: it says `{}`", excerpt(&greeting)))),
        };
        if self.starttls {
            ask(&mut mail, "STLS", "STLS").await?;
            mail = mail.secure().await?;
        }
        let (mut did, mut counts) = ("greets", Vec::new());
        if let Some(Login { user, password }) = &self.login {
            let name = format!("the login of {}", excerpt(user));
            ask(&mut mail, &format!("USER {user}"), &name).await?;
            ask(&mut mail, &format!("PASS {}", password.reveal()), &name).await?;
            did = "accepts the login";
            let said = ask(&mut mail, "STAT", "STAT").await?;
            let numbers: Vec<f64> =
                said.split_whitespace().map_while(|word| word.parse::<u64>().ok()).map(|n| n as f64).collect();
            let [messages, size, ..] = numbers.as_slice() else {
                return Err(mail.wire.fault(format!("does not count the messages, but says `{}`", excerpt(&said))));
            };
            counts = vec![("messages", *messages), ("size", *size)];
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        let report = mail.report(context, &judge, &counts, did);
        // How the server takes its leave does not matter.
        let _ = mail.wire.send(b"QUIT\r\n").await;
        Ok(report)
    }
}

/// What stands behind `+OK`.
async fn answer(mail: &mut Mail<'_>, name: &str) -> Result<String, Failure> {
    let line = mail.wire.line(&format!("the answer to {name}")).await?;
    match line.strip_prefix("+OK") {
        Some(said) => Ok(said.trim().to_owned()),
        None => Err(mail.wire.fault(format!("refuses {name}: it says `{}`", excerpt(&line)))),
    }
}

/// Sends a line, which is called `name` in messages.
async fn ask(mail: &mut Mail<'_>, line: &str, name: &str) -> Result<String, Failure> {
    mail.wire.send(format!("{line}\r\n").as_bytes()).await?;
    answer(mail, name).await
}
