#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A task that waits for its CPU, one that hangs in a frozen file system, and a file
# system with an error in a directory: the groups "sched" and "fs", loaded together.
# The kernel reports the task once, with its call stack, and the directory each time:
# kernel-log: guest 1 blocked for more than
# kernel-log: guest 1 Call Trace:
. lib/vesper.sh
. lib/groups.sh
unload_on_exit sched fs

sysctl_of() { guest_exec "$GUEST" "cat /proc/sys/kernel/$1"; }
timeout=$(sysctl_of hung_task_timeout_secs)
warnings=$(sysctl_of hung_task_warnings)

# Before ext4 is there: the points at its tracepoints wait for it, and that is said.
guest_exec "$GUEST" "rmmod ext4 2>/dev/null; [ ! -e /sys/module/ext4 ]" || fail "ext4 stays loaded"
said=$(vesper load "$GUEST" fs 2>&1) || fail "cannot load fs: $said"
[[ $said != *"is not attached"* ]] || fail "fs: $said"
for point in ext4_error ext4_shutdown ext4_read_only; do
	expect_match "what waits" "$said" "point '$point' waits for module ext4, which is not loaded"
done

# A file system, and the place in it of a name in a directory.
guest_exec "$GUEST" "
	set -e
	dd if=/dev/zero of=/tmp/image bs=1M count=8 2>/dev/null
	mke2fs -F /tmp/image >/dev/null
	modprobe ext4; modprobe loop
	losetup /dev/loop7 /tmp/image
	mkdir -p /tmp/fs
	mount -t ext4 -o errors=remount-ro /dev/loop7 /tmp/fs
	mkdir /tmp/fs/dir
	touch /tmp/fs/dir/thisname" || fail "no file system"

