#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Memory runs out in a memory cgroup, and for huge pages: the group "memory" tells
# who asked, who was killed, who had to wait. A filter leaves others out.
# Each time the kernel itself shows a call stack:
# kernel-log: guest 2 Call Trace:
# kernel-log: guest 2 Memory cgroup out of memory: Killed process
. lib/vesper.sh
. lib/groups.sh
unload_on_exit memory

# dd's buffer is larger than what it may have.
eat() {
	guest_exec "$GUEST" "
		mkdir -p /tmp/cg
		[ -e /tmp/cg/cgroup.procs ] || mount -t cgroup2 cgroup /tmp/cg
		echo +memory >/tmp/cg/cgroup.subtree_control
		mkdir -p /tmp/cg/eater
		echo 12M >/tmp/cg/eater/memory.max
		sh -c 'echo \$\$ >/tmp/cg/eater/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=48M count=1'
		rmdir /tmp/cg/eater"
}

load_group memory min_us=0
eat
expect_record memory out_of_memory \
	"comm == 'dd' and constraint == 'memory_cgroup' and cgroup == '/eater' and total_kb > free_kb > 0"
expect_record memory out_of_memory "any('mem_cgroup' in s or 'charge' in s for s in stack)"
expect_record memory oom_victim \
	"comm == 'dd' and 8000 < anon_kb < 12500 and total_vm_kb > 48000 and oom_score > 660 and cgroup == '/eater'"
expect_record memory reclaim_stall "comm == 'dd' and short_of == 'memory_cgroup' and us >= 0"
expect_record memory memory_stall "comm == 'dd'"
unload memory

# More huge pages than there is memory: whoever asks for them reckons with failure.
huge() { guest_exec "$GUEST" 'echo 400 >/proc/sys/vm/nr_hugepages; echo 0 >/proc/sys/vm/nr_hugepages'; }
load_group memory points=failure,reclaim nowarn=1 min_us=1
huge
expect_record memory allocation_failure "order == 9 and 'page allocation failure' in message and len(stack) > 3"
expect_record memory reclaim_stall "short_of == 'machine' and order == 9"
unload memory

# Others, shorter ones, and points that were not chosen, are left out.
rm "$VESPER_WORK/memory.json"
load_group memory comm=nobody min_us=600000000
eat
expect_none memory out_of_memory
expect_none memory oom_victim
expect_none memory reclaim_stall
