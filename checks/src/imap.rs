//! `imap`: whether a server of mailboxes greets, speaks TLS and lets a user in, and how many messages wait.

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
    Field::number("messages", "", "How many messages are in `mailbox`."),
    Field::number("unseen", "", "How many of them have not been read."),
    BANNER,
];

/// Whether an IMAP server greets and, if asked for, speaks TLS and lets a user in, and how many messages are in a mailbox. Nothing is
/// changed there.
///
/// A server that refuses any of this or does not answer is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Imap {
    /// The host, and the port if it is not the usual one: `mail.example.org`, `10.0.0.1:1143`, `[::1]:143`. The usual port is 143, and
    /// 993 where TLS is spoken from the first byte.
    address: Address,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// Whether TLS is spoken from the first byte: `true`, or a map of `server_name`, `ca`, `verify`, `certificate` and `key`. With
    /// `starttls`, the map says how TLS is spoken then. Default: `false`.
    #[serde(default, deserialize_with = "TlsSettings::read")]
    #[schemars(schema_with = "TlsSettings::schema")]
    tls: Option<TlsSettings>,
    /// Whether TLS begins on request (STARTTLS, RFC 9051). A server that does not offer it is bad. Default: `false`.
    #[serde(default)]
    starttls: bool,
    /// Who logs in: a map of `user` and `password`. It is sent only within TLS, or to this host itself.
    login: Option<Login>,
    /// The mailbox whose messages are counted after the login, as in `INBOX`. Letters beyond ASCII are written in modified UTF-7.
    mailbox: Option<String>,
    /// When it is a warning. A single range is about `time`; a map has ranges for `time` and `certificate` (seconds), `messages` and `unseen` and texts for `banner`.
    /// Without a word about it, a certificate that is verified is a warning below 14 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a certificate that is verified is bad below 3 days.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Imap {
    const NAME: &'static str = "imap";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str = "{ address: mail.example.org, starttls: true, login: { user: monitor, password: { env: IMAP_PASSWORD } }, mailbox: INBOX, warning: { unseen: \"> 100\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let limits = self.server().validate()?;
        if let Some(mailbox) = &self.mailbox {
            if self.login.is_none() {
                return Err(Invalid::at("mailbox", "a mailbox is opened only after a `login`".to_owned()));
            }
            if mailbox.chars().any(|c| c.is_control() || !c.is_ascii()) {
                return Err(Invalid::at(
                    "mailbox",
                    "a mailbox is named in ASCII without control characters".to_owned(),
                ));
            }
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, limits)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        self.look(context).await.or_else(Failure::into_answer)
    }
}

impl Imap {
    fn server(&self) -> Server<'_> {
        let Self { address, family, tls, starttls, login, .. } = self;
        let (tls, login) = (tls.as_ref(), login.as_ref());
        Server { address, family: *family, tls, starttls: *starttls, login, ports: [143, 993] }
    }

    async fn look(&self, context: &Context<'_>) -> Result<Report, Failure> {
        let server = self.server();
        let mut mail = server.open(Deadline::of(context)).await?;
        let greeting = mail.wire.line("the greeting").await?;
        mail.banner = match greeting.strip_prefix("* ").and_then(|rest| rest.split_once(' ')) {
            Some(("OK" | "PREAUTH", banner)) => banner.to_owned(),
            _ => return Err(mail.wire.fault(format!("refuses to serve: it says `{}`", excerpt(&greeting)))),
        };
        let mut offers = ask(&mut mail, "CAPABILITY", "CAPABILITY").await?;
        if self.starttls {
            if !has(&offers, "STARTTLS") {
                return Err(mail.wire.fault("does not offer STARTTLS"));
            }
            ask(&mut mail, "STARTTLS", "STARTTLS").await?;
            mail = mail.secure().await?;
            offers = ask(&mut mail, "CAPABILITY", "CAPABILITY").await?;
        }
        let (mut did, mut counts) = ("greets", Vec::new());
        if let Some(login) = &self.login {
            if has(&offers, "LOGINDISABLED") {
                return Err(mail.wire.fault("lets nobody log in by password (LOGINDISABLED)"));
            }
            let line = format!("LOGIN {} {}", quoted(&login.user), quoted(login.password.reveal()));
            ask(&mut mail, &line, &format!("the login of {}", excerpt(&login.user))).await?;
            did = "accepts the login";
        }
        if let Some(mailbox) = &self.mailbox {
            let line = format!("STATUS {} (MESSAGES UNSEEN)", quoted(mailbox));
            let said = ask(&mut mail, &line, &format!("the mailbox {}", excerpt(mailbox))).await?;
            counts = count(&said);
            if counts.is_empty() {
                let said = excerpt(&said.join(" "));
                return Err(mail.wire.fault(format!("does not count the messages of a mailbox, but says `{said}`")));
            }
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        let report = mail.report(context, &judge, &counts, did);
        // How the server takes its leave does not matter.
        let _ = mail.wire.send(b"m LOGOUT\r\n").await;
        Ok(report)
    }
}

/// Sends a command, which is called `name` in messages; what is said before its answer.
async fn ask(mail: &mut Mail<'_>, command: &str, name: &str) -> Result<Vec<String>, Failure> {
    mail.wire.send(format!("m {command}\r\n").as_bytes()).await?;
    let mut said = Vec::new();
    loop {
        let line = mail.wire.line(&format!("the answer to {name}")).await?;
        match line.strip_prefix("m ") {
            Some(answer) if answer.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("OK")) => return Ok(said),
            Some(answer) => {
                return Err(mail.wire.fault(format!("refuses {name}: `{}`", excerpt(answer))));
            }
            None => said.push(line),
        }
    }
}

fn has(offers: &[String], wanted: &str) -> bool {
    offers.iter().flat_map(|line| line.split_whitespace()).any(|offer| offer.eq_ignore_ascii_case(wanted))
}

/// A text as a quoted string (RFC 9051, section 4.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The numbers in `* STATUS INBOX (MESSAGES 3 UNSEEN 1)`; the name may stand in a line of its own.
fn count(said: &[String]) -> Vec<(&'static str, f64)> {
    let line = said.iter().rev().find_map(|line| line.rsplit_once('(')).map(|(_, items)| items);
    let words: Vec<&str> = line.unwrap_or_default().trim_end_matches(')').split_whitespace().collect();
    let number = |wanted: &str| {
        let pair = words.chunks(2).find(|pair| pair.first().is_some_and(|word| word.eq_ignore_ascii_case(wanted)))?;
        pair.get(1)?.parse::<u32>().ok().map(f64::from)
    };
    [("messages", number("MESSAGES")), ("unseen", number("UNSEEN"))]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_counted() {
        let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let both = vec![("messages", 3.0), ("unseen", 1.0)];
        assert_eq!(count(&said(&["* STATUS INBOX (MESSAGES 3 UNSEEN 1)"])), both);
        assert_eq!(count(&said(&["* STATUS {5}", "a(b)c (unseen 1 messages 3)"])), both);
        assert_eq!(count(&said(&["* STATUS INBOX (MESSAGES many UNSEEN -1)"])), []);
        assert_eq!(count(&[]), []);
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    proptest! {
        #[test]
        fn any_lines_give_an_answer(lines in prop::collection::vec("\\PC{0,40}", 0..4)) {
            let _ = count(&lines);
        }
    }
}
