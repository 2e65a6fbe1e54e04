#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Four guests at once. Two stream with the same probe, one of them with more CPUs
# than the host; each has its own files and its own records, also when another
# guest is killed meanwhile.
. lib/vesper.sh
shared=$GUEST
cpus=$(($(nproc) + 2))
own_guest many1 --mem 320 --no-wait
own_guest many2 --mem 320 --no-wait
own_guest many3 --mem 384 --smp "$cpus" --no-wait
for name in many1 many2 many3; do
	"$TOP/env/guest-vm" wait "$name" || fail "guest $name"
done
ready() { (($(vesper domains | grep -c ' ready ') == 4)); }
wait_for 60 "four guests" ready
note "$(vesper domains)"

declare -A first second
pids=()
for GUEST in many3 "$shared"; do
	load_stream
	follow "$VESPER_WORK/$GUEST"
	pids+=("${FOLLOWERS[@]}")
done
GUEST=many1 load_seq n_subbufs=4
"$TOP/env/guest-vm" kill many1 || fail "kill"
sleep 1
last=$(relay_file vesper_seq $((cpus - 1)))
last=${last/"$shared"/many3}
expect_status 0 relay_wait "$last" 20000
(($(wc -c <"$last") > 0)) || fail "nothing to read of CPU $((cpus - 1))"
for GUEST in many3 "$shared"; do
	first[$GUEST]=$(seq_number 0) second[$GUEST]=$(seq_number 1)
	expect_eq "$GUEST: lost" "$(guest_count vesper_seq lost all)" 0
	unload vesper_seq
done
FOLLOWERS=("${pids[@]}")
followed
for GUEST in many3 "$shared"; do
	babeltrace "$VESPER_WORK/$GUEST" |
		seq_check 0="${first[$GUEST]}"+ 1="${second[$GUEST]}"+ || fail "$GUEST: records"
done
GUEST=many2
still_works
