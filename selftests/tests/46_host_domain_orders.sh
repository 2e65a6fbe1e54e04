#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The host's own domain goes and comes again, with probes loaded, in every order
# that the modules allow; nothing recorded is lost. What may be loaded is the
# choice of whoever loads vesper_guest.
. lib/vesper.sh
. lib/host_domain.sh

host_domain_up
host_domain
unload_on_exit vesper_seq

# The modules hold each other.
expect_status 1 rmmod vesper_host
expect_match "vesper_host" "$OUTPUT" 'in use by: vesper_local'
load_seq subbuf_size=4096 n_subbufs=8 len=32 switch_ms=600000
expect_status 1 rmmod vesper_guest
expect_match "vesper_guest" "$OUTPUT" 'in use by: vesper_seq'

# Without its carrier: what is recorded waits, and the domain is dead.
seq_write 0 40
rmmod vesper_local || fail "cannot remove vesper_local"
expect_match "the domain" "$(vesper domains)" 'host +dead'
seq_write 0 30
expect_eq "records of before" "$(vesper cat host/vesper_seq --json | wc -l)" 40
wait_for 20 "the dead domain to go" test ! -e "$RELAY/host"
expect_status 1 vesper load host "$SIGNAL"
expect_match "what to do" "$OUTPUT" 'modprobe vesper_local'
insmod "$HOST_TOP/local/vesper_local.ko" || fail "vesper_local does not come back"
expect_match "the list" "$(vesper list host)" 'vesper_seq +live'
seq_write 0 20
seq_flush
expect_eq "records since" "$(vesper cat host/vesper_seq --json | wc -l)" 50
unload vesper_seq

# Dead with unread data, the name taken again meanwhile; one reader for both.
for _ in 1 2; do
	load_seq subbuf_size=4096 n_subbufs=8 len=32 switch_ms=600000
	seq_write 1 25
	rmmod vesper_local || fail "cannot remove vesper_local"
	rmmod vesper_seq || fail "cannot remove vesper_seq"
	insmod "$HOST_TOP/local/vesper_local.ko" || fail "vesper_local does not come back"
done
expect_eq "dead ones" "$(vesper domains | grep -c '^host@. *dead')" 2
for dead in host@1 host@2; do
	expect_eq "records of $dead" "$(vesper cat "$dead/vesper_seq" --json | wc -l)" 25
done
wait_for 20 "the dead to go" bash -c "! ls -d $RELAY/host@*"

# Without the driver: a domain to which nobody listens.
rmmod vesper_guest || fail "cannot remove vesper_guest"
expect_match "the domain" "$(vesper domains)" 'host +no driver'
expect_status 1 vesper load host "$SEQ"
expect_match "what to do" "$OUTPUT" 'modprobe vesper_guest'
insmod "$HOST_TOP/guest/vesper_guest.ko" load_policy=none || fail "vesper_guest does not come back"
expect_status 3 vesper load host "$SEQ"
expect_match "the policy" "$OUTPUT" 'load_policy'

rmmod vesper_guest || fail "cannot remove vesper_guest"
insmod "$HOST_TOP/guest/vesper_guest.ko" || fail "vesper_guest does not come back"

# The driver first, the device first.
for order in "vesper_guest vesper_local" "vesper_local vesper_guest"; do
	for module in $order; do
		rmmod "$module" || fail "cannot remove $module, in the order: $order"
	done
	[[ ! -e $RELAY/host ]] || fail "the domain is still there"
	for module in $order; do
		insmod "$HOST_TOP/${module#vesper_}/$module.ko" ||
			fail "$module does not come, in the order: $order"
	done
	still_works
done

# Again and again with a stream of records and somebody who reads.
load_stream
for _ in 1 2 3; do
	rmmod vesper_local || fail "cannot remove vesper_local under load"
	read_away
	insmod "$HOST_TOP/local/vesper_local.ko" || fail "vesper_local does not come back under load"
done
unload vesper_seq
read_away
host_domain_down
