//! `ldap` against a real slapd with a small directory.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use monchero_core::State;

use crate::daemon::{Daemon, free_port};
use crate::{TIMEOUT, run, tls, value};

const SLAPADD: &str = "/usr/sbin/slapadd";

/// A directory with an administrator (`s3cret`) and five people. Answers on a port in clear, with TLS on request, and on one with TLS.
#[expect(clippy::disallowed_methods, reason = "the test prepares its own server")]
async fn slapd() -> (Daemon, u16, u16) {
    let folder = tls::certificate();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(path("data")).unwrap();
    let configuration = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {}\n\
         TLSCertificateFile {}\nTLSCertificateKeyFile {}\nsizelimit 4\n\
         database mdb\nmaxsize 10485760\nsuffix \"dc=example,dc=org\"\nrootdn \"cn=admin,dc=example,dc=org\"\nrootpw s3cret\n\
         directory {}\n",
        path("pid"),
        path("ca.pem"),
        path("key.pem"),
        path("data")
    );
    std::fs::write(path("slapd.conf"), configuration).unwrap();
    let mut entries =
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n"
            .to_owned();
    for number in 1..=5 {
        let _ = write!(
            entries,
            "dn: cn=p{number},dc=example,dc=org\nobjectClass: person\ncn: p{number}\nsn: s{}\n\n",
            number % 2
        );
    }
    std::fs::write(path("entries.ldif"), entries).unwrap();
    assert!(Path::new(SLAPADD).exists(), "the tests need {SLAPADD}: `cargo xtask test` installs it");
    let output = Command::new(SLAPADD).args(["-f", &path("slapd.conf"), "-l", &path("entries.ldif")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (plain, secure) = (free_port(), free_port());
    let places = format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{secure}/");
    let configuration = path("slapd.conf");
    let daemon = Daemon::start("/usr/sbin/slapd", &["-d", "0", "-f", &configuration, "-h", &places], folder);
    (daemon.listens_on(plain).await, plain, secure)
}

#[tokio::test]
async fn a_directory_lets_us_in_and_is_searched() {
    let (daemon, plain, secure) = slapd().await;
    let ca = daemon.folder.path().join("ca.pem").display().to_string();
    let (people, admin) = ("base: \"dc=example,dc=org\"", "user: \"cn=admin,dc=example,dc=org\"\npassword: s3cret");
    for (settings, state, said) in [
        (String::new(), State::Okay, " lets us in, in "),
        (admin.to_owned(), State::Okay, " lets us in, in "),
        (admin.replace("s3cret", "wr0ng"), State::Bad, "does not let us in: wrong user or password"),
        (format!("{people}\nscope: base"), State::Okay, ", 1 found"),
        (format!("{people}\nfilter: {{ objectClass: person, sn: s1 }}"), State::Okay, ", 3 found"),
        (
            format!("{people}\nfilter: {{ sn: \"*\", cn: p2 }}\nbad: {{ entries: \"< 2\" }}"),
            State::Bad,
            "entries is 1, below 2",
        ),
        (people.to_owned(), State::Warning, "the search finds more than the 4 entries that were counted"),
        (format!("{people}\n{admin}\nscope: one"), State::Okay, ", 5 found"),
        ("base: \"dc=example,dc=net\"".to_owned(), State::Bad, "does not search `dc=example,dc=net`: "),
        ("base: nonsense".to_owned(), State::Bad, "does not search `nonsense`: that is no name of an entry"),
    ] {
        let result = run("ldap", &format!("address: 127.0.0.1:{plain}\n{settings}"), TIMEOUT).await;
        assert_eq!(result.state, state, "{settings}: {}", result.message);
        assert!(result.message.contains(said) && !result.message.contains("s3cret"), "{settings}: {}", result.message);
    }
    for (port, way) in [(plain, "starttls: true\n"), (secure, "")] {
        let settings = format!("address: localhost:{port}\n{way}tls: {{ ca: {ca} }}\n{admin}");
        let result = run("ldap", &settings, TIMEOUT).await;
        assert_eq!(result.state, State::Okay, "{way}: {}", result.message);
        assert!(value(&result, "certificate").is_some_and(|left| left > 86_400.0));
        let result = run("ldap", &settings.replace(&format!("ca: {ca}"), "verify: true"), TIMEOUT).await;
        assert_eq!(result.state, State::Bad, "{way}: {}", result.message);
        assert!(result.message.contains("self-signed and not trusted"), "{}", result.message);
    }
}
