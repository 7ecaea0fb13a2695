//! R73, R74: whatever a server does, the result comes in time and says what happened.

use std::time::Duration;

use monchero_core::State;
use tokio::io::AsyncWriteExt as _;

use crate::server::{head, recorder, serve};
use crate::{run, value};

const TIMEOUT: Duration = Duration::from_secs(1);
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A server that begins with `first` and repeats `again`, at once or every few milliseconds.
async fn repeating(first: &'static [u8], again: &'static [u8], pause: Option<Duration>) -> u16 {
    serve(move |mut stream| async move {
        head(&mut stream).await?;
        stream.write_all(first).await?;
        loop {
            stream.write_all(again).await?;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_ends_with_the_deadline() {
    let port = repeating(b"HTTP/1.1 200 OK\r\nX: ", b"a", Some(Duration::from_millis(10))).await;
    let result = run("http", &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("asking http://127.0.0.1:{port}/ timed out after 950ms"));
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_ends_with_the_deadline() {
    let port = repeating(CHUNKED, b"1\r\na\r\n", Some(Duration::from_millis(10))).await;
    let result = run("http", &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(
        &*result.message,
        format!("200 came, but reading the body of http://127.0.0.1:{port}/ timed out after 950ms")
    );
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_its_limit() {
    const CHUNK: &str = concat!("10\r\n", "0123456789abcdef", "\r\n");
    let port = repeating(CHUNKED, CHUNK.as_bytes(), None).await;
    let settings = format!("url: http://127.0.0.1:{port}/\nmax_body: 64KiB");
    let result = run("http", &settings, Duration::from_secs(10)).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.ends_with("more than 64 KiB"), "{}", result.message);
    assert_eq!(value(&result, "size"), Some(65_536.0));
}

#[tokio::test]
async fn a_body_of_ten_gigabytes_is_read_up_to_its_limit() {
    const MEBIBYTE: &[u8] = &[b'x'; 1024 * 1024];
    let port = repeating(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", MEBIBYTE, None).await;
    let settings = format!("url: http://127.0.0.1:{port}/\nexpect: {{ body: needle }}");
    let result = run("http", &settings, Duration::from_secs(10)).await;
    assert_eq!(result.state, State::Unknown, "what was not read may hold it");
    assert_eq!(&*result.message, "the first 1 MiB of the body do not contain `needle`: raise `max_body`");
    assert_eq!(value(&result, "size"), Some(1_048_576.0));
}

#[tokio::test]
async fn a_bomb_of_headers_is_refused() {
    let port = repeating(b"HTTP/1.1 200 OK\r\n", b"X-Bomb: 0123456789abcdef0123456789abcdef\r\n", None).await;
    let result = run("http", &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(
        result.message.ends_with("the answer cannot be read as HTTP/1.1: message head is too large"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn endless_interim_answers_end_with_the_deadline() {
    let port = repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n", None).await;
    let result = run("http", &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad, "{}", result.message);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let (port, seen) = recorder("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let result = run("http", &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    let expected =
        format!("http://127.0.0.1:{port}/ leads to more than 5 redirects, the last to http://127.0.0.1:{port}/again");
    assert_eq!(&*result.message, expected);
    assert_eq!(seen.all().len(), 6);
}

#[tokio::test]
async fn secrets_do_not_follow_a_redirect_to_another_host() {
    let (other, seen_there) = recorder("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned()).await;
    let (port, requests) =
        recorder(format!("HTTP/1.1 302 Found\r\nLocation: http://localhost:{other}/\r\nContent-Length: 0\r\n\r\n"))
            .await;
    let settings = format!(
        "url: http://127.0.0.1:{port}/\nbearer: t0ken\nheaders: {{ X-Key: k3y, Cookie: {{ env: SESSION }}, Host: virtual.example }}\nfamily: ipv4"
    );
    let result = run("http", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(requests.all()[0].contains("Bearer t0ken") && requests.all()[0].contains("host: virtual.example\r\n"));
    let there = seen_there.all().concat();
    assert!(there.contains(&format!("host: localhost:{other}\r\n")), "{there}");
    for secret in ["t0ken", "k3y", "SESSION", "virtual"] {
        assert!(!there.contains(secret), "`{secret}` was sent to another host: {there}");
    }
}

#[tokio::test]
async fn what_is_posted_does_not_go_to_another_host() {
    let (other, seen_there) = recorder("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let (port, _) = recorder(format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    let result = run("http", &format!("url: http://127.0.0.1:{port}/\nmethod: POST\nbody: secret"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(
        result.message.contains("redirects a POST") && result.message.ends_with("it is another host"),
        "{}",
        result.message
    );
    assert!(seen_there.all().is_empty());
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let port = serve(|stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let result = run("http", &format!("https://127.0.0.1:{port}/"), TIMEOUT).await;
    // On a system without trusted certificates it does not come so far.
    let expected = format!("the TLS handshake with 127.0.0.1:{port} timed out after 950ms");
    assert!(
        *result.message == expected || result.message.contains("trusts no certificate authority"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn a_flood_is_looked_at_up_to_its_limit() {
    let port = serve(|mut stream| async move {
        loop {
            stream.write_all(&[b'x'; 4096]).await?;
        }
    })
    .await;
    let result = run("tcp", &format!("address: 127.0.0.1:{port}\nexpect: needle"), Duration::from_secs(10)).await;
    assert_eq!(&*result.message, format!("127.0.0.1:{port} does not say `needle` in its first 64 KiB"));
    assert_eq!(result.state, State::Bad);
}

/// R74: the regular expression that kills engines that go back and forth.
#[tokio::test]
async fn a_regular_expression_takes_linear_time() {
    let body = "a".repeat(64 * 1024);
    let (port, _) = recorder(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}b", body.len() + 1)).await;
    let settings = format!("url: http://127.0.0.1:{port}/\nexpect: {{ body: {{ regex: \"(a+)+$\" }} }}");
    let result = run("http", &settings, Duration::from_secs(10)).await;
    assert_eq!(&*result.message, "the body does not contain a match of `(a+)+$`");
}
