//! The terminal in README.md: what `monchero status` of a real daemon on an example shows at 80 columns, as text and as a picture.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Between these two lines of README.md stands what is made here.
const BEGIN: &str = "<!-- The terminal: made by `cargo xtask gen`. -->\n";
const END: &str = "<!-- The end of the terminal. -->\n";
/// Where the picture is.
pub(crate) const PICTURE: &str = "docs/terminal.svg";
/// The daemon of a debug build on a busy machine takes seconds to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// A check may be due by itself between two of our steps; then we begin anew.
const TRIES: usize = 5;
/// Since when the checks are so, in the order of the rows: they all began a moment ago.
const SINCE: [&str; 3] = ["12m", "4s", "3h"];
/// All others were so before.
const SINCE_LONG: &str = "2d";

/// The example: one check of each state, none of which depends on the host. `{port}` is closed.
const EXAMPLE: &str = "defaults: { interval: 1h, retry_interval: 1h }
checks:
  shop: { http: 'http://127.0.0.1:{port}/health' }
  queue: { plugin: '{folder}/check_queue', retries: 0 }
  raid: { plugin: '{folder}/check_raid', timeout: 1s }
  backup: { heartbeat: { period: 1d } }
";
/// How often each of them is looked at: often enough to confirm what is to be confirmed.
const RUNS: &[&str] = &["shop", "shop", "shop", "queue", "raid", "backup"];

