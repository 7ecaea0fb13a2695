//! What good files mean.

use std::time::Duration;

use monchero_core::Name;
use monchero_core::definition::Trigger;
use monchero_core::node::{Node, Value};
use monchero_core::state::State;

use super::super::{show, yaml};
use super::{Directory, check, good, lines, names};

fn tree(text: &str) -> Node {
    let parsed = yaml::parse(text, 0).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(parsed.doubled.is_empty(), "{text}");
    parsed.root
}

fn plain(text: &str) -> Value {
    Value::Scalar { text: text.into(), quoted: false }
}

#[test]
fn scalars_keep_their_text() {
    let root = tree("a: 010\nb: yes\nc: 1_000\nd: '80'\ne: 0x1F\nf: 1.50\ng: 22:00\nh: ~\ni:\nj: !!str 5\nk: \"\"\nl: null\nm: > 90%\n".replace("m: > 90%\n", "m: '> 90%'\n").as_str());
    let value = |key: &str| root.get(key).unwrap().value.clone();
    for (key, text) in [("a", "010"), ("b", "yes"), ("c", "1_000"), ("e", "0x1F"), ("f", "1.50"), ("g", "22:00")] {
        assert_eq!(value(key), plain(text));
    }
    for (key, text) in [("d", "80"), ("j", "5"), ("k", ""), ("m", "> 90%")] {
        assert_eq!(value(key), Value::Scalar { text: text.into(), quoted: true });
    }
    for key in ["h", "i", "l"] {
        assert_eq!(value(key), Value::Null, "{key}");
    }
}

#[test]
fn spans_are_bytes_of_the_file() {
    let text = "\u{feff}# ö\nchecks:\n  ä: { x: \"ü\", y: [1, 22] }\nlast: 1\n";
    let root = tree(text);
    let slice = |node: &Node| &text[node.span.start as usize..node.span.end as usize];
    let checks = root.get("checks").unwrap();
    assert_eq!(slice(checks), "ä: { x: \"ü\", y: [1, 22] }");
    let (key, inner) = &checks.entries()[0];
    assert_eq!(&text[key.span.start as usize..key.span.end as usize], "ä");
    assert_eq!(slice(inner), "{ x: \"ü\", y: [1, 22] }");
    assert_eq!(slice(inner.get("x").unwrap()), "\"ü\"");
    assert_eq!(slice(inner.get("y").unwrap()), "[1, 22]");
    assert_eq!(slice(root.get("last").unwrap()), "1");
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let root = tree(
        "base: &base { a: 1, b: 2 }\nmore: &more { b: 3, c: 4 }\nx: { <<: *base, b: 9 }\ny: { <<: [*base, *more], d: 5 }\nz: *base\n",
    );
    let pairs = |key: &str| -> Vec<(String, String)> {
        let entries = root.get(key).unwrap().entries().iter();
        entries.map(|(key, value)| (key.name.to_string(), value.as_text().unwrap().to_owned())).collect()
    };
    let expected =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    assert_eq!(pairs("x"), expected(&[("b", "9"), ("a", "1")]));
    assert_eq!(pairs("y"), expected(&[("d", "5"), ("a", "1"), ("b", "2"), ("c", "4")]));
    assert_eq!(pairs("z"), expected(&[("a", "1"), ("b", "2")]));
    let loaded =
        good("x-base: &base\n  interval: 5s\n  labels: { team: web }\nchecks:\n  a:\n    <<: *base\n    beat: 1d\n");
    assert_eq!(check(&loaded, "a").interval, Duration::from_secs(5));
}

#[test]
fn the_nearest_setting_counts_and_labels_merge() {
    let directory = Directory::new();
    directory.write("monchero.yaml", "defaults:\n  interval: 10s\n  timeout: 9s\n  retries: 7\n  labels: { site: a, team: none }\n  actions: [ops]\n");
    directory.write(
        "conf.d/a.yaml",
        "defaults: { timeout: 8s, retries: 0, labels: { team: web } }\n\
         actions: { ops: { mail: { to: [x] } }, more: { fix: x } }\n\
         checks:\n  near: { beat: 1d, interval: 100ms, labels: { team: me, own: 1 }, actions: [more], flapping: false, on_timeout: bad }\n  far: { beat: 1d }\n",
    );
    directory.write("conf.d/b.yaml", "checks: { other: { beat: } }\n");
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    let labels =
        |name: &str| check(&loaded, name).labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
    let near = check(&loaded, "near");
    assert_eq!(
        (near.interval, near.timeout, near.policy.max_attempts),
        (Duration::from_millis(100), Duration::from_secs(8), 1)
    );
    assert_eq!(
        (near.retry_interval, near.on_timeout, near.policy.flapping),
        (Duration::from_millis(100), State::Bad, None)
    );
    assert_eq!(near.actions.iter().map(Name::as_str).collect::<Vec<_>>(), ["more"]);
    assert_eq!(labels("near"), "own=1 site=a team=me");
    let far = check(&loaded, "far");
    assert_eq!(
        (far.interval, far.timeout, far.policy.max_attempts),
        (Duration::from_secs(10), Duration::from_secs(8), 1)
    );
    assert_eq!(labels("far"), "site=a team=web");
    let other = check(&loaded, "other");
    assert_eq!((other.timeout, other.policy.max_attempts), (Duration::from_secs(9), 8));
    assert_eq!(labels("other"), "site=a team=none");
    assert_eq!(other.actions.iter().map(Name::as_str).collect::<Vec<_>>(), ["ops"]);
    assert_eq!(loaded.configuration.self_actions.iter().map(Name::as_str).collect::<Vec<_>>(), ["ops"]);
}

