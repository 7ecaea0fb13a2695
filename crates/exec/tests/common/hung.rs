//! A dead mount. Needs root and `/dev/fuse`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// A file system whose server takes requests and never answers: whoever asks it waits in the kernel, deaf to SIGKILL.
pub(crate) struct Hung {
    directory: tempfile::TempDir,
    server: Option<std::thread::JoinHandle<()>>,
}

impl Hung {
    /// Nothing if this host does not let us mount one.
    fn mount() -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/mount");
        command
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "hung"])
            .arg(directory.path());
        let mounted = run(command.stdin(Stdio::from(device.try_clone().unwrap())).stderr(Stdio::null()));
        drop(command);
        mounted.then(|| Self { directory, server: Some(std::thread::spawn(move || serve(device))) })
    }

    pub(crate) fn needed() -> Self {
        Self::mount().expect("a FUSE file system cannot be mounted: run this test as root where there is a /dev/fuse")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Breaks the connection: everybody who waits gets an error.
    pub(crate) fn release(&mut self) {
        if let Some(server) = self.server.take() {
            let done = run(Command::new("/bin/umount").args(["-f", "-l"]).arg(self.directory.path()));
            assert!(done, "the hung file system stays");
            server.join().unwrap();
        }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.release();
    }
}

/// In a thread of its own: what the main thread starts would look like an orphan to an executor.
fn run(command: &mut Command) -> bool {
    #[expect(clippy::disallowed_methods, reason = "mount and umount, around the executor")]
    let status = || command.status().is_ok_and(|status| status.success());
    std::thread::scope(|scope| scope.spawn(status).join().unwrap())
}

/// Answers the first request (`FUSE_INIT` of the kernel's fuse.h), so that the file system works, and no other.
fn serve(mut device: File) {
    let mut request = vec![0_u8; 1 << 20];
    let _ = device.read(&mut request).unwrap();
    let mut answer = Vec::new();
    // The header: length, no error, the number of the request.
    answer.extend(80_u32.to_ne_bytes());
    answer.extend(0_i32.to_ne_bytes());
    answer.extend(&request[8..16]);
    // Version 7.31, no read-ahead, no flags, the default numbers of background requests, writes of a page.
    for word in [7_u32, 31, 0, 0, 0, 4096] {
        answer.extend(word.to_ne_bytes());
    }
    answer.resize(80, 0);
    device.write_all(&answer).unwrap();
    while device.read(&mut request).is_ok() {}
}
