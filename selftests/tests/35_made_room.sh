#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What could not be published in time, as a lap was unread, is published when that lap has been
# read, and not when the guest looks again: that it does ever more rarely. A flight recorder
# does the same.
. lib/vesper.sh
unload_on_exit vesper_seq

file=$(relay_file vesper_seq 0)
produced() {
	vesper stat "$GUEST/vesper_seq" --json | tr -d '\n ' | tr '{' '\n' |
		sed -n 's/.*"buffer":0,.*"produced":\([0-9]*\).*/\1/p'
}

# The guest looks when a record has waited for 8 s, and then after 16 more.
slow=${TIME_SCALE:-1}
for overwrite in 0 1; do
	load_seq overwrite=$overwrite subbuf_size=4096 n_subbufs=4 len=100 switch_ms=$((8000 * slow))
	records=0
	while (($(produced) < 3)); do
		seq_write 0 10
		records=$((records + 10))
	done
	seq_write 0 1
	expect_eq "sub-buffers, the next one is the last that is free" "$(produced)" 3
	sleep $((9 * slow))
	copy=$VESPER_WORK/copy$overwrite
	mkdir "$copy"
	cp "$RELAY/$GUEST/vesper_seq/metadata" "$copy"
	cat "$file" >"$copy/cpu0"
	relay_wait "$file" $((3000 * slow)) ||
		fail "what waited is not published, although there is room (overwrite=$overwrite)"
	cat "$file" >>"$copy/cpu0"
	babeltrace "$copy" | seq_check 0=$((records + 1)) || fail "records (overwrite=$overwrite)"
	unload vesper_seq
done
