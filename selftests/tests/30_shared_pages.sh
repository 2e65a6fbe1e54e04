#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Pages are shared, not sent: what the guest writes into a lent page stands in a
# mapping on the host, and QEMU has passed no message meanwhile.
. lib/vesper.sh
unload_on_exit vesper_seq

trace() { # true|false
	guest_qmp "$GUEST" '{"execute":"trace-event-set-state","arguments":{"name":"virtio_vesper_*","enable":'"$1"'}}' >/dev/null
}
messages() { grep -c virtio_vesper_ "$VESPER_LOG/$GUEST-qemu.log"; }
shown() { relay_map --raw "$(relay_file vesper_seq 0)" | grep -c "$1"; }

# Nothing but the writing itself: no switch, so no message, for ten minutes.
trace true
load_seq len=64 switch_ms=600000
(($(messages) > 0)) || fail "QEMU's trace shows not even the load"
expect_eq "places with the payload, before" "$(shown '@ABCDEFGH')" 0

# The agent that writes in the guest is not the driver: its port has a device
# of its own. Record 1 has the payload bytes 1, 2, 3...
before=$(messages)
seq_write 0 2
expect_eq "places with the payload, after" "$(shown '123456789:;<=>?@')" 1
expect_eq "messages between" "$(messages)" "$before"
position=$(vesper stat "$GUEST/vesper_seq" --json)
note "$position"
expect_eq "sub-buffers closed" "$(grep -o '"produced": *[1-9]' <<<"$position")" ""
trace false
