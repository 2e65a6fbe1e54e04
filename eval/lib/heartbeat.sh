# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The way 'heartbeat': a pair of guests, each with Heartbeat in it, as Linux-HA had it
# before there was a cluster resource manager: hb1 has the service, hb2 stands by and
# takes it over. Sourced behind net.sh.

# Consoles are read as they grow, which over 9p may fail.
HB_LOG=$VESPER_WORK/heartbeat
HB_STAMPED=$VESPER_WORK/hb2-stamped

heartbeat_guest() { # NAME OWN-ADDRESS PEER-ADDRESS
	VESPER_LOG=$HB_LOG WITH_ROOT=1 "$TOP/eval/guest" start "$1" none || return 1
	guest_put "$1" "$TOP/eval/heartbeat-node" /tmp/heartbeat-node &&
		guest_put "$1" "$TOP/eval/guest-heartbeat" /tmp/guest-heartbeat &&
		guest_exec "$1" "sh /tmp/guest-heartbeat $2 $3 $SERVICE"
}

# Both at once, so that neither thinks that it is alone.
heartbeat_pair() {
	local first
	rm -rf "$HB_LOG"
	mkdir "$HB_LOG"
	heartbeat_guest hb1 10.78.0.11 10.78.0.12 &
	first=$!
	heartbeat_guest hb2 10.78.0.12 10.78.0.11 || fail "no Heartbeat in hb2"
	wait "$first" || fail "no Heartbeat in hb1"
	heartbeat_follow
}

# Each line of its console gets the time when it came; the guest's clock has no part in it.
heartbeat_follow() {
	local console
	console=$(guest_console hb2)
	: >"$HB_STAMPED"
	tail -n +1 -f --pid="$("$TOP/env/guest-vm" pid hb2)" "$console" | while read -r line; do
		printf '%s000 %s\n' "${EPOCHREALTIME/./}" "$line"
	done | tee "$VESPER_LOG/hb2-stamped.log" >"$HB_STAMPED" &
	FOLLOWER=$!
}

heartbeat_line() { grep -q "$1" "$HB_STAMPED"; }
heartbeat_noticed() { heartbeat_line 'node hb1: is dead'; }

heartbeat_run() { # FAULT
	client_start
	heartbeat_pair
	wait_for 300 "the page" is_up
	wait_for 180 "the pair" heartbeat_line 'node hb1.*status active'
	! heartbeat_line 'evalweb: start' || fail "the guest that stands by has the service"
	fault_arm "$1" hb1
	# Nothing is left to do after the start.
	sleep 10
	is_up || fail "the page is gone before the fault"
	FAULT_AT=$(fault_do "$1" hb1)
	wait_out heartbeat
	{
		echo "{\"event\":\"fault\",\"at_ns\":$FAULT_AT}"
		awk '/node hb1: is dead/ { print "{\"event\":\"dead\",\"at_ns\":" $1 "}" }
			/evalweb: start/ { print "{\"event\":\"start\",\"at_ns\":" $1 "}" }' "$HB_STAMPED"
	} >>"$RUN"
	client_stop
	heartbeat_end
	read_away
}

heartbeat_end() {
	local name
	for name in hb1 hb2; do "$TOP/eval/guest" stop "$name"; done
	wait "$FOLLOWER"
	cp "$HB_LOG"/* "$VESPER_LOG"
}
