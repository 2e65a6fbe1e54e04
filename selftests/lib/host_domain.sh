# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests of the host as a domain. After host_domain, the functions of
# vesper.sh that are about "the guest" are about the host.

ON_GUEST=$GUEST
# What such a test loads, in whatever order.
HOST_PROBES='vesper_seq signal vesper_feed memory process net any sched blockio fs panic'

# Where a test is, in the host's log too: that is what is left of a machine that
# stops in the middle of it.
host_step() {
	note "$*"
	echo "host_domain: $*" >/dev/kmsg
}

host_domain_up() {
	trap host_domain_end EXIT
	insmod "$HOST_TOP/guest/vesper_guest.ko" || fail "no vesper_guest on the host"
	insmod "$HOST_TOP/local/vesper_local.ko" || fail "the host does not become a domain"
}

host_domain_down() {
	rmmod vesper_local || fail "something keeps the host's own domain"
	rmmod vesper_guest || fail "something keeps the host's vesper_guest"
}

# shellcheck disable=SC2034 # used by the tests
host_domain() {
	GUEST=host
	SEQ=$HOST_TOP/selftests/modules/vesper_seq/vesper_seq.ko
	SIGNAL=$HOST_TOP/probes/signal/signal.ko
	export VESPER_PROBES=$HOST_TOP/probes
}

# A process for a signal that ends it: VICTIM. Not before it runs its own program:
# a child of bash that a signal finds earlier runs the EXIT trap of the test, which
# takes the host's domain down, or sleeps on.
host_victim() {
	sleep 1000 &
	VICTIM=$!
	wait_for 20 "the victim's program" grep -qx sleep "/proc/$VICTIM/comm"
}

# A process of a memory cgroup below CGROUP/eater that wants more than all of it may have, and is
# killed for it: EATER. Ended by host_group_end.
host_group_eats() {
	CGROUP=$VESPER_WORK/cgroup
	mkdir "$CGROUP"
	mount -t cgroup2 cgroup "$CGROUP" || fail "no cgroup2"
	echo +memory >"$CGROUP/cgroup.subtree_control" || fail "no memory controller"
	mkdir "$CGROUP/eater"
	echo 12M >"$CGROUP/eater/memory.max"
	# dd's buffer is larger than that.
	sh -c 'echo $$ >"$1"; exec dd if=/dev/zero of=/dev/null bs=48M count=1' \
		sh "$CGROUP/eater/cgroup.procs" &
	EATER=$!
	wait "$EATER" 2>/dev/null && fail "it had enough memory"
}

host_group_end() {
	[[ -n ${CGROUP:-} ]] || return
	rmdir "$CGROUP/eater"
	umount "$CGROUP"
}

host_fact() { # FIELD OF vesper domains --json
	vesper domains --json | python3 -c '
import json, sys
print(*(d[sys.argv[1]] for d in json.load(sys.stdin) if d["domain"] == "host"))' "$1"
}

# What a test that failed has left.
host_domain_clear() {
	local module
	for GUEST in "$ON_GUEST" host; do
		for module in $HOST_PROBES; do
			vesper unload "$GUEST" "$module" >/dev/null 2>&1
		done
		read_away
	done
	find "$RELAY"/host@* -type f -exec cat {} + >/dev/null 2>&1
	for module in $HOST_PROBES vesper_local vesper_guest; do
		rmmod "$module" 2>/dev/null
	done
}

host_domain_end() {
	local status=$?
	host_step "ends with $status"
	host_domain_clear
	exit "$status"
}

unload_on_exit() { :; }

guest_exec() { # NAME COMMAND
	case $1 in
	host) bash -c "$2" ;;
	*) "$TOP/env/guest-vm" exec "$@" ;;
	esac
}
