#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A QEMU that stands still, in the middle of a load and while its guest streams,
# holds up nobody: others load, stream, read and list; who waits for it is told
# in time; and when it goes on, so does its guest, with nothing lost.
. lib/vesper.sh

OTHER=web2
guest_running $OTHER || guest_start $OTHER --smp 1 || fail "no second guest"
pid=$("$TOP/env/guest-vm" pid $OTHER)
end() {
	kill -CONT "$pid"
	vesper unload $OTHER vesper_seq >/dev/null 2>&1
	find "$RELAY/$OTHER" -type f -exec cat {} + >/dev/null 2>&1
	unload_all
}
unload_on_exit vesper_seq
trap end EXIT

others_work() {
	load_seq n_subbufs=8 || return
	seq_write 0 5 urgent
	seq_write 1 5 urgent
	expect_eq "records of the other guest" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 10
	unload vesper_seq
	timeout 10 vesper domains >/dev/null || fail "domains"
	timeout 10 vesper list $OTHER >/dev/null || fail "list"
	timeout 10 vesper stat $OTHER >/dev/null || fail "stat"
}
on_other() { guest_exec $OTHER "$1" || fail "in $OTHER: $1"; }

# While it streams: what was there is readable, what comes later comes later.
vesper load $OTHER "$SEQ" n_subbufs=64 || fail "load"
on_other "
	: >/tmp/stream
	(cd /sys/kernel/debug/vesper_seq
	while [ -e /tmp/stream ]; do echo 0 5 >write; sleep 0.02; done
	: >/tmp/over) >/dev/null 2>&1 &"
written() { GUEST=$OTHER guest_count vesper_seq written 0; }
more() { (($(written) > $1 + 50)); }
wait_for 20 "the stream" more 0
kill -STOP "$pid"
others_work
mkdir "$VESPER_WORK/copy"
timeout 10 cat "$RELAY/$OTHER/vesper_seq/cpu0" >"$VESPER_WORK/copy/stream0" || fail "cat"
(($(stat -c %s "$VESPER_WORK/copy/stream0") > 0)) || fail "nothing to read of a guest that stands still"
expect_status 4 timeout 30 vesper unload $OTHER vesper_seq --timeout 1s
expect_match "unload" "$OUTPUT" 'has not answered'
note "$OUTPUT"
kill -CONT "$pid"
wait_for 20 "the stream to go on" more "$(written)"
on_other "
	rm /tmp/stream
	while [ ! -e /tmp/over ]; do sleep 0.05; done
	echo 1 >/sys/kernel/debug/vesper_seq/flush"
numbers=$(GUEST=$OTHER seq_number 0)
note "records of the guest that stood still: $numbers"
cat "$RELAY/$OTHER/vesper_seq/cpu0" >>"$VESPER_WORK/copy/stream0"
cp "$RELAY/$OTHER/vesper_seq/metadata" "$VESPER_WORK/copy/"
babeltrace "$VESPER_WORK/copy" | seq_check 0="$numbers" || fail "records"
live() { [[ $(vesper list $OTHER) =~ vesper_seq\ +live ]]; }
wait_for 20 "the module to be live again" live
vesper unload $OTHER vesper_seq || fail "unload"

# In the middle of a load: so large an image takes a while.
cp "$SEQ" "$VESPER_WORK/large.ko"
truncate -s 32M "$VESPER_WORK/large.ko"
vesper load $OTHER "$VESPER_WORK/large.ko" --timeout 120s >"$VESPER_WORK/load" 2>&1 &
load=$!
loading() { [[ $(vesper list $OTHER) =~ vesper_seq\ +loading ]]; }
wait_for 20 "the load to begin" loading
kill -STOP "$pid"
kill -0 $load 2>/dev/null || fail "the load was over too soon: $(cat "$VESPER_WORK/load")"
others_work
# Another one that waits behind it, and gives up.
expect_status 4 timeout 30 vesper load $OTHER "$SIGNAL" sig=10 --timeout 1s
expect_match "load" "$OUTPUT" 'has not answered.*withdrawn'
expect_match "the first load is still under way" "$(vesper list $OTHER)" 'vesper_seq +loading'
kill -CONT "$pid"
wait $load || fail "the load that was held up: $(cat "$VESPER_WORK/load")"
on_other "echo 0 3 urgent >/sys/kernel/debug/vesper_seq/write"
expect_eq "records" "$(vesper cat "$OTHER/vesper_seq" --json | wc -l)" 3
