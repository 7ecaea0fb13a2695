//! Targets that say for themselves of which checks they are told.

use monchero_core::Name;

use super::super::{Loaded, show};
use super::{Directory, check, good, lines};

/// Who is told of a check.
fn told(loaded: &Loaded, name: &str) -> String {
    words(&check(loaded, name).actions)
}

fn words(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}

const CHECKS: &str = "
checks:
  shop: { probe: { url: a://b }, labels: { team: web, site: berlin } }
  db-1: { probe: { url: a://b }, labels: { team: data } }
  own: { probe: { url: a://b }, actions: [named], labels: { team: web } }
  mended: { probe: { url: a://b }, actions: [repair] }
  each: { probe: {}, for_each: { url: [a://x, a://y] } }
";

/// The checks with actions whose settings beside the kind are these.
fn with(routes: &[(&str, &str)]) -> Loaded {
    let mut text = String::from("actions:\n  named: { mail: { to: [x] } }\n  repair: { fix: \"true\" }\n");
    for (name, settings) in routes {
        text.push_str(&format!("  {name}: {{ mail: {{ to: [x] }}, {settings} }}\n"));
    }
    good(&(text + CHECKS))
}

#[test]
fn a_default_is_told_of_what_nobody_else_is_told_of() {
    let loaded = with(&[("ops", "default: true")]);
    for (check, targets) in
        [("shop", "ops"), ("db-1", "ops"), ("own", "named"), ("mended", "repair ops"), ("each[x]", "ops")]
    {
        assert_eq!(told(&loaded, check), targets, "{check}");
    }
    assert_eq!(words(&loaded.configuration.self_actions), "ops");
    let loaded = with(&[("ops", "default: false")]);
    assert_eq!(told(&loaded, "shop"), "");
    assert_eq!(words(&loaded.configuration.self_actions), "");
}

#[test]
fn labels_and_names_choose_checks_besides_those_that_name_the_target() {
    let loaded = with(&[
        ("web", "labels: { team: web }"),
        ("north", "labels: { team: \"*\", site: \"ber*\" }"),
        ("names", "checks: [\"db-?\", each]"),
        ("both", "labels: { team: web }, checks: [\"s*\"]"),
        ("rest", "default: true, checks: [\"*\"], labels: { team: \"*\" }"),
        ("own", "checks: [\"self/*\"]"),
    ]);
    for (check, targets) in [
        ("shop", "web north both rest"),
        ("db-1", "names rest"),
        ("own", "named web"),
        ("mended", "repair"),
        ("each[x]", "names"),
        ("each[y]", "names"),
    ] {
        assert_eq!(told(&loaded, check), targets, "{check}");
    }
    assert_eq!(words(&loaded.configuration.self_actions), "own");
}

#[test]
fn nobody_is_named_twice() {
    let loaded = good(
        "defaults: { actions: [ops] }\nactions:\n  ops: { mail: { to: [x] }, default: true, checks: [\"*\"] }\n  two: { mail: { to: [x] }, checks: [\"*\"] }\nchecks:\n  a: { probe: { url: a://b } }\n  b: { probe: { url: a://b }, actions: [two, ops] }\n",
    );
    assert_eq!(told(&loaded, "a"), "ops two");
    assert_eq!(told(&loaded, "b"), "two ops");
}

#[test]
fn a_target_that_is_broken_tells_nobody_and_the_default_steps_in() {
    let loaded = Directory::with(
        "actions:\n  broken: { mail: { to: 1, too: 2 }, checks: [\"*\"] }\n  ops: { mail: { to: [x] }, default: true }\nchecks:\n  a: { probe: { url: a://b }, actions: [broken] }\n",
    )
    .load();
    assert!(!lines(&loaded).is_empty());
    assert_eq!(told(&loaded, "a"), "ops");
}

#[test]
fn what_is_shown_says_who_is_told_and_where_that_is_written() {
    let loaded = with(&[("web", "labels: { team: web }"), ("all", "checks: [\"*\"]")]);
    let json = show::json(&loaded);
    assert_eq!(json["checks"]["own"]["actions"]["value"], serde_json::json!(["named", "web", "all"]));
    assert_eq!(json["checks"]["own"]["actions"]["source"], "conf.d/a.yaml:10, conf.d/a.yaml:4, conf.d/a.yaml:5");
    assert_eq!(json["checks"]["shop"]["actions"]["source"], "conf.d/a.yaml:4, conf.d/a.yaml:5");
    assert_eq!(json["actions"]["web"]["labels"]["value"], serde_json::json!({ "team": "web" }));
    assert_eq!(json["actions"]["all"]["checks"]["value"], serde_json::json!(["*"]));
}
