# shellcheck shell=sh
# What the sandbox forbids, and the drop-in that docs/operations.md names for it: each fails without and works with it.

# with DROPIN CHECK [SED]: the check is not okay without the drop-in, and okay with it.
with() {
    say "$1"
    grep -qF "\`$1\`" docs/operations.md || fail "docs/operations.md does not name $1"
    [ "$(run "$2")" != okay ] || fail "$2 is okay without $1"
    without=$(monchero status "$2" --json | jq -r '.checks[0].message')
    mkdir -p "$dropins"
    example "$1" | sed "${3:-}" >"$dropins/$1"
    restart "$1"
    [ "$(run "$2")" = okay ] || fail "$2 is not okay with $1: $(cat /run/boot/last)"
    rm -r "$dropins"
    restart 'no drop-in'
    seen "$1: without it \"$(printf %.100s "$without")\"; with it okay"
}

install -m 4755 /usr/bin/id /usr/local/lib/who
program euid <<'SH'
#!/bin/sh
who=$(/usr/local/lib/who -u)
[ "$who" = 0 ] || { echo "a setuid program runs as $who"; exit 2; }
SH
program machine-code <<'SH'
#!/usr/bin/perl
# mmap of a page that can be written and executed.
syscall(9, 0, 4096, 7, 0x22, -1, 0) != -1 or print("mmap: $!\n"), exit 2;
SH
program write <<'SH'
#!/bin/sh
echo new >/srv/shop/cache/page 2>&1 || { echo 'cannot write'; exit 2; }
SH
program read-disk <<'SH'
#!/bin/sh
head -c 512 /dev/vda >/dev/null 2>&1 || { echo 'cannot read the disk'; exit 2; }
SH
install -d -o monchero -g monchero /srv/shop/cache
install -d -m 700 /srv/secret
echo text >/srv/secret/file
config rights <<'YAML'
defaults: { interval: 1h, retries: 0 }
checks:
  ping: { ping: 127.0.0.1 }
  euid: { plugin: /usr/local/lib/monchero/euid }
  machine-code: { plugin: /usr/local/lib/monchero/machine-code }
  write: { plugin: /usr/local/lib/monchero/write }
  read-disk: { plugin: /usr/local/lib/monchero/read-disk }
  read: { file: /srv/secret/file }
  units: { systemd: {} }
  processes-of-others: { process: { name: systemd-journald } }
  journal: { systemd: { unit: systemd-journald } }
  stale: { plugin: /usr/lib/monchero/plugins/check_stale_libraries }
  diskio: { diskio: {} }
YAML
systemctl reload monchero.service
for check in units processes-of-others journal stale diskio; do
    [ "$(run $check)" = okay ] || fail "$check in the sandbox: $(cat /run/boot/last)"
done
seen 'in the sandbox without more rights: units, processes of other users, diskio, check_stale_libraries okay'

with ping.conf ping
with setuid.conf euid
with interpreters.conf machine-code
with write-files.conf write
with read-files.conf read
# As the file says: "Name your own disks".
with smartctl.conf read-disk 's/block-sd/block-virtblk/'

say 'the sysctl that ping.conf names'
sh -euc "$(example ping.conf | sed -n 's/^#   echo/echo/p')" >/dev/null
[ "$(run ping)" = okay ] || fail "ping is not okay with the sysctl: $(cat /run/boot/last)"
rm /etc/sysctl.d/60-ping.conf
seen 'ping: okay by the sysctl that ping.conf names, with no right added'
rm /etc/monchero/conf.d/rights.yaml
systemctl reload monchero.service
