//! What tests and packages need besides the Rust toolchain: real plugins, real servers, package builders.

use anyhow::{Context as _, Result, bail};

use crate::run::{command, succeeds};

/// A program that a test needs, and Debian's package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/lib/nagios/plugins/check_dummy", "monitoring-plugins-basic"),
    ("/usr/lib/nagios/plugins/check_swap", "monitoring-plugins-basic"),
    ("/usr/sbin/exim4", "exim4-daemon-light"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/lib/python3.11/hmac.py", "libpython3.11-stdlib"),
    ("/usr/bin/script", "bsdutils"),
    ("/usr/bin/cc", "gcc"),
    ("/usr/bin/tmux", "tmux"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/python3", "python3-minimal"),
    ("/usr/sbin/upsd", "nut-server"),
    ("/usr/sbin/snmpd", "snmpd"),
    ("/usr/sbin/nginx", "nginx-light"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/memcached", "memcached"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("/usr/sbin/mosquitto", "mosquitto"),
    ("/usr/sbin/slapd", "slapd"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/bin/dbus-daemon", "dbus-daemon"),
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("/usr/sbin/mariadbd", "mariadb-server-core"),
    ("/usr/bin/mariadb-install-db", "mariadb-server"),
];

/// What is compared with.
const PEERS: &[(&str, &str)] =
    &[("/usr/sbin/nagios4", "nagios4-core"), ("/usr/sbin/icinga2", "icinga2-bin"), ("/usr/bin/monit", "monit")];

/// What packages are built with.
const FOR_DIST: &[(&str, &str)] =
    &[("/usr/bin/dpkg-buildpackage", "dpkg-dev"), ("/usr/bin/dh", "debhelper"), ("/usr/bin/rpmbuild", "rpm")];

/// What packages are judged with.
const FOR_DIST_CHECK: &[(&str, &str)] = &[
    ("/usr/bin/lintian", "lintian"),
    ("/usr/bin/rpmlint", "rpmlint"),
    ("/usr/bin/systemd-analyze", "systemd"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/man", "man-db"),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
];

/// What packages are booted with.
const FOR_DIST_BOOT: &[(&str, &str)] = &[
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/sbin/mke2fs", "e2fsprogs"),
    ("/usr/bin/timeout", "coreutils"),
];

/// What shows the mails of which there are pictures.
const FOR_PICTURES: &[(&str, &str)] =
    &[("/usr/bin/chromium", "chromium"), ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core")];

pub(crate) fn provide_for_tests() -> Result<()> {
    provide("the tests need", NEEDED)
}

pub(crate) fn provide_for_dist() -> Result<()> {
    provide("the packages are built with", FOR_DIST)
}

pub(crate) fn provide_for_dist_check() -> Result<()> {
    provide("the packages are judged with", FOR_DIST_CHECK)
}

pub(crate) fn provide_for_dist_boot() -> Result<()> {
    provide("the packages are booted with", FOR_DIST_BOOT)
}

/// Their packages start services; here nothing is to run that the bench did not start.
pub(crate) fn provide_for_peers() -> Result<()> {
    let policy = std::path::Path::new("/usr/sbin/policy-rc.d");
    let is_ours = !policy.exists() && PEERS.iter().any(|(program, _)| !std::path::Path::new(program).exists());
    if is_ours {
        std::fs::write(policy, "#!/bin/sh\nexit 101\n")
            .and_then(|()| std::fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755)))
            .with_context(|| {
                format!(
                    "writing `{}`, so that no service is started; install the peers yourself or be root",
                    policy.display()
                )
            })?;
    }
    let provided = provide("the peers are", PEERS);
    if is_ours {
        std::fs::remove_file(policy).with_context(|| format!("removing `{}`", policy.display()))?;
    }
    provided
}

pub(crate) fn provide_for_pictures() -> Result<()> {
    provide("the pictures are made with", FOR_PICTURES)
}

/// Installs what is missing when that is possible, and names it otherwise: no test is skipped silently.
fn provide(what: &str, needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&(&str, &str)> =
        needed.iter().filter(|(program, _)| !std::path::Path::new(program).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let list = packages.join(" ");
    let can_install =
        succeeds("id", &["-u"], |output| output.trim() == "0") && std::path::Path::new("/usr/bin/apt-get").exists();
    if !can_install {
        bail!("{what} {list}; install them (`apt-get install {list}` as root on Debian) and try again");
    }
    eprintln!("xtask: installing {list}");
    command("apt-get", &["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(packages);
    command("apt-get", &arguments)?;
    match needed.iter().find(|(program, _)| !std::path::Path::new(program).exists()) {
        None => Ok(()),
        Some((program, package)) => bail!("`{package}` is installed, but there is no `{program}`"),
    }
}