listed() { vesper list "$GUEST" --json | python3 -c '
import json, sys
print(*(m["remark"] for m in json.load(sys.stdin) if m["module"] == "fs"))'; }
nothing_left() { [[ -z $(listed) ]]; }
wait_for 20 "the points to be attached" nothing_left

load_group sched points=default,switch min_us=1000 comm=spinner n_subbufs=32

# Two tasks that both want CPU 1. A line feed would be part of the name.
guest_exec "$GUEST" "
	for n in 1 2; do
		timeout 3 taskset 2 sh -c 'printf spinner >/proc/\$\$/comm; while :; do :; done' &
	done
	wait" >/dev/null
expect_record sched run_queue_delay "comm == 'spinner' and us >= 1000 and before_pid != pid"
expect_record sched switch "prev_comm == 'spinner' and prev_state == 'runnable' and next_pid != prev_pid"
expect_none sched switch "'spinner' not in (prev_comm, next_comm)"
expect_none sched run_queue_delay "comm != 'spinner'"
expect_none sched run_queue_delay "us < 1000"
unload sched

# A sleep that may be frozen is a sleep.
load_group sched points=switch comm=busybox-sleeps
guest_exec "$GUEST" "cp /bin/busybox /tmp/busybox-sleeps; /tmp/busybox-sleeps sleep 0.1; rm /tmp/busybox-sleeps"
expect_record sched switch "prev_comm == 'busybox-sleeps' and prev_state == 'sleeping'"
unload sched

# Of one of the two.
rm "$VESPER_WORK/sched.json"
pids=$(guest_exec "$GUEST" "
	for n in 1 2; do
		timeout 120 taskset 2 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo \$!
	done")
read -r one other <<<"${pids//$'\n'/ }"
load_group sched points=delay,switch min_us=1000 "pid=$one" n_subbufs=32
expect_record sched run_queue_delay "pid == $one and before_pid == $other"
expect_record sched switch "prev_pid == $one and next_pid == $other"
expect_record sched switch "prev_pid == $other and next_pid == $one"
expect_none sched run_queue_delay "pid != $one"
expect_none sched switch "$one not in (prev_pid, next_pid)"
guest_exec "$GUEST" "kill $one $other" || fail "cannot end them"
unload sched

# It is frozen when the task wants to write.
load_group sched points=hung,lockup
guest_exec "$GUEST" "
	echo 1 >/proc/sys/kernel/hung_task_warnings
	echo 2 >/proc/sys/kernel/hung_task_timeout_secs
	fsfreeze --freeze /tmp/fs
	touch /tmp/fs/late >/dev/null 2>&1 &" || fail "cannot freeze"
expect_record sched hung_task "comm == 'touch' and 'percpu_rwsem_wait' in stack[0] and any('mnt_want_write' in s for s in stack)"
guest_exec "$GUEST" "
	fsfreeze --unfreeze /tmp/fs
	echo $timeout >/proc/sys/kernel/hung_task_timeout_secs
	echo $warnings >/proc/sys/kernel/hung_task_warnings"
expect_none sched soft_lockup
expect_none fs fs_error

# By the operator.
guest_exec "$GUEST" "mount -o remount,ro /tmp/fs" || fail "cannot remount"
expect_record fs remount_read_only "fs == 'ext4' and volume == 'loop7' and comm == 'mount' and not forced and cause == 'operator'"
guest_exec "$GUEST" "mount -o remount,rw /tmp/fs" || fail "cannot remount"
collect fs
expect_eq "remounts" "$(count_records fs remount_read_only)" 1

# By an error: the entry of that name is made shorter than an entry can be.
guest_exec "$GUEST" "
	umount /tmp/fs
	at=\$(strings -t d /tmp/image | sed -n 's/^ *\([0-9]*\) thisname.*/\1/p' | head -n 1)
	printf '\001\000' | dd of=/tmp/image bs=1 seek=\$((at - 4)) conv=notrunc 2>/dev/null
	losetup -d /dev/loop7; losetup /dev/loop7 /tmp/image
	mount -t ext4 -o errors=continue /dev/loop7 /tmp/fs && ls -l /tmp/fs/dir; true" >/dev/null
expect_record fs ext4_error "volume == 'loop7' and comm == 'ls'"
expect_none fs remount_read_only "cause == 'error'"
writable() { guest_exec "$GUEST" "touch /tmp/fs/other"; }
writable || fail "not to be written, with errors=continue"
# Once more, with what makes it read-only.
rm "$VESPER_WORK/fs.json"
guest_exec "$GUEST" "
	umount /tmp/fs
	mount -t ext4 -o errors=remount-ro /dev/loop7 /tmp/fs && ls -l /tmp/fs/dir; true" >/dev/null
writable && fail "to be written, with errors=remount-ro"
expect_record fs remount_read_only "fs == 'ext4' and volume == 'loop7' and comm == 'ls' and forced and cause == 'error'"
expect_eq "switches to read-only" "$(count_records fs remount_read_only)" 1
expect_record fs fs_error "fs == 'ext4' and volume == 'loop7' and place == 'metadata' and error == -117 and inode > 0 and comm == 'ls'"
expect_record fs ext4_error "volume == 'loop7' and 'dir' in function and line > 0 and comm == 'ls'"
guest_exec "$GUEST" "umount /tmp/fs" || fail "cannot clean up"

# By an operator who shuts it down, which is no switch to read-only.
guest_put "$GUEST" tools/shut_down /tmp/shut_down
guest_exec "$GUEST" "
	set -e
	mke2fs -F /tmp/image >/dev/null
	mount -t ext4 /dev/loop7 /tmp/fs
	chmod +x /tmp/shut_down
	/tmp/shut_down /tmp/fs" || fail "cannot shut it down"
expect_record fs ext4_shutdown "volume == 'loop7' and flags == '0x2' and comm == 'shut_down'"
expect_eq "switches to read-only, after that" "$(count_records fs remount_read_only)" 1
guest_exec "$GUEST" "umount /tmp/fs; losetup -d /dev/loop7; rm /tmp/image /tmp/shut_down" || fail "cannot clean up"
unload fs

# Whose remounts: not those of others.
guest_exec "$GUEST" "mount -t tmpfs tmpfs /tmp/fs" || fail "no tmpfs"
remount() { guest_exec "$GUEST" "mount -o remount,ro /tmp/fs && mount -o remount,rw /tmp/fs" || fail "cannot remount"; }
rm "$VESPER_WORK/fs.json"
load_group fs points=read_only comm=somebody
remount
expect_none fs remount_read_only
unload fs
load_group fs points=read_only comm=mount
remount
expect_record fs remount_read_only "fs == 'tmpfs' and comm == 'mount' and cause == 'operator'"
unload fs
pid=$(guest_exec "$GUEST" "
	sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; exec mount -o remount,ro /tmp/fs' >/dev/null 2>&1 & echo \$!")
rm "$VESPER_WORK/fs.json"
load_group fs points=read_only "pid=$pid"
remount
guest_exec "$GUEST" "touch /tmp/go"
expect_record fs remount_read_only "fs == 'tmpfs' and pid == $pid and comm == 'mount'"
expect_none fs remount_read_only "pid != $pid"
guest_exec "$GUEST" "rm /tmp/go"
guest_exec "$GUEST" "umount /tmp/fs" || fail "cannot clean up"
