#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A probe that streams goes in every order, twice each, while its files are open
# and mapped: unloaded from the host, by rmmod in the guest, after an rmmod of
# vesper_guest was refused. No record is lost, nothing stays behind, and the next
# load is like the first.
. lib/vesper.sh
unload_on_exit vesper_seq

unload_from_host() { unload vesper_seq; }

unload_in_guest() {
	guest_exec "$GUEST" 'rmmod vesper_seq' || fail "rmmod vesper_seq"
	# The host hears of it, and does not offer what is not there.
	[[ $(vesper list "$GUEST") != *live* ]] || fail "the host still lists it: $(vesper list "$GUEST")"
	expect_status 1 vesper unload "$GUEST" vesper_seq
}

ready() { [[ $(vesper domains) =~ $GUEST\ +ready ]]; }

unload_after_refusal() {
	guest_exec "$GUEST" 'rmmod vesper_guest' >"$VESPER_WORK/refused" 2>&1 &&
		fail "vesper_guest was removed under a probe"
	expect_match "the refusal" "$(cat "$VESPER_WORK/refused")" 'temporarily unavailable|in use'
	unload vesper_seq
	guest_exec "$GUEST" 'rmmod vesper_guest && modprobe vesper_guest' || fail "vesper_guest cannot be replaced"
	wait_for 20 "the guest to be ready" ready
}

for order in unload_from_host unload_in_guest unload_after_refusal; do
	for round in 1 2; do
		copy=$VESPER_WORK/$order.$round
		load_stream
		follow "$copy"
		sleep 1
		first=$(seq_number 0) second=$(seq_number 1)
		$order
		followed
		babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "$order: records"
		wait_for 20 "the files to go" test ! -e "$RELAY/$GUEST/vesper_seq"
		expect_eq "pages lent" "$(lent_pages)" 0
	done
	still_works
	note "$order: as it should"
done
