//! Several files, permissions, secrets, and directories of plugins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::super::{Chosen, Kinds, LoadOptions, Reason, SecretStore, environment_setters};
use super::{Directory, check, kinds, lines, names};

#[test]
fn a_broken_file_gives_one_problem_and_the_others_run() {
    let directory = Directory::new();
    directory.write("conf.d/a.yaml", "checks: { good: { beat: 1d, actions: [ops], depends_on: [lost] } }\n");
    directory.write("conf.d/b.yaml", "checks: { lost: { beat: 1d }\nactions: { ops: { fix: x } }\n");
    let loaded = directory.load();
    assert_eq!(loaded.problems.len(), 1, "{:?}", lines(&loaded));
    assert_eq!(loaded.problems[0].file, "conf.d/b.yaml");
    assert_eq!(names(&loaded), ["good"]);
    assert!(check(&loaded, "good").actions.is_empty() && check(&loaded, "good").depends_on.is_empty());
    assert_eq!(loaded.configuration.problems.len(), 1);
    assert_eq!(loaded.definition_files, Some(2));
}

#[test]
fn a_broken_check_leaves_its_neighbours_alone() {
    let loaded = Directory::with(
        "checks:\n  a: { beat: 1d, depends_on: [b] }\n  b: { beat: 1d, intervall: 5s }\n  c: { beat: 1d }\n",
    )
    .load();
    assert_eq!(
        lines(&loaded),
        ["conf.d/a.yaml:3:18: check `b`: unknown setting `intervall`; did you mean `interval`?"]
    );
    assert_eq!(names(&loaded), ["a", "c"]);
    assert!(check(&loaded, "a").depends_on.is_empty());
}

#[test]
fn names_are_taken_once_in_all_files() {
    let directory = Directory::new();
    directory.write("conf.d/a.yaml", "checks:\n  x: { beat: 1d }\n  'g[b]': { beat: 1d }\n");
    directory.write("conf.d/b.yaml", "checks: { x: { beat: 1d }, g: { beat: , for_each: { period: [a, b] } } }\n");
    let loaded = directory.load();
    assert_eq!(
        lines(&loaded),
        [
            "conf.d/b.yaml:1:11: check `x`: the name is taken: it is defined in conf.d/a.yaml:2 already; choose another name",
            "conf.d/b.yaml:1:65: check `g`: the name is taken: it is defined in conf.d/a.yaml:3 already; choose another name",
        ]
    );
    assert_eq!(names(&loaded), ["g[a]", "g[b]", "x"]);
}

#[test]
fn an_empty_conf_d_can_be_told_from_a_missing_one() {
    let directory = Directory::new();
    assert_eq!(directory.load().definition_files, Some(0));
    fs::remove_dir(directory.path().join("conf.d")).unwrap();
    let loaded = directory.load();
    assert_eq!((loaded.definition_files, loaded.problems.len()), (None, 0));
    let missing = Chosen { path: directory.path().join("none"), reason: Reason::Option("--config") };
    assert!(
        lines(&directory.load_from(&missing))[0]
            .contains("the directory does not exist; its path comes from the option `--config`")
    );
}

