//! TLS over a connection: the handshake, whom to trust, and what the certificate says.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;

use super::{Deadline, Failure, Peer, Secured, Stream, io_text};
use crate::blocking::Blocking;
use crate::settings::excerpt;

/// Files with certificates are read apart, since they may stand on a mount that hangs.
static FILES: Blocking = Blocking::new("monchero-certs", 256 * 1024);

/// How long the system's trusted certificates are used before they are read again, so that an update of them needs no restart.
const ROOTS_AGE: Duration = Duration::from_secs(60 * 60);

/// How TLS is spoken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// The name that the certificate must be for and that the server is asked for (SNI). Default: the host that is connected to.
    pub(crate) server_name: Option<String>,
    /// A file with certificates (PEM) that are trusted instead of those of the system: a certificate authority, or the certificate of
    /// the server itself.
    pub(crate) ca: Option<PathBuf>,
    /// Whether the certificate must be trusted, valid and for this server. Without, the result says `tls not verified`.
    /// Default: `true`.
    #[serde(default = "yes")]
    pub(crate) verify: bool,
}

fn yes() -> bool {
    true
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { server_name: None, ca: None, verify: true }
    }
}

impl TlsSettings {
    /// `true`, `false` or a map of settings.
    pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Option<TlsSettings>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false` or a map of settings")
            }

            fn visit_bool<E: de::Error>(self, wanted: bool) -> Result<Self::Value, E> {
                Ok(wanted.then(TlsSettings::default))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                TlsSettings::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
        deserializer.deserialize_any(Visit)
    }

    /// The schema of what [`TlsSettings::read`] reads.
    pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<Self>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, map] })
    }

    /// Whether the settings can be used.
    pub(crate) fn validate(&self) -> Result<(), String> {
        match &self.server_name {
            Some(name) => {
                ServerName::try_from(name.as_str()).map(drop).map_err(|_| format!("`{name}` is no name of a server"))
            }
            None => Ok(()),
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Whose it is.
    pub(crate) subject: String,
    /// Who signed it.
    pub(crate) issuer: String,
    /// The names that it is for, the first few of them.
    names: Vec<String>,
    /// When it begins and ends to be valid, in seconds since 1970.
    valid: (i64, i64),
}

impl Certificate {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(excerpt(name)),
            GeneralName::IPAddress(bytes) => ip_address(bytes),
            _ => None,
        });
        Some(Self {
            names: names.take(MAX_NAMES).collect(),
            subject: excerpt(&certificate.subject().to_string()),
            issuer: excerpt(&certificate.issuer().to_string()),
            valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        })
    }

    /// For how many seconds it is valid yet; less than nothing if it has expired.
    pub(crate) fn left(&self, now: jiff::Timestamp) -> f64 {
        (self.valid.1 - now.as_second()) as f64
    }

    /// Whose it is, who signed it and until when it is valid, for the further output.
    pub(crate) fn describe(&self) -> String {
        format!("certificate: {}, signed by {}, valid until {}", self.subject, self.issuer, moment(self.valid.1))
    }

    fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// How many names of a certificate a message shows: some certificates have a hundred.
const MAX_NAMES: usize = 5;

fn ip_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "a time beyond all calendars".to_owned(), |moment| moment.to_string())
}

/// Makes a connection to `peer` speak TLS. `protocols` are offered by ALPN.
pub(super) async fn handshake<S: Stream>(
    stream: S,
    peer: &Peer,
    settings: &TlsSettings,
    protocols: &[&[u8]],
    deadline: Deadline,
) -> Result<(TlsStream<S>, Secured), Failure> {
    let name = settings.server_name.as_ref().unwrap_or(&peer.host).clone();
    let server = ServerName::try_from(name.clone())
        .map_err(|_| Failure::Unable(format!("`{name}` is no name of a server that TLS knows")))?;
    let provider = provider();
    let trust = if settings.verify { Some(trust(settings, deadline).await?) } else { None };
    let start = Instant::now();
    let verifier = Arc::new(Verifier { trust, provider: Arc::clone(&provider), shown: OnceLock::new() });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Failure::Unable(format!("preparing TLS: {error}")))?;
    let custom = Arc::<Verifier>::clone(&verifier);
    let mut config = config.dangerous().with_custom_certificate_verifier(custom).with_no_client_auth();
    // Each run makes a handshake of its own: that is what is measured.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connecting = async {
        let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        connected.map_err(|error| explain(&error, peer, &name, verifier.certificate().as_ref()))
    };
    let stream = deadline.bound(|| format!("the TLS handshake with {peer}"), connecting).await?;
    Ok((stream, Secured { took: start.elapsed(), certificate: verifier.certificate(), verified: settings.verify }))
}

/// The one implementation of cryptography that is used. It is passed on, never installed for the whole process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Whom to trust.
#[derive(Debug, Clone)]
struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    /// The certificates of a `ca` file: one of them may be that of the server itself.
    pinned: Arc<[CertificateDer<'static>]>,
}

/// The trust that the settings name: their file, read anew, or the system's certificates, which all checks share.
async fn trust(settings: &TlsSettings, deadline: Deadline) -> Result<Trust, Failure> {
    static SYSTEM: Mutex<Option<(Instant, Trust)>> = Mutex::const_new(None);
    if let Some(path) = &settings.ca {
        let shown = path.display().to_string();
        let path = path.clone();
        let bytes = FILES.call(&shown, deadline.left(), move || read_capped(&path)).await;
        let bytes = bytes.map_err(|why| Failure::Unable(format!("`ca` file `{shown}` {why}")))?;
        let bytes =
            bytes.map_err(|error| Failure::Unable(format!("reading the `ca` file `{shown}`: {}", io_text(&error))))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let found = found.map_err(|error| Failure::Unable(format!("reading the `ca` file `{shown}`: {error}")))?;
        return trust_in(found.clone(), found)
            .ok_or_else(|| Failure::Unable(format!("the `ca` file `{shown}` holds no certificate (PEM)")));
    }
    let waiting = tokio::time::timeout(deadline.left(), SYSTEM.lock()).await;
    let mut system =
        waiting.map_err(|_| Failure::Unable("reading the system's trusted certificates takes too long".to_owned()))?;
    if let Some((since, trust)) = &*system
        && since.elapsed() < ROOTS_AGE
    {
        return Ok(trust.clone());
    }
    let read =
        FILES.call("the system's trusted certificates", deadline.left(), rustls_native_certs::load_native_certs).await;
    let read = read.map_err(|why| Failure::Unable(format!("the directory of trusted certificates {why}")))?;
    let trust = trust_in(read.certs, Vec::new()).ok_or_else(|| {
        let why = read.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        Failure::Unable(format!(
            "this system trusts no certificate authority{why}: install the package ca-certificates, or name a `ca` file"
        ))
    })?;
    *system = Some((Instant::now(), trust.clone()));
    Ok(trust)
}

/// How much of a `ca` file is read: a whole system's worth of authorities has half of it.
const MAX_CA_FILE: u64 = 1024 * 1024;

fn read_capped(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_CA_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn trust_in(authorities: Vec<CertificateDer<'static>>, pinned: Vec<CertificateDer<'static>>) -> Option<Trust> {
    let mut roots = RootCertStore::empty();
    // Single certificates that cannot be used are left out, as every other program does.
    roots.add_parsable_certificates(authorities);
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    Some(Trust { verifier, pinned: pinned.into() })
}

/// Verifies as usual, or not at all, and remembers what it was shown either way.
#[derive(Debug)]
struct Verifier {
    /// None if everything is accepted.
    trust: Option<Trust>,
    provider: Arc<CryptoProvider>,
    shown: OnceLock<CertificateDer<'static>>,
}

impl Verifier {
    fn certificate(&self) -> Option<Certificate> {
        self.shown.get().and_then(Certificate::read)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let _ = self.shown.set(end_entity.clone().into_owned());
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let verdict = trust.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        // Most self-signed certificates say that they are an authority, and an authority must not be a server. If exactly this
        // certificate was named as trusted, its name and its dates are all that is left to verify.
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if trust.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                verify_dates(end_entity, now)
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<ServerCertVerified, rustls::Error> {
    let wrong = |error| Err(rustls::Error::InvalidCertificate(error));
    let Some(Certificate { valid: (from, until), .. }) = Certificate::read(certificate) else {
        return wrong(CertificateError::BadEncoding);
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < from {
        wrong(CertificateError::NotValidYet)
    } else if now > until {
        wrong(CertificateError::Expired)
    } else {
        Ok(ServerCertVerified::assertion())
    }
}

/// Why a handshake failed, in words that say who has to do something.
fn explain(error: &std::io::Error, peer: &Peer, name: &str, shown: Option<&Certificate>) -> Failure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        let why = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => io_text(error),
        };
        return Failure::Bad(format!("the TLS handshake with {peer} failed: {why}"));
    };
    Failure::Bad(match error {
        rustls::Error::InvalidCertificate(why) => format!("the certificate of {peer} {}", blame(why, name, shown)),
        rustls::Error::InvalidMessage(_) => {
            format!("the TLS handshake with {peer} failed: what the server says is not TLS")
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the TLS handshake with {peer} failed: the server refused it ({alert:?})")
        }
        rustls::Error::PeerIncompatible(_) => {
            format!("the TLS handshake with {peer} failed: no version or cipher in common (TLS 1.2 and 1.3 are spoken)")
        }
        other => format!("the TLS handshake with {peer} failed: {other}"),
    })
}

/// What is wrong with a certificate, as it follows "the certificate of ..".
fn blame(error: &CertificateError, name: &str, shown: Option<&Certificate>) -> Cow<'static, str> {
    let until = shown.map(|certificate| moment(certificate.valid.1)).unwrap_or_default();
    let from = shown.map(|certificate| moment(certificate.valid.0)).unwrap_or_default();
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!("expired on {until}").into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("is not valid before {from}").into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = shown.map(|certificate| certificate.names.join(", ")).filter(|names| !names.is_empty());
            format!("is for {}, not for `{name}`", names.as_deref().unwrap_or("no name at all")).into()
        }
        CertificateError::UnknownIssuer | CertificateError::Other(_)
            if shown.is_some_and(Certificate::is_self_signed) =>
        {
            "is self-signed and not trusted: name it in `ca` to trust it".into()
        }
        CertificateError::UnknownIssuer => {
            let issuer = shown.map(|certificate| certificate.issuer.clone()).unwrap_or_default();
            format!("is signed by an unknown issuer ({issuer}): name it in `ca` to trust it").into()
        }
        CertificateError::Revoked => "is revoked".into(),
        CertificateError::BadEncoding => "cannot be read".into(),
        other => format!("is not acceptable: {other}").into(),
    }
}
