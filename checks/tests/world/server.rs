//! Servers on free ports of loopback that do what a test says.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Serves every connection with `handle`, as long as the test's runtime lives.
pub(crate) async fn serve<F, R>(handle: F) -> u16
where
    F: Fn(TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away is what many tests are about.
            tokio::spawn(handle(stream));
        }
    });
    port
}

/// Reads the head of a request.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

/// Answers a request with these bytes and closes.
pub(crate) async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> std::io::Result<()> {
    head(&mut stream).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// What requests a server saw.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn add(&self, request: String) {
        self.0.lock().unwrap().push(request);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Answers every request alike and remembers it.
pub(crate) async fn recorder(text: String) -> (u16, Seen) {
    let seen = Seen::default();
    let record = seen.clone();
    let port = serve(move |mut stream| {
        let (record, text) = (record.clone(), text.clone());
        async move {
            record.add(head(&mut stream).await?);
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
    })
    .await;
    (port, seen)
}
