//! What makes messages wait or come again, from the files to what the engine gets.

use std::time::Duration;

use monchero_core::hold::Shut;
use serde_json::json;

use super::{Directory, good, lines};
use crate::config::settings::{ActionSettings, CheckSettings};
use crate::config::{Chosen, Kinds, LoadOptions, Reason, SecretStore, load, show};

const CHECKS: &str = "checks:\n  db-1: { probe: { url: \"http://db.example/\" }, labels: { team: db } }\n  here: { probe: { url: \"http://localhost:80/\" } }\n  \
                      near: { probe: { url: \"http://192.0.2.1/\" }, depends_on: [router] }\n  router: { probe: { url: \"http://192.0.2.2/\" } }\n  \
                      far: { probe: { url: \"http://192.0.2.3/\" } }\n  script: { plugin: /bin/true, labels: { network: \"yes\" } }\n  \
                      lan: { probe: { url: \"http://10.0.0.1/\" } }\n";

#[test]
fn a_downtime_that_recurs_is_read() {
    let mut directory = Directory::with(&format!(
        "{CHECKS}downtimes:\n  backup:\n    cron: \"30 2 * * *\"\n    duration: 45m\n    checks: [\"db-*\", here]\n    labels: {{ team: db }}\n  \
         patches: {{ calendar: Sat 02:00, zone: Asia/Tokyo, duration: 2h, labels: {{ team: \"*\" }}, comment: reboots }}\n"
    ));
    directory.write("monchero.yaml", "time_zone: Europe/Berlin\n");
    directory.keep_settings = true;
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    let [backup, patches] = loaded.configuration.downtimes.as_slice() else { panic!("two downtimes") };
    let from = "2026-06-03T10:00:00Z".parse().unwrap();
    let next = backup.occurrence(from).unwrap();
    assert_eq!(
        (next.start.to_string(), next.end.to_string()),
        ("2026-06-04T00:30:00Z".into(), "2026-06-04T01:15:00Z".into())
    );
    assert_eq!((backup.covers.to_string(), backup.comment.as_str()), ("db-*, here with team=db".to_owned(), "backup"));
    assert_eq!(next.author, "conf.d/a.yaml:10");
    let next = patches.occurrence(from).unwrap();
    assert_eq!((next.start.to_string(), next.comment.as_str()), ("2026-06-05T17:00:00Z".to_owned(), "reboots"));
    let shown = show::json(&loaded);
    assert_eq!(shown["downtimes"]["backup"]["settings"]["value"], "30 2 * * *");
    assert_eq!(shown["downtimes"]["patches"]["duration"], json!({ "value": "2h", "source": "conf.d/a.yaml:15" }));
    assert!(show::text(&loaded).contains("\n  backup:"), "{}", show::text(&loaded));
}

#[test]
fn reminders_are_a_span_or_grow() {
    let wants = |remind: &str| {
        let loaded = good(&format!(
            "actions:\n  a:\n    mail: {{ to: [x] }}\n    remind: {remind}\n    before_hold_ends: 15m\n"
        ));
        let wants = loaded.configuration.actions[0].wants.clone();
        assert_eq!(wants.before_hold_ends, Some(Duration::from_mins(15)));
        let remind = wants.remind.unwrap();
        [0, 1, 2, 9].map(|count| remind.wait(count).as_secs() / 60)
    };
    assert_eq!(wants("4h"), [240; 4]);
    assert_eq!(wants("{ every: 1h, growth: 1.5, at_most: 2h }"), [60, 90, 120, 120]);
    assert_eq!(wants("{ every: 1h }"), [60, 120, 240, 1_440]);
    assert_eq!(wants("{ every: 2d }"), [2_880; 4]);
}

#[test]
fn the_gate_holds_what_looks_at_other_hosts() {
    let directory = Directory::with(CHECKS);
    let gate = |text: &str| {
        directory.write("monchero.yaml", text);
        let loaded = directory.load();
        assert_eq!(lines(&loaded), [""; 0]);
        let shown = show::json(&loaded)["gate"].clone();
        let gate = loaded.configuration.gate.unwrap();
        let names: Vec<&str> = gate.checks.iter().map(monchero_core::Name::as_str).collect();
        assert_eq!(names, ["far", "near"]);
        (gate.shut, shown["holds"].clone())
    };
    // What the gate depends on and what is on this host is told as ever.
    assert_eq!(gate("gate: { checks: [near, far] }\n"), (Shut::All, json!(["db-1", "lan"])));
    let text = "gate:\n  checks: [near, far]\n  shut: any\n  holds: { labels: { network: \"yes\" } }\n  except: { checks: [lan] }\n";
    assert_eq!(gate(text), (Shut::Any, json!(["db-1", "script"])));
}

/// Whoever adds a setting adds it to what is shown, or this fails.
#[test]
fn no_setting_is_left_out_of_what_is_shown() {
    let loaded = good(
        "actions:\n  t:\n    mail: { to: [x] }\n    delay: 30m\n    after: 2\n    group: 1m\n    rate: 3\n    fallback: u\n  u: { mail: { to: [y] } }\n  \
         s: { fix: \"true\" }\nchecks:\n  c: { probe: { url: \"http://h/\" }, actions: [t] }\n",
    );
    let shown = show::json(&loaded);
    let settings = |schema: schemars::Schema| -> Vec<String> {
        schema.get("properties").unwrap().as_object().unwrap().keys().cloned().collect()
    };
    for (action, tells) in [("t", true), ("u", true), ("s", false)] {
        for key in settings(schemars::schema_for!(ActionSettings)) {
            let is_foreign = ActionSettings::foreign(tells).contains(&key.as_str());
            assert_eq!(shown["actions"][action].get(&key).is_some(), !is_foreign, "{key} of {action}");
        }
    }
    for key in settings(schemars::schema_for!(CheckSettings)) {
        assert!(shown["checks"]["c"].get(&key).is_some(), "{key} of a check");
    }
    for (key, value) in [("delay", json!("30m")), ("after", json!(2)), ("group", json!("1m")), ("rate", json!(3))] {
        assert_eq!(shown["actions"]["t"][key]["value"], value);
    }
    assert_eq!(shown["actions"]["t"]["fallback"]["value"], "u");
    let defaults = &shown["actions"]["u"];
    assert_eq!((&defaults["rate"]["value"], &defaults["group"]["value"]), (&json!(20), &json!("10s")));
    assert_eq!(defaults["delay"], json!({ "value": null, "source": "default" }));
    assert_eq!(
        (&defaults["states"]["value"], &defaults["timeout"]["value"]),
        (&json!(["warning", "unknown", "bad"]), &json!("30s"))
    );
}

/// The password cannot be read; that it is missing is no mistake of the user.
#[test]
fn a_secret_that_cannot_be_read_is_one_mistake() {
    let directory = Directory::with(
        "actions:\n  a:\n    email: { to: a@example.org, smtp: { host: h, user: u, password: { file: /nonexistent/password } } }\n  \
         b:\n    email: { to: a@example.org, smtp: { host: h, user: u } }\n",
    );
    let variable = |_: &str| None;
    let loaded = load(&LoadOptions {
        config: &Chosen { path: directory.path().to_owned(), reason: Reason::User },
        kinds: Kinds::built_in(),
        env: Vec::new(),
        secrets: SecretStore { variable: &variable, file: &crate::config::read_secret },
        keep_settings: false,
    });
    let told = lines(&loaded);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("/nonexistent/password") && told[1].contains("`password` is missing"), "{told:#?}");
}
