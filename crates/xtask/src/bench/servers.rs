//! The servers that the bench asks. They end when their value does.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many UPSes a server of Network UPS Tools has.
pub(super) const UPSES: usize = 20;

/// A program that is ended with its value.
struct Server {
    child: Child,
    _folder: TempDir,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "it runs beside the bench, which ends it by its pid")]
    fn start(program: &str, arguments: &[&str], folder: TempDir) -> Result<Self> {
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .env("SNMP_PERSISTENT_DIR", folder.path())
            .env("MIBS", "")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting `{program}`; `cargo xtask test` installs what is missing"))?;
        Ok(Self { child, _folder: folder })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx that answers every path with a short text.
pub(super) struct Nginx {
    port: u16,
    _server: Server,
}

impl Nginx {
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path temp_{what};\n"))
            .collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{ access_log off;\n{temporary}\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"hello\\n\"; }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration)?;
        let at = folder.path().display().to_string();
        let server = Server::start("/usr/sbin/nginx", &["-p", &at, "-c", "nginx.conf", "-e", "error.log"], folder)?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > PATIENCE {
                bail!("nginx does not listen on port {port}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { port, _server: server })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// snmpd with the community `public`.
pub(super) struct Snmpd {
    port: u16,
    _server: Server,
}

impl Snmpd {
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = folder.path().join("snmpd.conf");
        std::fs::write(&file, format!("agentaddress udp:127.0.0.1:{port}\nrocommunity public\n"))?;
        let file = file.display().to_string();
        // That it answers is seen by the daemon, whose checks are okay before anything is measured.
        let server = Server::start("/usr/sbin/snmpd", &["-f", "-Lo", "-C", "-c", &file], folder)?;
        Ok(Self { port, _server: server })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// A server that speaks as `upsd` does (RFC 9271), for 20 UPSes whose drivers know 30 variables each. It lives as long as the bench.
pub(super) struct Nut {
    port: u16,
}

impl Nut {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is no concern of the bench.
                let _ = serve(&stream);
            }
        });
        Ok(Self { port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

fn serve(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let answer = match line.strip_prefix("LIST ") {
            Some("UPS") => list("UPS", (0..UPSES).map(|i| format!("UPS ups{i} \"rack {i}\""))),
            Some(what) if what.starts_with("VAR ") => list(what, variables().map(|pair| format!("{what} {pair}"))),
            _ if line == "LOGOUT" => return Ok(()),
            _ => "ERR UNKNOWN-COMMAND\n".to_owned(),
        };
        let mut stream = stream;
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn list(what: &str, lines: impl Iterator<Item = String>) -> String {
    let mut text = format!("BEGIN LIST {what}\n");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text + &format!("END LIST {what}\n")
}

fn variables() -> impl Iterator<Item = String> {
    let known = [
        "ups.status \"OL\"",
        "ups.mfr \"Example\"",
        "ups.model \"Dummy 1500\"",
        "ups.load \"23\"",
        "ups.temperature \"27.4\"",
        "ups.realpower.nominal \"900\"",
        "battery.charge \"97\"",
        "battery.runtime \"1320\"",
        "input.voltage \"229.8\"",
        "output.voltage \"230.1\"",
    ];
    let more = (0..20).map(|i| format!("outlet.{i}.desc \"Outlet {i}\""));
    known.into_iter().map(str::to_owned).chain(more)
}
