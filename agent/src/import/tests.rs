//! Cases: `cases/FORMAT/CASE/input/*` is imported, and `expected.yaml` and `expected.list` are what comes of it. `UPDATE=1` writes them anew.

use std::path::{Path, PathBuf};

use clap::ValueEnum as _;

use super::*;
use crate::config;

fn import(format: Format, base: &Path, paths: &[PathBuf]) -> Result<Written, String> {
    let mut files = Files::below(base);
    let mut taken = Taken::default();
    let imported = format.read(paths, &mut files, &mut taken)?;
    write(imported, "Imported.")
}

/// What is told on standard error.
fn list(written: &Written) -> String {
    let todo = written.todo.iter().map(|todo| format!("to do: {todo}\n"));
    todo.chain(written.lost.iter().map(|lost| format!("{lost}\n"))).collect()
}

#[test]
fn cases_become_what_is_expected_of_them() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/src/import/cases");
    let update = std::env::var_os("UPDATE").is_some();
    let mut count = 0;
    for format in Format::value_variants() {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(cases.join(format.name())).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        assert!(!found.is_empty(), "{format:?} has no case");
        for case in found {
            // The place of the input is named in what is written, whose lines are filled by their length: a place that is as long everywhere.
            let place = tempfile::Builder::new().prefix("case").rand_bytes(6).tempdir_in("/tmp").unwrap();
            let input = place.path().join("input");
            std::os::unix::fs::symlink(case.join("input"), &input).unwrap();
            // A directory as a whole, unless one file is where everything begins.
            let main = ["nagios.cfg", "monitrc", "config.yaml"]
                .map(|name| input.join(name))
                .into_iter()
                .find(|path| path.exists());
            let start = main.unwrap_or_else(|| input.clone());
            let written = import(*format, &input, &[start]).unwrap_or_else(|why| panic!("{}: {why}", case.display()));
            let expected = [("expected.yaml", written.yaml.clone()), ("expected.list", list(&written))];
            for (name, text) in expected {
                // Programs of directories are named by their whole path.
                let text = text.replace(&*input.to_string_lossy(), "/old");
                let path = case.join(name);
                if update {
                    std::fs::write(&path, &text).unwrap();
                }
                let wanted = std::fs::read_to_string(&path).unwrap_or_default();
                assert_eq!(text, wanted, "{}", path.display());
            }
            let again = config::load_text(&crate::import::tests::options(), "again", written.yaml.clone());
            let running = again.configuration.checks.len() + again.configuration.actions.len();
            // Without its secrets an action is refused, and nothing else is.
            if written.todo.is_empty() {
                assert!(again.problems.is_empty(), "{}: {:?}", case.display(), again.problems);
                assert_eq!(running, written.checks + written.actions, "{}", case.display());
            }
            count += 1;
        }
    }
    assert!(count >= Format::value_variants().len());
}

fn options() -> config::LoadOptions<'static> {
    config::LoadOptions {
        config: Box::leak(Box::new(config::Chosen { path: "/nonexistent".into(), reason: config::Reason::User })),
        kinds: config::Kinds::built_in(),
        env: Vec::new(),
        secrets: config::SecretStore { variable: &|_| None, file: &config::read_secret },
        keep_settings: false,
    }
}

/// What comes of one file of a format.
fn import_text(format: Format, name: &str, text: &[u8]) -> Result<Written, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    import(format, directory.path(), &[path])
}

const NAMES: [(Format, &str); 5] = [
    (Format::Nagios, "nagios.cfg"),
    (Format::Monit, "monitrc"),
    (Format::Gatus, "config.yaml"),
    (Format::MoncheroV0, "monchero.yaml"),
    (Format::ArgusEnv, ".env"),
];

#[test]
fn a_list_that_templates_make_too_long_is_said() {
    let people =
        |from: usize| (from..from + 600).map(|number| format!("person-{number:04}")).collect::<Vec<_>>().join(",");
    let mut text = String::new();
    for level in 0..6 {
        let above = if level == 0 { String::new() } else { format!(" use t{}\n", level - 1) };
        text +=
            &format!("define host {{\n name t{level}\n{above} contacts +{}\n register 0\n}}\n", people(level * 600));
    }
    text += "define host {\n use t5\n host_name a\n check_command x\n}\n";
    let written = import_text(Format::Nagios, "objects.cfg", text.as_bytes()).unwrap();
    let told = list(&written);
    assert!(
        told.contains("`contacts` adds up to more than 32768 bytes"),
        "{}",
        told.lines().next().unwrap_or_default()
    );
}

