//! `snmp` against Debian's `snmpd`: versions, users, its own tables, recorded trees of devices.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monchero_core::State;
use monchero_core::report::ServiceResult;
use tempfile::TempDir;

use crate::peer::{PATIENCE, Remembering, Server, metric};

/// Who may ask: a name, how messages are signed and encrypted in the words of snmpd, and in ours.
const USERS: [(&str, &str, &str, &str, &str); 12] = [
    ("plain", "", "", "", ""),
    ("md5", "MD5", "", "md5", ""),
    ("sha", "SHA", "", "sha", ""),
    ("sha224", "SHA-224", "", "sha224", ""),
    ("sha256", "SHA-256", "", "sha256", ""),
    ("sha384", "SHA-384", "AES", "sha384", "aes"),
    ("md5des", "MD5", "DES", "md5", "des"),
    ("shades", "SHA", "DES", "sha", "des"),
    ("shaaes", "SHA", "AES", "sha", "aes"),
    ("sha256aes", "SHA-256", "AES", "sha256", "aes"),
    ("sha256aes192", "SHA-256", "AES-192", "sha256", "aes192"),
    ("sha512aes256", "SHA-512", "AES-256", "sha512", "aes256"),
];

/// Keys that are longer than their hash: both sides must extend them alike.
const EXTENDED: [(&str, &str, &str, &str, &str); 4] = [
    ("shaaes256", "SHA", "AES-256", "sha", "aes256"),
    ("md5aes192", "MD5", "AES-192", "md5", "aes192"),
    ("shaaes256c", "SHA", "AES-256-C", "sha", "aes256c"),
    ("sha224aes256", "SHA-224", "AES-256", "sha224", "aes256"),
];

fn trees() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/trees")
}

/// Starts the server with the configuration that stands there.
fn snmpd(at: &Path) -> Server {
    let (conf, state) = (at.join("snmpd.conf"), at.join("state"));
    // It needs no names, since nobody asks by them.
    let env = [("SNMP_PERSISTENT_DIR", state.as_path()), ("SNMPCONFPATH", at), ("MIBS", Path::new(""))];
    let args = ["-f", "-Lo", "-C", "-c", conf.to_str().unwrap()];
    Server::start("/usr/sbin/snmpd", &args, &env, &at.join("snmpd.log"))
}

/// An agent.
struct Agent {
    snmpd: Server,
    port: u16,
    dir: TempDir,
}

impl Agent {
    /// Starts it; below each root it serves one of the recorded trees.
    async fn start(roots: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut conf = format!("agentaddress udp:127.0.0.1:{port}\nrocommunity public\nrocommunity secret 10.9.9.9\n");
        for (name, auth, privacy, ..) in USERS.iter().chain(&EXTENDED) {
            let level = match (*auth, *privacy) {
                ("", _) => "noauth",
                (_, "") => "auth",
                _ => "priv",
            };
            let auth = if auth.is_empty() { String::new() } else { format!(" {auth} password-a") };
            let privacy = if privacy.is_empty() { String::new() } else { format!(" {privacy} password-p") };
            let _ = writeln!(conf, "createUser {name}{auth}{privacy}\nrouser {name} {level}");
        }
        for (root, tree) in roots {
            std::fs::copy(trees().join(tree), at.join(root)).unwrap();
            let serve = trees().join("serve.py");
            let _ =
                writeln!(conf, "pass_persist .{root} /usr/bin/python3 {} {}", serve.display(), at.join(root).display());
        }
        std::fs::write(at.join("snmpd.conf"), conf).unwrap();
        std::fs::create_dir(at.join("state")).unwrap();
        let agent = Self { snmpd: snmpd(at), port, dir };
        agent.ready().await;
        agent
    }

