#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# No guest is accused that is idle, busy, paused by its VMM, stopped with its VMM,
# starved of time, or given a tenth of a processor, now and then; and what it is instead is
# told. One that hangs then is. To beat, a guest sends no message, kicks no queue and makes
# no hypercall. It beats as often as it was asked to, and not while it is idle.
# kernel-log: host 1 web1: hung: it ran and did not beat \([12] of 2 CPUs
# kernel-log: guest * clocksource: .*(watchdog|Long readout|unstable)
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
# Each time that it gets something to do counts. Timers that went on while it has nothing to
# do would add a beat each period on both CPUs.
vesper heartbeat "$GUEST" --period 10ms >/dev/null || fail "cannot set the period"
beats_for() { # SECONDS: how many, and in how many milliseconds
	local before begin=${EPOCHREALTIME/./}
	before=$(heartbeat beats)
	sleep "$1"
	echo $(($(heartbeat beats) - before)) $(((${EPOCHREALTIME/./} - begin) / 1000))
}
few_beats() {
	read -r beats ms < <(beats_for 3)
	((beats < ms / 10)) && says idle
}
wait_for 60 "fewer beats than half of one each period and CPU" few_beats
note "beats of an idle guest in $ms ms, period 10 ms: $beats"
vesper heartbeat "$GUEST" --period 100ms >/dev/null || fail "cannot set the period"

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
expect_match "busy" "$(heartbeat state)" '^alive$'
# 25 times as many are asked for.
declare -A rate=()
for period in 500 20; do
	vesper heartbeat "$GUEST" --period ${period}ms >/dev/null || fail "cannot set the period"
	# The last beat at the old period.
	sleep 1
	read -r beats ms < <(beats_for 5)
	note "beats of a busy guest in $ms ms, period $period ms: $beats"
	rate[$period]=$((beats * 1000000 / ms))
done
((rate[500] > 0)) || fail "a busy guest does not beat"
((rate[20] > 3 * rate[500])) || fail "the period makes no difference"
expect_match "busy" "$(heartbeat state)" '^alive$'
not_accused busy
vesper heartbeat "$GUEST" --period 100ms >/dev/null || fail "cannot set the period"

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

# The guest's only processor has something better to do, and leaves nothing to others, or a
# tenth.
SERVER=/sys/kernel/debug/sched/fair_server/cpu1/runtime
cpus=$(taskset --cpu-list --pid "$pid" | sed 's/.*: //')
served=$(<$SERVER) || fail "the kernel keeps no time for others"
fed() {
	kill "$hog"
	hog=
	echo "$served" >$SERVER
	taskset --all-tasks --cpu-list --pid "$cpus" "$pid" >/dev/null
}
crowd() { # COMMAND...: it has the guest's processor, unless it sleeps
	taskset --all-tasks --cpu-list --pid 1 "$pid" >/dev/null || fail "the guest does not move"
	echo 0 >$SERVER || fail "the kernel goes on keeping time for others"
	taskset --cpu-list 1 chrt --fifo 1 "$@" &
	hog=$!
}
crowd sh -c 'while :; do :; done'
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

# A tenth, for all that QEMU does, and that once a second: in between it is silent for longer
# than the threshold, by the clock on the wall. Both CPUs are busy and share what there is.
heartbeat_setup 500ms 50ms
used() { sed 's/.*) //' "/proc/$pid"/task/*/stat | awk '{ sum += $12 + $13 } END { print sum * 10 }'; }
before=$(heartbeat beats)
begin=${EPOCHREALTIME/./} had=$(used)
# shellcheck disable=SC2016 # it is Perl
crowd perl -MTime::HiRes=time,sleep -e 'for (;;) { my $end = time + 0.9; 1 while time < $end; sleep 0.1 }'
sleep 25
wait_for 60 "it to be silent beyond the threshold" says starved
had=$(($(used) - had)) ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
beats=$(($(heartbeat beats) - before))
note "given $had ms of $ms, it beat $beats times"
((had * 2 < ms)) || fail "it was given half and more"
((beats > 0)) || fail "it was given nothing"
not_accused "given a tenth"
fed
wait_for 20 "a beat" says alive
sleep 1
not_accused "fed once more"
# The same guest, the same threshold: a hang is found.
fault hang 5000
hung() { (($(heartbeat hangs) == HANGS + 1)); }
wait_for 60 "the hang" hung
wait_for 60 "its beat" says alive
HANGS=$((HANGS + 1))
guest_not_busy
wait_for 20 "a beat" says alive idle
not_accused "at the end"
