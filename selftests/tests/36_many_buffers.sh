#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Several probes in a guest at once, buffers of a page and of 16 MiB, each with
# its own files and its own data.
. lib/vesper.sh
unload_on_exit vesper_seq signal

load_seq subbuf_size=4096 n_subbufs=1 len=10
vesper load "$GUEST" "$SIGNAL" sig=10 comm=sleep || fail "load signal"
seq_write 0 3 urgent
guest_exec "$GUEST" 'sleep 100 & sleep 1; kill -USR1 $!'
signalled() { (($(guest_count signal written all) > 0)); }
wait_for 20 "the signal" signalled
expect_match "signal" "$(vesper cat "$GUEST/signal")" 'SIGUSR1'
(($(vesper cat "$GUEST/vesper_seq" --json | wc -l) > 0)) || fail "no record of vesper_seq"
unload vesper_seq

load_seq subbuf_size=$((2 << 20)) n_subbufs=8 len=4000 switch_ms=600000
seq_write 1 3000
seq_flush
wanted=$(seq_expected_sum 1 $((2 << 20)))
cat "$(relay_file vesper_seq 1)" >"$VESPER_WORK/got"
(($(stat -c %s "$VESPER_WORK/got") > 12000000)) || fail "only $(stat -c %s "$VESPER_WORK/got") bytes"
expect_eq "checksum of what was read" "$(sha256sum <"$VESPER_WORK/got" | cut -d' ' -f1)" "$wanted"
