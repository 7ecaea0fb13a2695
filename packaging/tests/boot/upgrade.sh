# shellcheck shell=sh
# After a reboot: the daemon is back by itself, with what it knew. Then newer and older packages.

until_well 120 answers
systemctl is-active --quiet monchero.service || fail 'the daemon was not started with the machine'
incident=$(incident_of mine)
[ -n "$incident" ] || fail 'the incident did not survive the reboot'
seen "reboot: started with the machine ($(systemd-analyze blame | awk '/monchero.service/ { print $1 }')), incident still open"
monchero downtime add mine 2h 'the test of the packages'
downtimes=$(monchero downtime list --json)

say 'upgrading'
echo '# mine' >>/etc/monchero/monchero.yaml
moment=$(date +%s)
sleep 1
began=$(now)
dpkg -i --force-confold newer/*.deb
answers || fail 'no status after the upgrade'
seen "upgrade of the deb: $(since "$began"), $(starts_since "$moment") restart"
[ "$(starts_since "$moment")" = 1 ] || fail "started $(starts_since "$moment") times by one upgrade"
tail -n 1 /etc/monchero/monchero.yaml | grep -qx '# mine' || fail 'the upgrade changed the configuration'
[ -e /etc/monchero/monchero.yaml.dpkg-dist ] || fail 'the new configuration does not stand beside'
[ "$(tail -n 1 /etc/monchero/conf.d/host.yaml)" = '# A newer version says more.' ] || fail 'a file that nobody changed is still the old one'
expect_mode /etc/monchero/monchero.yaml '640 root:monchero'
expect_mode /etc/monchero/conf.d/host.yaml '640 root:monchero'
[ "$(incident_of mine)" = "$incident" ] || fail 'the upgrade lost the incident'
[ "$(monchero downtime list --json)" = "$downtimes" ] || fail 'the upgrade lost the downtime'
seen 'upgrade: incident, downtime and changed configuration kept, the newer file beside it'

say 'downgrading'
dpkg -i --force-confold target/dist/*.deb
answers || fail 'no status after the downgrade'
[ "$(incident_of mine)" = "$incident" ] || fail 'the downgrade lost the incident'
rm /var/tmp/broken
until_well 30 is mine okay
seen 'downgrade of the deb within one format of the database: goes on with its state'
