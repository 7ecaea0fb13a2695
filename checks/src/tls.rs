//! `tls`: the certificate of a server, the chain that it leads to, and how TLS is spoken.

use monchero_core::check::{CheckKind, Context, Looks};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::net::{
    Address, Certificate, Deadline, Failure, Family, Handshake, Peer, Secured, StartTls, TlsSettings, Wire, connect,
};
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "valid",
        "s",
        "For how long the server's certificate is valid yet; less than nothing if it has expired.",
    ),
    Field::number(
        "chain",
        "s",
        "The same for those of the other certificates that the server sends that ends first; only if it sends some.",
    ),
    Field::number("time", "s", "From the start to the end of the TLS handshake."),
    Field::text("protocol", "The version of TLS that was agreed on: `TLS 1.2` or `TLS 1.3`."),
    Field::text("cipher", "The cipher suite that was agreed on, as in `TLS13_AES_256_GCM_SHA384`."),
    Field::text("alpn", "What the server chose of what `alpn` offers: `h2` is HTTP/2; `none` if it chose nothing."),
    Field::text("key", "The sort and size of the certificate's key: `RSA 2048`, `ECDSA P-256`, `Ed25519`."),
    Field::text("issuer", "Who signed the certificate, as in `C=US, O=Let's Encrypt, CN=R11`."),
    Field::text("subject", "Whose certificate it is, as in `CN=example.org`."),
];

const LIMITS: &[Limit] =
    &[Limit { field: "valid", warning: "< 21d", bad: "< 7d" }, Limit { field: "chain", warning: "< 21d", bad: "< 7d" }];

/// How long the name of a protocol may be, in bytes (RFC 7301).
const MAX_NAME: usize = 255;

/// The port where TLS is spoken from the first byte, if none is named.
const HTTPS: u16 = 443;

/// For how long the certificate of a server is valid yet, whether it is trusted and for this server, and how TLS is spoken.
///
/// A certificate that is not trusted, not for this server or not valid is bad, and everything is told about it all the same. So is a
/// server that does not answer or does not speak TLS 1.2 or 1.3. Nothing is sent but what begins TLS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The host, and the port if it is not the usual one: `example.org`, `db.example.org:5432`, `[::1]:8443`. The usual port is 443, or
    /// that of the protocol of `starttls`.
    address: Address,
    /// The protocol in which TLS begins on request: `smtp`, `imap`, `pop3`, `ldap`, `postgres`, `mysql`, `ftp` or `xmpp`. Default: none,
    /// TLS is spoken from the first byte.
    starttls: Option<StartTls>,
    /// Which addresses of the host are used: `any`, `ipv4` or `ipv6`. Default: `any`.
    #[serde(default)]
    family: Family,
    /// The name that the certificate must be for and that the server is asked for (SNI). Default: the host of `address`.
    server_name: Option<String>,
    /// A file with certificates (PEM) that are trusted instead of those of the system: a certificate authority, or the certificate of
    /// the server itself.
    ca: Option<std::path::PathBuf>,
    /// Whether the certificate must be trusted and for this server. Without, the result says `not verified`. Default: `true`.
    #[serde(default = "yes")]
    verify: bool,
    /// What is offered to be spoken within TLS (ALPN): one name or a list, such as `[h2, http/1.1]`, of which the server chooses one. With
    /// `bad: { alpn: "!h2" }` a server that no longer speaks HTTP/2 is bad. A server that speaks none of them may refuse, which is bad.
    /// Default: nothing is offered.
    alpn: Option<OneOrMore<String>>,
    /// A file with the certificate by which monchero shows who it is (PEM), for servers that ask for one.
    certificate: Option<std::path::PathBuf>,
    /// The file with the private key of `certificate` (PEM, not encrypted). Default: the file of `certificate`.
    key: Option<std::path::PathBuf>,
    /// When it is a warning. A single range is about `valid`; a map has ranges for `valid`, `chain` (seconds left) and `time` (seconds),
    /// and texts for `protocol`, `cipher`, `alpn`, `key`, `issuer` and `subject`. Default: `valid` or `chain` below 21 days.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: `valid` or `chain` below 7 days.
    #[serde(default)]
    bad: Thresholds,
}

fn yes() -> bool {
    true
}

