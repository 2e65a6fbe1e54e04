#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The groups of probe points on the host itself, by name, several at a time: memory
# runs out in a memory cgroup, processes end in three ways, a connection is refused;
# each by the host's own doing.
# kernel-log: host 1 Call Trace:
# kernel-log: host 1 Memory cgroup out of memory: Killed process
. lib/vesper.sh
. lib/groups.sh
. lib/host_domain.sh

host_domain_up
host_domain
load_group memory min_us=0
load_group process
load_group net

host_step "memory"
cgroup=$VESPER_WORK/cgroup
mkdir "$cgroup"
mount -t cgroup2 cgroup "$cgroup" || fail "no cgroup2"
end() {
	local status=$?
	rmdir "$cgroup/eater" 2>/dev/null
	umount "$cgroup"
	(exit "$status")
	host_domain_end
}
trap end EXIT
echo +memory >"$cgroup/cgroup.subtree_control" || fail "no memory controller"
mkdir "$cgroup/eater"
echo 12M >"$cgroup/eater/memory.max"
# dd's buffer is larger than what it may have.
sh -c 'echo $$ >"$1"; exec dd if=/dev/zero of=/dev/null bs=48M count=1' \
	sh "$cgroup/eater/cgroup.procs" &
eater=$!
wait "$eater" 2>/dev/null && fail "it had enough memory"
expect_record memory out_of_memory \
	"comm == 'dd' and constraint == 'memory_cgroup' and cgroup == '/eater'"
expect_record memory oom_victim "pid == $eater and comm == 'dd' and cgroup == '/eater'"
expect_record memory reclaim_stall "comm == 'dd' and short_of == 'memory_cgroup'"

host_step "process"
sh -c 'exit 7' &
seven=$!
wait "$seven"
host_victim
kill -KILL "$VICTIM"
wait "$VICTIM" 2>/dev/null
tools/fault &
faulted=$!
wait "$faulted" 2>/dev/null
expect_record process exit "pid == $seven and code == 7"
expect_record process exec "pid == $VICTIM and comm == 'sleep'"
expect_record process exit "pid == $VICTIM and signal == 'SIGKILL' and comm == 'sleep'"
expect_record process exit "pid == $eater and signal == 'SIGKILL' and comm == 'dd'"
expect_record process fault "pid == $faulted and signal == 'SIGSEGV' and address == '0x123450'"

host_step "net"
(exec 3<>/dev/tcp/127.0.0.1/7001) 2>/dev/null && fail "somebody listens"
expect_record net tcp_reset_sent "local == '127.0.0.1:7001' and reason == 'no_socket'"

host_step "unload"
for group in memory process net; do unload "$group"; done
read_away
host_domain_down
