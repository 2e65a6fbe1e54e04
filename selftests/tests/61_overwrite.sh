#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Flight recorder: when nobody reads, the newest sub-buffers are there, in order
# and without a gap, and what was written over is counted; with a reader at work
# beside the writer nothing is torn; and the death of QEMU changes nothing.
. lib/record.sh
unload_on_exit vesper_seq

stat_field() { # FIELD, of CPU 0
	vesper stat "$GUEST/vesper_seq" --json | tr -d '\n ' | tr '{' '\n' |
		sed -n 's/.*"buffer":0,.*"'"$1"'":\([0-9]*\).*/\1/p'
}

# Nobody reads, for many laps.
load_seq overwrite=1 subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
seq_write 0 3000
seq_flush
produced=$(stat_field produced)
((produced > 50)) || fail "only $produced sub-buffers"
expect_eq "lost" "$(guest_count vesper_seq lost 0)" 0
expect_eq "lapped" "$(stat_field lapped)" $((produced - 7))
expect_eq "consumed" "$(stat_field consumed)" $((produced - 7))
expect_match "the table" "$(vesper stat "$GUEST/vesper_seq")" "overwrite +$produced +$((produced - 7)) +0 +$((produced - 7)) "
mkdir "$VESPER_WORK/copy"
cat "$(relay_file vesper_seq 0)" >"$VESPER_WORK/copy/stream0"
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
babeltrace "$VESPER_WORK/copy" >"$VESPER_WORK/records"
seq_check 0=3000-first <"$VESPER_WORK/records" || fail "records"
records=$(wc -l <"$VESPER_WORK/records")
((records > 6 * 20)) || fail "only $records records in 7 sub-buffers"

# It goes on from there, for vesper cat.
seq_write 0 3000
seq_flush
vesper cat "$GUEST/vesper_seq" --json >"$VESPER_WORK/json" || fail "vesper cat"
expect_match "the last record" "$(tail -1 "$VESPER_WORK/json")" '"number": ?5999\b'
unload vesper_seq

# Readers beside a writer who never waits.
load_seq overwrite=1 subbuf_size=4096 n_subbufs=4 len=100 rate=40 tick_us=10000
mkdir "$VESPER_WORK/live"
for ((i = 0; i < 20; i++)); do
	cat "$(relay_file vesper_seq 0)" >>"$VESPER_WORK/live/stream0"
	sleep 0.$((i % 4))
done
unload vesper_seq
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/live/" 2>"$VESPER_WORK/err"
lapped=$(stat_field lapped)
cat "$(relay_file vesper_seq 0)" >>"$VESPER_WORK/live/stream0"
[[ -s $VESPER_WORK/live/metadata ]] || fail "no metadata: $(cat "$VESPER_WORK/err")"
# What the host counted as lapped are the packets that babeltrace2 finds missing, and those
# before the first that was read, of which it can't know: they are in that one's head.
((${lapped:=0} > 0)) || fail "nothing was written over: the test shows nothing"
before=$(od -An -t u8 -j 64 -N 8 "$VESPER_WORK/live/stream0")
expect_eq "packets discarded by a running writer" \
	$((before + $(discarded packets "$VESPER_WORK/live"))) "$lapped"
expect_eq "events discarded" "$(discarded events "$VESPER_WORK/live")" 0
trace_records "$VESPER_WORK/live"
last=$(tail -1 "$VESPER_WORK/records" | sed -n 's/.*number = \([0-9]*\).*/\1/p')
seq_check 0=$((last + 1))-any <"$VESPER_WORK/records" || fail "records of a running writer"
((last + 1 > $(wc -l <"$VESPER_WORK/records"))) || fail "no record is missing"
note "live: $(wc -l <"$VESPER_WORK/records") records of $((last + 1)), $lapped packets written over, $((before)) of them before the first"

# QEMU is killed.
guest_start over1 --smp 1
vesper load over1 "$SEQ" overwrite=1 subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000 count=2000 ||
	fail "load"
"$TOP/env/guest-vm" kill over1
cp -r "$RELAY/over1/vesper_seq" "$VESPER_WORK/dead" || fail "cp"
babeltrace "$VESPER_WORK/dead" | seq_check 0=2000-first || fail "records of the dead guest"
wait_for 20 "the drained files to go" test ! -e "$RELAY/over1"
