//! Whom to trust, and the verification of what a server shows.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Certificate, TlsSettings};
use crate::blocking::Blocking;
use crate::net::{Deadline, Failure, io_text};

/// Files with certificates are read apart, since they may stand on a mount that hangs.
static FILES: Blocking = Blocking::new("monchero-certs", 256 * 1024);

/// How long the system's trusted certificates are used before they are read again, so that an update of them needs no restart.
const ROOTS_AGE: Duration = Duration::from_secs(60 * 60);

/// How much of a file with certificates or keys is read: a whole system's worth of authorities has half of it.
const MAX_FILE: u64 = 1024 * 1024;

/// How many `ca` files are kept in memory as long as they do not change; more than a configuration is likely to name.
const MAX_KEPT: usize = 64;

/// The one implementation of cryptography that is used. It is passed on, never installed for the whole process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Whom to trust.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    /// The certificates of a `ca` file: one of them may be that of the server itself.
    pinned: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// The trust that the settings name: their file, or the system's certificates, which all checks share.
    pub(super) async fn of(settings: &TlsSettings, deadline: Deadline) -> Result<Self, Failure> {
        match &settings.ca {
            Some(path) => Self::in_file(path, deadline).await,
            None => Self::of_system(deadline).await,
        }
    }

    fn in_certificates(
        authorities: Vec<CertificateDer<'static>>,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        // Single certificates that cannot be used are left out, as every other program does.
        roots.add_parsable_certificates(authorities);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
        Some(Self { verifier, pinned: pinned.into() })
    }

    /// Whether a server may be trusted.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        // Most self-signed certificates say that they are an authority, and an authority must not be a server. If exactly this
        // certificate was named as trusted, its name and its dates are all that is left to verify.
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                verify_dates(end_entity, now)
            }
            verdict => verdict,
        }
    }

    async fn of_system(deadline: Deadline) -> Result<Self, Failure> {
        static SYSTEM: Mutex<Option<(Instant, Trust)>> = Mutex::const_new(None);
        let waiting = tokio::time::timeout(deadline.left(), SYSTEM.lock()).await;
        let mut system = waiting
            .map_err(|_| Failure::Unable("reading the system's trusted certificates takes too long".to_owned()))?;
        if let Some((since, trust)) = &*system
            && since.elapsed() < ROOTS_AGE
        {
            return Ok(trust.clone());
        }
        let read = FILES
            .call("the system's trusted certificates", deadline.left(), rustls_native_certs::load_native_certs)
            .await;
        let read = read.map_err(|why| Failure::Unable(format!("the directory of trusted certificates {why}")))?;
        let trust = Self::in_certificates(read.certs, Vec::new()).ok_or_else(|| {
            let why = read.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            Failure::Unable(format!(
                "this system trusts no certificate authority{why}: install the package ca-certificates, or name a `ca` file"
            ))
        })?;
        *system = Some((Instant::now(), trust.clone()));
        Ok(trust)
    }

    /// The trust in a file; it is read anew only when it has changed.
    async fn in_file(path: &Path, deadline: Deadline) -> Result<Self, Failure> {
        static KEPT: StdMutex<BTreeMap<PathBuf, (Stamp, Trust)>> = StdMutex::new(BTreeMap::new());
        let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().get(path).cloned();
        let stamp = known.as_ref().map(|(stamp, _)| stamp.clone());
        let read = read("ca", path, deadline, stamp).await?;
        let (stamp, bytes) = match (read, known) {
            (None, Some((_, trust))) => return Ok(trust),
            (read, _) => read.unwrap_or_default(),
        };
        let shown = path.display();
        let found = certificates("ca", path, &bytes)?;
        let trust = Self::in_certificates(found.clone(), found)
            .ok_or_else(|| Failure::Unable(format!("the `ca` file `{shown}` holds no certificate (PEM)")))?;
        let mut kept = kept();
        if kept.len() >= MAX_KEPT {
            kept.pop_first();
        }
        kept.insert(path.to_owned(), (stamp, trust.clone()));
        Ok(trust)
    }
}

