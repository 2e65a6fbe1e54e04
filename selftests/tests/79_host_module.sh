#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vesper_host cannot be removed while it is used, by a VMM or by an open file; it
# can when it is idle, and comes back. What its parameters say of heartbeats is what a
# new domain begins with, and nonsense is refused.
. lib/vesper.sh
. lib/heartbeat.sh

refused() { # BY-WHAT
	expect_status 1 rmmod vesper_host
	expect_match "$1" "$OUTPUT" 'in use'
}

refused "a VMM is attached"
load_seq n_subbufs=4
seq_write 0 10
seq_flush
exec 5<"$(relay_file vesper_seq 0)"
guest_stop "$GUEST"
refused "a relay file is open"
cat <&5 >/dev/null
exec 5<&-
vesper cat "$GUEST/vesper_seq" >/dev/null 2>&1
cat "$RELAY/$GUEST"/vesper_seq/* >/dev/null 2>&1
for _ in 1 2; do
	rmmod vesper_host || fail "an idle vesper_host cannot be removed: $(lsmod | grep vesper)"
	[[ ! -e /dev/vesper && ! -e $RELAY ]] || fail "something is left of it"
	insmod "$HOST_TOP/host/vesper_host.ko" || fail "vesper_host does not come back"
done
rmmod vesper_host || fail "an idle vesper_host cannot be removed: $(lsmod | grep vesper)"
# Shorter than two periods, which are of 100 ms if nothing is said.
expect_status 1 insmod "$HOST_TOP/host/vesper_host.ko" heartbeat_threshold_ms=199
insmod "$HOST_TOP/host/vesper_host.ko" heartbeat_threshold_ms=3000 heartbeat_period_ms=250 ||
	fail "vesper_host does not come back"
guest_start "$GUEST" --no-wait || fail "no guest"
wait_for 30 "its domain" vesper heartbeat "$GUEST"
expect_eq "threshold, as the module was told" "$(heartbeat threshold_ms)" 3000
expect_eq "period, as the module was told" "$(heartbeat period_ms)" 250
"$TOP/env/guest-vm" kill "$GUEST"
wait_for 20 "the module to be removed" rmmod vesper_host
insmod "$HOST_TOP/host/vesper_host.ko" || fail "vesper_host does not come back"
guest_start "$GUEST" --smp 2 || fail "no guest after that"
expect_eq "threshold, if nothing is said" "$(heartbeat threshold_ms)" 2000
still_works

# What nobody has read of a guest that is gone goes with the module, and that is said.
load_seq n_subbufs=4
seq_write 0 10
seq_flush
"$TOP/env/guest-vm" kill "$GUEST"
kept() { vesper domains --json | grep -qE "\"domain\":\"$GUEST\".*\"state\":\"dead\""; }
wait_for 20 "the guest's death to be noticed" kept
host_log_mark
rmmod vesper_host || fail "an idle vesper_host cannot be removed: $(lsmod | grep vesper)"
expect_match "what is said of it" "$(host_log_since)" \
	"vesper_host: $GUEST: [1-9][0-9]* bytes that nobody has read go with the module"
insmod "$HOST_TOP/host/vesper_host.ko" || fail "vesper_host does not come back"
guest_start "$GUEST" --smp 2 || fail "no guest after that"
