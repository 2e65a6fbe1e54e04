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
vesper load "$GUEST" any at=t:sched_process_exec stack=8 args='old=$arg2:s32' || fail "a tracepoint"
guest_exec "$GUEST" '/bin/busybox true'
records=$(recorded)
note "$(head -n 9 <<<"$records")"
# It has no caller, which is no reason for the others to have no names.
expect_match "its stack" "$records" $'caller=\\(none\\)[^\n]*\n(    [^\n]*\n)*    [^ ]*execve'
expect_match "a tracepoint's argument" "$records" ' pid=([0-9]+) tgid=[^ ]+ comm="[^"]*" at="t:sched_process_exec" [^ ]+ old=([0-9]+)'
expect_eq "its value" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"

vesper load "$GUEST" any at=__set_task_comm args='text=+0(si):string,flags=flags:x64,r12=%r12,here=ip:symbol' ||
	fail "load with a kprobe"
guest_exec "$GUEST" 'cp /bin/busybox /tmp/a-name-of-its-own; /tmp/a-name-of-its-own true; rm /tmp/a-name-of-its-own'
records=$(recorded)
note "$(head -n 5 <<<"$records")"
expect_match "text behind a pointer" "$records" 'at="__set_task_comm" [^ ]+ text="a-name-of-its-own" flags=0x[0-9a-f]*[1-9a-f][0-9a-f]* r12=0x[0-9a-f]+ here=__set_task_comm'

# Only what takes long; entries are not told, so the return has it all: the arguments as
# they were at entry, and the call stack.
vesper load "$GUEST" any at=hrtimer_nanosleep min_us=100000 comm=sleep stack=8 \
	args='rqtp=di:s64,mode=si:u32,which=dx:u32' || fail "a threshold"
guest_exec "$GUEST" 'sleep 0.01; sleep 0.3'
records=$(recorded)
note "$records"
expect_eq "short calls" "$(grep -cE ' entry: | ns=[0-9]{1,8} ' <<<"$records")" 0
long=$(grep -A 8 ' return: .*at="hrtimer_nanosleep".* ns=[0-9]\{9\} ' <<<"$records")
expect_eq "long calls" "$(grep -c 'at="hrtimer_nanosleep"' <<<"$records")" 1
# Relative, by the clock that sleep(1) uses.
expect_match "the arguments at entry" "$long" 'ret=0 ns=[0-9]+ rqtp=(29|30)[0-9]{7} mode=1 which=[01]'
expect_match "the stack, which begins with the caller" "$long" $'return: [^\n]* caller=([^ +]+)[^\n]*\n    '
expect_match "its first entry" "$long" $'\n    '"${BASH_REMATCH[1]}"

# A call that is still in the function when the probe goes, and returns under the next one, is
# none of that one's.
vesper load "$GUEST" any at=hrtimer_nanosleep returns=1 comm=sleep || fail "a long call"
guest_exec "$GUEST" "sh -c 'sleep 5; touch /tmp/slept' >/dev/null 2>&1 & sleep 0.5"
expect_eq "its entry" "$(recorded | grep -c ' entry: ')" 2
vesper load "$GUEST" any at=hrtimer_nanosleep returns=1 comm=sleep || fail "the next one"
slept() { guest_exec "$GUEST" "rm /tmp/slept" 2>/dev/null; }
wait_for 30 "its return" slept
expect_eq "calls of the one before" "$(recorded | grep -c '')" 0

# Text that is gone when the function returns: the interpreter of a script.
vesper load "$GUEST" any at=open_exec min_us=1 args=file=di:string || fail "a threshold, and text"
guest_exec "$GUEST" 'printf "#!/bin/sh\n" >/tmp/script; chmod +x /tmp/script; /tmp/script; rm /tmp/script'
records=$(recorded)
note "$records"
expect_match "text at entry" "$records" ' return: .*at="open_exec" .* file="/bin/sh"'

