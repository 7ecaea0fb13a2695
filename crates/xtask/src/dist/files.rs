//! What is installed where: the one list, for the deb and the rpm.

/// What sort of file it is: its mode, and what the package managers do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A program: everybody may execute it.
    Program,
    /// Anything that is only read.
    Data,
    /// A page of the manual; its directory follows from its section. Compressed.
    Manual,
    /// Configuration: what somebody has changed is never overwritten.
    Config,
    /// Documentation.
    Doc,
    /// A licence. Debian has these texts in one place for all packages, Fedora beside the package.
    Licence,
}

impl Sort {
    pub(crate) fn mode(self) -> u32 {
        if self == Self::Program { 0o755 } else { 0o644 }
    }
}

/// A file, or with `/*` all files of a directory. A destination that ends in `/` keeps the name.
pub(crate) struct Installed {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) sort: Sort,
}

const fn installed(sort: Sort, from: &'static str, to: &'static str) -> Installed {
    Installed { from, to, sort }
}

const DOC: &str = "usr/share/doc/monchero/";

/// What stands in the tree.
pub(crate) const FILES: &[Installed] = &[
    installed(Sort::Program, "checks/plugins/*", "usr/lib/monchero/plugins/"),
    installed(Sort::Program, "actions/scripts/*", "usr/lib/monchero/actions/"),
    installed(Sort::Config, "packaging/monchero.yaml", "etc/monchero/"),
    installed(Sort::Config, "conf.d/host.yaml", "etc/monchero/conf.d/"),
    installed(Sort::Data, "packaging/monchero.service", "usr/lib/systemd/system/"),
    installed(Sort::Data, "packaging/sysusers.conf", "usr/lib/sysusers.d/monchero.conf"),
    installed(Sort::Data, "packaging/tmpfiles.conf", "usr/lib/tmpfiles.d/monchero.conf"),
    installed(Sort::Data, "docs/schema/*", "usr/share/monchero/schema/"),
    installed(Sort::Manual, "man/*", "usr/share/man/"),
    installed(Sort::Doc, "README.md", DOC),
    // debhelper would take it for the changelog of the package.
    installed(Sort::Doc, "CHANGELOG.md", "usr/share/doc/monchero/NEWS.md"),
    installed(Sort::Doc, "docs/import.md", DOC),
    installed(Sort::Doc, "docs/kinds.md", DOC),
    installed(Sort::Doc, "docs/operations.md", DOC),
    installed(Sort::Doc, "docs/plugins.md", DOC),
    installed(Sort::Doc, "docs/state-machine.md", DOC),
    installed(Sort::Doc, "docs/tutorial.md", DOC),
    installed(Sort::Doc, "packaging/examples/*", "usr/share/doc/monchero/examples/"),
    installed(Sort::Licence, "LICENSE-APACHE", "usr/share/licenses/monchero/"),
    installed(Sort::Licence, "LICENSE-MIT", "usr/share/licenses/monchero/"),
];

/// Where the program goes.
pub(crate) const PROGRAM: &str = "usr/bin/monchero";

/// What the program prints itself: for `monchero completions SHELL`, where it goes.
pub(crate) const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/monchero"),
    ("zsh", "usr/share/zsh/site-functions/_monchero"),
    ("fish", "usr/share/fish/vendor_completions.d/monchero.fish"),
];

/// The licences of the libraries that are linked into the program.
pub(crate) const THIRD_PARTY: &str = "usr/share/doc/monchero/third-party.txt.gz";

/// The directories that are the package's own: they go with it.
pub(crate) const OWN_DIRECTORIES: &[&str] = &[
    "usr/lib/monchero",
    "usr/lib/monchero/actions",
    "usr/lib/monchero/plugins",
    "usr/share/doc/monchero",
    "usr/share/doc/monchero/examples",
    "usr/share/licenses/monchero",
    "usr/share/monchero",
    "usr/share/monchero/schema",
];

/// The directories of the configuration, which may hold secrets: the daemon's group may read them, nobody else.
pub(crate) const CONFIG_DIRECTORIES: &[&str] = &["etc/monchero", "etc/monchero/conf.d"];
