//! A mail server that does what a test says, certificates for it, and a reader for the mails that it got.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server answers to a line.
pub enum Answer {
    /// What a good server says.
    Good,
    /// This.
    Say(&'static str),
    /// Nothing, ever.
    Hang,
    /// It closes the connection.
    Close,
}

/// What a server does. The rule is asked for `CONNECT`, for every line, and for `.` when a mail is complete.
pub struct Rules {
    pub rule: Box<dyn Fn(&str) -> Answer + Send + Sync>,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether it speaks TLS from the first byte.
    pub implicit: bool,
}

impl Rules {
    /// Follows a rule, without TLS.
    pub fn plain(rule: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self { rule: Box::new(rule), tls: None, implicit: false }
    }

    /// A good server.
    pub fn good() -> Self {
        Self::plain(|_| Answer::Good)
    }
}

/// What a server saw.
#[derive(Default)]
pub struct Seen {
    /// Lines, with `TLS` where encryption began.
    pub lines: Vec<String>,
    /// Mails as they came, with the dots removed that transport added.
    pub mails: Vec<String>,
}

/// A running server; it ends with the runtime.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    pub async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let rules = Arc::new(rules);
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (rules, seen) = (rules.clone(), log.clone());
                tokio::spawn(async move {
                    match (&rules.tls, rules.implicit) {
                        (Some(tls), true) => {
                            if let Ok(stream) = TlsAcceptor::from(tls.clone()).accept(stream).await {
                                note(&seen, "TLS");
                                talk(stream, &rules, &seen, true, true).await;
                            }
                        }
                        (tls, _) => {
                            let Some(stream) = talk(stream, &rules, &seen, false, true).await else { return };
                            let tls = tls.clone().expect("only a server with TLS offers it");
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                note(&seen, "TLS");
                                talk(stream, &rules, &seen, true, false).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }

    /// The lines that it saw.
    pub fn lines(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").lines.clone()
    }

    /// The mails that it got.
    pub fn mails(&self) -> Vec<Mail> {
        self.seen.lock().expect("no panic").mails.iter().map(|text| Mail::read(text)).collect()
    }
}

fn note(seen: &Mutex<Seen>, line: &str) {
    seen.lock().expect("no panic").lines.push(line.to_owned());
}

/// Serves one connection; answers the stream if it is to be encrypted now.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    rules: &Rules,
    seen: &Mutex<Seen>,
    secure: bool,
    greets: bool,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let ehlo = match (&rules.tls, secure) {
        (Some(_), false) => "250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
        _ => "250-test\r\n250 AUTH PLAIN LOGIN",
    };
    if greets && !answer(&mut stream, rules, "CONNECT", "220 test").await {
        return None;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        note(seen, &line);
        let word = line.split(' ').next().unwrap_or_default().to_uppercase();
        let good = match word.as_str() {
            "EHLO" => ehlo,
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "STARTTLS" => "220 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        if !answer(&mut stream, rules, &line, good).await {
            return None;
        }
        if word == "STARTTLS" && rules.tls.is_some() {
            return Some(stream.into_inner());
        }
        if word == "DATA" && !matches!((rules.rule)(&line), Answer::Say(_)) {
            let mut mail = String::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.ok()? == 0 {
                    return None;
                }
                if line == ".\r\n" {
                    break;
                }
                mail.push_str(line.strip_prefix('.').unwrap_or(&line));
            }
            if matches!((rules.rule)("."), Answer::Good) {
                seen.lock().expect("no panic").mails.push(mail);
            }
            if !answer(&mut stream, rules, ".", "250 2.0.0 queued as 4711").await {
                return None;
            }
        }
    }
}

/// Answers; whether the talk goes on.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    rules: &Rules,
    line: &str,
    good: &str,
) -> bool {
    let text = match (rules.rule)(line) {
        Answer::Good => good,
        Answer::Say(text) => text,
        Answer::Hang => std::future::pending().await,
        Answer::Close => return false,
    };
    stream.write_all(format!("{text}\r\n").as_bytes()).await.is_ok() && stream.flush().await.is_ok()
}

/// A certificate for some names, and the authority that signed it.
pub struct Certificates {
    pub authority: String,
    pub certificate: String,
    pub key: String,
    der: Vec<u8>,
    key_der: Vec<u8>,
}

