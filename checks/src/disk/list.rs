//! The list of mounts, and which questions about them wait for no device.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::CheckError;
use monchero_core::check::Context;
use monchero_core::mounts::{self, Mount};

use super::MOUNTS;
use crate::host;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The longest list that is kept for the next run, in bytes: some 400 mounts.
const MAX_KEPT: usize = 64 * 1024;

/// The last list: as long as its text is the same, it is not taken apart again.
static LAST: Mutex<Option<Arc<List>>> = Mutex::new(None);

pub(super) struct List {
    text: String,
    pub(super) mounts: Vec<Mount>,
}

impl List {
    fn new(text: String) -> Self {
        Self { mounts: mounts::all(&text), text }
    }

    /// Whether the list itself can be read without waiting: the kernel holds no lock here that anybody keeps while waiting for a device,
    /// and the first process of the host reads it too without a thread of its own. But a mount of `btrfs` is written with the name of its
    /// subvolume, which may have to be read from the disk.
    fn is_read_at_once(&self) -> bool {
        self.mounts.iter().all(|mount| mount.kind != "btrfs")
    }

    /// Whether `statvfs` of a path waits for nothing. The way to a mount point is held in memory, so only the file systems count that lie
    /// on it; the way to any other path may have to be read.
    pub(super) fn answers_at_once(&self, path: &Path) -> bool {
        self.mounts.iter().any(|mount| path.as_os_str() == mount.point.as_str())
            && self.mounts.iter().filter(|mount| mount.is_above(path)).all(Mount::counts_in_memory)
    }
}

fn last() -> MutexGuard<'static, Option<Arc<List>>> {
    // Nothing panics under this lock.
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the list.
pub(super) async fn read(context: &Context<'_>, limit: Duration) -> Result<Arc<List>, CheckError> {
    let known = last().clone();
    let text = if known.as_ref().is_some_and(|list| list.is_read_at_once()) {
        host::read(context.sysroot, MOUNTINFO)?
    } else {
        let sysroot = context.sysroot.to_owned();
        let key = host::under(&sysroot, Path::new(MOUNTINFO)).to_string_lossy().into_owned();
        let text = MOUNTS.call(&key, limit, move || host::read(&sysroot, MOUNTINFO)).await;
        text.map_err(|why| CheckError::Unable(format!("reading `{MOUNTINFO}`: it {why}")))??
    };
    if let Some(list) = known.filter(|list| list.text == text) {
        return Ok(list);
    }
    let list = Arc::new(List::new(text));
    *last() = (list.text.len() <= MAX_KEPT).then(|| Arc::clone(&list));
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(mounts: &[(&str, &str, &str)]) -> List {
        let line = |(point, kind, options): &(&str, &str, &str)| format!("1 0 0:1 / {point} rw - {kind} x {options}\n");
        List::new(mounts.iter().map(line).collect())
    }

    #[test]
    fn who_may_wait_is_asked_on_a_thread() {
        let list = list(&[
            ("/", "ext4", "rw"),
            ("/srv", "ext4", "rw,discard"),
            ("/xfs", "xfs", "rw,attr2"),
            ("/tmp", "tmpfs", "rw"),
            ("/quota", "ext4", "rw,prjquota"),
            ("/nfs", "nfs4", "rw"),
            ("/nfs/local", "ext4", "rw"),
            ("/efi", "vfat", "rw"),
            ("/fuse", "fuse.sshfs", "rw"),
            ("/b", "btrfs", "rw"),
        ]);
        for path in ["/", "/srv", "/tmp"] {
            assert!(list.answers_at_once(Path::new(path)), "{path}");
        }
        // Among them a path that is no mount point: a link to anywhere may be a part of it.
        for path in ["/nfs", "/nfs/local", "/efi", "/fuse", "/b", "/xfs", "/quota", "/srv/www", "/none"] {
            assert!(!list.answers_at_once(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn subvolumes_have_names_on_the_disk() {
        assert!(list(&[("/", "ext4", "rw"), ("/nfs", "nfs4", "rw")]).is_read_at_once());
        assert!(!list(&[("/", "ext4", "rw"), ("/home", "btrfs", "rw,subvol=/@home")]).is_read_at_once());
    }
}
