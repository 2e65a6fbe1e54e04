#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Points of a module that comes later, goes, and comes again: those that it has are
# attached whenever it is there, and of those that it has not the operator is told, by
# name, for as long as it holds, also after the driver was bound anew; the others run.
# In a function of it that lets no probe be put none is put.
. lib/vesper.sh
unload_on_exit any vesper_fault

# What the module has to say now.
listed() { vesper list "$GUEST" --json | python3 -c '
import json, sys
print(*(m["remark"] for m in json.load(sys.stdin) if m["module"] == "any"))'; }
says() { [[ $(listed) == "$1" ]]; }
waiting() { # [HOW]
	local point sentences=()
	for point in t:dummy:nothing dummy:absent dummy:dummy_change_carrier; do
		sentences+=("point '$point' waits for module dummy$1; ")
	done
	printf '%s' "${sentences[@]}" | sed 's/; $//'
}
comes() {
	guest_exec "$GUEST" "
		set -e
		modprobe dummy
		[ -e /sys/class/net/dummy0 ] || ip link add dummy0 type dummy
		ip link set dummy0 up
		echo 0 >/sys/class/net/dummy0/carrier" || fail "no dummy0"
}
lacking="point 't:dummy:nothing' is not attached: module dummy came, and has no tracepoint nothing; \
point 'dummy:absent' is not attached: module dummy came, and has no function absent"

guest_exec "$GUEST" "[ ! -e /sys/module/dummy ]" || fail "dummy is there already"
said=$(vesper load "$GUEST" any at=t:dummy:nothing,dummy:absent,dummy:dummy_change_carrier,do_exit 2>&1) ||
	fail "cannot load: $said"
note "$said"
expect_match "what waits" "$said" "point 't:dummy:nothing' waits for module dummy, which is not loaded"
expect_eq "what is listed" "$(listed)" "$(waiting ', which is not loaded or lacks it')"

for round in 1 2; do
	comes
	wait_for 20 "the operator to be told, in round $round" says "$lacking"
	note "$(vesper list "$GUEST")"
	guest_exec "$GUEST" "rmmod dummy" || fail "dummy stays"
	wait_for 20 "it to wait again" says "$(waiting ', which went')"
done

# Whoever comes later is told, too.
comes
driver=/sys/bus/virtio/drivers/vesper_guest
device=$(guest_exec "$GUEST" "cd $driver && echo virtio*")
trap 'guest_exec "$GUEST" "echo $device >$driver/bind" >/dev/null 2>&1; unload_all' EXIT
guest_exec "$GUEST" "echo $device >$driver/unbind" || fail "unbind"
guest_exec "$GUEST" "echo $device >$driver/bind" || fail "bind"
wait_for 20 "the operator to be told after a hello" says "$lacking"
guest_exec "$GUEST" "rmmod dummy" || fail "dummy stays"
wait_for 20 "it to wait again" says "$(waiting ', which went')"

unload any
# Named without its module, while that is there.
comes
said=$(vesper load "$GUEST" any at=dummy_change_carrier 2>&1) || fail "cannot load: $said"
expect_eq "what is listed" "$(listed)" ""
guest_exec "$GUEST" "rmmod dummy" || fail "dummy stays"
wait_for 20 "it to wait" says "point 'dummy_change_carrier' waits for module dummy, which went"
comes
wait_for 20 "it to be there" says ""
guest_exec "$GUEST" "rmmod dummy" || fail "dummy stays"
unload any
# Those from before the driver was unbound are in a directory of their own.
records=$(for trace in "$RELAY/$GUEST"/any*; do vesper cat "$GUEST/${trace##*/}"; done)
expect_eq "calls of the function that came and went" "$(grep -c 'at="dummy:dummy_change_carrier"' <<<"$records")" 3
expect_eq "calls of it by its own name alone" "$(grep -c 'at="dummy_change_carrier"' <<<"$records")" 1
expect_match "the others" "$records" 'at="do_exit"'
expect_eq "what is listed at last" "$(listed)" ""

# A kprobe, for a register that only that has, in a function that lets none be put.
vesper load "$GUEST" any at=vesper_fault:vesper_fault_silence 'args=r12=%r12' >/dev/null || fail "cannot load"
vesper load "$GUEST" "$GUEST_TOP/selftests/modules/vesper_fault/vesper_fault.ko" || fail "no vesper_fault"
wait_for 20 "the operator to be told" says "point 'vesper_fault:vesper_fault_silence' is not attached: \
module vesper_fault came, and its function vesper_fault_silence can't be probed"
unload vesper_fault
unload any
