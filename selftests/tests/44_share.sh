#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# blktrace's channels in a guest are shown on the host on request: what blkparse
# makes of them here is, line for line, what it makes of the guest's own copy, taken
# by mapping, without consuming, and of what blktrace itself writes in the guest. The
# guest's reader and the host's don't disturb each other. Such a channel is no hindrance
# to `vesper cat` of a whole guest. Patterns, later channels, stopping, refusals.
# time-limit: 480
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
write_disk() { # BLOCKS
	in_guest "for cpu in 0 1; do taskset \$((1 << cpu)) dd if=/dev/zero of=/dev/vda oflag=direct bs=4k count=$1 conv=notrunc 2>/dev/null; done"
}
# What the guest has in a buffer of CPU, unless it has gone round.
guest_copy() { # CPU
	guest_exec "$GUEST" "/tmp/trace_disk copy /sys/kernel/debug/vesper_relaymap/$1 $SIZE $COUNT | base64" | base64 -d
}
blkparse_of() { # DIR
	(cd "$1" && blkparse -i vda) >"$1.txt" || fail "blkparse of $1"
}
same_text() { # DIR DIR
	diff "$1.txt" "$2.txt" >"$VESPER_WORK/diff" ||
		fail "blkparse of ${1##*/} and ${2##*/} differ: $(head -5 "$VESPER_WORK/diff")"
}
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
	guest_copy $cpu >"$VESPER_WORK/guest/vda.blktrace.$cpu"
	[[ -s $VESPER_WORK/guest/vda.blktrace.$cpu ]] || fail "the guest has no copy of CPU $cpu"
	cat "$files/trace$cpu" >"$VESPER_WORK/host/vda.blktrace.$cpu" || fail "cannot read trace$cpu"
	cmp "$VESPER_WORK"/{guest,host}/vda.blktrace.$cpu || fail "host and guest differ on CPU $cpu"
done
blkparse_of "$VESPER_WORK/guest"
blkparse_of "$VESPER_WORK/host"
same_text "$VESPER_WORK/guest" "$VESPER_WORK/host"
completions=$(awk '$6 == "C"' "$VESPER_WORK/host.txt" | wc -l)
note "$completions completions in $(wc -l <"$VESPER_WORK/host.txt") lines, the same on both sides"
((completions >= 800)) || fail "there are too few"

# What the host has read, the guest's own reader still finds.
for cpu in 0 1; do
	in_guest "cat /sys/kernel/debug/block/vda/trace$cpu | base64" |
		base64 -d | cmp - "$VESPER_WORK/guest/vda.blktrace.$cpu" ||
		fail "the guest's own reader misses something on CPU $cpu"
done

# ---- a channel that is reset is shown anew ------------------------------------
before=$(stat -c %i "$files/trace0")
in_guest "echo 1 >/sys/kernel/debug/vesper_relaymap/reset"
anew() {
	local now
	now=$(stat -c %i "$files/trace0") && [[ $now != "$before" ]]
}
wait_for 20 "the channel to be shown anew" anew
trace_disk start /dev/vda
read_disk 100
trace_disk stop /dev/vda
for cpu in 0 1; do
	# Behind what is new the guest's memory still has what is old.
	guest_copy $cpu >"$VESPER_WORK/all"
	cat "$files/trace$cpu" >"$VESPER_WORK/new"
	[[ -s $VESPER_WORK/new ]] || fail "nothing of CPU $cpu is shown after the reset"
	cmp -n "$(stat -c %s "$VESPER_WORK/new")" "$VESPER_WORK/all" "$VESPER_WORK/new" ||
		fail "host and guest differ on CPU $cpu, after a reset"
done

# ---- cat of a whole guest: what has no metadata is left out, with a note ------
expect_status 1 vesper cat "$GUEST"
expect_match "nothing that can be shown" "$OUTPUT" "relay.block.vda' has no metadata"
vesper load "$GUEST" "$SIGNAL" || fail "cannot load signal"
in_guest "sleep 60 & kill \$!"
signal_shown() {
	vesper cat "$GUEST" >>"$VESPER_WORK/shown" 2>"$VESPER_WORK/said" || fail "cat: $(<"$VESPER_WORK/said")"
	grep -q SIGTERM "$VESPER_WORK/shown"
}
wait_for 20 "the signal" signal_shown
expect_match "what cat says" "$(<"$VESPER_WORK/said")" "relay.block.vda' has no metadata.*left out"
expect_status 1 vesper cat "$GUEST/relay.block.vda"
unload signal
wait_for 20 "the files of signal to go" test ! -e "$RELAY/$GUEST/signal"

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

# ---- blktrace itself, in the guest, reads and writes --------------------------
vesper share "$GUEST" 'block/*/trace' || fail "cannot share"
in_guest "mkdir /tmp/out && cd /tmp/out && { blktrace -d /dev/vda -b $((SIZE / 1024)) -n $COUNT >/tmp/blktrace.log 2>&1 & echo \$! >/tmp/blktrace.pid; }"
wait_for 20 "files on the host" test -e "$files/trace1"
in_guest "insmod /tmp/relaymap.ko paths=/sys/kernel/debug/block/vda/trace0,/sys/kernel/debug/block/vda/trace1"
note "blktrace runs"
read_disk 200
write_disk 200
blktrace_done() { guest_exec "$GUEST" "grep -q '^Total\|Total:' /tmp/blktrace.log"; }
in_guest "kill -TERM \$(cat /tmp/blktrace.pid)"
wait_for 60 "blktrace to end" blktrace_done
note "blktrace says: $(in_guest "cat /tmp/blktrace.log" | tr '\n' ' ')"
# It has closed the channel, of which the mapping keeps the buffers.
mkdir "$VESPER_WORK/mapped" "$VESPER_WORK/itself" "$VESPER_WORK/shared"
wait_for 20 "the channel to close" unread
for cpu in 0 1; do
	guest_copy $cpu >"$VESPER_WORK/mapped/vda.blktrace.$cpu"
	in_guest "base64 /tmp/out/vda.blktrace.$cpu" | base64 -d >"$VESPER_WORK/itself/vda.blktrace.$cpu"
	cat "$files/trace$cpu" >"$VESPER_WORK/shared/vda.blktrace.$cpu" || fail "cannot read trace$cpu"
done
in_guest "rmmod vesper_relaymap"
for side in mapped itself shared; do
	blkparse_of "$VESPER_WORK/$side"
	for kind in R W; do
		completions=$(awk -v kind=$kind '$6 == "C" && index($7, kind)' "$VESPER_WORK/$side.txt" | wc -l)
		note "$side: $completions completions of $kind"
		((completions >= 400)) || fail "there are too few"
	done
done
same_text "$VESPER_WORK/mapped" "$VESPER_WORK/shared"
same_text "$VESPER_WORK/itself" "$VESPER_WORK/shared"
wait_for 20 "the files to go" test ! -e "$files"
expect_eq "pages lent at the end" "$(lent_pages)" 0
