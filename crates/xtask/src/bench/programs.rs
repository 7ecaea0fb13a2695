//! The small C programs that the bench needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Where they are.
pub(crate) struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    /// Compiles them into a folder that goes when this does.
    pub(crate) fn compile() -> Result<Self> {
        // The daemon runs no program that others could replace, so `/tmp` will not do.
        let folder = tempfile::tempdir_in(std::env::current_dir()?.join("target"))
            .context("making a folder for the bench's programs")?;
        let programs = Self { folder };
        for (name, source) in [
            ("raw_loop", include_str!("raw_loop.c")),
            ("plugin", include_str!("plugin.c")),
            ("stamp", include_str!("stamp.c")),
        ] {
            programs.compile_one(name, source)?;
        }
        Ok(programs)
    }

    /// Compiles one more; answers where it is.
    pub(crate) fn compile_one(&self, name: &str, source: &str) -> Result<String> {
        let file = self.path(&format!("{name}.c"));
        std::fs::write(&file, source)?;
        let output = self.path(name).display().to_string();
        crate::run::command("cc", &["-O2", "-static", "-o", &output, &file.display().to_string()])?;
        Ok(output)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The smallest plugin.
    pub(crate) fn plugin(&self) -> String {
        self.path("plugin").display().to_string()
    }

    /// The plugin that writes down when it ran.
    pub(crate) fn stamp(&self) -> String {
        self.path("stamp").display().to_string()
    }

    /// Runs the raw loop over the smallest plugin, with a pause between two runs; answers what it printed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a developer's tool waits for the programs that it runs, however long they take"
    )]
    pub(crate) fn raw_loop(&self, seconds: u32, pause_us: u32) -> Result<String> {
        let output = Command::new(self.path("raw_loop"))
            .arg(self.path("plugin"))
            .arg(seconds.to_string())
            .arg(pause_us.to_string())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("the raw loop failed: {}", output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
