//! The configuration: `monchero.yaml` and `conf.d`, read into what the engine runs.
//!
//! [`load`] reads everything and never stops at the first mistake: what is good is in [`Loaded::configuration`], what is not in
//! [`Loaded::problems`]. At start the daemon runs the good part; a reload and `config check` accept a configuration without problems only (R52).
//!
//! | module | what it knows |
//! | --- | --- |
//! | `paths` | which directories are in force, and why |
//! | `files` | which files there are, and whether they can be trusted |
//! | `yaml` | text to tree: the only place that knows YAML |
//! | `settings`, `log` | the settings that are not those of a kind |
//! | `load`, `checks`, `actions`, `downtimes`, `each`, `plugins`, `graph`, `judges`, `routes`, `summaries` | tree to definitions |
//! | `secrets` | what `{ file: .. }`, `{ env: .. }`, `{ credential: .. }` refer to, and what must not be shown |
//! | `mistakes`, `problem` | how mistakes are collected and shown |
//! | `show` | the resolved configuration, for people |

mod actions;
mod checks;
mod downtimes;
mod each;
mod files;
mod graph;
mod judges;
mod keys;
mod load;
mod log;
mod mistakes;
mod paths;
mod plugins;
mod pool;
mod problem;
mod read;
mod routes;
mod secrets;
mod setters;
pub mod settings;
pub mod show;
mod summaries;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

pub use files::{MAX_TOTAL, is_backup_name, read_secret};
pub use load::{Kinds, LoadOptions, Loaded, environment_setters, load, load_text};
pub use log::{LogFormat, LogLevel, LogSettings};
pub use paths::{
    Chosen, Overrides, Paths, PathsError, Reason, SYSTEM_CONFIG, SYSTEM_SOCKET, SYSTEM_STATE, Surroundings,
    UserDirectories,
};
pub use problem::Problem;
pub(crate) use problem::hide_user_info;
pub use secrets::SecretStore;
pub use setters::parse_setter_output;
pub use summaries::SummarySettings;
pub use yaml::MAX_FILE;
