//! Proposals for recorded hosts, and that the configuration takes them.

use std::path::Path;

use super::*;
use crate::config::{self, Chosen, LoadOptions, Reason};
use crate::daemon;

/// A host that has these files.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

const MOUNTS: &str = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /proc rw - proc proc rw\n\
    23 21 8:17 / /srv/my\\040data rw shared:1 - xfs /dev/sdb1 rw\n24 21 8:17 /x /bind rw - xfs /dev/sdb1 rw\n\
    25 21 0:40 / /home rw - nfs4 nas:/home rw\n26 21 0:41 / /tmp rw - tmpfs tmpfs rw\n27 21 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n\
    28 21 8:33 / /etc/hosts rw - ext4 /dev/sdc1 rw\n";
const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
    0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
    1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
    2: 0100007F:0050 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
    3: broken\n";
const TCP6: &str = "  sl  local_address                         remote_address                        st\n\
    0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000\n\
    1: 00000000000000000000000001000000:18EB 00000000000000000000000000000000:0000 0A 00000000:00000000\n\
    2: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000\n";

fn busy_host() -> tempfile::TempDir {
    host(&[
        ("proc/self/mountinfo", MOUNTS),
        ("etc/hosts", ""),
        ("proc/net/tcp", TCP),
        ("proc/net/tcp6", TCP6),
        (
            "proc/mdstat",
            "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0]\n      1046528 blocks [2/2] [UU]\n",
        ),
        ("usr/lib/monchero/plugins/check_mdraid", ""),
        ("usr/bin/apt-get", ""),
        ("etc/chrony/chrony.conf", "# server old.example.org\npool 2.debian.pool.ntp.org iburst\n"),
        ("run/systemd/system/x", ""),
        ("sys/fs/cgroup/system.slice/nginx.service/cgroup.procs", "1\n"),
        ("sys/fs/cgroup/system.slice/other.service/cgroup.procs", "1\n"),
        ("etc/systemd/system/multi-user.target.wants/nginx.service", ""),
        ("etc/systemd/system/multi-user.target.wants/oneshot.service", ""),
        ("etc/letsencrypt/live/a.example/cert.pem", ""),
        ("sys/class/hwmon/hwmon0/temp1_input", "40000\n"),
    ])
}

/// What all looks find, and what they could not look at.
fn look(root: &Path) -> (Vec<Proposal>, Vec<(&'static str, String)>) {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    for (what, look) in LOOKS {
        match look(root) {
            Ok(more) => found.extend(more),
            Err(why) => unseen.push((what, why)),
        }
    }
    (found, unseen)
}

fn shown(found: &[Proposal]) -> Vec<String> {
    let ways = |proposal: &Proposal| {
        let ways: Vec<String> = proposal.ways.iter().map(|way| format!("{} {}", way.kind, way.yaml())).collect();
        format!("{}: {}", proposal.name, ways.join(", or "))
    };
    found.iter().map(ways).collect()
}

#[test]
fn what_a_busy_host_has() {
    let root = busy_host();
    let (found, unseen) = look(root.path());
    assert_eq!(unseen, []);
    let limits = "warning: 80%, bad: 90%";
    assert_eq!(
        shown(&found),
        [
            "load: load {}".to_owned(),
            "memory: memory {}".to_owned(),
            format!("disk-root: disk {{ path: /, {limits} }}"),
            format!("disk-srv/my data: disk {{ path: \"/srv/my data\", mounted: true, {limits} }}"),
            format!("disk-home: disk {{ path: /home, mounted: true, {limits} }}"),
            "raid: raid {}, or plugin { command: check_mdraid, format: native }".to_owned(),
            "temperature: temperature {}".to_owned(),
            "updates: updates {}".to_owned(),
            "clock: time { servers: 2.debian.pool.ntp.org }".to_owned(),
            "failed-units: systemd {}".to_owned(),
            "nginx: systemd { unit: nginx.service }".to_owned(),
            "ssh-22: ssh { address: \"127.0.0.1:22\" }, or tcp { address: \"127.0.0.1:22\" }".to_owned(),
            "https-443: tcp { address: \"[::1]:443\" }".to_owned(),
            "postgresql-5432: tcp { address: \"127.0.0.1:5432\" }".to_owned(),
            "redis-6379: redis { address: \"[::1]:6379\" }, or tcp { address: \"[::1]:6379\" }".to_owned(),
            "certificates: certificate { path: \"/etc/letsencrypt/live/*/cert.pem\", private_key: privkey.pem }"
                .to_owned(),
        ]
    );
}

#[test]
fn what_cannot_be_looked_at_has_a_reason() {
    let root = host(&[("run/docker.sock", "not a socket")]);
    let (_, unseen) = look(root.path());
    let unseen: Vec<String> = unseen.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    let missing = "No such file or directory (os error 2)";
    assert_eq!(
        unseen,
        [
            format!("file systems: reading /proc/self/mountinfo: {missing}"),
            "units of systemd: systemd does not run here".to_owned(),
            format!("listening ports: reading /proc/net/tcp: {missing}"),
            "containers: /run/docker.sock: nobody answers at the socket".to_owned(),
            format!("UPSes: reading /proc/net/tcp: {missing}"),
        ]
    );
}

