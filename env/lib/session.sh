# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the ways of booting the host VM have in common. Sourced inside the root
# by boot-*, with the variables that env/host-vm sets.

# session_file SCRIPT ARGS: what host-session is to run, with which settings.
session_file() {
	{
		printf '%q ' "VESPER_TOP=$VESPER_TOP" "VESPER_LOG=$VESPER_LOG" \
			"INTERACTIVE=$INTERACTIVE" "TERM=${TERM:-vt100}" "CI=${CI:-}"
		echo
		printf '%q ' "$@"
		echo
	} >"$VESPER_LOG/session"
}

# session_append ACCEL: the words for the kernel command line. no_timer_check: on a
# machine that is busy an emulated kernel may find its timer too slow, and panic.
# unknown_nmi_panic: for session_watch. mitigations=off: an emulated processor does not
# speculate. isolcpus: see session_cpus. With PREEMPT_RT, KVM wants a clock that the emulated
# processor has, and does not say that it has.
session_append() {
	local words="panic=-1 ignore_loglevel no_timer_check unknown_nmi_panic $APPEND"
	[[ $1 != tcg* ]] || words+=' mitigations=off'
	(($(session_cpus "$1") == CPUS)) || words+=' isolcpus=0'
	[[ $RELEASE != *-rt-* || $1 != tcg* ]] || words+=' setcpuid=constant_tsc'
	printf '%s\n' "$words"
}

# session_cpus ACCEL: how many processors the VM has. QEMU's emulator lets each of them
# change the word in which the first one keeps whether it is in a guest and may be interrupted
# (cpu_clear_ignne(), with every XRSTOR): see Documentation/testing.md. So there is one more
# than is asked for, the first, on which no program runs that does not ask for it, and no guest.
# A VM with a single one has nobody who could.
session_cpus() {
	if [[ $1 == tcg* ]] && ((CPUS > 1)); then
		echo $((CPUS + 1))
	else
		echo "$CPUS"
	fi
}

# The options of the VMM by which session_watch reaches it, for boot-*.
SESSION_QMP=/tmp/host-vm.qmp
SESSION_PID=/tmp/host-vm.pid
# shellcheck disable=SC2034
session_options=(-qmp "unix:$SESSION_QMP,server=on,wait=off" -pidfile "$SESSION_PID")

# session_limited CMD...: run it for at most LIMIT seconds (0: for ever).
session_limited() {
	local status=0 watch
	session_watch </dev/null >/dev/null 2>&1 &
	watch=$!
	if ((LIMIT)); then
		timeout --foreground --kill-after=5 "$LIMIT" "$@" || status=$?
	else
		"$@" || status=$?
	fi
	kill "$watch" 2>/dev/null || true
	# Of virtme-ng what was ended is its script only: the VMM goes on.
	session_kill
	return "$status"
}

# session_kill: ends the VMM, if it has not ended.
session_kill() {
	local pid
	{ read -r pid <"$SESSION_PID" && kill -KILL "$pid"; } 2>/dev/null || true
}

# session_qmp COMMAND...: what the host VM's VMM is to do.
session_qmp() {
	{
		printf '%s\n' '{"execute": "qmp_capabilities"}' "$@"
		sleep 2
	} | timeout 10 socat - "UNIX-CONNECT:$SESSION_QMP"
}

# host-session writes to a file every few seconds. When it no longer does, no test's own
# limit will be kept, either: the VM is ended, after its processors have been asked where
# they are. An interrupt that a kernel cannot hold off makes it say so itself, by a panic,
# if it still can.
session_watch() {
	local last='not booted' now quiet=0
	[[ -z $INTERACTIVE ]] || return 0
	while sleep 10; do
		now=$(stat -c %y "$VESPER_LOG/alive" 2>/dev/null) || now='not booted'
		quiet=$((quiet + 10))
		[[ $now == "$last" ]] || quiet=0 last=$now
		((quiet > SILENCE)) || continue
		echo "env: ended after $quiet s without a sign of life" >"$VESPER_LOG/stood-still"
		session_qmp '{"execute": "human-monitor-command", "arguments": {"command-line": "info registers -a"}}' \
			'{"execute": "inject-nmi"}' >>"$VESPER_LOG/stood-still" || true
		sleep 20
		session_qmp '{"execute": "quit"}' >/dev/null 2>&1 || true
		session_kill
		return 0
	done
}

# session_end STATUS: exit with the script's status, given the VMM's.
session_end() {
	if [[ -s $VESPER_LOG/status ]]; then
		exit "$(cat "$VESPER_LOG/status")"
	fi
	if [[ -s $VESPER_LOG/stood-still ]]; then
		head -n 1 "$VESPER_LOG/stood-still" >&2
		exit 125
	fi
	[[ $1 == 124 || $1 == 137 ]] && exit 124
	# 0: it was reset, or switched off.
	echo "env: the VMM of the host VM ended with status $1" >&2
	exit 125
}
