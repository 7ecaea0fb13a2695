//! A program that hangs in the kernel and cannot be killed (R6). Needs root and `/dev/fuse`.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{end, ended, eventually, executor, marker, shell, text, zombies};
use monchero_core::program::{Exit, Program, Spawner as _};

const SECOND: Duration = Duration::from_secs(1);

/// A file system whose server takes requests and never answers: whoever asks it waits in the kernel, deaf to SIGKILL.
struct Hung {
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

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Breaks the connection: everybody who waits gets an error.
    fn release(&mut self) {
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

/// In a thread of its own: what the main thread starts would look like an orphan to the executor.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_in_the_kernel_is_given_up_watched_and_reaped() {
    let mut hung =
        Hung::mount().expect("a FUSE file system cannot be mounted: run this test as root where there is a /dev/fuse");
    let executor = executor();
    let marker = marker();
    let script = format!("echo asking; stat {}/x; echo answered", hung.path().display());
    let program =
        Program { kill_grace: Duration::from_millis(100), ..shell(&script, &marker, Duration::from_millis(300)) };
    let asked = {
        let executor = executor.clone();
        tokio::spawn(async move { end(&executor, program).await })
    };
    // Nobody else waits.
    for _ in 0..20 {
        assert!(ended(&end(&executor, shell("exit 0", "other", 10 * SECOND)).await, 0));
    }
    let run = asked.await.unwrap();
    let Exit::Stuck { pid } = run.exit else { panic!("{run:?}") };
    assert_eq!(text(&run), "asking\n");
    assert!(run.duration > 5 * SECOND && run.duration < 7 * SECOND, "took {:?}", run.duration);
    assert_eq!(common::state(pid), Some('D'));
    assert!(executor.still_stuck(pid));
    assert_eq!((executor.counts().stuck, executor.counts().running), (1, 0));
    assert!(ended(&end(&executor, shell("exit 0", "other", 10 * SECOND)).await, 0));

    hung.release();
    eventually("it ends", || !executor.still_stuck(pid));
    eventually("all are reaped", || zombies() == 0);
    assert_eq!(executor.counts().stuck, 0);
    common::assert_gone(&marker);
}
