//! `uptime`: how long the host runs, and whether it should be started anew.

use std::collections::BTreeSet;
use std::path::Path;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::excerpt;
use crate::{host, proc};

const FIELDS: &[Field<'static>] = &[
    Field::number("up", "s", "How long the host has been running."),
    Field::text("reboot", "`required` if updates wait for a reboot, otherwise `no`."),
];

const LIMITS: &[Limit] =
    &[Limit { field: "up", warning: "< 10m", bad: "" }, Limit { field: "reboot", warning: "required", bad: "" }];

const REQUIRED: &str = "/run/reboot-required";
const PACKAGES: &str = "/run/reboot-required.pkgs";
const RUNNING: &str = "/proc/sys/kernel/osrelease";
/// Distributions keep the modules of each kernel that is installed, and nothing else, in a directory of its name.
const INSTALLED: &str = "/lib/modules";

/// How many packages are named.
const MAX_PACKAGES: usize = 8;
/// How many directories of modules are looked at.
const MAX_KERNELS: usize = 200;

/// How long the host has been running, and whether it must be started anew for its updates to count.
///
/// A reboot is required if the packages say so (`/run/reboot-required`, as Debian and Ubuntu write it) or if a newer kernel of the same sort
/// as the running one is installed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uptime {
    /// When it is a warning. A single range is about `up`; a map may have a text for `reboot` too. Without a word about them, less than 10
    /// minutes `up` and a `reboot` that is `required` are warnings.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, never.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Uptime {
    const NAME: &'static str = "uptime";
    const EXAMPLE: &'static str = "{ warning: { up: \"< 1h\" }, bad: { reboot: required } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let up = proc::uptime(context.sysroot)?;
        let mut reasons = Vec::new();
        reasons.extend(packages(context)?);
        reasons.extend(newer_kernel(context)?);
        let reboot = if reasons.is_empty() { "no" } else { "required" };
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(&mut report, "", &[("up", Value::Number(up)), ("reboot", Value::Text(reboot))], || {
            let up = human(up, &Unit::SECONDS);
            if reasons.is_empty() { format!("up {up}") } else { format!("up {up}; {}", reasons.join("; ")) }
        });
        Ok(report)
    }
}

/// Why the packages want a reboot, if they do.
fn packages(context: &Context<'_>) -> Result<Option<String>, CheckError> {
    if host::read_if_exists(context.sysroot, REQUIRED)?.is_none() {
        return Ok(None);
    }
    let text = host::read_if_exists(context.sysroot, PACKAGES)?.unwrap_or_default();
    let names: BTreeSet<&str> = order::tree(text.lines().map(str::trim).filter(|name| !name.is_empty()));
    let mut list: Vec<String> = names.iter().take(MAX_PACKAGES).map(|name| excerpt(name)).collect();
    if names.len() > MAX_PACKAGES {
        list.push(format!("{} more", names.len() - MAX_PACKAGES));
    }
    Ok(Some(if list.is_empty() {
        format!("`{REQUIRED}` exists")
    } else {
        format!("{} wait for a reboot", list.join(", "))
    }))
}

/// Which newer kernel of the same sort is installed, if any.
fn newer_kernel(context: &Context<'_>) -> Result<Option<String>, CheckError> {
    let Some(running) = host::read_if_exists(context.sysroot, RUNNING)? else { return Ok(None) };
    let running = running.trim();
    // Containers and kernels without modules have no such directory.
    let Ok(entries) = std::fs::read_dir(host::under(context.sysroot, Path::new(INSTALLED))) else { return Ok(None) };
    let names = entries.take(MAX_KERNELS).flatten().filter_map(|entry| {
        // What is left of a kernel that was removed has no list of modules.
        entry.path().join("modules.order").exists().then(|| entry.file_name().into_string().ok())?
    });
    let newest = names.filter(|name| is_newer(name, running)).max_by_key(|name| numbers(name));
    Ok(newest
        .map(|newest| format!("kernel {} is installed, {} runs until a reboot", excerpt(&newest), excerpt(running))))
}

/// Whether a kernel is of the same sort as another one (`amd64`, `generic`, `lts` ..) and of a later version.
fn is_newer(name: &str, running: &str) -> bool {
    sort(name) == sort(running) && numbers(name) > numbers(running)
}

/// The words of a release, without the numbers that may follow them: `[el, x]` of `5.14.0-503.el9_5.x86_64`.
fn sort(release: &str) -> Vec<&str> {
    let words = release.split(['.', '-', '+', '~']);
    let letters = |word: &str| word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
    words.map(|word| &word[..letters(word)]).filter(|word| !word.is_empty()).collect()
}

fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernels_are_compared_with_their_own_sort() {
        for (installed, running, newer) in [
            ("6.1.0-35-amd64", "6.1.0-32-amd64", true),
            ("6.1.0-9-amd64", "6.1.0-32-amd64", false),
            ("6.1.0-32-amd64", "6.1.0-32-amd64", false),
            ("6.12.1-1-cloud-amd64", "6.1.0-32-amd64", false),
            ("6.8.0-60-generic", "6.8.0-59-generic", true),
            ("6.8.0-60-lowlatency", "6.8.0-59-generic", false),
            ("5.14.0-570.el9_6.x86_64", "5.14.0-503.el9_5.x86_64", true),
            ("6.14.2-200.fc41.x86_64", "6.13.9-200.fc40.x86_64", true),
            ("6.13.8-arch1-1", "6.13.7-arch1-1", true),
        ] {
            assert_eq!(is_newer(installed, running), newer, "{installed} {running}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(a in ".{0,40}", b in "[0-9a-z.+~-]{0,40}") {
            prop_assert!(!(is_newer(&a, &b) && is_newer(&b, &a)));
        }
    }
}
