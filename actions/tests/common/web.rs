//! A web service that plays what a test tells it and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the service does with one connection.
#[derive(Clone, Debug)]
pub enum Play {
    /// Answers: status, further headers (each with `\r\n`), body.
    Answer(u16, &'static str, String),
    /// Breaks off without an answer.
    Reset,
    /// Reads the request and never answers.
    Hang,
    /// Answers with something that is not HTTP.
    Garbage,
    /// Sends a head and an endless body.
    Endless,
}

impl Play {
    /// An answer without further headers.
    pub fn answer(status: u16, body: &str) -> Self {
        Self::Answer(status, "", body.to_owned())
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST /path?query`.
    pub line: String,
    /// Names in small letters, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A running service.
pub struct Service {
    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// Plays in turn, one for each connection; the last one again and again.
    pub async fn start(plays: Vec<Play>) -> Self {
        Self::listen(plays, None).await
    }

    /// The same behind TLS.
    pub async fn start_tls(plays: Vec<Play>, tls: TlsAcceptor) -> Self {
        Self::listen(plays, Some(tls)).await
    }

    async fn listen(plays: Vec<Play>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut plays: VecDeque<Play> = plays.into();
            while let Ok((stream, _)) = listener.accept().await {
                let play = if plays.len() > 1 { plays.pop_front() } else { plays.front().cloned() };
                let play = play.expect("something to play");
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                tokio::spawn(serve(stream, tls, play, kept));
            }
        });
        Self { url, asked, task }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, play: Play, kept: Arc<Mutex<Vec<Asked>>>) {
    match tls {
        // A client that does not trust the certificate goes away.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                talk(stream, play, kept).await;
            }
        }
        None => talk(stream, play, kept).await,
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, play: Play, kept: Arc<Mutex<Vec<Asked>>>) {
    let Some(asked) = read(&mut stream).await else { return };
    kept.lock().expect("no panic").push(asked);
    // A client may go away before it has read everything.
    let _ = match play {
        Play::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await
        }
        Play::Reset => Ok(()),
        Play::Hang => std::future::pending().await,
        Play::Garbage => stream.write_all(b"\x00\x01 this is not HTTP\r\n\r\n").await,
        Play::Endless => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n").await;
            while sent.is_ok() {
                sent = stream.write_all(&[b'x'; 4096]).await;
            }
            sent
        }
    };
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, text)| text.parse().ok());
    let mut body = bytes.split_off(end + 4);
    let mut rest = vec![0; length.unwrap_or(0_usize).saturating_sub(body.len())];
    stream.read_exact(&mut rest).await.ok()?;
    body.extend(rest);
    Some(Asked { line, headers, body })
}
