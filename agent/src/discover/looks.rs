//! What there is to be looked at on a host. Nothing here needs root, hangs, or changes anything.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::order;

use super::{Proposal, Same, Way};

/// Looks at one sort of thing below a root directory; an error is the reason why it could not.
pub(crate) type Look = fn(&Path) -> Result<Vec<Proposal>, String>;

/// All looks, by what they look at.
pub(crate) const LOOKS: [(&str, Look); 11] = [
    ("the host itself", |_| Ok(basics())),
    ("file systems", mounts),
    ("software RAID", raid),
    ("temperatures", temperatures),
    ("updates", |root| Ok(updates(root))),
    ("the clock", clock),
    ("units of systemd", units),
    ("listening ports", ports),
    ("containers", containers),
    ("certificates", certificates),
    ("UPSes", upses),
];

/// How much of a file is read, in bytes: the list of sockets of a busy host is the largest.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How many entries of a directory are looked at.
const MAX_ENTRIES: usize = 1_000;
/// How many units are proposed at most.
const MAX_UNITS: usize = 50;
/// How long a server on this host may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(under(root, path)).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| format!("reading {path}: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names in a directory, sorted; none if it does not exist.
fn names(root: &Path, path: &str) -> Result<Vec<String>, String> {
    let entries = match std::fs::read_dir(under(root, path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("reading {path}: {error}")),
    };
    let names = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: BTreeSet<String> = order::tree(names);
    Ok(names.into_iter().collect())
}

/// One check of a kind.
fn proposal(name: &str, comment: impl Into<String>, way: Way) -> Proposal {
    Proposal { name: name.to_owned(), comment: comment.into(), ways: vec![way], beside: &[] }
}

/// A kind whose every check looks at the same thing.
fn plain(kind: &'static str) -> Way {
    Way { kind, settings: Vec::new(), same: Same::Any }
}

fn words(words: &[&str]) -> Same {
    Same::Naming(words.iter().map(|word| (*word).to_owned()).collect())
}

fn basics() -> Vec<Proposal> {
    vec![
        proposal("load", "Processes that run or wait, for each CPU.", plain("load")),
        proposal("memory", "Memory that programs cannot get.", plain("memory")),
    ]
}

/// File systems with data of people on them, by their type.
const WITH_DATA: [&str; 13] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "nfs", "nfs4", "cifs", "vfat"];
const OVER_THE_NETWORK: [&str; 3] = ["nfs", "nfs4", "cifs"];
/// Where others mount what is theirs.
const OF_OTHERS: [&str; 7] =
    ["/proc/", "/sys/", "/dev/", "/snap/", "/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/"];

/// Lines of `/proc/self/mountinfo`: `36 35 98:0 ROOT MOUNT OPTIONS [..] - TYPE SOURCE OPTIONS`. A file system that is mounted several times is
/// taken once.
fn mounts(root: &Path) -> Result<Vec<Proposal>, String> {
    let text = read(root, "/proc/self/mountinfo")?;
    let mut devices = BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let (before, after) = line.split_once(" - ").unwrap_or((line, ""));
        let words: Vec<&str> = before.split(' ').collect();
        let [_, _, device, _, mount, ..] = words[..] else { continue };
        let kind = after.split(' ').next().unwrap_or_default();
        let mount = unescape(mount);
        let is_ours = WITH_DATA.contains(&kind) && !OF_OTHERS.iter().any(|other| mount.starts_with(other));
        // A server that is gone must not be waited for.
        let is_file = || !OVER_THE_NETWORK.contains(&kind) && under(root, &mount).is_file();
        // The root is worth a check whatever it is, in a container too.
        if mount != "/" && (!is_ours || is_file()) || !devices.insert(device) {
            continue;
        }
        found.push(file_system(&mount, kind));
    }
    Ok(found)
}

