# shellcheck shell=sh
# The rpm, beside the same systemd: the nearest to a Fedora that Debian's packages make. rpm has a database of its own, which knows
# what this host really has, so that dependencies are judged; services start by themselves only where Debian's presets say so, and here
# Fedora's do.

say 'a host of rpm'
cat >/usr/local/sbin/rpm <<'SH'
#!/bin/sh
# Debian's rpm wants to be told that it is meant.
exec /usr/bin/rpm --force-debian "$@"
SH
chmod 755 /usr/local/sbin/rpm
mkdir -p /etc/systemd/system-preset
echo 'disable *' >/etc/systemd/system-preset/99-default-disable.preset
package=$(echo target/dist/*.rpm)
newer=$(echo newer/*.rpm)
! rpm -i --test "$package" >/run/boot/missing 2>&1 || fail 'an empty host has everything that the rpm needs'
for needed in shadow-utils systemd 'libc.so.6(GLIBC_ABI_DT_RELR)' /bin/sh; do
    grep -qF "$needed" /run/boot/missing || fail "the rpm does not ask for $needed"
done
{
    echo 'Name: base
Version: 1
Release: 1
Summary: What this host has
License: none
Provides: /bin/sh shadow-utils systemd rtld(GNU_HASH)'
    for library in libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2; do
        readlink -f "/lib/x86_64-linux-gnu/$library" | /usr/lib/rpm/elfdeps --provides | sed 's/^/Provides: /'
    done
    echo '%description
What this host has.
%files'
} >/run/boot/base.spec
rpmbuild -bb --quiet --define "_topdir /run/boot/rpmbuild" /run/boot/base.spec
rpm -i /run/boot/rpmbuild/RPMS/*/*.rpm
seen "the rpm asks for $(rpm -qpR "$package" | grep -v '^rpmlib\|^config' | sort -u | wc -l) things (shadow-utils, systemd, glibc with packed relocations ..), and this host has them"

say 'installing'
began=$(now)
cd target/dist
block ../../docs/operations.md 'rpm -i monchero' >/run/boot/install.sh
sh -e /run/boot/install.sh
cd ../..
answers || fail 'no status after the rpm was installed'
seen "from the rpm to the first \`monchero status\`: $(since "$began") (docs/operations.md, its own commands)"
[ "$(property ActiveState)" = active ] || fail "the unit is $(property ActiveState)"
rpm -V monchero || fail 'rpm finds files that are not as they were packed'
expect_mode /etc/monchero '750 root:monchero'
expect_mode /etc/monchero/conf.d/host.yaml '640 root:monchero'
expect_mode /var/lib/monchero '700 monchero:monchero'
expect_mode /run/monchero/monchero.sock '660 monchero:monchero'
a_check_to_break
touch /var/tmp/broken
systemctl reload monchero.service
until_well 30 is mine bad
incident=$(incident_of mine)
monchero downtime add mine 2h 'the test of the packages'
downtimes=$(monchero downtime list --json)

# What an upgrade and a downgrade must keep.
kept() {
    answers || fail "no status after the $1"
    [ "$(starts_since "$moment")" = 1 ] || fail "started $(starts_since "$moment") times by one $1"
    [ "$(incident_of mine)" = "$incident" ] || fail "the $1 lost the incident"
    [ "$(monchero downtime list --json)" = "$downtimes" ] || fail "the $1 lost the downtime"
    tail -n 1 /etc/monchero/monchero.yaml | grep -qx '# mine' || fail "the $1 changed the configuration"
    expect_mode /etc/monchero/monchero.yaml '640 root:monchero'
    systemctl is-enabled --quiet monchero.service || fail "the $1 disabled the unit"
}

say 'upgrading'
echo '# mine' >>/etc/monchero/monchero.yaml
moment=$(date +%s)
sleep 1
began=$(now)
rpm -U "$newer"
took=$(since "$began")
kept upgrade
[ -e /etc/monchero/monchero.yaml.rpmnew ] || fail 'the new configuration does not stand beside'
[ "$(tail -n 1 /etc/monchero/conf.d/host.yaml)" = '# A newer version says more.' ] || fail 'a file that nobody changed is still the old one'
expect_mode /etc/monchero/conf.d/host.yaml '640 root:monchero'
seen "rpm -U: $took, 1 restart, incident, downtime and changed configuration kept, the newer file as .rpmnew"

say 'downgrading'
! rpm -U "$package" 2>/run/boot/last || fail 'rpm -U installed an older version'
grep -q 'newer' /run/boot/last || fail "rpm refused for another reason: $(cat /run/boot/last)"
rm /etc/monchero/monchero.yaml.rpmnew
moment=$(date +%s)
sleep 1
documented docs/operations.md 'rpm -U --oldpackage PACKAGE' "s|PACKAGE|$package|"
kept downgrade
seen 'rpm -U of an older version is refused; with --oldpackage it goes on with its state'

say 'erasing'
pid=$(property MainPID)
documented docs/operations.md 'rpm -e monchero'
[ ! -d "/proc/$pid" ] || fail 'the daemon still runs'
[ ! -e /usr/bin/monchero ] || fail 'the program is still there'
[ -e /etc/monchero/monchero.yaml.rpmsave ] || fail 'the changed configuration did not stay'
[ -e /etc/monchero/conf.d/mine.yaml ] || fail 'the configuration did not stay'
[ -e /var/lib/monchero/monchero.db ] || fail 'the state did not stay'
[ -z "$(systemctl list-unit-files --no-legend monchero.service)" ] || fail 'systemd still knows the unit'
! systemctl list-units --all --no-legend | grep -q monchero.service || fail 'systemd still has the unit'
seen 'rpm -e: stopped, disabled, gone; state and changed configuration (.rpmsave) stay'

say 'once more, by README.md'
block README.md 'rpm -i target/dist' | sed -n 's/.*# or: //p' >/run/boot/install.sh
[ -s /run/boot/install.sh ] || fail 'README.md does not say how the rpm is installed'
sh -e /run/boot/install.sh
answers || fail 'no status after the commands of README.md'
# Nothing was purged: the state of before is still there.
[ "$(incident_of mine)" = "$incident" ] || fail 'installing again lost the incident'
rpm -e monchero
documented docs/operations.md 'rm -r /etc/monchero /var/lib/monchero /var/log/monchero'
seen "README.md's commands do the same; the state of before is found again"
