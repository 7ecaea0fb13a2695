//! What a certificate says.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::settings::excerpt;

/// How many names of a certificate a message shows: some certificates have a hundred.
const MAX_NAMES: usize = 5;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Whose it is.
    pub(crate) subject: String,
    /// Who signed it.
    pub(crate) issuer: String,
    /// The sort and size of its key: `RSA 2048`, `ECDSA P-256`.
    pub(crate) key: String,
    /// The names that it is for, the first few of them.
    pub(super) names: Vec<String>,
    /// When it begins and ends to be valid, in seconds since 1970.
    pub(super) valid: (i64, i64),
}

impl Certificate {
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<Self> {
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
            key: key(certificate.public_key()),
            valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        })
    }

    /// For how many seconds it is valid yet; less than nothing if it has expired.
    pub(crate) fn left(&self, now: jiff::Timestamp) -> f64 {
        (self.valid.1 - now.as_second()) as f64
    }

    /// Whose it is, who signed it and until when it is valid, for the further output.
    pub(crate) fn describe(&self) -> String {
        format!("certificate: {}, signed by {}, valid until {}", self.subject, self.issuer, self.until())
    }

    /// The names that it is for, the first few of them; none if there is none.
    pub(crate) fn names(&self) -> Option<String> {
        (!self.names.is_empty()).then(|| self.names.join(", "))
    }

    pub(crate) fn from(&self) -> String {
        moment(self.valid.0)
    }

    pub(crate) fn until(&self) -> String {
        moment(self.valid.1)
    }

    pub(crate) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> String {
    match (info.algorithm.algorithm.to_id_string().as_str(), info.parsed()) {
        (_, Ok(PublicKey::RSA(key))) => format!("RSA {}", key.key_size()),
        // The points of P-521 fill 66 bytes.
        (_, Ok(PublicKey::EC(point))) => match point.key_size() {
            528 => "ECDSA P-521".to_owned(),
            size => format!("ECDSA P-{size}"),
        },
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        ("1.3.101.113", _) => "Ed448".to_owned(),
        (other, _) => format!("of type {other}"),
    }
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "a time beyond all calendars".to_owned(), |moment| moment.to_string())
}
