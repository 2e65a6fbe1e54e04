# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The heartbeat of the guest that tests share: what is said of it, and its faults.

FAULT=$GUEST_TOP/selftests/modules/vesper_fault/vesper_fault.ko

# It is asked so often, and while processors are short, that an interpreter would be felt.
heartbeat() { # FIELD: of `vesper heartbeat --json`
	[[ $(vesper heartbeat "$GUEST" --json) =~ \"$1\":\"?([^\",}]*) ]] && echo "${BASH_REMATCH[1]}"
}

# One line of it, for who reads the log of a test.
heartbeat_line() { vesper heartbeat "$GUEST" | tail -n 1; }

says() { # STATE...
	local now wanted
	now=$(heartbeat state)
	for wanted; do [[ $now == "$wanted" ]] && return 0; done
	return 1
}

# shellcheck disable=SC2034 # used by the tests
heartbeat_setup() { # THRESHOLD PERIOD
	vesper heartbeat "$GUEST" --threshold "$1" --period "$2" >/dev/null || fail "cannot set the heartbeat"
	wait_for 20 "a beat" says alive idle
	HANGS=$(heartbeat hangs) STUCKS=$(heartbeat stucks) BACK=$(heartbeat recoveries)
}

heartbeat_end() {
	vesper heartbeat "$GUEST" --threshold 2s --period 100ms >/dev/null
	guest_not_busy
	guest_exec "$GUEST" "! grep -q vesper_fault /proc/modules || rmmod vesper_fault"
	true
}

not_accused() { # WHAT
	note "$1: $(heartbeat_line)"
	expect_eq "hangs, $1" "$(heartbeat hangs)" "$HANGS"
	expect_eq "stuck CPUs, $1" "$(heartbeat stucks)" "$STUCKS"
}

fault_setup() {
	guest_put "$GUEST" "$FAULT" /tmp/vesper_fault.ko
	guest_exec "$GUEST" "insmod /tmp/vesper_fault.ko" || fail "no vesper_fault in the guest"
}

# The guest may not answer meanwhile: nobody waits for it here.
fault() { # WHAT VALUE
	guest_exec "$GUEST" "(sleep 0.2; echo $2 >/sys/kernel/debug/vesper_fault/$1) >/dev/null 2>&1 &"
}

# Tasks of the guest that use up these of its CPUs.
guest_busy() { # CPU...
	guest_exec "$GUEST" "
		for cpu in $*; do
			taskset \$((1 << cpu)) sh -c 'while :; do :; done' >/dev/null 2>&1 &
			echo \$! >>/tmp/busy
		done" || fail "the guest does not get busy"
}

guest_not_busy() {
	guest_exec "$GUEST" "[ ! -e /tmp/busy ] || { kill \$(cat /tmp/busy); rm /tmp/busy; }"
}
