#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A QEMU that runs as an ordinary user may lock only so much memory: buffers
# that do not fit are refused with the remedy, which helps; those that fit are
# charged to QEMU for as long as they are shared.
. lib/vesper.sh

# What a process may lock unless it was told otherwise, in KiB.
LIMIT=8192
locked_kb() { awk '/^VmLck/ { print $2 }' "/proc/$("$TOP/env/guest-vm" pid small)/status"; }

OWN_GUESTS=(small)
trap own_guests_end EXIT
(ulimit -S -l $LIMIT && ulimit -H -l $LIMIT &&
	guest_start small --user nobody) || fail "no guest under an ordinary user"
expect_eq "QEMU's user" "$(stat -c %U "/proc/$("$TOP/env/guest-vm" pid small)")" nobody
# The page of the heartbeat.
BEAT=4
expect_eq "locked memory before" "$(locked_kb)" $BEAT

# 16 MiB, as large as a buffer may be.
LARGE=(subbuf_size=262144 n_subbufs=64)
expect_status 3 vesper load small "$SEQ" "${LARGE[@]}"
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

# The remedy is one.
prlimit --pid "$("$TOP/env/guest-vm" pid small)" --memlock=$((2 * (16 << 20))) || fail "prlimit"
expect_status 0 vesper load small "$SEQ" "${LARGE[@]}" count=100
expect_eq "locked memory of a large channel" "$(locked_kb)" $((BEAT + 16384 + 4))
expect_status 0 vesper unload small vesper_seq
expect_eq "records of a large channel" "$(vesper cat small/vesper_seq --json | wc -l)" 100
expect_eq "locked memory after it" "$(locked_kb)" $BEAT
guest_exec small "rmmod vesper_guest" || fail "rmmod vesper_guest"
expect_eq "locked memory without the driver" "$(locked_kb)" 0
