//! The Unix socket: made so that nobody can connect before its mode is right, and never taken from a daemon that is alive (R68).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

/// Owner and group may connect; the directory may be stricter.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("cannot listen on `{0}`: another daemon listens there already")]
    InUse(PathBuf),
    /// Something else stands there.
    #[error("cannot listen on `{0}`: it exists and is no socket")]
    NotASocket(PathBuf),
    /// The path has no place for a file name.
    #[error("cannot listen on `{0}`: it names no file")]
    NoName(PathBuf),
    /// The rename that puts it into place would work, but nobody could connect.
    #[error("cannot listen on `{0}`: the path of a socket has at most 107 bytes; name a shorter one with `--socket`")]
    TooLong(PathBuf),
    /// The kernel refused.
    #[error("cannot listen on `{path}`: cannot {doing}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A bound socket; the file goes away with it.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode: only our own file is removed.
    id: (u64, u64),
}

impl Socket {
    /// Binds a socket at `path`, in place of a stale one. Makes the directory if it is missing. Needs a tokio runtime.
    ///
    /// It is bound inside a directory that nobody else can enter, gets its mode there and is then renamed into place.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |doing| move |source| SocketError::Io { path: path.to_owned(), doing, source };
        let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(SocketError::NoName(path.to_owned()));
        };
        let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(failed("make its directory"))?;
        check_free(path, &address)?;
        // Short: the path of a socket has at most 107 bytes.
        let private = parent.join(format!(".{}", std::process::id()));
        // Left by a process with our number that was killed in between.
        let _ = fs::remove_dir_all(&private);
        DirBuilder::new().mode(0o700).create(&private).map_err(failed("make a private directory beside it"))?;
        let bound = bind_and_move(&private.join("s"), path);
        let _ = fs::remove_dir_all(&private);
        let (listener, id) =
            bound.map_err(|(doing, source)| SocketError::Io { path: path.to_owned(), doing, source })?;
        let listener = UnixListener::from_std(listener).map_err(failed("register it"))?;
        Ok(Self { listener, path: path.to_owned(), id })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

type Doing = (&'static str, io::Error);

fn bind_and_move(private: &Path, path: &Path) -> Result<(StdListener, (u64, u64)), Doing> {
    let listener = StdListener::bind(private).map_err(|error| ("bind it", error))?;
    listener.set_nonblocking(true).map_err(|error| ("make it non-blocking", error))?;
    fs::set_permissions(private, Permissions::from_mode(MODE)).map_err(|error| ("set its mode", error))?;
    let file = fs::symlink_metadata(private).map_err(|error| ("look at it", error))?;
    fs::rename(private, path).map_err(|error| ("move it into place", error))?;
    Ok((listener, (file.dev(), file.ino())))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether nobody listens at `path`: there is nothing, or a socket that nobody answers.
fn check_free(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let failed = |doing| move |source| SocketError::Io { path: path.to_owned(), doing, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at what stands there")(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    // Non-blocking: a daemon that hangs with a full backlog is alive too, and must not make this one hang.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| failed("make a socket to ask with")(error.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(()),
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INPROGRESS) => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Err(error) => Err(failed("ask whether somebody listens there")(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/monchero.sock");
        let first = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        drop(first);
        assert!(!path.exists(), "the file goes with its owner");

        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves its file behind: this is what a killed daemon leaves");
        let second = Socket::bind(&path).unwrap();
        let left: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["monchero.sock"], "no private directory is left");

        // Somebody else's file in our place stays when we go.
        fs::remove_file(&path).unwrap();
        let _other = StdListener::bind(&path).unwrap();
        drop(second);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_hung_daemon_with_a_full_backlog_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&fd, 0).unwrap();
        let mut clients = Vec::new();
        loop {
            let flags = SocketFlags::NONBLOCK;
            let client = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            if rustix::net::connect(&client, &SocketAddrUnix::new(&path).unwrap()).is_err() {
                break;
            }
            clients.push(client);
        }
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
    }

    #[tokio::test]
    async fn other_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "x").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        let long = dir.path().join("x".repeat(200));
        assert!(matches!(Socket::bind(&long), Err(SocketError::TooLong(_))));
    }
}
