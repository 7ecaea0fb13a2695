//! `http` through a proxy that opens tunnels, to nginx.

use std::sync::{Arc, Mutex};

use monchero_core::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::nginx::Nginx;
use crate::run;

/// A proxy that leads everywhere and remembers what it was asked.
async fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let is_tunnel = head.starts_with("CONNECT ");
            record.lock().unwrap().push(head.clone());
            let place = target.trim_start_matches("http://").split('/').next().unwrap();
            let mut server = TcpStream::connect(place.replace("localhost", "127.0.0.1")).await.unwrap();
            if is_tunnel {
                client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
            } else {
                server.write_all(head.as_bytes()).await.unwrap();
            }
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (port, seen)
}

#[tokio::test]
async fn what_is_secret_stays_on_its_own_side() {
    let nginx = Nginx::start();
    let (port, seen) = proxy().await;
    let trust = nginx.trust();
    let through = |url: &str| {
        format!(
            "url: \"{url}\"\nbearer: t0ken\nproxy: {{ url: \"http://127.0.0.1:{port}\", user: me, password: hunter2 }}\ntls: {{ {trust} }}"
        )
    };
    let result = run("http", &through(&format!("https://localhost:{}/echo", nginx.good))).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let head = format!(
        "CONNECT localhost:{0} HTTP/1.1\r\nHost: localhost:{0}\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n\r\n",
        nginx.good
    );
    assert_eq!(*seen.lock().unwrap(), [head]);

    // The certificate is judged within the tunnel.
    let result = run("http", &through(&format!("https://localhost:{}/echo", nginx.expired))).await;
    assert!(result.message.contains("expired on 2001-01-01"), "{}", result.message);

    let result = run("http", &through(&format!("http://localhost:{}/moved", nginx.plain))).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let seen = seen.lock().unwrap();
    assert!(seen[2].starts_with(&format!("GET http://localhost:{}/moved HTTP/1.1\r\n", nginx.plain)), "{}", seen[2]);
    assert!(seen[3].starts_with(&format!("GET http://localhost:{}/ HTTP/1.1\r\n", nginx.plain)), "{}", seen[3]);
}
