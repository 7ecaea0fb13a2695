#!/bin/sh
# install.sh deb|rpm PACKAGE NEWER [ROOT]: installs, uses, upgrades and removes monchero, on a copy of this host that nobody else sees.
# With ROOT, the root directory of a Debian that was just made, it installs on a copy of that, and measures how long that takes.
# Run as root by `cargo xtask dist --check`, which gives it a mount and a process namespace of its own.
set -eu
format=$1
package=$2
newer=$3
lower=${4:-/}
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "install.sh: $format: $*"; }
fail() {
    say "FAILED: $*" >&2
    cat "$root/run/monchero.test.journal" >&2 2>/dev/null || :
    exit 1
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
mode_of() { in_root stat -c '%a %U:%G' "$1"; }
expect_mode() { [ "$(mode_of "$1")" = "$2" ] || fail "$1 is $(mode_of "$1"), not $2"; }
# `monchero status` says by 4 that no daemon answered.
status_of() { status=0; "$@" || status=$?; }

base=$(mktemp -d)
mount -t tmpfs none "$base"
root=$base/root
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$base/upper,workdir=$base/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
chmod 1777 "$root/tmp"
mkdir -p "$root/run/systemd/system"
cp "$package" "$root/tmp/package"
cp "$newer" "$root/tmp/newer"
rm -f "$root/usr/sbin/policy-rc.d" "$root/usr/bin/systemctl" "$root/bin/systemctl"
install -m 755 "$here/systemctl" "$root/usr/bin/systemctl"
# The copy is of a machine that has no monchero.
in_root userdel monchero 2>/dev/null || :

case $format in
    deb)
        ln -s package "$root/tmp/package.deb"
        ln -s newer "$root/tmp/newer.deb"
        install_it() { in_root dpkg -i "/tmp/$1.deb"; }
        upgrade_it() { in_root dpkg -i --force-confold "/tmp/$1.deb"; }
        remove_it() { in_root dpkg -r monchero; }
        beside=/etc/monchero/monchero.yaml.dpkg-dist
        ;;
    rpm)
        # Debian's rpm has no database of what is installed, and warns that it is not Debian's package manager.
        rpm_it() { rpm --root "$root" --dbpath /var/lib/rpm-test --nodeps --force-debian "$@"; }
        mkdir -p "$root/var/lib/rpm-test"
        rpm --root "$root" --dbpath /var/lib/rpm-test --initdb
        install_it() { rpm_it -i "$root/tmp/$1" && in_root systemctl enable --now monchero; }
        upgrade_it() { rpm_it -U "$root/tmp/$1"; }
        remove_it() { rpm_it -e monchero; }
        beside=/etc/monchero/monchero.yaml.rpmnew
        ;;
esac

[ "$lower" = / ] && host='a copy of this host' || host="a fresh $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' "$root/etc/os-release")"
say 'installing'
began=$(date +%s%N)
install_it package
installed=$((($(date +%s%N) - began) / 1000000))
status_of in_root monchero status --color never
took=$((($(date +%s%N) - began) / 1000000))
[ "$status" -lt 4 ] || fail 'root gets no status'
say "from the package to the first \`monchero status\` on $host: $took ms ($installed ms of it to install and start it)"
[ $took -lt 10000 ] || fail "$took ms are more than 10 s"
in_root id monchero
expect_mode /etc/monchero '750 root:monchero'
expect_mode /etc/monchero/conf.d '750 root:monchero'
expect_mode /etc/monchero/monchero.yaml '640 root:monchero'
expect_mode /etc/monchero/conf.d/host.yaml '640 root:monchero'
expect_mode /usr/bin/monchero '755 root:root'
expect_mode /var/lib/monchero '700 monchero:monchero'
expect_mode /run/monchero '750 monchero:monchero'
expect_mode /run/monchero/monchero.sock '660 monchero:monchero'
pid=$(cat "$root/run/monchero.test.pid")
[ "$(in_root stat -c %U "/proc/$pid")" = monchero ] || fail 'the daemon does not run as its own user'
if [ "$lower" != / ]; then
    in_root systemctl stop monchero.service
    exit 0
fi