#[test]
fn no_secret_of_a_case_is_in_what_is_written_or_told() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/src/import/cases");
    let mut looked = 0;
    for path in std::fs::read_dir(cases).unwrap().flat_map(|format| std::fs::read_dir(format.unwrap().path()).unwrap())
    {
        for name in ["expected.yaml", "expected.list"] {
            let text = std::fs::read_to_string(path.as_ref().unwrap().path().join(name)).unwrap();
            for secret in ["hush", "hunter2", "s3cret", "0123456789"] {
                assert!(!text.contains(secret), "{secret} in {:?}/{name}", path.as_ref().unwrap().path());
            }
            looked += 1;
        }
    }
    assert!(looked >= 2 * NAMES.len());
}

#[test]
fn hostile_files_end_in_an_error_or_in_the_list_and_soon() {
    let many = |line: &str, count: usize| line.repeat(count).into_bytes();
    let chain: String =
        (0..5_000).map(|n| format!("define host {{\nname t{n}\nuse t{}\nregister 0\n}}\n", n + 1)).collect();
    let bomb: String = (0..30).map(|n| format!("{{{}}}", "x: [a]".repeat(n))).collect();
    let texts: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 100_000],
        (0..=255).cycle().take(70_000).collect(),
        many("{", 100_000),
        many("define host {\n", 50_000),
        many("check process a matching \"", 20_000),
        many("if if then else for cycles ", 20_000),
        many("\\\n", 100_000),
        many("$", 100_000),
        many("A=$$$\n", 50_000),
        chain.into_bytes(),
        bomb.into_bytes(),
        many("command[x]=/bin/a $ARG1$\n", 30_000),
        many("- &a [*a]\n", 1_000),
        vec![b'a'; (8 << 20) + 1],
    ];
    let start = std::time::Instant::now();
    for (format, name) in NAMES {
        for text in &texts {
            if let Ok(written) = import_text(format, name, text) {
                let loaded = config::load_text(&options(), "again", written.yaml);
                assert!(loaded.problems.is_empty(), "{format:?}: {:?}", loaded.problems);
            }
        }
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(300), "{:?}", start.elapsed());
}

#[test]
fn a_file_that_includes_itself_is_read_once_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("monitrc", "include other\ncheck file a with path /a\n");
    write("other", "include monitrc\ncheck file b with path /b\n");
    let written = import(Format::Monit, directory.path(), &[directory.path().join("monitrc")]).unwrap();
    assert_eq!(written.checks, 2, "{}", written.yaml);
    assert_eq!(list(&written), "other:1: `include monitrc`: it includes itself\n");
}

#[test]
fn pairs_of_hosts_and_services_are_bounded() {
    let mut text = "define command {\ncommand_name c\ncommand_line /bin/true\n}\n".to_owned();
    for n in 0..200 {
        text += &format!(
            "define host {{\nhost_name h{n}\n}}\ndefine service {{\nhost_name *\nservice_description s{n}\ncheck_command c\n}}\n"
        );
    }
    let written = import_text(Format::Nagios, "nagios.cfg", text.as_bytes()).unwrap();
    assert_eq!(written.checks, 10_000);
    assert_eq!(written.lost.len(), 150, "each service that has no room is told");
}

proptest::proptest! {
    /// Whatever a text is, YAML gives it back.
    #[test]
    fn texts_survive_yaml(text in "\\PC{0,40}|[ -~]{0,40}|[\\x00-\\x7f\n]{0,20}|(a|\n| |#|: |\\t){0,12}") {
        for setting in [
            Setting::from(text.as_str()),
            Setting::map([("k", text.as_str().into())]),
            Setting::map([("k", vec![text.as_str(), "x"].into()), ("long", "y".repeat(120).into())]),
        ] {
            let yaml = format!("key:{}", setting.yaml(0));
            let parsed = config::yaml::parse(&yaml, 0).unwrap();
            let mut node = parsed.root.get("key").unwrap();
            node = node.get("k").unwrap_or(node);
            if let monchero_core::node::Value::List(items) = &node.value {
                node = &items[0];
            }
            proptest::prop_assert_eq!(node.as_text(), Some(text.as_str()), "{}", yaml);
        }
    }

    /// No text makes an importer panic, and what comes of it is always a configuration.
    #[test]
    fn whatever_is_imported_loads(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..60)) {
        let text = words.concat();
        for (format, name) in NAMES {
            if let Ok(written) = import_text(format, name, text.as_bytes()) {
                let loaded = config::load_text(&options(), "again", written.yaml.clone());
                proptest::prop_assert!(!written.todo.is_empty() || loaded.problems.is_empty(), "{:?}: {}", loaded.problems, written.yaml);
            }
        }
    }
}

