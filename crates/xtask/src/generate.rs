//! Files that are made of the code: the API's description, the schemas of the configuration, the reference of kinds.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Every generated file with its text.
fn files() -> Vec<(&'static str, String)> {
    let pretty = |value: &serde_json::Value| format!("{value:#}\n");
    vec![
        ("docs/openapi.json", monchero_api::openapi()),
        ("docs/schema/conf.d.json", pretty(&monchero::reference::conf_d_schema())),
        ("docs/schema/monchero.yaml.json", pretty(&monchero::reference::settings_schema())),
        ("docs/kinds.md", monchero::reference::markdown()),
    ]
}

/// Writes them, or verifies that they are as they would be written.
pub(crate) fn generate(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in files() {
        let present = std::fs::read_to_string(path).unwrap_or_default();
        if present == text {
            continue;
        }
        stale.push(path);
        if !check {
            let folder = Path::new(path).parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
            std::fs::write(path, text).with_context(|| format!("writing `{path}`"))?;
        }
    }
    match (check, stale.is_empty()) {
        (true, false) => bail!("not as the code would make them: {}; run `cargo xtask gen`", stale.join(", ")),
        (_, true) => eprintln!("xtask: all generated files are up to date"),
        (false, false) => eprintln!("xtask: wrote {}", stale.join(", ")),
    }
    Ok(())
}
