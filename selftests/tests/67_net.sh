#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A port where nobody listens, a program that does not accept connections, a link
# that goes down: the group "net". Another port is left out.
. lib/vesper.sh
. lib/groups.sh
unload_on_exit net

load_group net points=default,state
guest_exec "$GUEST" "nc -w 2 127.0.0.1 7001 </dev/null" && fail "somebody listens"
expect_record net tcp_reset_sent "local == '127.0.0.1:7001' and reason == 'no_socket'"
expect_record net tcp_reset_received "remote == '127.0.0.1:7001' and state == 'syn_sent'"
expect_record net packet_drop "dest == '127.0.0.1:7001' and reason == 'NO_SOCKET' and 'tcp' in location"
expect_record net socket_state \
	"remote == '127.0.0.1:7001' and new_state == 'syn_sent' and protocol == 'tcp'"
expect_none net listen_overflow
expect_none net link

# Two may wait to be accepted; all the others ask again and again.
guest_exec "$GUEST" "
	old=\$(cat /proc/sys/net/core/somaxconn)
	echo 1 >/proc/sys/net/core/somaxconn
	httpd -f -p 127.0.0.1:7002 -h /tmp & server=\$!
	sleep 0.5
	kill -STOP \$server
	for n in 1 2 3 4 5; do nc -w 4 127.0.0.1 7002 </dev/null & done
	sleep 4
	kill -KILL \$server
	echo \$old >/proc/sys/net/core/somaxconn" >/dev/null
expect_record net listen_overflow "local == '127.0.0.1:7002' and limit == 1 and backlog > limit and remote.startswith('127.0.0.1:')"
expect_record net tcp_retransmit "remote == '127.0.0.1:7002' and state == 'syn_sent' and retransmits >= 0"

guest_exec "$GUEST" "ip link set lo down; ip link set lo up"
expect_record net link "device == 'lo' and change == 'down' and not up"
expect_record net link "device == 'lo' and change == 'up' and up"
collect net
expect_eq "changes of links" "$(count_records net link)" 2
unload net

rm "$VESPER_WORK/net.json"
load_group net port=7003
guest_exec "$GUEST" "nc -w 2 127.0.0.1 7001 </dev/null" && fail "somebody listens"
expect_none net tcp_reset_sent
expect_none net packet_drop "dest == '127.0.0.1:7001'"
expect_none net socket_state
