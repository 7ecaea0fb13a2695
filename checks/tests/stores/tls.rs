//! Certificates for servers of the tests.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A folder with a certificate for `localhost` that is its own authority (`ca.pem`), and its key (`key.pem`).
pub(crate) fn certificate() -> TempDir {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Server of the tests");
    let key = KeyPair::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    folder
}
