//! Which mounts hold data.

use std::collections::BTreeMap;

use monchero_core::mounts::Mount;
use monchero_core::order;

/// Types of file systems that hold no data of their own, or none that can fill up: the kernel's own, those in memory, images that are
/// always full, and views of other file systems.
const WITHOUT_DATA: &[&str] = &[
    "aufs",
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.fuse-overlayfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fuse.vmware-vmblock",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "romfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "shiftfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
];

fn holds_data(mount: &Mount) -> bool {
    // The root of a container or of a live system is what it has.
    mount.point == "/" && mount.kind != "rootfs" || !WITHOUT_DATA.contains(&mount.kind.as_str())
}

/// The mounts that hold data; of several of one device the one that shows its root or, failing that, has the shortest mount point.
pub(super) fn with_data(mounts: &[Mount]) -> Vec<&Mount> {
    let mut best: BTreeMap<&str, &Mount> = BTreeMap::new();
    let rank = |mount: &Mount| (mount.root != "/", mount.point.len());
    for mount in mounts.iter().filter(|mount| holds_data(mount)) {
        match best.get(mount.number.as_str()) {
            Some(other) if rank(other) <= rank(mount) => {}
            _ => {
                best.insert(&mount.number, mount);
            }
        }
    }
    let mut mounts: Vec<&Mount> = best.into_values().collect();
    order::sort_by(&mut mounts, |a, b| a.point.cmp(&b.point));
    mounts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use monchero_core::mounts::{all, of_path};
    use std::path::Path;

    const TEXT: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
22 21 0:5 / /dev rw - devtmpfs udev rw
23 21 0:21 / /run rw - tmpfs tmpfs rw
24 21 0:22 / /mnt/with\\040blank rw shared:2 master:3 - nfs4 server:/x rw
25 21 0:23 / /back\\134040slash rw - xfs /dev/b rw
26 21 8:1 /var/lib/bound /srv/bound rw - ext4 /dev/sda1 rw
27 21 7:1 / /snap/core ro - squashfs /dev/loop1 ro
28 21 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
29 21 0:41 /@home /home rw - btrfs /dev/sdb rw,subvol=/@home
30 21 0:41 /@ /b rw - btrfs /dev/sdb rw,subvol=/@
31 21 0:50 / /data rw - ext4 /dev/sdc rw
32 31 0:51 / /data rw - xfs /dev/sdd rw
";

    fn points<'a>(mounts: &[&'a Mount]) -> Vec<&'a str> {
        mounts.iter().map(|mount| mount.point.as_str()).collect()
    }

    #[test]
    fn mounts_that_hold_data() {
        let all_mounts = all(TEXT);
        let mounts = with_data(&all_mounts);
        assert_eq!(points(&mounts), ["/", "/b", "/back\\040slash", "/data", "/mnt/with blank"]);
        assert_eq!(mounts[3].device, "/dev/sdd", "the later one covers the earlier one");
        assert_eq!((mounts[4].kind.as_str(), mounts[4].device.as_str()), ("nfs4", "server:/x"));
        let container = "1 0 0:9 / / rw - overlay overlay rw\n2 1 0:10 / /dev/shm rw - tmpfs shm rw\n";
        assert_eq!(points(&with_data(&all(container))), ["/"]);
    }

    #[test]
    fn a_file_system_is_read_only_and_not_only_its_mount() {
        let sandbox = "1 0 8:1 / / ro,relatime - ext4 /dev/sda1 rw,errors=remount-ro\n2 1 8:2 / /srv rw - ext4 /dev/sdb1 ro,errors=remount-ro\n";
        let found: Vec<_> = all(sandbox).into_iter().map(|mount| (mount.point, mount.read_only)).collect();
        assert_eq!(found, [("/".to_owned(), false), ("/srv".to_owned(), true)]);
    }

    #[test]
    fn a_path_stands_on_the_innermost_mount() {
        let mounts = all(TEXT);
        for (path, point) in [("/srv/x", "/"), ("/mnt/with blank/a", "/mnt/with blank"), ("/homeless", "/"), ("/", "/")]
        {
            assert_eq!(of_path(&mounts, Path::new(path)).map(|mount| mount.point.as_str()), Some(point));
        }
        assert_eq!(of_path(&[], Path::new("/")), None);
    }

    #[test]
    fn fuzzed_mountinfo() {
        crate::fuzz::on_text("proc_mountinfo", |text| {
            let mounts = all(text);
            let count = mounts.len();
            assert!(count <= text.lines().count());
            if let Some(mount) = of_path(&mounts, Path::new("/srv/bound/x")) {
                assert!(Path::new("/srv/bound/x").starts_with(&mount.point));
            }
            let data = with_data(&mounts);
            assert!(data.len() <= count && data.iter().all(|mount| holds_data(mount)));
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-0-9a-z/: \\\\\n]{0,200}") {
            with_data(&all(&text));
        }
    }
}