fn file_system(mount: &str, kind: &str) -> Proposal {
    let mut settings = vec![("path", mount.to_owned())];
    if mount != "/" {
        settings.push(("mounted", "true".to_owned()));
    }
    settings.extend([("warning", "80%".to_owned()), ("bad", "90%".to_owned())]);
    let name = if mount == "/" { "disk-root".to_owned() } else { format!("disk-{}", mount.trim_matches('/')) };
    // A check of all file systems may well leave those of the network out.
    let same = if OVER_THE_NETWORK.contains(&kind) {
        words(&[mount])
    } else {
        Same::NamingOrWithout(mount.to_owned(), "path")
    };
    proposal(&name, format!("{mount} ({kind})."), Way { kind: "disk", settings, same })
}

fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(word.to_owned(), |word, (written, meant)| word.replace(written, meant))
}

fn raid(root: &Path) -> Result<Vec<Proposal>, String> {
    if !under(root, "/proc/mdstat").exists() {
        return Ok(Vec::new());
    }
    let text = read(root, "/proc/mdstat")?;
    let arrays: Vec<&str> =
        text.lines().filter(|line| line.starts_with("md")).filter_map(|line| line.split(' ').next()).collect();
    if arrays.is_empty() {
        return Ok(Vec::new());
    }
    let mut raid = proposal("raid", format!("Software RAID: {}.", arrays.join(", ")), plain("raid"));
    let plugin = "/usr/lib/monchero/plugins/check_mdraid";
    if under(root, plugin).exists() {
        let settings = vec![("command", "check_mdraid".to_owned()), ("format", "native".to_owned())];
        raid.ways.push(Way { kind: "plugin", settings, same: words(&["check_mdraid", plugin]) });
    }
    Ok(vec![raid])
}

fn temperatures(root: &Path) -> Result<Vec<Proposal>, String> {
    let has_sensor = |chip: &String| {
        let files = names(root, &format!("/sys/class/hwmon/{chip}")).unwrap_or_default();
        files.iter().any(|file| file.starts_with("temp") && file.ends_with("_input"))
    };
    let chips: Vec<String> = names(root, "/sys/class/hwmon")?.into_iter().filter(has_sensor).collect();
    if chips.is_empty() {
        return Ok(Vec::new());
    }
    let comment = "Temperatures, by the limits that the sensors know themselves.";
    Ok(vec![proposal("temperature", comment, plain("temperature"))])
}

fn updates(root: &Path) -> Vec<Proposal> {
    if !["/usr/bin/apt-get", "/usr/bin/dnf"].iter().any(|program| under(root, program).exists()) {
        return Vec::new();
    }
    let comment = "Updates that wait, those for security above all.";
    let beside: &[(&str, &str)] = &[("interval", "6h"), ("timeout", "2m")];
    vec![Proposal { beside, ..proposal("updates", comment, plain("updates")) }]
}

/// Where time services name their servers, in lines `server NAME ..`, `pool NAME ..` or `NTP=NAME ..`.
const TIME_SERVICES: [&str; 5] = [
    "/etc/chrony/chrony.conf",
    "/etc/chrony.conf",
    "/etc/ntpsec/ntp.conf",
    "/etc/ntp.conf",
    "/etc/systemd/timesyncd.conf",
];

fn clock(root: &Path) -> Result<Vec<Proposal>, String> {
    let server_of = |line: &str| {
        let words = line.strip_prefix("NTP=").map(|names| format!("server {names}"));
        let words = words.unwrap_or_else(|| line.to_owned());
        let mut words = words.split_whitespace();
        let is_server = words.next().is_some_and(|word| ["server", "pool"].contains(&word));
        words.next().filter(|name| is_server && !name.starts_with('-')).map(str::to_owned)
    };
    for file in TIME_SERVICES.into_iter().filter(|file| under(root, file).exists()) {
        if let Some(server) = read(root, file)?.lines().map(str::trim).find_map(server_of) {
            let comment = format!("The clock, compared with a server of {file}.");
            let way = Way { settings: vec![("servers", server)], ..plain("time") };
            return Ok(vec![Proposal { beside: &[("interval", "10m")], ..proposal("clock", comment, way) }]);
        }
    }
    Ok(Vec::new())
}

