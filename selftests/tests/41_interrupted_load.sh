#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A load that times out or is broken off leaves nothing stuck, on either side.
. lib/vesper.sh
unload_on_exit vesper_seq

qemu=$("$TOP/env/guest-vm" pid "$GUEST")
kill -STOP "$qemu"
expect_status 4 vesper load "$GUEST" "$SEQ" --timeout 1s
expect_match "time-out" "$OUTPUT" 'timed out|time'
vesper load "$GUEST" "$SIGNAL" 2>"$VESPER_WORK/interrupted" &
load=$!
sleep 1
kill -INT $load
wait $load && fail "an interrupted load succeeded"
note "$(cat "$VESPER_WORK/interrupted")"
# The node is not blocked for others meanwhile.
vesper domains >/dev/null || fail "vesper domains hangs on a stopped guest"
kill -CONT "$qemu"

# What was begun either never happens or ends in the list; then all is as usual.
settled() { [[ $(vesper list "$GUEST" --json) != *loading* ]]; }
wait_for 60 "the guest to settle" settled
vesper unload "$GUEST" vesper_seq >/dev/null 2>&1
vesper unload "$GUEST" signal >/dev/null 2>&1
load_seq n_subbufs=4
seq_write 0 1 urgent
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 1
