#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest whose driver is of another major version of the device ABI: guest log,
# host log and operator all read which side is older; the driver of this version
# works afterwards. The other pairs: 10_attach (host and driver, either older),
# the QEMU device's own test (host and QEMU), the tool's unit tests.
# kernel-log: host 1 web1: the host's modules are older
. lib/vesper.sh

NEWER=$GUEST_TOP/build/newer/guest/vesper_guest.ko
state() { vesper domains | awk -v name="$GUEST" '$1 == name'; }
ready() { [[ $(state) == *" ready "* ]]; }
refused() { [[ $(state) == *" other version "* ]]; }

restore() {
	guest_exec "$GUEST" "rmmod vesper_guest; modprobe vesper_guest"
} >/dev/null 2>&1
trap restore EXIT

guest_put "$GUEST" "$NEWER" /tmp/newer.ko || fail "cannot copy $NEWER to the guest"
console=$(guest_console "$GUEST")
before=$(wc -l <"$console")
guest_exec "$GUEST" "rmmod vesper_guest && insmod /tmp/newer.ko" ||
	fail "the guest does not take the newer driver"
wait_for 20 "the host's notice of the newer driver" refused
said=$(tail -n +"$((before + 1))" "$console")
expect_match "the guest's log" "$said" \
	"device ABI 2.0 here, 1.0 on the other side: the host's vesper_host is older and must be updated"
expect_status 1 vesper load "$GUEST" "$SEQ"
expect_match "the operator" "$OUTPUT" "speaks version 2 .* the host version 1: the host's modules are older"
expect_match "the remedy" "$OUTPUT" "update vesper_host"

guest_exec "$GUEST" "rmmod vesper_guest && modprobe vesper_guest" ||
	fail "the guest does not take the driver of this version"
wait_for 20 "the guest's hello" ready
load_seq n_subbufs=4
unload vesper_seq
