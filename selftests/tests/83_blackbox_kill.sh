#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The VMM is killed while the guest writes: nothing that was committed is lost. A
# new guest of the name gets a directory of its own, and hides nothing. What is left can be
# recorded as a trace.
# shellcheck disable=SC2317 # called by its name in BETWEEN
. lib/blackbox.sh

state() { # DOMAIN
	vesper domains --json | tr -d '\n' | tr '{' '\n' |
		sed -n 's/.*"domain": *"'"$1"'",.*"state": *"\([^"]*\)".*/\1/p'
}

# The name is taken again before anybody reads what the dead one left.
new_guest_of_the_name() {
	expect_eq "the state of the domain" "$(state "$GUEST")" dead
	blackbox_start --no-wait
	attached() { [[ $(state "$GUEST") == "no driver" ]]; }
	wait_for 60 "the new guest" attached
	left_behind() { echo "$RELAY/$GUEST@1/vesper_seq"; }
	[[ -d $(left_behind) ]] || fail "the dead one's directory is not at $GUEST@1"
	expect_eq "the new one's directory" "$(ls "$RELAY/$GUEST")" ""
	expect_eq "the dead one's state" "$(state "$GUEST@1")" dead
}

BETWEEN=new_guest_of_the_name blackbox_round kill
drained() { [[ -z $(state "$GUEST@1") ]]; }
wait_for 20 "the drained domain to go" drained

blackbox_recorded kill
