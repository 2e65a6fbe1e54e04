#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 360
# The rules that are shipped, in a dry run, while all goes wrong in a guest for real: each
# finds what it is there for, and none finds a shutdown.
# kernel-log: ha3 * (BUG: kernel NULL|Oops|blocked for more than|Kernel panic|Call Trace|Memory cgroup out of memory|rcu.*(stall|detected)|soft lockup|clocksource)
# kernel-log: host * ha3: (hung|says that it panics)
. lib/vesper.sh
. lib/groups.sh

own_guest ha3 --smp 2
export VESPER_HA_CONFIG=$TOP/tools/vesper-ha/ha.toml VESPER_HA_STATE=$VESPER_WORK/state
export VESPER_HA_LATCHES=$VESPER_WORK/latches
FAULT=$GUEST_TOP/selftests/modules/vesper_fault/vesper_fault.ko
clean_up() {
	local status=$?
	kill "$HA" 2>/dev/null
	((status == 0)) || cat "$VESPER_WORK/log"
	(exit $status)
	own_guests_end
}
trap clean_up EXIT
said() { grep -q "$1" "$VESPER_WORK/log"; }
found() { # RULE PROBE EVENT
	wait_for 60 "the finding '$1'" said "^$1: ha3/$2: $3"
	note "found: $1"
}
begin() {
	vesper-ha run --dry-run 2>"$VESPER_WORK/log" &
	HA=$!
	wait_for 20 "vesper-ha" said 'dry run: nothing is done'
}

expect_status 0 vesper-ha check
note "$OUTPUT"
load_group process points=exit,exec
load_group signal
load_group memory
load_group fs
load_group block min_us=600000000
load_group panic
load_group sched points=hung,lockup
vesper load ha3 "$FAULT" || fail "cannot load $FAULT"
begin

# A service is told to end, and does not know how.
# shellcheck disable=SC2016 # the guest's shell is to expand it
guest_exec ha3 '
	printf "#!/bin/sh\nwhile :; do sleep 1; done\n" >/tmp/nginx
	chmod +x /tmp/nginx
	/tmp/nginx & sleep 0.5; kill -TERM $!'
found "service told to end" signal signal_generate
found "service killed by a signal" process "exit.* comm=nginx"

