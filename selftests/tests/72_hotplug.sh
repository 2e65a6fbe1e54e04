#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The device is pulled out of a running guest under a probe that streams, and
# plugged in again, twice, with files open and mapped. As with a driver that is
# unbound: nothing is lost, and the probe goes on with the next device.
. lib/vesper.sh
own_guest plug --smp 2 --hotplug

unplugged() { [[ $(guest_qmp "$GUEST" '{"execute":"qom-list","arguments":{"path":"/machine/peripheral"}}') != *vesper* ]]; }
plugged() { [[ $(vesper domains) =~ $GUEST\ +ready ]]; }

for round in 1 2; do
	copy=$VESPER_WORK/$round
	load_stream
	follow "$copy"
	sleep 1
	guest_qmp "$GUEST" '{"execute":"device_del","arguments":{"id":"vesper"}}' || fail "device_del"
	wait_for 60 "the device to go" unplugged
	followed
	expect_eq "pages lent" "$(lent_pages)" 0
	! plugged || fail "the host does not notice: $(vesper domains)"
	guest_exec "$GUEST" 'rmmod vesper_guest' && fail "vesper_guest was removed under a probe"

	guest_qmp "$GUEST" '{"execute":"device_add","arguments":{"driver":"virtio-vesper-pci","id":"vesper","bus":"socket"}}' ||
		fail "device_add"
	wait_for 60 "the device to come" plugged
	wait_for 20 "the files" test -e "$(relay_file vesper_seq 1)"
	follow "$copy"
	sleep 1
	first=$(seq_number 0) second=$(seq_number 1)
	unload vesper_seq
	followed
	babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"
	still_works
done
