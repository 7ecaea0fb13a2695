//! `smtp`: whether a mail server greets, speaks TLS, lets a user in and would take a mail.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge};
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base64::base64;
use crate::net::mail::{BANNER, CERTIFICATE, Login, Mail, Server, TIME};
use crate::net::{Address, Deadline, Failure, Family, TlsSettings, reply};
use crate::settings::excerpt;

const FIELDS: &[Field<'static>] = &[TIME, CERTIFICATE, BANNER];

/// Whether a mail server greets and, if asked for, speaks TLS, lets a user in and would take a mail from somebody to somebody. No mail is
/// sent.
///
/// A server that refuses any of this, also for now only, or does not answer is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smtp {
    /// The host, and the port if it is not the usual one: `mail.example.org`, `10.0.0.1:587`, `[::1]:25`. The usual port is 25, and
    /// 465 where TLS is spoken from the first byte.
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// Whether TLS is spoken from the first byte: `true`, or a map of `server_name`, `ca`, `verify`, `certificate` and `key`. With
    /// `starttls`, the map says how TLS is spoken then. Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// Whether TLS begins on request (STARTTLS, RFC 3207). A server that does not offer it is bad. Default: `false`.
    #[serde(default)]
    starttls: bool,
    /// By which name monchero introduces itself (EHLO). Default: the name of this host.
    helo: Option<String>,
    /// Who logs in: a map of `user` and `password`. It is sent only within TLS, or to this host itself.
    login: Option<Login>,
    /// The sender of a mail that the server must agree to take: `monchero@example.org`. Empty (`""`) is what bounces have. Nothing is sent.
    from: Option<String>,
    /// The recipient of that mail: `postmaster@example.org`.
    to: Option<String>,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time` and `certificate` (seconds) and texts for `banner`.
    /// Without a word about it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Smtp {
    const NAME: &'static str = "smtp";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str =
        "{ address: mail.example.org, starttls: true, to: postmaster@example.org, warning: \"> 2s\" }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let limits = self.server().validate()?;
        for (setting, text) in [("helo", &self.helo), ("from", &self.from), ("to", &self.to)] {
            if text.as_ref().is_some_and(|text| text.contains(|c: char| c.is_control() || " <>".contains(c))) {
                return Err(Invalid::at(
                    setting,
                    "blanks, brackets and control characters cannot stand here".to_owned(),
                ));
            }
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Smtp {
    fn server(&self) -> Server<'_> {
        let Self { address, family, tls, starttls, login, .. } = self;
        let (tls, login) = (tls.as_ref(), login.as_ref());
        Server { address, family: *family, tls, starttls: *starttls, login, ports: [25, 465] }
    }

    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let server = self.server();
        let mut mail = server.open(Deadline::of(context)).await?;
        let greeting = expect(&mut mail, "the greeting", &[220]).await?;
        mail.banner = greeting.first().cloned().unwrap_or_default();
        let helo = self.helo.as_deref().unwrap_or(context.host);
        let introduction = format!("EHLO {}", helo.replace(|c: char| c.is_control() || c == ' ', "-"));
        let mut offers = ask(&mut mail, &introduction, "EHLO", &[250]).await?;
        if self.starttls {
            if !offers.iter().any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS")) {
                return Err(mail.wire.fault("does not offer STARTTLS"));
            }
            ask(&mut mail, "STARTTLS", "STARTTLS", &[220]).await?;
            mail = mail.secure().await?;
            offers = ask(&mut mail, &introduction, "EHLO", &[250]).await?;
        }
        let mut did = vec!["greets".to_owned()];
        if let Some(login) = &self.login {
            log_in(&mut mail, login, &offers).await?;
            did.push("accepts the login".to_owned());
        }
        if self.from.is_some() || self.to.is_some() {
            let from = self.from.as_deref().unwrap_or_default();
            ask(&mut mail, &format!("MAIL FROM:<{from}>"), &format!("MAIL FROM:<{from}>"), &[250]).await?;
            if let Some(to) = &self.to {
                ask(&mut mail, &format!("RCPT TO:<{to}>"), &format!("RCPT TO:<{to}>"), &[250, 251]).await?;
                did.push(format!("takes mail to {}", excerpt(to)));
            } else {
                did.push(format!("takes mail from <{}>", excerpt(from)));
            }
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        let report = mail.report(context, &judge, &[], &did.join(", "));
        // How the server takes its leave does not matter.
        let _ = mail.wire.send(b"QUIT\r\n").await;
        Ok(report)
    }
}

/// The lines of a reply, which must have one of these codes.
async fn expect(mail: &mut Mail<'_>, awaited: &str, codes: &[u16]) -> Result<Vec<String>, Failure> {
    let (code, said) = reply(&mut mail.wire, awaited).await?;
    if codes.contains(&code) {
        return Ok(said);
    }
    let what = awaited.strip_prefix("the answer to ").unwrap_or("to serve");
    Err(mail.wire.fault(format!("refuses {}: `{code} {}`", excerpt(what), excerpt(&said.join(" ")))))
}

/// Sends a line, which is called `name` in messages.
async fn ask(mail: &mut Mail<'_>, line: &str, name: &str, codes: &[u16]) -> Result<Vec<String>, Failure> {
    mail.wire.send(format!("{line}\r\n").as_bytes()).await?;
    expect(mail, &format!("the answer to {name}"), codes).await
}

async fn log_in(mail: &mut Mail<'_>, Login { user, password }: &Login, offers: &[String]) -> Result<(), Failure> {
    let name = format!("the login of {}", excerpt(user));
    // Old servers write `AUTH=`.
    let offers_of = |offer: &String| {
        let words = offer.replace('=', " ").to_ascii_uppercase();
        words.strip_prefix("AUTH ").map(|words| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let ways: Vec<String> = offers.iter().filter_map(offers_of).flatten().collect();
    let has = |way: &str| ways.iter().any(|offered| offered == way);
    if has("PLAIN") {
        let secret = base64(format!("\0{user}\0{}", password.reveal()).as_bytes());
        ask(mail, &format!("AUTH PLAIN {secret}"), &name, &[235]).await?;
    } else if has("LOGIN") {
        ask(mail, "AUTH LOGIN", &name, &[334]).await?;
        ask(mail, &base64(user.as_bytes()), &name, &[334]).await?;
        ask(mail, &base64(password.reveal().as_bytes()), &name, &[235]).await?;
    } else {
        let ways = if ways.is_empty() { "no login at all".to_owned() } else { excerpt(&ways.join(", ")) };
        return Err(mail.wire.fault(format!("offers {ways}; PLAIN and LOGIN are what is known here")));
    }
    Ok(())
}
