//! The kind `email` with a real mail system: Exim (Debian: `exim4-daemon-light`), which runs from a directory of its own on a free port.

mod common;

use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::mail::{Certificates, Mail};
use common::{Real, context, email, event, message, wait};
use jiff::tz::TimeZone;
use monchero_core::NoticeKind;
use monchero_core::action::{Delivered, DeliveryError, Message};
use serde_json::{Value, json};

const EXIM: &str = "/usr/sbin/exim4";
/// How long a mail may take from the server to the mailbox.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running mail system.
struct Exim {
    directory: tempfile::TempDir,
    port: u16,
    daemon: Child,
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Exim {
    fn start(certificates: Option<&Certificates>) -> Self {
        assert!(Path::new(EXIM).exists(), "`{EXIM}` is missing: install `exim4-daemon-light`");
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        // Exim delivers as nobody less than an ordinary user; root hands over to one.
        let owner = std::fs::metadata(root).expect("the directory");
        let uid = owner.uid();
        let (user, group) = if uid == 0 { ids_of("mail") } else { (uid, owner.gid()) };
        for name in ["spool", "log", "mail"] {
            std::fs::create_dir(root.join(name)).expect("a directory");
            if uid == 0 {
                chown(root.join(name), Some(user), None).expect("an owner");
            }
        }
        let tls = certificates.map_or_else(
            || "tls_advertise_hosts =\n".to_owned(),
            |certificates| {
                for (name, text) in [("cert.pem", &certificates.certificate), ("key.pem", &certificates.key)] {
                    std::fs::write(root.join(name), text).expect("a file");
                    if uid == 0 {
                        chown(root.join(name), Some(user), None).expect("an owner");
                    }
                }
                format!("tls_advertise_hosts = *\ntls_certificate = {0}/cert.pem\ntls_privatekey = {0}/key.pem\nauth_advertise_hosts = *\n", root.display())
            },
        );
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        std::fs::write(root.join("exim.conf"), configuration(root, (user, group), port, &tls, certificates.is_some()))
            .expect("a file");
        let daemon = daemon(&root.join("exim.conf"), &root.join("log/daemon"));
        let mut exim = Self { directory, port, daemon };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = exim.daemon.try_wait().expect("the daemon");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "Exim does not listen: {ended:?} {}", exim.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
        exim
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn logs(&self) -> String {
        ["log/daemon", "log/mainlog", "log/rejectlog", "log/paniclog"]
            .map(|name| std::fs::read_to_string(self.path(name)).unwrap_or_default())
            .concat()
    }

    /// The mails in the mailbox, as soon as there are so many.
    fn mails(&self, count: usize) -> Vec<Mail> {
        let begun = Instant::now();
        loop {
            let files: Vec<_> = std::fs::read_dir(self.path("mail/new"))
                .map(|found| found.filter_map(Result::ok).collect())
                .unwrap_or_default();
            if files.len() >= count {
                return files
                    .iter()
                    .map(|file| {
                        Mail::read(&std::fs::read_to_string(file.path()).expect("a mail").replace('\n', "\r\n"))
                    })
                    .collect();
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} mails arrived: {}", files.len(), self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn deliver(&self, mut settings: Value, message: &Message) -> Result<Delivered, DeliveryError> {
        if settings.get("sendmail").is_none() {
            settings["smtp"]["port"] = json!(self.port);
        }
        let real = Real::default();
        wait(email(&settings).deliver(message, &context(&real, &TimeZone::UTC)))
    }
}

#[expect(clippy::disallowed_methods, reason = "a mail system of the test; it is ended when the test is")]
fn daemon(configuration: &Path, log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a log");
    Command::new(EXIM)
        .arg("-C")
        .arg(configuration)
        .arg("-bdf")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Exim starts")
}

/// The numbers of a user of this host and of their group.
fn ids_of(name: &str) -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("the users");
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:"))).expect("the user");
    let number = |at: usize| line.split(':').nth(at).and_then(|id| id.parse().ok()).expect("a number");
    (number(2), number(3))
}

fn configuration(root: &Path, (user, group): (u32, u32), port: u16, tls: &str, logins: bool) -> String {
    let root = root.display();
    let who = if logins { "  deny !authenticated = *\n       message = log in first\n" } else { "" };
    let logins = if logins {
        "begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  server_condition = ${if and{{eq{$auth2}{bot}}{eq{$auth3}{s3cret}}}}\n  server_set_id = $auth2\n"
    } else {
        ""
    };
    format!(
        "primary_hostname = mail.test
spool_directory = {root}/spool
log_file_path = {root}/log/%slog
pid_file_path = {root}/spool/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
exim_user = {user}
exim_group = {group}
never_users =
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
{tls}acl_smtp_rcpt = recipients
acl_smtp_data = accept
acl_not_smtp = accept
begin acl
recipients:
{who}  deny local_parts = gone
       message = no such user
  defer local_parts = later
       message = come back
  accept
begin routers
all:
  driver = accept
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  directory = {root}/mail
  maildir_format
  user = {user}
  group = {group}
{logins}"
    )
}

fn settings(to: &Value) -> Value {
    json!({ "to": to, "smtp": { "host": "127.0.0.1" } })
}

#[test]
fn a_mail_arrives_as_it_was_written() {
    let exim = Exim::start(None);
    let mut event = event();
    event.message = "\u{fc}berlast: <503> & \"x\" $(id) 100%".to_owned();
    event.output = format!(".\n..\n. dots\n{}\n{}", "long ".repeat(400), "\u{20ac}".repeat(3_000));
    let answer =
        exim.deliver(settings(&json!("ops@example.org")), &message(NoticeKind::Problem, event.clone())).expect("taken");
    assert!(answer.answer.contains("250 OK id="), "{answer:?}");
    let mails = exim.mails(1);
    let mail = &mails[0];
    assert_eq!(mail.header("Subject"), format!("[bad] shop on web1: {}", event.message));
    assert_eq!(mail.header("Message-ID"), "<0123456789abcdef@web1>");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    let output: String = event.output.lines().fold(String::new(), |text, line| format!("{text}  {line}\n"));
    assert!(mail.body.contains(&format!("\nOutput:\n{output}")), "{}", mail.body);
    assert!(mail.body.contains(&format!("\n{}\n", event.message)));
    let page = mail.html.as_deref().expect("a page");
    assert!(page.contains(">\u{fc}berlast: &lt;503&gt; &amp; &quot;x&quot; $(id) 100%</p>"), "{page}");
    assert!(page.contains(&format!("\n{}</pre>", event.output.trim_end())), "{page}");
}

#[test]
fn refusals_of_a_real_server_are_understood() {
    let exim = Exim::start(None);
    let told = |to: Value| exim.deliver(settings(&to), &message(NoticeKind::Problem, event()));
    let gone = told(json!("gone@example.org")).unwrap_err();
    assert!(matches!(&gone, DeliveryError::Permanent { why } if why.contains("550 no such user")), "{gone:?}");
    let later = told(json!("later@example.org")).unwrap_err();
    assert!(matches!(&later, DeliveryError::Transient { why, .. } if why.contains("451 come back")), "{later:?}");
    let some = told(json!(["ops@example.org", "gone@example.org"])).unwrap();
    assert!(some.answer.contains("250 OK id=") && some.answer.contains("refused for `gone@example.org`"), "{some:?}");
    assert_eq!(exim.mails(1).len(), 1);
}

#[test]
fn encryption_and_login_work_with_a_real_server() {
    let certificates = Certificates::for_names(&["localhost"]);
    let exim = Exim::start(Some(&certificates));
    let ca = exim.path("ca.pem");
    std::fs::write(&ca, &certificates.authority).unwrap();
    let told = |password: &str| {
        let settings = json!({ "to": "ops@example.org", "smtp": { "host": "localhost", "tls": "starttls", "ca": ca, "user": "bot", "password": password } });
        exim.deliver(settings, &message(NoticeKind::Problem, event()))
    };
    let wrong = told("wr0ng").unwrap_err();
    assert!(
        matches!(&wrong, DeliveryError::Permanent { why } if why.contains("cannot log in as `bot`: 535") && !why.contains("wr0ng")),
        "{wrong:?}"
    );
    let anonymous = exim
        .deliver(
            json!({ "to": "ops@example.org", "smtp": { "host": "127.0.0.1" } }),
            &message(NoticeKind::Problem, event()),
        )
        .unwrap_err();
    assert!(matches!(&anonymous, DeliveryError::Permanent { why } if why.contains("log in first")), "{anonymous:?}");
    told("s3cret").unwrap();
    assert_eq!(exim.mails(1).len(), 1);
    assert!(exim.logs().contains("A=plain:bot"), "{}", exim.logs());
}

#[test]
fn the_sendmail_of_a_real_mail_system_takes_the_mail() {
    let exim = Exim::start(None);
    let program = exim.path("sendmail");
    std::fs::write(&program, format!("#!/bin/sh\nexec {EXIM} -C {} \"$@\"\n", exim.path("exim.conf").display()))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings =
        json!({ "to": ["ops@example.org", "dev@example.org"], "from": "monitor@example.org", "sendmail": program });
    let mut event = event();
    event.output = ".\nstill here".to_owned();
    exim.deliver(settings, &message(NoticeKind::Problem, event)).unwrap();
    let mails = exim.mails(1);
    assert!(mails[0].body.contains("\n  .\n  still here\n"), "{}", mails[0].body);
    assert_eq!(mails[0].header("To"), "ops@example.org, dev@example.org");
    assert_eq!(mails[0].header("From"), "monitor@example.org");
}
