//! A table of files with mistakes: `cases/NAME.yaml`, and beside it `NAME.txt` with what is said about it, one line for each mistake.
//! Files named `settings-*` stand for `monchero.yaml`, all others for a file in `conf.d`. `UPDATE=1` writes what is said now.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Directory, lines};

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/src/config/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    cases.sort();
    cases
}

#[test]
fn each_mistake_is_told_once_with_its_place_and_what_was_meant() {
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let directory = Directory::new();
        let target = if name.starts_with("settings-") { "monchero.yaml" } else { "conf.d/a.yaml" };
        directory.write(target, "");
        fs::write(directory.path().join(target), &bytes).unwrap();
        let told = lines(&directory.load()).join("\n") + "\n";
        let told = told.replace(directory.path().to_str().unwrap(), "DIR");
        // The first line of a case says how many mistakes it has, if that is not one.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let announced = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# mistakes: "))
            .map_or(1, |count| count.parse().unwrap());
        assert_eq!(told.lines().filter(|line| !line.is_empty()).count(), announced, "{name}:\n{told}");
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(expected, told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{name}:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is said now:\n{}", wrong.join("\n"));
}