impl Certificates {
    pub fn for_names(names: &[&str]) -> Self {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&authority_key).expect("an authority");
        let issuer = rcgen::Issuer::new(parameters, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate =
            rcgen::CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
        Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions");
        Arc::new(
            builder.with_no_client_auth().with_single_cert(vec![self.der.clone().into()], key).expect("a certificate"),
        )
    }
}

/// A mail as its reader sees it.
#[derive(Debug)]
pub struct Mail {
    /// Names and values of the headers, in order, unfolded; encoded words are decoded.
    pub headers: Vec<(String, String)>,
    /// The text, decoded, with plain newlines.
    pub body: String,
    /// The same as HTML, if the mail has that.
    pub html: Option<String>,
    /// As it came.
    pub raw: String,
}

impl Mail {
    pub fn read(raw: &str) -> Self {
        let (headers, body) = part(raw);
        let sort = headers.iter().find(|(name, _)| name == "Content-Type").map_or("", |(_, value)| value.as_str());
        let (body, html) = match sort.strip_prefix("multipart/alternative;") {
            None => (text(body), None),
            Some(parameters) => {
                let boundary = parameters.trim().strip_prefix("boundary=\"").and_then(|rest| rest.strip_suffix('"'));
                let boundary = format!("--{}", boundary.expect("a boundary"));
                let parts: Vec<&str> = body.split(boundary.as_str()).collect();
                let [_, plain, html, end] = parts[..] else { panic!("two parts in {raw}") };
                assert_eq!(end.trim_end(), "--");
                let of = |raw: &str, sort: &str| {
                    let (headers, body) = part(raw.strip_prefix("\r\n").expect("the end of the line"));
                    let known = [("Content-Type", sort), ("Content-Transfer-Encoding", "quoted-printable")];
                    assert_eq!(headers, known.map(|(name, value)| (name.to_owned(), value.to_owned())));
                    text(body)
                };
                (of(plain, "text/plain; charset=utf-8"), Some(of(html, "text/html; charset=utf-8")))
            }
        };
        Self { headers, body, html, raw: raw.to_owned() }
    }

    pub fn header(&self, name: &str) -> &str {
        let found: Vec<&str> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(found.len(), 1, "one `{name}` in {:?}", self.headers);
        found[0]
    }

    /// The names of the headers, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The headers of a mail or of a part of it, and what follows them.
fn part(raw: &str) -> (Vec<(String, String)>, &str) {
    let (head, body) = raw.split_once("\r\n\r\n").expect("a head and a body");
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            headers.last_mut().expect("a header before").1.push_str(line);
        } else {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is a header"));
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    for (_, value) in &mut headers {
        *value = decode_words(value);
    }
    (headers, body)
}

/// The text of a part.
fn text(body: &str) -> String {
    let text = String::from_utf8(decode_quoted(body)).expect("UTF-8").replace("\r\n", "\n");
    // Ways of transport differ in the empty lines that they leave at the end.
    format!("{}\n", text.trim_end())
}

/// RFC 2045, section 6.7.
fn decode_quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'=', [b'\r', b'\n', behind @ ..]) => rest = behind,
            (b'=', [high, low, behind @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                out.push(u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("={digits} is no byte")));
                rest = behind;
            }
            _ => out.push(*first),
        }
    }
    out
}

/// RFC 2047, as far as writers use it: `=?utf-8?b?..?=`, with nothing between two of them.
fn decode_words(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?utf-8?b?") {
        let (before, word) = rest.split_at(at);
        if !(after_word && before.trim().is_empty()) {
            out.extend(before.bytes());
        }
        let (encoded, behind) = word["=?utf-8?b?".len()..].split_once("?=").expect("the end of the word");
        out.extend(decode_base64(encoded));
        rest = behind;
        after_word = true;
    }
    out.extend(rest.bytes());
    String::from_utf8(out).expect("UTF-8")
}

pub fn decode_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{c} in base64"),
    };
    let bits: Vec<u8> = text.trim_end_matches('=').bytes().map(value).collect();
    let mut out = Vec::new();
    for group in bits.chunks(4) {
        let number = group.iter().fold(0_u32, |sum, six| sum << 6 | u32::from(*six)) << (6 * (4 - group.len()));
        out.extend(&number.to_be_bytes()[1..group.len()]);
    }
    out
}
