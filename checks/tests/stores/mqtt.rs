//! `mqtt` against a real mosquitto.

use std::time::Duration;

use monchero_core::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, free_port};
use crate::{TIMEOUT, run, tls, value};

async fn mosquitto(more: &str, folder: tempfile::TempDir) -> (Daemon, u16) {
    let port = free_port();
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, format!("user root\nlistener {port} 127.0.0.1\n{more}\n")).unwrap();
    let daemon = Daemon::start("/usr/sbin/mosquitto", &["-c", path.to_str().unwrap()], folder);
    (daemon.listens_on(port).await, port)
}

/// The password `w4tch`, as `mosquitto_passwd` writes it.
const PASSWORD_FILE: &str = "watcher:$7$101$XslPoJzn5jhTwcDa$DKUIPFzkfFa/wi6E9dwOLizYnJ1RuZXsOL/S4/KkEwSXyka87sTSwAX2ftSXhSo4xL4MQzFi9UxxII+FcivoBA==\n";

/// Publishes a message that the broker keeps, on topic `t`.
async fn publish(port: u16, payload: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut bytes = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01p".to_vec();
    bytes.extend([0x31, u8::try_from(payload.len() + 3).unwrap(), 0, 1, b't']);
    bytes.extend(payload.bytes());
    bytes.extend([0xc0, 0]);
    stream.write_all(&bytes).await.unwrap();
    // The answer to the ping comes when the broker has the message.
    stream.read_exact(&mut [0; 6]).await.unwrap();
}

#[tokio::test]
async fn a_broker_answers_and_keeps_messages() {
    let (_daemon, port) = mosquitto("allow_anonymous true", tempfile::tempdir().unwrap()).await;
    let broker = format!("address: 127.0.0.1:{port}\n");
    let result = run("mqtt", &broker, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with(&format!("127.0.0.1:{port} answers in ")), "{}", result.message);
    publish(port, "21.5").await;
    let result = run("mqtt", &format!("{broker}topic: t\nwarning: {{ value: \"> 20\" }}"), TIMEOUT).await;
    assert_eq!(result.state, State::Warning);
    assert!(result.message.starts_with("value is 21.5, above 20 (t is 21.5, kept, in "), "{}", result.message);
    assert_eq!((value(&result, "value"), value(&result, "size")), (Some(21.5), Some(4.0)));
    publish(port, "offline").await;
    let result = run("mqtt", &format!("{broker}topic: \"#\"\nbad: {{ payload: off* }}"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.starts_with("payload is offline (t is offline, kept, in "), "{}", result.message);
    let result = run("mqtt", &format!("{broker}topic: t\nwarning: {{ value: \"> 20\" }}"), TIMEOUT).await;
    assert_eq!((result.state, &*result.message), (State::Unknown, "the message on t is no number: `offline`"));
    let result = run("mqtt", &format!("{broker}topic: nothing/here"), Duration::from_secs(1)).await;
    assert_eq!(result.state, State::Bad);
    let said = format!("waiting for a message on `nothing/here` of 127.0.0.1:{port} timed out after 950ms");
    assert_eq!(&*result.message, said);
}

#[tokio::test]
async fn users_and_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, PASSWORD_FILE).unwrap();
    let options = format!("allow_anonymous false\npassword_file {}", users.display());
    let (_daemon, port) = mosquitto(&options, folder).await;
    for (login, state, said) in [
        ("user: watcher\npassword: w4tch", State::Okay, " answers in "),
        ("user: watcher\npassword: wr0ng", State::Bad, "does not let us in: not authorised"),
        ("", State::Bad, "does not let us in: not authorised"),
    ] {
        let result = run("mqtt", &format!("address: 127.0.0.1:{port}\n{login}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{}", result.message);
        assert!(result.message.contains(said) && !result.message.contains("w4tch"), "{}", result.message);
    }
}

#[tokio::test]
async fn mqtt_speaks_tls() {
    let files = tls::certificate();
    let [ca, key] = ["ca.pem", "key.pem"].map(|name| files.path().join(name).display().to_string());
    let (_daemon, port) = mosquitto(&format!("allow_anonymous true\ncertfile {ca}\nkeyfile {key}"), files).await;
    let result = run("mqtt", &format!("address: localhost:{port}\ntls: {{ ca: {ca} }}"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(value(&result, "certificate").is_some_and(|left| left > 86_400.0));
}
