# shellcheck shell=sh
# What the parts share: saying, waiting, and reading commands from the documents.

say() { echo "boot: $*"; }

# A line of the table that `cargo xtask dist --boot` ends with.
seen() { echo "seen: $*"; }

fail() {
    journalctl -u monchero -n 40 --no-pager -o short-precise || :
    say "FAILED: $*"
    exit 1
}

# Seconds since the machine was started, in hundredths.
now() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }

# The seconds since `now` was this.
since() { took=$(($(now) - $1)); printf '%d.%02d s' $((took / 100)) $((took % 100)); }

# until_well SECONDS COMMAND..: repeats the command until it ends well. Emulated machines are ten times slower than others.
until_well() {
    seconds=$1
    shift
    end=$(($(now) + seconds * 100))
    until "$@" >/run/boot/last 2>&1; do
        if [ "$(now)" -gt "$end" ]; then
            cat /run/boot/last
            fail "not within $seconds s: $*"
        fi
        sleep 0.2
    done
}

# The first block of a document that has this text.
block() {
    awk -v wanted="$2" '
        /^```/ { if (inside && index(text, wanted)) { printf "%s", text; found = 1; exit }; inside = !inside; text = ""; next }
        inside { text = text $0 "\n" }
        END { exit !found }' "$1" || fail "$1 has no block with: $2"
}

# Runs a command that a document shows within a sentence, with other names if they are given as `sed` has it.
documented() {
    grep -qF -- "$2" "$1" || fail "$1 does not say: $2"
    sh -euc "$(printf '%s\n' "$2" | sed "${3:-}")"
}

property() { systemctl show --value -p "$1" monchero.service; }

# Whether the daemon answers; its state may be any.
answers() {
    answer=0
    "$@" monchero status >/run/boot/answer 2>&1 || answer=$?
    [ "$answer" -lt 4 ]
}

# What a check was found to be, or nothing.
state_of() { monchero status "$1" --json | jq -r '.checks[0].state // empty'; }
is() { [ "$(state_of "$1")" = "$2" ]; }

# The incident of a check, and what was written about it into the book of tests.
incident_of() { monchero show "$1" --json | jq -r '.incident.id // empty'; }
told() { jq -r 'select(.bulletin == null) | .kind + " " + .event.incident.id' /var/log/monchero/book; }

# Runs a check and says what it is then.
run() { monchero run "$1" >/run/boot/last 2>&1 || :; state_of "$1"; }

config() {
    cat >"/etc/monchero/conf.d/$1.yaml"
    chown root:monchero "/etc/monchero/conf.d/$1.yaml"
    chmod 640 "/etc/monchero/conf.d/$1.yaml"
}

# program NAME: a plugin from standard input.
program() {
    mkdir -p /usr/local/lib/monchero
    cat >"/usr/local/lib/monchero/$1"
    chmod 755 "/usr/local/lib/monchero/$1"
}

expect_mode() { [ "$(stat -c '%a %U:%G' "$1")" = "$2" ] || fail "$1 is $(stat -c '%a %U:%G' "$1"), not $2"; }

# How often the daemon was started since this moment (`date +%s`).
starts_since() { journalctl -u monchero --since "@$1" -o json | jq -r 'select(.JOB_TYPE == "start" and .JOB_RESULT == "done") | .JOB_RESULT' | wc -l; }

# Whether every check has a result and is okay.
all_okay() { monchero status >/run/boot/answer 2>&1 && ! grep -q pending /run/boot/answer; }

# A check that is bad while /var/tmp/broken exists, and a book of what is told about it.
a_check_to_break() {
    program mine <<'SH'
#!/bin/sh
[ ! -e /var/tmp/broken ] || { echo broken; exit 2; }
echo whole
SH
    config mine <<'YAML'
defaults: { interval: 1s, retries: 0, flapping: false, actions: [book] }
checks:
  mine: { plugin: /usr/local/lib/monchero/mine }
actions:
  book: { file: { path: /var/log/monchero/book } }
YAML
}

# The drop-ins that the packages bring, and where they go.
examples=/usr/share/doc/monchero/examples
dropins=/etc/systemd/system/monchero.service.d

example() { if [ -e "$examples/$1" ]; then cat "$examples/$1"; else gzip -dc "$examples/$1.gz"; fi; }

# Puts drop-ins in force as the document says. Takes what is in force then.
restart() {
    documented docs/operations.md 'systemctl daemon-reload && systemctl restart monchero'
    answers || fail "no status with $1"
}
