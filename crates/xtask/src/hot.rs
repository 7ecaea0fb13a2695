//! `cargo xtask hot`: puts together what the daemon calls.
//!
//! The kernel maps 64 KiB around each page of a program that is touched. Of the 11 MiB of code the daemon calls 2, but as the compiler leaves
//! them they lie in nearly every one of these windows. So the functions that a daemon calls between its start and its end are recorded,
//! and `packaging/hot.ld` tells the linker to put them beside each other. A function that is missing there costs a window, no more: it is
//! enough to record them for a release.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::bench::programs::Programs;
use crate::release;
use crate::run::{command, output};

/// How long the daemon is looked at: each check runs a few times, and what waits is written.
const SECONDS: &str = "60";
/// Plugins that run every ten seconds.
const PLUGINS: u32 = 200;
/// The longest name that is written out: what lies beyond tells apart what is alike, and would make the file twice as long.
const LONGEST: usize = 100;

/// Records the functions and writes `packaging/hot.ld`.
pub(crate) fn record() -> Result<()> {
    let built = release::build_with_names()?;
    let programs = Programs::compile()?;
    let place = programs.folder();
    let program = place.join("monchero");
    fs::copy(&built, &program).context("copying the program")?;
    // Whoever builds next is to get the program as it is released.
    fs::remove_file(&built)?;
    let functions = functions(&program)?;
    let addresses: String = functions.keys().map(|at| format!("{at:x}\n")).collect();
    fs::write(place.join("addresses"), addresses)?;
    watch(&programs, &program)?;
    let mut patterns = BTreeSet::new();
    for line in fs::read_to_string(place.join("called"))?.lines() {
        let at = u64::from_str_radix(line, 16).with_context(|| format!("reading the address `{line}`"))?;
        patterns.extend(functions.get(&at).into_iter().flatten().cloned());
    }
    if patterns.len() < 1_000 {
        bail!("only {} functions were called: the daemon did not run", patterns.len());
    }
    fs::write(release::HOT, script(&patterns)).with_context(|| format!("writing `{}`", release::HOT))?;
    eprintln!("xtask: {} has {} patterns", release::HOT, patterns.len());
    Ok(())
}

/// Runs the daemon on the shipped checks, many plugins, and one that is not okay.
fn watch(programs: &Programs, program: &Path) -> Result<()> {
    let place = programs.folder();
    let tracer = programs.compile_one("tracer", include_str!("hot/called.c"))?;
    let files = place.join("config/conf.d");
    fs::create_dir_all(&files)?;
    fs::copy("conf.d/host.yaml", files.join("host.yaml"))?;
    let plugins: String = (0..PLUGINS).map(|i| format!("  c{i}: {{ plugin: {} }}\n", programs.plugin())).collect();
    let bad = "  wrong: { plugin: /bin/false, actions: [tell, note] }\n";
    let told = place.join("told").display().to_string();
    let actions = format!("actions:\n  note: {{ script: \"true\" }}\n  tell: {{ file: {{ path: {told} }} }}\n");
    fs::write(files.join("plugins.yaml"), format!("defaults: {{ interval: 10s }}\nchecks:\n{plugins}{bad}{actions}"))?;
    let path = |name: &str| place.join(name).display().to_string();
    command(
        &tracer,
        &[
            &path("addresses"),
            &path("called"),
            SECONDS,
            &program.display().to_string(),
            "agent",
            "--config",
            &path("config"),
            "--state-dir",
            &path("state"),
            "--socket",
            &path("socket"),
        ],
    )
}

/// What the linker is to be told of each function, by where it starts. Functions that came out alike have one place and many names.
fn functions(program: &Path) -> Result<HashMap<u64, Vec<String>>> {
    let program = program.display().to_string();
    let sections = code_sections(&output("readelf", &["--section-headers", "--wide", &program])?);
    let mut functions: HashMap<u64, Vec<String>> = HashMap::new();
    for line in output("nm", &[&program])?.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(at), Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(at) = u64::from_str_radix(at, 16) else { continue };
        if let Some(section) = sections.iter().find(|section| section.start <= at && at < section.end) {
            functions.entry(at).or_default().push(pattern(&section.name, name));
        }
    }
    Ok(functions)
}

struct Section {
    name: String,
    start: u64,
    end: u64,
}

/// Those in which code is, of what `readelf` printed.
fn code_sections(headers: &str) -> Vec<Section> {
    let section = |line: &str| {
        let (_, rest) = line.split_once(']')?;
        let mut words = rest.split_whitespace();
        let name = words.next().filter(|name| name.starts_with(".text"))?.to_owned();
        let start = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        let size = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        Some(Section { name, start, end: start + size })
    };
    headers.lines().filter_map(section).collect()
}

/// A function as the linker finds it, whatever compiler and versions of libraries there are: hashes of crates (`Cs..._`) and references
/// back into the name (`B..._`), whose numbers depend on them, are left open (v0 mangling, RFC 2603), as are numbers that LLVM puts behind.
fn pattern(section: &str, name: &str) -> String {
    let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
    let (name, cut) = match name.rsplit_once('.') {
        Some((stem, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (stem, true),
        _ => (name, false),
    };
    let mut pattern = format!("{section}.");
    let start = pattern.len();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let tag = if rest.starts_with("Cs") { "Cs" } else { "B" };
        let number = rest.strip_prefix(tag).and_then(|behind| behind.split_once('_'));
        match number {
            Some((digits, behind)) if digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let _ = write!(pattern, "{tag}*_");
                rest = behind;
            }
            _ => {
                pattern.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if pattern.len() - start > LONGEST {
        pattern.truncate(start + LONGEST);
        pattern.push('*');
    } else if cut {
        pattern.push_str(".*");
    }
    pattern
}

/// What the linker reads.
fn script(patterns: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "/* The functions that a daemon calls, so that they lie beside each other. Made by `cargo xtask hot`. */\nSECTIONS\n{\n  .text.hot :\n  {\n",
    );
    for pattern in patterns {
        let _ = writeln!(text, "    *({pattern})");
    }
    text.push_str("  }\n}\nINSERT BEFORE .text;\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_open_what_depends_on_versions() {
        assert_eq!(
            pattern(".text", "_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc"),
            ".text._RNvCs*_7___rustc12___rust_alloc"
        );
        assert_eq!(
            pattern(".text.unlikely", "_RINvNtCs1a_4core3ptr13drop_in_placeNtNtNtCs2b_3std2io5error5ErrorEBM_"),
            ".text.unlikely._RINvNtCs*_4core3ptr13drop_in_placeNtNtNtCs*_3std2io5error5ErrorEB*_"
        );
        assert_eq!(pattern(".text", "sqlite3VdbeExec"), ".text.sqlite3VdbeExec");
        assert_eq!(pattern(".text", "_RNvMNtCs1_4core3stre5lines.2628"), ".text._RNvMNtCs*_4core3stre5lines.*");
        assert_eq!(pattern(".text", &"a".repeat(300)), format!(".text.{}*", "a".repeat(LONGEST)));
    }

    #[test]
    fn only_sections_of_code_count() {
        let printed = "\
  [ 9] .rela.dyn         RELA            0000000000002440 002440 001290 18   A  4   0  8
  [16] .text             PROGBITS        00000000003e3d80 3e2d80 a60201 00  AX  0   0 64
";
        let sections = code_sections(printed);
        let [text] = sections.as_slice() else { panic!("{} sections", sections.len()) };
        assert_eq!((text.name.as_str(), text.start, text.end), (".text", 0x3e_3d80, 0xe4_3f81));
    }
}
