//! The documents, run: every block of YAML is loaded, every command is executed, and what is shown must be what comes out.
//!
//! What stands behind the language of a block says what is done with it:
//!
//! | block | what is done |
//! | --- | --- |
//! | `yaml` | loaded as a whole file of `conf.d`; `yaml settings` as `monchero.yaml` |
//! | any language, `file=PATH` | written to that file, which the words before it name, for the commands that follow |
//! | `console` | commands (`$ `) and their output, compared; with `until` the command is repeated until it shows that |
//! | `console background` | the command is a daemon, which runs until the document ends |
//! | `sh` | run by a shell; must end with 0 |
//! | any, `not-run: REASON` | nothing; counted and listed here |
//!
//! Moments, spans, versions, identifiers and the name of the host may differ, and a line `...` stands for any lines. All commands of a document share a
//! shell, a home, an `/etc/monchero`, an `/srv` and a `/usr/local/lib/monchero` of its own. `MONCHERO_DOCUMENTS=write cargo test --test documents`
//! writes what came out into the documents, for whoever changed what the program prints.

#[path = "documents/blocks.rs"]
mod blocks;
#[path = "documents/session.rs"]
mod session;
mod support;

use std::path::{Path, PathBuf};

use blocks::{Block, Order};
use session::Session;

/// Documents whose blocks are run by the test of the same name.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/comparison.md",
    "docs/import.md",
    "docs/kinds.md",
    "docs/notifications.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/plugins.md",
    "docs/tutorial.md",
];
/// Documents without any block: tables that the tests of `core` run, reasons, steps for people.
const WITHOUT_BLOCKS: &[&str] = &["docs/decide.md", "docs/decisions.md", "docs/release.md", "docs/state-machine.md"];
/// How many blocks are not run. Each says why; whoever adds one changes this on purpose.
const NOT_RUN: usize = 15;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> (String, Vec<Block>) {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let blocks = blocks::blocks(&text).unwrap_or_else(|wrong| panic!("{document}: {wrong}"));
    (text, blocks)
}

#[test]
fn no_document_is_forgotten() {
    let mut present: Vec<String> = std::fs::read_dir(repository().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "md"))
        .collect();
    present.push("README.md".to_owned());
    present.sort();
    let mut known: Vec<&str> = DOCUMENTS.iter().chain(WITHOUT_BLOCKS).copied().collect();
    known.sort_unstable();
    assert_eq!(present, known);
    for document in WITHOUT_BLOCKS {
        assert!(read(document).1.is_empty(), "{document} has blocks, and nobody runs them");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the list is what this test is for")]
fn what_is_not_run_says_why() {
    let mut listed = Vec::new();
    for document in DOCUMENTS {
        for block in read(document).1 {
            if let Order::NotRun(reason) = block.order {
                listed.push(format!("{document}:{}: {} block is not run: {reason}", block.lines.start, block.language));
            }
        }
    }
    println!("{}", listed.join("\n"));
    assert_eq!(listed.len(), NOT_RUN, "{listed:#?}");
}

#[test]
fn links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    for document in DOCUMENTS.iter().chain(WITHOUT_BLOCKS) {
        let path = repository().join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in link.captures_iter(&text) {
            assert!(path.parent().unwrap().join(&target[1]).exists(), "{document}: `{}` is not there", &target[1]);
        }
    }
}

