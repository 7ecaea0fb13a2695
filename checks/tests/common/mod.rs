//! What the tests of kinds share: settings from YAML, a context, one run.

use std::path::Path;
use std::time::Duration;

use monchero_checks::KINDS;
use monchero_core::check::NoPeers;
use monchero_core::check::{Check, Context, Kind};
use monchero_core::node::{Key, Node, SecretSource, Secrets, Span, Value};
use monchero_core::program::{Program, RunEnd, RunError, Spawner};
use monchero_core::report::CheckResult;
use monchero_core::{BoxFuture, Name, State};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// YAML as a tree of settings. It knows no places; the loader of the configuration has the real reader.
pub(crate) fn yaml(text: &str) -> Node {
    serde_saphyr::from_str::<Tree>(text).unwrap_or_else(|why| panic!("{why}\n{text}")).0
}

struct Tree(Node);

fn node(value: Value) -> Tree {
    Tree(Node { span: Span::default(), value })
}

fn scalar(text: &(impl ToString + ?Sized), quoted: bool) -> Tree {
    node(Value::Scalar { text: text.to_string().into(), quoted })
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Tree;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("YAML")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(scalar(&value, false))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(scalar(&value, false))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(scalar(&value, false))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(scalar(&value, false))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(scalar(value, true))
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(node(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut nodes = Vec::new();
                while let Some(Tree(node)) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(node(Value::List(nodes)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, Tree(node))) = map.next_entry::<String, Tree>()? {
                    entries.push((Key { span: Span::default(), name: name.into() }, node));
                }
                Ok(node(Value::Map(entries)))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// Secrets as they stand; `{ env: NAME }` is `secret of NAME`.
pub(crate) struct PlainSecrets;

impl Secrets for PlainSecrets {
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String> {
        match source {
            SecretSource::Text(text, _) => Ok(text.to_owned()),
            SecretSource::Env(name) => Ok(format!("secret of {name}")),
            SecretSource::File(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
            SecretSource::Credential(name) => Err(format!("there is no credential `{name}`")),
        }
    }
}

/// Starts nothing.
pub(crate) struct NoPrograms;

impl Spawner for NoPrograms {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        let program = program.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        Box::pin(async { Err(RunError::Start { program, why: "no programs are started here".to_owned() }) })
    }

    fn still_stuck(&self, _: i32) -> bool {
        false
    }

    fn containment(&self) -> &'static str {
        "none"
    }
}

pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("there is no kind `{name}`"))
}

/// The wall clock of all test runs.
pub(crate) const NOW: &str = "2026-06-01T00:00:00Z";

pub(crate) fn context<'a>(sysroot: &'a Path, timeout: Duration, spawner: &'a dyn Spawner) -> Context<'a> {
    Context {
        check: "test",
        host: "host",
        now: NOW.parse().unwrap(),
        timeout,
        sysroot,
        spawner,
        env: &[],
        memory: None,
        peers: &NoPeers,
        explain: false,
    }
}

/// Runs a check once and judges its answer as the engine does.
pub(crate) async fn run_in(check: &dyn Check, context: &Context<'_>) -> CheckResult {
    let answer = check.run(context).await;
    let name = Name::new(context.check);
    CheckResult::new(name, context.now, Duration::ZERO, answer, State::Unknown).expect("nobody calls the run off")
}
