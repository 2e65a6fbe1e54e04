#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest whose CPUs all sit in HLT with interrupts off: their threads sleep like those of an
# idle guest, and use no time. It is found hung, by what it did not say, and never idle. One
# that was halted by its user is not.
# kernel-log: host 1 hb1: hung: it sleeps, but not for want of work \([12] of 2 CPUs
. lib/vesper.sh
. lib/heartbeat.sh

own_guest hb1 --smp 2 --mem 320
TRACING=/sys/kernel/tracing
[[ -d $TRACING/events ]] || mount -t tracefs none $TRACING || fail "cannot mount tracefs"
end() {
	local status=$?
	echo 0 >$TRACING/events/vesper/vesper_heartbeat/enable
	(exit "$status")
	own_guests_end
}
trap end EXIT
echo 0 >$TRACING/trace
echo 1 >$TRACING/events/vesper/vesper_heartbeat/enable

fault_setup
heartbeat_setup 500ms 50ms
wait_for 20 "it to be idle" says idle
beat_wait hb1 hung >"$VESPER_WORK/told" &
waiting=$!
fault halt 1
wait_for 120 "the hang" says hung
note "$(heartbeat_line)"
expect_eq "evidence" "$(heartbeat reason)" halted
expect_eq "CPUs that are idle" "$(heartbeat idle_cpus)" 0
(($(heartbeat silent_ms) >= 5000)) || fail "it was given $(heartbeat silent_ms) ms, less than ten thresholds"
wait $waiting || fail "the one who waits for the hang"
# It was idle, and after it was halted that was not said again: silent, then hung. Whether
# it was seen to beat between is chance.
states=$(sed -n 's/.* vesper_heartbeat: domain=hb1 state=\([a-z]*\) .*/\1/p' $TRACING/trace | tr '\n' ' ')
note "states: $states"
expect_match "what it was told to be" "$states" 'idle (alive )?starved hung $'
# And that holds, however long it lies there.
sleep 3
says hung || fail "hung: $(heartbeat_line)"
expect_eq "hangs" "$(heartbeat hangs)" $((HANGS + 1))
expect_eq "recoveries" "$(heartbeat recoveries)" "$BACK"

# With its VMM the page goes, and all that was known.
"$TOP/env/guest-vm" kill hb1
forgotten() { tail -n 1 $TRACING/trace | grep -q 'vesper_heartbeat: domain=hb1 state=unknown '; }
wait_for 20 "the end of the watch" forgotten

# A guest that is halted on purpose has said so: nobody waits for its beats.
own_guest hb2 --smp 2 --mem 320
trap end EXIT
heartbeat_setup 500ms 50ms
guest_exec hb2 "(sleep 0.2; halt -f) >/dev/null 2>&1 &"
wait_for 60 "the end of the beats" says unknown
# Ten thresholds, after which one that sleeps would be found.
sleep 8
not_accused "a guest that has halted"
