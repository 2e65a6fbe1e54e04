#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Memory runs out in a memory cgroup, for huge pages and for a module that wants more than
# there is: the group "memory" tells who asked, who was killed, who had to wait and what came
# of it. Thresholds and filters leave others out.
# Each time the kernel itself shows a call stack; of the last of these once, too:
# kernel-log: guest 4 Call Trace:
# kernel-log: guest 3 oom-kill:constraint=CONSTRAINT_MEMCG
# kernel-log: guest 1 vmalloc error: size 8589934592
. lib/vesper.sh
. lib/groups.sh
unload_on_exit memory

# A memory cgroup that may have 12 MiB, and what runs a command in it.
guest_exec "$GUEST" "
	set -e
	mkdir -p /tmp/cg
	[ -e /tmp/cg/cgroup.procs ] || mount -t cgroup2 cgroup /tmp/cg
	echo +memory >/tmp/cg/cgroup.subtree_control
	mkdir -p /tmp/cg/eater
	echo 12M >/tmp/cg/eater/memory.max
	printf '%s\n' '#!/bin/sh' 'echo \$\$ >/tmp/cg/eater/cgroup.procs' 'exec \"\$@\"' >/tmp/inside
	chmod +x /tmp/inside
	mkfifo /tmp/full
	modprobe null_blk nr_devices=1" || fail "no memory cgroup"
# dd's buffer is larger than that.
eat() { guest_exec "$GUEST" "/tmp/inside dd if=/dev/zero of=/dev/null bs=48M count=1"; }
# What is read of a disk is kept as long as there is room.
read_on() { guest_exec "$GUEST" "/tmp/inside dd if=/dev/nullb0 of=/dev/null bs=1M count=24"; }

load_group memory min_us=0 n_subbufs=32
eat
expect_record memory out_of_memory \
	"comm == 'dd' and constraint == 'memory_cgroup' and cgroup == '/eater' and total_kb > free_kb > 0"
expect_record memory out_of_memory "any('mem_cgroup' in s or 'charge' in s for s in stack)"
expect_record memory oom_victim \
	"comm == 'dd' and 8000 < anon_kb < 12500 and total_vm_kb > 48000 and oom_score > 660 and cgroup == '/eater'"
# Without a place to swap to nothing can be got of its buffer.
expect_record memory reclaim_stall \
	"comm == 'dd' and short_of == 'memory_cgroup' and us > 0 and any('charge' in s for s in stack)"
expect_record memory memory_stall "comm == 'dd' and us > 0 and len(stack) > 3"
limits_met() { guest_exec "$GUEST" "sed -n 's/^max //p' /tmp/cg/eater/memory.events"; }
collect memory
rm "$VESPER_WORK/memory.json"
before=$(limits_met)
read_on
expect_record memory reclaim_stall \
	"comm == 'dd' and short_of == 'memory_cgroup' and us > 0 and reclaimed > 0"
expect_record memory memory_stall "comm == 'dd' and us > 0 and len(stack) > 3"
expect_none memory out_of_memory
# The kernel's own count of what ran into the limit, and then reclaimed.
limited=$(($(limits_met) - before))
note "$limited times the limit was met"
expect_eq "records lost" "$(guest_count memory lost all)" 0
expect_eq "reclaims in the group" \
	"$(count_records memory reclaim_stall "short_of == 'memory_cgroup'")" "$limited"
expect_eq "stalls in the group" \
	"$(count_records memory memory_stall "any('charge_memcg' in s for s in stack)")" "$limited"
unload memory

# Only half of them take longer than the others.
middle=$(python3 -c '
import json, statistics, sys
records = map(json.loads, open(sys.argv[1]))
print(statistics.median_low([r["fields"]["us"] for r in records if r["event"] == "reclaim_stall"]))' \
	"$VESPER_WORK/memory.json")
note "half of them took $middle us or longer"
((middle > 0)) || fail "most stalls took no time"
rm "$VESPER_WORK/memory.json"
load_group memory "min_us=$middle" n_subbufs=32
long_ones() {
	read_on
	sleep 0.5
	have_record memory reclaim_stall && have_record memory memory_stall
}
wait_for 60 "stalls of $middle us" long_ones
expect_none memory reclaim_stall "us < $middle"
expect_none memory memory_stall "us < $middle"
unload memory

# More huge pages than there is memory: whoever asks for them reckons with failure.
huge() { guest_exec "$GUEST" 'echo 400 >/proc/sys/vm/nr_hugepages; echo 0 >/proc/sys/vm/nr_hugepages'; }
rm "$VESPER_WORK/memory.json"
load_group memory points=failure
huge
expect_none memory allocation_failure
# A disk in memory that is larger than the memory: that is a failure nobody reckons with.
guest_exec "$GUEST" "
	set -e
	modprobe scsi_debug add_host=0 fake_rw=1 dev_size_mb=8192
	! echo 0 >/sys/bus/pseudo/drivers/scsi_debug/fake_rw" || fail "the guest has 8 GiB"
expect_record memory allocation_failure \
	"comm == 'sh' and order == -1 and message.startswith('vmalloc error') and any('scsi_debug' in s for s in stack)"
collect memory
expect_eq "failures" "$(count_records memory allocation_failure)" 1
guest_exec "$GUEST" "rmmod scsi_debug" || fail "scsi_debug stays"
unload memory
load_group memory points=failure,reclaim nowarn=1 min_us=1
huge
expect_record memory allocation_failure "order == 9 and 'page allocation failure' in message and len(stack) > 3"
expect_record memory reclaim_stall "short_of == 'machine' and order == 9 and us > 0"
unload memory

# Of two victims at a time, the one that does not run then: it has its memory, and waits.
rm "$VESPER_WORK/memory.json"
holder=$(guest_exec "$GUEST" "
	echo 1 >/tmp/cg/eater/memory.oom.group
	/tmp/inside dd if=/dev/zero of=/tmp/full bs=8M count=1 >/dev/null 2>&1 & pid=\$!
	while [ \"\$(cat /proc/\$pid/comm)\" != dd ]; do sleep 0.1; done
	echo \$pid")
load_group memory points=victim "pid=$holder"
status=$(guest_exec "$GUEST" "
	sleep 300 </tmp/full >/dev/null 2>&1 & reader=\$!
	while [ \$(cat /tmp/cg/eater/memory.current) -lt 8388608 ]; do sleep 0.1; done
	/tmp/inside dd if=/dev/zero of=/dev/null bs=48M count=1 2>/dev/null
	echo \$?
	kill \$reader
	echo 0 >/tmp/cg/eater/memory.oom.group")
expect_match "how the other one ends" "$status" '137$'
expect_record memory oom_victim "pid == $holder and tgid == $holder and comm == 'dd' and anon_kb >= 8192"
expect_none memory oom_victim "pid != $holder"
unload memory

# Others, shorter ones, and points that were not chosen, are left out.
rm "$VESPER_WORK/memory.json"
load_group memory comm=nobody min_us=0
eat
read_on
expect_none memory out_of_memory
expect_none memory oom_victim
expect_none memory reclaim_stall
expect_none memory memory_stall
unload memory
load_group memory min_us=600000000
read_on
expect_none memory reclaim_stall
expect_none memory memory_stall
unload memory
# The disk may be built in.
guest_exec "$GUEST" "
	rmmod null_blk 2>/dev/null
	rmdir /tmp/cg/eater && rm /tmp/inside /tmp/full" || fail "cannot clean up"