# One takes more memory than it may have.
guest_exec ha3 "
	mkdir -p /tmp/cg
	mount -t cgroup2 cgroup /tmp/cg
	echo +memory >/tmp/cg/cgroup.subtree_control
	mkdir /tmp/cg/eater
	echo 12M >/tmp/cg/eater/memory.max
	sh -c 'echo \$\$ >/tmp/cg/eater/cgroup.procs; printf postgres >/proc/\$\$/comm
		x=\$(dd if=/dev/zero bs=65536 count=800 2>/dev/null | tr \"\\\\0\" x); echo \${#x}'; true"
found "service killed for want of memory" memory oom_victim
found "out of memory" memory out_of_memory

# A disk that can't be read at a place.
disk=
find_disk() { disk=$(guest_exec ha3 "cd /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block && ls"); }
guest_exec ha3 "modprobe sd_mod && modprobe scsi_debug dev_size_mb=8 opts=2" || fail "no disk"
wait_for 30 "the disk" find_disk
guest_exec ha3 "
	for n in 1 2 3 4 5; do
		dd if=/dev/$disk of=/dev/null iflag=direct bs=512 skip=$((0x1234)) count=1 2>/dev/null
	done
	true"
found "disk errors" blockio block_error

# A file system in which a task hangs while it is frozen, then with an error in a
# directory.
guest_exec ha3 "
	set -e
	dd if=/dev/zero of=/tmp/image bs=1M count=8 2>/dev/null
	mke2fs -F /tmp/image >/dev/null
	modprobe ext4; modprobe loop
	losetup /dev/loop7 /tmp/image
	mkdir -p /tmp/fs
	mount -t ext4 -o errors=remount-ro /dev/loop7 /tmp/fs
	mkdir /tmp/fs/dir
	touch /tmp/fs/dir/thisname
	echo 1 >/proc/sys/kernel/hung_task_timeout_secs
	fsfreeze --freeze /tmp/fs
	touch /tmp/fs/late >/dev/null 2>&1 &" || fail "no file system"
found "hung task" sched hung_task
guest_exec ha3 "
	fsfreeze --unfreeze /tmp/fs
	echo 0 >/proc/sys/kernel/hung_task_timeout_secs
	mount -o remount,ro /tmp/fs
	umount /tmp/fs
	at=\$(strings -t d /tmp/image | sed -n 's/^ *\([0-9]*\) thisname.*/\1/p' | head -n 1)
	printf '\001\000' | dd of=/tmp/image bs=1 seek=\$((at - 4)) conv=notrunc 2>/dev/null
	losetup -d /dev/loop7; losetup /dev/loop7 /tmp/image
	mount -t ext4 -o errors=remount-ro /dev/loop7 /tmp/fs && ls -l /tmp/fs/dir; true" >/dev/null
found "file system failed" fs fs_error
found "ext4 failed" fs ext4_error
found "file system remounted read-only" fs "remount_read_only.* cause=operator"
found "file system gone read-only" fs "remount_read_only.* cause=error"
! said 'file system remounted read-only: ha3: ' || fail "a remount is acted on"

# The kernel itself.
fault() { guest_exec ha3 "(sleep 0.2; echo $2 >/sys/kernel/debug/vesper_fault/$1) >/dev/null 2>&1 &"; }
fault oops 8
found "oops" panic oops
guest_exec ha3 "echo 1 >/proc/sys/kernel/watchdog_thresh"
fault spin 9
found "soft lock-up" panic soft_lockup
guest_exec ha3 "echo 10 >/proc/sys/kernel/watchdog_thresh"
vesper heartbeat ha3 --threshold 500ms --period 50ms >/dev/null || fail "cannot set the heartbeat"
fault hang 3000
found "guest hangs" guest hung
wait_for 60 "the guest" guest_running ha3
guest_exec ha3 "(sleep 0.2; echo c >/proc/sysrq-trigger) &"
found "kernel panic" panic panic
found "guest has panicked" guest panicked
"$TOP/env/guest-vm" kill ha3
found "guest gone" guest gone
expect_status 0 vesper-ha explain ha3 -n 50
expect_match "what is explained" "$OUTPUT" 'by a dry run'
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
expect_status 0 test ! -e "$VESPER_HA_LATCHES/ha3.latch"
read_away

# A guest that shuts down is none of anybody's business.
guest_start ha3 --smp 2 || fail "the guest does not start again"
load_group process points=exit,exec
begin
let_be() { (($(grep -c "^service killed by a signal: ha3/process: exit.*; nothing is done: the guest is shutting down" "$VESPER_WORK/log") == $1)); }
make_service() { guest_exec ha3 'printf "#!/bin/sh\nwhile :; do sleep 1; done\n" >/tmp/nginx; chmod +x /tmp/nginx'; }
# By its VMM, whose button this guest does not obey.
make_service
guest_qmp ha3 '{"execute": "system_powerdown"}' >/dev/null || fail "no button"
found "guest is told to power off" guest powerdown
expect_match "what is listed" "$(vesper domains --json | grep '"domain":"ha3"')" '"powerdowns":1,'
# shellcheck disable=SC2016 # likewise
guest_exec ha3 '/tmp/nginx & sleep 0.5; kill -KILL $!'
wait_for 60 "a service to end and nothing to be done" let_be 1
# The next boot is not asked to.
guest_qmp ha3 '{"execute": "system_reset"}' >/dev/null || fail "no reset"
booted() { [[ $(vesper domains --json | grep '"domain":"ha3"') == *'"state":"ready"'*'"powerdowns":0,'* ]]; }
wait_for 180 "the next boot" booted
wait_for 60 "its agent" guest_exec ha3 true
load_group process points=exit,exec
# By somebody in it.
make_service
# shellcheck disable=SC2016 # likewise
guest_exec ha3 '
	printf "#!/bin/sh\nsleep 1\nkill -KILL \$(pidof nginx)\nsleep 1\npoweroff -f\n" >/tmp/poweroff
	chmod +x /tmp/poweroff
	/tmp/nginx >/dev/null 2>&1 &
	/tmp/poweroff >/dev/null 2>&1 &'
found "guest shuts down" process "exec.* comm=poweroff"
wait_for 60 "a service to end and nothing to be done" let_be 2
gone() { ! vesper domains --json | grep -q '"domain":"ha3".*"state":"ready"'; }
wait_for 60 "the end of the guest" gone
sleep 1
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
note "$(cat "$VESPER_WORK/log")"
! said '^guest gone: ' || fail "a shutdown was taken for a death"
! said ': fail: dry run' || fail "a shutdown would have been acted on"

# QEMU stops the guest: a disk that is to stop it fails.
guest_start ha3 -- -blockdev driver=null-co,node-name=zeros,size=1048576 \
	-blockdev driver=blkdebug,node-name=bad,image=zeros,inject-error.0.event=none,inject-error.0.sector=1000 \
	-device virtio-blk-pci,drive=bad,rerror=stop || fail "the guest does not start once more"
begin
guest_exec ha3 '(sleep 0.2; dd if=/dev/vda of=/dev/null iflag=direct bs=512 skip=1000 count=1) >/dev/null 2>&1 &'
found "guest stopped by an error" guest "failed.* run_state=failed"
expect_match "what is listed" "$(vesper domains --json | grep '"domain":"ha3"')" '"run_state":"failed",'
"$TOP/env/guest-vm" kill ha3
wait_for 60 "the end of the guest" gone
sleep 1
kill -TERM "$HA"
wait "$HA" || fail "vesper-ha ended with $?"
! said '^guest gone: ' || fail "a guest that did not run is said to be gone"
! said 'dry run: not done' || fail "a guest that may go on would be killed or failed"
