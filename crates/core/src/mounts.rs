//! What `/proc/self/mountinfo` says, and which file systems answer without waiting for anybody.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::order;

/// File systems whose `statvfs` only reads counters that the kernel has in memory. Those of other hosts and of programs wait for an answer;
/// `vfat` counts on the disk, `xfs` (Linux 5.14 to 5.18) and older `btrfs` wait for others who wait for the disk, and `overlay` asks what is below it.
const COUNTED: &[&str] = &["ext2", "ext3", "ext4", "tmpfs"];

/// File systems whose files come from a disk of this host or from memory. Any other, also one that nobody has heard of yet, may ask
/// another host (`nfs4`, `cifs`, `9p`) or a program (`fuse`, `autofs`), and those may never answer.
const LOCAL: &[&str] = &[
    "bcachefs",
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "jfs",
    "mqueue",
    "nilfs2",
    "nsfs",
    "ntfs3",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "reiserfs",
    "romfs",
    "rootfs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
    "vfat",
    "xfs",
    "zfs",
];

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Its mount point.
    pub point: String,
    /// The type, such as `ext4`.
    pub kind: String,
    /// What is mounted: a device, `server:/export`.
    pub device: String,
    /// The options of the mount, such as `rw,noatime`.
    pub options: String,
    /// Whether the file system itself is read-only, as it becomes after errors. What `statvfs` says is about the mount, and in the sandbox
    /// of a service every mount is read-only.
    pub read_only: bool,
    /// Whether projects have shares of it: then what is free may have to be looked up.
    pub has_project_quota: bool,
    /// The numbers of the device.
    pub number: String,
    /// Which directory of the file system is mounted.
    pub root: String,
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
    pub fn is_above(&self, path: &Path) -> bool {
        let rest = path.as_os_str().as_bytes().strip_prefix(self.point.as_bytes());
        self.point == "/" || rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// Whether `statvfs` waits for nothing.
    pub fn counts_in_memory(&self) -> bool {
        COUNTED.contains(&self.kind.as_str()) && !self.has_project_quota
    }

    /// Whether to look at its files may mean to wait for another host or for a program.
    pub fn asks_others(&self) -> bool {
        !LOCAL.contains(&self.kind.as_str())
    }
}

fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].into_iter().fold(
        word.to_owned(),
        |word, (written, meant)| if word.contains(written) { word.replace(written, meant) } else { word },
    )
}

/// All mounts that can be seen: where several stand above each other on one mount point, the last one.
pub fn all(mountinfo: &str) -> Vec<Mount> {
    let mounts = mountinfo.lines().filter_map(Mount::parse).map(|mount| (mount.point.clone(), mount));
    order::tree::<BTreeMap<_, _>, _>(mounts).into_values().collect()
}

/// The mount on which a path stands, as far as its text tells.
pub fn of_path<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| mount.is_above(path)).max_by_key(|mount| mount.point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_another_host_or_a_program_may_never_answer() {
        let asks = |kind: &str| Mount { kind: kind.to_owned(), ..Mount::default() }.asks_others();
        for kind in [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "9p",
            "ceph",
            "fuse",
            "fuse.sshfs",
            "fuseblk",
            "autofs",
            "virtiofs",
            "of-2030",
        ] {
            assert!(asks(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "squashfs", "proc", "vfat"] {
            assert!(!asks(kind), "{kind}");
        }
    }
}
