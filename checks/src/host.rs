//! Reading the files in which the kernel says how the host is.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use monchero_core::CheckError;

/// How much of such a file is read: `/proc/stat` of a host with 1,000 CPUs has a quarter of this.
const MAX_FILE: u64 = 1024 * 1024;

/// Where an absolute path of the host stands under `sysroot`.
pub(crate) fn under(sysroot: &Path, path: &Path) -> PathBuf {
    sysroot.join(path.strip_prefix("/").unwrap_or(path))
}

/// The text of a file of the host, or none if there is no such file.
pub(crate) fn read_if_exists(sysroot: &Path, path: &str) -> Result<Option<String>, CheckError> {
    let mut bytes = Vec::with_capacity(4096);
    let read = std::fs::File::open(under(sysroot, Path::new(path)))
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CheckError::new(format!("reading `{path}`"), &error)),
    }
}

/// The text of a file of the host.
pub(crate) fn read(sysroot: &Path, path: &str) -> Result<String, CheckError> {
    read_if_exists(sysroot, path)?.ok_or_else(|| CheckError::Unable(format!("reading `{path}`: there is no such file")))
}

/// That a file does not look as the kernel writes it.
pub(crate) fn malformed(path: &str, what: &str) -> CheckError {
    CheckError::Unable(format!("reading `{path}`: {what}"))
}
