//! `postgres` against a real server.

use std::path::Path;
use std::process::Command;

use monchero_core::State;
use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, give, server_user};
use crate::{TIMEOUT, run, tls, value};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A server in a new folder, with a superuser `owner` whose password is `s3cret`. Without TLS unless `files` has a certificate.
#[expect(clippy::disallowed_methods, reason = "the test prepares its own server")]
async fn postgres(files: TempDir, more: &[&str]) -> (Daemon, u16) {
    let user = server_user();
    let data = files.path().join("data");
    let password = files.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    give(files.path(), user);
    let initdb = format!("{PROGRAMS}/initdb");
    assert!(Path::new(&initdb).exists(), "the tests need {initdb}: `cargo xtask test` installs it");
    let mut command = Command::new(initdb);
    if let Some((user, group)) = user {
        use std::os::unix::process::CommandExt as _;
        command.uid(user).gid(group);
    }
    command.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password).current_dir(files.path());
    let output =
        command.args(["--username=owner", "--auth=scram-sha-256", "--no-sync", "--locale=C"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let port = free_port();
    let number = port.to_string();
    let (data, folder) = (data.to_str().unwrap().to_owned(), files.path().to_str().unwrap().to_owned());
    let fixed = ["-D", &data, "-p", &number, "-h", "127.0.0.1,::1", "-k", &folder, "-F", "-c", "max_connections=20"];
    let program = format!("{PROGRAMS}/postgres");
    let mut daemon = Daemon::start_as(user, &program, &[&fixed[..], more].concat(), files);
    let settings = login(port);
    daemon.until(|| async { run("postgres", &settings, TIMEOUT).await.state == State::Okay }).await;
    (daemon, port)
}

fn login(port: u16) -> String {
    format!("address: 127.0.0.1:{port}\nuser: owner\npassword: s3cret\n")
}

#[tokio::test]
async fn a_postgres_server_is_measured_and_asked() {
    let (daemon, port) = postgres(tempfile::tempdir().unwrap(), &[]).await;
    let login = login(port);
    let result = run("postgres", &login, TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.message.starts_with("primary 15."), "{}", result.message);
    assert!(result.message.contains("1 of 20 connections, postgres is "), "{}", result.message);
    assert_eq!(value(&result, "connections_used"), Some(5.0));
    assert_eq!((value(&result, "waiting"), value(&result, "replicas")), (Some(0.0), Some(0.0)));
    assert!(value(&result, "size").is_some_and(|size| size > 1e6));
    assert!(value(&result, "wraparound").is_some_and(|share| share < 1.0));

    let socket = daemon.folder.path().display();
    let result =
        run("postgres", &format!("address: {socket}/.s.PGSQL.{port}\nuser: owner\npassword: s3cret"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);

    for (query, state, said) in [
        ("query: select 7\nwarning: \"> 5\"", State::Warning, "value is 7, above 5 (value 7 in "),
        ("query: select 7 as jobs\nbad: \"> 5m\"\nunit: s", State::Okay, "jobs 7 s in "),
        ("query: \"select 'a' as name, 3 as age\"\nbad: \"> 2\"", State::Bad, "a age is 3, above 2 (age 3)"),
        ("query: \"values ('a', 1), ('b', 9)\"\nexcept: b\nbad: \"> 5\"", State::Okay, "a: column2 1; 2 rows in "),
        ("query: \"select 1.5::numeric, true, null, 'x'\"", State::Okay, "numeric 1.5, value t, value_3 x in "),
        ("query: select g from generate_series(1, 300) g", State::Warning, "the answer has more than 200 rows"),
        ("query: select 1 where false", State::Unknown, "the query answers no row"),
        ("query: select max(1) where false", State::Unknown, "max is NULL"),
        ("query: create table t (a int)", State::Unknown, "cannot execute CREATE TABLE in a read-only transaction"),
        ("query: select nothing", State::Unknown, "column \"nothing\" does not exist"),
        ("query: select 7\nbad: { sevn: 1 }", State::Unknown, "`bad.sevn`: `sevn` is nothing that this kind measures"),
    ] {
        let query = if query.starts_with("query: \"") || !query.contains("query: select") {
            query.to_owned()
        } else {
            let (first, rest) = query.split_once('\n').unwrap_or((query, ""));
            format!("query: '{}'\n{rest}", first.trim_start_matches("query: "))
        };
        let result = run("postgres", &format!("{login}{query}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{query}: {}", result.message);
        assert!(result.message.contains(said), "{query}: {}", result.message);
    }
    let slow = run("postgres", &format!("{login}query: select pg_sleep(20)"), std::time::Duration::from_secs(1)).await;
    assert_eq!(slow.state, State::Bad);
    let texts = ["canceling statement due to statement timeout", "timed out after 950ms"];
    assert!(texts.iter().any(|text| slow.message.contains(text)), "{}", slow.message);
    for (user, password, said) in [
        ("owner", "wr0ng", "does not let us in: password authentication failed for user \"owner\""),
        ("nobody", "x", "does not let us in: password authentication failed"),
    ] {
        let settings = format!("address: 127.0.0.1:{port}\nuser: {user}\npassword: {password}");
        let result = run("postgres", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Bad);
        assert!(result.message.contains(said), "{}", result.message);
    }
    let result = run("postgres", &format!("{login}database: nowhere"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.ends_with("does not let us in: database \"nowhere\" does not exist"), "{}", result.message);
    let result = run("postgres", &format!("{login}tls: true"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("does not offer TLS"), "{}", result.message);
}

#[tokio::test]
async fn postgres_speaks_tls() {
    let files = tls::certificate();
    let options = ["-c", "ssl=on", "-c", "ssl_cert_file=../ca.pem", "-c", "ssl_key_file=../key.pem"];
    let (daemon, port) = postgres(files, &options).await;
    let ca = daemon.folder.path().join("ca.pem");
    let settings =
        format!("address: localhost:{port}\nuser: owner\npassword: s3cret\ntls: {{ ca: {} }}\n", ca.display());
    let query = "query: select ssl::int from pg_stat_ssl where pid = pg_backend_pid()\nbad: \"< 1\"";
    let result = run("postgres", &format!("{settings}{query}"), TIMEOUT).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    let result = run("postgres", &settings.replace(&format!("ca: {}", ca.display()), "verify: true"), TIMEOUT).await;
    assert_eq!(result.state, State::Bad);
    assert!(result.message.contains("is self-signed and not trusted"), "{}", result.message);
}
