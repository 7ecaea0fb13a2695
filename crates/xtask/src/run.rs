//! Running cargo and other programs, one after another.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::packages;

/// Runs a program with our terminal; an exit status other than 0 is an error.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<()> {
    command_with(program, arguments, Path::new("."), &[])
}

/// The same in a directory, with more variables.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
pub(crate) fn command_with(
    program: &str,
    arguments: &[&str],
    directory: &Path,
    variables: &[(&str, &OsStr)],
) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    let mut command = Command::new(program);
    // `cargo run` says which package we are. A cargo that we start takes that for a change of what libraries were built with.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .args(arguments)
        .current_dir(directory)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("running `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a program and gives every line of its output away as soon as it is there; an exit status other than 0 is an error.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
pub(crate) fn lines(program: &str, arguments: &[&str], mut each: impl FnMut(&str)) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    let place = || format!("running `{line}`");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(place)?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            each(String::from_utf8_lossy(&line.with_context(place)?).trim_end_matches('\r'));
        }
    }
    let status = child.wait().with_context(place)?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What a program prints; an exit status other than 0 is an error.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{line}`"))
}

/// Whether a program runs and its output is as wanted.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
pub(crate) fn succeeds(program: &str, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && wanted(&String::from_utf8_lossy(&output.stdout)))
}

/// All tests. What stands behind `test` goes to `cargo test`.
pub(crate) fn test(rest: &[&str]) -> Result<()> {
    packages::provide_for_tests()?;
    let mut arguments = vec!["test", "--workspace", "--locked"];
    arguments.extend(rest);
    command(&cargo(), &arguments)
}

/// What a change must pass.
pub(crate) fn ci() -> Result<()> {
    command(&cargo(), &["fmt", "--all", "--check"])?;
    command(&cargo(), &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    crate::generate::generate(true)?;
    crate::arrows::prove()?;
    crate::deny::prove()?;
    test(&[])
}

/// The cargo that runs us.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
