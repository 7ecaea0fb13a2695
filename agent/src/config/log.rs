//! The settings of the daemon's log.

use std::path::PathBuf;

use monchero_core::quantity::{self, Dimension};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The smallest size at which the file is put aside: less is more renaming than writing.
const MIN_SIZE: u64 = 64 * 1024;
/// The size at which the file is put aside unless the settings say otherwise.
const DEFAULT_SIZE: u64 = 10 * 1024 * 1024;
/// The most files that are kept: each of them is renamed when one more is put aside.
const MAX_KEPT: u32 = 100;

/// The daemon's own log. It goes to the journal, with fields, if standard error leads there, and to standard error as lines otherwise; to a file
/// besides, if one is named.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A file that the log is written to besides; an absolute path, whose directory must be there. It is made with mode 0640. None by default.
    /// Whoever moves it away tells the daemon so with SIGHUP or `monchero reload`.
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// The size at which the file is put aside as `NAME.1`, older ones as `NAME.2` and so on. At least `64KiB`; `10MiB` by default.
    #[serde(deserialize_with = "size")]
    #[schemars(with = "String")]
    pub size: Option<u64>,
    /// How many files that were put aside are kept, at most 100. `5` by default.
    pub keep: u32,
    /// What lines look like in the file and on standard error: `text` (default) for people, `json` for programs, one object a line.
    pub format: LogFormat,
    /// How much is said: `error`, `warning`, `info` (default) or `debug`. The variable `MONCHERO_LOG` counts more.
    pub level: LogLevel,
}

impl Default for LogSettings {
    fn default() -> Self {
        let (format, level) = Default::default();
        Self { file: None, size: None, keep: 5, format, level }
    }
}

impl LogSettings {
    /// The size at which the file is put aside, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size.unwrap_or(DEFAULT_SIZE)
    }

    /// Judges what the types cannot. The text names the setting.
    pub(super) fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.file.as_ref().is_some_and(|file| !file.is_absolute() || file.file_name().is_none()) {
            wrong.push(("file", "it is no absolute path of a file".to_owned()));
        }
        if self.size() < MIN_SIZE {
            wrong.push(("size", format!("it is at least `{}KiB`", MIN_SIZE / 1024)));
        }
        if self.keep > MAX_KEPT {
            wrong.push(("keep", format!("at most {MAX_KEPT} files are kept")));
        }
        wrong
    }
}

/// What lines of the log look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed and needs somebody.
    Error,
    /// What is worth a look, too.
    Warning,
    /// What happened to checks, and what was done, too.
    #[default]
    Info,
    /// What helps to find a mistake of monchero, too.
    Debug,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size beyond 2^64 means the same: never")]
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match quantity::parse(&text) {
        Ok((bytes, Dimension::Bytes)) if bytes >= 0.0 => Ok(Some(bytes as u64)),
        Ok(_) => Err(D::Error::custom(format!("`{text}` is no size: write it as in `10MiB`"))),
        Err(why) => Err(D::Error::custom(why)),
    }
}
