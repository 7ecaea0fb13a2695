//! `monchero import` with the real program: where it writes, what it says, how it ends.

mod support;

use std::os::unix::fs::PermissionsExt as _;

use support::{monchero, text};

#[test]
fn what_is_imported_is_written_once_for_nobody_else_to_read_and_loads() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("nrpe.cfg");
    std::fs::write(&old, "command[users]=/usr/lib/nagios/plugins/check_users -w 5 -c 10\n").unwrap();
    let old = old.to_str().unwrap();

    let printed = monchero(folder.path(), &["import", "nagios", old]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("\n  users:\n    plugin: /usr/lib/nagios/plugins/check_users -w 5 -c 10\n"));
    assert!(printed.stderr.is_empty() && !folder.path().join("conf.d").exists(), "nothing is written unasked");

    let written = monchero(folder.path(), &["import", "nagios", "--write", old]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let file = folder.path().join("conf.d/nagios.yaml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&printed.stdout));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let checked = monchero(folder.path(), &["config", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{}{}", text(&checked.stdout), text(&checked.stderr));

    let refused = monchero(folder.path(), &["import", "nagios", "--write", old]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is there already, and is not overwritten"), "{}", text(&refused.stderr));

    // Names that are taken by now are not given again.
    let more = folder.path().join("more.yaml");
    let again = monchero(folder.path(), &["import", "nagios", "--output", more.to_str().unwrap(), old]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert!(std::fs::read_to_string(&more).unwrap().contains("\n  users-2:\n"));
}

#[test]
fn the_exit_status_tells_what_was_not_translated() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("nrpe.cfg");
    std::fs::write(&old, "command[a]=/bin/true\ncommand[b]=df | grep root\n").unwrap();
    let some = monchero(folder.path(), &["import", "nagios", old.to_str().unwrap()]);
    assert_eq!(some.status.code(), Some(1));
    assert!(
        text(&some.stderr).contains("nrpe.cfg:2: `command[b]=df | grep root`: `|` needs a shell"),
        "{}",
        text(&some.stderr)
    );
    assert!(text(&some.stdout).contains("\n  a:\n"));

    for (words, code) in [
        (vec!["import", "nagios", "/nonexistent"], 2),
        (vec!["import", "gatus", old.to_str().unwrap()], 2),
        (vec!["import", "zabbix", old.to_str().unwrap()], 64),
        (vec!["import", "nagios"], 64),
        (vec!["import", "nagios", "--output", "x.bak", old.to_str().unwrap()], 64),
    ] {
        let failed = monchero(folder.path(), &words);
        assert_eq!(failed.status.code(), Some(code), "{words:?}: {}", text(&failed.stderr));
        assert!(failed.stdout.is_empty() && !failed.stderr.is_empty(), "{words:?}");
    }
}
