# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The way 'heartbeat': a pair of guests, each with Heartbeat in it, as Linux-HA had it
# before there was a cluster resource manager: the one that is alive has the service.
# Sourced behind net.sh.

HB_CONSOLE=$VESPER_WORK/hb2.console

heartbeat_guest() { # NAME OWN-ADDRESS PEER-ADDRESS
	# Its console has to be read as it grows, which over 9p may fail.
	VESPER_LOG=$VESPER_WORK "$TOP/eval/guest" start "$1" none \
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=root,mount_tag=root || fail "$1 does not start"
	guest_put "$1" "$TOP/eval/guest-heartbeat" /tmp/guest-heartbeat
	guest_exec "$1" "sh /tmp/guest-heartbeat $2 $3 $SERVICE" || fail "no Heartbeat in $1"
}

# Each line with the time when it came, until the guest ends. Its own clock has no part
# in it.
heartbeat_follow() {
	tail -n +1 -f --pid="$("$TOP/env/guest-vm" pid hb2)" "$(guest_console hb2)" | while read -r line; do
		printf '%s000 %s\n' "${EPOCHREALTIME/./}" "$line"
	done | tee "$VESPER_LOG/hb2-stamped.log" >"$HB_CONSOLE" &
	FOLLOWER=$!
}

heartbeat_line() { grep -q "$1" "$HB_CONSOLE"; }
heartbeat_noticed() { heartbeat_line 'node hb1: is dead'; }

heartbeat_run() { # FAULT
	local first
	client_start
	heartbeat_guest hb1 10.78.0.11 10.78.0.12 &
	first=$!
	heartbeat_guest hb2 10.78.0.12 10.78.0.11
	wait "$first" || fail "no first guest"
	heartbeat_follow
	wait_for 300 "the page" is_up
	wait_for 180 "the pair" heartbeat_line 'node hb1.*status active'
	fault_arm "$1" hb1
	# Nothing is left to do after the start.
	sleep 10
	is_up || fail "the page is gone before the fault"
	FAULT_AT=$(fault_do "$1" hb1)
	wait_out heartbeat
	{
		echo "{\"event\":\"fault\",\"at_ns\":$FAULT_AT}"
		awk '/node hb1: is dead/ { print "{\"event\":\"dead\",\"at_ns\":" $1 "}" }
			/evalweb: start/ { print "{\"event\":\"start\",\"at_ns\":" $1 "}" }' "$HB_CONSOLE"
	} >>"$RUN"
	client_stop
	heartbeat_end
	read_away
}

heartbeat_end() {
	local name
	for name in hb1 hb2; do "$TOP/eval/guest" stop $name; done
	wait "$FOLLOWER"
}
