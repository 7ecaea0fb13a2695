//! Files that are made of the code: the API's description, the schemas of the configuration, the reference of kinds, the manual, the terminal
//! in README.md.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Every generated file with its text.
fn files() -> Result<Vec<(String, String)>> {
    let pretty = |value: &serde_json::Value| format!("{value:#}\n");
    let mut files = [
        ("docs/openapi.json", monchero_api::openapi()),
        ("docs/schema/conf.d.json", pretty(&monchero::reference::conf_d_schema())),
        ("docs/schema/monchero.yaml.json", pretty(&monchero::reference::settings_schema())),
        ("docs/kinds.md", monchero::reference::markdown()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .to_vec();
    files.extend(crate::man::pages()?);
    files.extend(crate::terminal::files()?);
    Ok(files)
}

/// Writes them, or verifies that they are as they would be written.
pub(crate) fn generate(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in files()? {
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        if present == text {
            continue;
        }
        if !check {
            let folder = Path::new(&path).parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
            std::fs::write(&path, text).with_context(|| format!("writing `{path}`"))?;
        }
        stale.push(path);
    }
    match (check, stale.is_empty()) {
        (true, false) => bail!("not as the code would make them: {}; run `cargo xtask gen`", stale.join(", ")),
        (_, true) => eprintln!("xtask: all generated files are up to date"),
        (false, false) => eprintln!("xtask: wrote {}", stale.join(", ")),
    }
    Ok(())
}
