#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The groups of probe points on the host itself, by name, several at a time: memory
# runs out in a memory cgroup, processes end in three ways, a connection is refused, two
# tasks want the same CPU, a disk takes its time, a file system becomes read-only; each by
# the host's own doing. The group for the kernel's end is loaded as well.
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
load_group sched points=default,switch min_us=1000 comm=spinner n_subbufs=32
load_group block points=all min_us=0 device=nullb0
load_group fs
load_group panic

host_step "memory"
end() {
	local status=$?
	host_group_end
	(exit "$status")
	host_domain_end
}
trap end EXIT
host_group_eats
expect_record memory out_of_memory \
	"comm == 'dd' and constraint == 'memory_cgroup' and cgroup == '/eater'"
expect_record memory oom_victim "pid == $EATER and comm == 'dd' and cgroup == '/eater'"
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
expect_record process exit "pid == $EATER and signal == 'SIGKILL' and comm == 'dd'"
expect_record process fault "pid == $faulted and signal == 'SIGSEGV' and address == '0x123450'"

host_step "net"
(exec 3<>/dev/tcp/127.0.0.1/7001) 2>/dev/null && fail "somebody listens"
expect_record net tcp_reset_sent "local == '127.0.0.1:7001' and reason == 'no_socket'"

host_step "sched"
spin() { exec timeout 3 taskset 1 sh -c 'printf spinner >/proc/$$/comm; while :; do :; done'; }
(spin) &
(spin) &
wait
expect_record sched run_queue_delay "comm == 'spinner' and us >= 1000 and before_pid != pid"
expect_record sched switch "prev_comm == 'spinner' and next_pid != prev_pid"

host_step "block"
modprobe null_blk nr_devices=1 || fail "no null_blk"
dd if=/dev/nullb0 of=/dev/null bs=4k count=8 iflag=direct status=none || fail "cannot read"
expect_record blockio block_complete "device == 'nullb0' and op == 'read' and status == 'ok'"
expect_record blockio block_slow "device == 'nullb0' and issuer_pid > 0"
expect_none blockio block_error
unload blockio
rmmod null_blk

host_step "fs"
mkdir "$VESPER_WORK/mnt"
mount -t tmpfs tmpfs "$VESPER_WORK/mnt" -o size=1M || fail "no tmpfs"
mount -o remount,ro "$VESPER_WORK/mnt" || fail "cannot remount"
umount "$VESPER_WORK/mnt"
expect_record fs remount_read_only "fs == 'tmpfs' and comm == 'mount' and not forced"
expect_none fs fs_error

host_step "unload"
expect_none panic panic
expect_none panic oops
for group in memory process net sched fs panic; do unload "$group"; done
read_away
host_domain_down
