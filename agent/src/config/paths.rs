//! Which directories and which socket are in force, and why: the one place that decides (`monchero paths`).
//!
//! What an option says comes first, then `MONCHERO_CONFIG`, `MONCHERO_STATE_DIR` and `MONCHERO_SOCKET`, then what systemd hands to a service
//! (`ConfigurationDirectory=`, `StateDirectory=`, `RuntimeDirectory=`), then the usual place: that of the system for root, that of the user for
//! everybody else.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The configuration of the system.
pub const SYSTEM_CONFIG: &str = "/etc/monchero";
/// The state of the system's daemon.
pub const SYSTEM_STATE: &str = "/var/lib/monchero";
/// The socket of the system's daemon.
pub const SYSTEM_SOCKET: &str = "/run/monchero/monchero.sock";
/// The socket's name in a directory that is given.
const SOCKET_NAME: &str = "monchero.sock";

/// Why a path is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This option of the command line.
    Option(&'static str),
    /// This variable of the environment.
    Environment(&'static str),
    /// It is the usual place of the system.
    System,
    /// It is the usual place of this user.
    User,
    /// The user has none of their own, and the system has one.
    SystemForUser,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "option `{name}`"),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
            Self::System => f.write_str("default for root"),
            Self::User => f.write_str("default for this user"),
            Self::SystemForUser => f.write_str("the system's, since this user has none"),
        }
    }
}

/// A path and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config DIR`: the directory that holds `monchero.yaml` and `conf.d/`.
    pub config: Option<PathBuf>,
    /// `--state-dir DIR`.
    pub state_dir: Option<PathBuf>,
    /// `--socket PATH`.
    pub socket: Option<PathBuf>,
}

/// What the choice depends on besides the command line.
pub struct Surroundings<'a> {
    /// Looks up a variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether this is root.
    pub root: bool,
    /// The user's own directories, if there is a home: for configuration, for state, and at run time.
    pub user: Option<UserDirectories>,
}

/// The user's own directories (XDG base directories).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDirectories {
    /// `~/.config/monchero`.
    pub config: PathBuf,
    /// `~/.local/state/monchero`.
    pub state: PathBuf,
    /// `$XDG_RUNTIME_DIR`, if there is one.
    pub runtime: Option<PathBuf>,
}

/// The directories and the socket that are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The directory that holds `monchero.yaml` and `conf.d/`.
    pub config: Chosen,
    /// The directory of the database.
    pub state: Chosen,
    /// The control socket.
    pub socket: Chosen,
}

/// Why no path could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// There is neither an option, nor a variable, nor a home.
    #[error("there is no usual place for the {0}, because this user has no home directory: give `{1}`")]
    NoHome(&'static str, &'static str),
    /// The working directory cannot be found out, and the path is relative.
    #[error("cannot make `{0}` absolute: {1}")]
    Relative(String, String),
}

/// One kind of path, and where it may be named.
struct Place {
    what: &'static str,
    option: &'static str,
    variable: &'static str,
    systemd: &'static str,
    system: &'static str,
}

const CONFIG: Place = Place {
    what: "configuration",
    option: "--config",
    variable: "MONCHERO_CONFIG",
    systemd: "CONFIGURATION_DIRECTORY",
    system: SYSTEM_CONFIG,
};
const STATE: Place = Place {
    what: "state",
    option: "--state-dir",
    variable: "MONCHERO_STATE_DIR",
    systemd: "STATE_DIRECTORY",
    system: SYSTEM_STATE,
};
const SOCKET: Place = Place {
    what: "socket",
    option: "--socket",
    variable: "MONCHERO_SOCKET",
    systemd: "RUNTIME_DIRECTORY",
    system: SYSTEM_SOCKET,
};

