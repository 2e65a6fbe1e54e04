#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A CPU of the guest goes and comes while it streams, with a record left in its
# open sub-buffer each time: no record of it is lost, nor of the others.
. lib/vesper.sh
unload_on_exit vesper_seq

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
still_works
