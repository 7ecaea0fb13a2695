//! What `/proc/self/mountinfo` says, and which mounts hold data.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

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

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its mount point.
    pub(super) point: String,
    /// The type, such as `ext4`.
    pub(super) kind: String,
    /// What is mounted: a device, `server:/export`.
    pub(super) device: String,
    /// The options of the mount, such as `rw,noatime`.
    pub(super) options: String,
    /// Whether the file system itself is read-only, as it becomes after errors. What `statvfs` says is about the mount, and in the sandbox
    /// of a service every mount is read-only.
    pub(super) read_only: bool,
    /// Whether projects have shares of it: then what is free may have to be looked up.
    pub(super) has_project_quota: bool,
    /// The numbers of the device.
    number: String,
    /// Which directory of the file system is mounted.
    root: String,
}

impl Mount {
    /// Reads a line (`proc_pid_mountinfo(5)`): six words, any number of optional ones, a `-`, the type, what is mounted and the
    /// options of the file system. Blanks, tabs,
    /// newlines and backslashes within a word are written as octal numbers.
    fn parse(line: &str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut words = before.split(' ').skip(2);
        let mut word = || words.next().map(unescape);
        let (number, root, point, options) = (word()?, word()?, word()?, word()?);
        let mut words = behind.split(' ').map(unescape);
        let (kind, device) = (words.next()?, words.next().unwrap_or_default());
        let own = words.next().unwrap_or_default();
        let has = |is: fn(&str) -> bool| own.split(',').any(is);
        let read_only = has(|option| option == "ro");
        // `prjquota`, `pquota`, `pqnoenforce`, `prjjquota=..`.
        let has_project_quota = has(|option| option.starts_with("prj") || option.starts_with("pq"));
        Some(Self { point, kind, device, options, read_only, has_project_quota, number, root })
    }

    /// Whether a path stands on it or below its mount point, as far as their texts tell. Both are written without needless slashes: to compare
    /// them part by part, as paths, costs more than to read the list.
    pub(super) fn is_above(&self, path: &Path) -> bool {
        let rest = path.as_os_str().as_bytes().strip_prefix(self.point.as_bytes());
        self.point == "/" || rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    fn holds_data(&self) -> bool {
        // The root of a container or of a live system is what it has.
        self.point == "/" && self.kind != "rootfs" || !WITHOUT_DATA.contains(&self.kind.as_str())
    }
}

fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].into_iter().fold(
        word.to_owned(),
        |word, (written, meant)| if word.contains(written) { word.replace(written, meant) } else { word },
    )
}

/// All mounts that can be seen: where several stand above each other on one mount point, the last one.
pub(super) fn all(mountinfo: &str) -> Vec<Mount> {
    let mounts = mountinfo.lines().filter_map(Mount::parse).map(|mount| (mount.point.clone(), mount));
    order::tree::<BTreeMap<_, _>, _>(mounts).into_values().collect()
}

/// The mounts that hold data; of several of one device the one that shows its root or, failing that, has the shortest mount point.
pub(super) fn with_data(mounts: &[Mount]) -> Vec<&Mount> {
    let mut best: BTreeMap<&str, &Mount> = BTreeMap::new();
    let rank = |mount: &Mount| (mount.root != "/", mount.point.len());
    for mount in mounts.iter().filter(|mount| mount.holds_data()) {
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

/// The mount on which a path stands, as far as its text tells.
pub(super) fn of_path<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| mount.is_above(path)).max_by_key(|mount| mount.point.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            assert!(data.len() <= count && data.iter().all(|mount| mount.holds_data()));
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-0-9a-z/: \\\\\n]{0,200}") {
            with_data(&all(&text));
        }
    }
}
