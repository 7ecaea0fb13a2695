//! Reading certificates from files.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use monchero_core::State;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::host::{expand, under};
use crate::net::io_text;
use crate::settings::excerpt;

/// How much of a file is read, in bytes: the authorities of a whole system have half of it.
const MAX_FILE: u64 = 1024 * 1024;
/// How many files a pattern may find.
const MAX_FILES: usize = 1_000;
/// How many certificates of one file are looked at.
const MAX_CERTIFICATES: usize = 500;

/// What stands in a file: a certificate, or what is wrong with the file.
pub(super) struct Seen {
    pub(super) file: PathBuf,
    pub(super) found: Result<Found, (State, String)>,
}

/// One certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) key: String,
    pub(super) weakness: String,
    /// When it begins and ends to be valid, in seconds since 1970.
    pub(super) valid: (i64, i64),
    /// What is wrong with the private key, if one is looked at.
    pub(super) mismatch: Option<(State, String)>,
}

/// Looks at all files that the paths stand for; may hang.
pub(super) fn look(sysroot: &Path, paths: &[PathBuf], private_key: Option<&Path>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for path in paths {
        let is_pattern = path.to_string_lossy().contains(['*', '?']);
        let files = match expand(sysroot, path, MAX_FILES) {
            Ok(files) => files,
            Err(why) => {
                seen.push(Seen { file: path.clone(), found: Err((State::Unknown, why.to_string())) });
                continue;
            }
        };
        if files.len() >= MAX_FILES {
            let why = format!("more than {MAX_FILES} files fit this: the others were not looked at");
            seen.push(Seen { file: path.clone(), found: Err((State::Unknown, why)) });
        }
        for file in files {
            let found = file_of(sysroot, &file, private_key, is_pattern);
            seen.extend(found.into_iter().map(|found| Seen { file: file.clone(), found }));
        }
    }
    seen
}

/// The certificates in one file. What a pattern found and is none is nothing to speak of.
fn file_of(
    sysroot: &Path,
    file: &Path,
    private_key: Option<&Path>,
    is_pattern: bool,
) -> Vec<Result<Found, (State, String)>> {
    let bytes = match read(&under(sysroot, file)) {
        Ok(bytes) => bytes,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::IsADirectory if is_pattern => Vec::new(),
                ErrorKind::NotFound => vec![Err((State::Bad, "there is no such file".to_owned()))],
                _ => vec![Err((State::Unknown, format!("reading the file: {}", io_text(&error))))],
            };
        }
    };
    let mut found = certificates(&bytes);
    if found.is_empty() && !is_pattern {
        found.push(Err((State::Bad, "there is no certificate in it (PEM or DER)".to_owned())));
    }
    if let (Some(key), Some(Ok((first, public)))) = (private_key, found.first_mut()) {
        let key = file.parent().unwrap_or(file).join(key);
        first.mismatch = compare(sysroot, &key, public);
    }
    found.into_iter().map(|found| found.map(|(found, _)| found)).collect()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

type Parsed = Result<(Found, Vec<u8>), (State, String)>;

/// The certificates in the bytes of a file, each with its public key.
fn certificates(bytes: &[u8]) -> Vec<Parsed> {
    if X509Certificate::from_der(bytes).is_ok() {
        return vec![certificate(bytes)];
    }
    let wrong = |error: String| Err((State::Bad, format!("a certificate in it cannot be read: {error}")));
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(bytes).take(MAX_CERTIFICATES) {
        match der {
            Ok(der) => found.push(certificate(&der)),
            Err(error) => {
                // What follows cannot be told apart any more.
                found.push(wrong(excerpt(&error.to_string())));
                break;
            }
        }
    }
    found
}

