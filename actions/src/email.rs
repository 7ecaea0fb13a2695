//! The kind `email`: tells people by mail, over SMTP or through the host's own `sendmail`.

mod html;
mod sendmail;
mod smtp;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};
use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use monchero_core::text::{escape_controls_in_block, shorten};
use monchero_core::{Invalid, Secret, duration};
use schemars::JsonSchema;
use serde::de::{self, Deserializer};

use crate::template::{Template, one_line};
use crate::validated::Validated;
use smtp::Server;

/// The longest subject, in bytes: what mail programs show, and far below what a header may hold (R42).
const MAX_SUBJECT: usize = 250;
/// The longest text, and the longest page of HTML, in bytes before they are encoded (R42).
const MAX_BODY: usize = 128 * 1024;
/// The most recipients of one action: servers must take 100 (RFC 5321, section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// Tells people by mail when the state of a check changes.
///
/// Each mail says what changed from what to what, since when, what was measured against which limit, and how to acknowledge it. All mails
/// about one incident are joined to one thread. Beside the text a mail has the same as HTML, with the state in its colour; it fetches
/// nothing. Each mail carries `Auto-Submitted: auto-generated` and `X-Monchero-Delivery` with an id that
/// stays the same if it has to be sent again.
///
/// A server that cannot be reached, is busy or breaks off is tried again; what it refuses for good (an unknown recipient, a wrong
/// password) is not, and shows in `monchero status` as a problem of `self/notify`. If a server refuses some of several recipients, the
/// others get the mail all the same.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    /// Who gets it: an address (`ops@example.org`, `Operators <ops@example.org>`) or a list of them. `email: ops@example.org` is short for
    /// `email: { to: ops@example.org }`.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    to: Vec<String>,
    /// Whom it comes from. Default: `monchero@` and the name of the host.
    #[serde(default)]
    from: Option<String>,
    /// The mail server. Default: the one on this host, `{ host: localhost }`.
    #[serde(default)]
    smtp: Option<Smtp>,
    /// The program that takes a mail on standard input, instead of a server: `/usr/sbin/sendmail`.
    #[serde(default)]
    sendmail: Option<PathBuf>,
    /// The subject, a template: `"{{ check.name }} is {{ state }}"`. Default: state, check, host and message.
    #[serde(default)]
    subject: Option<String>,
    /// The text, a template. Default: all that is known about the event. A mail with a text of your own has no HTML.
    #[serde(default)]
    body: Option<String>,
    /// Whether mails have HTML beside the text. Default: `true`.
    #[serde(default = "yes")]
    html: bool,
    /// How long sending one mail may take. Default: `30s`.
    #[serde(default = "default_timeout", with = "duration::text")]
    #[schemars(with = "String")]
    timeout: Duration,
    #[serde(skip)]
    ready: Validated<Ready>,
}

/// A mail server.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Smtp {
    /// Its name or address. Default: `localhost`.
    #[serde(default)]
    host: Option<String>,
    /// Its port. Default: 25 with `tls: none`, 587 with `tls: starttls`, 465 with `tls: tls`.
    #[serde(default)]
    port: Option<u16>,
    /// How the connection is encrypted. Default: `starttls`, and `none` for `localhost`, `127.0.0.0/8` and `::1`, where nothing leaves the
    /// host and certificates rarely fit.
    #[serde(default)]
    tls: Option<TlsMode>,
    /// The user to log in as. Default: no login.
    #[serde(default)]
    user: Option<String>,
    /// The password to log in with.
    #[serde(default)]
    password: Option<Secret>,
    /// A file with the certificates (PEM) of the authorities to trust, instead of those that the system trusts.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// The name by which monchero greets the server. Default: the name of this host.
    #[serde(default)]
    hello: Option<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TlsMode {
    /// Not at all.
    None,
    /// It begins in clear text and must be encrypted before anything is said; a server that does not offer that gets no mail.
    Starttls,
    /// From the first byte.
    Tls,
}

/// An address, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes the setting; its values are read by `one_or_many`")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn yes() -> bool {
    true
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address such as `ops@example.org`, or a list of them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// The settings, judged.
#[derive(Debug)]
struct Ready {
    to: Vec<Mailbox>,
    from: Option<Mailbox>,
    way: Way,
    subject: Option<Template>,
    body: Option<Template>,
    html: bool,
}

/// How a mail leaves the host.
#[derive(Debug)]
enum Way {
    Smtp(Box<Server>),
    Sendmail(PathBuf),
}