/// README.md with the terminal as it would be shown now, and the picture.
pub(crate) fn files() -> Result<[(String, String); 2]> {
    crate::run::command(&crate::run::cargo(), &["build", "--quiet", "--locked", "--package", "monchero"])?;
    let screen = (0..TRIES).find_map(|_| shown().transpose()).context("the example never showed what it should")??;
    let readme = std::fs::read_to_string("README.md").context("reading README.md")?;
    let (before, rest) =
        readme.split_once(BEGIN).with_context(|| format!("README.md has no line `{}`", BEGIN.trim()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("README.md has no line `{}`", END.trim()))?;
    let text = screen.text();
    let terminal = format!(
        "![`monchero status`]({PICTURE})\n\n<details><summary>The same as text</summary>\n\n\
         ```text not-run: `cargo xtask gen --check` runs it\n$ monchero status\n{text}```\n\n</details>\n"
    );
    Ok([
        ("README.md".to_owned(), format!("{before}{BEGIN}{terminal}{END}{after}")),
        (PICTURE.to_owned(), screen.picture()),
    ])
}

/// A daemon on the example. It ends when this does.
struct Example {
    folder: tempfile::TempDir,
    /// Where its socket is: the path of a socket has at most 107 bytes, and that of a build may have more.
    door: tempfile::TempDir,
    program: PathBuf,
    daemon: Child,
}

impl Example {
    #[expect(clippy::disallowed_methods, reason = "we start the daemon ourselves and end it by its pid")]
    fn start(port: u16) -> Result<Self> {
        let target = std::env::current_exe()?.parent().map(Path::to_path_buf).context("we stand in no directory")?;
        // The daemon runs no program that others could replace, so `/tmp` will not do.
        let (folder, door) = (tempfile::tempdir_in(&target)?, tempfile::tempdir()?);
        let plugin = |name: &str, text: &str| -> Result<()> {
            let path = folder.path().join(name);
            std::fs::write(&path, text)?;
            Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
        };
        plugin("check_queue", "#!/bin/sh\necho '120 mails wait | queue=120;100;500'\nexit 1\n")?;
        plugin("check_raid", "#!/bin/sh\nexec sleep 60\n")?;
        std::fs::create_dir(folder.path().join("conf.d"))?;
        let example =
            EXAMPLE.replace("{folder}", &folder.path().display().to_string()).replace("{port}", &port.to_string());
        std::fs::write(folder.path().join("conf.d/example.yaml"), example)?;
        let program = target.join("monchero");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let daemon = Command::new(&program)
            .arg("agent")
            .envs(Self::surroundings(folder.path(), door.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting `{}`", program.display()))?;
        let example = Self { folder, door, program, daemon };
        let start = Instant::now();
        while example.command(&["status", "--json"]).is_err() {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(example.folder.path().join("log")).unwrap_or_default();
                bail!("the daemon of the example does not answer; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(example)
    }

    fn surroundings(folder: &Path, door: &Path) -> [(&'static str, PathBuf); 3] {
        [
            ("MONCHERO_CONFIG", folder.to_owned()),
            ("MONCHERO_STATE_DIR", folder.join("state")),
            ("MONCHERO_SOCKET", door.join("socket")),
        ]
    }

    /// What a command prints.
    fn command(&self, arguments: &[&str]) -> Result<String> {
        self.output(Command::new(&self.program).args(arguments))
    }

    /// What a command prints at a terminal of 80 columns.
    fn at_a_terminal(&self, arguments: &str) -> Result<String> {
        let line = format!("stty cols 80 rows 24; exec '{}' --color always {arguments}", self.program.display());
        self.output(Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]))
    }

    #[expect(clippy::disallowed_methods, reason = "a developer's tool waits for the programs that it runs")]
    fn output(&self, command: &mut Command) -> Result<String> {
        let surroundings = Self::surroundings(self.folder.path(), self.door.path());
        let command = command.envs(surroundings).env_remove("NO_COLOR").env("TERM", "xterm");
        let output = command.stdin(Stdio::null()).output().context("running monchero")?;
        // 0 to 3 tell the worst state.
        if output.status.code().is_none_or(|status| status > 3) {
            bail!("monchero ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        let ended = crate::run::succeeds("kill", &["-TERM", &pid], |_| true);
        if !ended || self.daemon.wait().is_err() {
            eprintln!("xtask: cannot end the daemon {pid}");
        }
    }
}

/// What the example shows; nothing if a check was looked at more often than it should have been, or the machine is so busy that checks are late.
fn shown() -> Result<Option<Screen>> {
    // Whoever had it gives it back at once, so nobody answers there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let example = Example::start(port)?;
    for check in RUNS {
        example.command(&["run", check])?;
    }
    let mut screen = Screen::read(&example.at_a_terminal("status")?);
    let text = screen.text();
    if !text.contains("1/3") || !text.contains(" okay, 1 warning, 1 unknown, 1 bad\n") {
        return Ok(None);
    }
    screen.mask_since();
    screen.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:38080");
    Ok(Some(screen))
}

/// How a character looks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    bold: bool,
    faint: bool,
    /// As terminals count: 0 is black, 1 to 6 are red, green, yellow, blue, magenta, cyan, 7 is white.
    colour: Option<u8>,
    /// What it stands on, counted in the same way.
    ground: Option<u8>,
}

/// What a terminal shows.
struct Screen {
    rows: Vec<Vec<(char, Look)>>,
}

impl Screen {
    /// Reads text with the sequences for colours that `monchero` prints.
    fn read(text: &str) -> Self {
        let mut look = Look::default();
        let rows = text.lines().map(|line| {
            let mut row = Vec::new();
            let mut characters = line.chars();
            while let Some(c) = characters.next() {
                match c {
                    '\u{1b}' => look.change(&characters.by_ref().skip(1).take_while(|c| *c != 'm').collect::<String>()),
                    '\r' => {}
                    c => row.push((c, look)),
                }
            }
            row
        });
        Self { rows: rows.collect() }
    }

    fn line(row: &[(char, Look)]) -> String {
        row.iter().map(|(c, _)| c).collect()
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| Self::line(row) + "\n").collect()
    }

    /// Since when rows are so: the column keeps its width.
    fn mask_since(&mut self) {
        let Some(heading) = self.rows.first().map(|row| Self::line(row)) else { return };
        let (Some(begin), Some(end)) = (heading.find("SINCE"), heading.find("ATTEMPT")) else { return };
        let table = self.rows.iter_mut().skip(1).take_while(|row| !row.is_empty());
        for (row, since) in table.zip(SINCE.into_iter().chain(std::iter::repeat(SINCE_LONG))) {
            for (cell, c) in row.iter_mut().take(end).skip(begin).zip(since.chars().chain(std::iter::repeat(' '))) {
                cell.0 = c;
            }
        }
    }

    /// Replaces one text by another of the same length.
    fn replace(&mut self, from: &str, to: &str) {
        for row in &mut self.rows {
            let line = Self::line(row);
            let Some(at) = line.find(from) else { continue };
            let at = line[..at].chars().count();
            for (cell, c) in row[at..].iter_mut().zip(to.chars()) {
                cell.0 = c;
            }
        }
    }

    /// The picture: a dark terminal, which can be read on a light page and on a dark one.
    fn picture(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let (width, height) = (columns as f64 * WIDTH + 2.0 * EDGE, (self.rows.len() + 1) as f64 * HEIGHT + 2.0 * EDGE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
             <title>monchero status</title>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c2128\"/>\n\
             <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" fill=\"#cdd9e5\" xml:space=\"preserve\">\n"
        );
        let prompt: Vec<(char, Look)> =
            "$ monchero status".chars().map(|c| (c, Look { faint: c == '$', ..Look::default() })).collect();
        for (number, row) in std::iter::once(&prompt).chain(&self.rows).enumerate() {
            let mut column = 0;
            for span in row.chunk_by(|one, next| one.1 == next.1) {
                let text: String = span.iter().map(|(c, _)| *c).collect();
                let shown = text.trim_start();
                let at = column + text.chars().count() - shown.chars().count();
                if !shown.is_empty() {
                    let length = shown.trim_end().chars().count();
                    if let Some(ground) = span[0].1.ground {
                        let _ = writeln!(
                            svg,
                            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"{}\"/>",
                            EDGE + at as f64 * WIDTH,
                            EDGE + number as f64 * HEIGHT,
                            length as f64 * WIDTH,
                            GROUNDS[usize::from(ground.min(7))]
                        );
                    }
                    let _ = writeln!(
                        svg,
                        "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\"{}>{}</text>",
                        EDGE + at as f64 * WIDTH,
                        EDGE + (number as f64 + 0.75) * HEIGHT,
                        length as f64 * WIDTH,
                        span[0].1.attributes(),
                        escaped(shown.trim_end())
                    );
                }
                column += span.len();
            }
        }
        svg + "</g>\n</svg>\n"
    }
}

/// A character of the picture, a line of it, and the room around the text.
const WIDTH: f64 = 8.43;
const HEIGHT: f64 = 19.0;
const EDGE: f64 = 16.0;
/// The colours as letters and as what letters stand on. The contrast is at least 4.5 to 1: letters on the terminal, black on yellow, white
/// on red and magenta.
const LETTERS: [&str; 8] = ["#1c2128", "#ff7b72", "#57d364", "#e3b341", "#79c0ff", "#e275ff", "#56d4dd", "#ffffff"];
const GROUNDS: [&str; 8] = ["#1c2128", "#c93c37", "#347d39", "#e3b341", "#316dca", "#a33fc4", "#1b7c83", "#adbac7"];

impl Look {
    /// What a sequence of numbers says.
    fn change(&mut self, numbers: &str) {
        for number in numbers.split(';') {
            match number.parse::<u8>() {
                Ok(1) => self.bold = true,
                Ok(2) => self.faint = true,
                Ok(colour @ 30..=37) => self.colour = Some(colour - 30),
                Ok(colour @ 90..=97) => self.colour = Some(colour - 90),
                Ok(ground @ 40..=47) => self.ground = Some(ground - 40),
                _ => *self = Self::default(),
            }
        }
    }

    /// The same in SVG.
    fn attributes(self) -> String {
        let colour = match (self.colour, self.faint) {
            (Some(colour), _) => format!(" fill=\"{}\"", LETTERS[usize::from(colour.min(7))]),
            (None, true) => " fill=\"#909dab\"".to_owned(),
            (None, false) => String::new(),
        };
        format!("{colour}{}", if self.bold { " font-weight=\"bold\"" } else { "" })
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: &str = "\u{1b}[1mNAME\u{1b}[0m  \u{1b}[1mSINCE\u{1b}[0m  ATTEMPT\r\n\
                            a     \u{1b}[97;41;1m59s\u{1b}[0m    <1/3>\r\n\r\n1 check\r\n";

    #[test]
    fn columns_keep_their_width_whatever_stands_in_them() {
        let mut screen = Screen::read(TERMINAL);
        screen.mask_since();
        assert_eq!(screen.text(), "NAME  SINCE  ATTEMPT\na     12m    <1/3>\n\n1 check\n");
        screen.replace("1/3", "3/3");
        assert!(screen.text().contains("<3/3>"));
    }

    #[test]
    fn a_picture_has_the_colours_and_no_markup_from_the_text() {
        let picture = Screen::read(TERMINAL).picture();
        assert!(picture.contains(" height=\"19\" fill=\"#c93c37\"/>"), "{picture}");
        assert!(picture.contains(" fill=\"#ffffff\" font-weight=\"bold\">59s</text>"), "{picture}");
        assert!(picture.contains(">&lt;1/3&gt;</text>") && picture.ends_with("</g>\n</svg>\n"), "{picture}");
    }
}
