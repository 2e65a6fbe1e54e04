#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# No reader, a slow one, one that was stopped with the file open: to the guest it
# is all the same. Records that do not fit are counted as lost, nothing else is
# held up, and it goes on as soon as somebody has read.
. lib/record.sh
unload_on_exit vesper_seq

count() { guest_count vesper_seq "$1" 0; }

# Writes 2000 records of CPU 0, more than fit, and says how many were written.
flood() {
	local written lost
	written=$(count written) lost=$(count lost)
	seq_write 0 2000
	written=$(($(count written) - written)) lost=$(($(count lost) - lost))
	expect_eq "$1: written and lost" $((written + lost)) 2000
	((lost > 0)) || fail "$1: none lost, so the buffer was not full"
	note "$1: $written written, $lost lost"
}

load_seq len=100 subbuf_size=16384 n_subbufs=4 switch_ms=600000
mkdir "$VESPER_WORK/copy"
out=$VESPER_WORK/copy/stream0
flood "no reader"

# Slow: some bytes, then nothing, with the file open.
exec 5<"$(relay_file vesper_seq 0)"
head -c 1000 <&5 >"$out"
flood "slow reader"

# Stopped, and more to read than the pipe before it takes.
mkfifo "$VESPER_WORK/pipe"
cat <&5 >"$VESPER_WORK/pipe" &
reader=$!
exec 6<"$VESPER_WORK/pipe"
kill -STOP $reader
flood "stopped reader"
guest_exec "$GUEST" 'true' || fail "the guest is held up"
vesper stat "$GUEST/vesper_seq" >/dev/null || fail "vesper stat is held up"
vesper load "$GUEST" "$SIGNAL" sig=10 || fail "another load is held up"
vesper unload "$GUEST" signal || fail "another unload is held up"

kill -CONT $reader
cat <&6 >>"$out" &
drain=$!
wait $reader
exec 6<&- 5<&-
wait $drain
written=$(count written)
seq_write 0 50
expect_eq "written after the reader has drained" $(($(count written) - written)) 50
numbers=$(seq_number 0) lost=$(count lost)
cp "$RELAY/$GUEST/vesper_seq/metadata" "$VESPER_WORK/copy/"
seq_flush
cat "$(relay_file vesper_seq 0)" >>"$out"
trace_records "$VESPER_WORK/copy"
seq_check 0="$numbers-$lost" <"$VESPER_WORK/records" || fail "records"
unload vesper_seq
