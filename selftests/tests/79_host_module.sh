#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vesper_host cannot be removed while it is used, by a VMM or by an open file; it
# can when it is idle, and comes back.
. lib/vesper.sh

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
guest_start "$GUEST" --smp 2 || fail "no guest after that"
still_works
