#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One time line: what the host has two guests do, in turn, is in that order in a
# trace of both, each between the host's own times before and after it, although
# the guests' wall clocks are wrong by years. Says how near that comes.
. lib/record.sh

shared=line1
OTHER=line2
# An emulated processor does not say that its TSC is constant, and then records do
# not have it.
own_guest $shared --smp 1 --mem 320 --append setcpuid=constant_tsc --no-wait
own_guest $OTHER --smp 1 --mem 320 --append setcpuid=constant_tsc
"$TOP/env/guest-vm" wait $shared || fail "guest $shared"

guest_exec $shared 'date -s @978307200' >/dev/null || fail "date"
guest_exec $OTHER 'date -s @1924992000' >/dev/null || fail "date"
for GUEST in "$shared" $OTHER; do load_seq n_subbufs=8; done
record_start "$VESPER_WORK/trace" 2 "$shared/vesper_seq" $OTHER
note "$(grep 'times are' "$VESPER_WORK/trace.log")"
(($(grep -c "on the host's wall clock" "$VESPER_WORK/trace.log") == 2)) || fail "the guests' clocks are taken"

before=() after=() name=()
for ((i = 0; i < 8; i++)); do
	for GUEST in "$shared" $OTHER; do
		# There: the host's word comes before the record. And back: the host
		# learns of the record behind it.
		size=$(stat -c %s "$VESPER_WORK/trace/$GUEST/vesper_seq/cpu0" 2>/dev/null || echo 0)
		name+=("$GUEST")
		before+=("$(date +%s%N)")
		seq_write 0 1 urgent
		recorded() { (($(stat -c %s "$VESPER_WORK/trace/$GUEST/vesper_seq/cpu0") > size)); }
		wait_for 20 "the record" recorded
		after+=("$(date +%s%N)")
	done
done
for GUEST in "$shared" $OTHER; do unload vesper_seq; done
record_end "$VESPER_WORK/trace"

babeltrace2 "$VESPER_WORK/trace" --clock-seconds \
	>"$VESPER_WORK/all" 2>"$VESPER_WORK/err" || fail "babeltrace2: $(cat "$VESPER_WORK/err")"
[[ ! -s $VESPER_WORK/err ]] || fail "babeltrace2 warns: $(cat "$VESPER_WORK/err")"
expect_eq "records" "$(wc -l <"$VESPER_WORK/all")" ${#before[@]}
i=0
there=() back=()
while read -r line; do
	time=$(sed -nE 's/^\[([0-9]+)\.([0-9]{9})\].*/\1\2/p' <<<"$line")
	note "${name[i]}: $((time - before[i])) ns after the host's word, $((after[i] - time)) ns before the host knew: $line"
	((before[i] < time && time < after[i])) || fail "record $i is not where it belongs"
	there+=($((time - before[i]))) back+=($((after[i] - time)))
	i=$((i + 1))
done <"$VESPER_WORK/all"
least() { printf '%s\n' "$@" | sort -n | head -1; }
note "error: less than $(least "${there[@]}") ns ahead and $(least "${back[@]}") ns behind"
