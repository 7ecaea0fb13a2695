//! Every kind against recorded hosts and scripted services: `cases/<kind>/<case>/`.
//!
//! | file | what it is |
//! | --- | --- |
//! | `check.yaml` | the settings; `{port}` is that of the scripted service |
//! | `root/` | the host's files |
//! | `dialogue.txt` | a TCP service: see [`dialogue`] |
//! | `program.txt` | what every program answers: `exit N`, then its standard output; see [`Recorded`] for several |
//! | `timeout.txt` | how long the run may take; `5s` if there is none |
//! | `memory.json` | what the last run remembered; nothing if there is none |
//! | `filters.txt` | lines `REGEX => TEXT` for what differs from run to run, besides times |
//! | `expected.txt` | what comes out; `UPDATE=1 cargo test` writes it anew |

mod common;
#[path = "cases/dialogue.rs"]
mod dialogue;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::PlainSecrets;
use monchero_checks::KINDS;
use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner};
use monchero_core::report::ServiceResult;
use monchero_core::{BoxFuture, Context, Metric};
use regex::Regex;

/// Where the cases are, as seen from the package, in which tests run: the path of a socket in one has at most 107 bytes.
fn cases() -> PathBuf {
    "cases".into()
}

fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

fn text_of(case: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(case.join(file)).ok()
}

#[tokio::test]
async fn every_case_comes_out_as_expected() {
    let mut wrong = String::new();
    let mut count = 0;
    for kind in folders(&cases()) {
        for case in folders(&kind) {
            count += 1;
            let actual = outcome(kind.file_name().unwrap().to_str().unwrap(), &case).await;
            let expected = text_of(&case, "expected.txt").unwrap_or_default();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(case.join("expected.txt"), &actual).unwrap();
            } else if actual != expected {
                let _ = write!(wrong, "\n{}\n--- expected\n{expected}--- actual\n{actual}", case.display());
            }
        }
    }
    assert!(count > 20, "only {count} cases were found");
    assert!(wrong.is_empty(), "{wrong}\nif this is right: UPDATE=1 cargo test -p monchero-checks --test cases");
}

/// What comes out of a case, as `expected.txt` says it.
async fn outcome(kind: &str, case: &Path) -> String {
    let mut service = match text_of(case, "dialogue.txt") {
        Some(script) => Some(dialogue::Service::start(&script).await),
        None => None,
    };
    let port = service.as_ref().map(|service| service.port.to_string()).unwrap_or_default();
    let settings = text_of(case, "check.yaml")
        .unwrap_or_else(|| panic!("{} has no check.yaml", case.display()))
        .replace("{port}", &port);
    let mut out = String::new();
    match common::kind(kind).build(&common::yaml(&settings), &PlainSecrets) {
        Err(why) => {
            let _ = writeln!(out, "refused: {why}");
            if let Some(help) = why.help {
                let _ = writeln!(out, "hint: {help}");
            }
        }
        Ok(check) => {
            let root = case.join("root");
            let sysroot = if root.is_dir() { root.as_path() } else { Path::new("/") };
            let timeout = text_of(case, "timeout.txt")
                .map_or(Duration::from_secs(5), |text| monchero_core::duration::parse(&text).unwrap());
            let programs = Recorded(text_of(case, "program.txt"));
            let memory = text_of(case, "memory.json");
            let context = Context { memory: memory.as_deref(), ..common::context(sysroot, timeout, &programs) };
            let result = common::run_in(&*check, &context).await;
            show(&mut out, "", &result.result);
            for (name, service) in &result.services {
                show(&mut out, &format!("{name} "), service);
            }
        }
    }
    if let Some(service) = &mut service
        && let Err(why) = service.end().await
    {
        let _ = writeln!(out, "dialogue: {why}");
    }
    if !port.is_empty() {
        out = out.replace(&format!(":{port}"), ":{port}");
    }
    filter(out, text_of(case, "filters.txt").as_deref().unwrap_or_default())
}

fn show(out: &mut String, who: &str, result: &ServiceResult) {
    let _ = writeln!(out, "{who}{}: {}", result.state, result.message);
    for line in result.output.lines() {
        let _ = writeln!(out, "  {line}");
    }
    for metric in &result.metrics {
        let _ = writeln!(out, "  {}", describe(metric));
    }
}

