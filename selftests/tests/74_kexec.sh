#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest goes on to another kernel under a probe that streams, twice, by kexec:
# nothing resets the machine in between. The files of the kernel that went end
# with its last record; the one that comes begins afresh.
. lib/vesper.sh

# What it takes, on a disk: the agent's port would need its time for that.
mkdir "$VESPER_WORK/kexec"
cp "$TOP/selftests/tools/kexec_self" "$VESPER_WORK/kexec/"
cp "$GUEST_TOP/build/guest.vmlinuz" "$VESPER_WORK/kexec/vmlinuz"
cp "$GUEST_TOP/build/guest.cpio" "$VESPER_WORK/kexec/initrd"
tar -C "$VESPER_WORK/kexec" -cf "$VESPER_WORK/disk" . || fail "tar"
own_guest successor --smp 2 --mem 768 -- \
	-drive "if=none,id=disk,format=raw,readonly=on,file=$VESPER_WORK/disk" \
	-device virtio-blk-pci,drive=disk

boot() { guest_exec --timeout 20 "$GUEST" 'cat /proc/sys/kernel/random/boot_id'; }
again() { local now; now=$(boot) && [[ -n $now && $now != "$old" ]]; }

for round in 1 2; do
	copy=$VESPER_WORK/$round
	# shellcheck disable=SC2016 # the guest's shell is to expand it
	guest_exec "$GUEST" 'cd /tmp && tar xf /dev/vda &&
		./kexec_self load vmlinuz initrd "$(cat /proc/cmdline)"' || fail "the kernel cannot be loaded"
	load_stream
	follow "$copy"
	sleep 1
	old=$(boot) first=$(seq_number 0) second=$(seq_number 1)
	guest_exec --timeout 5 "$GUEST" '/tmp/kexec_self go' >/dev/null 2>&1
	followed
	babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"
	wait_for 120 "the guest to come back" again
	expect_eq "pages lent" "$(lent_pages)" 0
	expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
	still_works
done
