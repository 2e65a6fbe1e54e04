#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A copy of a module's directory is a trace that babeltrace2 reads without error
# or warning, with all records in it.
. lib/vesper.sh
unload_on_exit vesper_seq

load_seq len=32 n_subbufs=8
seq_write 0 250
seq_write 1 150
seq_write 0 250
seq_flush
cp -r "$RELAY/$GUEST/vesper_seq" "$VESPER_WORK/copy" || fail "cp"
babeltrace "$VESPER_WORK/copy" | seq_check 0=500 1=150 || fail "records"
expect_eq "vesper's own decoder, records" \
	"$(vesper cat --from "$VESPER_WORK/copy" --json | wc -l)" 650
expect_eq "the guest's own count" "$(guest_count vesper_seq written all)" 650
