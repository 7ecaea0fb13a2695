//! `redis` and `memcached` against the real servers.

use monchero_core::State;

use crate::daemon::{Daemon, free_port};
use crate::{TIMEOUT, run, tls, value};

async fn redis(arguments: &[&str]) -> (Daemon, u16) {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let number = port.to_string();
    let path = folder.path().to_str().unwrap().to_owned();
    let fixed = ["--port", &number, "--bind", "127.0.0.1", "--dir", &path, "--unixsocket", "redis.sock"];
    let daemon = Daemon::start("/usr/bin/redis-server", &[&fixed[..], arguments].concat(), folder);
    (daemon.listens_on(port).await, port)
}

#[tokio::test]
async fn a_redis_server_is_measured() {
    let (daemon, port) = redis(&["--maxmemory", "100mb", "--maxclients", "50"]).await;
    let result = run("redis", &format!("address: 127.0.0.1:{port}"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with("master 7."), "{}", result.message);
    assert_eq!(value(&result, "clients"), Some(1.0));
    assert_eq!(value(&result, "clients_used"), Some(2.0));
    assert_eq!(value(&result, "keys"), Some(0.0));
    assert_eq!(value(&result, "rejected"), Some(0.0));
    assert!(value(&result, "memory_used").is_some_and(|used| used > 0.1 && used < 10.0));
    let socket = daemon.folder.path().join("redis.sock");
    let settings = format!("address: {}\ncommand: \"RPUSH jobs a b c\"\nbad: {{ value: \"> 2\" }}", socket.display());
    let result = run("redis", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.starts_with("value is 3, above 2 (master 7."), "{}", result.message);
    for (command, reply) in [
        ("ECHO 'good morning'", "good morning"),
        ("GET nothing", "nothing"),
        ("LRANGE jobs 0 -1", "a list of 3"),
        ("TIME", "a list of 2"),
        ("ECHO ''", ""),
    ] {
        let settings = format!("address: 127.0.0.1:{port}\ncommand: \"{command}\"\nwarning: {{ reply: '!{reply}' }}");
        let settings = if reply.is_empty() { settings.replace("'!'", "'!?*'").replace("!?*", "?*") } else { settings };
        let result = run("redis", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Okay, "{command}: {}", result.message);
    }
    for (more, said) in [
        ("command: NONSENSE", "answers `NONSENSE` with an error: ERR unknown command"),
        ("command: GET jobs", "answers `GET jobs` with an error: WRONGTYPE"),
        ("command: GET jobs\ndatabase: 99", "refuses database 99: ERR DB index is out of range"),
        ("password: none needed", "does not let us in: ERR AUTH"),
    ] {
        let result = run("redis", &format!("address: 127.0.0.1:{port}\n{more}"), TIMEOUT).await;
        assert_eq!(result.state, State::Bad);
        assert!(result.message.starts_with(&format!("127.0.0.1:{port} {said}")), "{}", result.message);
    }
}

#[tokio::test]
async fn users_and_passwords_of_redis() {
    let (_daemon, port) =
        redis(&["--requirepass", "s3cret", "--user", "watcher", "on", ">w4tch", "+ping", "+info"]).await;
    for (login, state, said) in [
        ("password: s3cret", State::Okay, "master "),
        ("user: watcher\npassword: w4tch", State::Okay, "master "),
        ("", State::Bad, "does not let us in without a password: set `password`"),
        ("password: wr0ng", State::Bad, "does not let us in: WRONGPASS"),
        ("user: watcher\npassword: w4tch\ncommand: GET a", State::Bad, "answers `GET a` with an error: NOPERM"),
    ] {
        let result = run("redis", &format!("address: 127.0.0.1:{port}\n{login}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{}", result.message);
        assert!(result.message.contains(said), "{}", result.message);
        assert!(!result.message.contains("s3cret") && !result.message.contains("w4tch"), "{}", result.message);
    }
}

#[tokio::test]
async fn a_replica_whose_master_is_gone_is_bad() {
    let (master, master_port) = redis(&["--repl-ping-replica-period", "1"]).await;
    let (mut replica, port) = redis(&["--replicaof", "127.0.0.1", &master_port.to_string()]).await;
    let settings = format!("address: 127.0.0.1:{port}");
    replica.until(|| async { run("redis", &settings, TIMEOUT).await.state == State::Okay }).await;
    let result = run("redis", &format!("address: 127.0.0.1:{master_port}"), TIMEOUT).await;
    assert_eq!((result.state, value(&result, "replicas")), (State::Okay, Some(1.0)), "{}", result.message);
    drop(master);
    replica.until(|| async { run("redis", &settings, TIMEOUT).await.state == State::Bad }).await;
    let result = run("redis", &settings, TIMEOUT).await;
    assert!(result.message.starts_with("link is down (slave 7."), "{}", result.message);
}

#[tokio::test]
async fn redis_speaks_tls() {
    let certificate = tls::certificate();
    let port = free_port();
    let [ca, key] = ["ca.pem", "key.pem"].map(|name| certificate.path().join(name).display().to_string());
    let port_option = port.to_string();
    let arguments = [
        "--port",
        "0",
        "--bind",
        "127.0.0.1",
        "--tls-port",
        &port_option,
        "--tls-cert-file",
        &ca,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let daemon = Daemon::start("/usr/bin/redis-server", &arguments, tempfile::tempdir().unwrap());
    let _daemon = daemon.listens_on(port).await;
    let settings = format!("address: localhost:{port}\ntls: {{ ca: \"{ca}\" }}");
    let result = run("redis", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(value(&result, "certificate").is_some_and(|left| left > 86_400.0));
    let result = run("redis", &format!("address: localhost:{port}\ntls: true"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("is self-signed and not trusted"), "{}", result.message);
}

async fn memcached(arguments: &[&str]) -> (Daemon, u16) {
    let port = free_port();
    let number = port.to_string();
    let fixed = ["-u", "root", "-l", "127.0.0.1", "-p", &number, "-m", "10"];
    let daemon = Daemon::start("/usr/bin/memcached", &[&fixed[..], arguments].concat(), tempfile::tempdir().unwrap());
    (daemon.listens_on(port).await, port)
}

#[tokio::test]
async fn a_memcached_server_is_measured() {
    let (_daemon, port) = memcached(&["-c", "100"]).await;
    let result = run("memcached", &format!("address: 127.0.0.1:{port}"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with("memcached 1."), "{}", result.message);
    assert!(value(&result, "connections").is_some_and(|count| count >= 1.0));
    assert_eq!((value(&result, "items"), value(&result, "evicted")), (Some(0.0), Some(0.0)));
    assert_eq!(value(&result, "memory_used"), Some(0.0));
    let result = run("memcached", &format!("address: 127.0.0.1:{port}\nbad: {{ version: \"1.*\" }}"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    let result = run("memcached", &format!("address: 127.0.0.1:{port}\nuser: a\npassword: b"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "a server that wants no password stores what it is sent: {}", result.message);
}

#[tokio::test]
async fn users_and_passwords_of_memcached() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, "watcher:w4tch\n").unwrap();
    let (_daemon, port) = memcached(&["-Y", users.to_str().unwrap()]).await;
    for (login, state, said) in [
        ("user: watcher\npassword: w4tch", State::Okay, "memcached 1."),
        ("user: watcher\npassword: wr0ng", State::Bad, "does not let us in: CLIENT_ERROR"),
        ("", State::Bad, "does not give its statistics: CLIENT_ERROR unauthenticated"),
    ] {
        let result = run("memcached", &format!("address: 127.0.0.1:{port}\n{login}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{}", result.message);
        assert!(result.message.contains(said) && !result.message.contains("w4tch"), "{}", result.message);
    }
}
