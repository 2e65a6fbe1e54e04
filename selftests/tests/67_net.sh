#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A port where nobody listens, a program that does not accept connections, by IPv4 and
# by IPv6, a connection that is reset, one of which an end does not hear, a link that goes
# down, one that loses its carrier: the group "net". Another port is left out.
. lib/vesper.sh
. lib/groups.sh
unload_on_exit net blockio

# Nobody listens there.
nobody() { # ADDRESS, AS-IT-IS-SHOWN
	guest_exec "$GUEST" "nc -w 2 $1 7001 </dev/null" && fail "somebody listens"
	expect_record net tcp_reset_sent "local == '$2:7001' and remote.startswith('$2:') and reason == 'no_socket'"
	expect_record net tcp_reset_received "remote == '$2:7001' and local.startswith('$2:') and state == 'syn_sent'"
	expect_record net packet_drop "dest == '$2:7001' and reason == 'NO_SOCKET' and 'tcp' in location"
	expect_record net socket_state \
		"remote == '$2:7001' and new_state == 'syn_sent' and protocol == 'tcp'"
	expect_record net socket_state "remote == '$2:7001' and local.startswith('$2:') and new_state == 'close'"
}

# Two may wait to be accepted; all the others ask again and again.
crowd() { # ADDRESS, AS-IT-IS-SHOWN
	local refused
	guest_exec "$GUEST" "
		old=\$(cat /proc/sys/net/core/somaxconn)
		echo 1 >/proc/sys/net/core/somaxconn
		httpd -f -p '$2:7002' -h /tmp & server=\$!
		sleep 0.5
		kill -STOP \$server
		for n in 1 2 3 4 5; do nc -w 4 $1 7002 </dev/null & done
		sleep 4
		kill -KILL \$server
		echo \$old >/proc/sys/net/core/somaxconn" >/dev/null
	expect_record net listen_overflow "local == '$2:7002' and limit == 1 and backlog > limit and remote.startswith('$2:')"
	collect net
	# Once for each connection that was refused, whatever it did after that.
	refused=$(count_records net listen_overflow "local == '$2:7002'")
	expect_eq "clients among $refused refused ones" "$(python3 -c '
import json, sys
lines = (json.loads(line) for line in open(sys.argv[1]))
fields = (l.get("fields", l) for l in lines if l.get("event") == "listen_overflow")
print(len({f["remote"] for f in fields if f["local"] == sys.argv[2]}))' "$VESPER_WORK/net.json" "$2:7002")" "$refused"
	((refused <= 5)) || fail "$refused of 5 clients were refused"
	expect_record net tcp_retransmit "remote == '$2:7002' and local.startswith('$2:') and state == 'syn_sent' and retransmits >= 1"
}

load_group net points=default,state
nobody 127.0.0.1 127.0.0.1
nobody ::1 '[::1]'
expect_none net listen_overflow
expect_none net link
crowd 127.0.0.1 127.0.0.1
crowd ::1 '[::1]'

# In the midst of a connection, by the end that asked for it.
guest_put "$GUEST" tools/work /tmp/work
guest_exec "$GUEST" "chmod +x /tmp/work; /tmp/work reset 7004" || fail "no connection"
expect_record net tcp_reset_sent "remote == '127.0.0.1:7004' and local.startswith('127.0.0.1:') and reason == 'state'"
expect_record net tcp_reset_received "local == '127.0.0.1:7004' and remote.startswith('127.0.0.1:') and state == 'established'"
expect_record net socket_state "remote == '127.0.0.1:7004' and old_state == 'established' and new_state == 'close'"

# The end that asks for a connection does not hear the answer, then the other one no data.
guest_exec "$GUEST" "/tmp/work deaf 7005" || fail "no connection"
for who in "remote == '127.0.0.1:7005' and state == 'syn_sent'" \
	"local == '127.0.0.1:7005' and state == 'new_syn_recv'" \
	"remote == '127.0.0.1:7005' and state == 'established'"; do
	expect_record net tcp_retransmit "$who and error == 0"
done
expect_record net packet_drop "dest == '127.0.0.1:7005' and reason == 'SOCKET_FILTER'"

