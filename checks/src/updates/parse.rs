//! What package managers print about updates.

use crate::settings::excerpt;

/// One update that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// The package; with dnf with its architecture.
    pub(super) package: String,
    /// The version that is installed, if the manager says it, and the new one.
    pub(super) versions: (Option<String>, String),
    pub(super) security: bool,
}

impl Update {
    /// For the further output: `libssl3 3.0.15 -> 3.0.17 (security)`.
    pub(super) fn line(&self) -> String {
        let (from, to) = &self.versions;
        let from = from.as_ref().map_or_else(String::new, |from| format!("{from} -> "));
        format!("{} {from}{to}{}", self.package, if self.security { " (security)" } else { "" })
    }
}

/// What `apt-get -s dist-upgrade` prints: `Inst PACKAGE [OLD] (NEW ORIGIN:RELEASE/SUITE, .. [ARCHITECTURE]) [..]`. A package that an update
/// needs and that was not installed has no old version.
pub(super) fn apt(text: &str) -> Vec<Update> {
    text.lines().filter_map(|line| apt_line(line.strip_prefix("Inst ")?)).collect()
}

fn apt_line(line: &str) -> Option<Update> {
    let (before, rest) = line.split_once('(')?;
    let (offer, _) = rest.split_once(')')?;
    let mut words = before.split_ascii_whitespace();
    let package = excerpt(words.next()?);
    let from = words.next().and_then(|word| word.strip_prefix('[')?.strip_suffix(']')).map(excerpt);
    let (to, origins) = offer.split_once(' ').unwrap_or((offer, ""));
    // `Debian-Security:12/stable-security`, `Ubuntu:24.04/noble-security`, `UbuntuESMApps:24.04/noble-apps-security`.
    let security = origins.split(", ").any(|origin| origin.to_ascii_lowercase().contains("security"));
    Some(Update { package, versions: (from, excerpt(to)), security })
}

/// What `dnf check-update` prints: `PACKAGE.ARCHITECTURE  VERSION  REPOSITORY`, up to a list of packages that others replace.
pub(super) fn dnf(text: &str) -> Vec<Update> {
    let list = text.lines().take_while(|line| !line.to_ascii_lowercase().starts_with("obsoleting"));
    list.filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [package, version, _repository] = words[..] else { return None };
        let is_package = package.rsplit_once('.').is_some_and(|(name, _)| !name.is_empty());
        let has_number = version.starts_with(|c: char| c.is_ascii_alphanumeric()) && version.contains('-');
        (is_package && has_number).then(|| Update {
            package: excerpt(package),
            versions: (None, excerpt(version)),
            security: false,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(updates: &[Update]) -> Vec<String> {
        updates.iter().map(Update::line).collect()
    }

    #[test]
    fn apt_says_old_new_and_origin() {
        let text = "NOTE: This is only a simulation!\n\
            Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64])\n\
            Inst libgcrypt20-dev [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []\n\
            Inst linux-image-6.8.0-50 (6.8.0-50.51 Ubuntu:24.04/noble-updates, Ubuntu:24.04/noble-security [amd64])\n\
            Remv old-package [1.0]\n\
            Conf bash (5.2.15-2+b13 Debian:12.15/oldstable [amd64])\n\
            Inst broken\nInst\n";
        assert_eq!(
            lines(&apt(text)),
            [
                "bash 5.2.15-2+b8 -> 5.2.15-2+b13",
                "libgcrypt20-dev 1.10.1-3 -> 1.10.1-3+deb12u1 (security)",
                "linux-image-6.8.0-50 6.8.0-50.51 (security)",
            ]
        );
        assert!(apt("").is_empty());
    }

    #[test]
    fn dnf_says_package_version_and_repository() {
        let text = "\nbind-libs.x86_64                32:9.16.23-24.el9_5.3        appstream\n\
            kernel.x86_64                   5.14.0-503.40.1.el9_5        baseos   \n\
            Last metadata expiration check: 0:12:01 ago.\n\
            Obsoleting Packages\n\
            grub2-tools.x86_64              1:2.06-94.el9                baseos\n    grub2-tools.x86_64  1:2.06-92.el9  @baseos\n";
        assert_eq!(
            lines(&dnf(text)),
            ["bind-libs.x86_64 32:9.16.23-24.el9_5.3", "kernel.x86_64 5.14.0-503.40.1.el9_5"]
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(Inst |[a-z.]{1,5} |[0-9]-|\\(|\\)|\\[|\\]|,|\n|\\PC){0,40}") {
            for update in apt(&text).into_iter().chain(dnf(&text)) {
                prop_assert!(!update.line().contains('\n'));
            }
        }
    }
}
