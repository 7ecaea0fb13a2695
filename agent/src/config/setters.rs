//! What environment setters print: `MONCHERO_NAME=value` lines for the environment of all checks.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use monchero_core::text::{clean, escape_controls, shorten};

/// How many variables one setter may set: a container has a handful of facts.
const MAX_VARIABLES: usize = 256;
/// The longest line, in bytes; the kernel refuses an argument or variable of more than 128 KiB.
const MAX_LINE: usize = 4 * 1024;
/// What every name begins with, in any case.
const PREFIX: &[u8] = b"MONCHERO_";

/// Reads what a setter printed: the variables that it sets, in order, and what was wrong with other lines. A name begins with `MONCHERO_`, in
/// any case, and has letters, digits and `_`, so a setter can never touch `PATH` or `LD_PRELOAD`. One pair of quotes around the value is taken off.
/// Empty lines and those that begin with `#` mean nothing.
pub fn parse_setter_output(output: &[u8]) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut warnings = Vec::new();
    for line in output.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match variable(line) {
            Ok(_) if variables.len() >= MAX_VARIABLES => {
                warnings.push(format!("there are more than {MAX_VARIABLES} variables; the rest is left out"));
                break;
            }
            Ok((name, value)) => {
                // As in a shell, the last assignment counts.
                variables.retain(|(known, _)| *known != name);
                variables.push((name, value));
            }
            Err(why) if warnings.len() < MAX_VARIABLES => {
                let shown =
                    shorten(&escape_controls(&clean(line.split(|byte| *byte == b'=').next().unwrap_or(line))), 80);
                warnings.push(format!("`{shown}`: {why}"));
            }
            Err(_) => {}
        }
    }
    (variables, warnings)
}

fn variable(line: &[u8]) -> Result<(OsString, OsString), &'static str> {
    if line.len() > MAX_LINE {
        return Err("the line is longer than 4 KiB");
    }
    let at = line.iter().position(|byte| *byte == b'=').ok_or("this is no line of the form NAME=value")?;
    let (name, value) = line.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return Err("the name has other characters than letters, digits and `_`");
    }
    if name.len() <= PREFIX.len() || !name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
        return Err("the name does not begin with `MONCHERO_`, so the variable is not set");
    }
    if value.contains(&0) {
        return Err("the value holds a NUL byte");
    }
    let value = match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    };
    Ok((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixed_variables_are_taken_and_the_rest_is_told() {
        let output = b"# facts\nMONCHERO_A=1\n monchero_b=\"x y\" \nMonchero_C='it''s'\nMONCHERO_A=2\n\nPATH=/tmp\nLD_PRELOAD=x\nMONCHERO_=x\nnonsense\nMONCHERO_D E=1\n";
        let (variables, warnings) = parse_setter_output(output);
        let variables: Vec<_> = variables.iter().map(|(k, v)| (k.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert_eq!(variables, [("monchero_b", "x y"), ("Monchero_C", "it''s"), ("MONCHERO_A", "2")]);
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert!(warnings[0].starts_with("`PATH`: ") && warnings[3].contains("NAME=value"), "{warnings:?}");
    }

    #[test]
    fn output_is_bounded() {
        let many = (0..1_000).map(|i| format!("MONCHERO_V{i}=x")).collect::<Vec<_>>().join("\n");
        let (variables, warnings) = parse_setter_output(many.as_bytes());
        assert_eq!((variables.len(), warnings.len()), (MAX_VARIABLES, 1));
        let long = format!("MONCHERO_A={}", "x".repeat(MAX_LINE));
        assert!(parse_setter_output(long.as_bytes()).0.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_give_only_prefixed_names(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (name, value) in parse_setter_output(&bytes).0 {
                prop_assert!(name.to_str().unwrap().to_uppercase().starts_with("MONCHERO_"));
                prop_assert!(!value.into_vec().contains(&0));
            }
        }
    }
}
