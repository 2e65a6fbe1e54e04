#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Loading and unloading again and again leaves nothing behind: no file, no
# module, no pinned page.
. lib/vesper.sh
unload_on_exit signal

pinned() { vesper domains --json | grep -o '"lent_pages": *[0-9]*' | awk -F: '{ sum += $2 } END { print sum + 0 }'; }
locked() { awk '/^VmPin|^VmLck/ { sum += $2 } END { print sum }' "/proc/$("$TOP/env/guest-vm" pid "$GUEST")/status"; }

before=$(locked)
for ((i = 1; i <= ${REPEAT:-25}; i++)); do
	vesper load "$GUEST" "$SIGNAL" sig=10 >/dev/null || fail "load number $i"
	(($(pinned) > 0)) || fail "nothing is lent while the probe is loaded"
	vesper unload "$GUEST" signal >/dev/null || fail "unload number $i"
done
note "$((i - 1)) times"
expect_eq "pages lent" "$(pinned)" 0
expect_eq "locked memory of the VMM, kB" "$(locked)" "$before"
expect_eq "files" "$(ls "$RELAY/$GUEST" 2>/dev/null)" ""
! guest_exec "$GUEST" lsmod | grep -q '^signal ' || fail "the module is still in the guest"