guest_exec "$GUEST" "ip link set lo down; ip link set lo up"
expect_record net link "device == 'lo' and change == 'down' and not up"
expect_record net link "device == 'lo' and change == 'up' and up"
collect net
expect_eq "changes of links" "$(count_records net link)" 2

# One that stays up, and of which the other end is gone for a while.
guest_exec "$GUEST" "
	set -e
	modprobe dummy
	[ -e /sys/class/net/dummy0 ] || ip link add dummy0 type dummy
	ip link set dummy0 up" || fail "no dummy0"
expect_record net link "device == 'dummy0' and change == 'up' and up and carrier"
guest_exec "$GUEST" "echo 0 >/sys/class/net/dummy0/carrier" || fail "the carrier stays"
expect_record net link "device == 'dummy0' and change == 'carrier' and up and not carrier"
collect net
before=$(count_records net link "device == 'dummy0' and change == 'carrier' and carrier")
guest_exec "$GUEST" "echo 1 >/sys/class/net/dummy0/carrier" || fail "no carrier comes"
again() {
	collect net
	(($(count_records net link "device == 'dummy0' and change == 'carrier' and up and carrier") > before))
}
wait_for 20 "the carrier to come" again
expect_none net link "device == 'dummy0' and change == 'down'"
guest_exec "$GUEST" "ip link set dummy0 down; rmmod dummy" || fail "dummy0 stays"
expect_record net link "device == 'dummy0' and change == 'down' and not up"

# A drop for which the kernel has no reason, only if it is asked for.
guest_exec "$GUEST" "/tmp/work nowhere" || fail "a message went somewhere"
expect_none net packet_drop "reason == 'NOT_SPECIFIED'"
unload net
rm "$VESPER_WORK/net.json"
load_group net points=drop unspecified=1
guest_exec "$GUEST" "/tmp/work nowhere; rm /tmp/work" || fail "a message went somewhere"
expect_record net packet_drop "reason == 'NOT_SPECIFIED' and 'netlink_unicast' in location and dest == ''"
unload net

rm "$VESPER_WORK/net.json"
load_group net port=7003
guest_exec "$GUEST" "nc -w 2 127.0.0.1 7001 </dev/null" && fail "somebody listens"
expect_none net tcp_reset_sent
expect_none net packet_drop "dest == '127.0.0.1:7001'"
expect_none net socket_state
unload net

# Of one of two processes that ask for the same.
rm "$VESPER_WORK/net.json"
pid=$(guest_exec "$GUEST" "
	sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; exec nc -w 2 127.0.0.1 7001' </dev/null >/dev/null 2>&1 & echo \$!")
load_group net points=state "pid=$pid"
guest_exec "$GUEST" "nc -w 2 127.0.0.1 7001 </dev/null" && fail "somebody listens"
guest_exec "$GUEST" "touch /tmp/go"
expect_record net socket_state "pid == $pid and comm == 'nc' and remote == '127.0.0.1:7001' and new_state == 'syn_sent'"
expect_none net socket_state "pid != $pid"
guest_exec "$GUEST" "rm /tmp/go"
unload net

# A filter that no chosen point can heed is no filter, and that is said.
said=$(vesper load "$GUEST" net pid=5) || fail "cannot load net pid=5: $said"
expect_match "what filters nothing" "$said" \
	'pid= and comm= filter nothing at the points link, retransmit, reset_sent, reset_received, drop, overflow'
unload net
rm "$VESPER_WORK/net.json"
load_group net points=state comm=nc
guest_exec "$GUEST" "
	wget -T 1 -q -O /dev/null http://127.0.0.1:7001/
	nc -w 2 127.0.0.1 7001 </dev/null" && fail "somebody listens"
expect_record net socket_state "comm == 'nc' and remote == '127.0.0.1:7001' and new_state == 'syn_sent'"
expect_none net socket_state "comm != 'nc' and new_state == 'syn_sent'"
said=$(vesper load "$GUEST" block points=all comm=nc) || fail "cannot load block comm=nc: $said"
expect_match "what filters nothing" "$said" 'filter nothing at the points error, complete:'
unload blockio
