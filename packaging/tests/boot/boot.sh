#!/bin/sh
# Runs in a machine that `cargo xtask dist --boot` started, as root, beside a real systemd: every part once, in order. What stands on the
# disk of this machine is thrown away with it.
set -eu
# shellcheck source=packaging/tests/boot/lib.sh
. ./lib.sh

# In this order; `reboot` is one.
PARTS='deb trouble reboot upgrade rights scripts remove rpm'

part=
trap '[ $? = 0 ] || say "FAILED: $part ended"' EXIT
for part in $PARTS; do
    done=/var/lib/monchero-boot/$part
    [ ! -e "$done" ] || continue
    mkdir -p "$(dirname "$done")"
    : >"$done"
    sync
    if [ "$part" = reboot ]; then
        say 'rebooting'
        systemctl reboot
        sleep infinity
    fi
    say "$part"
    # A fast machine restarts it more often within five minutes than the unit allows.
    systemctl reset-failed monchero.service 2>/dev/null || :
    # shellcheck source=/dev/null
    . "./$part.sh"
done
say 'all is well'