say 'using'
in_root monchero config check
grep -q '^[0-9]* [0-9]* [0-9:]* / / ro' "$root/proc/$pid/mountinfo" || fail 'the daemon is not in a sandbox'
status_of in_root monchero run root-disk
in_root monchero show root-disk --json | grep -q 'read-only' && fail 'in the sandbox, file systems seem to be read-only'
group=$(in_root getent group monchero | cut -d: -f3)
status_of in_root setpriv --reuid=65534 --regid=65534 --groups="$group" --inh-caps=-all monchero status >/dev/null
[ "$status" -lt 4 ] || fail 'a member of the group gets no status'
status_of in_root setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all monchero status >/dev/null 2>&1
[ "$status" -eq 4 ] || fail "a stranger gets a status ($status)"
in_root man -w monchero monchero.yaml monchero-checks >/dev/null || fail 'a page of the manual is not found'
in_root bash -n /usr/share/bash-completion/completions/monchero
for plugin in "$root"/usr/lib/monchero/plugins/* "$root"/usr/lib/monchero/actions/*; do
    [ -x "$plugin" ] || fail "$plugin is no program"
done

say 'judging the unit'
in_root systemd-analyze verify --man=yes monchero.service || fail 'the unit is not clean'
in_root systemd-analyze security --offline=true --threshold=35 monchero.service | tail -n 1
for example in "$root"/usr/share/doc/monchero/examples/*.conf*; do
    dropin=$root/etc/systemd/system/monchero.service.d/example.conf
    mkdir -p "$(dirname "$dropin")"
    case $example in
        *.gz) gzip -dc "$example" >"$dropin" ;;
        *) cp "$example" "$dropin" ;;
    esac
    said=$(in_root systemd-analyze verify --man=no monchero.service 2>&1) && [ -z "$said" ] || fail "$(basename "$example"): $said"
done
rm -rf "$root/etc/systemd/system/monchero.service.d"

say 'configuring'
cat >"$root/etc/monchero/conf.d/mine.yaml" <<'END'
checks:
  mine:
    plugin: /usr/lib/monchero/plugins/check_reboot
END
echo '# mine' >>"$root/etc/monchero/monchero.yaml"
in_root systemctl reload monchero.service
in_root monchero status --json | grep -q '"mine"' || fail 'the new check is not there after a reload'
in_root monchero downtime add mine 2h 'the test of the packages'
before=$(in_root monchero downtime list --json)

say 'upgrading'
upgrade_it newer
[ "$(cat "$root/run/monchero.test.pid")" != "$pid" ] || fail 'the daemon was not restarted'
tail -n 1 "$root/etc/monchero/monchero.yaml" | grep -qx '# mine' || fail 'the upgrade changed the configuration'
[ -e "$root$beside" ] || fail "the new configuration does not stand beside as $beside"
expect_mode /etc/monchero/monchero.yaml '640 root:monchero'
expect_mode /etc/monchero '750 root:monchero'
status_of in_root monchero status mine
[ "$status" -lt 4 ] || fail 'no status after the upgrade'
[ "$(in_root monchero downtime list --json)" = "$before" ] || fail "the downtime is not as before: $before"

say 'installing again'
if [ "$format" = deb ]; then
    upgrade_it newer
    status_of in_root monchero status mine >/dev/null
    [ "$status" -lt 4 ] || fail 'no status after installing again'
fi

say 'removing'
pid=$(cat "$root/run/monchero.test.pid")
remove_it
[ ! -d "/proc/$pid" ] || fail 'the daemon still runs'
[ ! -e "$root/usr/bin/monchero" ] || fail 'the program is still there'
[ -e "$root/var/lib/monchero/monchero.db" ] || fail 'the state did not stay'
[ -e "$root/etc/monchero/conf.d/mine.yaml" ] || fail 'the configuration did not stay'
if [ "$format" = deb ]; then
    say 'purging'
    in_root dpkg -P monchero
    for gone in /etc/monchero /var/lib/monchero /var/log/monchero /run/monchero; do
        [ ! -e "$root$gone" ] || fail "$gone is still there"
    done
fi
left=$(find "$root/usr" "$root/lib" -xdev -newer "$package" -path '*monchero*' ! -path '*/work/*' 2>/dev/null || :)
[ -z "$left" ] || fail "left behind: $left"
say 'all is well'
