//! Paths with wildcards, for kinds that look at files. What is here can hang on a dead mount: it runs on [`crate::blocking::Blocking`].

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use monchero_core::text::glob;
use monchero_core::{CheckError, Invalid, order};
use rustix::fs::OFlags;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::host;

/// Reading directories and files, and hashing, need some KiB of stack.
pub(crate) static FILES: Blocking = Blocking::new("monchero-files", 256 * 1024);

/// How many entries of directories are read for one pattern: more are no sensible wildcard, and each costs a system call or two.
const MAX_VISITED: usize = 100_000;
/// How many files may fit the patterns of one check.
pub(crate) const MAX_FOUND: usize = 1_000;

/// Whether a path has wildcards.
pub(crate) fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// Whether each path or pattern can be used as the setting `path`.
pub(crate) fn validate(paths: &[String]) -> Result<(), Invalid> {
    let refuse =
        |path: &str, why: &str| Err(Invalid::at("path", format!("`{}` {why}", crate::settings::excerpt(path))));
    if paths.is_empty() {
        return Err(Invalid::at("path", "no path is named".to_owned()));
    }
    for path in paths {
        if !path.starts_with('/') {
            return refuse(path, "does not begin with `/`");
        }
        if path.split('/').any(|part| part == "..") {
            return refuse(path, "has a `..`: write the path without it");
        }
        if path.split('/').any(|part| part == "**") {
            return refuse(path, "has a `**`, which fits one directory only: name the depth, as in `/srv/*/*.log`");
        }
    }
    Ok(())
}

/// The files, directories and so on that fit a pattern, sorted by name; the path itself if it has no wildcard, whether it is there or not. `*`
/// and `?` fit within one component, and not the dot at the start of a hidden name.
pub(crate) fn expand(sysroot: &Path, pattern: &str, deadline: Instant) -> Result<Vec<PathBuf>, CheckError> {
    let mut found = vec![PathBuf::from("/")];
    let mut visited = 0;
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else { continue };
        let name = name.to_string_lossy();
        if !has_wildcard(&name) {
            for path in &mut found {
                path.push(&*name);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let Some(entries) = entries(&host::under(sysroot, folder), folder)? else { continue };
            for entry in entries {
                visited += 1;
                if visited > MAX_VISITED {
                    return Err(unable(pattern, &format!("there are more than {MAX_VISITED} names to compare")));
                }
                if Instant::now() >= deadline {
                    return Err(unable(pattern, "it took too long"));
                }
                let entry =
                    entry.map_err(|error| CheckError::new(format!("reading `{}`", folder.display()), &error))?;
                let file_name = entry.file_name();
                let text = file_name.to_string_lossy();
                if (!text.starts_with('.') || name.starts_with('.')) && glob(&name, &text) {
                    next.push(folder.join(&file_name));
                }
            }
        }
        if next.len() > MAX_FOUND {
            return Err(unable(pattern, &format!("more than {MAX_FOUND} files fit: narrow it")));
        }
        order::sort(&mut next);
        found = next;
    }
    if has_wildcard(pattern) {
        // What stands behind the last wildcard need not be there.
        found.retain(|path| host::under(sysroot, path).symlink_metadata().is_ok());
    }
    Ok(found)
}

fn unable(pattern: &str, why: &str) -> CheckError {
    CheckError::Unable(format!("looking for `{}`: {why}", crate::settings::excerpt(pattern)))
}

/// What a directory holds; nothing if it is not there or is no directory.
pub(crate) fn entries(place: &Path, path: &Path) -> Result<Option<std::fs::ReadDir>, CheckError> {
    match std::fs::read_dir(place) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(CheckError::new(format!("reading the directory `{}`", path.display()), &error)),
    }
}

/// Whether an error says that a file is not there.
pub(crate) fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Opens a file for reading; a pipe or a device does not make it wait.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn wildcards_fit_within_a_component() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/x.log", "a/y.log", "a/.hidden.log", "b/x.log", "b/c/z.log", "plain"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let find = |pattern: &str| -> Vec<String> {
            let found = expand(root.path(), pattern, Instant::now() + Duration::from_secs(5)).unwrap();
            found.iter().map(|path| path.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(find("/*/x.log"), ["/a/x.log", "/b/x.log"]);
        assert_eq!(find("/a/*.log"), ["/a/x.log", "/a/y.log"]);
        assert_eq!(find("/a/.*"), ["/a/.hidden.log"]);
        assert_eq!(find("/*.log"), Vec::<String>::new());
        assert_eq!(find("/?/c"), ["/b/c"]);
        assert_eq!(find("/gone/file"), ["/gone/file"], "a path without wildcard stands for itself");
        assert_eq!(find("/gone/*"), Vec::<String>::new());
        assert!(expand(root.path(), "/*", Instant::now()).is_err(), "no time is left");
    }
}