impl CheckKind for Tls {
    const NAME: &'static str = "tls";
    const LOOKS: Looks = Looks::At("address");
    const EXAMPLE: &'static str =
        "{ address: mail.example.org, starttls: smtp, warning: { valid: \"< 30d\", protocol: \"TLS 1.2\" } }";
    const SHORT_FOR: Option<&'static str> = Some("address");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.key.is_some() && self.certificate.is_none() {
            return Err(Invalid::at("key", "a `key` shows nothing without its `certificate`".to_owned()));
        }
        if let Some(name) = self.offered().find(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(Invalid::at(
                "alpn",
                format!("`{name}` is no name of a protocol: one has 1 to {MAX_NAME} bytes"),
            ));
        }
        if self.alpn.is_some() && self.starttls.is_some() {
            return Err(Invalid::at("alpn", "with `starttls` it is known what is spoken within TLS".to_owned()));
        }
        self.settings().validate().map_err(|why| ("server_name", why))?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let start = Instant::now();
        match self.look(Deadline::of(context)).await {
            Ok(secured) => Ok(self.judge(context, &secured, start.elapsed().as_secs_f64())),
            Err(failure) => failure.into_answer(),
        }
    }
}

impl Tls {
    fn peer(&self) -> Peer {
        self.address.peer(self.starttls.map_or(HTTPS, StartTls::port))
    }

    /// What is offered by ALPN.
    fn offered(&self) -> impl Iterator<Item = &str> {
        self.alpn.iter().flat_map(|names| &names.0).map(String::as_str)
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            server_name: self.server_name.clone(),
            ca: self.ca.clone(),
            verify: self.verify,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }

    async fn look(&self, deadline: Deadline) -> Result<Secured, Failure> {
        let peer = self.peer();
        let mut wire = Wire::over(connect(&peer, self.family, deadline).await?.into(), &peer, deadline);
        if let Some(protocol) = self.starttls {
            protocol.ask(&mut wire, &peer.host).await?;
        }
        let mut protocols: Vec<&[u8]> = self.offered().map(str::as_bytes).collect();
        if self.starttls == Some(StartTls::Postgres) {
            // PostgreSQL 17 wants to hear its name, and no other server minds.
            protocols.push(b"postgresql");
        }
        let handshake = Handshake { protocols: &protocols, tolerant: true };
        let wire = wire.secure(&peer, &self.settings(), handshake).await?;
        wire.tls.ok_or_else(|| Failure::Unable(format!("no TLS was spoken with {peer}")))
    }

    fn judge(&self, context: &Context<'_>, secured: &Secured, time: f64) -> Report {
        let mut report = context.report();
        let peer = self.peer();
        if let Some(fault) = &secured.fault {
            report.find(State::Bad, fault.clone());
        }
        let Some(certificate) = &secured.certificate else {
            report.find(State::Bad, format!("the certificate of {peer} cannot be read"));
            return report;
        };
        let valid = certificate.left(context.now);
        let chain = secured.issuers.iter().map(|issuer| issuer.left(context.now)).reduce(f64::min);
        let mut values = vec![("valid", Value::Number(valid))];
        values.extend(chain.map(|left| ("chain", Value::Number(left))));
        values.extend([
            ("time", Value::Number(time)),
            ("protocol", secured.protocol.into()),
            ("cipher", secured.cipher.into()),
            ("key", certificate.key.as_str().into()),
            ("issuer", certificate.issuer.as_str().into()),
            ("subject", certificate.subject.as_str().into()),
        ]);
        if self.alpn.is_some() {
            values.push(("alpn", secured.chosen.as_deref().unwrap_or("none").into()));
        }
        Judge::new(FIELDS, &self.warning, &self.bad).item(&mut report, "", &values, || {
            let verified = if secured.verified { "" } else { ", not verified" };
            let valid = human(valid, &Unit::SECONDS);
            format!("{peer} is valid for {valid}, {}, {}{verified}", secured.protocol, certificate.key)
        });
        let mut output = vec![certificate.describe()];
        output.extend(certificate.names().map(|names| format!("for: {names}")));
        output.push(format!("key: {}", certificate.key));
        output.extend(secured.issuers.iter().map(Certificate::describe));
        output.push(format!("{}, {}", secured.protocol, secured.cipher));
        output.extend(secured.chosen.iter().map(|chosen| format!("speaks {chosen}")));
        report.output = output.join("\n");
        report
    }
}
