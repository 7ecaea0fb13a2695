//! A TCP service that follows a script.
//!
//! ```text
//! # a comment
//! > GET / HTTP/1.0\r\n      what the client must send, byte for byte
//! < HTTP/1.0 200 OK\r\n     what it is sent
//! wait                      until the client closes
//! ---                       closes; the client must connect anew
//! ```
//! `\r`, `\n`, `\t`, `\\` and `\xNN` stand for bytes, `{port}` for the port of the service, `{version}` for that of monchero.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long the service waits for a client that does nothing.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Service {
    pub(crate) port: u16,
    task: Option<JoinHandle<Result<(), String>>>,
}

impl Service {
    /// Listens on a free port of loopback.
    pub(crate) async fn start(script: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = script.replace("{port}", &port.to_string()).replace("{version}", env!("CARGO_PKG_VERSION"));
        Self { port, task: Some(tokio::spawn(serve(listener, script))) }
    }

    /// Whether the client did its part.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        let task = self.task.take().expect("it ends once");
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(result) => result.map_err(|error| error.to_string())?,
            Err(_) => Err("the client does not go on".to_owned()),
        }
    }
}

async fn serve(listener: TcpListener, script: String) -> Result<(), String> {
    for connection in script.split("---\n") {
        let (mut stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        for line in connection.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            step(&mut stream, line).await?;
        }
    }
    Ok(())
}

async fn step(stream: &mut TcpStream, line: &str) -> Result<(), String> {
    let (sign, text) = line.split_once(' ').unwrap_or((line, ""));
    let bytes = unescape(text);
    match sign {
        "<" => stream.write_all(&bytes).await.map_err(|error| format!("sending `{text}`: {error}")),
        ">" => {
            let mut got = vec![0; bytes.len()];
            let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut got)).await;
            read.map_err(|_| format!("`{text}` does not come"))?
                .map_err(|error| format!("waiting for `{text}`: {error}"))?;
            if got == bytes { Ok(()) } else { Err(format!("expected `{text}`, got `{}`", got.escape_ascii())) }
        }
        "wait" => {
            let mut rest = Vec::new();
            // How the client goes does not matter.
            let _ = stream.read_to_end(&mut rest).await;
            if rest.is_empty() { Ok(()) } else { Err(format!("unexpected: `{}`", rest.escape_ascii())) }
        }
        other => panic!("`{other}` is no step of a dialogue"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("unknown escape {other:?} in `{text}`"),
        });
    }
    bytes
}
