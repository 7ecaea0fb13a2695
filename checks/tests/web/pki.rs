//! A certificate authority with one below it, and the certificates of servers and clients.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

pub(crate) type Signer = Issuer<'static, KeyPair>;

/// A certificate (with those between it and the authority, if they are to be sent) and its key, as files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) struct Pki {
    pub(crate) folder: TempDir,
    between: Signer,
    between_pem: String,
}

fn params(name: &str, alternatives: &[&str], (from, until): (i32, i32)) -> CertificateParams {
    let alternatives: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alternatives).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name, &[], (2000, 2090));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("Test Root");
        std::fs::write(folder.path().join("ca.pem"), root.self_signed(&root_key).unwrap().pem()).unwrap();
        let root = Issuer::new(root, root_key);
        let between = authority("Test Between");
        let between_pem = between.signed_by(&key, &root).unwrap().pem();
        Self { between: Issuer::new(between, key), between_pem, folder }
    }

    /// The file of the authority at the top.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) -> Identity {
        let identity = Identity {
            certificate: self.path().join(format!("{name}.pem")),
            key: self.path().join(format!("{name}.key")),
        };
        std::fs::write(&identity.certificate, certificate).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// A certificate that is signed by the authority between; `whole` adds that one's certificate.
    pub(crate) fn signed(&self, name: &str, alternatives: &[&str], years: (i32, i32), whole: bool) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut certificate = params(name, alternatives, years).signed_by(&key, &self.between).unwrap().pem();
        if whole {
            certificate.push_str(&self.between_pem);
        }
        self.write(name, &certificate, &key)
    }

    /// A certificate that nobody but its owner vouches for.
    pub(crate) fn self_signed(&self, name: &str, alternatives: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, alternatives, (2000, 2090)).self_signed(&key).unwrap().pem();
        self.write(name, &certificate, &key)
    }
}
