//! TLS that begins on request: with servers that agree, in every protocol that knows it.

use monchero_core::State;
use rcgen::KeyPair;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::server::serve;
use crate::tls::{TIMEOUT, acceptor, params};
use crate::{run, value};

/// What is said in clear text, and what within TLS: each a line that the server says (`<`) or wants to hear (`>`).
type Script = &'static [(char, &'static [u8])];

async fn play(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script) -> std::io::Result<()> {
    for (sign, bytes) in script {
        if *sign == '<' {
            stream.write_all(bytes).await?;
            stream.flush().await?;
        } else {
            let mut heard = vec![0; bytes.len()];
            stream.read_exact(&mut heard).await?;
            assert_eq!(heard.escape_ascii().to_string(), bytes.escape_ascii().to_string());
        }
    }
    Ok(())
}

async fn server(clear: Script, secret: Script) -> u16 {
    let key = KeyPair::generate().unwrap();
    let certificate = params(&["localhost"], (2000, 2090), false).self_signed(&key).unwrap();
    let acceptor = acceptor(certificate.der().clone(), &key);
    serve(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            play(&mut stream, clear).await?;
            play(acceptor.accept(stream).await?, secret).await
        }
    })
    .await
}

#[tokio::test]
async fn every_protocol_comes_to_tls() {
    const XMPP: &[u8] = b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let scripts: [(&str, Script); 8] = [
        (
            "smtp",
            &[
                ('<', b"220 mail\r\n"),
                ('>', b"EHLO localhost\r\n"),
                ('<', b"250-mail\r\n250 STARTTLS\r\n"),
                ('>', b"STARTTLS\r\n"),
                ('<', b"220 go\r\n"),
            ],
        ),
        ("imap", &[('<', b"* OK ready\r\n"), ('>', b"t0 STARTTLS\r\n"), ('<', b"t0 OK go\r\n")]),
        ("pop3", &[('<', b"+OK ready\r\n"), ('>', b"STLS\r\n"), ('<', b"+OK go\r\n")]),
        ("ftp", &[('<', b"220-hi\r\n220 ready\r\n"), ('>', b"AUTH TLS\r\n"), ('<', b"234 go\r\n")]),
        (
            "ldap",
            &[
                ('>', b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
                ('<', b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            ],
        ),
        ("postgres", &[('>', b"\0\0\0\x08\x04\xd2\x16\x2f"), ('<', b"S")]),
        (
            "mysql",
            &[
                ('<', b"\x49\0\0\0\x0a8.0.1\0\x01\0\0\x0012345678\0\xff\xff\x2d\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\x00901234567890\0caching_sha2_password\0"),
                ('>', b"\x20\0\0\x01\0\x8a\0\0\0\0\x10\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ],
        ),
        (
            "xmpp",
            &[
                ('>', XMPP),
                ('<', b"<stream:stream><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
                ('>', b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                ('<', b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            ],
        ),
    ];
    for (protocol, script) in scripts {
        let port = server(script, &[]).await;
        let settings = format!("address: localhost:{port}\nfamily: ipv4\nverify: false\nstarttls: {protocol}");
        let result = run("tls", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Okay, "{protocol}: {}", result.message);
        assert!(result.message.contains(" TLS 1.3, ECDSA P-256"), "{protocol}: {}", result.message);
    }
}

#[tokio::test]
async fn a_password_is_said_only_within_tls() {
    let imap: (Script, Script) = (
        &[
            ('<', b"* OK ready\r\n"),
            ('>', b"m CAPABILITY\r\n"),
            ('<', b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\nm OK\r\n"),
            ('>', b"m STARTTLS\r\n"),
            ('<', b"m OK go\r\n"),
        ],
        &[
            ('>', b"m CAPABILITY\r\n"),
            ('<', b"* CAPABILITY IMAP4rev1\r\nm OK\r\n"),
            ('>', b"m LOGIN \"me\" \"hunter2\"\r\n"),
            ('<', b"m OK\r\n"),
        ],
    );
    let pop3: (Script, Script) = (
        &[('<', b"+OK ready\r\n"), ('>', b"STLS\r\n"), ('<', b"+OK go\r\n")],
        &[
            ('>', b"USER me\r\n"),
            ('<', b"+OK\r\n"),
            ('>', b"PASS hunter2\r\n"),
            ('<', b"+OK\r\n"),
            ('>', b"STAT\r\n"),
            ('<', b"+OK 3 300\r\n"),
        ],
    );
    for (kind, (clear, secret)) in [("imap", imap), ("pop3", pop3)] {
        let port = server(clear, secret).await;
        let settings = format!(
            "address: localhost:{port}\nfamily: ipv4\nstarttls: true\ntls: {{ verify: false }}\nlogin: {{ user: me, password: hunter2 }}"
        );
        let result = run(kind, &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Okay, "{kind}: {}", result.message);
        assert!(result.message.contains(", tls not verified"), "{kind}: {}", result.message);
        assert!(value(&result, "certificate").is_some_and(|left| left > 0.0));
    }
}
