#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# No guest is accused that is idle, busy, paused by its VMM, stopped with its VMM, or
# starved of time; and what it is instead is told. To beat, a guest sends no message,
# kicks no queue and makes no hypercall.
. lib/vesper.sh
. lib/heartbeat.sh
pid=$("$TOP/env/guest-vm" pid "$GUEST")
hog=
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
	[[ -z $hog ]] || fed
	kill -CONT "$pid"
	guest_qmp "$GUEST" '{"execute": "cont"}' >/dev/null
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

# The guest's only processor has something better to do, and leaves nothing to others.
SERVER=/sys/kernel/debug/sched/fair_server/cpu1/runtime
cpus=$(taskset --cpu-list --pid "$pid" | sed 's/.*: //')
served=$(<$SERVER) || fail "the kernel keeps no time for others"
fed() {
	kill "$hog"
	hog=
	echo "$served" >$SERVER
	taskset --all-tasks --cpu-list --pid "$cpus" "$pid" >/dev/null
}
taskset --all-tasks --cpu-list --pid 1 "$pid" >/dev/null || fail "the guest does not move"
echo 0 >$SERVER || fail "the kernel goes on keeping time for others"
taskset --cpu-list 1 chrt --fifo 1 sh -c 'while :; do :; done' &
hog=$!
wait_for 30 "it to be starved" says starved
expect_eq "evidence" "$(heartbeat reason)" waiting
before=$(heartbeat beats)
sleep 4
says starved || fail "starved: $(heartbeat_line)"
expect_eq "beats meanwhile" "$(heartbeat beats)" "$before"
not_accused "starved of time"
fed
wait_for 20 "a beat" says alive
not_accused "fed again"
guest_not_busy
wait_for 20 "a beat" says alive idle
not_accused "at the end"
