#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 420
# A cluster of two nodes: each sign that the host is about to fall (a machine check, an error
# of its memory that EDAC reports, memory that is short for all, a disk that can't be read, a
# task that hangs) turns its health red, by the rules that are shipped, and what runs there
# moves to the other node while both live; a corrected error does not. A guest whose resource
# runs on the other node, or is not managed, is left alone.
# kernel-log: host * (Machine [Cc]heck|blocked for more than|Call Trace:|Out of memory: Killed process)
. lib/vesper.sh
. lib/groups.sh
. lib/host_domain.sh
. lib/cluster.sh

export VESPER_HA_CONFIG=$TOP/tools/vesper-ha/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
INJECT=/sys/kernel/debug/mce-inject
FS=$VESPER_WORK/fs
mkdir "$FS"
hung_after=$(</proc/sys/kernel/hung_task_timeout_secs)

clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	((status == 0)) || tail -n 20 "$VESPER_WORK"/*log
	cluster_stop
	{
		echo "$hung_after" >/proc/sys/kernel/hung_task_timeout_secs
		fsfreeze --unfreeze "$FS"
		umount "$FS"
		rmmod vesper_edac scsi_debug
	} 2>/dev/null
	guest_end ha4
	(exit $status)
	host_domain_end
}

host_domain_up
host_domain
modprobe mce_inject || fail "no mce_inject"
trap clean_up EXIT
cluster_start node1 node2
crm_attribute --type crm_config --name node-health-strategy --update migrate-on-red ||
	fail "no health strategy"
cibadmin --create --scope resources --xml-text \
	"<primitive id='service' class='ocf' provider='heartbeat' type='Dummy'/>" || fail "no resource"
cibadmin --create --scope constraints --xml-text \
	"<rsc_location id='home' rsc='service' node='node1' score='100'/>" || fail "no preference"
where() { crm_resource --resource service --locate --quiet 2>/dev/null; }
runs_on() { [[ $(where) == "$1" ]]; }
both() { [[ $(crm_node --list | grep -c member) == 2 ]]; }
wait_for 90 "both nodes" both
wait_for 60 "the service at home" runs_on node1

expect_status 0 vesper-ha check
expect_match "advice" "$OUTPUT" "host: probe 'any' is not loaded; 'vesper keep add host any at=t:mc_event,t:mce_record urgent=1 args=status=...,type=...' loads it, with what they need in place of ..."
load_group memory points=oom,victim
load_group block min_us=600000000
load_group sched points=hung
# shellcheck disable=SC2016 # as the rules have it
vesper load host any at=t:mce_record,t:mc_event urgent=1 'args=status=+0($arg1):x64,type=$arg1:u32' ||
	fail "no probe"
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
said() { grep -q "$1" "$VESPER_WORK/log"; }
wait_for 30 "vesper-ha" said 'rules from'

# A corrected error, of software's making, and one that was not.
machine_check() { # STATUS
	echo sw >$INJECT/flags
	echo "$1" >$INJECT/status
	echo 0 >$INJECT/cpu
	echo 1 >$INJECT/bank || fail "cannot inject"
}
host_step "corrected errors"
machine_check 0x9c00000000000000
sleep 3
runs_on node1 || fail "the service has moved because of a corrected error"
! said '#health-vesper' || fail "one corrected error is taken for a sign"
# Thirty of them in an hour are one, though not one to run from.
for _ in {2..30}; do machine_check 0x9c00000000000000; done
wait_for 60 "the finding" said '^host corrected errors: host/any: entry'
wait_for 60 "the health" said '#health-vesper=yellow on node1'
runs_on node1 || fail "the service has moved because of corrected errors"
host_step "an error that was not corrected"
machine_check 0xbc00000000000000

REDS=0
# The finding, and the service elsewhere.
moved() { # RULE FINDING
	wait_for 60 "the finding '$1'" said "^$1: host/$2"
	wait_for 60 "the service on the other node" runs_on node2
	note "$(grep "^$1: host/" "$VESPER_WORK/log")"
}
# The operator has seen to it, and it is at home again.
cleared() { (($(grep -c '#health-vesper taken back on node1' "$VESPER_WORK/log") == REDS)); }
clear_host() {
	REDS=$((REDS + 1))
	vesper-ha clear host
	wait_for 60 "the health's end" cleared
	wait_for 60 "the service at home again" runs_on node1
}
moved "host machine check" "any: entry"
wait_for 60 "the health" said '#health-vesper=red on node1'
vesper-ha explain host -n 10
expect_match "what was done" "$(vesper-ha explain host -n 1)" \
	"attribute #health-vesper after .*: #health-vesper=red on node1"
expect_eq "findings" "$(grep -c 'host machine check: host/any' "$VESPER_WORK/log")" 1
clear_host

# The same by EDAC, as the driver of a memory controller reports it.
insmod "$HOST_TOP/selftests/modules/vesper_edac/vesper_edac.ko" || fail "no vesper_edac"
memory_error() { # corrected|uncorrected
	host_step "memory error, $1"
	taskset -c 0 sh -c "echo $1 >/sys/module/vesper_edac/parameters/error" ||
		fail "no error is reported"
}
# In the order of one CPU: when the second is found, the first has been judged.
memory_error corrected
memory_error uncorrected
moved "host memory error" "any: entry"
expect_eq "findings" "$(grep -c 'host memory error: host/any' "$VESPER_WORK/log")" 1
expect_match "which of the two" "$(vesper-ha explain host -n 1 --json)" '"type": ?1[,}]'
rmmod vesper_edac || fail "vesper_edac stays"
clear_host

host_step "memory of all"
# The kernel kills who says that he is to be the first.
host_victim
echo 1000 >"/proc/$VICTIM/oom_score_adj" || fail "oom_score_adj"
echo f >/proc/sysrq-trigger
wait "$VICTIM" 2>/dev/null
moved "host out of memory" "memory: out_of_memory"
clear_host

host_step "a disk"
modprobe sd_mod || fail "no sd_mod"
modprobe scsi_debug dev_size_mb=8 opts=2 || fail "no disk"
find_disk() { DISK=$(cd /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block && ls); }
wait_for 30 "the disk" find_disk
for _ in 1 2 3 4 5 6 7 8 9 10; do
	dd if="/dev/$DISK" of=/dev/null iflag=direct bs=512 skip=$((0x1234)) count=1 status=none 2>/dev/null &&
		fail "the disk can be read"
done
moved "host disk errors" "blockio: block_error"
clear_host

host_step "a task"
dd if=/dev/zero of="$VESPER_WORK/image" bs=1M count=8 status=none
busybox mke2fs -F "$VESPER_WORK/image" >/dev/null || fail "no image"
modprobe ext4 || fail "no ext4"
modprobe loop || fail "no loop"
mount -o loop -t ext4 "$VESPER_WORK/image" "$FS" || fail "no file system"
echo 1 >/proc/sys/kernel/hung_task_timeout_secs
fsfreeze --freeze "$FS" || fail "cannot freeze"
touch "$FS/late" &
late=$!
moved "host hung task" "sched: hung_task"
# Not what the cluster's own processes wait for.
echo "$hung_after" >/proc/sys/kernel/hung_task_timeout_secs
fsfreeze --unfreeze "$FS"
wait $late
clear_host
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"

# A guest here whose resource runs there.
crm_resource --resource service --move --node node2 || fail "cannot move the service"
wait_for 60 "the service on the other node" runs_on node2
export VESPER_HA_CONFIG=$VESPER_WORK/ha.toml VESPER_HA_STATE=$VESPER_WORK/state2
cat >"$VESPER_HA_CONFIG" <<RULES
[guests.ha4]
resource = "service"
[[rule]]
name = "killed"
probe = "process"
event = "exit"
where = { comm = "service", signal = "!=none" }
destroy = true
fail = true
RULES
guest_start ha4 --smp 1 --mem 320 || fail "the guest does not start"
GUEST=ha4 load_group process points=exit
vesper-ha run 2>>"$VESPER_WORK/log" &
HA=$!
wait_for 30 "vesper-ha" said "rules from $VESPER_HA_CONFIG"
kill_service ha4
wait_for 60 "one refusal" said "destroy FAILED: resource 'service' does not run on this node, node1"
wait_for 60 "the other" said "fail FAILED: resource 'service' does not run on this node, node1"
guest_running ha4 || fail "the guest was ended"
expect_eq "where it runs" "$(where)" node2

# It runs here, but the cluster is not to touch it.
crm_resource --resource service --move --node node1 || fail "cannot move the service"
wait_for 60 "the service at home" runs_on node1
crm_resource --resource service --meta --set-parameter is-managed --parameter-value false ||
	fail "cannot set is-managed"
unmanaged() { crm_mon --one-shot --inactive --output-as=xml | grep 'id="service"' | grep -q 'managed="false"'; }
wait_for 20 "the cluster's word" unmanaged
vesper-ha clear ha4
wait_for 20 "the word to arrive" said 'ha4: cleared'
kill_service ha4
wait_for 60 "the refusal" said "destroy FAILED: resource 'service' is unmanaged or in maintenance"
guest_running ha4 || fail "the guest was ended"
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