    async fn ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut check = self.check("get: { uptime: { oid: 1.3.6.1.2.1.1.3.0, unit: s } }\nrequest_timeout: 200ms");
        while check.run().await.1.state != State::Okay {
            let log = std::fs::read_to_string(self.dir.path().join("snmpd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "snmpd does not come up: {log}");
        }
    }

    fn check(&self, more: &str) -> Remembering {
        Remembering::new("snmp", &format!("address: 127.0.0.1:{}\n{more}", self.port))
    }

    async fn result(&self, more: &str) -> ServiceResult {
        self.check(more).run().await.1
    }

    /// Puts values in the place of those that are served below a root.
    fn change(&self, root: &str, tree: &str) {
        let new = std::fs::read_to_string(trees().join(tree)).unwrap();
        let file = self.dir.path().join(root);
        let old = std::fs::read_to_string(&file).unwrap();
        let is_replaced = |line: &str| new.lines().any(|other| other.split(' ').next() == line.split(' ').next());
        let kept: String = old.lines().filter(|line| !is_replaced(line)).map(|line| format!("{line}\n")).collect();
        // In one piece: it is read at any moment.
        let next = file.with_extension("next");
        std::fs::write(&next, kept + &new).unwrap();
        std::fs::rename(next, file).unwrap();
    }
}

fn close(result: &ServiceResult, label: &str, expected: f64) {
    let value = metric(result, label);
    assert!((value - expected).abs() < 1e-6 * expected.abs().max(1.0), "{label} is {value}, not {expected}");
}

#[tokio::test]
async fn versions_and_communities() {
    let agent = Agent::start(&[]).await;
    let get = "get: { sysname: 1.3.6.1.2.1.1.5.0, up: { oid: 1.3.6.1.2.1.1.3.0, unit: s, scale: 1000 } }";
    for version in ["1", "2c"] {
        let result = agent.result(&format!("version: \"{version}\"\n{get}")).await;
        assert_eq!(result.state, State::Okay, "{result:?}");
        assert!(metric(&result, "up") >= 0.0);
    }
    let missing = "get: { there: 1.3.6.1.2.1.1.5.0, gone: 1.3.6.1.2.1.1.99.0, lost: 1.3.6.1.2.1.77.0 }";
    for version in ["1", "2c"] {
        let result = agent.result(&format!("version: \"{version}\"\n{missing}")).await;
        assert_eq!(result.state, State::Bad, "{result:?}");
        assert!(result.message.contains("gone: the agent has no object 1.3.6.1.2.1.1.99.0"), "{result:?}");
        assert!(result.message.contains("lost: ") && !result.message.contains("there: "), "{result:?}");
    }
    let start = Instant::now();
    let wrong = agent.result(&format!("community: wrong\nrequest_timeout: 100ms\nretries: 1\n{get}")).await;
    assert_eq!(wrong.state, State::Unknown, "{wrong:?}");
    assert!(wrong.message.contains("within 200ms (2 tries)") && wrong.message.contains("wrong community"), "{wrong:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    let port = agent.port;
    drop(agent);
    let mut check = Remembering::new("snmp", &format!("address: 127.0.0.1:{port}\n{get}"));
    let (_, result) = check.run().await;
    assert!(result.state == State::Unknown && result.message.contains("nothing listens at"), "{result:?}");
}

fn v3(user: &str, auth: &str, auth_password: &str, privacy: &str, privacy_password: &str) -> String {
    let mut text = format!("v3: {{ user: {user}");
    if !auth.is_empty() {
        let _ = write!(text, ", auth: {auth}, auth_password: {auth_password}");
    }
    if !privacy.is_empty() {
        let _ = write!(text, ", privacy: {privacy}, privacy_password: {privacy_password}");
    }
    format!("{text} }}\nget: {{ sysname: 1.3.6.1.2.1.1.5.0 }}\nrequest_timeout: 500ms\nretries: 1\n")
}

#[tokio::test]
async fn every_way_to_sign_and_encrypt() {
    let agent = Agent::start(&[]).await;
    let mut wrong = Vec::new();
    for (name, _, _, auth, privacy) in USERS.iter().chain(&EXTENDED) {
        let mut check = agent.check(&v3(name, auth, "password-a", privacy, "password-p"));
        for run in ["first", "second"] {
            let (_, result) = check.run().await;
            if result.state != State::Okay {
                wrong.push(format!("{name}, {run} run: {}", result.message));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn wrong_users_and_passwords_are_told() {
    let agent = Agent::start(&[]).await;
    let start = Instant::now();
    for settings in [
        v3("sha256aes", "sha256", "password-x", "aes", "password-p"),
        v3("sha256aes", "sha", "password-a", "aes", "password-p"),
        v3("nobody", "sha256", "password-a", "aes", "password-p"),
        // Whoever must encrypt and does not is told so as well.
        v3("sha256aes", "sha256", "password-a", "", ""),
    ] {
        let result = agent.result(&settings).await;
        assert_eq!(result.state, State::Unknown, "{settings}: {result:?}");
        assert!(result.message.contains("refuses the user `"), "{settings}: {result:?}");
        assert!(!result.message.contains("password-"), "{result:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let result = agent.result(&v3("sha256aes", "sha256", "password-a", "aes", "password-x")).await;
    assert_eq!(result.state, State::Unknown, "{result:?}");
    assert!(result.message.contains("privacy") || result.message.contains("passwords"), "{result:?}");
}

#[tokio::test]
async fn keys_are_made_once_and_survive_a_new_start_of_the_agent() {
    let mut agent = Agent::start(&[]).await;
    let mut check = agent.check(&v3("sha512aes256", "sha512", "password-a", "aes256", "password-p"));
    let first = Instant::now();
    assert_eq!(check.run().await.1.state, State::Okay);
    let first = first.elapsed();
    let later = Instant::now();
    for _ in 0..10 {
        assert_eq!(check.run().await.1.state, State::Okay);
    }
    let later = later.elapsed() / 10;
    assert!(later * 3 < first, "the first run took {first:?}, each later one {later:?}");

    agent.snmpd.kill();
    agent.snmpd = snmpd(agent.dir.path());
    agent.ready().await;
    let (_, result) = check.run().await;
    assert_eq!(result.state, State::Okay, "{result:?}");
}

#[tokio::test]
async fn walks_and_tables_of_a_real_agent() {
    let agent = Agent::start(&[]).await;
    for version in ["1", "2c"] {
        let result = agent.result(&format!("version: \"{version}\"\nwalk: 1.3.6.1.2.1.1.9.1.3")).await;
        assert_eq!(result.state, State::Okay, "{result:?}");
        assert!(result.message.contains("1: value The "), "{result:?}");
    }
    let table = "table: { name: 1.3.6.1.2.1.2.2.1.2, columns: { mtu: 1.3.6.1.2.1.2.2.1.4, oper: { oid: 1.3.6.1.2.1.2.2.1.8, values: { 1: up, 2: down } } } }\nonly: lo";
    let result = agent.result(&format!("{table}\nwarning: {{ oper: \"!up\" }}")).await;
    assert_eq!((result.state, &*result.message), (State::Okay, "lo: mtu 65536, oper up"));
    let result = agent.result(&format!("{table}\nwarning: {{ oper: up }}\nbad: {{ mtu: \"> 1500\" }}")).await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    let none = agent.result("walk: 1.3.6.1.4.1.424242").await;
    assert!(none.state == State::Unknown && none.message.contains("the agent has no such objects"), "{none:?}");
    let denied = agent.result("profile: ups").await;
    assert!(denied.state == State::Unknown && denied.message.contains("no objects of this profile"), "{denied:?}");
}

#[tokio::test]
async fn the_host_that_snmpd_runs_on() {
    let agent = Agent::start(&[]).await;
    for version in ["1", "2c"] {
        let mut check = agent.check(&format!("version: \"{version}\"\nprofile: interfaces\nonly: lo"));
        let (_, result) = check.run().await;
        assert_eq!(result.state, State::Okay, "{result:?}");
        assert!(result.message.contains("lo: status up, in "), "{result:?}");
        // The agent's clock goes in hundredths of a second, so the next run may come too soon.
        let has_rate = |result: &ServiceResult| result.metrics.iter().any(|metric| &*metric.label == "lo in");
        check.until("compared with the last run", has_rate).await;
    }
    let result = agent.result("profile: host\nwarning: { used: \"> 100%\" }").await;
    assert_eq!(result.state, State::Okay, "{result:?}");
    assert!(metric(&result, "processes") > 0.0, "{result:?}");
    assert!(metric(&result, "Physical memory size") > 1e6, "{result:?}");
}

#[tokio::test]
async fn a_ups_through_an_outage() {
    let root = "1.3.6.1.2.1.33";
    let agent = Agent::start(&[(root, "ups.txt")]).await;
    for version in ["1", "2c"] {
        let result = agent.result(&format!("version: \"{version}\"\nprofile: ups")).await;
        assert_eq!(result.state, State::Okay, "{result:?}");
        for (label, value) in [
            ("charge", 97.0),
            ("runtime", 1_920.0),
            ("on_battery", 0.0),
            ("battery_voltage", 54.6),
            ("battery_current", 0.3),
            ("temperature", 27.0),
            ("frequency", 50.1),
            ("input 2 voltage", 231.0),
            ("input 3 frequency", 50.0),
            ("output 1 current", 2.4),
            ("output 1 power", 552.0),
            ("output 1 load", 23.0),
            ("bypass frequency", 49.9),
            ("bypass 1 voltage", 228.0),
            ("alarms", 0.0),
        ] {
            close(&result, label, value);
        }
        assert!(result.message.starts_with("source normal, battery normal, charge 97%, runtime 32m"), "{result:?}");
    }
    agent.change(root, "ups_outage.txt");
    let result = agent.result("profile: ups").await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    let said = format!("{}\n{}", result.message, result.output);
    for expected in [
        "battery is low",
        "source is battery",
        "charge is 18%, below 20%",
        "output 1 load is 104%, above 100%",
        "alarm 1 alarm is on battery",
        "alarm 2 alarm is low battery",
        "alarm 7 alarm is 1.3.6.1.4.1.9999.1",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in {said}");
    }
    let calm = "profile: ups\nonly: { charge: \">= 0\" }\nwarning: { source: bypass }\nbad: { battery: depleted, charge: \"< 5%\" }";
    assert_eq!(agent.result(calm).await.state, State::Okay);
}

#[tokio::test]
async fn a_ups_of_apc() {
    let agent =
        Agent::start(&[("1.3.6.1.4.1.318.1.1.1", "apc_ups.txt"), ("1.3.6.1.4.1.318.1.1.25", "apc_ups.txt")]).await;
    let result = agent.result("profile: apc-ups").await;
    assert_eq!(result.state, State::Warning, "{result:?}");
    assert!(
        result.message.starts_with("replace is yes (source on line, battery normal, charge 100%, runtime 42m"),
        "{result:?}"
    );
    for (label, value) in [
        ("battery_voltage", 27.3),
        ("input voltage", 229.3),
        ("input frequency", 50.0),
        ("output load", 14.3),
        ("output current", 0.8),
        ("probe rack front temperature", 23.0),
        ("probe rack front humidity", 41.0),
    ] {
        close(&result, label, value);
    }
    let labels: Vec<&str> = result.metrics.iter().map(|metric| &*metric.label).collect();
    assert!(!labels.iter().any(|label| label.contains("nothing") || *label == "output power"), "{labels:?}");
}

#[tokio::test]
async fn power_strips() {
    let apc = Agent::start(&[("1.3.6.1.4.1.318.1.1.26", "apc_pdu.txt")]).await;
    let result = apc.result("profile: apc-pdu").await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    assert!(
        result.message.contains("bank 2 status is overload")
            && result.message.contains("phase 1 status is near overload"),
        "{result:?}"
    );
    for (label, value) in [
        ("pdu-a power", 1_830.0),
        ("pdu-a energy", 4_219.3),
        ("pdu-a power_factor", 0.96),
        ("phase 1 current", 13.1),
        ("phase 1 voltage", 230.0),
        ("bank 1 current", 1.1),
        ("outlet db1 power", 155.0),
        ("sensor door temperature", 23.6),
        ("sensor door humidity", 44.0),
    ] {
        close(&result, label, value);
    }
    let off = apc.result("profile: apc-pdu\nonly: outlet*\nbad: { switch: \"off\" }").await;
    assert!(off.state == State::Bad && off.message.starts_with("outlet spare switch is off"), "{off:?}");

    let raritan = Agent::start(&[("1.3.6.1.4.1.13742.6", "raritan_pdu.txt")]).await;
    let result = raritan.result("profile: raritan-pdu").await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    for expected in [
        "inlet I1 status is above upper warning",
        "breaker C1 status is tripped",
        "sensor hot aisle status is above upper critical",
    ] {
        assert!(result.message.contains(expected), "{expected}: {result:?}");
    }
    for (label, value) in [
        ("inlet I1 current", 13.8),
        ("inlet I1 voltage", 231.0),
        ("inlet I1 power", 3_120.0),
        ("inlet I1 energy", 912.345),
        ("outlet db1 current", 0.676),
        ("sensor hot aisle temperature", 41.2),
    ] {
        close(&result, label, value);
    }
    let off = raritan.result("profile: raritan-pdu\nonly: outlet*\nwarning: { switch: \"off\" }").await;
    assert!(off.state == State::Warning && off.message.contains("outlet 2 switch is off"), "{off:?}");
}

#[tokio::test]
async fn power_strips_of_server_technology() {
    let newer = Agent::start(&[("1.3.6.1.4.1.1718.4", "sentry4_pdu.txt")]).await;
    let result = newer.result("profile: sentry-pdu").await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    for expected in ["branch AAB1 status is breaker tripped", "cord Rack 7 status is high warning"] {
        assert!(result.message.contains(expected), "{expected}: {result:?}");
    }
    for (label, value) in [
        ("cord Rack 7 power", 3_120.0),
        ("cord Rack 7 energy", 4_219.3),
        ("cord Rack 7 power_factor", 0.96),
        ("cord Rack 7 frequency", 50.0),
        ("line AA1 current", 13.8),
        ("line AA1 load", 43.1),
        ("phase AA1 voltage", 231.2),
        ("branch AAB2 load", 86.2),
        ("outlet db1 current", 0.68),
        ("outlet db1 energy", 98.5),
        ("humidity door humidity", 44.0),
    ] {
        close(&result, label, value);
    }
    assert!(result.metrics.iter().all(|metric| &*metric.label != "outlet spare current"), "-1 is no value");
    let off = newer.result("profile: sentry-pdu\nonly: outlet*\nwarning: { switch: \"off\" }").await;
    assert!(off.state == State::Warning && off.message.contains("outlet spare switch is off"), "{off:?}");

    let older = Agent::start(&[("1.3.6.1.4.1.1718.3", "sentry3_pdu.txt")]).await;
    let result = older.result("profile: sentry-pdu").await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    for expected in ["outlet web2 status is fuse blown", "infeed TowerA_InfeedA status is high warning"] {
        assert!(result.message.contains(expected), "{expected}: {result:?}");
    }
    for (label, value) in [
        ("infeed TowerA_InfeedA current", 13.6),
        ("infeed TowerA_InfeedA load", 85.0),
        ("infeed TowerA_InfeedA voltage", 230.1),
        ("infeed TowerA_InfeedA energy", 8_123.4),
        ("outlet web1 power", 270.0),
        ("sensor aisle temperature", 25.0),
    ] {
        close(&result, label, value);
    }
}

#[tokio::test]
async fn sensors_with_scale_and_precision() {
    let agent = Agent::start(&[("1.3.6.1.2.1.47", "sensors.txt"), ("1.3.6.1.2.1.99", "sensors.txt")]).await;
    let result = agent.result("profile: sensors").await;
    assert_eq!((result.state, &*result.message), (State::Bad, "fan 1 status is failed (status failed, type fan)"));
    close(&result, "inlet temperature", 23.6);
    close(&result, "3.3V rail voltage", 3.312);
    assert_eq!(result.metrics.len(), 2, "{:?}", result.metrics);
}

#[tokio::test]
async fn counters_are_compared_with_the_last_run() {
    let root = "1.3.6.1.4.1.9999";
    let agent = Agent::start(&[(root, "counters.txt")]).await;
    let mut check = agent.check("get: { hits: { oid: 1.3.6.1.4.1.9999.1.0, rate: true, unit: B } }");
    let (_, first) = check.run().await;
    assert_eq!((first.state, metric(&first, "hits")), (State::Okay, 0.0), "{first:?}");
    let start = Instant::now();
    agent.change(root, "counters_later.txt");
    let later = check.until("it grows", |result| result.metrics.iter().any(|metric| metric.value > Some(0.0))).await;
    // A thousand, in no more time than has passed and hardly in less than a clock tick.
    let rate = metric(&later, "hits");
    assert!(rate >= 1_000.0 / (start.elapsed().as_secs_f64() + 1.0) && rate <= 100_000.0, "{rate}");
    let odd = "get: { a: { oid: 1.3.6.1.4.1.9999.2.0, scale: 2 }, b: { oid: 1.3.6.1.4.1.9999.3.0, rate: true }, c: 1.3.6.1.4.1.9999.2.0 }";
    let result = agent.result(&format!("{odd}\nwarning: {{ c: warm }}")).await;
    assert_eq!(result.state, State::Bad, "{result:?}");
    for expected in [
        "a: what the agent says of 1.3.6.1.4.1.9999.2.0 is no number",
        "b: the agent has no object 1.3.6.1.4.1.9999.3.0",
        "c is warm",
    ] {
        assert!(result.message.contains(expected), "{expected}: {result:?}");
    }
}

#[tokio::test]
async fn a_thousand_gets_take_little_time() {
    let agent = Agent::start(&[]).await;
    let mut check = agent.check("get: { sysname: 1.3.6.1.2.1.1.5.0 }");
    let start = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(check.run().await.1.state, State::Okay);
    }
    // A core does this in a second when it is built for speed; snmpd and this test share what there is.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
