//! `udp` against peers that answer, answer otherwise, keep silent and do not stop.

use std::time::Duration;

use monchero_core::State;
use tokio::net::UdpSocket;

use crate::{run, value};

const TIMEOUT: Duration = Duration::from_millis(500);

/// Answers each datagram with these, one after the other.
async fn peer(answers: &'static [&'static [u8]]) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            assert_eq!(&buffer[..read], b"ping\0");
            for answer in answers {
                let _ = socket.send_to(answer, from).await;
            }
        }
    });
    port
}

async fn ask(port: u16, more: &str) -> monchero_core::report::ServiceResult {
    run("udp", &format!("address: 127.0.0.1:{port}\nsend: {{ hex: \"70696e6700\" }}\n{more}"), TIMEOUT).await
}

#[tokio::test]
async fn an_answer_is_okay_and_timed() {
    let port = peer(&[b"late answer to another", b"pong\xff"]).await;
    for expect in ["", "expect: pong", "expect: { hex: \"67 ff\" }", "expect: { regex: \"^po\" }"] {
        let result = ask(port, expect).await;
        assert_eq!(result.state, State::Okay, "{expect}: {}", result.message);
        assert!(value(&result, "time").is_some_and(|time| time > 0.0));
    }
    let result = ask(port, "bad: \"> 0ms\"").await;
    assert_eq!(result.state, State::Bad, "{}", result.message);
}

#[tokio::test]
async fn another_answer_is_bad_and_shown() {
    let port = peer(&[b"no\x1b[2J"]).await;
    let result = ask(port, "expect: pong").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("127.0.0.1:{port} answers `no\\e[2J` within 475ms: expected `pong`"));
}

#[tokio::test]
async fn silence_is_bad_and_ends_in_time() {
    let port = peer(&[]).await;
    let result = ask(port, "").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("127.0.0.1:{port} does not answer within 475ms"));
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let result = ask(port, "").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("nobody listens at 127.0.0.1:{port} (ICMP port unreachable)"));
}

#[tokio::test]
async fn a_flood_is_looked_at_up_to_its_limit() {
    const FLOOD: &[&[u8]] = &[b"x".as_slice(); 150];
    let port = peer(FLOOD).await;
    let result = ask(port, "expect: pong").await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("127.0.0.1:{port} sends 100 datagrams, the last `x`: expected `pong`"));
}
