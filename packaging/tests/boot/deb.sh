# shellcheck shell=sh
# The deb, installed as docs/operations.md says, on a host whose systemd runs.

until_well 120 sh -c 'systemctl is-system-running | grep -qx running'
seen "systemd $(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'), kernel $(uname -r), $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release): running"

began=$(now)
cd target/dist
block ../../docs/operations.md 'dpkg -i monchero' >/run/boot/install.sh
status=0
sh -e /run/boot/install.sh || status=$?
[ $status -lt 4 ] || fail "\`monchero status\` ended with $status right after \`dpkg -i\`"
cd ../..
seen "from the deb to the first \`monchero status\`: $(since "$began") (docs/operations.md, its own commands)"

[ "$(property ActiveState)" = active ] || fail "the unit is $(property ActiveState)"
[ "$(property NRestarts)" = 0 ] || fail 'it did not start at the first try'
systemctl is-enabled --quiet monchero.service || fail 'the unit is not enabled'
journalctl -u monchero -p warning -o cat --no-pager >/run/boot/warnings
[ ! -s /run/boot/warnings ] || fail "warnings at the first start: $(cat /run/boot/warnings)"
pid=$(property MainPID)
status_line() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
[ "$(stat -c '%U:%G' "/proc/$pid")" = monchero:monchero ] || fail "the daemon runs as $(stat -c %U "/proc/$pid")"
[ "$(status_line NoNewPrivs) $(status_line Seccomp) $(status_line CapBnd)" = '1 2 0000000000000000' ] || fail 'the sandbox is not there'
seen 'Type=notify: active at the first try, no warning; user monchero, no capability, no new privileges, system calls filtered'
expect_mode /etc/monchero '750 root:monchero'
expect_mode /etc/monchero/monchero.yaml '640 root:monchero'
expect_mode /var/lib/monchero '700 monchero:monchero'
expect_mode /run/monchero '750 monchero:monchero'
expect_mode /run/monchero/monchero.sock '660 monchero:monchero'

# A machine that was started less than a minute ago is a warning of the check `reboot`, which is asked every ten minutes.
until_well 120 sh -c '[ "$(cut -d . -f 1 /proc/uptime)" -gt 60 ]'
run reboot >/dev/null
until_well 120 all_okay
cat /run/boot/answer
seen "all shipped checks okay in the sandbox: $(monchero status --json | jq -r '[.checks[].name] | join(", ")')"

say 'who may ask'
adduser --quiet --disabled-password --gecos '' you
answers runuser -u you -- && fail 'a stranger gets a status'
documented docs/operations.md 'adduser you monchero'
answers runuser -u you -- || fail "a member of the group gets no status: $(cat /run/boot/answer)"
runuser -u you -- monchero reload
runuser -u you -- monchero discover >/run/boot/discovered 2>&1 || fail 'a member of the group cannot discover'
seen 'a member of the group `monchero` asks, reloads and discovers without sudo; a stranger does not'

say 'configuring'
a_check_to_break
systemctl reload monchero.service
until_well 30 is mine okay
[ "$(property MainPID)" = "$pid" ] || fail 'a reload restarted the daemon'
echo 'checks: { mine: { plugni: x } }' | config wrong
! systemctl reload monchero.service 2>/dev/null || fail 'a broken configuration was reloaded'
journalctl -u monchero -n 30 -o cat --no-pager | grep -q 'did you mean\|plugni' || fail 'the journal does not say what is wrong'
is mine okay || fail 'a broken configuration changed what runs'
rm /etc/monchero/conf.d/wrong.yaml
systemctl reload monchero.service
seen '`systemctl reload`: new checks at once, same process; a broken file fails it, the journal says why, what ran still runs'

say 'the journal'
touch /var/tmp/broken
until_well 30 is mine bad
until_well 30 sh -c 'journalctl -u monchero -o json | jq -se "any(.[]; .MONCHERO_CHECK == \"mine\" and .MONCHERO_STATE == \"bad\" and .MONCHERO_INCIDENT != null and ._SYSTEMD_UNIT == \"monchero.service\" and .SYSLOG_IDENTIFIER == \"monchero\" and .PRIORITY == \"6\")"'
journalctl MONCHERO_CHECK=mine -o cat --no-pager | grep -q 'state=bad' || fail 'the journal does not find by MONCHERO_CHECK'
until_well 30 sh -c 'journalctl MONCHERO_TARGET=book -o cat --no-pager | grep -q delivered'
rm /var/tmp/broken
until_well 30 is mine okay
seen "fields in the journal: $(journalctl -u monchero -o json | jq -sr '[.[] | keys[] | select(startswith("MONCHERO_"))] | unique | join(" ")')"

say 'more of what the daemon says'
mkdir -p /etc/systemd/system/monchero.service.d
block docs/operations.md 'MONCHERO_LOG=debug' >/etc/systemd/system/monchero.service.d/log.conf
systemctl daemon-reload
systemctl restart monchero.service
# Of what is said at this level, what is easily brought about: a client that leaves in the middle of its question.
perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new("/run/monchero/monchero.sock") or die; print $s "GET / HT"; close $s'
until_well 30 sh -c 'journalctl _SYSTEMD_UNIT=monchero.service PRIORITY=7 -o cat --no-pager | grep -q "a connection ended early"'
rm -r /etc/systemd/system/monchero.service.d
systemctl daemon-reload
systemctl restart monchero.service
seen 'a drop-in with `MONCHERO_LOG=debug` makes it say more (docs/operations.md)'
