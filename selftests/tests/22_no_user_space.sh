#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The guest runs no program for a load or an unload: asserted from its own trace
# of fork and exec. Only what the test harness itself runs there is left out,
# and a module that does make the kernel run a program is seen.
. lib/vesper.sh
unload_on_exit vesper_seq

T=/sys/kernel/tracing
# shellcheck disable=SC2016 # the guest's shell is to expand it
agent=$(guest_exec "$GUEST" 'echo $PPID')
guest_exec "$GUEST" "cd $T && echo 0 >tracing_on && echo >trace &&
	echo sched:sched_process_fork sched:sched_process_exec >set_event && echo 1 >tracing_on"

# Programs that ran in the guest and do not descend from the harness's agent.
programs() {
	guest_exec "$GUEST" "cat $T/trace" >"$VESPER_WORK/exec-trace"
	awk -v agent="$agent" '
		BEGIN { mine[agent] = 1 }
		/sched_process_fork:/ {
			parent = child = $0
			sub(/.* pid=/, "", parent); sub(/ .*/, "", parent)
			sub(/.*child_pid=/, "", child)
			if (parent in mine) mine[child] = 1
		}
		/sched_process_exec:/ {
			pid = $0
			sub(/.* pid=/, "", pid); sub(/ .*/, "", pid)
			seen++
			if (!(pid in mine)) print
		}
		END { print seen + 0 >"/dev/stderr" }
	' "$VESPER_WORK/exec-trace" 2>"$VESPER_WORK/exec-seen"
}

vesper load "$GUEST" "$SEQ" || fail "load"
unload vesper_seq
ran=$(programs)
note "exec events in all: $(cat "$VESPER_WORK/exec-seen")"
(($(cat "$VESPER_WORK/exec-seen") > 0)) || fail "the trace does not work: not even the harness is in it"
[[ -z $ran ]] || fail "the guest ran: $ran"

# Would it have been seen? The kernel runs modprobe for a file system unknown.
guest_exec "$GUEST" "echo /bin/true >/proc/sys/kernel/modprobe; mount -t nosuchfs none /tmp 2>/dev/null; true"
ran=$(programs)
guest_exec "$GUEST" "echo /sbin/modprobe >/proc/sys/kernel/modprobe; echo 0 >$T/events/enable"
[[ -n $ran ]] || fail "the trace does not show what the kernel itself runs"
note "control: $ran"