fn describe(metric: &Metric) -> String {
    let value = match metric.value {
        // Times differ from run to run, wherever they stand.
        Some(_) if metric.unit.as_str() == "s" => "<time>".to_owned(),
        Some(value) => format!("{value:.2}{}", metric.unit),
        None => "U".to_owned(),
    };
    let ranges = [("warning", metric.warning), ("bad", metric.bad)];
    let ranges: String =
        ranges.iter().filter_map(|(name, range)| range.map(|range| format!(" {name} {range}"))).collect();
    format!("{} = {value}{ranges}", metric.label)
}

/// Replaces what differs from run to run.
fn filter(text: String, filters: &str) -> String {
    let own =
        filters.lines().filter(|line| !line.is_empty()).map(|line| line.split_once(" => ").expect("REGEX => TEXT"));
    let times = [(r"\d+(\.\d+(e-\d+)?)? ?(us|ms|s)\b", "<time>")];
    own.chain(times).fold(text, |text, (pattern, replacement)| {
        Regex::new(pattern).unwrap().replace_all(&text, replacement).into_owned()
    })
}

/// Programs that all say the same, or answers by their command lines: each behind a line `=== PART`, of which the first counts whose
/// part stands in the command line.
struct Recorded(Option<String>);

impl Recorded {
    fn answer(&self, program: &Program) -> Option<&str> {
        let text = self.0.as_deref()?;
        let Some(sections) = text.strip_prefix("=== ") else { return Some(text) };
        let line: Vec<_> = program.argv.iter().map(|word| word.to_string_lossy()).collect();
        let line = line.join(" ");
        let answers = sections.split("\n=== ").filter_map(|section| section.split_once('\n'));
        answers.into_iter().find(|(part, _)| line.contains(part)).map(|(_, answer)| answer)
    }
}

impl Spawner for Recorded {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        Box::pin(async move {
            let Some(text) = self.answer(&program) else { return common::NoPrograms.run(program).await };
            let (first, stdout) = text.split_once('\n').unwrap_or((text, ""));
            let status = first
                .strip_prefix("exit ")
                .and_then(|status| status.parse().ok())
                .expect("program.txt begins with `exit N`");
            Ok(RunEnd {
                exit: Exit::Status(status),
                stdout: stdout.as_bytes().to_vec(),
                stderr: Vec::new(),
                truncated: false,
                leftovers: 0,
                duration: Duration::from_millis(1),
            })
        })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "recorded"
    }
}

#[test]
fn every_kind_is_complete() {
    let mut wrong = Vec::new();
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    if !names.is_sorted() || names.iter().collect::<BTreeSet<_>>().len() != names.len() {
        wrong.push(format!("the kinds are not in order: {names:?}"));
    }
    for kind in KINDS {
        if let Err(why) = kind.build(&common::yaml(kind.example), &PlainSecrets) {
            wrong.push(format!("the example of `{}` is refused: {why}", kind.name));
        }
        if !cases().join(kind.name).is_dir() || folders(&cases().join(kind.name)).is_empty() {
            wrong.push(format!("`{}` has no case in checks/cases/{}", kind.name, kind.name));
        }
        let mut generator = schemars::SchemaGenerator::default();
        let schema = kind.schema(&mut generator).to_value();
        if schema.get("description").is_none() {
            wrong.push(format!("`{}` has no description", kind.name));
        }
        let definitions = serde_json::Value::Object(generator.take_definitions(true));
        undescribed(&schema, kind.name, &mut wrong);
        undescribed(&definitions, kind.name, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every setting, however deep, must say what it is.
fn undescribed(schema: &serde_json::Value, place: &str, wrong: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
        // The ways to refer to a secret are described as a whole.
        let is_reference =
            properties.len() == 1 && ["file", "env", "credential"].iter().any(|way| properties.contains_key(*way));
        for (name, property) in properties {
            if property.get("description").is_none() && !is_reference {
                wrong.push(format!("`{place}.{name}` has no description"));
            }
        }
    }
    match schema {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                undescribed(inner, &format!("{place}.{key}"), wrong);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|inner| undescribed(inner, place, wrong)),
        _ => {}
    }
}
