//! `smtp` and `tls` against Exim (Debian: `exim4-daemon-light`).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use monchero_core::State;

use crate::pki::Pki;
use crate::process::{Server, free_port, user};
use crate::{run, value};

const EXIM: &str = "/usr/sbin/exim4";

struct Exim {
    pki: Pki,
    port: u16,
    _server: Server,
}

impl Exim {
    fn start() -> Self {
        let pki = Pki::new();
        let identity = pki.signed("mail.test", &["mail.test"], (2000, 2090), true);
        let root = pki.path();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(root.join("spool")).unwrap();
        let owner = std::fs::metadata(root).unwrap();
        let (uid, gid) = if owner.uid() == 0 { user("mail") } else { (owner.uid(), owner.gid()) };
        for path in [root.join("spool"), identity.certificate.clone(), identity.key.clone()] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        let port = free_port();
        let configuration = format!(
            "primary_hostname = mail.test
spool_directory = {root}/spool
log_file_path = {root}/spool/%slog
pid_file_path = {root}/spool/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
exim_user = {uid}
exim_group = {gid}
never_users =
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
auth_advertise_hosts = *
acl_smtp_rcpt = recipients
begin acl
recipients:
  deny !authenticated = *
       message = log in first
  deny local_parts = gone
       message = no such user
  defer local_parts = later
       message = come back
  accept
begin routers
all:
  driver = accept
  transport = nowhere
begin transports
nowhere:
  driver = appendfile
  file = /dev/null
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${{if and{{{{eq{{$auth2}}{{bot}}}}{{eq{{$auth3}}{{s3cret}}}}}}}}
  server_set_id = $auth2
",
            root = root.display(),
            certificate = identity.certificate.display(),
            key = identity.key.display(),
        );
        std::fs::write(root.join("exim.conf"), configuration).unwrap();
        let mut command = Command::new(EXIM);
        command.arg("-C").arg(root.join("exim.conf")).arg("-bdf");
        let server = Server::start(&mut command, &[port], &root.join("log"));
        Self { port, _server: server, pki }
    }
}

#[tokio::test]
async fn a_mail_server_is_asked_without_sending_mail() {
    let exim = Exim::start();
    let tls = format!("starttls: true\ntls: {{ server_name: mail.test, ca: \"{}\" }}", exim.pki.ca().display());
    let login = "login: { user: bot, password: s3cret }";
    for (more, state, message) in [
        ("", State::Okay, "greets in "),
        (&*tls, State::Okay, "greets in "),
        ("to: ops@mail.test", State::Bad, "refuses RCPT TO:<ops@mail.test>: `550 log in first`"),
        (
            &format!("{tls}\n{login}\nto: ops@mail.test"),
            State::Okay,
            "greets, accepts the login, takes mail to ops@mail.test in ",
        ),
        (
            &format!("{tls}\n{login}\nto: gone@mail.test"),
            State::Bad,
            "refuses RCPT TO:<gone@mail.test>: `550 no such user`",
        ),
        (
            &format!("{tls}\n{login}\nto: later@mail.test"),
            State::Bad,
            "refuses RCPT TO:<later@mail.test>: `451 come back`",
        ),
        (
            &format!("{tls}\nlogin: {{ user: bot, password: wrong }}"),
            State::Bad,
            "refuses the login of bot: `535 Incorrect authentication data`",
        ),
    ] {
        let result = run("smtp", &format!("address: 127.0.0.1:{}\n{more}", exim.port)).await;
        assert_eq!(result.state, state, "{more}: {}", result.message);
        let message = format!("127.0.0.1:{} {message}", exim.port);
        assert!(result.message.starts_with(&message), "{more}: {}", result.message);
        assert!(!result.message.contains("s3cret"));
        assert!(!more.starts_with("starttls") || state != State::Okay || value(&result, "certificate").is_some());
    }
    let result = run(
        "smtp",
        &format!("address: 127.0.0.1:{}\nstarttls: true\ntls: {{ ca: \"{}\" }}", exim.port, exim.pki.ca().display()),
    )
    .await;
    assert!(result.message.ends_with("is for mail.test, not for `127.0.0.1`"), "{}", result.message);
    let queue = std::fs::read_dir(exim.pki.path().join("spool/input")).map_or(0, Iterator::count);
    assert_eq!(queue, 0, "no mail was sent");
}

#[tokio::test]
async fn tls_that_begins_on_request_is_told_about() {
    let exim = Exim::start();
    let settings = format!(
        "address: 127.0.0.1:{}\nstarttls: smtp\nserver_name: mail.test\nca: \"{}\"",
        exim.port,
        exim.pki.ca().display()
    );
    let result = run("tls", &settings).await;
    assert_eq!(result.state, State::Okay, "{}", result.message);
    assert!(result.output.contains("CN=mail.test, signed by CN=Test Between"), "{}", result.output);
}