#[test]
fn defaults_of_the_manual() {
    let loaded = good(
        "checks: { a: { beat: 1d }, slow: { beat: 1d, interval: 5m } }\nactions: { t: { mail: { to: [x] } }, s: { fix: x } }\n",
    );
    let a = check(&loaded, "a");
    assert_eq!(
        (a.interval, a.timeout, a.retry_interval),
        (Duration::from_secs(60), Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!(check(&loaded, "slow").retry_interval, Duration::from_secs(30));
    assert_eq!((a.policy.max_attempts, a.policy.recover_after, a.on_timeout), (3, 1, State::Unknown));
    assert_eq!(a.source.to_string(), "conf.d/a.yaml:1");
    let [script, target] = loaded.configuration.actions.as_slice() else { panic!("two actions") };
    assert_eq!(target.wants.states, [State::Warning, State::Unknown, State::Bad]);
    assert_eq!((target.wants.remind, target.quiet), (None, None));
    assert_eq!(
        (script.on.as_slice(), script.timeout, script.limit),
        ([Trigger::Bad].as_slice(), Duration::from_secs(30), None)
    );
}

#[test]
fn actions_have_their_settings() {
    let loaded = good(
        "actions:\n  t:\n    mail: { to: [x] }\n    states: [bad]\n    remind: 4h\n    quiet: { from: \"22:00\", to: 07:30, zone: Asia/Tokyo }\n  s:\n    fix: |\n      #!/bin/sh\n      true\n    on: [soft, recovery]\n    cooldown: 10m\n    limit: 3\n",
    );
    let [script, target] = loaded.configuration.actions.as_slice() else { panic!("two actions") };
    assert_eq!(
        (target.wants.states.as_slice(), target.wants.remind.map(|remind| remind.every)),
        ([State::Bad].as_slice(), Some(Duration::from_secs(4 * 3_600)))
    );
    let (evening, utc) = ("2026-06-03T14:00:00Z".parse().unwrap(), jiff::tz::TimeZone::UTC);
    assert_eq!(target.quiet_until(evening, &utc), Some("2026-06-03T22:30:00Z".parse().unwrap()));
    let quiet = target.quiet.unwrap();
    assert_eq!((quiet.from, quiet.to), (jiff::civil::time(22, 0, 0, 0), jiff::civil::time(7, 30, 0, 0)));
    assert_eq!(script.on, [Trigger::Soft, Trigger::Recovery]);
    assert_eq!((script.cooldown, script.limit), (Some(Duration::from_secs(600)), Some(3)));
}

#[test]
fn for_each_makes_instances() {
    let loaded = good(
        "checks:\n  g:\n    probe: { expect: { status: 200 } }\n    for_each: { url: [http://a:3000/x, 'http://me:pw@b'] }\n\
         \x20 s:\n    probe: { url: 'http://x' }\n    for_each: { expect.status: { good: 200, gone: 404 } }\n\
         \x20 p: { beat: , for_each: { period: [1d, 2d] } }\n  child: { beat: 1d, depends_on: [g, 'p[2d]'] }\n",
    );
    assert_eq!(names(&loaded), ["child", "g[a:3000]", "g[b]", "p[1d]", "p[2d]", "s[gone]", "s[good]"]);
    assert_eq!(
        check(&loaded, "child").depends_on.iter().map(Name::as_str).collect::<Vec<_>>(),
        ["g[a:3000]", "g[b]", "p[2d]"]
    );
    assert_ne!(check(&loaded, "g[b]").fingerprint, check(&loaded, "g[a:3000]").fingerprint);
}

#[test]
fn dependencies_may_be_defaults_services_and_disabled_checks() {
    let loaded = good(
        "defaults: { depends_on: [uplink, router] }\nchecks:\n  uplink: { beat: 1d }\n  router: { beat: 1d }\n  web: { beat: 1d }\n  \
         raid: { beat: 1d, depends_on: [off] }\n  off: { beat: 1d, enabled: false }\n  db: { beat: 1d, depends_on: [raid/md0] }\n",
    );
    let depends =
        |name: &str| check(&loaded, name).depends_on.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&loaded), ["db", "raid", "router", "uplink", "web"]);
    assert_eq!(depends("web"), ["uplink", "router"]);
    assert_eq!((depends("uplink").len(), depends("router").len(), depends("raid").len()), (0, 0, 0));
    assert_eq!(depends("db"), ["raid/md0"]);
}

