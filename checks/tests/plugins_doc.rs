//! `docs/plugins.md`, run: each plugin in it is written to a file, each check in it is run by the real executor, each command by a shell, and the
//! block that follows must be what comes out.

mod common;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::PlainSecrets;
use monchero_core::program::{Program, RunEnd, RunError, Spawner};
use monchero_core::{BoxFuture, Context};
use monchero_exec::Executor;

/// A fenced block: what stands behind the three backticks, and what is in it.
struct Block {
    sort: String,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut lines = document.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(sort) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Block { sort: sort.to_owned(), text: inside.join("\n") + "\n" });
        }
    }
    found
}

/// Runs programs below the directory of the tests, which others than we may be able to write to.
struct Lenient(Executor);

impl Spawner for Lenient {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        self.0.run(Program { allow_insecure_path: true, ..program })
    }

    fn still_stuck(&self, pid: i32) -> bool {
        self.0.still_stuck(pid)
    }

    fn containment(&self) -> &'static str {
        self.0.containment()
    }
}

/// The host of the document: what it calls `/srv` and `/usr/local/lib/monchero` stands in a directory of the test.
struct Host {
    root: tempfile::TempDir,
    spawner: Lenient,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the plugin compares with the clock of the host")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let finished = format!("{{ \"finished\": {} }}", now - 90 * 60);
        let files = [("import.json", finished.as_str())]
            .into_iter()
            .chain(["inbox/1", "inbox/2", "inbox/3", "queues/mail/1"].map(|path| (path, "")));
        let print = ["queues/print/1", "queues/print/2", "queues/print/3", "queues/print/4"].map(|path| (path, ""));
        for (path, text) in files.chain(print) {
            let path = root.path().join("srv").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir(root.path().join("plugins")).unwrap();
        let executor = Executor::start(&monchero_exec::Options::default()).unwrap();
        Self { root, spawner: Lenient(executor) }
    }

    fn names(&self) -> [(&'static str, String); 2] {
        let root = self.root.path().display();
        [("/usr/local/lib/monchero", format!("{root}/plugins")), ("/srv", format!("{root}/srv"))]
    }

    fn to_real(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, real)| text.replace(name, real))
    }

    fn to_shown(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, real)| text.replace(real, name))
    }

    /// Writes a plugin, whose name stands in its second line.
    fn install(&self, text: &str) {
        let name = text.lines().nth(1).and_then(|line| line.strip_prefix("# ")?.split([' ', ':']).next());
        let path = self.root.path().join("plugins").join(name.expect("the second line names the plugin"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A line for each check and service: its name, its state and its message.
    async fn run_checks(&self, text: &str) -> String {
        let mut out = String::new();
        let document = common::yaml(&self.to_real(text));
        for (name, definition) in document.get("checks").expect("there are checks").entries() {
            let check = common::kind("plugin").build(definition.get("plugin").unwrap(), &PlainSecrets).unwrap();
            let timeout = definition.get("timeout").and_then(|node| node.as_text()).unwrap_or("10s");
            let timeout = monchero_core::duration::parse(timeout).unwrap();
            let base = common::context(Path::new("/"), timeout, &common::NoPrograms);
            let context = Context { check: &name.name, spawner: &self.spawner, ..base };
            let found = common::run_in(&*check, &context).await;
            let _ = writeln!(out, "{}  {}  {}", name.name, found.result.state, found.result.message);
            for (service, result) in &found.services {
                let _ = writeln!(out, "{service}  {}  {}", result.state, result.message);
            }
        }
        out
    }

    async fn run_commands(&self, text: &str) -> String {
        let argv = ["/bin/sh", "-c", &self.to_real(text)].map(Into::into).to_vec();
        let directory = Some(self.root.path().join("plugins"));
        let end = self.spawner.run(Program { directory, ..Program::new(argv, Duration::from_secs(10)) }).await.unwrap();
        assert!(end.stderr.is_empty(), "{}", String::from_utf8_lossy(&end.stderr));
        String::from_utf8(end.stdout).unwrap()
    }
}

/// Columns are as wide as they are.
fn words(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn every_block_does_what_the_document_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins.md");
    let document = std::fs::read_to_string(path).unwrap();
    let host = Host::new();
    let mut said: Option<String> = None;
    let mut compared = 0;
    for Block { sort, text } in blocks(&document) {
        if sort != "text" {
            assert_eq!(said, None, "a block `text` must follow what prints something");
        }
        match sort.as_str() {
            "sh" | "python" if text.starts_with("#!") => host.install(&text),
            "sh" => said = Some(host.run_commands(&text).await),
            "yaml" => said = Some(host.run_checks(&text).await),
            "text" => {
                let said = host.to_shown(&said.take().expect("nothing was run before this block"));
                assert_eq!(words(&said), words(&text));
                compared += 1;
            }
            other => panic!("a block of the sort `{other}` is not run"),
        }
    }
    assert_eq!(said, None, "a block `text` must follow what prints something");
    assert!(compared > 6, "only {compared} blocks were compared");
    host.spawner.0.stop().await;
}
