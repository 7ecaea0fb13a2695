//! Which paths are run (R62).

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{end, ended, executor, program, why};
use monchero_core::program::{Program, RunError, Spawner as _};
use monchero_exec::trust::{self, TrustError};
use rustix::process::geteuid;
use tempfile::TempDir;

/// Why these tests may fail elsewhere: they are not skipped.
const OURS: &str =
    "others may write to the directory that tests are built in, or to one above it: build where only you can write";

/// A directory that is trusted, if the one that holds the build is.
fn trusted() -> Option<TempDir> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plugin = plugin(directory.path(), "probe");
    trust::verify(&plugin).is_ok().then_some(directory)
}

fn plugin(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, "#!/bin/sh\necho ran\n").unwrap();
    mode(&path, 0o755);
    path
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The text of a refusal.
fn refused(path: &Path) -> String {
    match trust::verify(path) {
        Err(error @ TrustError::Refused { .. }) => error.to_string(),
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn what_others_can_change_is_refused_with_the_component_and_the_cure() {
    let directory = trusted().expect(OURS);
    let root = directory.path();
    let inner = root.join("inner");
    fs::create_dir(&inner).unwrap();
    let path = plugin(&inner, "check");
    assert_eq!(trust::verify(&path), Ok(()));
    for (object, bits, by) in [
        (&path, 0o757, "everybody"),
        (&path, 0o666, "everybody"),
        (&path, 0o775, "its group"),
        (&inner, 0o777, "everybody"),
        (&inner, 0o775, "its group"),
        // The sticky bit protects files that exist, not the place of those that do not.
        (&inner, 0o1777, "everybody"),
        (&root.to_owned(), 0o770, "its group"),
    ] {
        mode(object, bits);
        let text = refused(&path);
        assert!(text.contains(&format!("`{}` (mode {bits:04o}) can be changed by {by}", object.display())), "{text}");
        assert!(text.contains(&format!("`chmod go-w {}`", object.display())), "{text}");
        mode(object, 0o755);
    }
    assert_eq!(trust::verify(&path), Ok(()));
}

#[test]
fn links_are_followed_and_what_they_lead_through_is_checked() {
    let directory = trusted().expect(OURS);
    let root = directory.path();
    let (open, closed) = (root.join("open"), root.join("closed"));
    fs::create_dir(&open).unwrap();
    fs::create_dir(&closed).unwrap();
    plugin(&open, "check");
    plugin(&closed, "check");
    mode(&open, 0o777);
    symlink(closed.join("check"), root.join("good")).unwrap();
    symlink("closed/../closed/check", root.join("relative")).unwrap();
    symlink(open.join("check"), root.join("bad")).unwrap();
    symlink("open", root.join("way")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    assert_eq!(trust::verify(&root.join("good")), Ok(()));
    assert_eq!(trust::verify(&root.join("relative")), Ok(()));
    assert!(refused(&root.join("bad")).contains("open`"));
    assert!(refused(&root.join("way/check")).contains("open`"));
    assert!(refused(&root.join("open/../closed/check")).contains("open`"), "on the way counts");
    let error = trust::verify(&root.join("loop")).unwrap_err();
    assert!(error.to_string().contains("too many symbolic links"), "{error}");
    // A link through the classic place.
    let tmp = tempfile::tempdir_in("/tmp").unwrap();
    let elsewhere = plugin(tmp.path(), "check");
    symlink(&elsewhere, root.join("tmp")).unwrap();
    assert!(refused(&root.join("tmp")).contains("`/tmp`"));
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let directory = trusted().expect(OURS);
    assert!(geteuid().is_root(), "this test gives files to another user: run it as root");
    let inner = directory.path().join("a b");
    fs::create_dir(&inner).unwrap();
    let path = plugin(&inner, "check");
    for object in [&path, &inner] {
        chown(object, Some(65534), None).unwrap();
        let text = refused(&path);
        assert!(text.contains(&format!("`{}` belongs to user 65534", object.display())), "{text}");
        assert!(text.contains(&format!("chown -h root '{}'", object.display())), "{text}");
        chown(object, Some(0), None).unwrap();
    }
    assert_eq!(trust::verify(&path), Ok(()));
}

#[test]
fn what_is_no_program_is_said_to_be_none() {
    let directory = trusted().expect(OURS);
    let path = plugin(directory.path(), "check");
    for (path, part) in [
        (directory.path().to_owned(), "is a directory"),
        (directory.path().join("none"), "none` does not exist"),
        (directory.path().join("none/check"), "none` does not exist"),
        (path.join("below"), "is not a directory"),
        ("/dev/null".into(), "is not a regular file"),
        ("check".into(), "is not an absolute path"),
        ("/".into(), "is a directory"),
        (directory.path().join("x/.."), "x` does not exist"),
        (directory.path().join(".."), "is a directory"),
    ] {
        let Err(TrustError::Unusable(why)) = trust::verify(&path) else { panic!("{}", path.display()) };
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn nothing_is_run_from_a_place_that_others_can_change_unless_that_is_allowed() {
    let directory = trusted().expect(OURS);
    let executor = executor();
    let path = plugin(directory.path(), "check");
    let program =
        |allow| Program { allow_insecure_path: allow, ..program(&[path.to_str().unwrap()], Duration::from_secs(5)) };
    assert!(ended(&end(&executor, program(false)).await, 0));
    // It is looked at before each start, not once.
    mode(&path, 0o757);
    let result = executor.run(program(false)).await;
    assert!(matches!(result, Err(RunError::Untrusted(_))), "{result:?}");
    assert!(why(result).starts_with("refused to run `"));
    assert!(ended(&end(&executor, program(true)).await, 0));
    mode(&path, 0o755);
    assert!(ended(&end(&executor, program(false)).await, 0));
    mode(directory.path(), 0o777);
    assert!(matches!(executor.run(program(false)).await, Err(RunError::Untrusted(_))));
}

#[tokio::test]
async fn the_user_that_a_program_runs_as_may_own_it() {
    let directory = trusted().expect(OURS);
    assert!(geteuid().is_root(), "this test gives files to another user: run it as root");
    // Whoever runs the tests may keep the build where nobody else can enter: the check comes first.
    let path = plugin(directory.path(), "check");
    chown(&path, Some(65534), None).unwrap();
    let executor = executor();
    let as_user = |name: &str| Program {
        run_as: Some(name.into()),
        allow_insecure_path: false,
        ..program(&[path.to_str().unwrap()], Duration::from_secs(5))
    };
    assert!(executor.run(as_user("nobody")).await.is_ok());
    assert!(matches!(executor.run(as_user("daemon")).await, Err(RunError::Untrusted(_))));
}
