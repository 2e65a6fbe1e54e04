#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The rules that are shipped for the host (paper 5.2), in a dry run, while it has trouble for
# real: a disk that can't be read, a task that hangs, memory that is short for all. Each
# would turn the node's health red. Memory that is short for a group only is the group's
# affair. While nothing happens it sleeps. (Machine checks, and what the cluster makes of
# the health: ha_nodes.)
# kernel-log: host * (blocked for more than|Call Trace:|Memory cgroup out of memory|Out of memory: Killed process)
. lib/vesper.sh
. lib/groups.sh
. lib/host_domain.sh

export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
cat "$TOP/tools/vesper-ha/ha.toml" - >"$VESPER_HA_CONFIG" <<RULE
[[rule]]
name = "a group's affair"
guests = ["host"]
probe = "memory"
event = "out_of_memory"
where = { constraint = "memory_cgroup" }
RULE
FS=$VESPER_WORK/fs
mkdir "$FS"
timeout=$(</proc/sys/kernel/hung_task_timeout_secs)
clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	((status == 0)) || cat "$VESPER_WORK/log"
	echo "$timeout" >/proc/sys/kernel/hung_task_timeout_secs
	fsfreeze --unfreeze "$FS"
	wait
	umount "$FS"
	host_group_end
	rmmod scsi_debug
	(exit $status)
	host_domain_end
} 2>/dev/null
host_domain_up
trap clean_up EXIT
host_domain
load_group memory points=oom,victim
load_group block min_us=600000000
load_group sched points=hung
vesper-ha run --dry-run 2>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 20 "vesper-ha" said 'dry run: nothing is done'
# It waits for events, not for time to pass: as soon as its own start is behind it, there are
# six seconds in which it is not woken.
switches() { awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$HA/status"; }
sleeps() {
	local before
	before=$(switches)
	sleep 6
	(($(switches) == before))
}
wait_for 60 "it to sleep for six seconds" sleeps
times() { grep -c "$1" "$VESPER_WORK/log"; }
turns_red() { # RULE FINDING
	wait_for 60 "the finding '$1'" said "^$1: host/$2"
	wait_for 30 "what would be done" said "^$1: host: attribute #health-vesper: dry run: not done"
	note "red: $(grep "^$1: host/" "$VESPER_WORK/log")"
}

host_step "memory of a group"
host_group_eats
wait_for 30 "the finding" said "^a group's affair: host/memory: out_of_memory"

host_step "memory of all"
# The kernel kills who says that he is to be the first.
host_victim
echo 1000 >"/proc/$VICTIM/oom_score_adj" || fail "oom_score_adj"
echo f >/proc/sysrq-trigger
wait "$VICTIM" 2>/dev/null
turns_red "host out of memory" "memory: out_of_memory"
expect_eq "findings" "$(times '^host out of memory: host/')" 1

host_step "a disk"
modprobe sd_mod || fail "no sd_mod"
modprobe scsi_debug dev_size_mb=8 opts=2 || fail "no disk"
find_disk() { DISK=$(cd /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block && ls); }
wait_for 30 "the disk" find_disk
for _ in 1 2 3 4 5 6 7 8 9 10; do
	dd if="/dev/$DISK" of=/dev/null iflag=direct bs=512 skip=$((0x1234)) count=1 status=none 2>/dev/null &&
		fail "the disk can be read"
done
turns_red "host disk errors" "blockio: block_error"

host_step "a task"
dd if=/dev/zero of="$VESPER_WORK/image" bs=1M count=8 status=none
busybox mke2fs -F "$VESPER_WORK/image" >/dev/null || fail "no image"
modprobe ext4 || fail "no ext4"
modprobe loop || fail "no loop"
mount -o loop -t ext4 "$VESPER_WORK/image" "$FS" || fail "no file system"
echo 1 >/proc/sys/kernel/hung_task_timeout_secs
fsfreeze --freeze "$FS" || fail "cannot freeze"
touch "$FS/late" &
turns_red "host hung task" "sched: hung_task"
fsfreeze --unfreeze "$FS"
wait $!

kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
! said 'FAILED' || fail "a dry run did something"
expect_status 0 vesper-ha explain host -n 50
expect_match "what is explained" "$OUTPUT" 'by a dry run'
