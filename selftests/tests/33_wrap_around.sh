#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Many laps round the buffers with consumers that keep up: every record, by its
# number, arrives once and in order, on each CPU.
. lib/vesper.sh
unload_on_exit vesper_seq

load_seq subbuf_size=4096 n_subbufs=4 len=100 rate=4 tick_us=10000
mkdir "$VESPER_WORK/copy"
for cpu in 0 1; do
	consume_into "$(relay_file vesper_seq $cpu)" "$VESPER_WORK/copy/stream$cpu" &
done
laps() { (($(guest_count vesper_seq produced "$1") >= 4 * ${LAPS:-20})); }
wait_for 120 "laps on CPU 0" laps 0
wait_for 120 "laps on CPU 1" laps 1
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
unload vesper_seq
wait
numbers=$(babeltrace "$VESPER_WORK/copy" | tee "$VESPER_WORK/all" | wc -l)
for cpu in 0 1; do
	count[cpu]=$(grep -c ", cpu = $cpu," "$VESPER_WORK/all")
	((count[cpu] > 4 * 20 * 4)) || fail "CPU $cpu: only ${count[cpu]} records"
done
seq_check 0="${count[0]}" 1="${count[1]}" <"$VESPER_WORK/all" || fail "records"
note "$numbers records in all"
