#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A QEMU that runs as an ordinary user may lock only so much memory: buffers
# that do not fit are refused with the remedy, those that fit are charged to
# QEMU for as long as they are shared.
. lib/vesper.sh

LIMIT=$((1 << 20))
locked_kb() { awk '/^VmLck/ { print $2 }' "/proc/$("$TOP/env/guest-vm" pid small)/status"; }

trap '"$TOP/env/guest-vm" kill small' EXIT
(ulimit -S -l $((LIMIT / 1024)) && ulimit -H -l $((LIMIT / 1024)) &&
	guest_start small --user nobody) || fail "no guest under an ordinary user"
expect_eq "QEMU's user" "$(stat -c %U "/proc/$("$TOP/env/guest-vm" pid small)")" nobody
# The page of the heartbeat.
BEAT=4
expect_eq "locked memory before" "$(locked_kb)" $BEAT

expect_status 3 vesper load small "$SEQ" subbuf_size=262144 n_subbufs=8
expect_match "too much, the cause" "$OUTPUT" "buffers can't be shared: .*\(ENOMEM\)"
expect_match "too much, the guest's sentence" "$OUTPUT" 'RLIMIT_MEMLOCK'
expect_match "too much, the remedy" "$OUTPUT" 'LimitMEMLOCK='
expect_eq "modules after the refusal" "$(vesper list small --json)" "[]"
expect_eq "locked memory after the refusal" "$(locked_kb)" $BEAT

# One CPU: 16 pages and the index page.
expect_status 0 vesper load small "$SEQ" subbuf_size=16384 n_subbufs=4 count=100
expect_eq "locked memory while shared" "$(locked_kb)" $((BEAT + 17 * 4))
wait_for 20 "records" relay_wait "$RELAY/small/vesper_seq/cpu0" 100
expect_eq "records" "$(vesper cat small/vesper_seq --json | wc -l)" 100
expect_status 0 vesper unload small vesper_seq
expect_eq "locked memory after the unload" "$(locked_kb)" $BEAT
guest_exec small "rmmod vesper_guest" || fail "rmmod vesper_guest"
expect_eq "locked memory without the driver" "$(locked_kb)" 0
