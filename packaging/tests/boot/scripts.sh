# shellcheck shell=sh
# More rights for what scripts do, for secrets and for `run_as`, by the drop-ins that docs/operations.md names.

say restart-units.rules
cat >/etc/systemd/system/shop.service <<'UNIT'
[Service]
ExecStart=/bin/sleep infinity
UNIT
systemctl daemon-reload
systemctl start shop.service
program shop <<'SH'
#!/bin/sh
[ ! -e /var/tmp/shop-broken ] || { echo broken; exit 2; }
SH
config shop <<'YAML'
defaults: { interval: 1s, retries: 0, flapping: false }
checks:
  shop: { plugin: /usr/local/lib/monchero/shop, labels: { unit: shop.service }, actions: [restart] }
actions:
  restart: { script: [/usr/lib/monchero/actions/restart-unit], on: [bad], timeout: 2m }
YAML
systemctl reload monchero.service
break_shop() {
    until_well 30 is shop okay
    touch /var/tmp/shop-broken
    until_well 30 is shop bad
    until_well 60 sh -c "monchero show shop --json | jq -e '.recent_actions | length == $1 and all(.[]; .ended != null)'"
    rm /var/tmp/shop-broken
}
pid=$(systemctl show --value -p MainPID shop.service)
break_shop 1
[ "$(systemctl show --value -p MainPID shop.service)" = "$pid" ] || fail 'shop.service was restarted without a rule'
printed() { monchero show shop --json | jq -r '.recent_actions[].output'; }
printed | grep -q 'Interactive authentication required' || fail "it is not said why the unit could not be restarted: $(printed)"
example restart-units.rules >/etc/polkit-1/rules.d/60-monchero.rules
chmod 644 /etc/polkit-1/rules.d/60-monchero.rules
systemctl restart polkit.service
break_shop 2
[ "$(systemctl show --value -p MainPID shop.service)" != "$pid" ] || fail "shop.service was not restarted: $(printed)"
systemctl is-active --quiet shop.service || fail 'shop.service does not run'
seen 'restart-units.rules: without it "Interactive authentication required"; with it `restart-unit` restarts the unit, without sudo'

say background.conf
program leave <<'SH'
#!/bin/sh
setsid sleep 5151 >/dev/null 2>&1 </dev/null &
SH
config shop <<'YAML'
defaults: { interval: 1s, retries: 0, flapping: false }
checks:
  shop: { plugin: /usr/local/lib/monchero/shop, actions: [leave] }
actions:
  leave: { script: { run: [/usr/local/lib/monchero/leave], allow_background: true }, on: [bad] }
YAML
mkdir -p "$dropins"
example background.conf >"$dropins/background.conf"
restart background.conf
until_well 30 is shop okay
touch /var/tmp/shop-broken
until_well 60 pgrep -f 'sleep 5151'
rm /var/tmp/shop-broken
left=$(pgrep -f 'sleep 5151')
restart background.conf
kill -0 "$left" || fail 'what a script left ended with the daemon, with background.conf'
rm -r "$dropins"
systemctl daemon-reload
systemctl restart monchero.service
! kill -0 "$left" 2>/dev/null || fail 'what a script left outlives the daemon without background.conf'
seen 'background.conf: what a script left outlives a restart with it, and ends with the daemon without it'

say secrets.conf
install -d -m 700 /etc/monchero/secrets
echo hunter2 >/etc/monchero/secrets/smtp
chmod 600 /etc/monchero/secrets/smtp
config shop <<'YAML'
actions:
  ops: { webhook: { url: "http://localhost:9/", headers: { Authorization: { credential: smtp } } } }
YAML
! systemctl reload monchero.service 2>/dev/null || fail 'a secret was read without its credential'
mkdir -p "$dropins"
example secrets.conf >"$dropins/secrets.conf"
restart secrets.conf
systemctl reload monchero.service || fail 'the credential was not read'
is self/config okay || fail "self/config: $(monchero status self/config)"
rm -r "$dropins"
seen 'secrets.conf: a credential that only root can read on disk is read with it'

say root.conf
config shop <<'YAML'
defaults: { interval: 1h, retries: 0 }
checks:
  who: { plugin: { command: /usr/local/lib/monchero/who, run_as: you } }
YAML
program who <<'SH'
#!/bin/sh
[ "$(id -un)" = you ] || { echo "runs as $(id -un)"; exit 2; }
SH
restart 'no drop-in'
[ "$(run who)" != okay ] || fail '`run_as` works without root.conf'
mkdir -p "$dropins"
example root.conf >"$dropins/root.conf"
restart root.conf
[ "$(run who)" = okay ] || fail "\`run_as\` with root.conf: $(cat /run/boot/last)"
rm -r "$dropins"
restart 'no drop-in'
for check in disks mine; do until_well 60 is $check okay; done
seen 'root.conf: `run_as` works with it; back without it, the state is still the daemon'"'"'s'
rm /etc/monchero/conf.d/shop.yaml
systemctl reload monchero.service