/// Units that have failed, and services that are enabled and run: those have a control group.
fn units(root: &Path) -> Result<Vec<Proposal>, String> {
    if !under(root, "/run/systemd/system").exists() {
        return Err("systemd does not run here".to_owned());
    }
    let failed = Way { same: Same::Without("unit"), ..plain("systemd") };
    let mut found = vec![proposal("failed-units", "Every unit of systemd that has failed.", failed)];
    let running: BTreeSet<String> = order::tree(names(root, "/sys/fs/cgroup/system.slice")?);
    let enabled = names(root, "/etc/systemd/system/multi-user.target.wants")?;
    let services = enabled.into_iter().filter(|unit| unit.ends_with(".service") && running.contains(unit));
    for unit in services.filter(|unit| !unit.starts_with("monchero")).take(MAX_UNITS) {
        let name = unit.trim_end_matches(".service");
        let way = Way { kind: "systemd", same: words(&[&unit, name]), settings: vec![("unit", unit.clone())] };
        found.push(proposal(name, "Enabled, and running now.", way));
    }
    Ok(found)
}

/// Ports whose protocol is known: its name, and the kind that speaks it.
const PORTS: [(u16, &str, &str); 12] = [
    (22, "SSH", "ssh"),
    (25, "SMTP", "smtp"),
    (53, "DNS", "tcp"),
    (80, "HTTP", "tcp"),
    (389, "LDAP", "tcp"),
    (443, "HTTPS", "tcp"),
    (1883, "MQTT", "tcp"),
    (3306, "MySQL", "tcp"),
    (5432, "PostgreSQL", "tcp"),
    (6379, "Redis", "redis"),
    (8080, "HTTP", "tcp"),
    (11211, "memcached", "memcached"),
];

/// What listens on TCP, by `/proc/net/tcp` and `/proc/net/tcp6`: `SL LOCAL_ADDRESS:PORT REMOTE STATE ..` in hexadecimal digits.
fn ports(root: &Path) -> Result<Vec<Proposal>, String> {
    let mut text = read(root, "/proc/net/tcp")?;
    text += &read(root, "/proc/net/tcp6").unwrap_or_default();
    let listening: Vec<SocketAddr> = text.lines().filter_map(listening).collect();
    Ok(PORTS.iter().filter_map(|port| service(port, &listening)).collect())
}