fn certificate(der: &[u8]) -> Parsed {
    let wrong = |error: &dyn std::fmt::Display| (State::Bad, format!("a certificate in it cannot be read: {error}"));
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| wrong(&error))?;
    let public = parsed.public_key();
    let (key, weak_key) = describe_key(public);
    // Nobody relies on the signature that an authority puts under itself.
    let is_self_signed = parsed.subject().as_raw() == parsed.issuer().as_raw();
    let weak_signature = weak_digest(&parsed.signature_algorithm.algorithm.to_id_string())
        .filter(|_| !is_self_signed)
        .map(|digest| format!("signed with {digest}"));
    let weakness: Vec<String> = [weak_key, weak_signature].into_iter().flatten().collect();
    let found = Found {
        subject: subject(&parsed),
        issuer: excerpt(&parsed.issuer().to_string()),
        key,
        weakness: if weakness.is_empty() { "none".to_owned() } else { weakness.join(", ") },
        valid: (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()),
        mismatch: None,
    };
    Ok((found, public.subject_public_key.data.to_vec()))
}

/// Whose it is; many certificates of today have nothing but a name of a host for that.
fn subject(parsed: &X509Certificate<'_>) -> String {
    let subject = excerpt(&parsed.subject().to_string());
    if !subject.is_empty() {
        return subject;
    }
    let names = parsed.subject_alternative_name().ok().flatten();
    let first = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(excerpt(name)),
            _ => None,
        })
    });
    first.unwrap_or_else(|| "(no name)".to_owned())
}

/// What the key is, and what is weak about it.
fn describe_key(public: &SubjectPublicKeyInfo<'_>) -> (String, Option<String>) {
    let weak = |sort: &str, bits: usize, least: usize| (bits < least).then(|| format!("{sort} key of {bits} bits"));
    match public.parsed() {
        Ok(PublicKey::RSA(key)) => (format!("RSA {}", key.key_size()), weak("RSA", key.key_size(), 2048)),
        Ok(PublicKey::EC(key)) => (format!("EC {}", key.key_size()), weak("EC", key.key_size(), 224)),
        Ok(PublicKey::DSA(key)) => (format!("DSA {}", key.len() * 8), weak("DSA", key.len() * 8, 2048)),
        _ => match public.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => ("Ed25519".to_owned(), None),
            "1.3.101.113" => ("Ed448".to_owned(), None),
            other => (excerpt(other), None),
        },
    }
}

/// The digest of a signature algorithm with which signatures can be forged.
fn weak_digest(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        _ => None,
    }
}

/// What is wrong if the private key in a file does not belong to this public one.
fn compare(sysroot: &Path, file: &Path, public: &[u8]) -> Option<(State, String)> {
    let shown = file.display();
    let bytes = match read(&under(sysroot, file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some((State::Bad, format!("there is no private key {shown}")));
        }
        Err(error) => return Some((State::Unknown, format!("reading the private key {shown}: {}", io_text(&error)))),
    };
    let unusable = || {
        let why =
            format!("the private key {shown} cannot be compared: it is no PEM, is encrypted, or of an unusual sort");
        Some((State::Unknown, why))
    };
    let Some(key) = PrivateKeyDer::from_pem_slice(&bytes).ok().and_then(|der| any_supported_type(&der).ok()) else {
        return unusable();
    };
    let Some(own) = key.public_key() else { return unusable() };
    match SubjectPublicKeyInfo::from_der(&own) {
        Ok((_, own)) if *own.subject_public_key.data == *public => None,
        Ok(_) => Some((State::Bad, format!("the private key {shown} belongs to another certificate"))),
        Err(_) => unusable(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_read_is_what_was_made() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let made = params.self_signed(&key).unwrap();
        for bytes in [made.pem().into_bytes(), made.der().to_vec()] {
            let [Ok((found, public))] = &certificates(&bytes)[..] else { panic!("one certificate") };
            assert_eq!(
                (found.subject.as_str(), found.key.as_str(), found.weakness.as_str()),
                ("a.example", "EC 256", "none")
            );
            assert_eq!(found.valid.1, 1_893_456_000);
            assert_eq!(public, key.public_key_raw());
        }
        assert!(certificates(b"").is_empty());
        assert!(certificates(key.serialize_pem().as_bytes()).is_empty(), "a key is no certificate");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..400, byte: u8) {
            let _ = certificates(&bytes);
            let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", String::from_utf8_lossy(&bytes));
            let _ = certificates(text.as_bytes());
            let key = rcgen::KeyPair::generate().unwrap();
            let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
            let mut der = made.der().to_vec();
            let place = at % der.len();
            der[place] = byte;
            let _ = certificate(&der);
        }
    }
}
