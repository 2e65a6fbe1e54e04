#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One allocation of our module fails, a later one each time: on the host every
# operation of the attach node and of the operator; then, on the side that has
# the kernel for it, loads and unloads of a probe that is read. What fails tells
# the operator that memory was short, works when it is tried again, and leaves
# nothing behind.
# time-limit: 400
# kmemleak wants memory, too, for what it knows of an allocation, and does without.
# kernel-log: host * kmemleak: Cannot allocate a scan area, scanning the full object
# kernel-log: guest * kmemleak: Cannot allocate a scan area, scanning the full object
. lib/vesper.sh
. lib/debug.sh

HITS=0
side_with failslab
unload_on_exit vesper_seq
trap 'faults_disarm; unload_all' EXIT
faults_begin
if [[ $SIDE == host ]]; then
	nomem/vesper_nomem_test || fail "the attach node"
fi

nothing_left() { [[ $(vesper list "$GUEST" --json) == "[]" && $(lent_pages) == 0 ]]; }

# Ends as it may: well, or for lack of memory.
try() { # COMMAND...
	STATUS=0
	OUTPUT=$("$@" 2>&1) || STATUS=$?
	((STATUS == 0)) || note "allocation $n: $OUTPUT"
	((STATUS == 0)) || [[ $OUTPUT == *ENOMEM* || $OUTPUT == *memory* ]] ||
		fail "allocation $n: '$*' ended with $STATUS: $OUTPUT"
}

refused=0
for ((n = 1; n <= ${FAULT_ROUNDS:-40}; n++)); do
	faults_arm $n
	try vesper load "$GUEST" "$SEQ" n_subbufs=4 subbuf_size=8192 switch_ms=20
	if ((STATUS == 0)); then
		guest_exec "$GUEST" "echo 0 20 urgent >/sys/kernel/debug/vesper_seq/write"
		try vesper cat "$GUEST/vesper_seq" --json
		try vesper unload "$GUEST" vesper_seq
	fi
	((STATUS == 0)) || refused=$((refused + 1))
	faults_disarm
	# Listed it may be without that, until what it wrote was read.
	! guest_exec "$GUEST" lsmod | grep -q '^vesper_seq ' || vesper unload "$GUEST" vesper_seq ||
		fail "allocation $n: what could not be unloaded cannot be unloaded"
	read_away
	wait_for 20 "nothing to be left, after allocation $n" nothing_left
done
note "$HITS allocations failed, $refused times the operator was told"
((HITS >= ${FAULT_ROUNDS:-40} / 2 && refused > 0)) || fail "hardly any allocation failed"
still_works
