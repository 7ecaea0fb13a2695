//! The plugins that are shipped in `checks/plugins`, run by a real shell over made-up hosts.

use std::path::Path;
use std::process::Command;

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

/// Exit status and output.
#[expect(
    clippy::disallowed_methods,
    reason = "a script of ours that ends by itself; the real runner is tested with the daemon"
)]
fn run(plugin: &str, arguments: &[&str], root: &Path) -> (i32, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(plugin);
    let output = Command::new(path).args(arguments).env("SYSROOT", root).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// `state: message` and the metrics of a plugin in the format `nagios`. Its limits must say the same as its exit status.
fn classic(plugin: &str, arguments: &[&str], root: &Path) -> String {
    let (status, text) = run(plugin, arguments, root);
    let said = nagios::parse(text.as_bytes(), false);
    assert_eq!(said.lost.describe(), None);
    let state = State::from_exit_status(status).unwrap();
    assert_eq!(said.metrics.iter().map(Metric::state).max(), Some(state), "{text}");
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
    let mounts = "proc /proc proc ro,nosuid 0 0\n/dev/sda1 / ext4 rw,relatime,errors=remount-ro 0 0\n/dev/sdb1 /srv/my\\040data xfs ro,relatime 0 0\n\
                  /dev/loop0 /snap/core squashfs ro,nodev 0 0\n/dev/sdc1 /boot ext2 ro 0 0\n";
    let root = host(&[("proc/mounts", mounts)]);
    assert_eq!(
        classic("check_readonly", &["/boot"], root.path()),
        "bad: READONLY CRITICAL - read-only: /srv/my\\040data | readonly=1;;0 looked=3"
    );
    assert_eq!(
        classic("check_readonly", &["/boot", "/srv/my\\040data"], root.path()),
        "okay: READONLY OK - 3 file systems | readonly=0;;0 looked=3"
    );
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