/// The client's own certificate, with those between it and an authority, and its key.
pub(super) async fn identity(
    certificate: &Path,
    key: &Path,
    deadline: Deadline,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let (_, bytes) = read("certificate", certificate, deadline, None).await?.unwrap_or_default();
    let chain = certificates("certificate", certificate, &bytes)?;
    let (_, bytes) = read("key", key, deadline, None).await?.unwrap_or_default();
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        Failure::Unable(format!(
            "the `key` file `{}` holds no private key (PEM, not encrypted): {error}",
            key.display()
        ))
    })?;
    Ok((chain, key))
}

/// By what a change of a file is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

/// What stands in a file that a setting names, or nothing if it is as it was.
async fn read(
    setting: &str,
    path: &Path,
    deadline: Deadline,
    known: Option<Stamp>,
) -> Result<Option<(Stamp, Vec<u8>)>, Failure> {
    let shown = path.display().to_string();
    let path = path.to_owned();
    let answer = FILES.call(&shown, deadline.left(), move || read_capped(&path, known.as_ref())).await;
    let answer = answer.map_err(|why| Failure::Unable(format!("`{setting}` file `{shown}` {why}")))?;
    answer.map_err(|error| Failure::Unable(format!("reading the `{setting}` file `{shown}`: {}", io_text(&error))))
}

fn read_capped(path: &Path, known: Option<&Stamp>) -> std::io::Result<Option<(Stamp, Vec<u8>)>> {
    let file = std::fs::File::open(path)?;
    let about = file.metadata()?;
    let stamp =
        Stamp { inode: (about.dev(), about.ino()), size: about.len(), modified: (about.mtime(), about.mtime_nsec()) };
    if known == Some(&stamp) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some((stamp, bytes)))
}

fn certificates(setting: &str, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| Failure::Unable(format!("reading the `{setting}` file `{shown}`: {error}")))?;
    if found.is_empty() {
        return Err(Failure::Unable(format!("the `{setting}` file `{shown}` holds no certificate (PEM)")));
    }
    Ok(found)
}

/// Verifies as usual, or not at all, and remembers what it was shown either way.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None if everything is accepted.
    pub(super) trust: Option<Trust>,
    /// Whether a handshake goes on behind a certificate that is refused. Nothing but the handshake may be sent then.
    pub(super) tolerant: bool,
    pub(super) provider: Arc<CryptoProvider>,
    /// What the server shows: its certificate, then those between it and an authority.
    pub(super) shown: OnceLock<Vec<CertificateDer<'static>>>,
    /// Why it was refused, if the handshake went on.
    pub(super) refused: OnceLock<rustls::Error>,
}

impl Verifier {
    pub(super) fn new(trust: Option<Trust>, tolerant: bool) -> Self {
        Self { trust, tolerant, provider: provider(), shown: OnceLock::new(), refused: OnceLock::new() }
    }

    fn tolerate<T>(&self, verdict: Result<T, rustls::Error>, accepted: T) -> Result<T, rustls::Error> {
        match verdict {
            Err(error) if self.tolerant => {
                let _ = self.refused.set(error);
                Ok(accepted)
            }
            verdict => verdict,
        }
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
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned());
        let _ = self.shown.set(chain.collect());
        let accepted = ServerCertVerified::assertion();
        let Some(trust) = &self.trust else { return Ok(accepted) };
        self.tolerate(trust.judge(end_entity, intermediates, server_name, ocsp, now), accepted)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        let verdict = verify_tls12_signature(message, certificate, signed, known);
        self.tolerate(verdict, HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        let verdict = verify_tls13_signature(message, certificate, signed, known);
        self.tolerate(verdict, HandshakeSignatureValid::assertion())
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
