#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A full buffer with no reader: the guest drops and counts, nothing else; what
# is there stays, and after a reader has drained it the buffer fills again.
. lib/record.sh
unload_on_exit vesper_seq

stat_field() { # FIELD, of CPU 0
	vesper stat "$GUEST/vesper_seq" --json | tr -d '\n ' | tr '{' '\n' |
		sed -n 's/.*"buffer":0,.*"'"$1"'":\([0-9]*\).*/\1/p'
}

load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
seq_write 0 1000
lost=$(guest_count vesper_seq lost 0)
written=$(guest_count vesper_seq written 0)
note "no reader: $written written, $lost lost"
((lost > 800)) || fail "only $lost of 1000 records lost in 16 KiB"
expect_eq "written and lost" $((written + lost)) 1000
expect_eq "sub-buffers produced" "$(stat_field produced)" 4
expect_eq "lost, as the host sees it" "$(stat_field lost)" "$lost"

mkdir "$VESPER_WORK/copy"
cat "$(relay_file vesper_seq 0)" >"$VESPER_WORK/copy/stream0"
expect_eq "sub-buffers consumed" "$(stat_field consumed)" 4
seq_write 0 60
seq_flush
cat "$(relay_file vesper_seq 0)" >>"$VESPER_WORK/copy/stream0"
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
expect_eq "lost after the reader came" "$(guest_count vesper_seq lost 0)" "$lost"

# babeltrace2 says how many were discarded: that is what it is for here.
expect_eq "events discarded" "$(discarded events "$VESPER_WORK/copy")" "$lost"
expect_eq "packets discarded" "$(discarded packets "$VESPER_WORK/copy")" 0
trace_records "$VESPER_WORK/copy"
expect_match "babeltrace2 on lost records" "$(cat "$VESPER_WORK/records.err")" "discarded $lost event"
seq_check 0=1060-"$lost" <"$VESPER_WORK/records" || fail "records"
