#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The paper's steps as trace events of the host: those of a load, those of an
# unload, by the host or from inside the guest, each in its order, with what happens to the
# buffers in between.
. lib/vesper.sh

TRACING=/sys/kernel/tracing
[[ -d $TRACING/events ]] || mount -t tracefs none $TRACING || fail "cannot mount tracefs"
[[ -d $TRACING/events/vesper ]] || fail "there are no events of the system vesper"
events() { # REGEX, what follows the event's name
	sed -n "s/.* \(vesper_[a-z]*\): /\1 /p" "$VESPER_WORK/trace" | grep -E "$1"
}
steps() { # of vesper_seq, in order, repeated ones once
	events "^vesper_step [AC][1-8] domain=$GUEST module=vesper_seq status=0\$" |
		awk '{ print $2 }' | uniq | tr '\n' ' '
}
both_given_back() {
	local event
	for event in unshare return; do
		expect_eq "buffers: $event" \
			"$(events "^vesper_$event domain=$GUEST module=vesper_seq buffer=cpu" | wc -l)" 2
	done
}
off() {
	echo 0 >$TRACING/events/vesper/enable
	unload_all
}
ON_EXIT=(vesper_seq)
trap off EXIT

echo 0 >$TRACING/trace
echo 1 >$TRACING/events/vesper/enable
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
cat $TRACING/trace >"$VESPER_WORK/trace"
# A buffer after the other is lent, shared and shown.
expect_match "steps of a load" "$(steps)" '^A1 A2 A3 A5 (A6 A7 )+A4 $'
expect_eq "buffers shared" "$(events "^vesper_share domain=$GUEST module=vesper_seq buffer=cpu" | wc -l)" 2
expect_eq "pages lent, the index pages included" \
	"$(events "^vesper_lend domain=$GUEST " | sed 's/.*pages=//' | paste -sd+ | bc)" 18

echo 0 >$TRACING/trace
seq_write 0 60
seq_flush
cat $TRACING/trace >"$VESPER_WORK/trace"
expect_match "a switch" "$(events vesper_switch)" "domain=$GUEST module=vesper_seq buffer=cpu0 produced=[1-9]"

echo 0 >$TRACING/trace
unload vesper_seq
cat $TRACING/trace >"$VESPER_WORK/trace"
expect_eq "steps of an unload" "$(steps)" "C1 C2 C3 C5 C6 C7 C8 "
both_given_back

echo 0 >$TRACING/trace
vesper reap "$GUEST/vesper_seq" || fail "cannot reap"
expect_status 1 vesper unload "$GUEST" vesper_seq
cat $TRACING/trace >"$VESPER_WORK/trace"
expect_match "a reap" "$(events vesper_reap)" "domain=$GUEST module=vesper_seq bytes=[1-9]"
# ENOENT
expect_match "an unload of nothing" "$(events '^vesper_step C2')" "module=vesper_seq status=-2"

# From inside the guest it is what nobody has asked for; the rest is the same.
load_seq subbuf_size=4096 n_subbufs=8 len=100 switch_ms=600000
echo 0 >$TRACING/trace
guest_exec "$GUEST" "rmmod vesper_seq" || fail "it stays"
gone() { ! vesper list "$GUEST" | grep -q ' vesper_seq '; }
wait_for 20 "it to be gone" gone
cat $TRACING/trace >"$VESPER_WORK/trace"
expect_eq "steps of a removal" "$(steps)" "C5 C6 C7 "
both_given_back
