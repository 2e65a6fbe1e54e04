# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The way 'heartbeat': a pair of nodes, each with Heartbeat in it, as Linux-HA had it
# before there was a cluster resource manager: the one that is alive has the service.
# hb1 is a guest; hb2, which stands by, has namespaces of the host VM. Sourced behind
# net.sh.

HB_LOG=$VESPER_WORK/hb2.log
HB_STAMPED=$VESPER_WORK/hb2-stamped.log

heartbeat_guest() { # OWN-ADDRESS PEER-ADDRESS
	"$TOP/eval/guest" start hb1 none \
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=root,mount_tag=root || fail "hb1 does not start"
	guest_put hb1 "$TOP/eval/guest-web" /tmp/guest-web
	guest_put hb1 "$TOP/eval/heartbeat-node" /tmp/heartbeat-node
	guest_put hb1 "$TOP/eval/guest-heartbeat" /tmp/guest-heartbeat
	guest_exec hb1 "sh /tmp/guest-heartbeat $1 $2 $SERVICE" || fail "no Heartbeat in hb1"
	# It starts slowly. The other must not think that it is alone.
	wait_for 180 "Heartbeat in hb1" grep -q "Local status now set to: 'up'" "$(guest_console hb1)"
}

# Each line of its log gets the time when it came; its own clock has no part in it.
heartbeat_standby() { # OWN-ADDRESS PEER-ADDRESS
	rm -f "$VESPER_WORK/hb2.ready"
	: >"$HB_LOG"
	unshare --net --mount --uts --pid --fork --kill-child --mount-proc \
		bash "$TOP/eval/heartbeat-standby" "$VESPER_WORK/hb2.ready" "$1" "$2" "$SERVICE" "$HB_LOG" \
		>"$VESPER_WORK/hb2.out" 2>&1 &
	STANDBY=$!
	wait_for 20 "the node that stands by" test -e "$VESPER_WORK/hb2.ready"
	ip link add hb2 type veth peer name eth0 netns $STANDBY || fail "no link to hb2"
	ip link set hb2 up master lan
	tail -n +1 -f --pid=$STANDBY "$HB_LOG" | while read -r line; do
		printf '%s000 %s\n' "${EPOCHREALTIME/./}" "$line"
	done | tee "$VESPER_LOG/hb2-stamped.log" >"$HB_STAMPED" &
	FOLLOWER=$!
}

heartbeat_line() { grep -q "$1" "$HB_STAMPED"; }
heartbeat_noticed() { heartbeat_line 'node hb1: is dead'; }

heartbeat_run() { # FAULT
	client_start
	heartbeat_guest 10.78.0.11 10.78.0.12
	heartbeat_standby 10.78.0.12 10.78.0.11
	wait_for 300 "the page" is_up
	wait_for 180 "the pair" heartbeat_line 'node hb1.*status active'
	! heartbeat_line 'evalweb: start' || fail "the node that stands by has the service"
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
	"$TOP/eval/guest" stop hb1
	# What runs in there ends with it, and it looks at no other signal.
	kill -KILL "$STANDBY"
	wait "$STANDBY" "$FOLLOWER" 2>/dev/null
	STANDBY=
}
