#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# time-limit: 300
# A kernel that oopses, locks up and panics, which does not reboot: the group "panic"
# tells of each, with the kernel's last words; "sched" of the lock-up, too, and "process" of
# the oops.
. lib/vesper.sh
. lib/groups.sh
. lib/kernel_log.sh

GUEST=panicky
# What this guest's kernel has to complain of, each at least once; how often a lock-up
# is reported depends on how fast the machine is.
COMPLAINTS=('BUG: kernel NULL pointer' 'Oops' 'soft lockup' 'rcu.*(stall|detected)'
	'Kernel panic' 'Call Trace')
end() {
	local status=$? log regex
	log=$(guest_console "$GUEST")
	"$TOP/env/guest-vm" kill "$GUEST"
	read_away
	for regex in "${COMPLAINTS[@]}"; do
		echo "# kernel-log: guest $(tr -d '\r' <"$log" | grep -cE "$regex") $regex"
	done >"$VESPER_WORK/declared"
	((status != 0)) || ! grep ' guest 0 ' "$VESPER_WORK/declared" || status=1
	kernel_log_scan guest "$log" 0 "$VESPER_WORK/declared" || status=1
	exit "$status"
}
trap end EXIT

FAULT=$GUEST_TOP/selftests/modules/vesper_fault/vesper_fault.ko
guest_start "$GUEST" --smp 2 || fail "the guest does not start"
fault() { # WHAT VALUE
	guest_exec "$GUEST" "rm -f /tmp/over; (echo $2 >/sys/kernel/debug/vesper_fault/$1; : >/tmp/over) & sleep 0.2; true"
}
vesper load "$GUEST" "$FAULT" || fail "cannot load $FAULT"
load_group panic
load_group sched points=lockup comm=nobody
load_group process points=oops

fault oops 8
expect_record panic oops \
	"'Oops' in what and 'vesper_fault_oops' in ip and 'vesper_fault_oops' in stack and comm == 'sh' and 'RIP' in last_words and 'vesper_fault_oops' in last_words"
expect_record process oops "comm == 'sh' and 'vesper_fault_oops' in stack"
expect_none panic panic
expect_none panic soft_lockup
unload panic
rm "$VESPER_WORK/panic.json"
load_group panic points=oops words=300
fault oops 8
expect_record panic oops "'vesper_fault_oops' in ip and 0 < len(last_words) <= 300"
unload panic
load_group panic

guest_exec "$GUEST" "
	echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
	echo 1 >/proc/sys/kernel/watchdog_thresh"
# One that "sched" is not to tell of; what is unloaded waits for its end.
# Long enough for both: a report of RCU, after three seconds, puts off that of the watchdog.
fault spin 9
expect_record panic soft_lockup "comm == 'sh' and 'vesper_fault_spin' in stack and 'soft lockup' in last_words"
over() { guest_exec "$GUEST" "[ -e /tmp/over ]"; }
wait_for 60 "the end of it" over
expect_none sched soft_lockup
unload sched
load_group sched points=lockup comm=sh
fault spin 9
expect_record sched soft_lockup "comm == 'sh' and 'vesper_fault_spin' in stack"
expect_record panic rcu_stall \
	"'rcu' in rcu and how.endswith('Detected') and 'rcu' in stack and len(last_words) > 0"
# What the kernel has to say of it would come first.
wait_for 60 "the end of it" over

guest_exec "$GUEST" "(sleep 0.2; echo c >/proc/sysrq-trigger) &" || fail "the guest does not listen"
expect_record panic panic \
	"'sysrq triggered crash' in message and 'sysrq' in stack and 'Trigger a crash' in last_words"