#[test]
fn fingerprints_change_with_what_is_resolved_and_with_nothing_else() {
    let print = |text: &str| check(&good(text), "a").fingerprint;
    let base = print("checks: { a: { beat: 1d } }\n");
    assert_eq!(base, print("# a comment\n\nchecks:\n  a:\n    beat: 1d\n  b: { beat: 2d }\n"));
    assert_eq!(base, print("checks: { a: { beat: 1d, interval: 60s } }\n"));
    assert_eq!(base, print("defaults: { timeout: 30s }\nchecks: { a: { beat: 1d } }\n"));
    for changed in [
        "checks: { a: { beat: 2d } }\n",
        "checks: { a: { beat: 1d, interval: 61s } }\n",
        "checks: { a: { beat: 1d, labels: { x: y } } }\n",
        "checks: { a: { beat: 1d, flapping: false } }\n",
        "defaults: { retries: 1 }\nchecks: { a: { beat: 1d } }\n",
        "checks: { a: { plugin: 1d } }\n",
        "checks: { a: { beat: 1d, actions: [x] } }\nactions: { x: { fix: y } }\n",
    ] {
        assert_ne!(base, print(changed), "{changed}");
    }
    let mut directory = Directory::with("checks: { a: { probe: { url: 'http://x', token: { env: T } } } }\n");
    let mut with = |value: &str| {
        directory.variables.insert("T", value.to_owned());
        check(&directory.load(), "a").fingerprint
    };
    assert_ne!(with("one"), with("two"));
    assert_eq!(with("one"), with("one"));
}

#[test]
fn the_daemon_has_its_settings() {
    let directory = Directory::new();
    directory.write(
        "monchero.yaml",
        "host: web-1\ntime_zone: Europe/Berlin\nconcurrency: 8\nretention: { metrics: 3d, events: 2w }\nsysroot: /host\ninsecure_permissions: refuse\n",
    );
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    let configuration = &loaded.configuration;
    assert_eq!((&*configuration.host, configuration.concurrency), ("web-1", 8));
    assert_eq!(configuration.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(configuration.sysroot.to_str(), Some("/host"));
    let days = |n: u64| Duration::from_secs(n * 86_400);
    assert_eq!(
        (configuration.retention.metrics, configuration.retention.events, configuration.retention.metrics_5m),
        (days(3), days(14), days(30))
    );
}

#[test]
fn what_is_shown_names_every_source_and_no_secret() {
    let mut directory = Directory::new();
    directory.variables.insert("T", "hunter22".to_owned());
    directory.write("monchero.yaml", "host: h\ndefaults: { timeout: 9s }\n");
    directory.write(
        "conf.d/a.yaml",
        "actions:\n  ops:\n    mail: { to: [x@y], password: swordfish }\n    states: [bad]\nchecks:\n  a:\n    probe:\n      url: http://me:xyzzy@h/\n      token: { env: T }\n      headers: { Cookie: plugh, Yes: '80' }\n    actions: [ops]\n    labels: { team: \"80\" }\n",
    );
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    let (text, json) = (show::text(&loaded), show::json(&loaded));
    for secret in ["hunter22", "swordfish", "xyzzy", "plugh"] {
        assert!(!text.contains(secret) && !json.to_string().contains(secret), "{secret} in\n{text}");
    }
    for line in [
        "    timeout: 9s # monchero.yaml:2",
        "    interval: 1m # default",
        "      url: http://***@h/ # conf.d/a.yaml:8",
        "    states: [bad] # conf.d/a.yaml:4",
    ] {
        let (start, end) = line.split_once(" # ").unwrap();
        assert!(text.lines().any(|shown| shown.starts_with(start) && shown.ends_with(end)), "{line} in\n{text}");
    }
    assert_eq!(json["checks"]["a"]["timeout"], serde_json::json!({ "value": "9s", "source": "monchero.yaml:2" }));
    assert_eq!(json["checks"]["a"]["retries"]["value"], 2);
    assert_eq!(json["checks"]["a"]["settings"]["value"]["token"], serde_json::json!({ "env": "T" }));
    // What is shown is YAML.
    assert_eq!(tree(&text).get("checks").unwrap().get("a").unwrap().get("timeout").unwrap().as_text(), Some("9s"));
}
