//! Speaks SMTP with one server, step by step, so that every failure says at which step and who refused.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use monchero_core::Invalid;
use monchero_core::Secret;
use monchero_core::action::DeliveryError;
use monchero_core::text::{escape_controls, shorten};
use tokio::time::Instant;

use super::{Smtp, TlsMode};

/// The most of what a server said that stands in an error or answer, in bytes.
const MAX_SAID: usize = 300;
/// For how many mails it is remembered which recipients have them, while others of the same mail are tried again.
const MAX_PARTIAL: usize = 64;

/// A mail server and how to speak with it.
pub(super) struct Server {
    host: String,
    port: u16,
    mode: TlsMode,
    tls: Option<TlsParameters>,
    login: Option<(String, Secret)>,
    hello: Option<String>,
    /// Recipients that need not be tried again, by delivery: they have the mail, or were refused for good.
    settled: Mutex<VecDeque<(String, Vec<Address>)>>,
}

/// A mail on its way.
pub(super) struct Parcel<'a> {
    /// The id of the delivery: the same when it is tried again.
    pub(super) id: &'a str,
    pub(super) from: &'a Address,
    pub(super) to: &'a [Address],
    pub(super) mail: &'a [u8],
    /// The name of this host.
    pub(super) host: &'a str,
}

/// Why a step failed: whether trying again may help, and what the server or the network said.
struct Failure {
    transient: bool,
    said: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Judges the settings and loads certificates. Opens no connection.
    pub(super) fn new(settings: &Smtp) -> Result<Self, Invalid> {
        let host = settings.host.clone().unwrap_or_else(|| "localhost".to_owned());
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Invalid::at("smtp.host", "it names no host".to_owned()));
        }
        let mode = settings.tls.unwrap_or(if is_this_host(&host) { TlsMode::None } else { TlsMode::Starttls });
        let port = settings.port.unwrap_or(match mode {
            TlsMode::None => 25,
            TlsMode::Starttls => 587,
            TlsMode::Tls => 465,
        });
        if port == 0 {
            return Err(Invalid::at("smtp.port", "there is no port 0".to_owned()));
        }
        let login = match (&settings.user, &settings.password) {
            (Some(user), Some(password)) => Some((user.clone(), password.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Invalid::at("smtp.user", "`password` is missing: add `password: { file: .. }`".to_owned()));
            }
            (None, Some(_)) => return Err(Invalid::at("smtp.password", "`user` is missing".to_owned())),
        };
        if login.is_some() && mode == TlsMode::None && !is_this_host(&host) {
            return Err(Invalid::at(
                "smtp.tls",
                "the password would cross the network in clear text: use `tls: starttls` or `tls: tls`".to_owned(),
            ));
        }
        let tls = match mode {
            TlsMode::None if settings.ca.is_some() => {
                return Err(Invalid::at("smtp.ca", "with `tls: none` no certificate is looked at".to_owned()));
            }
            TlsMode::None => None,
            TlsMode::Starttls | TlsMode::Tls => Some(tls_parameters(&host, settings)?),
        };
        if let Some(hello) = &settings.hello
            && !hello.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
        {
            return Err(Invalid::at(
                "smtp.hello",
                "it is neither a name of a host nor an address such as `[192.0.2.1]`".to_owned(),
            ));
        }
        let settled = Mutex::new(VecDeque::new());
        Ok(Self { host, port, mode, tls, login, hello: settings.hello.clone(), settled })
    }

    /// Delivers to every recipient that can be delivered to.
    pub(super) async fn deliver(&self, parcel: &Parcel<'_>, timeout: Duration) -> Result<String, DeliveryError> {
        let settled = self.settled_for(parcel.id);
        let open: Vec<&Address> = parcel.to.iter().filter(|address| !settled.contains(address)).collect();
        let talk = Talk { server: self, timeout, deadline: Instant::now() + timeout };
        let answer = talk.deliver(parcel, &open).await?;
        if answer.later.is_empty() {
            self.forget(parcel.id);
            return Ok(shorten(&answer.words(), 3 * MAX_SAID));
        }
        let done = open.into_iter().filter(|address| !answer.later.iter().any(|(later, _)| later == *address)).cloned();
        self.remember(parcel.id, settled.into_iter().chain(done).collect());
        Err(DeliveryError::Transient { why: answer.words(), after: None })
    }

    fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn settled_for(&self, id: &str) -> Vec<Address> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.iter().find(|(known, _)| known == id).map(|(_, settled)| settled.clone()).unwrap_or_default()
    }

    fn forget(&self, id: &str) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != id);
    }

    /// Forgetting costs a duplicate, marked by its id; so the memory may be short and need not survive a restart.
    fn remember(&self, id: &str, recipients: Vec<Address>) {
        self.forget(id);
        if recipients.is_empty() {
            return;
        }
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.push_back((id.to_owned(), recipients));
        if settled.len() > MAX_PARTIAL {
            settled.pop_front();
        }
    }
}

/// What a server did with a mail.
#[derive(Default)]
struct Answer {
    server: String,
    said: String,
    taken: usize,
    refused: Vec<(Address, String)>,
    later: Vec<(Address, String)>,
}

impl Answer {
    fn words(&self) -> String {
        let mut words = match self.taken {
            0 => format!("`{}` took the mail for nobody", self.server),
            1 => format!("`{}` took the mail: {}", self.server, self.said),
            more => format!("`{}` took the mail for {more} recipients: {}", self.server, self.said),
        };
        for (address, said) in &self.later {
            let _ = write!(words, "; not yet for `{address}`: {said}");
        }
        for (address, said) in &self.refused {
            let _ = write!(words, "; refused for `{address}`: {said}");
        }
        words
    }
}

