# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What tests of the whole are made of: a host with vesper_host.ko, guests, the
# vesper tool, relay files, and ways to say what is expected. Sourced by the
# runner and by each test, in the host VM, with selftests/ as the directory.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=$TOP/build/bin:$TOP/selftests/tools:$PATH
RELAY=/sys/kernel/debug/vesper
GUEST=${GUEST:-web1}
: "${VESPER_WORK:=$(mktemp -d)}"

# ---- saying what is expected ------------------------------------------------

note() { echo "$*"; }

fail() {
	echo "FAIL: $*"
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 4
}

expect_eq() { # WHAT GOT WANTED
	[[ $2 == "$3" ]] || fail "$1: got '$2', expected '$3'"
}

expect_match() { # WHAT GOT REGEX
	[[ $2 =~ $3 ]] || fail "$1: got '$2', expected to match /$3/"
}

# A command that must fail with STATUS; its output, both streams, in $OUTPUT.
expect_status() { # STATUS COMMAND...
	local wanted=$1 status=0
	shift
	OUTPUT=$("$@" 2>&1) || status=$?
	((status == wanted)) ||
		fail "'$*' ended with $status, expected $wanted; it said: $OUTPUT"
}

# Waits until a command succeeds. The limit only bounds a test that fails.
wait_for() { # SECONDS WHAT COMMAND...
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "waited in vain for: $what"
		sleep 0.1
	done
}

# ---- host and guests --------------------------------------------------------

host_setup() {
	[[ -d /sys/module/vesper_host ]] || insmod "$TOP/host/vesper_host.ko" || return 1
	guest_running "$GUEST" || guest_start "$GUEST" --smp 2
}

guest_start() { # NAME [OPTIONS OF guest-vm start...]
	"$TOP/env/guest-vm" start "$@"
}

guest_exec() { # NAME COMMAND
	"$TOP/env/guest-vm" exec "$@"
}

guest_put() { # NAME FILE PATH
	"$TOP/env/guest-vm" put "$@"
}

guest_console() { # NAME
	"$TOP/env/guest-vm" console "$1" 2>/dev/null
}

guest_running() { # NAME
	guest_exec "$1" true >/dev/null 2>&1
}

guest_stop() { # NAME
	"$TOP/env/guest-vm" stop "$1"
}

guest_stop_all() {
	local name
	for name in $("$TOP/env/guest-vm" list); do
		"$TOP/env/guest-vm" kill "$name" >/dev/null 2>&1
	done
}

# A guest about which nothing is known is replaced.
guest_fresh() { # NAME
	"$TOP/env/guest-vm" kill "$1" >/dev/null 2>&1
	guest_start "$1" --smp 2
}

guest_qmp() { # NAME JSON
	"$TOP/env/guest-vm" qmp "$@"
}

# ---- probes and their files -------------------------------------------------

SEQ=$TOP/selftests/modules/vesper_seq/vesper_seq.ko
SIGNAL=$TOP/probes/signal/signal.ko

# Loads the probe that numbers its records, under its own name.
load_seq() { # PARAM=VALUE...
	vesper load "$GUEST" "$SEQ" "$@" || fail "cannot load $SEQ with: $*"
}

unload() { # MODULE
	vesper unload "$GUEST" "$1" || fail "cannot unload $1"
}

# Leaves nothing loaded, whatever happened.
unload_on_exit() { # MODULE
	# shellcheck disable=SC2064 # the name is wanted now
	trap "vesper unload '$GUEST' '$1' >/dev/null 2>&1" EXIT
}

relay_file() { # MODULE CPU
	echo "$RELAY/$GUEST/$1/cpu$2"
}

# The guest's own count of a channel, kept apart from index and relay buffer.
guest_count() { # MODULE FIELD CPU|all
	guest_exec "$GUEST" "cat /sys/kernel/debug/vesper_guest/$1/cpu/stats" |
		awk -v field="$2" -v cpu="$3" '
			/^cpu/ { for (i = 1; i <= NF; i++) name[$i] = i; next }
			$1 == cpu || cpu == "all" { sum += $name[field] }
			END { print sum + 0 }'
}