impl Place {
    fn choose(
        &self,
        given: Option<&Path>,
        around: &Surroundings<'_>,
        user: Option<PathBuf>,
    ) -> Result<Chosen, PathsError> {
        let set = |name: &str| (around.variable)(name).filter(|value| !value.is_empty());
        let (path, reason) = if let Some(path) = given {
            (path.to_owned(), Reason::Option(self.option))
        } else if let Some(path) = set(self.variable) {
            (PathBuf::from(path), Reason::Environment(self.variable))
        } else if let Some(path) = set(self.systemd).and_then(|value| self.of_systemd(&value)) {
            (path, Reason::Environment(self.systemd))
        } else if around.root {
            (PathBuf::from(self.system), Reason::System)
        } else {
            (user.ok_or(PathsError::NoHome(self.what, self.option))?, Reason::User)
        };
        let absolute = std::path::absolute(&path)
            .map_err(|why| PathsError::Relative(path.display().to_string(), why.to_string()))?;
        Ok(Chosen { path: absolute, reason })
    }

    /// systemd gives several directories separated by colons; the first is the main one. A command that runs in a unit of another service
    /// sees the directories of that one, which are not ours.
    fn of_systemd(&self, value: &OsString) -> Option<PathBuf> {
        let text = value.to_string_lossy();
        let directory = PathBuf::from(text.split(':').next()?);
        directory.file_name().filter(|name| name.to_string_lossy().starts_with("monchero"))?;
        Some(if self.option == SOCKET.option { directory.join(SOCKET_NAME) } else { directory })
    }
}

impl Paths {
    /// The paths for this process.
    pub fn from_process(overrides: &Overrides) -> Result<Self, PathsError> {
        let user = directories::ProjectDirs::from("", "", "monchero").map(|own| UserDirectories {
            config: own.config_dir().to_owned(),
            state: own.state_dir().map_or_else(|| own.data_local_dir().to_owned(), Path::to_owned),
            runtime: directories::BaseDirs::new().and_then(|base| base.runtime_dir().map(Path::to_owned)),
        });
        let around =
            Surroundings { variable: &|name| std::env::var_os(name), root: rustix::process::geteuid().is_root(), user };
        Self::choose(overrides, &around)
    }

    /// The paths in given surroundings.
    pub fn choose(overrides: &Overrides, around: &Surroundings<'_>) -> Result<Self, PathsError> {
        let user = around.user.as_ref();
        let config = CONFIG.choose(overrides.config.as_deref(), around, user.map(|own| own.config.clone()))?;
        let state = STATE.choose(overrides.state_dir.as_deref(), around, user.map(|own| own.state.clone()))?;
        let beside = user.map(|own| own.runtime.clone().unwrap_or_else(|| state.path.clone()).join(SOCKET_NAME));
        let socket = SOCKET.choose(overrides.socket.as_deref(), around, beside)?;
        Ok(Self { config, state, socket })
    }

    /// The paths for a command that talks to a daemon: an ordinary user who runs none sees the system's.
    #[must_use]
    pub fn for_client(mut self) -> Self {
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        for (chosen, system) in [(&mut self.socket, SYSTEM_SOCKET), (&mut self.config, SYSTEM_CONFIG)] {
            if chosen.reason == Reason::User && !exists(&chosen.path) && exists(Path::new(system)) {
                *chosen = Chosen { path: PathBuf::from(system), reason: Reason::SystemForUser };
            }
        }
        self
    }

    /// The daemon's settings.
    pub fn settings_file(&self) -> PathBuf {
        self.config.path.join("monchero.yaml")
    }

    /// The directory of checks and actions.
    pub fn conf_d(&self) -> PathBuf {
        self.config.path.join("conf.d")
    }

    /// The directory whose programs are checks, unless `plugin_directories` says otherwise.
    pub fn plugins_d(&self) -> PathBuf {
        self.config.path.join("plugins.d")
    }

