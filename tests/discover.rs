//! `monchero discover` on the host of the test, with the real program.

mod support;

use std::time::{Duration, Instant};

use support::{monchero, text};

#[test]
fn the_file_that_is_written_is_read_without_a_mistake_and_not_proposed_again() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let printed = monchero(folder.path(), &["discover"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("\n  memory:\n    memory: {}\n"), "{}", text(&printed.stdout));
    assert!(!folder.path().join("conf.d").exists(), "nothing is written unasked");

    let wrong = monchero(folder.path(), &["discover", "--write", "host.yaml.bak"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", text(&wrong.stderr));

    let written = monchero(folder.path(), &["discover", "--write", "host.yaml"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let file = folder.path().join("conf.d/host.yaml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&printed.stdout));
    let checked = monchero(folder.path(), &["config", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{}{}", text(&checked.stdout), text(&checked.stderr));

    let refused = monchero(folder.path(), &["discover", "--write", "host.yaml"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("is there already, and is not overwritten"), "{}", text(&refused.stderr));
    let again = monchero(folder.path(), &["discover", "--write", "more.yaml"]);
    assert!(text(&again.stdout).contains("# Nothing was found that no check looks at yet."), "{}", text(&again.stdout));
    assert!(!folder.path().join("conf.d/more.yaml").exists(), "a file without checks is of no use");
}
