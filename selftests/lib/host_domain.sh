# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests of the host as a domain. After host_domain, the functions of
# vesper.sh that are about "the guest" are about the host.

ON_GUEST=$GUEST

# Where a test is, in the host's log too: that is what is left of a machine that
# stops in the middle of it.
host_step() {
	note "$*"
	echo "host_domain: $*" >/dev/kmsg
}

# What everybody waits for, should the test take too long.
host_watchdog() { # SECONDS
	sleep "$1"
	host_step "takes too long"
	echo w >/proc/sysrq-trigger
	echo l >/proc/sysrq-trigger
}

host_domain_up() {
	trap host_domain_end EXIT
	host_watchdog 150 &
	WATCHDOG=$!
	insmod "$TOP/guest/vesper_guest.ko" || fail "no vesper_guest on the host"
	insmod "$TOP/local/vesper_local.ko" || fail "the host does not become a domain"
}

host_domain_down() {
	rmmod vesper_local || fail "something keeps the host's own domain"
	rmmod vesper_guest || fail "something keeps the host's vesper_guest"
}

host_domain() { GUEST=host; }

host_fact() { # FIELD OF vesper domains --json
	vesper domains --json | python3 -c '
import json, sys
print(*(d[sys.argv[1]] for d in json.load(sys.stdin) if d["domain"] == "host"))' "$1"
}

# What a test that failed has left.
host_domain_end() {
	local status=$? module
	host_step "ends with $status"
	kill "$WATCHDOG" 2>/dev/null
	for GUEST in "$ON_GUEST" host; do
		for module in vesper_seq signal vesper_feed; do
			vesper unload "$GUEST" "$module" >/dev/null 2>&1
		done
		read_away
	done
	find "$RELAY"/host@* -type f -exec cat {} + >/dev/null 2>&1
	for module in vesper_seq signal vesper_feed vesper_local vesper_guest; do
		rmmod "$module" 2>/dev/null
	done
	exit "$status"
}

unload_on_exit() { :; }

guest_exec() { # NAME COMMAND
	case $1 in
	host) bash -c "$2" ;;
	*) "$TOP/env/guest-vm" exec "$@" ;;
	esac
}
