#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest reboots under a probe that streams, twice. The files of the kernel that
# went end with its last record; the one that comes begins afresh.
. lib/vesper.sh
own_guest rebooter --smp 2

boot() { guest_exec --timeout 20 "$GUEST" 'cat /proc/sys/kernel/random/boot_id'; }
again() { local now; now=$(boot) && [[ -n $now && $now != "$old" ]]; }

for round in 1 2; do
	copy=$VESPER_WORK/$round
	load_stream
	follow "$copy"
	sleep 1
	old=$(boot) first=$(seq_number 0) second=$(seq_number 1)
	guest_exec --timeout 5 "$GUEST" 'reboot -f' >/dev/null 2>&1
	followed
	babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"
	wait_for 120 "the guest to come back" again
	expect_eq "pages lent" "$(lent_pages)" 0
	expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
	still_works
done
