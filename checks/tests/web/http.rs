//! `http`, `loki` and `grafana` against nginx.

use monchero_core::State;

use crate::nginx::Nginx;
use crate::{run, value};

#[tokio::test]
async fn plain_http() {
    let nginx = Nginx::start();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", nginx.plain);
    for (path, more, state, message) in [
        (
            "/",
            "expect: { status: 2xx, body: hello, without: error, header: { Server: nginx } }",
            State::Okay,
            "200 OK in ",
        ),
        ("/", "expect: { body: goodbye }", State::Bad, "the body does not contain `goodbye`"),
        ("/moved", "", State::Okay, "200 OK in "),
        ("/moved", "redirects: 0\nexpect: { status: 301 }", State::Okay, "301 Moved Permanently in "),
        ("/moved", "expect: { redirect: \"http://127.0.0.1*/\" }", State::Okay, "301 Moved Permanently in "),
        ("/circle", "", State::Bad, "http://127.0.0.1:"),
        ("/nothing", "expect: { status: 404 }", State::Bad, "200 OK, expected 404"),
        ("/private", "", State::Bad, "401 Unauthorized, expected 200-399"),
        ("/private", "basic: { user: me, password: wrong }", State::Bad, "401 Unauthorized, expected 200-399"),
        ("/private", "basic: { user: me, password: hunter2 }\nexpect: { body: you are me }", State::Okay, "200 OK in "),
        (
            "/proxied/health",
            "expect: { json: { $.database: ok, \"$.queue.length\": \"< 10\" } }",
            State::Okay,
            "200 OK in ",
        ),
        ("/gone/", "", State::Bad, "502 Bad Gateway, expected 200-399"),
        (
            "/echo",
            "json: { a: 1 }\nheaders: { X-Key: k }\nexpect: { body: \"POST application/json k\" }",
            State::Okay,
            "200 OK in ",
        ),
        ("/files/large", "", State::Okay, "200 OK in "),
    ] {
        let result = run("http", &format!("url: \"{}\"\n{more}", url(path))).await;
        assert_eq!(result.state, state, "{path} {more}: {}", result.message);
        assert!(result.message.starts_with(message), "{path} {more}: {}", result.message);
    }
    let result =
        run("http", &format!("url: \"{}\"\nmeasure: {{ queue: queue.length }}\nbad: {{ queue: 5 }}", url("/health")))
            .await;
    assert_eq!((result.state, value(&result, "queue")), (State::Bad, Some(7.0)), "{}", result.message);
    let result = run("http", &format!("url: \"http://shop.invalid/\"\nresolve: 127.0.0.1:{}", nginx.plain)).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let result = run("loki", &url("/")).await;
    assert!(result.state == State::Okay && result.message.starts_with("Loki is ready"), "{}", result.message);
    let result = run("grafana", &url("/")).await;
    assert!(result.state == State::Okay && result.message.starts_with("Grafana is healthy"), "{}", result.message);
}

#[tokio::test]
async fn https() {
    let nginx = Nginx::start();
    let trust = nginx.trust();
    let get = async |port: u16, path: &str, tls: &str| {
        run("http", &format!("url: \"https://localhost:{port}{path}\"\nfamily: ipv4\ntls: {{ {tls} }}")).await
    };
    let result = get(nginx.good, "/", &trust).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(value(&result, "tls").is_some_and(|time| time > 0.0));
    let result = get(nginx.old, "/", &trust).await;
    assert_eq!(result.state, State::Okay, "TLS 1.2: {}", result.message);

    // A client without a certificate, one with, and one whose key belongs to another.
    let result = get(nginx.good, "/members", &trust).await;
    assert!(result.message.starts_with("403 Forbidden"), "{}", result.message);
    let shown = format!("{trust}, certificate: \"{}\", key: ", nginx.client.certificate.display());
    let result = get(nginx.good, "/members", &format!("{shown}\"{}\"", nginx.client.key.display())).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert_eq!(value(&result, "size"), Some(9.0), "CN=client");
    let other = nginx.pki.signed("stranger", &[], (2000, 2090), true);
    let result = get(nginx.good, "/members", &format!("{shown}\"{}\"", other.key.display())).await;
    assert_eq!(result.state, State::Unknown, "{}", result.message);
    assert!(result.message.contains("cannot be used: "), "{}", result.message);

    for (port, why) in [
        (nginx.expired, "expired on 2001-01-01T00:00:00Z"),
        (nginx.other_name, "is for other.example, not for `localhost`"),
        (nginx.self_signed, "is self-signed and not trusted: name it in `ca` to trust it"),
        (
            nginx.incomplete,
            "is signed by an unknown issuer (CN=Test Between): name it in `ca` to trust it, or let the server send the certificates between, if it is no authority",
        ),
    ] {
        let result = get(port, "/", &trust).await;
        assert_eq!(result.state, State::Bad, "{}", result.message);
        assert_eq!(&*result.message, format!("the certificate of localhost:{port} {why}"));
        let result = get(port, "/", "verify: false").await;
        assert!(result.state == State::Okay && result.message.ends_with("tls not verified"), "{}", result.message);
    }

    // From HTTP to HTTPS, on another port: neither the method's body nor the key goes along.
    let settings = format!(
        "url: \"http://localhost:{}/to-tls\"\nfamily: ipv4\nheaders: {{ X-Key: k }}\ntls: {{ {trust} }}\nexpect: {{ body: {{ regex: \"^GET\\\\s*$\" }} }}",
        nginx.plain
    );
    let result = run("http", &settings).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
}

/// A `ca` file that changes counts at once, though it is not read for each run.
#[tokio::test]
async fn a_file_of_authorities_is_read_again_when_it_changes() {
    let nginx = Nginx::start();
    let file = nginx.pki.path().join("changing.pem");
    let settings = format!("url: \"https://127.0.0.1:{}/\"\ntls: {{ ca: \"{}\" }}", nginx.good, file.display());
    for (source, state) in [("own.pem", State::Bad), ("ca.pem", State::Okay), ("own.pem", State::Bad)] {
        let new = nginx.pki.path().join("new.pem");
        std::fs::copy(nginx.pki.path().join(source), &new).unwrap();
        std::fs::rename(&new, &file).unwrap();
        for _ in 0..2 {
            let result = run("http", &settings).await;
            assert_eq!(result.state, state, "{source}: {}", result.message);
        }
    }
}
