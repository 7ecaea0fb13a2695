//! nginx, as whoever runs the tests.

use std::path::Path;
use std::process::Command;

use crate::pki::{Identity, Pki};
use crate::process::{Server, free_port};

/// One nginx with servers for everything that is tested.
pub(crate) struct Nginx {
    pub(crate) pki: Pki,
    pub(crate) plain: u16,
    pub(crate) good: u16,
    pub(crate) expired: u16,
    pub(crate) other_name: u16,
    pub(crate) self_signed: u16,
    pub(crate) incomplete: u16,
    pub(crate) old: u16,
    pub(crate) client: Identity,
    _server: Server,
}

const LOCATIONS: &str = r#"
    default_type text/plain;
    location / { return 200 "hello\n"; }
    location /health {
      default_type application/json;
      return 200 '{"database": "ok", "queue": {"length": 7}}';
    }
    location /ready { return 200 "ready\n"; }
    location /api/health {
      default_type application/json;
      return 200 '{"database": "ok", "version": "11.2.0"}';
    }
    location /moved { return 301 /; }
    location /circle { return 302 /circle; }
    location /echo { return 200 "$request_method $content_type $http_x_key $remote_user"; }
    location /private { auth_basic "private"; auth_basic_user_file users; try_files /nonexistent @let_in; }
    location @let_in { return 200 "you are $remote_user\n"; }
    location /files/ { alias files/; }
"#;

fn tls(port: u16, identity: &Identity, more: &str) -> String {
    // Older versions of nginx have to be asked for TLS 1.3.
    let protocols = if more.contains("ssl_protocols") { "" } else { "ssl_protocols TLSv1.2 TLSv1.3;" };
    format!(
        "server {{ listen 127.0.0.1:{port} ssl; {protocols} ssl_certificate {}; ssl_certificate_key {}; {more}\n{LOCATIONS} }}\n",
        identity.certificate.display(),
        identity.key.display()
    )
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let pki = Pki::new();
        let years = (2000, 2090);
        let names = ["localhost", "127.0.0.1"];
        let good = pki.signed("localhost", &names, years, true);
        let expired = pki.signed("expired", &names, (1999, 2001), true);
        let other_name = pki.signed("other", &["other.example"], years, true);
        let self_signed = pki.self_signed("own", &names);
        let incomplete = pki.signed("incomplete", &names, years, false);
        let client = pki.signed("client", &["client.example"], years, true);
        let [plain, p_good, p_expired, p_other, p_own, p_incomplete, p_old, closed] = [(); 8].map(|()| free_port());
        let folder = pki.path();
        let with_clients = format!(
            "ssl_client_certificate {}; ssl_verify_client optional; ssl_verify_depth 3;
             location /members {{ if ($ssl_client_verify != SUCCESS) {{ return 403; }} return 200 \"$ssl_client_s_dn\"; }}",
            pki.ca().display()
        );
        let servers = [
            format!(
                "server {{ listen 127.0.0.1:{plain}; {LOCATIONS}
                 location /proxied/ {{ proxy_pass http://127.0.0.1:{plain}/; }}
                 location /gone/ {{ proxy_pass http://127.0.0.1:{closed}/; }}
                 location /to-tls {{ return 308 https://localhost:{p_good}/echo; }} }}\n"
            ),
            tls(p_good, &good, &with_clients).replacen(" ssl;", " ssl http2;", 1),
            tls(p_expired, &expired, ""),
            tls(p_other, &other_name, ""),
            tls(p_own, &self_signed, ""),
            tls(p_incomplete, &incomplete, ""),
            tls(p_old, &good, "ssl_protocols TLSv1.2;"),
        ];
        write_files(folder, &servers.concat());
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "error.log"]);
        let ports = [plain, p_good, p_expired, p_other, p_own, p_incomplete, p_old];
        let server = Server::start(&mut command, &ports, &folder.join("log"));
        Self {
            plain,
            good: p_good,
            expired: p_expired,
            other_name: p_other,
            self_signed: p_own,
            incomplete: p_incomplete,
            old: p_old,
            client,
            pki,
            _server: server,
        }
    }

    /// The setting that trusts its authority.
    pub(crate) fn trust(&self) -> String {
        format!("ca: \"{}\"", self.pki.ca().display())
    }
}

fn write_files(folder: &Path, servers: &str) {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path temp_{what};\n"))
        .collect();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{ access_log off;\n{temporary}{servers} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), configuration).unwrap();
    // The password is `hunter2`, in the one form that needs no hash.
    std::fs::write(folder.join("users"), "me:{PLAIN}hunter2\n").unwrap();
    std::fs::create_dir(folder.join("files")).unwrap();
    std::fs::write(folder.join("files/large"), vec![b'x'; 3 * 1024 * 1024]).unwrap();
}
