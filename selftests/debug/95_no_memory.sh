#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One allocation of our module fails, a later one each time: on the host every
# operation of the attach node and of the operator; then, on the side that has
# the kernel for it, loads and unloads of a probe that is read, and on the host the
# same of a probe on the host itself. What fails tells the operator that memory was
# short, works when it is tried again, and leaves nothing behind.
# time-limit: 600
# kmemleak wants memory, too, for what it knows of an allocation, and does without.
# kernel-log: host * kmemleak: Cannot allocate a scan area, scanning the full object
# kernel-log: guest * kmemleak: Cannot allocate a scan area, scanning the full object
. lib/vesper.sh
. lib/debug.sh
. lib/host_domain.sh

side_with failslab
end() {
	local status=$?
	faults_disarm
	host_domain_clear
	exit $status
}
trap end EXIT

nothing_left() { [[ $(vesper list "$GUEST" --json) == "[]" && $(lent_pages) == 0 ]]; }

# Ends as it may: well, or for lack of memory.
try() { # COMMAND...
	STATUS=0
	OUTPUT=$("$@" 2>&1) || STATUS=$?
	((STATUS == 0)) || note "allocation $n: $OUTPUT"
	((STATUS == 0)) || [[ $OUTPUT == *ENOMEM* || $OUTPUT == *memory* ]] ||
		fail "allocation $n: '$*' ended with $STATUS: $OUTPUT"
}

# Each of so many loads and unloads lacks memory once, if it allocates as often.
loads_lack_memory() { # ALLOCATIONS
	local n refused=0
	HITS=0
	for ((n = 1; n <= $1; n++)); do
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
		! guest_exec "$GUEST" "grep -q '^vesper_seq ' /proc/modules" ||
			vesper unload "$GUEST" vesper_seq ||
			fail "allocation $n: what could not be unloaded cannot be unloaded"
		read_away
		wait_for 20 "nothing to be left, after allocation $n" nothing_left
	done
	note "$SIDE_MODULE: $HITS allocations failed, $refused times the operator was told"
	((HITS >= $1 / 2 && refused > 0)) || fail "hardly any allocation failed"
}

rounds=${FAULT_ROUNDS:-40}
faults_begin
if [[ $SIDE == host ]]; then
	nomem/vesper_nomem_test || fail "the attach node"
fi
loads_lack_memory "$rounds"
still_works

if [[ $SIDE == host ]]; then
	host_domain_up
	trap end EXIT
	for_guest=$SEQ
	host_domain
	for SIDE_MODULE in vesper_guest vesper_local; do
		SIDE_KO=$HOST_TOP/${SIDE_MODULE#vesper_}/$SIDE_MODULE.ko
		faults_begin
		loads_lack_memory "$rounds"
	done
	host_domain_down
	GUEST=$ON_GUEST SEQ=$for_guest
	still_works
fi
