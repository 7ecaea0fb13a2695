//! Certificates: what is right passes, and each thing that is wrong has a text of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use monchero_core::State;
use monchero_core::report::ServiceResult;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::server::{answer, serve};
use crate::{run, value};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// A certificate for `names`, valid for the whole of the years `from` to before `until`.
pub(crate) fn params(names: &[&str], (from, until): (i32, i32), is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let name = names.first().copied().unwrap_or("Test Authority");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
    params
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = params(&[], (2000, 2090), true);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server with a certificate that this authority signed.
    async fn server(&self, names: &[&str], years: (i32, i32)) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, years, false).signed_by(&key, &self.issuer).unwrap();
        https(certificate.der().clone(), &key).await
    }
}

/// A server that answers 200 on TLS.
async fn https(certificate: CertificateDer<'static>, key: &KeyPair) -> u16 {
    https_that_says(certificate, key, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await
}

/// What a server needs to speak TLS.
pub(crate) fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    acceptor_with(vec![certificate], key)
}

fn acceptor_with(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn https_that_says(certificate: CertificateDer<'static>, key: &KeyPair, text: &'static str) -> u16 {
    let acceptor = acceptor(certificate, key);
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move { answer(acceptor.accept(stream).await?, text).await }
    })
    .await
}

async fn get(host: &str, port: u16, tls: &str) -> ServiceResult {
    run("http", &format!("url: https://{host}:{port}/\nfamily: ipv4\ntls: {{ {tls} }}"), TIMEOUT).await
}

fn trusting(authority: &Authority) -> String {
    format!("ca: \"{}\"", authority.file().display())
}

