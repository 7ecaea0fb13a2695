//! Pictures of mails for the manual: the pages that a test of `actions` keeps in `actions/cases/email`, as Chromium shows them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::packages;
use crate::run::output;

/// The pages, without `.html`.
const PAGES: [&str; 3] = ["problem", "recovery", "digest"];
/// How each is shown: the name of the manner, how wide the window is, and what Chromium calls the reader's colours.
const MANNERS: [(&str, u32, &str); 2] = [("light", 640, "1"), ("dark", 390, "0")];
/// How high the window is in which a page is measured.
const MEASURED: u32 = 600;
const PLACE: &str = "docs/pictures";

/// Makes all pictures anew.
pub(crate) fn make() -> Result<()> {
    packages::provide_for_pictures()?;
    let scratch = std::env::current_dir()?.join("target/pictures");
    for directory in [&scratch, Path::new(PLACE)] {
        fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    }
    for page in PAGES {
        let source = format!("actions/cases/email/{page}.html");
        let html = fs::read_to_string(&source).with_context(|| format!("reading `{source}`"))?;
        let copy = scratch.join(format!("{page}.html"));
        for (manner, width, colours) in MANNERS {
            // Chromium makes pictures of windows, so a page has to say how high it is, at a width that without a picture nobody sets.
            let measures = format!(
                "<script>document.documentElement.style.width = '{width}px';\
                 document.title = 'high ' + Math.ceil(document.body.getBoundingClientRect().height)</script>"
            );
            fs::write(&copy, format!("{html}{measures}"))?;
            let dump = chromium(&copy, width, MEASURED, colours, "--dump-dom")?;
            let height = dump.split_once("<title>high ").and_then(|(_, rest)| rest.split('<').next()?.parse().ok());
            let height = height.with_context(|| format!("Chromium does not say how high `{source}` is"))?;
            fs::write(&copy, &html)?;
            let picture = format!("{PLACE}/mail-{page}-{manner}.png");
            chromium(&copy, width, height, colours, &format!("--screenshot={picture}"))?;
            eprintln!("xtask: {picture}, {width} x {height}");
        }
    }
    Ok(())
}

/// Shows a page in a window of this size. As root it has no sandbox; the page is our own, and fetches nothing.
fn chromium(page: &Path, width: u32, height: u32, colours: &str, what: &str) -> Result<String> {
    let (size, colours) =
        (format!("--window-size={width},{height}"), format!("--blink-settings=preferredColorScheme={colours}"));
    let address = format!("file://{}", page.display());
    output(
        "chromium",
        &["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", &size, &colours, what, &address],
    )
}
