#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A record begun inside another on the same CPU is dropped and counted, whether
# by the same code or by an NMI; an NMI that meets no record writes its own.
# None of them harms another record.
. lib/record.sh
unload_on_exit vesper_seq

nmi() { # COUNT
	local commands=() i
	for ((i = 0; i < $1; i++)); do commands+=('{"execute":"inject-nmi"}'); done
	guest_qmp "$GUEST" "${commands[@]}" >/dev/null || fail "no NMI"
}

numbers() { # of both CPUs: how many have been used up
	guest_exec "$GUEST" "cat /sys/kernel/debug/vesper_seq/numbers" |
		awk '{ n += $2 } END { print n }'
}

in_context() { # CONTEXT
	grep -c "context = ( \"$1\"" "$VESPER_WORK/records" || true
}

# All that was written, each number at most once; of numbers used up and not
# there exactly those that were counted as lost.
check() {
	mkdir -p "$VESPER_WORK/copy"
	seq_flush
	cp "$RELAY/$GUEST/vesper_seq/"* "$VESPER_WORK/copy/"
	local read written lost
	trace_records "$VESPER_WORK/copy"
	read=$(wc -l <"$VESPER_WORK/records")
	written=$(guest_count vesper_seq written all)
	lost=$(guest_count vesper_seq lost all)
	expect_eq "records read" "$read" "$written"
	expect_eq "written and lost" $((written + lost)) "$(numbers)"
	expect_eq "numbers read twice" \
		"$(sed -n 's/.*number = \([0-9]*\), cpu = \([0-9]*\).*/\2.\1/p' "$VESPER_WORK/records" | sort | uniq -d)" ""
	note "$read records, $lost lost, $(in_context nmi) written by NMIs," \
		"$(guest_count vesper_seq nested all) nested"
	rm -rf "$VESPER_WORK/copy"
}

load_seq subbuf_size=262144 n_subbufs=8
seq_write 0 50 nested
expect_eq "nested" "$(guest_count vesper_seq nested 0)" 50
expect_eq "lost" "$(guest_count vesper_seq lost 0)" 50
expect_eq "lost for another reason" "$(guest_count vesper_seq too_big 0)" 0
check
expect_eq "nested records in the data" "$(in_context nested)" 0
expect_eq "records in the data" "$(wc -l <"$VESPER_WORK/records")" 50
unload vesper_seq

load_seq subbuf_size=262144 n_subbufs=8 nmi=1
nmi 20
wait_for 20 "a record by an NMI" test "$(guest_count vesper_seq written all)" -gt 0
check
(($(in_context nmi) > 0)) || fail "no NMI has left a record"

unload vesper_seq

# NMIs while both CPUs write; those that come close together are one.
load_seq subbuf_size=262144 n_subbufs=8 nmi=1
nmi 100 &
seq_write 0 2000 &
seq_write 1 2000 &
wait
check
# What the writers were denied they were denied because of an NMI that was at it.
expect_eq "lost for another reason than nesting" \
	"$(guest_count vesper_seq lost all)" "$(guest_count vesper_seq nested all)"