#[tokio::test]
async fn a_good_certificate_is_measured() {
    let authority = Authority::new();
    let port = authority.server(&["localhost", "127.0.0.1"], (2000, 2090)).await;
    for host in ["localhost", "127.0.0.1"] {
        let result = get(host, port, &trusting(&authority)).await;
        assert_eq!(result.state, State::Okay, "{}", result.message);
        assert!(result.message.starts_with("200 OK in ") && result.message.ends_with(", 2 B"), "{}", result.message);
        // From the tests' clock, 2026-06-01, to 2090-01-01: 23,225 days.
        assert_eq!(value(&result, "certificate"), Some(23_225.0 * 86_400.0));
        assert!(value(&result, "tls").is_some_and(|time| time > 0.0));
        let expected = "certificate: CN=localhost, signed by CN=Test Authority, valid until 2090-01-01T00:00:00Z";
        assert_eq!(result.output.lines().nth(1), Some(expected));
    }
    let tls = trusting(&authority);
    let settings = format!("url: https://127.0.0.1:{port}/\ntls: {{ {tls} }}\nbad: {{ certificate: \"< 30000d\" }}");
    let result = run("http", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.starts_with("certificate is 23225d, below 30000d (200 OK in "), "{}", result.message);
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_own_text() {
    let authority = Authority::new();
    let trust = trusting(&authority);
    let expired = authority.server(&["localhost"], (1999, 2001)).await;
    let early = authority.server(&["localhost"], (2088, 2090)).await;
    let other_name = authority.server(&["other.example"], (2000, 2090)).await;
    let key = KeyPair::generate().unwrap();
    let self_signed =
        https(params(&["localhost"], (2000, 2090), false).self_signed(&key).unwrap().der().clone(), &key).await;
    for (port, why) in [
        (expired, "expired on 2001-01-01T00:00:00Z"),
        (early, "is not valid before 2088-01-01T00:00:00Z"),
        (other_name, "is for other.example, not for `localhost`"),
        (self_signed, "is self-signed and not trusted: name it in `ca` to trust it"),
    ] {
        let result = get("localhost", port, &trust).await;
        assert_eq!(result.state, State::Bad);
        assert_eq!(&*result.message, format!("the certificate of localhost:{port} {why}"));
    }
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate here\n").unwrap();
    let port = Authority::new().server(&["localhost"], (2000, 2090)).await;
    for (file, why) in [
        (
            "/nonexistent.pem".to_owned(),
            "reading the `ca` file `/nonexistent.pem`: no such file or directory".to_owned(),
        ),
        (empty.display().to_string(), format!("the `ca` file `{}` holds no certificate (PEM)", empty.display())),
    ] {
        let result = get("localhost", port, &format!("ca: \"{file}\"")).await;
        assert_eq!((result.state, &*result.message), (State::Unknown, &*why));
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.server(&["localhost"], (2000, 2090)).await;
    // The stranger's name is the same, its key is not.
    let result = get("localhost", port, &trusting(&stranger)).await;
    assert_eq!(result.state, State::Bad);
    let expected = "was not signed by the one it names as its issuer (CN=Test Authority)";
    assert_eq!(&*result.message, format!("the certificate of localhost:{port} {expected}"));
    // Nor does the system trust it, if it trusts anybody.
    let result = get("localhost", port, "").await;
    let expected = format!(
        "the certificate of localhost:{port} is signed by an unknown issuer (CN=Test Authority): name it in `ca` to trust it, or let the server send the certificates between, if it is no authority"
    );
    assert!(
        *result.message == expected || result.message.contains("trusts no certificate authority"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_trusted_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for is_ca in [false, true] {
        let key = KeyPair::generate().unwrap();
        let certificate = params(&["localhost"], (2000, 2090), is_ca).self_signed(&key).unwrap();
        let file = folder.path().join("server.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        let port = https(certificate.der().clone(), &key).await;
        let trust = format!("ca: \"{}\"", file.display());
        let result = get("localhost", port, &trust).await;
        assert_eq!(result.state, State::Okay, "is_ca {is_ca}: {}", result.message);
        let result = get("127.0.0.1", port, &trust).await;
        assert_eq!(result.state, State::Bad, "it is for another name");
        assert!(result.message.contains("not for `127.0.0.1`"), "{}", result.message);
        // Named as trusted or not, it must be in date.
        let certificate = params(&["localhost"], (2000, 2001), is_ca).self_signed(&key).unwrap();
        std::fs::write(&file, certificate.pem()).unwrap();
        let port = https(certificate.der().clone(), &key).await;
        let result = get("localhost", port, &trust).await;
        assert!(result.message.ends_with("expired on 2001-01-01T00:00:00Z"), "is_ca {is_ca}: {}", result.message);
    }
}

#[tokio::test]
async fn verification_can_be_left_out_and_is_told() {
    let port = Authority::new().server(&["other.example"], (1999, 2001)).await;
    let result = get("localhost", port, "verify: false").await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.ends_with(", 2 B, tls not verified"), "{}", result.message);
    assert!(value(&result, "certificate").is_some_and(|left| left < 0.0));
}

#[tokio::test]
async fn the_name_of_the_server_can_be_given() {
    let authority = Authority::new();
    let port = authority.server(&["other.example"], (2000, 2090)).await;
    let result = get("localhost", port, &format!("{}, server_name: other.example", trusting(&authority))).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
}

#[tokio::test]
async fn tcp_speaks_tls_too() {
    let authority = Authority::new();
    let port = authority.server(&["localhost"], (2000, 2090)).await;
    let settings = format!(
        "address: localhost:{port}\nfamily: ipv4\ntls: {{ {} }}\nsend: \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect: {{ regex: \"^HTTP/1.. 200\" }}",
        trusting(&authority)
    );
    let result = run("tcp", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.ends_with(", tls"), "{}", result.message);
    assert!(value(&result, "certificate").is_some());
}

#[tokio::test]
async fn what_is_not_tls_is_told() {
    let port = serve(|mut stream| async move { stream.write_all(b"220 mail.example ESMTP\r\n").await }).await;
    let result = get("localhost", port, "verify: false").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(
        &*result.message,
        format!("the TLS handshake with localhost:{port} failed: what the server says is not TLS")
    );
}

#[tokio::test]
async fn a_redirect_does_not_give_up_tls() {
    let key = KeyPair::generate().unwrap();
    let certificate = params(&["localhost"], (2000, 2090), false).self_signed(&key).unwrap();
    let moved = "HTTP/1.1 301 Moved Permanently\r\nLocation: http://localhost/\r\nContent-Length: 0\r\n\r\n";
    let port = https_that_says(certificate.der().clone(), &key, moved).await;
    let result = get("localhost", port, "verify: false").await;
    assert_eq!(result.state, State::Bad);
    assert!(
        result.message.ends_with("redirects from https to `http://localhost/`, which is not followed: it gives up TLS"),
        "{}",
        result.message
    );
}

/// R79: whatever is wrong with a certificate, nothing is said to whoever shows it.
#[tokio::test]
async fn nothing_is_said_to_a_server_that_is_not_trusted() {
    let authority = Authority::new();
    let good = || params(&["localhost"], (2000, 2090), false);
    let mut for_clients = good();
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut address = params(&["10.9.8.7"], (2000, 2090), false);
    address.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let mut limited = params(&[], (2000, 2090), true);
    limited.distinguished_name.push(rcgen::DnType::CommonName, "Limited Authority");
    limited.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example".to_owned())],
        excluded_subtrees: vec![],
    });
    let limited_key = KeyPair::generate().unwrap();
    let limited_certificate = limited.signed_by(&limited_key, &authority.issuer).unwrap();
    let limited = Issuer::new(limited, limited_key);
    let stranger = Authority::new();
    let years = |from, until| params(&["localhost"], (from, until), false);
    let cases = [
        ("expired on 2001-01-01T00:00:00Z", years(1999, 2001), &authority.issuer),
        ("is not valid before 2088-01-01T00:00:00Z", years(2088, 2090), &authority.issuer),
        ("is for other.example, not for", params(&["other.example"], (2000, 2090), false), &authority.issuer),
        ("is for 10.9.8.7, not for", address, &authority.issuer),
        ("must not be used by a server", for_clients, &authority.issuer),
        ("is that of an authority, which must", params(&["localhost"], (2000, 2090), true), &authority.issuer),
        ("was not signed by the one it names as its issuer (CN=Test Authority)", good(), &stranger.issuer),
        ("is for a name that its issuer must not vouch for", good(), &limited),
    ];
    for (what, params, issuer) in cases {
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone(), limited_certificate.der().clone()];
        let acceptor = acceptor_with(chain, &key);
        let (heard, mut was_heard) = tokio::sync::mpsc::channel(1);
        let port = serve(move |stream| {
            let (acceptor, heard) = (acceptor.clone(), heard.clone());
            async move {
                let mut bytes = Vec::new();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read_to_end(&mut bytes).await;
                }
                let _ = heard.send(bytes).await;
                Ok(())
            }
        })
        .await;
        let settings =
            format!("url: https://localhost:{port}/\nfamily: ipv4\nbearer: t0ken\ntls: {{ {} }}", trusting(&authority));
        let result = run("http", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Bad, "{what}: {}", result.message);
        let fault = format!("the certificate of localhost:{port} {what}");
        assert!(result.message.starts_with(&fault), "{what}: {}", result.message);
        assert_eq!(was_heard.recv().await.as_deref(), Some(&b""[..]), "{what}");
        let settings = format!("address: localhost:{port}\nfamily: ipv4\n{}", trusting(&authority));
        let told = run("tls", &settings, TIMEOUT).await;
        assert_eq!(told.state, State::Bad, "{what}: {}", told.message);
        assert!(told.message.starts_with(&*result.message), "{what}: {} / {}", told.message, result.message);
        assert_eq!(was_heard.recv().await.as_deref(), Some(&b""[..]), "{what}");
    }
}
