//! Reading the files in which the kernel says how the host is.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use monchero_core::CheckError;
use monchero_core::order;

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

/// The paths of the host that a pattern stands for, sorted: in each of its parts `*` and `?` stand for characters, but `*` alone for no hidden
/// name. What a pattern without them names is taken to be there. At most `max`, and as many entries of one directory are looked at.
pub(crate) fn expand(sysroot: &Path, pattern: &Path, max: usize) -> Result<Vec<PathBuf>, CheckError> {
    let mut found = vec![PathBuf::from("/")];
    let mut has_wildcard = false;
    for part in pattern.components().skip(1) {
        let part = part.as_os_str().to_string_lossy();
        if !part.contains(['*', '?']) {
            for path in &mut found {
                path.push(&*part);
            }
            if has_wildcard {
                found.retain(|path| under(sysroot, path).symlink_metadata().is_ok());
            }
            continue;
        }
        has_wildcard = true;
        let mut deeper = Vec::new();
        for directory in &found {
            for name in names_in(sysroot, directory, max)? {
                if monchero_core::text::glob(&part, &name) && (part.starts_with('.') || !name.starts_with('.')) {
                    deeper.push(directory.join(name));
                }
            }
        }
        deeper.truncate(max);
        found = deeper;
    }
    order::sort(&mut found);
    Ok(found)
}

/// The names in a directory; none if it is no directory.
fn names_in(sysroot: &Path, directory: &Path, max: usize) -> Result<Vec<String>, CheckError> {
    let failed =
        |error: std::io::Error| CheckError::new(format!("reading the directory `{}`", directory.display()), &error);
    match std::fs::read_dir(under(sysroot, directory)) {
        Ok(entries) => {
            let names = entries.take(max).map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<std::io::Result<_>>().map_err(failed)
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let root = tempfile::tempdir().unwrap();
        for path in ["etc/live/a/cert.pem", "etc/live/b/cert.pem", "etc/live/.c/cert.pem", "etc/live/README"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for (pattern, paths) in [
            ("/etc/live/*/cert.pem", "/etc/live/a/cert.pem /etc/live/b/cert.pem"),
            ("/etc/l?ve/.*/cert.pem", "/etc/live/.c/cert.pem"),
            ("/etc/*/*", "/etc/live/README /etc/live/a /etc/live/b"),
            ("/etc/live/*/other.pem", ""),
            ("/no/*", ""),
            ("/etc/live/README/*", ""),
            ("/etc/none.pem", "/etc/none.pem"),
        ] {
            let found = expand(root.path(), Path::new(pattern), 100).unwrap();
            let found: Vec<&str> = found.iter().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(found.join(" "), paths, "{pattern}");
        }
        assert_eq!(expand(root.path(), Path::new("/etc/live/*"), 1).unwrap().len(), 1);
    }
}
