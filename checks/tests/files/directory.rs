//! `directory`: ages, depths and what cannot be read.

use std::time::{Duration, SystemTime};

use monchero_core::State;

use crate::{Runs, problems, value};

/// A file that was changed so many seconds before the first run.
fn aged(runs: &Runs, path: &str, seconds: u64) {
    runs.write(path, "12345");
    let file = std::fs::File::options().append(true).open(runs.path(path)).unwrap();
    file.set_modified(SystemTime::from(runs.now) - Duration::from_secs(seconds)).unwrap();
}

#[tokio::test]
async fn a_backup_that_did_not_come() {
    let mut runs = Runs::new("directory", "{ path: /b, files: [\"*.gz\", \"!tmp*\"], bad: { newest: \"> 1d\" } }");
    aged(&runs, "/b/1.gz", 3 * 86_400);
    aged(&runs, "/b/2.gz", 3_600);
    aged(&runs, "/b/tmp.gz", 1);
    aged(&runs, "/b/readme", 1);
    let report = runs.run().await;
    assert_eq!(report.worst(), State::Okay, "{:?}", report.findings);
    assert_eq!(value(&report, "/b files"), Some(2.0));
    assert_eq!((value(&report, "/b newest"), value(&report, "/b oldest")), (Some(3_600.0), Some(259_200.0)));
    runs.pass(Duration::from_secs(86_400));
    assert_eq!(problems(&runs.run().await), ["/b newest is 1d 1h, above 1d (2 files, 10 B, the newest 1d 1h old)"]);
    std::fs::remove_file(runs.path("/b/1.gz")).unwrap();
    std::fs::remove_file(runs.path("/b/2.gz")).unwrap();
    assert_eq!(problems(&runs.run().await), ["/b holds no file that counts (`files`), so there is no newest one"]);
}

#[tokio::test]
async fn depth_is_bounded_and_links_are_not_followed() {
    let mut runs = Runs::new("directory", "{ path: /a, depth: 2 }");
    runs.write("/a/1", "1");
    runs.write("/a/b/2", "22");
    runs.write("/a/b/c/3", "333");
    std::os::unix::fs::symlink("..", runs.path("/a/up")).unwrap();
    let report = runs.run().await;
    assert_eq!((value(&report, "/a files"), value(&report, "/a directories")), (Some(3.0), Some(2.0)));
}

#[tokio::test]
async fn what_takes_too_long_is_unknown() {
    let mut runs = Runs::new("directory", "{ path: /a, depth: 64 }");
    for number in 0..2_000 {
        runs.write(&format!("/a/{}/{number}", number % 50), "");
    }
    runs.timeout = Duration::from_millis(1);
    let report = runs.run().await;
    assert_eq!(report.worst(), State::Unknown, "{:?}", report.findings);
}
