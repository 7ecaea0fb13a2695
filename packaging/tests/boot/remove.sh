# shellcheck shell=sh
# As docs/operations.md says under "Remove", and README.md under "Install it".

pid=$(property MainPID)
documented docs/operations.md 'apt-get remove monchero' 's/remove/remove -y -q/'
[ ! -d "/proc/$pid" ] || fail 'the daemon still runs'
! systemctl is-active --quiet monchero.service || fail 'the unit is still active'
[ -e /var/lib/monchero/monchero.db ] || fail 'the state did not stay'
[ -e /etc/monchero/conf.d/mine.yaml ] || fail 'the configuration did not stay'
documented docs/operations.md 'apt-get purge monchero' 's/purge/purge -y -q/'
for gone in /etc/monchero /var/lib/monchero /var/log/monchero /run/monchero; do
    [ ! -e $gone ] || fail "$gone is still there"
done
systemctl daemon-reload
[ -z "$(systemctl list-unit-files --no-legend 'monchero.service')" ] || fail 'systemd still knows the unit'
id monchero >/dev/null || fail 'the user is gone, and its number is free for others'
seen 'remove keeps state and configuration, purge takes both, the user stays'

say 'once more, by README.md and by apt-get'
block README.md 'dpkg -i target/dist' >/run/boot/install.sh
status=0
sh -e /run/boot/install.sh || status=$?
[ $status -lt 4 ] || fail "README.md: \`monchero status\` ended with $status"
apt-get purge -y -q monchero
cd target/dist
documented ../../docs/operations.md 'apt-get install ./monchero_' "s/.*/apt-get install -y -q .\/*.deb/"
cd ../..
answers || fail 'no status after `apt-get install`'
apt-get purge -y -q monchero
userdel monchero
! getent group monchero >/dev/null || groupdel monchero
seen "README.md's commands and \`apt-get install ./..deb\` do the same"
