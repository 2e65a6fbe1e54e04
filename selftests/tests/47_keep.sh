#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Kept probes come back, with their parameters, when the guest has booted again and
# when another guest has taken its name, and record; what an operator unloads does not.
. lib/vesper.sh

CONFIG=$VESPER_WORK/keep.toml
LOG=$VESPER_WORK/keep.log
own_guest kept --smp 1 --mem 320
clean_up() {
	local status=$?
	kill "$KEEPER" 2>/dev/null
	(exit $status)
	own_guests_end
}
trap clean_up EXIT

loaded() { (($(grep -c 'vesper_seq: loaded into kept' "$LOG") == $1)); }
signal_loaded() { (($(grep -c 'signal: loaded into kept' "$LOG") == $1)); }
param() { guest_exec kept "cat /sys/module/vesper_seq/parameters/$1"; }

vesper keep --config "$CONFIG" add kept "$SEQ" len=77 rate=0 || fail "keep add"
vesper keep --config "$CONFIG" run 2>"$LOG" &
KEEPER=$!
wait_for 60 "the probe" loaded 1
expect_eq "its parameter" "$(param len)" 77

# A group, by its name, is kept while it runs; what is taken away by hand stays away.
unload vesper_seq
vesper keep --config "$CONFIG" add kept signal sig=10 || fail "keep add"
wait_for 60 "the second probe" signal_loaded 1
loaded 1 || fail "what was unloaded by hand is loaded again"

guest_exec --timeout 5 kept 'reboot -f' >/dev/null 2>&1
wait_for 180 "the probe after a reboot" loaded 2
wait_for 60 "the group after a reboot" signal_loaded 2
expect_eq "its parameter" "$(param len)" 77
# A group's parameter is seen in what it records: of these two signals the second.
# shellcheck disable=SC2016 # the guest's shell is to expand it
target=$(guest_exec kept 'sleep 1000 >/dev/null 2>&1 & kill -WINCH $! && kill -USR1 $! && echo $!') || fail "no signal"
records=$(vesper cat kept/signal --json) || fail "cannot read what is kept"
expect_eq "records of two signals" "$(wc -l <<<"$records")" 1
expect_match "the record" "$records" '"target_pid": ?'"$target"'\b.*SIGUSR1'

"$TOP/env/guest-vm" kill kept || fail "kill"
vesper keep --config "$CONFIG" remove kept signal || fail "keep remove"
vesper keep --config "$CONFIG" add kept "$SEQ" len=78 || fail "keep add"
guest_start kept --smp 1 --mem 320 || fail "a new guest of the name"
wait_for 60 "the probe in the new guest" loaded 3
expect_eq "its parameter" "$(param len)" 78
signal_loaded 2 || fail "what is kept no longer was loaded"

# It does not run in circles.
ticks() { awk '{ print $14 + $15 }' "/proc/$KEEPER/stat"; }
before=$(ticks)
sleep 2
(($(ticks) - before < 20)) || fail "it is busy with nothing to do"
kill -TERM "$KEEPER"
wait "$KEEPER" || fail "it ended with $?: $(cat "$LOG")"
