#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A guest whose CPUs all stand still with interrupts off is found hung, and one that
# goes on is found alive again; whoever waits in poll is told of both. A CPU that stands
# still beside one that beats is found stuck. Threshold and period are those that were
# asked for, and without a driver in the guest nothing is said.
# kernel-log: host 1 web1: hung: it ran and did not beat \([12] of 2 CPUs
# kernel-log: host 1 web1: stuck: it ran and did not beat \(1 of 2 CPUs
# kernel-log: guest * clocksource: .*(watchdog|Long readout|unstable)
. lib/vesper.sh
. lib/heartbeat.sh
trap heartbeat_end EXIT
fault_setup

heartbeat_setup 500ms 50ms
expect_eq threshold "$(heartbeat threshold_ms)" 500
expect_eq period "$(heartbeat period_ms)" 50
expect_match "debugfs" "$(cat "$RELAY/$GUEST/.heartbeat")" 'threshold_ms 500'
expect_status 1 vesper heartbeat "$GUEST" --threshold 1ms
expect_match "refusal" "$OUTPUT" 'at least 2 periods'

beat_wait "$GUEST" hung >"$VESPER_WORK/hung" &
waiting=$!
begin=$(date +%s%3N)
fault hang 5000
wait $waiting || fail "the one who waits for the hang"
read -r _ told < <(tail -n 1 "$VESPER_WORK/hung")
note "hang asked for at 0 ms, told of at $((told - begin)) ms (threshold 500 ms): $(heartbeat_line)"
expect_eq "hangs" "$(heartbeat hangs)" $((HANGS + 1))
wait_for 60 "its beat" says alive idle
expect_eq "recoveries" "$(heartbeat recoveries)" $((BACK + 1))

# One CPU works and beats, the other one stands still.
guest_busy 0
wait_for 20 "one that is busy" says alive
sleep 1
{ timeout 60 beat_wait "$GUEST" stuck || true; } >"$VESPER_WORK/stuck" &
waiting=$!
guest_exec "$GUEST" "(sleep 0.2; taskset 2 sh -c 'echo 5000 >/sys/kernel/debug/vesper_fault/stuck') >/dev/null 2>&1 &"
wait $waiting
expect_match "one of two" "$(tail -n 1 "$VESPER_WORK/stuck")" '^stuck'
note "one of two: $(heartbeat_line)"
wait_for 60 "its beat" says alive idle
guest_not_busy
expect_eq "stuck" "$(heartbeat stucks)" $((STUCKS + 1))
expect_eq "hangs" "$(heartbeat hangs)" $((HANGS + 1))
expect_eq "recoveries" "$(heartbeat recoveries)" $((BACK + 2))

# A CPU that is away is missed by nobody.
guest_exec "$GUEST" "echo 0 >/sys/devices/system/cpu/cpu1/online" || fail "CPU 1 does not go"
one_cpu() { [[ $(heartbeat cpus) == 1 ]]; }
wait_for 20 "one CPU to be counted" one_cpu
guest_exec "$GUEST" "echo 1 >/sys/devices/system/cpu/cpu1/online" || fail "CPU 1 does not come back"

# Neither is a driver that goes.
dev=$(guest_exec "$GUEST" "basename \$(ls -d /sys/bus/virtio/drivers/vesper_guest/virtio*)")
guest_exec "$GUEST" "echo $dev >/sys/bus/virtio/drivers/vesper_guest/unbind" || fail "unbind"
says unknown || fail "without a driver: $(heartbeat_line)"
sleep 1
says unknown || fail "without a driver: $(heartbeat_line)"
guest_exec "$GUEST" "echo $dev >/sys/bus/virtio/drivers/vesper_guest/bind" || fail "bind"
wait_for 20 "a beat" says alive idle
expect_eq threshold "$(heartbeat threshold_ms)" 500
expect_eq "hangs" "$(heartbeat hangs)" $((HANGS + 1))
