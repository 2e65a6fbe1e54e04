#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A CPU of the guest goes and comes while it streams, with a record left in its
# open sub-buffer each time: no record of it is lost, nor of the others. A record that it
# has left is not kept waiting for ever when it is back, and a probe that is hit while it
# goes can be unloaded while it is away.
. lib/vesper.sh
unload_on_exit vesper_seq any

online=/sys/devices/system/cpu/cpu1/online
trap 'guest_exec "$GUEST" "echo 1 >$online"; unload_all' EXIT
load_stream
follow "$VESPER_WORK/copy"
for _ in 1 2 3; do
	sleep 0.3
	seq_write 1 1
	guest_exec "$GUEST" "echo 0 >$online" || fail "CPU 1 does not go"
	guest_exec "$GUEST" "echo '1 1' >/sys/kernel/debug/vesper_seq/write" 2>/dev/null &&
		fail "CPU 1 is still there"
	sleep 0.3
	guest_exec "$GUEST" "echo 1 >$online" || fail "CPU 1 does not come back"
	seq_write 1 5
done
first=$(seq_number 0) second=$(seq_number 1)
expect_eq "lost" "$(guest_count vesper_seq lost all)" 0
unload vesper_seq
followed
babeltrace "$VESPER_WORK/copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"

# A CPU that was away when the channel was opened gets its buffer when it comes.
guest_exec "$GUEST" "echo 0 >$online" || fail "CPU 1 does not go"
load_seq n_subbufs=4
[[ ! -e $(relay_file vesper_seq 1) ]] || fail "a file for a CPU that is away"
guest_exec "$GUEST" "echo 1 >$online" || fail "CPU 1 does not come back"
wait_for 20 "the file of CPU 1" test -e "$(relay_file vesper_seq 1)"
seq_write 1 7
seq_flush
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 7
unload vesper_seq

# It is back before the time is over that its record may wait: its timer has gone elsewhere.
load_seq n_subbufs=4 switch_ms=3000
guest_exec "$GUEST" "echo '1 3' >/sys/kernel/debug/vesper_seq/write
	echo 0 >$online; echo 1 >$online" || fail "CPU 1 does not go and come"
closed() { vesper cat "$GUEST/vesper_seq" --json >>"$VESPER_WORK/late"; [[ $(wc -l <"$VESPER_WORK/late") == 3 ]]; }
wait_for 60 "the records to be shown" closed
unload vesper_seq

# The CPU's last steps, when it is not online any more.
vesper load "$GUEST" any at=sched_cpu_dying,complete urgent=1 || fail "load any"
guest_exec "$GUEST" "echo 0 >$online" || fail "CPU 1 does not go"
unload any
note "records that were dropped: $(vesper cat "$GUEST/any" 2>&1 >/dev/null | tail -n 1)"
guest_exec "$GUEST" "echo 1 >$online" || fail "CPU 1 does not come back"
still_works
