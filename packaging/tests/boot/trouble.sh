# shellcheck shell=sh
# The daemon is killed, stands still, is put back from a copy: what was known stays known.

# A daemon other than this one answers.
came_back() { [ "$(property MainPID)" != "$1" ] && [ "$(property MainPID)" != 0 ] && answers; }

say 'kill -9 in the middle of an incident, with a plugin under way'
program slow <<'SH'
#!/bin/sh
sleep 4242
SH
config slow <<'YAML'
checks: { slow: { plugin: /usr/local/lib/monchero/slow, interval: 1s, timeout: 10m } }
YAML
systemctl reload monchero.service
until_well 60 pgrep -f 'sleep 4242'
slow=$(pgrep -f 'sleep 4242')
touch /var/tmp/broken
until_well 30 is mine bad
incident=$(incident_of mine)
[ -n "$incident" ] || fail 'a bad check has no incident'
until_well 30 grep -q "$incident" /var/log/monchero/book
monchero downtime add slow 2h 'the test of the packages'
downtimes=$(monchero downtime list --json)
before=$(told)
pid=$(property MainPID)
began=$(now)
kill -9 "$pid"
until_well 60 came_back "$pid"
seen "kill -9: back after $(since "$began") (RestartSec=2)"
[ "$(incident_of mine)" = "$incident" ] || fail "the incident $incident is lost"
[ "$(monchero downtime list --json)" = "$downtimes" ] || fail 'the downtime is lost'
! kill -0 "$slow" 2>/dev/null || fail 'a plugin outlived the daemon that started it'
until_well 30 is mine bad
[ "$(told)" = "$before" ] || fail "told again: $(told)"
rm /var/tmp/broken
until_well 30 is mine okay
until_well 30 sh -c "tail -n 1 /var/log/monchero/book | grep -q '\"kind\":\"recovery\"'"
[ "$(told | sort | uniq -c | awk '{ print $2, $3 }' | grep -c "$incident")" = 2 ] || fail "told: $(told)"
seen 'kill -9: the same incident, told once as a problem and once as a recovery; the downtime is there; no plugin is left'
rm /etc/monchero/conf.d/slow.yaml
systemctl reload monchero.service

say 'the daemon stands still; the watchdog has a minute'
pid=$(property MainPID)
began=$(now)
kill -STOP "$pid"
until_well 150 came_back "$pid"
journalctl -u monchero -n 40 -o cat --no-pager | grep -q "Failed with result 'watchdog'" || fail 'it was not the watchdog that ended it'
seen "SIGSTOP: ended by the watchdog, back after $(since "$began") (WatchdogSec=60)"
until_well 30 is mine okay

say 'a copy is put back'
mkdir -p /path/of/the
touch /var/tmp/broken
until_well 30 is mine bad
incident=$(incident_of mine)
systemctl stop monchero.service
cp /var/lib/monchero/monchero.db /path/of/the/copy
rm -f /var/lib/monchero/monchero.db*
systemctl start monchero.service
[ "$(incident_of mine)" != "$incident" ] || fail 'a daemon without a database knows an incident'
block docs/operations.md '/path/of/the/copy' >/run/boot/restore.sh
sh -e /run/boot/restore.sh
[ "$(incident_of mine)" = "$incident" ] || fail 'the incident did not come back with the copy'
seen 'a copy of the database put back by the commands of docs/operations.md: the incident is there'