    /// What is in force: the thing, the path, and why.
    pub fn report(&self) -> Vec<(&'static str, PathBuf, String)> {
        let under = |chosen: &Chosen| format!("in the configuration directory ({})", chosen.reason);
        vec![
            ("configuration", self.config.path.clone(), self.config.reason.to_string()),
            ("settings", self.settings_file(), under(&self.config)),
            ("checks and actions", self.conf_d(), under(&self.config)),
            ("plugins", self.plugins_d(), under(&self.config)),
            ("state", self.state.path.clone(), self.state.reason.to_string()),
            ("socket", self.socket.path.clone(), self.socket.reason.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserDirectories {
        UserDirectories {
            config: "/home/u/.config/monchero".into(),
            state: "/home/u/.local/state/monchero".into(),
            runtime: Some("/run/user/1000".into()),
        }
    }

    fn choose(
        overrides: &Overrides,
        variables: &[(&str, &str)],
        root: bool,
        user: Option<UserDirectories>,
    ) -> Result<Paths, PathsError> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        Paths::choose(overrides, &Surroundings { variable: &variable, root, user })
    }

    #[test]
    fn usual_places() {
        let of_root = choose(&Overrides::default(), &[], true, Some(user())).unwrap();
        assert_eq!(of_root.conf_d(), Path::new("/etc/monchero/conf.d"));
        assert_eq!(of_root.state, Chosen { path: "/var/lib/monchero".into(), reason: Reason::System });
        assert_eq!(of_root.socket.path, Path::new("/run/monchero/monchero.sock"));
        let of_user = choose(&Overrides::default(), &[], false, Some(user())).unwrap();
        assert_eq!(of_user.settings_file(), Path::new("/home/u/.config/monchero/monchero.yaml"));
        assert_eq!(of_user.socket.path, Path::new("/run/user/1000/monchero.sock"));
        let without_runtime =
            choose(&Overrides::default(), &[], false, Some(UserDirectories { runtime: None, ..user() })).unwrap();
        assert_eq!(without_runtime.socket.path, Path::new("/home/u/.local/state/monchero/monchero.sock"));
    }

    #[test]
    fn options_beat_variables_and_those_beat_systemd() {
        let variables = [
            ("MONCHERO_CONFIG", "/v/config"),
            ("CONFIGURATION_DIRECTORY", "/etc/monchero"),
            ("STATE_DIRECTORY", "/s/monchero:/s/other"),
            ("RUNTIME_DIRECTORY", "/run/monchero"),
            ("MONCHERO_SOCKET", ""),
        ];
        let overrides = Overrides { state_dir: Some("/o/state".into()), ..Overrides::default() };
        let paths = choose(&overrides, &variables, true, None).unwrap();
        assert_eq!(paths.config, Chosen { path: "/v/config".into(), reason: Reason::Environment("MONCHERO_CONFIG") });
        assert_eq!(paths.state, Chosen { path: "/o/state".into(), reason: Reason::Option("--state-dir") });
        assert_eq!(
            paths.socket,
            Chosen { path: "/run/monchero/monchero.sock".into(), reason: Reason::Environment("RUNTIME_DIRECTORY") }
        );
        assert_eq!(choose(&Overrides::default(), &variables, true, None).unwrap().state.path, Path::new("/s/monchero"));
        assert_eq!(
            choose(&Overrides::default(), &[("STATE_DIRECTORY", "/s/other")], true, None).unwrap().state.reason,
            Reason::System
        );
        assert!(paths.report().iter().any(|(what, _, why)| *what == "state" && why == "option `--state-dir`"));
    }

    #[test]
    fn without_a_home_the_option_is_named() {
        let error = choose(&Overrides::default(), &[], false, None).unwrap_err();
        assert!(error.to_string().contains("`--config`"), "{error}");
        let all = Overrides { config: Some("c".into()), state_dir: Some("s".into()), socket: Some("x".into()) };
        assert!(choose(&all, &[], false, None).unwrap().config.path.is_absolute());
    }
}