fn service((port, protocol, kind): &(u16, &str, &'static str), listening: &[SocketAddr]) -> Option<Proposal> {
    let mut addresses: Vec<IpAddr> =
        listening.iter().filter(|address| address.port() == *port).map(SocketAddr::ip).collect();
    // What everybody can reach is asked where it is nearest.
    order::sort_by_key(&mut addresses, |ip| (!ip.is_unspecified() && !ip.is_loopback(), ip.is_ipv6()));
    let host = match addresses.first()? {
        ip if ip.is_unspecified() && addresses.iter().all(IpAddr::is_ipv6) => Ipv6Addr::LOCALHOST.into(),
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => *ip,
    };
    let (host, address) = (host.to_string(), SocketAddr::new(host, *port).to_string());
    let [v4, v6, named] = ["127.0.0.1", "[::1]", "localhost"].map(|local| format!("{local}:{port}"));
    let same_address = [address.as_str(), &v4, &v6, &named];
    let tcp = Way { kind: "tcp", same: words(&same_address), settings: vec![("address", address.clone())] };
    let same = words(&[&same_address[..], &[host.as_str(), "127.0.0.1", "::1", "localhost"]].concat());
    let own = Way { kind, same, ..tcp.clone() };
    let better = match *protocol {
        "HTTP" | "HTTPS" => " Better: the kind `http` with the URL that people use.",
        "PostgreSQL" | "MySQL" => " Better: a kind that logs in, with a user of its own.",
        _ => "",
    };
    Some(Proposal {
        name: format!("{}-{port}", protocol.to_lowercase()),
        comment: format!("{protocol} is listening on port {port}.{better}"),
        ways: if own.kind == tcp.kind { vec![tcp] } else { vec![own, tcp] },
        beside: &[],
    })
}

fn listening(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace();
    let (local, _remote, state) = (words.nth(1)?, words.next()?, words.next()?);
    if state != "0A" {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Each group of eight digits is a number in the order of this machine.
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

fn containers(root: &Path) -> Result<Vec<Proposal>, String> {
    for socket in ["/run/docker.sock", "/run/podman/podman.sock"] {
        let why = match UnixStream::connect(under(root, socket)) {
            Ok(_) => {
                let comment = "Containers that have a restart policy; others are named in `name` or `only`.";
                let way = Way { settings: vec![("socket", socket.to_owned())], ..plain("container") };
                return Ok(vec![proposal("containers", comment, way)]);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                "this user may not use the socket; those in the group `docker` may, or root"
            }
            Err(_) => "nobody answers at the socket",
        };
        return Err(format!("{socket}: {why}"));
    }
    Ok(Vec::new())
}

fn certificates(root: &Path) -> Result<Vec<Proposal>, String> {
    let live = names(root, "/etc/letsencrypt/live")?;
    if !live.iter().any(|name| under(root, "/etc/letsencrypt/live").join(name).is_dir()) {
        return Ok(Vec::new());
    }
    let comment = "Certificates of certbot, and whether their keys belong to them.";
    let path = "/etc/letsencrypt/live/*/cert.pem";
    let settings = vec![("path", path.to_owned()), ("private_key", "privkey.pem".to_owned())];
    let way = Way { kind: "certificate", settings, same: words(&[path, "/etc/letsencrypt/live/*/fullchain.pem"]) };
    let beside: &[(&str, &str)] = &[("interval", "1h")];
    Ok(vec![Proposal { beside, ..proposal("certificates", comment, way) }])
}

/// The UPSes of an `upsd` on this host, if one listens.
fn upses(root: &Path) -> Result<Vec<Proposal>, String> {
    const PORT: u16 = 3493;
    let text = read(root, "/proc/net/tcp")? + &read(root, "/proc/net/tcp6").unwrap_or_default();
    let Some(address) = text.lines().filter_map(listening).find(|address| address.port() == PORT) else {
        return Ok(Vec::new());
    };
    let local: IpAddr = if address.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let ip = if address.ip().is_unspecified() { local } else { address.ip() };
    let names = list_ups(SocketAddr::new(ip, PORT)).map_err(|error| format!("asking upsd at {ip}:{PORT}: {error}"))?;
    Ok(names.iter().map(|name| ups(name, ip)).collect())
}

pub(super) fn ups(name: &str, host: IpAddr) -> Proposal {
    let settings = vec![("address", host.to_string()), ("ups", name.to_owned())];
    let way = Way { kind: "nut", settings, same: words(&[name]) };
    proposal(&format!("ups-{name}"), "A UPS of the local upsd.", way)
}

/// `LIST UPS` is answered with lines `UPS NAME "DESCRIPTION"` up to `END LIST UPS`.
fn list_ups(address: SocketAddr) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"LIST UPS\n")?;
    let mut names = Vec::new();
    for line in BufReader::new(stream.take(64 * 1024)).lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["END", ..] => break,
            ["ERR", why, ..] => return Err(std::io::Error::other(why.to_owned())),
            ["UPS", name, ..] => names.push(name.to_owned()),
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a server of one answer makes of it.
    fn asked(answer: &'static str) -> Result<Vec<String>, String> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut question = [0; 9];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"LIST UPS\n");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let names = list_ups(address).map_err(|error| error.to_string());
        serving.join().unwrap();
        names
    }

    #[test]
    fn upses_of_a_server() {
        let list = "BEGIN LIST UPS\nUPS rack \"In the rack\"\nUPS desk \"\"\nEND LIST UPS\n";
        assert_eq!(asked(list), Ok(vec!["rack".to_owned(), "desk".to_owned()]));
        assert_eq!(asked("ERR ACCESS-DENIED\n"), Err("ACCESS-DENIED".to_owned()));
        assert_eq!(asked(""), Ok(Vec::new()));
    }
}
