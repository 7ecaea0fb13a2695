//! `mysql` against a real MariaDB server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use monchero_core::State;

use crate::daemon::{Daemon, free_port, give, server_user};
use crate::{TIMEOUT, run, value};

const INSTALL: &str = "/usr/bin/mariadb-install-db";

/// A server in a new folder with the users `owner` (everything), `watcher` (nothing but to connect) and `other`, who logs in in a way
/// that is not known here.
#[expect(clippy::disallowed_methods, reason = "the test prepares its own server")]
async fn mariadb(more: &[&str]) -> (Daemon, u16) {
    let folder = tempfile::tempdir().unwrap();
    let user = server_user();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let users = "create user owner identified by 's3cret';\n\
        grant all on *.* to owner;\n\
        create user watcher identified by 'w4tch';\ncreate user other identified via ed25519 using password('x');\n";
    std::fs::write(path("init.sql"), users).unwrap();
    give(folder.path(), user);
    assert!(Path::new(INSTALL).exists(), "the tests need {INSTALL}: `cargo xtask test` installs it");
    let mut command = Command::new(INSTALL);
    if let Some((user, group)) = user {
        use std::os::unix::process::CommandExt as _;
        command.uid(user).gid(group);
    }
    let data = format!("--datadir={}", path("data"));
    command.args(["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let port = free_port();
    let arguments = [
        "--no-defaults".to_owned(),
        data,
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

fn login(port: u16) -> String {
    format!("host: 127.0.0.1\nport: {port}\nuser: owner\npassword: s3cret\n")
}

#[tokio::test]
async fn a_mariadb_server_is_measured_and_asked() {
    let (daemon, port) = mariadb(&[]).await;
    let login = login(port);
    let result = run("mysql", &login, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with("10.") && result.message.contains(" of 40 connections"), "{}", result.message);
    assert!(value(&result, "connections").is_some_and(|count| count >= 1.0));
    assert!(value(&result, "queries").is_some_and(|rate| rate > 0.0));
    assert_eq!((value(&result, "slow"), value(&result, "lag")), (Some(0.0), None));
    let watcher = format!("host: {}\nuser: watcher\npassword: w4tch", daemon.folder.path().join("socket").display());
    let result = run("mysql", &watcher, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.output.starts_with("replication is not measured: Access denied"), "{}", result.output);

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
    assert!(result.message.contains("wants this user to log in in a way that monchero cannot"), "{}", result.message);
}

#[tokio::test]
async fn a_replica_that_cannot_reach_its_source_is_bad() {
    let (mut daemon, port) = mariadb(&["--server-id=2", "--slave-net-timeout=5"]).await;
    let login = login(port);
    let sql = "change master to master_host='127.0.0.1', master_port=1, master_user='x', master_connect_retry=1";
    // The session of a check only reads, so the server itself is told.
    std::fs::write(daemon.folder.path().join("init.sql"), format!("{sql};\nstart slave;\n")).unwrap();
    daemon.restart();
    daemon.until(|| async { run("mysql", &login, TIMEOUT).await.message.starts_with("replication is stopped") }).await;
}
