//! `cargo xtask dist --boot`: are the packages what they should be beside a real systemd? Makes a Debian, boots it in qemu, and has
//! `packaging/tests/boot` install, break, upgrade and remove them there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{Packages, check, target};
use crate::packages;
use crate::run::{command, lines, succeeds};

/// The Debian that the packages are for, and its packages besides the smallest set: a system that boots, rpm, and what the scripts ask with.
pub(super) const SUITE: &str = "bookworm";
const DEBIAN: &str = "systemd-sysv,udev,dbus,polkitd,linux-image-cloud-amd64,initramfs-tools,procps,adduser,ca-certificates,tzdata,jq,rpm";
/// Where the scripts are that run there; the unit that starts them is part of the disk.
const SCRIPTS: &str = "packaging/tests/boot";
const UNIT: &str = "packaging/tests/boot/monchero-boot.service";
/// Room for the system, the packages and their state; a sparse file.
const DISK: &str = "3G";
/// It takes a quarter of an hour when every instruction is emulated, on a host that is busy.
const PATIENCE: &str = "40m";
/// How the scripts begin what belongs into the table, and how they end.
const SEEN: &str = "seen: ";
const END: &str = "boot: all is well";

/// The disk, and what boots it.
struct Machine {
    disk: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

pub(crate) fn boot() -> Result<()> {
    if !succeeds("id", &["-u"], |output| output.trim() == "0") {
        bail!("a root file system can be made only by root: run `cargo xtask dist --boot` as root");
    }
    packages::provide_for_dist()?;
    packages::provide_for_dist_boot()?;
    let built = built(&target()?.join("dist"))?;
    let place = target()?.join("boot");
    fs::create_dir_all(&place)?;
    let machine = machine(&place)?;
    let archive = archive(&place, &built)?;
    let seen = run(&machine, &archive)?;
    eprintln!("\nWhat was seen in the machine ({}):\n", accelerator());
    for line in seen {
        eprintln!("- {line}");
    }
    Ok(())
}

/// The packages that `cargo xtask dist` has built: those that will be published, not others like them.
fn built(dist: &Path) -> Result<Packages> {
    let of = |extension: &str| {
        let entries = fs::read_dir(dist).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        entries
            .into_iter()
            .find(|path| path.extension().is_some_and(|found| found == extension))
            .with_context(|| format!("no {extension} in `{}`: run `cargo xtask dist` first", dist.display()))
    };
    Ok(Packages { deb: of("deb")?, rpm: of("rpm")? })
}

/// Made once, and again when it would be another one. What a run does to the disk is not kept.
fn machine(place: &Path) -> Result<Machine> {
    let machine = Machine { disk: place.join("disk"), kernel: place.join("kernel"), initrd: place.join("initrd") };
    let made_of = format!("{SUITE} {DEBIAN} {DISK}\n{}", fs::read_to_string(UNIT).context("reading the unit")?);
    let stamp = place.join("made-of");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        return Ok(machine);
    }
    let root = place.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let text = root.display().to_string();
    command("mmdebstrap", &["--variant=minbase", &format!("--include={DEBIAN}"), SUITE, &text])?;
    fs::copy(UNIT, root.join("etc/systemd/system/monchero-boot.service")).context("installing the unit")?;
    command("systemctl", &["--root", &text, "enable", "monchero-boot.service"])?;
    for (name, to) in [("vmlinuz-", &machine.kernel), ("initrd.img-", &machine.initrd)] {
        let entries = fs::read_dir(root.join("boot"))?.filter_map(Result::ok);
        let found = entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with(name));
        let found = found.with_context(|| format!("the Debian that was made has no `/boot/{name}*`"))?;
        fs::copy(found.path(), to).with_context(|| format!("copying `{}`", found.path().display()))?;
    }
    if machine.disk.exists() {
        fs::remove_file(&machine.disk)?;
    }
    command("/usr/sbin/mke2fs", &["-q", "-t", "ext4", "-d", &text, &machine.disk.display().to_string(), DISK])?;
    fs::remove_dir_all(&root)?;
    fs::write(&stamp, made_of)?;
    Ok(machine)
}

/// What the machine gets as its second disk: the scripts, the documents whose commands they run, the packages and newer ones.
fn archive(place: &Path, built: &Packages) -> Result<PathBuf> {
    let scratch = place.join("work");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let (inside, unpacked) = (scratch.join("archive"), scratch.join("deb"));
    fs::create_dir_all(&unpacked)?;
    command("dpkg-deb", &["-x", &built.deb.display().to_string(), &unpacked.display().to_string()])?;
    let newer = check::newer(&scratch, &unpacked.join(super::files::PROGRAM))?;
    super::copy_tree(Path::new(SCRIPTS), &inside)?;
    for document in ["README.md", "docs/operations.md"] {
        copy(Path::new(document), &inside.join(document))?;
    }
    for (packages, directory) in [(built, "target/dist"), (&newer, "newer")] {
        for package in [&packages.deb, &packages.rpm] {
            copy(package, &inside.join(directory).join(package.file_name().unwrap_or_default()))?;
        }
    }
    let archive = place.join("archive.tar");
    command("tar", &["-C", &inside.display().to_string(), "-cf", &archive.display().to_string(), "."])?;
    fs::remove_dir_all(&scratch)?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
    fs::copy(from, to).with_context(|| format!("copying `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}

/// Boots it, and says what the scripts have seen.
fn run(machine: &Machine, archive: &Path) -> Result<Vec<String>> {
    let disk = format!("file={},format=raw,if=virtio,snapshot=on", machine.disk.display());
    let archive = format!("file={},format=raw,if=virtio,readonly=on", archive.display());
    let (kernel, initrd) = (machine.kernel.display().to_string(), machine.initrd.display().to_string());
    // Without a network: what the packages need is there, and nothing else is asked.
    let words = [
        &["--kill-after", "10s", PATIENCE, "qemu-system-x86_64", "-accel", accelerator(), "-cpu", "max"][..],
        &["-m", "2G", "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"],
        &["-kernel", &kernel, "-initrd", &initrd, "-drive", &disk, "-drive", &archive],
        &["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.mask=serial-getty@ttyS0.service"],
    ];
    let (mut seen, mut ended) = (Vec::new(), false);
    lines("timeout", &words.concat(), |line| {
        eprintln!("  {line}");
        seen.extend(line.strip_prefix(SEEN).map(str::to_owned));
        ended |= line == END;
    })?;
    if !ended {
        bail!("the machine did not end with `{END}`: what went wrong stands above");
    }
    Ok(seen)
}

/// KVM if this host's processor runs machines itself, otherwise qemu's emulation. A `/dev/kvm` alone does not say so: it may be emulated, and
/// slower.
fn accelerator() -> &'static str {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = processors.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if has && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok() { "kvm" } else { "tcg,thread=multi" }
}
