#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The group "any": functions and tracepoints named at load, arguments by register
# and by what they point to, call stacks, return values.
. lib/vesper.sh
unload_on_exit any

# What there is, with nothing waiting any more.
recorded() {
	unload any >/dev/null
	vesper cat "$GUEST/any"
}

# Nobody listens there; port and address are as they are in the packet.
connect='wget -T 1 -q -O /dev/null http://127.0.0.1:77/ 2>/dev/null; true'

# shellcheck disable=SC2016 # $arg2 is the probe's
vesper load "$GUEST" any at=tcp_v4_connect stack=8 returns=1 comm=wget \
	args='len=dx:u32,family=+0(si):u16,port=+2($arg2):u16,addr=+4(si):x32,nowhere=+0(dx):x64,caller_of=$stack0:symbol' ||
	fail "load"
guest_exec "$GUEST" "$connect"
records=$(recorded)
note "$records"
expect_eq "calls" "$(grep -c ' entry: ' <<<"$records")" 1
expect_eq "returns" "$(grep -c ' return: ' <<<"$records")" 1
entry=$(grep ' entry: ' <<<"$records")
expect_match "who calls" "$entry" 'comm="wget" at="tcp_v4_connect" caller=[^ ]*inet_stream_connect'
expect_match "the arguments" "$entry" 'len=16 family=2 port=19712 addr=0x100007f nowhere=0x0 caller_of=[^ ]*inet_stream_connect'
expect_match "its stack, which begins with the caller" "$records" $' entry: [^\n]*\n    [^ ]*inet_stream_connect.*\n    __sys_connect'
expect_match "the return" "$(grep ' return: ' <<<"$records")" 'ret=0 ns=[1-9]'

# A tracepoint; text; a kprobe, for registers that only that has.
# shellcheck disable=SC2016 # $arg2 is the probe's
vesper load "$GUEST" any at=t:sched_process_exec args='old=$arg2:s32' || fail "a tracepoint"
guest_exec "$GUEST" '/bin/busybox true'
records=$(recorded)
expect_match "a tracepoint's argument" "$records" ' pid=([0-9]+) tgid=[^ ]+ comm="[^"]*" at="t:sched_process_exec" [^ ]+ old=([0-9]+)'
expect_eq "its value" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"

vesper load "$GUEST" any at=__set_task_comm args='text=+0(si):string,flags=flags:x64,r12=%r12' ||
	fail "load with a kprobe"
guest_exec "$GUEST" 'cp /bin/busybox /tmp/a-name-of-its-own; /tmp/a-name-of-its-own true; rm /tmp/a-name-of-its-own'
records=$(recorded)
note "$(head -n 5 <<<"$records")"
expect_match "text behind a pointer" "$records" 'at="__set_task_comm" [^ ]+ text="a-name-of-its-own" flags=0x[0-9a-f]*[1-9a-f]'

# Only what takes long; entries are not told.
vesper load "$GUEST" any at=hrtimer_nanosleep min_us=100000 comm=sleep || fail "a threshold"
guest_exec "$GUEST" 'sleep 0.01; sleep 0.3'
records=$(recorded)
note "$records"
expect_eq "short calls" "$(grep -cE ' entry: | ns=[0-9]{1,8}$' <<<"$records")" 0
(($(grep -c ' return: .*at="hrtimer_nanosleep".* ns=[0-9]\{9\}' <<<"$records") == 1)) || fail "the long call"

# What can't be understood is told, with the reason.
for wrong in 'at=tcp_v4_connect args=dj' 'at=tcp_v4_connect args=+8(di' 'args=di' \
	'at=tcp_v4_connect args=event=di'; do
	# shellcheck disable=SC2086 # words
	expect_status 3 vesper load "$GUEST" any $wrong
	note "$OUTPUT"
	expect_match "$wrong" "$OUTPUT" 'it says: (args|at=|the channel)'
done
