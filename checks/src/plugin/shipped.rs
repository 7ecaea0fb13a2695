//! The plugins that are shipped in `checks/plugins`, run by a real shell over made-up hosts.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use monchero_core::{Metric, Name, State, nagios};

use super::native;
use super::tests::show;

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

/// Exit status and output of a program; programs in `bin` of the root come before those of the system.
#[expect(
    clippy::disallowed_methods,
    reason = "programs that end by themselves; the real runner is tested with the daemon"
)]
fn program(program: &Path, arguments: &[&str], root: &Path) -> (i32, String) {
    let path = format!("{}/bin:{}", root.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.args(arguments).env("SYSROOT", root).env("PATH", path).env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap_or_else(|why| panic!("{}: {why}", program.display()));
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(stderr.is_empty(), "{}: {stderr}", program.display());
    (output.status.code().unwrap(), stdout)
}

/// Exit status and output of a plugin that is shipped.
fn run(plugin: &str, arguments: &[&str], root: &Path) -> (i32, String) {
    program(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(plugin), arguments, root)
}

/// Sets when a file was written last.
fn touch(root: &Path, path: &str, ago: Duration) {
    let file = File::options().write(true).open(root.join(path)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the plugin compares with the clock of the host")]
    file.set_modified(SystemTime::now() - ago).unwrap();
}

/// `state: message` and the metrics of a plugin in the format `nagios`. Its limits must say the same as its exit status.
fn classic(plugin: &str, arguments: &[&str], root: &Path) -> String {
    let (status, text) = run(plugin, arguments, root);
    let said = nagios::parse(text.as_bytes(), false);
    assert_eq!(said.lost.describe(), None);
    let state = State::from_exit_status(status).unwrap();
    if let Some(by_limits) = said.metrics.iter().map(Metric::state).max() {
        assert_eq!(by_limits, state, "{text}");
    }
    format!("{state}: {} | {}", said.message, nagios::render(&said.metrics))
}

#[test]
fn reboot() {
    let quiet = host(&[("lib/modules/README", "")]);
    std::fs::remove_file(quiet.path().join("lib/modules/README")).unwrap();
    assert_eq!(classic("check_reboot", &[], quiet.path()), "okay: REBOOT OK - nothing asks for one | pending=0;0");
    let asked = host(&[
        ("run/reboot-required", "*** System restart required ***\n"),
        ("run/reboot-required.pkgs", "linux-base\nlibc6\nlibc6\n"),
    ]);
    assert_eq!(
        classic("check_reboot", &[], asked.path()),
        "warning: REBOOT WARNING - asked for by libc6 linux-base | pending=1;0"
    );
    let unnamed = host(&[("run/reboot-required", "")]);
    assert_eq!(
        classic("check_reboot", &[], unnamed.path()),
        "warning: REBOOT WARNING - asked for by an update | pending=1;0"
    );
    let upgraded = host(&[("lib/modules/0.0.1-other/modules.dep", "")]);
    let shown = classic("check_reboot", &[], upgraded.path());
    assert!(
        shown.starts_with("warning: REBOOT WARNING - the modules of the running kernel ")
            && shown.contains(" are gone"),
        "{shown}"
    );
}

#[test]
fn readonly() {
    let mounts = "22 21 0:5 / /proc ro,nosuid - proc proc ro\n21 1 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                  23 21 8:1 /tmp /tmp rw shared:1 master:2 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                  24 21 8:2 / /srv/my\\040data ro,relatime - xfs /dev/sdb1 ro\n\
                  25 21 7:0 / /snap/core ro,nodev - squashfs /dev/loop0 ro\n26 21 8:3 / /boot ro - ext2 /dev/sdc1 ro\n";
    let root = host(&[("proc/self/mountinfo", mounts)]);
    assert_eq!(
        classic("check_readonly", &["/boot"], root.path()),
        "bad: READONLY CRITICAL - read-only: /srv/my\\040data | readonly=1;;0 looked=3"
    );
    assert_eq!(
        classic("check_readonly", &["/boot", "/srv/my\\040data"], root.path()),
        "okay: READONLY OK - 3 file systems | readonly=0;;0 looked=3"
    );
}

/// A metric changes by the second while a test runs.
fn without_seconds(text: &str) -> String {
    regex::Regex::new(r"(age|oldest)=\d+s").unwrap().replace_all(text, "$1=<time>").into_owned()
}

#[test]
fn backup_age() {
    const HOUR: Duration = Duration::from_hours(1);
    let root = host(&[
        ("tar/monday.tar", "12345"),
        ("tar/tuesday.tar", "123"),
        ("tar/wednesday.tar.part", "1"),
        ("restic/snapshots/abc", "1"),
        ("restic/keys/k", "1"),
        ("restic/index/new", "1"),
        ("borg/config", "[repository]"),
        ("borg/index.7", "1234"),
        ("borg/data/0/1", "1"),
        ("empty/.hidden", "1"),
    ]);
    let age = |arguments: &[&str]| {
        let directory = root.path().join(arguments[0]).display().to_string();
        let arguments: Vec<&str> = [directory.as_str()].into_iter().chain(arguments[1..].iter().copied()).collect();
        let said = classic("check_backup_age", &arguments, root.path());
        without_seconds(&said.replace(&root.path().display().to_string(), ""))
    };
    touch(root.path(), "tar/monday.tar", 60 * HOUR);
    touch(root.path(), "tar/tuesday.tar", 30 * HOUR);
    let limits = "age=<time>;93600;180000 size=3B;;1:";
    assert_eq!(
        age(&["tar"]),
        format!("warning: BACKUP WARNING - tuesday.tar is 30 hours old and has 3 bytes | {limits}")
    );
    assert!(age(&["tar", "40", "50"]).starts_with("okay: BACKUP OK - tuesday.tar"));
    assert!(age(&["tar", "10", "20"]).starts_with("bad: BACKUP CRITICAL - tuesday.tar"));
    touch(root.path(), "restic/snapshots/abc", 60 * HOUR);
    assert!(age(&["restic"]).starts_with("bad: BACKUP CRITICAL - abc is 60 hours old"), "{}", age(&["restic"]));
    touch(root.path(), "borg/index.7", 2 * HOUR);
    assert!(age(&["borg"]).starts_with("okay: BACKUP OK - index.7 is 2 hours old"), "{}", age(&["borg"]));
    File::create(root.path().join("tar/thursday.tar")).unwrap();
    assert!(age(&["tar"]).starts_with("bad: BACKUP CRITICAL - thursday.tar is 0 hours old and has 0 bytes"));
    assert_eq!(age(&["empty"]), "bad: BACKUP CRITICAL - no backup in /empty | ");
    assert_eq!(age(&["gone"]), "bad: BACKUP CRITICAL - there is no directory /gone | ");
    assert_eq!(run("check_backup_age", &[], root.path()).0, 3);
}

#[test]
fn mailq() {
    let queues = ["incoming/x", "active/x", "deferred/A/AB12", "hold/x"];
    let mails: Vec<(String, &str)> = queues.iter().map(|mail| (format!("var/spool/postfix/{mail}"), "mail")).collect();
    let mails: Vec<(&str, &str)> = mails.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let postfix = host(&mails);
    touch(postfix.path(), "var/spool/postfix/deferred/A/AB12", Duration::from_secs(3_630));
    let said = |arguments: &[&str], root: &Path| without_seconds(&classic("check_mailq", arguments, root));
    assert_eq!(
        said(&[], postfix.path()),
        "okay: MAILQ OK - 4 mails wait, the oldest for 60 minutes | queued=4;20;100;0 oldest=<time>;;;0"
    );
    assert!(said(&["3"], postfix.path()).starts_with("warning: MAILQ WARNING - 4 mails wait"));
    assert!(said(&["1", "3"], postfix.path()).starts_with("bad: MAILQ CRITICAL - 4 mails wait"));
    let exim = host(&[("var/spool/exim4/input/1t-H", "head"), ("var/spool/exim4/input/1t-D", "body")]);
    assert!(said(&[], exim.path()).starts_with("okay: MAILQ OK - 1 mails wait, the oldest for 0 minutes"));
    std::fs::remove_file(exim.path().join("var/spool/exim4/input/1t-H")).unwrap();
    assert_eq!(said(&[], exim.path()), "okay: MAILQ OK - 0 mails wait | queued=0;20;100;0 oldest=<time>;;;0");
    assert!(said(&[], host(&[]).path()).starts_with("unknown: MAILQ UNKNOWN - there is no queue"));
}

#[test]
fn git_behind() {
    let root = host(&[("README", "")]);
    let git = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (status, text) = program(Path::new("git"), &arguments, root.path());
        assert_eq!(status, 0, "git {arguments:?}: {text}");
    };
    let path = |name: &str| root.path().join(name).display().to_string();
    let commit = "-c user.name=a -c user.email=a@example.org commit -q --allow-empty -m x";
    let (upstream, checkout) = (path("upstream"), path("checkout"));
    git(&format!("init -q -b main {upstream}"));
    git(&format!("-C {upstream} {commit}"));
    git(&format!("clone -q {upstream} {checkout}"));
    let said = |directory: &str| classic("check_git_behind", &[directory], root.path());
    let fine = "as origin/main, nothing changed | behind=0;0 ahead=0;0 changed=0;0";
    assert_eq!(said(&checkout), format!("okay: GIT OK - {checkout}: {fine}"));
    git(&format!("-C {upstream} {commit}"));
    git(&format!("-C {checkout} fetch -q"));
    std::fs::write(root.path().join("checkout/new"), "").unwrap();
    assert_eq!(
        said(&checkout),
        format!(
            "warning: GIT WARNING - {checkout}: 1 commits behind origin/main, 0 ahead, 1 files changed | behind=1;0 ahead=0;0 changed=1;0"
        )
    );
    assert!(said(&upstream).contains("follows no other one"));
    assert!(said(&path("bin")).starts_with("unknown: GIT UNKNOWN - fatal: "));
}

#[test]
fn zfs_pool() {
    let services = |script: &str| {
        let root = host(&[("bin/zpool", script)]);
        std::fs::set_permissions(root.path().join("bin/zpool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let (_, text) = run("check_zfs_pool", &[], root.path());
        let check = Name::new("zfs");
        native::Reader { check: &check, file: "check_zfs_pool", judge_metrics: true }.read(&text).unwrap()
    };
    // As `zpool list -Hp` of OpenZFS 2.1 prints it.
    let pools = "#!/bin/sh\n[ \"$*\" = \"list -Hp -o name,health,capacity,fragmentation\" ] || exit 2\n\
        printf 'tank\\tONLINE\\t42\\t7\\nbackup\\tDEGRADED\\t85\\t30\\nold\\tFAULTED\\t0\\t-\\n'\n";
    let report = services(pools);
    let shown: Vec<String> =
        report.services.into_iter().map(|(name, service)| format!("{name}: {}", show(service))).collect();
    assert_eq!(
        shown,
        [
            "tank: okay: ONLINE | used=42%;@80:;@90: fragmentation=7%",
            "backup: warning: DEGRADED | used=85%;@80:;@90: fragmentation=30%",
            "old: bad: FAULTED | used=0%;@80:;@90:"
        ]
    );
    assert_eq!(show(services("#!/bin/sh\n")), "okay: 0 services");
    let refused =
        services("#!/bin/sh\necho 'Permission denied the \"ZFS\" utilities must be run as root.' >&2\nexit 1\n");
    assert_eq!(show(refused), "unknown: zpool list: Permission denied the ZFS utilities must be run as root.");
}

#[test]
fn stale_libraries() {
    let maps = |path: &str| format!("7f0000000000-7f0000001000 r-xp 00000000 08:01 1234 {path}\n");
    let gone = maps("               /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)");
    let kept =
        maps("/usr/lib/x86_64-linux-gnu/libc.so.6") + &maps("/memfd:x.so (deleted)") + &maps("/tmp/lib.so (deleted)");
    let root = host(&[
        ("proc/1/maps", &kept),
        ("proc/1/comm", "init\n"),
        ("proc/20/maps", &gone),
        ("proc/20/comm", "nginx\n"),
        ("proc/21/maps", &gone),
        ("proc/21/comm", "nginx\n"),
        ("proc/30/maps", &gone),
        ("proc/30/comm", "sshd\n"),
        ("proc/31/maps", &gone),
    ]);
    let said = |arguments: &[&str]| classic("check_stale_libraries", arguments, root.path());
    assert_eq!(said(&[]), "warning: LIBRARIES WARNING - to be restarted after an update: nginx sshd | programs=3;0");
    assert_eq!(said(&["sshd", "nginx"]), "okay: LIBRARIES OK - no program uses a deleted library | programs=0;0");
}

#[test]
fn mdraid() {
    let mdstat = "Personalities : [raid1] [raid6] [raid5] [raid4]\n\
        md0 : active raid1 sdb1[1] sda1[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n      \n\
        md1 : active raid5 sdd1[3](F) sdc1[1] sdb2[0]\n      2095104 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [UU_]\n      \n\
        md2 : active raid1 sdb3[1] sda3[0]\n      20953088 blocks super 1.2 [2/2] [UU]\n      [==>..........]  resync = 12.6% (2647040/20953088) finish=1.6min\n\n\
        md3 : inactive sdf1[0](S)\n      1046528 blocks super 1.2\n       \nunused devices: <none>\n";
    let root = host(&[("proc/mdstat", mdstat)]);
    let services = |root: &Path| {
        let (_, text) = run("check_mdraid", &[], root);
        let check = Name::new("raid");
        native::Reader { check: &check, file: "check_mdraid", judge_metrics: true }.read(&text).unwrap()
    };
    let shown: Vec<String> = services(root.path())
        .services
        .into_iter()
        .map(|(name, service)| format!("{name}: {}", show(service)))
        .collect();
    assert_eq!(
        shown,
        [
            "md0: okay: active raid1, 2 of 2 disks | disks=2;;2:;0;2",
            "md1: bad: active raid5, 2 of 3 disks | disks=2;;3:;0;3",
            "md2: warning: active raid1, 2 of 2 disks, resync = 12.6% | disks=2;;2:;0;2",
            "md3: bad: inactive",
        ]
    );
    let none = host(&[("proc/mdstat", "Personalities : \nunused devices: <none>\n")]);
    assert_eq!(show(services(none.path())), "okay: 0 services");
    assert_eq!(show(services(host(&[]).path())), "unknown: there is no /proc/mdstat: the kernel has no software RAID");
}