#[test]
fn files_that_others_can_write_are_not_read() {
    let directory = Directory::with("checks: { a: { beat: 1d } }\n");
    directory.write_mode("conf.d/b.yaml", "checks: { b: { beat: 1d } }\n", 0o666);
    let loaded = directory.load();
    assert_eq!(names(&loaded), ["a"]);
    assert!(
        lines(&loaded)[0].starts_with("conf.d/b.yaml: every user can write to the file; run `chmod o-w '/"),
        "{:?}",
        lines(&loaded)
    );
    directory.write("monchero.yaml", "insecure_permissions: allow\n");
    let loaded = directory.load();
    assert_eq!((names(&loaded), loaded.problems.len(), loaded.configuration.warnings.len()), (vec!["a", "b"], 0, 1));
    directory.write_mode("monchero.yaml", "insecure_permissions: allow\n", 0o666);
    assert_eq!(directory.load().problems.len(), 2);
    fs::remove_file(directory.path().join("monchero.yaml")).unwrap();
    fs::set_permissions(directory.path().join("conf.d"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(lines(&directory.load())[0].starts_with("conf.d: every user can write to the directory"));
}

#[test]
fn secrets_come_from_files_variables_credentials_and_private_text() {
    let mut directory = Directory::new();
    directory.write_mode("token", "hunter22\n", 0o600);
    directory.variables.insert("TOKEN", "hunter22".to_owned());
    directory.variables.insert("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap().to_owned());
    let file = directory.path().join("token");
    for (secret, mode) in [
        (format!("{{ file: {} }}", file.display()), 0o644),
        ("{ env: TOKEN }".to_owned(), 0o644),
        ("{ credential: token }".to_owned(), 0o644),
        ("hunter22".to_owned(), 0o640),
    ] {
        directory.write_mode(
            "conf.d/a.yaml",
            &format!("checks: {{ a: {{ probe: {{ url: 'http://x', token: {secret} }} }} }}\n"),
            mode,
        );
        assert_eq!(lines(&directory.load()), [""; 0], "{secret}");
    }
    for (secret, why) in [
        ("hunter22", "every user can read this file: run `chmod o-r 'conf.d/a.yaml'`"),
        ("{ file: relative }", "is not absolute"),
        ("{ file: /nonexistent/x }", "cannot read the secret in `/nonexistent/x`"),
        ("{ env: UNSET }", "the environment variable `UNSET` of the secret is not set"),
        ("{ credential: ../token }", "cannot be the name of a credential"),
        ("{ credential: none }", "cannot read the secret"),
    ] {
        directory.write_mode(
            "conf.d/a.yaml",
            &format!("checks: {{ a: {{ probe: {{ url: 'http://x', token: {secret} }} }} }}\n"),
            0o644,
        );
        let loaded = directory.load();
        assert_eq!(loaded.problems.len(), 1, "{secret}");
        assert!(lines(&loaded)[0].contains(why), "{:?}", lines(&loaded));
        assert!(!loaded.problems[0].render(true).contains("hunter22"));
    }
}

#[test]
fn no_secret_is_in_any_problem() {
    let directory = Directory::new();
    directory.write(
        "conf.d/a.yaml",
        "checks:\n  a: { probe: { url: 'x', token: hunter22 } }\n  b: { probe: { url: 'http://me:hunter22@x', tokn: hunter22, prot: 1 } }\n\
         \x20 c: { probe: { url: 'http://x', headers: { Cookie: hunter22 }, x: 1 } }\n  d: { probe: { url: 'http://x', headers: [hunter22] } }\n\
         \x20 e: { probe: { url: 'http://x', token: [hunter22] } }\n  f: { probee: { url: 'http://x', password: hunter22 } }\n\
         \x20 g: { probe: { url: 'http://x', expect: { status: 1, api_key: hunter22 } } }\n  h: { probe: { url: 'me:hunter22@x' , token: { text: hunter22 } } }\n\
         actions:\n  m: { mail: { to: x, password: hunter22 } }\n",
    );
    directory.write("conf.d/b.yaml", "checks:\n  a: { probe: { token: \"hunter22 } }\n");
    directory.write("monchero.yaml", "token: hunter22\nhosts: x\n");
    let loaded = directory.load();
    assert!(loaded.problems.len() >= 11, "{:#?}", lines(&loaded));
    for problem in &loaded.problems {
        let shown = problem.render(false);
        assert!(!shown.contains("hunter22") || shown.contains("me:hunter22@x"), "{shown}");
        let json = serde_json::to_string(problem).unwrap();
        assert!(!problem.one_line().contains("hunter22") || json.contains("me:hunter22@x"), "{json}");
    }
}

#[test]
fn programs_in_directories_are_checks() {
    let directory = Directory::new();
    directory.write_mode("plugins.d/check_one", "#!/bin/sh\n", 0o755);
    directory.write_mode("plugins.d/5m/slow.sh", "#!/bin/sh\n", 0o755);
    directory.write_mode("plugins.d/30/fast", "#!/bin/sh\n", 0o755);
    directory.write_mode("plugins.d/lib/no", "#!/bin/sh\n", 0o755);
    directory.write_mode("plugins.d/README", "not executable\n", 0o644);
    for name in [".hidden", "old.bak", "x~", "y.dpkg-new"] {
        directory.write_mode(&format!("plugins.d/{name}"), "#!/bin/sh\n", 0o755);
    }
    directory.write("monchero.yaml", "defaults: { interval: 2m, retries: 5 }\n");
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["check_one", "fast", "slow.sh"]);
    let interval = |name: &str| check(&loaded, name).interval;
    assert_eq!(
        (interval("check_one"), interval("slow.sh"), interval("fast")),
        (Duration::from_secs(120), Duration::from_secs(300), Duration::from_secs(30))
    );
    assert_eq!((check(&loaded, "fast").kind, check(&loaded, "fast").policy.max_attempts), ("plugin", 6));
    assert_eq!(loaded.configuration.warnings.len(), 1, "{:?}", loaded.configuration.warnings);
    let path = directory.path().join("plugins.d");
    let settings = |format: &str| {
        format!(
            "plugin_directories:\n  - path: {}\n    format: {format}\n    defaults: {{ timeout: 5s, labels: {{ from: dir }}, actions: [ops] }}\n",
            path.display()
        )
    };
    directory.write("monchero.yaml", &settings("native"));
    let told = lines(&directory.load());
    assert!(
        told.len() == 1 && told[0].contains("plugin directory `") && told[0].contains("there is no action `ops`"),
        "{told:?}"
    );
    directory.write("conf.d/ops.yaml", "actions: { ops: { fix: x } }\n");
    let loaded = directory.load();
    assert_eq!(lines(&loaded), [""; 0]);
    assert_eq!(check(&loaded, "fast").actions.len(), 1);
    let one = check(&loaded, "check_one");
    assert_eq!((one.timeout, one.labels["from"].as_str()), (Duration::from_secs(5), "dir"));
    directory.write("monchero.yaml", &settings("natve"));
    let loaded = directory.load();
    assert_eq!((loaded.problems.len(), names(&loaded).len()), (1, 0), "{:?}", lines(&loaded));
    assert!(lines(&loaded)[0].contains("`natve` is no format"), "{:?}", lines(&loaded));
    directory.write("monchero.yaml", "plugin_directories: [{ path: /nonexistent/p }]\n");
    assert!(lines(&directory.load())[0].starts_with("/nonexistent/p: cannot read the directory"));
}

#[test]
fn environment_setters_are_listed_and_their_variables_reach_all_who_start_programs() {
    let mut directory = Directory::with("checks: { a: { plugin: x }, b: { plugin: y }, other: { beat: 1d } }\n");
    directory.write_mode("env/container", "#!/bin/sh\n", 0o755);
    directory.write_mode("env/notes", "x\n", 0o644);
    let path = directory.path().join("env");
    directory.write("monchero.yaml", &format!("environment_setters: {}\n", path.display()));
    let config = Chosen { path: directory.path().to_owned(), reason: Reason::User };
    let options = LoadOptions {
        config: &config,
        kinds: Kinds { checks: kinds::CHECKS, actions: kinds::ACTIONS },
        env: Vec::new(),
        secrets: SecretStore { variable: &|_| None, file: &crate::config::read_secret },
        keep_settings: false,
    };
    assert_eq!(environment_setters(&options), [path.join("container")]);
    let before = directory.load();
    directory.env = vec![("MONCHERO_X".into(), "1".into())];
    let loaded = directory.load();
    assert_eq!(check(&loaded, "a").env.as_ref(), directory.env.as_slice());
    assert!(std::sync::Arc::ptr_eq(&check(&loaded, "a").env, &check(&loaded, "b").env));
    assert_ne!(check(&loaded, "a").fingerprint, check(&before, "a").fingerprint);
    assert!(check(&loaded, "other").env.is_empty());
    assert_eq!(check(&loaded, "other").fingerprint, check(&before, "other").fingerprint, "it is not made anew");
}
