#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# No guest is accused that is idle, busy, paused by its VMM, stopped with its VMM, or
# short of time; and what it is instead is told. To beat, a guest sends no message,
# kicks no queue and makes no hypercall.
. lib/vesper.sh
. lib/heartbeat.sh
pid=$("$TOP/env/guest-vm" pid "$GUEST")
hogs=()
# Messages of guests, which their VMMs hand over by VESPER_IOC_MESSAGE.
TRACE=/sys/kernel/tracing/instances/heartbeat
[[ -d ${TRACE%/*} ]] || mount -t tracefs none "${TRACE%/*/*}" || fail "cannot mount tracefs"
mkdir "$TRACE" || fail "no trace"
echo 'cmd == 0xc030b501 || cmd == 0xffffffffc030b501' >"$TRACE/events/syscalls/sys_enter_ioctl/filter"
messages() { grep -c 'sys_ioctl(' "$TRACE/trace"; }
# By them one CPU of a guest interrupts, wakes or makes way for another: 5, 10 and 11 of
# Documentation/virt/kvm/x86/hypercalls.rst. All others are for the host.
hypercalls() { grep 'kvm_hypercall:' "$TRACE/trace" | grep -vcE 'nr 0x(5|a|b) '; }
kicks() { grep -c 'virtio_queue_notify ' "$VESPER_LOG/$GUEST-qemu.log"; }
watched() { # 1|0
	echo "$1" >"$TRACE/events/syscalls/sys_enter_ioctl/enable"
	echo "$1" >"$TRACE/events/kvm/kvm_hypercall/enable"
	guest_qmp "$GUEST" '{"execute":"trace-event-set-state","arguments":{"name":"virtio_queue_notify","enable":'"$( (($1)) && echo true || echo false)"'}}' >/dev/null
}
end() {
	rmdir "$TRACE"
	((${#hogs[@]} == 0)) || kill "${hogs[@]}" 2>/dev/null
	kill -CONT "$pid"
	guest_qmp "$GUEST" '{"execute": "cont"}' >/dev/null
	renice -n 0 -p "$pid" >/dev/null
	heartbeat_end
}
trap end EXIT
heartbeat_setup 1s 100ms

wait_for 20 "it to be idle" says idle
not_accused idle
before=$(heartbeat beats)
sleep 3
note "beats of an idle guest in 3 s: $(($(heartbeat beats) - before))"

guest_busy 0 1
wait_for 20 "it to be busy" says alive
before=$(heartbeat beats)
watched 1
kicked=$(kicks)
more_beats() { (($(heartbeat beats) >= before + 20)); }
wait_for 60 "twenty beats" more_beats
expect_eq "messages meanwhile" "$(messages)" 0
expect_eq "kicks of any queue meanwhile" "$(($(kicks) - kicked))" 0
expect_eq "hypercalls meanwhile" "$(hypercalls)" 0
still_works
(($(messages) > 0)) || fail "messages are not seen"
(($(kicks) > kicked)) || fail "kicks are not seen"
fault_setup
guest_exec "$GUEST" "echo 1 >/sys/kernel/debug/vesper_fault/hypercall" || fail "no hypercall"
expect_eq "hypercalls of ours" "$(hypercalls)" 1
watched 0
before=$(heartbeat beats)
sleep 3
expect_match "busy" "$(heartbeat state)" '^alive$'
note "beats of a busy guest in 3 s: $(($(heartbeat beats) - before))"
not_accused busy

guest_qmp "$GUEST" '{"execute": "stop"}' >/dev/null || fail stop
wait_for 10 "the VMM's word" says paused
expect_eq "evidence" "$(heartbeat reason)" run_state
sleep 3
says paused || fail "paused: $(heartbeat_line)"
not_accused "paused by its VMM"
guest_qmp "$GUEST" '{"execute": "cont"}' >/dev/null || fail cont
wait_for 20 "a beat" says alive idle

# Busy still: an idle guest is idle whoever is stopped.
wait_for 20 "it to be busy" says alive
kill -STOP "$pid"
wait_for 10 "the threads to be seen stopped" says paused
expect_eq "evidence" "$(heartbeat reason)" stopped
sleep 2
not_accused "stopped with its VMM"
kill -CONT "$pid"
wait_for 20 "a beat" says alive idle

# Every processor of the host has better things to do.
for task in /proc/"$pid"/task/*; do renice -n 19 -p "${task##*/}" >/dev/null; done
for ((n = 0; n < 4 * $(nproc); n++)); do
	nice -n -10 sh -c 'while :; do :; done' &
	hogs+=($!)
done
# But for who looks on.
renice -n -15 -p $$ >/dev/null
for _ in 1 2 3 4 5 6; do
	sleep 1
	note "short of time: $(heartbeat_line)"
done
kill "${hogs[@]}"
hogs=()
renice -n 0 -p $$ >/dev/null
for task in /proc/"$pid"/task/*; do renice -n 0 -p "${task##*/}" >/dev/null; done
not_accused "short of time"
guest_not_busy
wait_for 20 "a beat" says alive idle
not_accused "at the end"
