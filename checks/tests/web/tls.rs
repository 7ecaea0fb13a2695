//! `tls` against nginx: everything is told, whatever is wrong.

use monchero_core::State;

use crate::nginx::Nginx;
use crate::{run, value};

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_about_all_the_same() {
    let nginx = Nginx::start();
    let trust = nginx.trust();
    let look =
        async |port: u16, more: &str| run("tls", &format!("address: localhost:{port}\nfamily: ipv4\n{more}")).await;

    let result = look(nginx.good, &trust).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let expected = format!("localhost:{} is valid for 23225d, TLS 1.3, ECDSA P-256", nginx.good);
    assert_eq!(&*result.message, expected);
    let expected = [
        "certificate: CN=localhost, signed by CN=Test Between, valid until 2090-01-01T00:00:00Z",
        "for: localhost, 127.0.0.1",
        "key: ECDSA P-256",
        "certificate: CN=Test Between, signed by CN=Test Root, valid until 2090-01-01T00:00:00Z",
        "TLS 1.3, TLS13_AES_256_GCM_SHA384",
    ];
    assert_eq!(result.output.lines().collect::<Vec<_>>(), expected);
    // From the tests' clock, 2026-06-01, to 2090-01-01.
    let left = Some(23_225.0 * 86_400.0);
    assert_eq!((value(&result, "valid"), value(&result, "chain")), (left, left));

    for (port, why) in [
        (nginx.expired, "expired on 2001-01-01T00:00:00Z"),
        (nginx.other_name, "is for other.example, not for `localhost`"),
        (nginx.self_signed, "is self-signed and not trusted: name it in `ca` to trust it"),
        (
            nginx.incomplete,
            "is signed by an unknown issuer (CN=Test Between): name it in `ca` to trust it, or let the server send the certificates between, if it is no authority",
        ),
    ] {
        let result = look(port, &trust).await;
        assert_eq!(result.state, State::Bad, "{}", result.message);
        let said = format!("the certificate of localhost:{port} {why}");
        assert!(result.message.starts_with(&said), "{}", result.message);
        assert!(result.output.ends_with("\nTLS 1.3, TLS13_AES_256_GCM_SHA384"), "{}", result.output);
        assert!(value(&result, "valid").is_some() && value(&result, "time").is_some());
        let result = look(port, "verify: false\nbad: { valid: \"~:\" }\nwarning: { valid: \"~:\" }").await;
        assert!(result.state == State::Okay && result.message.ends_with(", not verified"), "{}", result.message);
    }
    let result = look(nginx.expired, &trust).await;
    assert!(value(&result, "valid").is_some_and(|left| left < 0.0));
    assert!(result.message.contains("valid is -"), "{}", result.message);
    let stranger = nginx.pki.self_signed("stranger", &["localhost"]);
    let result = look(nginx.good, &format!("ca: \"{}\"", stranger.certificate.display())).await;
    assert!(result.message.contains("leads to an unknown issuer (CN=Test Root): "), "{}", result.message);
}

#[tokio::test]
async fn texts_and_times_have_thresholds() {
    let nginx = Nginx::start();
    let trust = nginx.trust();
    for (port, more, state, message) in [
        (nginx.old, "warning: { protocol: \"TLS 1.2\" }", State::Warning, "protocol is TLS 1.2 ("),
        (nginx.good, "bad: { issuer: \"!*Test Root\" }", State::Bad, "issuer is CN=Test Between ("),
        (nginx.good, "bad: { key: RSA* }", State::Okay, ""),
        (nginx.good, "alpn: [h2, http/1.1]\nbad: { alpn: \"!h2\" }", State::Okay, ""),
        (nginx.good, "alpn: [http/1.1]\nbad: { alpn: \"!h2\" }", State::Bad, "alpn is http/1.1 ("),
        (nginx.old, "alpn: [h2, http/1.1]\nbad: { alpn: \"!h2\" }", State::Bad, "alpn is http/1.1 ("),
        (nginx.good, "alpn: imap", State::Bad, "the TLS handshake with 127.0.0.1:"),
        (nginx.good, "warning: \"< 30000d\"", State::Warning, "valid is 23225d, below 30000d ("),
        (nginx.good, "bad: { chain: \"< 30000d\" }", State::Bad, "chain is 23225d, below 30000d ("),
        (nginx.plain, "", State::Bad, "the TLS handshake with 127.0.0.1:"),
    ] {
        let result = run("tls", &format!("address: 127.0.0.1:{port}\n{trust}\n{more}")).await;
        assert_eq!(result.state, state, "{more}: {}", result.message);
        assert!(result.message.starts_with(message), "{more}: {}", result.message);
    }
}
