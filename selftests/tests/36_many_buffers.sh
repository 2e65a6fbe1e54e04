#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Several probes in a guest at once, buffers of a page and of 16 MiB, each with
# its own files and its own data.
. lib/vesper.sh
unload_on_exit vesper_seq signal

load_seq subbuf_size=4096 n_subbufs=1 len=10
vesper load "$GUEST" "$SIGNAL" sig=10 comm=sleep || fail "load signal"
# There is room for what one sub-buffer takes, until it is read.
record() { vesper cat "$GUEST/vesper_seq" --json | grep -q .; }
for _ in 1 2 3; do
	seq_write 0 1 urgent
	wait_for 20 "a record in a buffer of one page" record
done
expect_eq "records dropped" "$(guest_count vesper_seq lost all)" 0
guest_exec "$GUEST" 'sleep 100 & sleep 1; kill -USR1 $!'
signalled() { (($(guest_count signal written all) > 0)); }
wait_for 20 "the signal" signalled
expect_match "signal" "$(vesper cat "$GUEST/signal")" 'SIGUSR1'
unload vesper_seq

load_seq subbuf_size=$((2 << 20)) n_subbufs=8 len=4000 switch_ms=600000
seq_write 0 3000
seq_write 1 3000
seq_flush
for cpu in 0 1; do
	wanted=$(seq_expected_sum $cpu $((2 << 20)))
	cat "$(relay_file vesper_seq $cpu)" >"$VESPER_WORK/got"
	(($(stat -c %s "$VESPER_WORK/got") > 12000000)) || fail "only $(stat -c %s "$VESPER_WORK/got") bytes"
	expect_eq "checksum of what was read of CPU $cpu" "$(sha256sum <"$VESPER_WORK/got" | cut -d' ' -f1)" "$wanted"
done
