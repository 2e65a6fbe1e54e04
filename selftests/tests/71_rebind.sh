#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The driver is unbound from its device and bound again under a probe that
# streams, twice, with files open and mapped. What is recorded meanwhile waits in
# the guest; before and after taken together no record is missing or there twice;
# and the host can unload what it loaded before.
. lib/vesper.sh
unload_on_exit vesper_seq

driver=/sys/bus/virtio/drivers/vesper_guest
device=$(guest_exec "$GUEST" "cd $driver && echo virtio*")
trap 'guest_exec "$GUEST" "echo $device >$driver/bind" >/dev/null 2>&1; unload_all' EXIT

for round in 1 2; do
	copy=$VESPER_WORK/$round
	load_stream
	follow "$copy"
	sleep 1
	guest_exec "$GUEST" "echo $device >$driver/unbind" || fail "unbind"
	followed
	expect_eq "pages lent while unbound" "$(lent_pages)" 0
	expect_eq "modules known while unbound" "$(vesper list "$GUEST" --json | grep -c live)" 0
	expect_status 1 vesper load "$GUEST" "$SIGNAL"
	note "a load meanwhile: $OUTPUT"
	before=$(seq_number 0)
	sleep 1
	(($(seq_number 0) > before)) || fail "the probe stands still while unbound"

	guest_exec "$GUEST" "echo $device >$driver/bind" || fail "bind"
	expect_match "the host's list" "$(vesper list "$GUEST")" 'vesper_seq +live'
	follow "$copy"
	sleep 1
	first=$(seq_number 0) second=$(seq_number 1)
	expect_eq "lost" "$(guest_count vesper_seq lost all)" 0
	unload vesper_seq
	followed
	babeltrace "$copy" | seq_check 0="$first"+ 1="$second"+ || fail "records"
	still_works
done
