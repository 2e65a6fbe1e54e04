#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vesper record: what babeltrace2 reads in the trace is what the guest wrote, by
# number, over many laps, and whose it is; what the guest counted as lost, also behind
# the last packet; in overwrite mode all but the packets that the host counted as lapped;
# and a full disk ends it with nothing taken that is not written.
. lib/record.sh
unload_on_exit vesper_seq
trap record_exit EXIT
DIR=$VESPER_WORK/trace

stat_field() { # FIELD, of CPU 0
	vesper stat "$GUEST/vesper_seq" --json | tr -d '\n ' | tr '{' '\n' |
		sed -n 's/.*"buffer":0,.*"'"$1"'":\([0-9]*\).*/\1/p'
}

# Many laps of both CPUs; the module's end is the recorder's.
BURST=60	# records of about 120 bytes: half of a buffer
ROUNDS=12
load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
record_start "$DIR.laps" 1 "$GUEST/vesper_seq"
for ((round = 0; round < ROUNDS; round++)); do
	guest_exec "$GUEST" "cd /sys/kernel/debug/vesper_seq && echo 0 $BURST >write &&
		echo 1 $BURST >write && echo 1 >flush" || fail "the guest cannot write records"
	wait_for 60 "the recorder to catch up" all_recorded
done
(($(stat_field produced) > ROUNDS)) || fail "only $(stat_field produced) sub-buffers"
expect_eq "lost" "$(guest_count vesper_seq lost all)" 0
unload vesper_seq
record_end "$DIR.laps"
babeltrace "$DIR.laps" | seq_check 0=$((BURST * ROUNDS)) 1=$((BURST * ROUNDS)) || fail "records"
expect_eq "vesper's own decoder, records" \
	"$(vesper cat --from "$DIR.laps/$GUEST/vesper_seq" --json | wc -l)" $((2 * BURST * ROUNDS))
# Whose they are: what babeltrace2 finds in the environment of the trace.
(trace_details "$DIR.laps") >"$VESPER_WORK/origin" || fail "$(cat "$VESPER_WORK/origin")"
origin() { # NAME
	sed -nE '/Environment/,$s/^ +'"$1"': (.*)$/\1/p' "$VESPER_WORK/origin" | sort -u
}
expect_eq "domain in the trace" "$(origin domain)" "$GUEST"
expect_eq "module in the trace" "$(origin module)" vesper_seq
expect_eq "boot id in the trace" "$(origin boot_id)" \
	"$(guest_exec "$GUEST" "cat /proc/sys/kernel/random/boot_id")"
[[ ! -e $RELAY/$GUEST/vesper_seq ]] || wait_for 20 "the files to go" test ! -e "$RELAY/$GUEST/vesper_seq"

# Records are lost before the recorder comes, and again when it has to stand still,
# with nothing behind them that would tell.
load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
seq_write 0 1000
record_start "$DIR.lost" 1 "$GUEST"
wait_for 20 "the recorder to catch up" all_recorded
seq_write 0 60
seq_flush
wait_for 20 "the recorder to catch up" all_recorded
kill -STOP "$RECORDER"
seq_write 0 500
kill -CONT "$RECORDER"
wait_for 20 "the recorder to catch up" all_recorded
lost=$(guest_count vesper_seq lost all)
((lost > 1000)) || fail "only $lost records lost"
if [[ $(vesper cat --from "$DIR.lost/$GUEST/vesper_seq" --json | grep -c lost) == 2 ]]; then
	fail "the losses are told of before the end: the test shows nothing"
fi
record_stop "$DIR.lost"
expect_eq "events discarded, after a stop" "$(discarded events "$DIR.lost")" "$lost"

# Another one goes on with it; nothing is told twice.
seq_write 0 10
record_start "$DIR.lost" 1 "$GUEST" --continue
unload vesper_seq
record_end "$DIR.lost"
expect_eq "events discarded" "$(discarded events "$DIR.lost")" "$lost"
expect_eq "packets discarded" "$(discarded packets "$DIR.lost")" 0
trace_records "$DIR.lost"
seq_check 0=1570-"$lost" <"$VESPER_WORK/records" || fail "records"
expect_status 1 vesper record "$GUEST" -o "$DIR.lost" --wait --for 0
expect_match "a directory that is not empty" "$OUTPUT" "--continue"

# Overwrite mode: one packet, then far more than a lap while nobody reads, then a
# writer that never waits.
load_seq overwrite=1 subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
record_start "$DIR.over" 1 "$GUEST/vesper_seq"
seq_write 0 1 urgent
wait_for 20 "the first packet" test -s "$DIR.over/$GUEST/vesper_seq/cpu0"
kill -STOP "$RECORDER"
seq_write 0 2000
kill -CONT "$RECORDER"
for ((i = 0; i < 8; i++)); do seq_write 0 500; done
seq_flush
wait_for 20 "the recorder to catch up" all_recorded
lapped=$(stat_field lapped)
((lapped > 20)) || fail "only $lapped sub-buffers were written over"
unload vesper_seq
record_end "$DIR.over"
expect_eq "packets discarded" "$(discarded packets "$DIR.over")" "$lapped"
expect_eq "events discarded" "$(discarded events "$DIR.over")" 0
trace_records "$DIR.over"
seq_check 0=6001-any <"$VESPER_WORK/records" || fail "records"

# A disk with room for few packets.
SMALL=$VESPER_WORK/small
mkdir "$SMALL"
mount -t tmpfs -o size=1280k none "$SMALL" || fail "mount"
trap 'record_exit; umount "$SMALL"' EXIT
load_seq subbuf_size=65536 n_subbufs=32 len=1000 switch_ms=600000
record_start "$SMALL/trace" 1 "$GUEST/vesper_seq"
seq_write 0 1900
seq_flush
record_end "$SMALL/trace" 1
expect_match "the recorder's words" "$(cat "$SMALL/trace.log")" "No space left.*all that was read is written"
written=$(stat -c %s "$SMALL/trace/$GUEST/vesper_seq/cpu0")
note "$written bytes were written"
((written > 0)) || fail "nothing was written"
mount -o remount,size=8m "$SMALL"
record_start "$SMALL/trace" 1 "$GUEST/vesper_seq" --continue
unload vesper_seq
record_end "$SMALL/trace"
babeltrace "$SMALL/trace" | seq_check 0=1900 || fail "records"