# Of one process that is there already, while others end as well.
pid=$(guest_exec "$GUEST" "sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done' >/dev/null 2>&1 & echo \$!")
vesper load "$GUEST" any at=do_exit "pid=$pid" || fail "load for a process"
guest_exec "$GUEST" "
	touch /tmp/go
	while grep -q '^State:.[RSD]' /proc/$pid/status 2>/dev/null; do sleep 0.1; done
	rm /tmp/go"
records=$(recorded)
note "$records"
expect_match "the process that ends" "$records" " entry: pid=$pid tgid=$pid comm=\"sh\" at=\"do_exit\""
expect_eq "all records" "$(wc -l <<<"$records")" 1

# Urgent, at a place that every urgent record comes by: such a one is told of at most 16
# times in a tick of each CPU's timer, and the guest goes on.
vesper load "$GUEST" any at=t:irq_work_exit,t:sched_process_exec urgent=1 || fail "what feeds itself"
vesper cat "$GUEST/any" --follow >"$VESPER_WORK/fed" &
reader=$!
# shellcheck disable=SC2016 # the guest's shell is to expand it
counts=$(guest_exec "$GUEST" '
	work() { awk "/IWI:/ { print \$2 + \$3 }" /proc/interrupts; }
	ticks() { awk "/^jiffies:/ { print \$2; exit }" /proc/timer_list; }
	before=$(work); since=$(ticks); /bin/busybox true; sleep 2
	echo $(($(work) - before)) $(($(ticks) - since))') || fail "the guest does not answer"
unload any
wait "$reader"
read -r work ticks <<<"$counts"
note "irq_work: $work in $ticks ticks of 2 CPUs, $(wc -l <"$VESPER_WORK/fed") records read"
((work > 0 && work <= ticks * 2 * 20)) || fail "it feeds itself"

# What can't be understood is told, with the reason.
# shellcheck disable=SC2016 # $stack1 is the probe's
for wrong in 'at=tcp_v4_connect args=dj' 'at=tcp_v4_connect args=+8(di' 'args=di' \
	'at=tcp_v4_connect args=event=di' 'at=tcp_v4_connect stack=8 args=stack_len=di' \
	'at=tcp_v4_connect returns=1 args=bx' 'at=tcp_v4_connect min_us=1 args=%flags' \
	'at=t:sched_process_exec args=ax' 'at=t:sched_process_exec args=$stack1' \
	'at=t:sched_process_exec returns=1' 'at=tcp_v4_connect,t:sched_process_exec min_us=1'; do
	# shellcheck disable=SC2086 # words
	expect_status 3 vesper load "$GUEST" any $wrong
	note "$OUTPUT"
	expect_match "$wrong" "$OUTPUT" 'it says: (args|at|the channel)'
done

# What is not there to be read at a fault is a fault itself, of which nothing is read.
# shellcheck disable=SC2016 # $arg1 is the probe's
vesper load "$GUEST" any at=do_exit,t:page_fault_kernel 'args=x=-4096($arg1):x64' || fail "load at faults"
guest_exec "$GUEST" '/bin/busybox true'
records=$(recorded)
note "$records"
expect_match "the end of a process" "$records" ' entry: .*at="do_exit".* x=0x0'
expect_match "the fault of reading there" "$records" ' entry: .*at="t:page_fault_kernel".* x=0x0'

# A module that is not there is waited for, and that is said.
said=$(vesper load "$GUEST" any at=t:no_such_module:no_such_tracepoint) || fail "a module to come: $said"
expect_match "a module to come" "$said" \
	"point 't:no_such_module:no_such_tracepoint' waits for module no_such_module, which is not loaded"
unload any
# What is built in is not waited for.
said=$(vesper load "$GUEST" any at=t:sched:sched_process_exec) || fail "what is built in: $said"
[[ $said != *waits* ]] || fail "it waits for what is built in: $said"
guest_exec "$GUEST" '/bin/busybox true'
expect_match "a built-in tracepoint" "$(recorded)" 'at="t:sched:sched_process_exec"'
