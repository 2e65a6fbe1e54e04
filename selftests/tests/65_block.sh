#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A disk that fails on one sector and takes its time: the group "block" tells of
# both, and of neither if another disk is asked for; of what one process does, if so asked.
. lib/vesper.sh
. lib/groups.sh
unload_on_exit blockio

# A SCSI disk of the kernel's own; with option 2 sector 0x1234 can't be read.
guest_exec "$GUEST" "modprobe sd_mod && modprobe scsi_debug dev_size_mb=8 opts=2 ndelay=60000000" ||
	fail "no disk"
disk=
find_disk() { disk=$(guest_exec "$GUEST" "cd /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block && ls"); }
wait_for 30 "the disk" find_disk
note "the disk is $disk"
read_sector() { # SECTOR
	guest_exec "$GUEST" "dd if=/dev/$disk of=/dev/null iflag=direct bs=512 skip=$1 count=1"
}

load_group block min_us=20000
read_sector 8 || fail "cannot read sector 8"
expect_record blockio block_slow \
	"device == '$disk' and op == 'read' and sector == 8 and bytes == 512 and us >= 20000 and status == 'ok' and issuer_pid > 0"
guest_exec "$GUEST" "dd if=/dev/zero of=/dev/$disk oflag=direct bs=512 seek=24 count=1" ||
	fail "cannot write sector 24"
expect_record blockio block_slow \
	"device == '$disk' and op == 'write' and sector == 24 and bytes == 512 and us >= 20000 and status == 'ok'"
expect_none blockio block_error
read_sector $((0x1234)) && fail "sector 0x1234 can be read"
expect_record blockio block_error \
	"device == '$disk' and op == 'read' and sector == 0x1234 and bytes == 512 and 0 < failed_bytes <= bytes and status == 'medium'"
# What is off unless it is named.
expect_none blockio block_issue
unload blockio

rm "$VESPER_WORK/blockio.json"
# The request may be given to the driver by a worker of the kernel.
load_group block points=all min_us=600000000 "device=$disk"
read_sector 16 || fail "cannot read sector 16"
expect_record blockio block_issue "device == '$disk' and op == 'read' and sector == 16 and pid > 0 and comm"
expect_record blockio block_complete "device == '$disk' and op == 'read' and sector == 16 and status == 'ok'"
expect_none blockio block_slow
unload blockio

# Of one of two processes. Without a scheduler a request is given to the driver by who makes it.
guest_exec "$GUEST" "echo none >/sys/block/$disk/queue/scheduler" || fail "there is a scheduler"
pid=$(guest_exec "$GUEST" "
	sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done
		exec dd if=/dev/$disk of=/dev/null iflag=direct bs=512 skip=48 count=1' >/dev/null 2>&1 & echo \$!")
rm "$VESPER_WORK/blockio.json"
load_group block points=slow,issue min_us=20000 "pid=$pid"
read_sector 40 || fail "cannot read sector 40"
guest_exec "$GUEST" "touch /tmp/go"
expect_record blockio block_issue "device == '$disk' and sector == 48 and pid == $pid and comm == 'dd'"
expect_record blockio block_slow "device == '$disk' and sector == 48 and issuer_pid == $pid and us >= 20000"
expect_none blockio block_issue "pid != $pid"
expect_none blockio block_slow "issuer_pid != $pid"
unload blockio
rm "$VESPER_WORK/blockio.json"
load_group block points=slow,issue min_us=20000 comm=busybox-reads
read_sector 56 || fail "cannot read sector 56"
guest_exec "$GUEST" "
	rm /tmp/go
	cp /bin/busybox /tmp/busybox-reads
	/tmp/busybox-reads dd if=/dev/$disk of=/dev/null iflag=direct bs=512 skip=64 count=1
	rm /tmp/busybox-reads" || fail "cannot read sector 64"
expect_record blockio block_issue "device == '$disk' and sector == 64 and comm == 'busybox-reads'"
expect_record blockio block_slow "device == '$disk' and sector == 64 and us >= 20000"
expect_none blockio block_issue "comm != 'busybox-reads'"
expect_none blockio block_slow "sector != 64"
unload blockio

rm "$VESPER_WORK/blockio.json"
load_group block points=all min_us=0 device=vda
read_sector $((0x1234)) && fail "sector 0x1234 can be read"
expect_none blockio block_error
expect_none blockio block_slow
expect_none blockio block_issue
disk_goes() { guest_exec "$GUEST" "rmmod scsi_debug"; }
wait_for 20 "the disk to go" disk_goes
