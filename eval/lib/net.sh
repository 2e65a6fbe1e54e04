# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The LAN: a bridge on the host VM, one on node2, and a cable between. The client is on
# the host VM. Sourced behind selftests/lib/vesper.sh.

SERVICE=10.78.0.10

lan_start() {
	modprobe tun || fail "no tun"
	ip link add lan type bridge || fail "no bridge"
	ip addr add 10.78.0.1/24 dev lan
	ip link set lan up
}

# Once node2 is there.
lan_extend() { # PID OF node2
	ip link add lan1 type veth peer name lan2 || fail "no link between the nodes"
	ip link set lan1 up master lan
	ip link set lan2 netns "$1"
	nsenter --target "$1" --net bash -e <<-'NODE'
		ip link add lan type bridge
		ip addr add 10.78.0.2/24 dev lan
		ip link set lan up
		ip link set lan2 up master lan
	NODE
}

client_start() {
	CLIENT_LOG=$VESPER_WORK/client
	vesper-eval client $SERVICE:80 >"$CLIENT_LOG" 2>"$VESPER_WORK/client.err" &
	CLIENT=$!
}

is_up() { [[ $(tail -n 1 "$CLIENT_LOG") == *'"up"'* ]]; }

# Down, and up again, since that time. The file is read once: it grows.
back_since() { # NS
	awk -v from="$1" '
		{ up = /"up"/ }
		/"down"/ { match($0, /"at_ns":[0-9]+/); at = substr($0, RSTART + 8, RLENGTH - 8)
			if (at + 0 >= from + 0) found = 1 }
		END { exit !(found && up) }' "$CLIENT_LOG"
}

client_stop() {
	kill "$CLIENT" 2>/dev/null
	wait "$CLIENT" 2>/dev/null
	cat "$CLIENT_LOG" >>"$RUN"
}

# Waits until it was noticed and the page is there again; or, if it stays away or
# nobody notices, until the bound. Where it was noticed and nothing was to be done about
# it, the page is there all the time: a quarter of the bound has to show that.
wait_out() { # WAY
	local end=$((SECONDS + BOUND)) calm=
	while ((SECONDS < end)); do
		sleep 0.5
		# A page that was away for a moment only is no end: nobody may have noticed yet.
		if back_since "$FAULT_AT" && "$1_noticed"; then
			return
		elif ((SECONDS % 3 == 0)) && is_up && "$1_noticed"; then
			calm=${calm:-$((SECONDS + BOUND / 4))}
			((SECONDS < calm)) || return 0
		fi
	done
}
