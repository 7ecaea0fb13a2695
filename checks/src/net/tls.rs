//! TLS over a connection: the handshake, whom to trust, and what the certificate says.

mod certificate;
mod trust;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use monchero_core::items::Limit;
use monchero_core::text::escape_controls;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ProtocolVersion};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) use self::certificate::Certificate;
use self::trust::{Trust, Verifier, provider};
use super::{Deadline, Failure, Peer, Secured, Stream, io_text};

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
    /// A file with the certificate by which monchero shows who it is, and those between it and an authority (PEM), for servers that ask
    /// for one.
    pub(crate) certificate: Option<PathBuf>,
    /// The file with the private key of `certificate` (PEM, not encrypted). Default: the file of `certificate`.
    pub(crate) key: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { server_name: None, ca: None, verify: true, certificate: None, key: None }
    }
}

/// What is asked of a certificate that nothing else is said about.
pub(crate) const CERTIFICATE_LIMITS: &[Limit] = &[Limit { field: "certificate", warning: "< 14d", bad: "< 3d" }];

impl TlsSettings {
    /// The limits of the field `certificate`: one that is not verified has none.
    pub(crate) fn limits(tls: Option<&Self>) -> &'static [Limit] {
        if tls.is_some_and(|tls| tls.verify) { CERTIFICATE_LIMITS } else { &[] }
    }

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
        if let Some(name) = &self.server_name {
            ServerName::try_from(name.as_str()).map_err(|_| format!("`{name}` is no name of a server"))?;
        }
        if self.key.is_some() && self.certificate.is_none() {
            return Err("a `key` shows nothing without its `certificate`".to_owned());
        }
        Ok(())
    }
}

/// How a handshake is made, besides what the settings say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Handshake<'a> {
    /// What is offered by ALPN.
    pub(crate) protocols: &'a [&'a [u8]],
    /// Whether it goes on behind a certificate that is refused, so that everything can be told about the server. The stream must not be
    /// used for anything then.
    pub(crate) tolerant: bool,
}

/// Makes a stream to `peer` speak TLS.
pub(super) async fn handshake(
    stream: Box<dyn Stream>,
    peer: &Peer,
    settings: &TlsSettings,
    way: Handshake<'_>,
    deadline: Deadline,
) -> Result<(TlsStream<Box<dyn Stream>>, Secured), Failure> {
    let name = settings.server_name.as_ref().unwrap_or(&peer.host).clone();
    let server = ServerName::try_from(name.clone())
        .map_err(|_| Failure::Unable(format!("`{name}` is no name of a server that TLS knows")))?;
    let trust = if settings.verify { Some(Trust::of(settings, deadline).await?) } else { None };
    let verifier = Arc::new(Verifier::new(trust, way.tolerant));
    let config = config(settings, &verifier, way.protocols, deadline).await?;
    let start = Instant::now();
    let connecting = async {
        let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        connected.map_err(|error| explain(&error, peer, &name, &shown(&verifier)))
    };
    let stream = deadline.bound(|| format!("the TLS handshake with {peer}"), connecting).await?;
    let took = start.elapsed();
    let chain = shown(&verifier);
    let session = stream.get_ref().1;
    let secured = Secured {
        took,
        verified: settings.verify,
        protocol: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        },
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default(),
        chosen: session.alpn_protocol().map(|name| escape_controls(&String::from_utf8_lossy(name))),
        fault: verifier.refused.get().map(|error| fault(error, peer, &name, &chain)),
        certificate: chain.first().cloned(),
        issuers: chain.into_iter().skip(1).collect(),
    };
    Ok((stream, secured))
}

/// The certificates that the server showed, as far as they can be read.
fn shown(verifier: &Verifier) -> Vec<Certificate> {
    verifier.shown.get().into_iter().flatten().filter_map(Certificate::read).collect()
}

async fn config(
    settings: &TlsSettings,
    verifier: &Arc<Verifier>,
    protocols: &[&[u8]],
    deadline: Deadline,
) -> Result<ClientConfig, Failure> {
    let unable = |error: rustls::Error| Failure::Unable(format!("preparing TLS: {error}"));
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let custom = Arc::<Verifier>::clone(verifier);
    let config = config.map_err(unable)?.dangerous().with_custom_certificate_verifier(custom);
    let mut config = match &settings.certificate {
        None => config.with_no_client_auth(),
        Some(certificate) => {
            let key = settings.key.as_ref().unwrap_or(certificate);
            let (chain, key) = trust::identity(certificate, key, deadline).await?;
            config.with_client_auth_cert(chain, key).map_err(|error| {
                Failure::Unable(format!("the client certificate `{}` cannot be used: {error}", certificate.display()))
            })?
        }
    };
    // Each run makes a handshake of its own: that is what is measured.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Why a handshake failed, in words that say who has to do something.
fn explain(error: &std::io::Error, peer: &Peer, name: &str, chain: &[Certificate]) -> Failure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        let why = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => io_text(error),
        };
        return Failure::Bad(format!("the TLS handshake with {peer} failed: {why}"));
    };
    Failure::Bad(fault(error, peer, name, chain))
}

fn fault(error: &rustls::Error, peer: &Peer, name: &str, chain: &[Certificate]) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!("the certificate of {peer} {}", blame(why, name, chain)),
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
    }
}

/// What is wrong with a certificate, as it follows "the certificate of ..".
fn blame(error: &CertificateError, name: &str, chain: &[Certificate]) -> Cow<'static, str> {
    let own = chain.first();
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("expired on {}", own.map(Certificate::until).unwrap_or_default()).into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("is not valid before {}", own.map(Certificate::from).unwrap_or_default()).into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = own.and_then(Certificate::names);
            format!("is for {}, not for `{name}`", names.as_deref().unwrap_or("no name at all")).into()
        }
        CertificateError::UnknownIssuer | CertificateError::Other(_)
            if chain.len() < 2 && own.is_some_and(Certificate::is_self_signed) =>
        {
            "is self-signed and not trusted: name it in `ca` to trust it".into()
        }
        CertificateError::UnknownIssuer => untrusted(chain).into(),
        CertificateError::Revoked => "is revoked".into(),
        CertificateError::BadSignature => {
            let issuer = own.map(|own| own.issuer.as_str()).unwrap_or_default();
            format!("was not signed by the one it names as its issuer ({issuer})").into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "must not be used by a server (extended key usage)".into()
        }
        // The type of what is within belongs to a crate below rustls.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is that of an authority, which must not be a server: name it in `ca` to trust it all the same".into()
        }
        CertificateError::Other(other) if format!("{other:?}").contains("NameConstraintViolation") => {
            "is for a name that its issuer must not vouch for".into()
        }
        CertificateError::BadEncoding => "cannot be read".into(),
        other => format!("is not acceptable: {other}").into(),
    }
}

/// Where a chain ends that leads to nobody who is trusted.
fn untrusted(chain: &[Certificate]) -> String {
    match chain {
        [] => "is signed by an unknown issuer".to_owned(),
        [own] => format!(
            "is signed by an unknown issuer ({}): name it in `ca` to trust it, or let the server send the certificates between, if it is no authority",
            own.issuer
        ),
        [.., last] if last.is_self_signed() => {
            format!("leads to an authority that is not trusted ({}): name it in `ca` to trust it", last.subject)
        }
        [.., last] => format!(
            "leads to an unknown issuer ({}): name it in `ca` to trust it, or let the server send the certificates between, if it is no authority",
            last.issuer
        ),
    }
}