/// Pieces of all formats.
const WORDS: &[&str] = &[
    "define host {\n",
    "define service {\n",
    "define command {\n",
    "define contact {\n",
    "}\n",
    "host_name a\n",
    "host_name *,!a\n",
    "use t\n",
    "name t\n",
    "register 0\n",
    "check_command c!x!$HOSTNAME$\n",
    "command_name c\n",
    "command_line /bin/echo $ARG1$ 'q\n",
    "command_line /bin/x $ARG2$\n",
    "service_description s\n",
    "check_interval 0.00001\n",
    "max_check_attempts 1e9\n",
    "contacts k\n",
    "contact_name k\n",
    "email a b\n",
    "email k@example.org\n",
    "parents a\n",
    "command[y]=/bin/true\n",
    "set daemon 0\n",
    "set alert a@b on { x }\n",
    "set mailserver h port 99999 username u password p\n",
    "check process p with pidfile /p\n",
    "check host h with address ::1\n",
    "check filesystem f with path /\n",
    "check system s\n",
    "start program = \"/bin/{{x}} a\"\n",
    "if failed port 80 protocol http request /é with content = \"(\" then restart\n",
    "if cpu > 9e99% for 0 cycles then alert\n",
    "if loadavg(1min) > -1 then alert\n",
    "if space usage > 80% for 3 times within 5 cycles then exec \"\"\n",
    "endpoints:\n",
    "  - name: n\n",
    "    url: https://[::1/\n",
    "    url: tcp://\n",
    "    conditions: [\"[STATUS] < 100\", \"[BODY].a[ == (\"]\n",
    "    interval: 0s\n",
    "alerting: { discord: { webhook-url: x }, ntfy: { topic: ' ' } }\n",
    "    alerts: [{ type: discord }, { type: ntfy }]\n",
    "check_config: { n: { repeat: -1, action: { executable: '' } } }\n",
    "nagios_config: { x: { check_name: n, interval: 1 } }\n",
    "command_config: { '': { critical_exit_codes: [999] } }\n",
    "LOKI_URL=http://a b,http:// ,https://u:p@h/x\n",
    "FAILURE_THRESHOLD=0\n",
    "DISCORD_WEBHOOK_URL=nothing\n",
    "\n",
    "\t",
    "\"",
    "\u{0}",
    "é",
    "#",
    "\\\n",
];

/// A part of a page: what stands in the block of code behind a mark, and where.
fn block(page: &str, mark: &str) -> (usize, usize) {
    let at = page.find(mark).unwrap_or_else(|| panic!("the page has no {mark}"));
    let start = at + page[at..].find("```").unwrap();
    let start = start + page[start..].find('\n').unwrap() + 1;
    (start, start + page[start..].find("```").unwrap())
}

/// The page shows, for each format, what really comes of what it shows.
#[test]
fn the_page_tells_what_comes_of_its_examples() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/import.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    for (format, _) in NAMES {
        let mark = format!("<!-- case: {}/docs ", format.name());
        let (start, end) = block(&page, &mark);
        let name = page[page.find(&mark).unwrap() + mark.len()..].split(' ').next().unwrap().to_owned();
        let written = import_text(format, &name, &page.as_bytes()[start..end]).unwrap();
        assert_eq!(written.lost, [], "{format:?}: an example that is not translated is none");
        let (start, end) = block(&page, &format!("<!-- expected: {}/docs -->", format.name()));
        if std::env::var_os("UPDATE").is_some() {
            page.replace_range(start..end, &written.yaml);
        } else {
            assert_eq!(&page[start..end], written.yaml, "{format:?}");
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
}
