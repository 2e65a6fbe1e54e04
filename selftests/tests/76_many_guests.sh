#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Four guests at once, with the same probe. Two stream, one of them with more CPUs
# than the host, each of which is read; two have written some records, of which one is killed. Each has its
# own files and its own records, all of them, and its own settings of the heartbeat.
. lib/vesper.sh
. lib/heartbeat.sh
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

settings() { # GUEST
	GUEST=$1 heartbeat threshold_ms
	GUEST=$1 heartbeat period_ms
}
declare -A before=()
for name in many1 many3 "$shared"; do
	before[$name]=$(settings "$name")
done
vesper heartbeat many2 --threshold 700ms --period 30ms >/dev/null || fail "cannot set the heartbeat of many2"
expect_eq "many2: threshold and period" "$(settings many2)" $'700\n30'
for name in many1 many3 "$shared"; do
	expect_eq "$name: threshold and period" "$(settings "$name")" "${before[$name]}"
	[[ ${before[$name]} == *[0-9]$'\n'*[0-9] && ${before[$name]} != $'700\n30' ]] || fail "$name: ${before[$name]}"
done

# Reads what such a guest has written that does not stream: that, and nothing else.
records_of() { # GUEST COUNT
	mkdir "$VESPER_WORK/$1"
	cp "$RELAY/$1/vesper_seq/metadata" "$VESPER_WORK/$1/" || fail "$1: no metadata"
	cat "$RELAY/$1/vesper_seq/cpu0" >"$VESPER_WORK/$1/stream0"
	babeltrace "$VESPER_WORK/$1" | seq_check 0="$2" || fail "$1: records"
}

declare -A wanted nr_cpus=([many3]=$cpus [$shared]=2)
pids=()
GUEST=many1 load_seq n_subbufs=4 count=30 switch_ms=600000
GUEST=many2 load_seq n_subbufs=4 count=50 switch_ms=600000
for GUEST in many3 "$shared"; do
	load_stream
	follow "$VESPER_WORK/$GUEST"
	pids+=("${FOLLOWERS[@]}")
done
GUEST=many3
for ((cpu = 2; cpu < cpus; cpu++)); do
	relay_tail "$(relay_file vesper_seq $cpu)" >>"$VESPER_WORK/many3/stream$cpu" &
	pids+=($!)
done
for name in many1 many2 many3 "$shared"; do
	expect_eq "$name: modules" "$(vesper list "$name" | awk 'NR > 1 { print $2, $3 }')" "vesper_seq live"
done
"$TOP/env/guest-vm" kill many1 || fail "kill"
dead() { vesper domains | grep -qE '^many1 +dead '; }
wait_for 20 "the death to be noticed" dead
wait_for 60 "records of CPU $((cpus - 1))" test -s "$VESPER_WORK/many3/stream$((cpus - 1))"
for GUEST in many3 "$shared"; do
	numbers=
	for ((cpu = 0; cpu < nr_cpus[$GUEST]; cpu++)); do
		numbers+=" $cpu=$(seq_number $cpu)+"
	done
	wanted[$GUEST]=$numbers
	expect_eq "$GUEST: lost" "$(guest_count vesper_seq lost all)" 0
	unload vesper_seq
done
FOLLOWERS=("${pids[@]}")
followed
for GUEST in many3 "$shared"; do
	# shellcheck disable=SC2086 # words
	babeltrace "$VESPER_WORK/$GUEST" | seq_check ${wanted[$GUEST]} || fail "$GUEST: records"
done

records_of many1 30
wait_for 20 "the files of the dead to go" test ! -e "$RELAY/many1"
GUEST=many2
seq_flush
records_of many2 50
expect_eq "many2: lost" "$(guest_count vesper_seq lost all)" 0
unload vesper_seq
still_works
