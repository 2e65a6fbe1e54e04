#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The group "process": what a guest's processes do and how they end, in its own pid namespace
# and in another.
. lib/vesper.sh
unload_on_exit process signal

guest_put "$GUEST" tools/fault /tmp/fault
vesper load "$GUEST" process || fail "load"
# The last line is the id of each, and that of the shell.
# shellcheck disable=SC2016 # the guest's shell is to expand it
ids=$(guest_exec "$GUEST" '
	chmod +x /tmp/fault; cd /tmp; ulimit -c unlimited
	cp /bin/busybox /tmp/sleep
	sh -c "exit 7" & seven=$!; wait $seven
	/tmp/sleep 100 & killed=$!; sleep 0.5; kill -9 $killed; wait $killed
	./fault & faulted=$!; wait $faulted
	ls core* >/dev/null || echo "no core"
	rm -f core* fault sleep
	echo $seven $killed $faulted $$') || fail "the guest"
read -r seven killed faulted shell <<<"$(tail -n 1 <<<"$ids")"
unload process
records=$(vesper cat "$GUEST/process")
grep -E " pid=($seven|$killed|$faulted) " <<<"$records"
one() { # WHAT REGEX
	expect_eq "records of $1" "$(grep -cE "$2" <<<"$records")" 1
}
one "a fork" " fork: parent=$shell parent_comm=\"sh\" pid=$seven tgid=$seven ns_tgid=$seven\$"
one "an exec" " exec: pid=$killed old_pid=$killed comm=\"sleep\" file=\"/tmp/sleep\""
one "an exit with a code" " exit: pid=$seven .* code=7 signal=none\(0\) dumped=no\(0\) last=yes\(1\)"
one "a killed process" " exit: pid=$killed .* comm=\"sleep\" code=0 signal=SIGKILL\(9\) dumped=no"
one "a fault" " fault: pid=$faulted .* comm=\"fault\" signal=SIGSEGV\(11\) code=1 address=0x123450 ip=0x[0-9a-f]+"
one "a core dump" " coredump: pid=$faulted .* signal=SIGSEGV"
one "the end of the fault" " exit: pid=$faulted .* code=0 signal=SIGSEGV\(11\) dumped=yes"
# A signal that another process sends is no fault.
one "faults" " fault: "

# Of a process with threads, what its parent gets, whatever the first thread returned.
guest_put "$GUEST" tools/work /tmp/work
vesper load "$GUEST" process points=exit comm=work threads=1 || fail "load for threads"
# shellcheck disable=SC2016 # the guest's shell is to expand it
waited=$(guest_exec "$GUEST" 'chmod +x /tmp/work; for how in threads group; do /tmp/work $how; echo $?; done')
unload process
records=$(vesper cat "$GUEST/process")
note "$records"
expect_eq "what the parent gets" "$waited" $'5\n7'
expect_eq "last threads" "$(sed -nE 's/^.* code=([0-9]+) .* last=yes.*$/\1/p' <<<"$records")" "$waited"
expect_eq "their names" "$(grep 'last=yes' <<<"$records" | grep -vc 'comm="work"')" 0
expect_eq "first threads" "$(grep -c ' code=3 .* last=no' <<<"$records")" 1

# The filters.
vesper load "$GUEST" process points=exit comm=true || fail "load with a filter"
guest_exec "$GUEST" '/bin/busybox true; cp /bin/busybox /tmp/true; /tmp/true; /bin/busybox false; rm /tmp/true'
unload process
records=$(vesper cat "$GUEST/process")
note "$records"
expect_eq "records" "$(grep -c 'comm="true"' <<<"$records")" 1
expect_eq "other records" "$(grep -vc 'comm="true"' <<<"$records")" 0

# Of a process that is there already, and nothing of those it starts.
pid=$(guest_exec "$GUEST" "sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; exit 9' >/dev/null 2>&1 & echo \$!")
vesper load "$GUEST" process points=exit "pid=$pid" || fail "load with a process"
guest_exec "$GUEST" "
	touch /tmp/go
	while grep -q '^State:.[RSD]' /proc/$pid/status 2>/dev/null; do sleep 0.1; done
	rm /tmp/go"
unload process
records=$(vesper cat "$GUEST/process")
note "$records"
expect_eq "records of process $pid" "$(grep -c " exit: pid=$pid .* code=9 " <<<"$records")" 1
expect_eq "all records" "$(wc -l <<<"$records")" 1

# In a pid namespace processes have other numbers, which are shown beside those that the rest
# of the guest knows them by.
vesper load "$GUEST" process points=fork,exit signal sig=10 stack=0 || fail "load for a namespace"
ids=$(guest_exec "$GUEST" "
	printf '%s\n' 'read -r outer rest </proc/self/stat; echo \$outer \$\$' \
		'if [ \"\$1\" ]; then kill -USR1 \$PPID; exit 3; fi' \
		'trap : USR1; sh /tmp/inner child; exit 4' >/tmp/inner
	unshare -p -f sh /tmp/inner
	rm /tmp/inner") || fail "no namespace"
unload process
unload signal
read -r first first_inside child child_inside <<<"${ids//$'\n'/ }"
expect_eq "what they call themselves" "$first_inside $child_inside" "1 2"
records=$(vesper cat "$GUEST/process")
grep -E " pid=($first|$child) " <<<"$records"
one "the fork of the first" " fork: .* pid=$first tgid=$first ns_tgid=1\$"
one "the fork of its child" " fork: parent=$first parent_comm=\"sh\" pid=$child tgid=$child ns_tgid=2\$"
one "the child's exit" " exit: pid=$child tgid=$child ns_tgid=2 comm=\"sh\" code=3 "
one "the exit of the first" " exit: pid=$first tgid=$first ns_tgid=1 comm=\"sh\" code=4 "
records=$(vesper cat "$GUEST/signal")
note "$records"
one "a signal" " sender_pid=$child sender_tgid=$child sender_ns_pid=2 .* target_pid=$first target_tgid=$first target_ns_pid=1 "
