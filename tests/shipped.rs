//! What the packages bring for `conf.d` and as examples: it loads, and on a host that is well it is quiet.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HOST: &str = include_str!("../conf.d/host.yaml");

/// A configuration with these files in its `conf.d`.
fn configuration(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let conf_d = folder.path().join("conf.d");
    std::fs::create_dir(&conf_d).unwrap();
    for (name, text) in files {
        let file = conf_d.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    }
    folder
}

#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn monchero(config: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monchero"));
    command.args(words).arg("--config").arg(config).env("HOME", "/nonexistent").stdin(Stdio::null());
    command.output().unwrap()
}

fn is_good(folder: &TempDir) {
    let checked = monchero(folder.path(), &["config", "check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{said}");
}

/// A busy machine may have a warning, about its CPU above all; nothing may be bad or unknown, whatever host this is.
#[test]
fn the_host_is_looked_at_and_nothing_is_bad_or_unknown() {
    let folder = configuration(&[("host.yaml", HOST)]);
    is_good(&folder);
    let output = monchero(folder.path(), &["once", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = status["checks"].as_array().unwrap();
    let mut names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cpu", "disks", "load", "memory", "processes", "reboot"]);
    let average = std::fs::read_to_string("/proc/loadavg").unwrap();
    let average: f64 = average.split(' ').nth(1).unwrap().parse().unwrap();
    for check in checks {
        // An overloaded machine is one.
        if check["name"] == "load" && average > 15.0 {
            continue;
        }
        let state = check["state"].as_str().unwrap();
        assert!(state == "okay" || state == "warning", "{} is {state}: {}", check["name"], check["message"]);
        assert!(!check["metrics"].as_array().unwrap().is_empty(), "{} measures nothing", check["name"]);
    }
}

#[test]
fn nobody_is_told_until_somebody_is_named() {
    let folder = configuration(&[("host.yaml", HOST)]);
    let shown = monchero(folder.path(), &["config", "show", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown["actions"].as_object().is_none_or(serde_json::Map::is_empty), "{}", shown["actions"]);
}

/// What stands behind a `#` without a blank, or with two, is meant to be used.
#[test]
fn what_is_commented_out_works_once_it_is_not() {
    let uncommented: String = HOST
        .lines()
        .map(|line| {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            let is_setting = |rest: &&str| !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("  "));
            match text.strip_prefix('#').filter(is_setting) {
                Some(setting) => format!("{}{setting}\n", &line[..indent]),
                None => format!("{line}\n"),
            }
        })
        .collect();
    for part in ["\n  units:", "\n  updates:", "\n  clock:", "\n  backup:", "\n  ops:\n", "\n  actions: [ops]"] {
        assert!(uncommented.contains(part), "{part:?} is not there:\n{uncommented}");
    }
    is_good(&configuration(&[("host.yaml", &uncommented)]));
}

#[test]
fn the_examples_of_the_packages_load_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
    let mut files = vec![("host.yaml".to_owned(), HOST.to_owned())];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(files.len() >= 5, "{files:?}");
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    is_good(&configuration(&files));
}
