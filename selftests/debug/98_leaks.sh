#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# After all other tests: of what was allocated since the machine came up nothing is without
# a reference (kmemleak) but what was forgotten on purpose, which is found. On the guest's
# side that is the guest that tests share; the others that are there are searched as each is
# before it is stopped.
# kernel-log: host * kmemleak: [0-9]+ new suspected memory leaks
# kernel-log: guest * kmemleak: [0-9]+ new suspected memory leaks
. lib/vesper.sh
. lib/debug.sh

side_with kmemleak
for name in $("$TOP/env/guest-vm" list); do
	[[ $name == "$GUEST" ]] || guest_look "$name"
done

FAULT=selftests/modules/vesper_fault/vesper_fault.ko
if [[ $SIDE == host ]]; then
	cp "$HOST_TOP/$FAULT" /tmp/
else
	guest_put "$GUEST" "$GUEST_TOP/$FAULT" /tmp/vesper_fault.ko
fi
on_side '[ -d /sys/module/vesper_fault ] || insmod /tmp/vesper_fault.ko' || fail "no vesper_fault"
on_side 'echo 10 >/sys/kernel/debug/vesper_fault/leak' || fail "nothing is forgotten"
on_side "cd /sys/kernel/debug && $KMEMLEAK_SCAN" ||
	fail "kmemleak does not scan: it has switched itself off"
found=$(on_side 'cat /sys/kernel/debug/kmemleak')
# It would be found again, and by then nobody could say where it is from.
on_side 'echo clear >/sys/kernel/debug/kmemleak && rmmod vesper_fault' || fail "rmmod"
leaks=$(awk -v RS='unreferenced object ' '
	NR > 1 && !/vesper_fault_leak/ { printf "unreferenced object %s", $0 }' <<<"$found")
[[ -z $leaks ]] || fail "$leaks"
[[ $found == *vesper_fault_leak* ]] || fail "not even what was forgotten on purpose is found"
note "no leak, but for $(grep -c '^unreferenced object' <<<"$found") of 10 that are one"
