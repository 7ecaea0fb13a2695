//! `mysql` against a real MariaDB server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use monchero_core::State;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::daemon::{Daemon, free_port, give, server_user};
use crate::{TIMEOUT, run, tls, value};

const INSTALL: &str = "/usr/bin/mariadb-install-db";

/// A server in a folder with the users `owner` (everything), `watcher` (nothing but to connect), `careful` (only within TLS), `other`,
/// who logs in in a way that is not known here, and the one who runs the tests (over the Unix socket).
#[expect(clippy::disallowed_methods, reason = "the test prepares its own server")]
async fn mariadb(folder: TempDir, more: &[&str]) -> (Daemon, u16) {
    let user = server_user();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let users = "create user owner identified by 's3cret';\n\
        grant all on *.* to owner;\n\
        create user watcher identified by 'w4tch';\ncreate user other identified via ed25519 using password('x');\n\
        create user careful identified by 'c4re' require ssl;\n";
    let users = format!("{users}create or replace user `{}`@localhost identified via unix_socket;\n", own_name());
    std::fs::write(path("init.sql"), users).unwrap();
    // In a place that several servers share, each that starts removes the temporary tables of the others.
    let place = path("tmp");
    std::fs::create_dir(&place).unwrap();
    let place = format!("--tmpdir={place}");
    give(folder.path(), user);
    assert!(Path::new(INSTALL).exists(), "the tests need {INSTALL}: `cargo xtask test` installs it");
    let mut command = Command::new(INSTALL);
    if let Some((user, group)) = user {
        use std::os::unix::process::CommandExt as _;
        command.uid(user).gid(group);
    }
    let data = format!("--datadir={}", path("data"));
    command.args(["--no-defaults", &data, &place, "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let port = free_port();
    let arguments = [
        "--no-defaults".to_owned(),
        data,
        place,
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--socket={}", path("socket")),
        format!("--pid-file={}", path("pid")),
        format!("--init-file={}", path("init.sql")),
        "--max-connections=40".to_owned(),
        "--plugin-load-add=auth_ed25519".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let mut daemon = Daemon::start_as(user, "/usr/sbin/mariadbd", &arguments, folder);
    let settings = login(port);
    daemon.until(|| async { run("mysql", &settings, TIMEOUT).await.state == State::Okay }).await;
    (daemon, port)
}

/// The name of the user who runs the tests.
fn own_name() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let own = users.lines().find(|line| line.split(':').nth(2) == Some(&id)).expect("this user has a name");
    own.split(':').next().unwrap_or_default().to_owned()
}

fn login(port: u16) -> String {
    format!("address: 127.0.0.1:{port}\nuser: owner\npassword: s3cret\n")
}

#[tokio::test]
async fn a_mariadb_server_is_measured_and_asked() {
    let (daemon, port) = mariadb(tempfile::tempdir().unwrap(), &[]).await;
    let login = login(port);
    let result = run("mysql", &login, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with("10.") && result.message.contains(" of 40 connections"), "{}", result.message);
    assert!(value(&result, "connections").is_some_and(|count| count >= 1.0));
    assert!(value(&result, "queries").is_some_and(|rate| rate > 0.0));
    assert_eq!((value(&result, "slow"), value(&result, "lag")), (Some(0.0), None));
    let watcher = format!("address: {}\nuser: watcher\npassword: w4tch", daemon.folder.path().join("socket").display());
    let result = run("mysql", &watcher, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.output.starts_with("replication is not measured: Access denied"), "{}", result.output);
    let own = format!("address: {}\nuser: {}\n", daemon.folder.path().join("socket").display(), own_name());
    let result = run("mysql", &format!("{own}query: select 1"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "who is at the other end of the socket says the system: {}", result.message);
    let result = run("mysql", &format!("{login}tls: true"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("does not offer TLS"), "{}", result.message);

    for (query, state, said) in [
        ("'select 7'\nwarning: \"> 5\"", State::Warning, "7 is 7, above 5 (7 7 in "),
        ("'select 7.5 as jobs, null'\nbad: \"> 5s\"\nunit: s", State::Bad, "jobs is 7.5 s, above 5 s"),
        (
            "\"select 'a', 1 as age union select 'b', 9\"\nonly: b\nbad: \"> 5\"",
            State::Bad,
            "b age is 9, above 5 (age 9)",
        ),
        ("'select seq from seq_1_to_300'\ndatabase: mysql", State::Warning, "the answer has more than 200 rows"),
        ("'select 1 from dual where false'", State::Unknown, "the query answers no row"),
        ("'create table mysql.t (a int)'", State::Unknown, "Cannot execute statement in a READ ONLY transaction"),
        ("'select nothing'", State::Unknown, "Unknown column 'nothing'"),
    ] {
        let result = run("mysql", &format!("{login}query: {query}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{query}: {}", result.message);
        assert!(result.message.contains(said), "{query}: {}", result.message);
    }
    let query = "database: mysql\nquery: select sum(sqrt(seq)) from seq_1_to_100000000000";
    let slow = run("mysql", &format!("{login}{query}"), Duration::from_secs(1)).await;
    assert_eq!(slow.state, State::Bad, "{}", slow.message);
    let texts = ["Query execution was interrupted", "timed out after 950ms"];
    assert!(texts.iter().any(|text| slow.message.contains(text)), "{}", slow.message);
    let result = run("mysql", &login.replace("s3cret", "wr0ng"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("does not let us in: Access denied for user 'owner'"), "{}", result.message);
    let result = run("mysql", &login.replace("owner", "other").replace("s3cret", "x"), TIMEOUT).await;
    assert_eq!(result.state, State::Unknown);
    assert!(
        result.message.contains("wants this user to log in by `client_ed25519`, which monchero cannot"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn mysql_speaks_tls() {
    let files = tls::certificate();
    let [certificate, key] = ["ca.pem", "key.pem"].map(|name| files.path().join(name).display().to_string());
    let options = [format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    let (_daemon, port) = mariadb(files, &[&options[0], &options[1]]).await;
    let settings = format!("address: localhost:{port}\nuser: careful\npassword: c4re\n");
    let trusted = format!("{settings}tls: {{ ca: {certificate} }}\n");
    let query = "query: show session status like 'ssl_version'\nwarning: { Value: \"!TLS*\" }";
    let result = run("mysql", &format!("{trusted}{query}"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let result = run("mysql", &trusted, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(value(&result, "certificate").is_some_and(|left| left > 86_400.0));
    let result = run("mysql", &format!("{settings}tls: true"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("is self-signed and not trusted"), "{}", result.message);
    let result = run("mysql", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("does not let us in: Access denied for user 'careful'"), "{}", result.message);
}

#[tokio::test]
async fn a_replica_that_cannot_reach_its_source_is_bad() {
    let (mut daemon, port) = mariadb(tempfile::tempdir().unwrap(), &["--server-id=2", "--slave-net-timeout=5"]).await;
    let login = login(port);
    let sql = "change master to master_host='127.0.0.1', master_port=1, master_user='x', master_connect_retry=1";
    // The session of a check only reads, so the server itself is told.
    std::fs::write(daemon.folder.path().join("init.sql"), format!("{sql};\nstart slave;\n")).unwrap();
    daemon.restart();
    daemon.until(|| async { run("mysql", &login, TIMEOUT).await.message.starts_with("replication is stopped") }).await;
}

/// A server that lets nobody in: it greets, and sends these packets in turn to whatever it hears. What it heard last.
async fn refusing(listener: UnixListener, says: &'static [&'static [u8]]) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = vec![0; 4096];
    let mut length = 0;
    for packet in says {
        stream.write_all(packet).await.unwrap();
        length = stream.read(&mut heard).await.unwrap();
    }
    stream.write_all(b"\x0b\0\0\x04\xff\x15\x04#28000no").await.unwrap();
    heard.truncate(length);
    heard
}

/// A server that wants `caching_sha2_password`.
const GREETING: &[u8] = b"\x47\0\0\0\x0a8.0\0\x07\0\0\0saltsalt\0\xff\xff\x2d\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0\
    moresaltmore\0caching_sha2_password\0";

#[tokio::test]
async fn a_password_is_shown_where_nobody_else_can_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let server = tokio::spawn(refusing(UnixListener::bind(&socket).unwrap(), &[GREETING, b"\x02\0\0\x02\x01\x04"]));
    let settings = format!("address: {}\nuser: a\npassword: s3cret", socket.display());
    let result = run("mysql", &settings, TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert_eq!(&*result.message, format!("{} does not let us in: no", socket.display()));
    assert_eq!(server.await.unwrap(), b"\x07\0\0\x03s3cret\0");
}
