#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Many laps round the buffers with a consumer that keeps up on each CPU: every
# record, by its number, arrives once and in order. The guest writes no more
# than fits until the consumers have caught up, so none may be lost.
. lib/vesper.sh
unload_on_exit vesper_seq

BURST=60	# records of about 120 bytes: half of a buffer
ROUNDS=40
load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
mkdir "$VESPER_WORK/copy"
for cpu in 0 1; do
	consume_into "$(relay_file vesper_seq $cpu)" "$VESPER_WORK/copy/stream$cpu" &
done
caught_up() { [[ $(vesper stat "$GUEST/vesper_seq" --json) != *'"unread_bytes":'[1-9]* ]]; }
for ((round = 0; round < ROUNDS; round++)); do
	guest_exec "$GUEST" "cd /sys/kernel/debug/vesper_seq && echo 0 $BURST >write &&
		echo 1 $BURST >write && echo 1 >flush" || fail "the guest cannot write records"
	wait_for 60 "the consumers to catch up" caught_up
done
for cpu in 0 1; do
	laps=$(($(guest_count vesper_seq produced $cpu) / 4))
	note "CPU $cpu: $laps laps"
	((laps >= ROUNDS / 2)) || fail "only $laps laps on CPU $cpu"
done
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
unload vesper_seq
wait
babeltrace "$VESPER_WORK/copy" | seq_check 0=$((BURST * ROUNDS)) 1=$((BURST * ROUNDS)) ||
	fail "records"
