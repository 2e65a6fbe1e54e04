#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# blktrace's channels in a guest are shown on the host on request: what blkparse
# makes of them here is, line for line, what it makes of the guest's own copy, taken
# by mapping, without consuming. The guest's reader and the host's don't disturb each
# other. Patterns, later channels, stopping, refusals.
# time-limit: 240
. lib/vesper.sh
own_guest share1 --smp 2 -- \
	-blockdev driver=null-co,node-name=disk,size=67108864,read-zeroes=on \
	-device virtio-blk-pci,drive=disk

SIZE=65536
COUNT=8
files=$RELAY/$GUEST/relay.block.vda
in_guest() { guest_exec "$GUEST" "$*" || fail "in the guest: $*"; }
trace_disk() { in_guest "/tmp/trace_disk $*"; }
read_disk() { # BLOCKS
	in_guest "for cpu in 0 1; do taskset \$((1 << cpu)) dd if=/dev/vda of=/dev/null iflag=direct bs=4k count=$1 2>/dev/null; done"
}
in_guest "modprobe virtio_blk"
guest_put "$GUEST" tools/trace_disk /tmp/trace_disk
guest_put "$GUEST" "$GUEST_TOP/selftests/modules/vesper_relaymap/vesper_relaymap.ko" /tmp/relaymap.ko
in_guest "chmod +x /tmp/trace_disk"

# ---- refusals, and a pattern that nothing matches ---------------------------
expect_status 2 vesper share "$GUEST" /block
expect_match "bad pattern" "$OUTPUT" "a pattern is the path"
expect_status 1 vesper share nosuch block/vda/trace
expect_match "no such guest" "$OUTPUT" "no domain"
expect_status 3 vesper share "$GUEST" block/vda/trace --stop
expect_match "not shared" "$OUTPUT" "ENOENT.*not shared"
OUTPUT=$(vesper share "$GUEST" 'block/*/trace') || fail "cannot share: $OUTPUT"
expect_match "nothing matches" "$OUTPUT" "no channel is there yet"
expect_status 3 vesper share "$GUEST" 'block/*/trace'
expect_match "shared twice" "$OUTPUT" "EEXIST.*already"
expect_eq "list" "$(vesper share "$GUEST")" 'block/*/trace'
[[ ! -e $files ]] || fail "there are files without a channel"

# ---- a channel that is opened later, on two CPUs ----------------------------
trace_disk setup /dev/vda $SIZE $COUNT
wait_for 20 "files on the host" test -e "$files/trace1"
in_guest "insmod /tmp/relaymap.ko paths=/sys/kernel/debug/block/vda/trace0,/sys/kernel/debug/block/vda/trace1"
trace_disk start /dev/vda
read_disk 400
trace_disk stop /dev/vda
mkdir "$VESPER_WORK/guest" "$VESPER_WORK/host"
for cpu in 0 1; do
	guest_exec "$GUEST" "/tmp/trace_disk copy /sys/kernel/debug/vesper_relaymap/$cpu $SIZE $COUNT | base64" |
		base64 -d >"$VESPER_WORK/guest/vda.blktrace.$cpu"
	[[ -s $VESPER_WORK/guest/vda.blktrace.$cpu ]] || fail "the guest has no copy of CPU $cpu"
	cat "$files/trace$cpu" >"$VESPER_WORK/host/vda.blktrace.$cpu" || fail "cannot read trace$cpu"
	cmp "$VESPER_WORK"/{guest,host}/vda.blktrace.$cpu || fail "host and guest differ on CPU $cpu"
done
for side in guest host; do
	(cd "$VESPER_WORK/$side" && blkparse -i vda) >"$VESPER_WORK/$side.txt" || fail "blkparse of the ${side}'s copy"
done
diff "$VESPER_WORK/guest.txt" "$VESPER_WORK/host.txt" >"$VESPER_WORK/diff" ||
	fail "blkparse differs: $(head -5 "$VESPER_WORK/diff")"
completions=$(awk '$6 == "C"' "$VESPER_WORK/host.txt" | wc -l)
note "$completions completions in $(wc -l <"$VESPER_WORK/host.txt") lines, the same on both sides"
((completions >= 800)) || fail "there are too few"

# What the host has read, the guest's own reader still finds.
for cpu in 0 1; do
	in_guest "cat /sys/kernel/debug/block/vda/trace$cpu | base64" |
		base64 -d | cmp - "$VESPER_WORK/guest/vda.blktrace.$cpu" ||
		fail "the guest's own reader misses something on CPU $cpu"
done

# ---- closing: the host keeps what is unread ---------------------------------
trace_disk start /dev/vda
read_disk 20
trace_disk stop /dev/vda
in_guest "rmmod vesper_relaymap"
trace_disk teardown /dev/vda
unread() { vesper list "$GUEST" | grep -q 'relay.block.vda.*draining'; }
wait_for 20 "the channel to close" unread
expect_eq "pages lent" "$(lent_pages)" 0
cat "$files"/trace* | grep -q . || fail "what was unread is gone"
wait_for 20 "the files to go" test ! -e "$files"

# ---- a channel that is there already, and stopping --------------------------
vesper share "$GUEST" 'block/*/trace' --stop || fail "cannot stop"
expect_eq "list after stop" "$(vesper share "$GUEST")" ''
trace_disk setup /dev/vda $SIZE $COUNT
trace_disk start /dev/vda
read_disk 10
[[ ! -e $files ]] || fail "a channel is shown that nobody asks for"
OUTPUT=$(vesper share "$GUEST" 'block/vd?/trace') || fail "cannot share: $OUTPUT"
expect_match "channel already there" "$OUTPUT" "1 channel is shown"
vesper share "$GUEST" 'block/vda/*' || fail "cannot share by two patterns"
vesper share "$GUEST" 'block/vd?/trace' --stop || fail "cannot stop one of two"
[[ -e $files ]] || fail "the other pattern does not hold the channel"
vesper share "$GUEST" 'block/vda/*' --stop || fail "cannot stop the last"
expect_eq "pages lent after stop" "$(lent_pages)" 0
read_disk 10
trace_disk stop /dev/vda
in_guest "cat /sys/kernel/debug/block/vda/trace0 /sys/kernel/debug/block/vda/trace1 | wc -c" >"$VESPER_WORK/rest"
(($(<"$VESPER_WORK/rest") > 0)) || fail "the guest's trace stopped with the sharing"
trace_disk teardown /dev/vda
