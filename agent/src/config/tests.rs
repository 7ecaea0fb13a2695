//! The configuration as a whole, with kinds of its own.

mod bad_files;
mod bounds;
mod good_files;
mod holds;
mod judges;
mod kinds;
mod nonsense;
mod places;
mod routes;
mod summaries;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Chosen, Kinds, LoadOptions, Loaded, Reason, SecretStore, load};

/// A configuration directory that is there as long as the test.
struct Directory {
    temporary: tempfile::TempDir,
    variables: HashMap<&'static str, String>,
    env: Vec<(OsString, OsString)>,
    keep_settings: bool,
}

impl Directory {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("conf.d")).unwrap();
        Self { temporary, variables: HashMap::new(), env: Vec::new(), keep_settings: true }
    }

    /// A directory with one file of checks, `conf.d/a.yaml`.
    fn with(text: &str) -> Self {
        let directory = Self::new();
        directory.write("conf.d/a.yaml", text);
        directory
    }

    fn path(&self) -> &Path {
        self.temporary.path()
    }

    fn write(&self, name: &str, text: &str) {
        self.write_mode(name, text, 0o640);
    }

    fn write_mode(&self, name: &str, text: &str, mode: u32) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Loaded {
        self.load_from(&Chosen { path: self.path().to_owned(), reason: Reason::User })
    }

    fn load_from(&self, config: &Chosen) -> Loaded {
        let variable = |name: &str| self.variables.get(name).map(OsString::from);
        load(&LoadOptions {
            config,
            kinds: Kinds { checks: kinds::CHECKS, actions: kinds::ACTIONS },
            env: self.env.clone(),
            secrets: SecretStore { variable: &variable, file: &super::read_secret },
            keep_settings: self.keep_settings,
        })
    }
}

/// Loads a file that has no mistakes.
fn good(text: &str) -> Loaded {
    let loaded = Directory::with(text).load();
    assert_eq!(lines(&loaded), [""; 0]);
    loaded
}

/// The problems, each in one line.
fn lines(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(super::Problem::one_line).collect()
}

/// The names of the checks that run.
fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.configuration.checks.iter().map(|check| check.name.as_str()).collect()
}

fn check<'a>(loaded: &'a Loaded, name: &str) -> &'a monchero_core::definition::Definition {
    loaded
        .configuration
        .checks
        .iter()
        .find(|check| check.name.as_str() == name)
        .unwrap_or_else(|| panic!("no check `{name}`"))
}
