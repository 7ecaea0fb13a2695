//! `file`: what changes between runs, and what is no ordinary file.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use monchero_core::State;

use crate::{Runs, problems, value};

#[tokio::test]
async fn a_change_is_told_for_a_while() {
    let mut runs = Runs::new("file", "{ path: [/a, /b], changed: warning, hold: 10m }");
    runs.write("/a", "one");
    runs.write("/b", "two");
    assert_eq!(runs.state().await, State::Okay, "the first run knows of no change");
    assert_eq!(runs.state().await, State::Okay);
    runs.write("/a", "eno");
    let report = runs.run().await;
    assert_eq!(problems(&report), ["/a was changed"]);
    runs.pass(Duration::from_secs(599));
    assert_eq!(problems(&runs.run().await), ["/a was changed 9m 59s ago"]);
    runs.pass(Duration::from_secs(2));
    assert_eq!(runs.state().await, State::Okay);
}

#[tokio::test]
async fn the_same_content_in_another_file_is_no_change() {
    let mut runs = Runs::new("file", "{ path: /a, changed: bad }");
    runs.write("/a", "one");
    assert_eq!(runs.state().await, State::Okay);
    runs.write("/b", "one");
    std::fs::rename(runs.path("/b"), runs.path("/a")).unwrap();
    assert_eq!(runs.state().await, State::Okay);
    std::fs::remove_file(runs.path("/a")).unwrap();
    assert_eq!(problems(&runs.run().await), ["/a does not exist"]);
    runs.write("/a", "two");
    assert_eq!(problems(&runs.run().await), ["/a was changed"], "what it was before it was gone is not forgotten");
}

#[tokio::test]
async fn permissions_and_links() {
    let mut runs = Runs::new("file", "{ path: /link, bad: { mode: \"!06?0\", target: \"!a\", type: \"!file\" } }");
    runs.write("/a", "12345");
    std::os::unix::fs::symlink("a", runs.path("/link")).unwrap();
    std::fs::set_permissions(runs.path("/a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let report = runs.run().await;
    assert_eq!((report.worst(), value(&report, "/link size")), (State::Okay, Some(5.0)));
    std::fs::set_permissions(runs.path("/a"), std::fs::Permissions::from_mode(0o4644)).unwrap();
    assert!(problems(&runs.run().await)[0].starts_with("/link mode is 4644 (5 B, "));
    std::fs::remove_file(runs.path("/a")).unwrap();
    assert_eq!(runs.message().await, "/link is a symbolic link to a, which does not exist");
}

#[tokio::test]
async fn a_pipe_makes_nobody_wait() {
    let mut runs = Runs::new("file", "{ path: /pipe, contains: x, warning: { sha256: x } }");
    let pipe = runs.path("/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let report = runs.run().await;
    assert_eq!(report.worst(), State::Unknown);
    assert_eq!(problems(&report)[0], "the content of /pipe cannot be read: it is no regular file but a pipe");
}

#[tokio::test]
async fn more_files_than_can_be_remembered_are_told() {
    let mut runs = Runs::new("file", "{ path: /d/*, changed: warning }");
    for number in 0..400 {
        runs.write(&format!("/d/{number}"), "x");
    }
    let report = runs.run().await;
    assert!(problems(&report)[0].contains("of 400 files are watched for changes"), "{:?}", problems(&report));
    assert!(report.metrics.is_empty(), "so many are not measured one by one");
}
