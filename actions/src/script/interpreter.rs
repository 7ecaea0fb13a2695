//! Which program runs the text of a script, and how the text gets to it.

use std::ffi::OsString;

/// The shell that runs a text without a `#!` line.
const DEFAULT: &str = "/bin/sh";

/// Shells in which a value of the template may stand: they read `"${M_3}"` as one word and calculate nowhere but where the guard knows.
/// (ksh and zsh calculate in `[ "$x" -eq 1 ]` too, which runs what stands in an index.)
const TEMPLATED: [&str; 4] = ["sh", "bash", "dash", "ash"];
/// Other shells that understand `eval` and `unset` as POSIX has them.
const SHELLS: [&str; 4] = ["ksh", "ksh93", "mksh", "zsh"];
/// The option by which others take a program as an argument.
const INLINE: [(&str, &str); 7] =
    [("python", "-c"), ("perl", "-e"), ("ruby", "-e"), ("node", "-e"), ("nodejs", "-e"), ("php", "-r"), ("lua", "-e")];

/// What the text is handed to a shell with. It stands in a variable, which others cannot read, and not in the arguments, which everybody
/// sees in the list of processes (R67); the first line stays the first line, so that numbers of lines in messages are right.
const LAUNCHER: &str = "eval \"unset M_TEXT; $M_TEXT\"";
/// The name of that variable.
pub(super) const TEXT: &str = "M_TEXT";

/// The interpreter of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// The program and the arguments that the `#!` line gives it.
    argv: Vec<String>,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// A shell; whether values of the template may stand in its text.
    Shell { templated: bool },
    /// Takes a program behind this option.
    Inline(&'static str),
}

impl Interpreter {
    /// The interpreter that the first line of a text names.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        let line = text.lines().next().and_then(|line| line.strip_prefix("#!")).unwrap_or(DEFAULT);
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let Some(program) = argv.first() else {
            return Err("`#!` names no interpreter: write e.g. `#!/bin/sh`".to_owned());
        };
        if !program.starts_with('/') {
            return Err(format!(
                "the interpreter `{program}` is no absolute path: write e.g. `#!/bin/sh` or `#!/usr/bin/env {program}`"
            ));
        }
        if line.contains("{{") || line.contains("{%") {
            return Err(
                "the interpreter must not depend on the event: no template may stand in the `#!` line".to_owned()
            );
        }
        let name = name(&argv);
        let family = if TEMPLATED.contains(&name) {
            Family::Shell { templated: true }
        } else if SHELLS.contains(&name) {
            Family::Shell { templated: false }
        } else if let Some((_, option)) = INLINE.iter().find(|(known, _)| name == *known || is_version_of(name, known))
        {
            Family::Inline(option)
        } else {
            return Err(format!(
                "the interpreter `{name}` is not among those that a text can be given to ({}, {}, {}): put the script into a file and give \
                 the command as a list, `[{program}, /path/to/the/script]`",
                TEMPLATED.join(", "),
                SHELLS.join(", "),
                INLINE.map(|(name, _)| name).join(", ")
            ));
        };
        Ok(Self { argv, family })
    }

    /// Whether values of a template may stand in its text; if not, why and what to do instead.
    pub(super) fn takes_templates(&self) -> Result<(), String> {
        if self.family == (Family::Shell { templated: true }) {
            return Ok(());
        }
        Err(format!(
            "a template can only stand in scripts for {}: `{}` would take `${{M_0}}` for something else. Read the environment \
             (`MONCHERO_MESSAGE`, `MONCHERO_OUTPUT`, `MONCHERO_LABEL_..`) or the JSON document on standard input; text that looks like a \
             template stands between `{{% raw %}}` and `{{% endraw %}}`",
            TEMPLATED.join(", "),
            name(&self.argv)
        ))
    }

    /// The arguments, and the variables that go with them, that run a text.
    pub(super) fn command(&self, text: &str) -> super::Command {
        let mut argv: Vec<OsString> = self.argv.iter().map(OsString::from).collect();
        match self.family {
            Family::Shell { .. } => {
                argv.extend(["-c", LAUNCHER, "monchero-action"].map(OsString::from));
                (argv, vec![(TEXT.into(), text.into())])
            }
            Family::Inline(option) => {
                // The `#!` line is a comment to files only; an empty line keeps the numbers of the others.
                let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
                argv.extend([OsString::from(option), OsString::from(format!("\n{rest}"))]);
                (argv, Vec::new())
            }
        }
    }
}

/// The name of the interpreter: `bash` of `/bin/bash -e` and of `/usr/bin/env -S bash -e`.
fn name(argv: &[String]) -> &str {
    let base = |path: &'_ str| path.rsplit('/').next().map_or(0, str::len);
    let mut words = argv.iter().map(|word| word.split_at(word.len() - base(word)).1);
    match words.next() {
        Some("env" | "busybox") => words.find(|word| !word.starts_with('-') && !word.contains('=')).unwrap_or("env"),
        Some(name) => name,
        None => "",
    }
}

/// Whether the name is one with a version: `python3`, `python3.11`, `lua5.4`.
fn is_version_of(name: &str, known: &str) -> bool {
    name.strip_prefix(known).is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (text, templated) in [
            ("echo x", true),
            ("#!/bin/sh\n", true),
            ("#!/bin/bash -eu\n", true),
            ("#!/usr/bin/env bash\n", true),
            ("#!/usr/bin/env -S bash -e\n", true),
            ("#!/bin/busybox sh\n", true),
            ("#! /bin/dash\n", true),
            ("#!/usr/bin/ksh93\n", false),
            ("#!/usr/bin/python3.11\n", false),
            ("#!/usr/bin/env perl\n", false),
        ] {
            let interpreter = Interpreter::of(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(interpreter.takes_templates().is_ok(), templated, "{text}");
        }
        for (text, word) in [
            ("#!\n", "names no"),
            ("#!sh\n", "absolute"),
            ("#!/usr/bin/tclsh\n", "as a list"),
            ("#!/bin/{{ labels.shell }}\n", "must not depend"),
        ] {
            let why = Interpreter::of(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn the_text_of_a_shell_script_is_not_among_the_arguments() {
        let (argv, env) = Interpreter::of("#!/bin/sh -e\n").unwrap().command("#!/bin/sh -e\ntrue # token\n");
        assert!(!format!("{argv:?}").contains("token"), "{argv:?}");
        assert_eq!(env.len(), 1);
        let (argv, _) =
            Interpreter::of("#!/usr/bin/python3 -u\n").unwrap().command("#!/usr/bin/python3 -u\nprint(1)\n");
        assert_eq!(argv, ["/usr/bin/python3", "-u", "-c", "\nprint(1)\n"]);
    }
}