/// A configuration directory with one file, as it is read.
fn load(directory: &Path, text: &str) -> (Vec<String>, Vec<Configured>) {
    std::fs::create_dir_all(directory.join("conf.d")).unwrap();
    let file = directory.join("conf.d/host.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let chosen = Chosen { path: directory.to_owned(), reason: Reason::User };
    let loaded = config::load(&LoadOptions { keep_settings: true, ..daemon::options(&chosen, Vec::new()) });
    let problems = loaded.problems.iter().map(|problem| problem.render(false)).collect();
    (problems, configured(&config::show::json(&loaded)))
}

#[test]
fn the_configuration_takes_what_is_proposed_and_then_nothing_is() {
    let root = busy_host();
    let (found, unseen) = look(root.path());
    // A UPS is asked for over the network, which no recorded host has.
    let ups = looks::ups("rack", std::net::Ipv6Addr::LOCALHOST.into());
    let chosen: Vec<Proposal> = found.iter().cloned().chain([ups]).filter_map(Proposal::choose).collect();
    assert!(chosen.len() > 8, "{:?}", shown(&chosen));
    let text = render("a\u{1b}host", &chosen, &[], &unseen);
    let directory = tempfile::tempdir().unwrap();
    let (problems, known) = load(directory.path(), &text);
    assert!(problems.is_empty(), "{}\n{text}", problems.join("\n"));
    assert_eq!(known.len(), chosen.len(), "{text}");
    let left: Vec<Proposal> = chosen.into_iter().filter(|proposal| !covered(proposal, &known)).collect();
    assert_eq!(shown(&left), Vec::<String>::new());
    let text = render("host", &left, &known, &[("UPSes", "no\nanswer".to_owned())]);
    assert_eq!(
        text,
        "# Checks that `monchero discover` proposes for host. Nobody is told anything until `actions` names somebody.\n\
         # Nothing was found that no check looks at yet.\n\n# What could not be looked at:\n# - UPSes: no\\nanswer\n"
    );
}

#[test]
fn what_others_wrote_covers_it_too() {
    let root = busy_host();
    let (found, _) = look(root.path());
    let directory = tempfile::tempdir().unwrap();
    let text = "checks:\n  disks:\n    disk: [/, /home]\n  load:\n    tcp: localhost:22\n";
    let (problems, known) = load(directory.path(), text);
    assert!(problems.is_empty(), "{problems:?}");
    let left: Vec<Proposal> = found.into_iter().filter(|proposal| !covered(proposal, &known)).collect();
    let names: Vec<&str> = left.iter().map(|proposal| proposal.name.as_str()).collect();
    assert!(!names.contains(&"disk-root") && !names.contains(&"disk-home") && !names.contains(&"ssh-22"), "{names:?}");
    assert!(names.contains(&"disk-srv/my data") && names.contains(&"load"), "{names:?}");
    let text = render("host", &left, &known, &[]);
    assert!(text.contains("\n  load-2:\n    load: {}\n"), "the name is taken: {text}");
    assert!(text.contains("\n  disk-srv-my-data:\n"), "{text}");
}

#[test]
fn a_check_of_all_file_systems_covers_those_of_this_host() {
    let root = busy_host();
    let (found, _) = look(root.path());
    let directory = tempfile::tempdir().unwrap();
    let (problems, known) = load(directory.path(), include_str!("../../../conf.d/host.yaml"));
    assert!(problems.is_empty(), "{problems:?}");
    let left: Vec<&str> =
        found.iter().filter(|one| !covered(one, &known)).map(|proposal| proposal.name.as_str()).collect();
    let disks: Vec<&&str> = left.iter().filter(|name| name.starts_with("disk-")).collect();
    assert_eq!(disks, [&"disk-home"], "that is mounted over the network: {left:?}");
    assert!(!left.contains(&"load") && !left.contains(&"memory") && left.contains(&"failed-units"), "{left:?}");
}

#[test]
fn one_unit_does_not_cover_those_that_failed() {
    let check = |keys: &[&str], words: &[&str]| Configured {
        name: "x".to_owned(),
        kind: "systemd".to_owned(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let root = busy_host();
    let (found, _) = look(root.path());
    let by_name = |name: &str| found.iter().find(|proposal| proposal.name == name).unwrap();
    let (failed, nginx) = (by_name("failed-units"), by_name("nginx"));
    let unit = [check(&["unit"], &["nginx"])];
    assert_eq!((covered(failed, &unit), covered(nginx, &unit)), (false, true));
    let all = [check(&[], &[])];
    assert_eq!((covered(failed, &all), covered(nginx, &all)), (true, false));
}

#[test]
fn names_and_texts_from_outside_stay_what_they_are() {
    let way = Way { kind: "nut", settings: vec![("ups", "a\"b\n# {x}".to_owned())], same: Same::Any };
    assert_eq!(way.yaml(), "{ ups: \"a\\\"b\\n# {x}\" }");
    let mut taken = BTreeSet::new();
    let names = ["a b", "a/b", "../x", "9", ""].map(|name| unique(name, &mut taken));
    assert_eq!(names, ["a-b", "a-b-2", "x", "check-9", "check-"]);
}