impl TargetKind for Email {
    const NAME: &'static str = "email";
    const EXAMPLE: &'static str = "{ to: [ops@example.org], smtp: { host: localhost } }";
    const SHORT_FOR: Option<&'static str> = Some("to");

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return Err(Invalid::at(
                "to",
                format!("{} recipients are named, and there must be from 1 to {MAX_RECIPIENTS}", self.to.len()),
            ));
        }
        let to = self.to.iter().map(|text| mailbox(text)).collect::<Result<Vec<_>, _>>().map_err(|why| ("to", why))?;
        let from = self.from.as_deref().map(mailbox).transpose().map_err(|why| ("from", why))?;
        let way = match (&self.smtp, &self.sendmail) {
            (Some(_), Some(_)) => {
                return Err(Invalid::at("sendmail", "`smtp` and `sendmail` are two ways; choose one".to_owned()));
            }
            (None, Some(path)) if !path.is_absolute() => {
                return Err(Invalid::at("sendmail", format!("`{}` is no absolute path", path.display())));
            }
            (None, Some(path)) => Way::Sendmail(path.clone()),
            (Some(smtp), None) => Way::Smtp(Box::new(Server::new(smtp)?)),
            (None, None) => Way::Smtp(Box::new(Server::new(&Smtp::default())?)),
        };
        if self.timeout.is_zero() {
            return Err(Invalid::at("timeout", "it must be more than nothing".to_owned()));
        }
        let template = |setting: &'static str, text: &Option<String>| {
            text.as_deref().map(Template::plain).transpose().map_err(|error| (setting, error.to_string()))
        };
        let subject = template("subject", &self.subject)?;
        let body = template("body", &self.body)?;
        self.ready = Validated::new(Ready { to, from, way, subject, body, html: self.html });
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let permanent = |why: String| DeliveryError::Permanent { why };
        let ready = self.ready.get()?;
        let from = match &ready.from {
            Some(from) => from.clone(),
            None => default_sender(context.host),
        };
        let mail =
            ready.mail(&from, message, context).map_err(|why| permanent(format!("cannot write the mail: {why}")))?;
        let to: Vec<Address> = ready.to.iter().map(|mailbox| mailbox.email.clone()).collect();
        match &ready.way {
            Way::Smtp(server) => {
                let parcel = smtp::Parcel {
                    id: &message.delivery_id,
                    from: &from.email,
                    to: &to,
                    mail: &mail,
                    host: context.host,
                };
                server.deliver(&parcel, self.timeout).await.map(Delivered::from)
            }
            Way::Sendmail(path) => {
                let sending = sendmail::deliver(path, &from.email, &to, mail, self.timeout, context.spawner);
                sending.await.map(Delivered::from)
            }
        }
    }
}

impl Ready {
    /// The mail, ready to be sent.
    fn mail(
        &self,
        from: &Mailbox,
        message: &Message,
        context: &ActionContext<'_>,
    ) -> Result<Vec<u8>, lettre::error::Error> {
        let event = &message.event;
        let mut failures = String::new();
        let mut render = |what: &str, template: Option<&Template>| {
            // Of many checks at once, or of none, only monchero's own words can speak.
            let rendered = template.filter(|_| message.is_about_one_check())?.render(event);
            // A message is never lost to its own wording.
            let failed = |error| failures.push_str(&format!("\n\nThe template of the {what} was not used: {error}."));
            rendered.map_err(failed).ok()
        };
        let subject = render("subject", self.subject.as_ref()).unwrap_or_else(|| crate::wording::title(message));
        let own = render("text", self.body.as_ref()).map(|body| escape_controls_in_block(&body));
        // A page cannot be cut; of what is too long for one, the text tells as much as fits.
        let page = (self.html && own.is_none())
            .then(|| html::page(message, context.zone, failures.trim_start()))
            .filter(|page| page.len() <= MAX_BODY);
        let text = own.unwrap_or_else(|| crate::wording::whole(message, context.zone)) + &failures;
        let text = part(ContentType::TEXT_PLAIN, shorten(&text, MAX_BODY));
        let domain = domain_of(&event.host);
        let thread = format!("<{}.thread@{domain}>", id_part(&message.thread));
        let mut builder = Mail::builder()
            .from(from.clone())
            .date(event.now.into())
            .message_id(Some(format!("<{}@{domain}>", id_part(&message.delivery_id))))
            .references(thread.clone())
            .in_reply_to(thread)
            // `=?` begins what mail programs decode: a text from outside is not to be decoded.
            .subject(one_line(&subject.replace("=?", "= ?"), MAX_SUBJECT))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Monchero-Delivery", &one_line(&message.delivery_id, MAX_SUBJECT)));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let mail = match page {
            // The last of the alternatives is the one that programs prefer.
            Some(page) => builder
                .multipart(MultiPart::alternative().singlepart(text).singlepart(part(ContentType::TEXT_HTML, page))),
            None => builder.singlepart(text),
        };
        mail.map(|mail| mail.formatted())
    }
}

/// A text as a part of a mail: in lines of ASCII that every server takes.
fn part(sort: ContentType, text: String) -> SinglePart {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .unwrap_or_else(|original| Body::new(lettre::message::MaybeString::from(original)));
    SinglePart::builder().header(sort).body(body)
}

/// A header whose name is a constant of this file.
fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// An address of the settings.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    if text.chars().any(char::is_control) {
        return Err("an address holds no control characters".to_owned());
    }
    let mailbox: Mailbox = text.trim().parse().map_err(|_| {
        format!("`{text}` is no mail address: write `ops@example.org` or `Operators <ops@example.org>`")
    })?;
    let address: &str = mailbox.email.as_ref();
    if !address.is_ascii() {
        return Err(format!(
            "`{text}`: addresses with other letters than ASCII are not supported, as many servers refuse them"
        ));
    }
    Ok(mailbox)
}

/// `monchero@` this host, as far as its name can stand in an address.
fn default_sender(host: &str) -> Mailbox {
    let address =
        Address::new("monchero", domain_of(host)).unwrap_or_else(|_| Address::new_dangerous("monchero", "localhost"));
    Mailbox::new(Some("monchero".to_owned()), address)
}

/// The name of a host as a domain.
fn domain_of(host: &str) -> String {
    let is_domain = !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
    if is_domain { host.to_owned() } else { "localhost".to_owned() }
}

/// A text as the left part of a message id.
fn id_part(text: &str) -> String {
    let part: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    if part.is_empty() { "none".to_owned() } else { part }
}
