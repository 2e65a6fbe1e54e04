#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A snapshot or a migration would leave the lent pages behind: both are refused
# with the reason while buffers are lent, and go when the driver has let go.
. lib/vesper.sh
own_guest mover --smp 2

driver=/sys/bus/virtio/drivers/vesper_guest
device=$(guest_exec "$GUEST" "cd $driver && echo virtio*")
hmp() { guest_qmp "$GUEST" '{"execute":"human-monitor-command","arguments":{"command-line":"'"$1"'"}}'; }
migrate() { guest_qmp "$GUEST" '{"execute":"migrate","arguments":{"uri":"exec:cat >/dev/null"}}'; }
migration() { guest_qmp "$GUEST" '{"execute":"query-migrate"}'; }
completed() { [[ $(migration) == *'"completed"'* ]]; }
reason="virtio-vesper: the driver in guest '$GUEST' is at work"

load_seq rate=1 n_subbufs=4
for _ in 1 2; do
	(($(lent_pages) > 0)) || fail "nothing is lent"
	expect_status 1 migrate
	expect_match "migrate" "$OUTPUT" "$reason"
	note "$OUTPUT"
	expect_match "savevm" "$(hmp 'savevm one')" "$reason"
	# A refusal changes nothing.
	(($(lent_pages) > 0)) || fail "nothing is lent after the refusal"
	guest_exec "$GUEST" true || fail "the guest stands still after the refusal"

	guest_exec "$GUEST" "echo $device >$driver/unbind" || fail "unbind"
	[[ $(hmp 'savevm two') != *virtio-vesper* ]] || fail "savevm is refused with nothing lent"
	expect_status 0 migrate
	wait_for 60 "the migration" completed
	guest_qmp "$GUEST" '{"execute":"cont"}' || fail "cont"
	guest_exec "$GUEST" "echo $device >$driver/bind" || fail "bind"
done
unload vesper_seq
read_away
still_works
