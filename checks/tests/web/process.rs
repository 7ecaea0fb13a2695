//! Servers that are started for a test and end with it.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is killed when the test ends, however it ends.
pub(crate) struct Server(Child);

impl Server {
    /// Starts a server and waits until it listens on all of these ports.
    #[expect(clippy::disallowed_methods, reason = "it runs beside the test, which ends it by its pid")]
    pub(crate) fn start(command: &mut Command, ports: &[u16], log: &Path) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = std::fs::File::create(log).unwrap();
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let mut server = Self(child);
        let start = Instant::now();
        for port in ports {
            while TcpStream::connect(("127.0.0.1", *port)).is_err() {
                let said = || std::fs::read_to_string(log).unwrap_or_default();
                if let Some(status) = server.0.try_wait().unwrap() {
                    panic!("{program} ended with {status}: {}", said());
                }
                assert!(start.elapsed() < PATIENCE, "{program} does not listen on port {port}: {}", said());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of loopback where nobody listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The numbers of a user of this host and of their group.
pub(crate) fn user(name: &str) -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let fields: Vec<&str> = line.unwrap_or_else(|| panic!("there is no user `{name}`")).split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