/// One conversation, with its deadline.
struct Talk<'a> {
    server: &'a Server,
    timeout: Duration,
    deadline: Instant,
}

impl Talk<'_> {
    async fn deliver(&self, parcel: &Parcel<'_>, to: &[&Address]) -> Result<Answer, DeliveryError> {
        let mut connection = self.connect(parcel.host).await?;
        let answer = self.send(&mut connection, parcel, to).await;
        // The server has the mail, or has said why not; whether it hears the farewell changes nothing.
        let _ = tokio::time::timeout(Duration::from_secs(1), connection.abort()).await;
        answer
    }

    async fn connect(&self, host: &str) -> Result<AsyncSmtpConnection, DeliveryError> {
        let server = self.server;
        let hello = hello_name(server.hello.as_deref(), host);
        let address = (server.host.as_str(), server.port);
        let from_start = server.tls.clone().filter(|_| server.mode == TlsMode::Tls);
        let connecting = AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &hello, from_start, None);
        let mut connection =
            self.step("connect", connecting).await.map_err(|failure| self.error("cannot connect", &failure))?;
        if let (TlsMode::Starttls, Some(tls)) = (server.mode, &server.tls) {
            if !connection.can_starttls() {
                let why = "it offers no encryption (STARTTLS), and `tls: starttls` demands it; `tls: tls` on port 465 may be what it offers";
                return Err(self.error("no mail was sent", &Failure { transient: true, said: why.to_owned() }));
            }
            let upgrading = connection.starttls(tls.clone(), &hello);
            self.step("encrypt the connection", upgrading)
                .await
                .map_err(|failure| self.error("cannot encrypt the connection", &failure))?;
        }
        if let Some((user, password)) = &server.login {
            let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            self.step("log in", login)
                .await
                .map_err(|failure| self.error(&format!("cannot log in as `{user}`"), &failure))?;
        }
        Ok(connection)
    }

    async fn send(
        &self,
        connection: &mut AsyncSmtpConnection,
        parcel: &Parcel<'_>,
        to: &[&Address],
    ) -> Result<Answer, DeliveryError> {
        let sender = connection.command(Mail::new(Some(parcel.from.clone()), Vec::new()));
        self.step("name the sender", sender)
            .await
            .map_err(|failure| self.error(&format!("the sender `{}` was refused", parcel.from), &failure))?;
        let mut answer = Answer { server: self.server.address(), ..Answer::default() };
        for address in to {
            let recipient = connection.command(Rcpt::new((*address).clone(), Vec::new()));
            match self.step("name a recipient", recipient).await {
                Ok(_) => answer.taken += 1,
                Err(failure) if failure.transient => answer.later.push(((*address).clone(), failure.said)),
                Err(failure) => answer.refused.push(((*address).clone(), failure.said)),
            }
            if connection.has_broken() {
                break;
            }
        }
        if answer.taken == 0 {
            let transient = !answer.later.is_empty();
            let why = answer.words();
            return Err(if transient {
                DeliveryError::Transient { why, after: None }
            } else {
                DeliveryError::Permanent { why }
            });
        }
        self.step("begin the mail", connection.command(Data))
            .await
            .map_err(|failure| self.error("the mail was refused", &failure))?;
        let response = self
            .step("send the mail", connection.message(parcel.mail))
            .await
            .map_err(|failure| self.error("the mail was refused", &failure))?;
        answer.said = said(&response);
        Ok(answer)
    }

    /// One step, until the deadline of the whole.
    async fn step<T>(&self, doing: &str, step: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        match tokio::time::timeout_at(self.deadline, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Failure {
                transient: !error.is_permanent(),
                said: shorten(&escape_controls(&describe(&error)), MAX_SAID),
            }),
            Err(_) => Err(Failure {
                transient: true,
                said: format!("no answer within {} (to {doing})", monchero_core::duration::human(self.timeout)),
            }),
        }
    }

    fn error(&self, what: &str, failure: &Failure) -> DeliveryError {
        let why = format!("mail server `{}`: {what}: {}", self.server.address(), failure.said);
        if failure.transient { DeliveryError::Transient { why, after: None } } else { DeliveryError::Permanent { why } }
    }
}

fn said(response: &Response) -> String {
    let text = response.message().collect::<Vec<_>>().join(" ");
    shorten(&escape_controls(&format!("{} {text}", response.code())), MAX_SAID)
}

/// What went wrong, without the library's names for it.
fn describe(error: &Error) -> String {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !causes.last().is_some_and(|last: &String| last.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    let mut cause = causes.join(": ");
    for word in ["Connection error: ", "network error: ", "tls error: ", "response error: ", "internal client error: "]
    {
        cause = cause.replace(word, "");
    }
    match error.status() {
        Some(code) => format!("{code} {cause}"),
        None if cause.is_empty() => error.to_string(),
        None if error.is_tls() => format!("TLS: {cause}"),
        None if error.is_response() && cause == "incomplete response" => "it closed the connection".to_owned(),
        None => cause,
    }
}

/// The name by which to greet the server.
fn hello_name(setting: Option<&str>, host: &str) -> ClientId {
    let name = setting.map_or_else(|| super::domain_of(host), str::to_owned);
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => ClientId::Ipv4(address),
        Ok(IpAddr::V6(address)) => ClientId::Ipv6(address),
        Err(_) => ClientId::Domain(name),
    }
}

fn is_this_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_parameters(host: &str, settings: &Smtp) -> Result<TlsParameters, Invalid> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &settings.ca {
        let wrong = |why: String| {
            Invalid::at("smtp.ca", format!("cannot read the certificates in `{}`: {why}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(describe(&error)))?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(wrong("no certificate in PEM form stands in it".to_owned()));
        }
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| Invalid::at("smtp.tls", format!("cannot prepare TLS: {}", describe(&error))))
}