/// Every block of YAML is loaded as the daemon loads it; what is wrong, in one line each.
fn mistakes(block: &Block) -> Vec<String> {
    use monchero::config::{Chosen, Kinds, LoadOptions, Problem, Reason, SecretStore, load};
    let directory = support::scratch();
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    let name = if block.order == Order::Settings { "monchero.yaml" } else { "conf.d/a.yaml" };
    let path = directory.path().join(name);
    std::fs::write(&path, &block.text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if block.order == Order::Settings {
        // The target of all examples.
        std::fs::write(directory.path().join("conf.d/a.yaml"), "actions: { ops: { journal: {} } }\n").unwrap();
    }
    let config = Chosen { path: directory.path().to_owned(), reason: Reason::User };
    let variable = |_: &str| Some("https://a-secret.example/".into());
    let secrets = SecretStore { variable: &variable, file: &monchero::config::read_secret };
    let options =
        LoadOptions { config: &config, kinds: Kinds::built_in(), env: Vec::new(), secrets, keep_settings: false };
    // An example may refer to a secret that is not on this machine.
    load(&options).problems.iter().map(Problem::one_line).filter(|line| !line.contains("the secret in")).collect()
}

/// Runs one block; what is wrong, and what should stand there instead, if that can be written.
fn run(session: &mut Session, block: &Block) -> Result<(), (String, Option<String>)> {
    let wrong = |text: String| Err((text, None));
    match (block.language.as_str(), &block.order) {
        (_, Order::NotRun(_)) => Ok(()),
        (_, Order::File(path)) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            // What stands in `conf.d` may have any name.
            if !path.contains("/conf.d/") && !block.prose.contains(name) && !block.text.contains(name) {
                return wrong(format!("the words before it do not name `{name}`"));
            }
            session.write(path, &block.text);
            Ok(())
        }
        ("yaml", Order::Run | Order::Settings) => match mistakes(block) {
            mistakes if mistakes.is_empty() => Ok(()),
            mistakes => wrong(mistakes.join("\n")),
        },
        ("sh", Order::Run) => match session.run(&format!("set -e\n{}\nset +e", block.text)) {
            (Some(0), _) => Ok(()),
            (status, output) => wrong(format!("ended with {status:?}:\n{output}")),
        },
        ("console", Order::Background) => {
            let commands = blocks::commands(&block.text);
            session.start(&commands[0].command).or_else(wrong)
        }
        ("console", Order::Run | Order::Until) => console(session, block),
        (language, order) => wrong(format!("nothing is known to do with `{language}` and {order:?}")),
    }
}

fn console(session: &Session, block: &Block) -> Result<(), (String, Option<String>)> {
    let mut shown = blocks::commands(&block.text);
    assert!(!shown.is_empty(), "no `$ ` begins a command");
    let mut report = String::new();
    for shown in &mut shown {
        let output = match block.order {
            Order::Until => session.run_until(&shown.command, &shown.output),
            _ => session.run(&shown.command).1,
        };
        if !session::same(&shown.output, &output) {
            report += &format!("$ {}\nshown:\n{}came out:\n{output}", shown.command, shown.output);
            shown.output = output;
        }
    }
    if report.is_empty() { Ok(()) } else { Err((report, Some(blocks::console(&shown)))) }
}

/// Runs a document from its beginning to its end.
fn document(name: &str) {
    let (text, blocks) = read(name);
    let mut session = Session::new();
    let (mut wrong, mut corrected) = (Vec::new(), Vec::new());
    for block in &blocks {
        if let Err((what, correction)) = run(&mut session, block) {
            wrong.push(format!("{name}:{}: {what}", block.lines.start));
            corrected.extend(correction.map(|text| (block.lines.clone(), text)));
        }
    }
    if std::env::var_os("MONCHERO_DOCUMENTS").is_some_and(|value| value == "write") {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (range, text) in corrected.into_iter().rev() {
            lines.splice(range, text.lines().map(str::to_owned));
        }
        std::fs::write(repository().join(name), lines.join("\n") + "\n").unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! documents {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { document($name); })*

        #[test]
        fn every_document_has_a_test() {
            assert_eq!([$($name),*].as_slice(), DOCUMENTS);
        }
    };
}

documents! {
    readme: "README.md",
    comparison: "docs/comparison.md",
    import: "docs/import.md",
    kinds: "docs/kinds.md",
    notifications: "docs/notifications.md",
    operations: "docs/operations.md",
    performance: "docs/performance.md",
    plugins: "docs/plugins.md",
    tutorial: "docs/tutorial.md",
}
