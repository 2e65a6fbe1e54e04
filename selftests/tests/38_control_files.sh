#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The control files of a consumer that maps a buffer, with nothing but a shell:
# how much there is, how much it is done with, both ways, also when the guest's
# module has gone meanwhile.
. lib/vesper.sh
unload_on_exit vesper_seq

FILE=$(relay_file vesper_seq 0)
CONTROL=${FILE%/*}/.control
produced() { cat "$CONTROL/cpu0.produced"; }
consumed() { cat "$CONTROL/cpu0.consumed"; }
consume() { echo "$1" >"$CONTROL/cpu0.consumed"; }

load_seq subbuf_size=4096 n_subbufs=4 len=100 switch_ms=600000
expect_eq "modes" "$(stat -c %a "$CONTROL"/cpu0.*)" $'600\n400'
expect_eq "produced at first" "$(produced)" 0
seq_write 0 1000
expect_eq "produced, of a full buffer" "$(produced)" 4
expect_eq "consumed at first" "$(consumed)" 0
seq_expected 0 4096 >"$VESPER_WORK/all"

consume 2 || fail "two sub-buffers cannot be consumed"
expect_eq "consumed" "$(consumed)" 2
expect_eq "consumed, as stat has it" \
	"$(vesper stat "$GUEST/vesper_seq" --json | tr -d '\n ' | sed -n 's/.*"buffer":0,[^}]*"consumed":\([0-9]*\).*/\1/p')" 2
for bad in 1 5 -1 x 99999999999999999999999 ''; do
	! consume "$bad" 2>/dev/null || fail "consumed took '$bad'"
done
! echo 1 2>/dev/null >"$CONTROL/cpu0.produced" || fail "produced can be written"
expect_eq "consumed after what was refused" "$(consumed)" 2

# The guest has room again, and what is read comes after what was consumed.
seq_write 0 60
expect_eq "produced, with room again" "$(produced)" 5
cat "$FILE" >"$VESPER_WORK/read"
(($(stat -c %s "$VESPER_WORK/read") < $(stat -c %s "$VESPER_WORK/all") * 4 / 5)) ||
	fail "what was consumed is read again"
expect_eq "consumed by read" "$(consumed)" 5

# A copy of the directory is a trace still.
seq_write 0 60
cp -r "${FILE%/*}" "$VESPER_WORK/copy"
babeltrace2 "$VESPER_WORK/copy" >/dev/null || fail "babeltrace2 does not read a copy of the directory"

# What outlives the module is consumed in the same way, and then gone.
seq_write 0 60
unload vesper_seq
expect_eq "unread after the unload" "$(($(produced) > $(consumed)))" 1
cat "${FILE%/*}/metadata" >/dev/null
exec 9<"$CONTROL/cpu0.produced"
consume "$(produced)" || fail "the rest cannot be consumed"
wait_for 20 "the directory to go" test ! -e "${FILE%/*}"
# An open control file outlives its buffer's files.
read -r last <&9
((last > 5)) || fail "an open control file says $last"
